#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Builds the Debian packages, in a copy of the tree, from what git has or would take: the tree stays
# as it is. Needs what scripts/setup.sh prepared and no network.
# shellcheck source-path=SCRIPTDIR disable=SC2034
set -euo pipefail

here=$(cd "${BASH_SOURCE[0]%/*}" && pwd)
root=$(cd "$here/.." && pwd)
# shellcheck source=lib.sh
. "$here/lib.sh"

usage() {
	cat <<'END'
Usage: scripts/package.sh [--output DIR] [--no-lintian]

Builds quicport, libquicport1, libquicport-dev and quicport-gateway, of meson.build's version, into
DIR (default: build-packages/). The same tree makes the same bytes.

Environment:
  SOURCE_DATE_EPOCH  the packages' time (default: that of the last commit)
  QUICPORT_CACHE     see scripts/setup.sh --help
END
}

output=$root/build-packages
lintian=yes
while [ $# -gt 0 ]; do
	case $1 in
	--output)
		output=${2:?}
		shift
		;;
	--no-lintian) lintian=no ;;
	*) no_such_option "$1" ;;
	esac
	shift
done

work=
on_exit() {
	clean_exit $?
	[ -z "$work" ] || rm -rf "$work"
}
at_exit on_exit

# Tracked files as they are now, and new ones that are not ignored. A folder of the same name and
# umask each time, so that no trace of the place gets into a package.
copy_tree() {
	# shellcheck disable=SC2016 # the inner shell expands
	git -C "$root" ls-files -z --cached --others --exclude-standard |
		(cd "$root" && xargs -0 sh -c 'for f; do [ ! -e "$f" ] || printf "%s\0" "$f"; done' _) |
		tar -C "$root" --null --files-from=- -cf - | tar -C "$1" -xf -
	chmod -R u=rwX,go=rX "$1"
}

# meson.build has the version; where debian/changelog lacks it, an entry is put before the others.
write_changelog() {
	local version
	version=$(sed -n "s/^  version: '\(.*\)',/\1/p" "$1/meson.build" | head -n 1)
	[ -n "$version" ] || die "meson.build has no version"
	[ "$(dpkg-parsechangelog -l "$1/debian/changelog" -S Version)" != "$version" ] || return 0
	{
		printf 'quicport (%s) unstable; urgency=medium\n\n  * Version %s.\n\n' "$version" "$version"
		printf ' -- %s  %s\n\n' \
			"$(sed -n 's/^Maintainer: //p' "$1/debian/control")" "$(date -u -R -d "@$SOURCE_DATE_EPOCH")"
		cat "$1/debian/changelog"
	} >"$1/debian/changelog.new"
	mv "$1/debian/changelog.new" "$1/debian/changelog"
}

build_packages() {
	cd "$work/quicport"
	umask 022
	env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/nonexistent LC_ALL=C.UTF-8 TZ=UTC \
		SOURCE_DATE_EPOCH="$SOURCE_DATE_EPOCH" QUICPORT_DEPS_PREFIX="$prefix" \
		CCACHE_DIR="${CCACHE_DIR:-$HOME/.cache/ccache}" CCACHE_NOHASHDIR=1 \
		${CCACHE_DISABLE:+CCACHE_DISABLE=1} \
		DEB_BUILD_OPTIONS="nocheck parallel=$(nproc)" \
		dpkg-buildpackage --build=binary --no-sign --check-builddeps
}

check_packages() { lintian --fail-on error,warning "$work"/*.changes; }

mkdir -p "$output" "$root/build-logs"
output=$(cd "$output" && pwd)
log=$root/build-logs/package-build.log
: >"$log"
prefix=$("$here/setup.sh" --print-prefix)
: "${SOURCE_DATE_EPOCH:=$(git -C "$root" log -1 --format=%ct)}"
export SOURCE_DATE_EPOCH
work=$(mktemp -d -t quicport-package-XXXXXX)
chmod 755 "$work"
mkdir "$work/quicport"
copy_tree "$work/quicport"
write_changelog "$work/quicport"
must_run "packages: building" build_packages
must_run_hint=("lintian-explain-tags TAG tells what a tag means.")
[ "$lintian" = no ] || must_run "packages: lintian" check_packages
rm -f "$output"/*.deb "$output"/*.changes "$output"/*.buildinfo
cp "$work"/*.deb "$work"/*.changes "$work"/*.buildinfo "$output"
for deb in "$output"/*.deb; do
	case $deb in
	*-dbgsym_*) ;;
	*) ok "${deb##*/}, $(($(stat -c %s "$deb") / 1024)) KiB" ;;
	esac
done
