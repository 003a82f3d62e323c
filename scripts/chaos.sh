#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Reloads, kills, hangs and cuts, one after the other, on a gateway that carries connections whose
# every byte is checked; then a table of what was survived, what was lost and how long anyone waited.
# shellcheck source-path=SCRIPTDIR
set -euo pipefail

here=$(cd "${BASH_SOURCE[0]%/*}" && pwd)
root=$(cd "$here/.." && pwd)
build=${QP_BUILD:-$root/build}
# shellcheck source=lib.sh
. "$here/lib.sh"

usage() {
	cat <<'END'
Usage: scripts/chaos.sh [--minutes N] [--seed N] [--faults LIST] [--workers N] [--json FILE]
                        [--logs FOLDER]

  --minutes N     how long faults come (default: 5; 0.5 is half a minute)
  --seed N        which faults, in which order: the same for the same seed (default: 1)
  --faults LIST   only these, separated by commas:
                    reload                 SIGHUP: a new data plane takes over
                    kill-in-reload         SIGKILL of the control plane meanwhile
                    kill-successor         SIGKILL of the new data plane meanwhile
                    kill-control-plane     SIGKILL; another one is started
                    kill-starting          SIGKILL of a control plane that takes over
                    restart-control-plane  SIGUSR2: it becomes the program on the disk
                    upgrade                all programs are new files, SIGUSR2, then SIGHUP
                    break-program          SIGHUP, but the new data plane cannot run
                    cut-interface          the gateway's interface goes down and up
                    drop-all               clients or users get no packet for a while
                    kill-data-plane        SIGKILL
                    stop-data-plane        SIGSTOP: it hangs
                    replace-port-owner     by the API, in half of the cases after its SIGKILL
                    kill-client            SIGKILL; it is started again
  --workers N     of each data plane (default: 1)
  --json FILE     all figures, for programs
  --logs FOLDER   keep what all programs said

Makes three hosts out of network namespaces: users outside, a gateway, and four clients (two with a
pre-shared key, two with X25519) beside their service. Needs root and 512 huge pages (scripts/setup.sh
makes them); builds what is missing. Exit status 1: a connection was lost that must not be, a byte
was wrong, a client did not come back, or something was left behind.
END
}

for arg in "$@"; do
	case $arg in
	--help | -h)
		usage
		exit 0
		;;
	esac
done
[ "$EUID" = 0 ] || die "a gateway needs root" "Run: sudo scripts/chaos.sh"

at_exit 'clean_exit $?'

programs=(quicport quicport-control-plane quicport-data-plane quicport-port-owner tests/tools/qpstorm)
if [ -z "${QP_BUILD:-}" ]; then
	log=$root/build-logs/chaos.log
	mkdir -p "$root/build-logs"
	[ -f "$build/build.ninja" ] || must_run "configuring" meson setup "$build" "$root"
	ninja -C "$build" -n "${programs[@]}" | grep -q 'no work to do' ||
		must_run "building" ninja -C "$build" "${programs[@]}"
fi

status=0
QP_BUILD=$build /usr/bin/python3 "$root/tests/e2e/chaos.py" "$@" || status=$?
lib_died=1 # it has said why
exit $status
