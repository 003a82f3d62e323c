#!/bin/bash
# Prints the path of a Python that has what the end-to-end tests import, after making it if needed:
# a virtual environment outside the source tree, named after the pinned versions it holds, so that a
# second call takes milliseconds and checkouts with other pins do not disturb each other.
# Needs: apt packages python3 and python3-venv, and pip's own settings for where packages come from.
set -euo pipefail

here=$(cd "${BASH_SOURCE[0]%/*}" && pwd)
python=/usr/bin/python3
cache=${QUICPORT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/quicport}/venv

key=$({ "$python" -VV; cat "$here/requirements.txt"; } | sha256sum)
venv=$cache/${key:0:16}

if [ ! -e "$venv/.complete" ]; then
	mkdir -p "$cache"
	exec 9>"$cache/lock"
	flock 9
	if [ ! -e "$venv/.complete" ]; then
		rm -rf "$venv"
		if ! "$python" -m venv "$venv" >&2; then
			echo "error: $python cannot make a virtual environment in $venv" >&2
			echo "  Run: sudo scripts/setup.sh (it installs python3-venv)" >&2
			exit 1
		fi
		if ! "$venv/bin/pip" --quiet --disable-pip-version-check install \
			--requirement "$here/requirements.txt" >&2; then
			echo "error: pip could not install $here/requirements.txt into $venv" >&2
			echo "  Check the network and pip's settings: $venv/bin/pip config list" >&2
			exit 1
		fi
		touch "$venv/.complete"
	fi
fi
printf '%s/bin/python\n' "$venv"
