#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# merge-archives.sh OUT.a MAP ARCHIVE...: one object out of archives, in which only the names that
# the linker map exports are visible. What no exported name needs is left out.
set -euo pipefail
out=$1 map=$2
shift 2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
sed -n '/global:/,/local:/s/^[[:space:]]*\([a-z_]*\);$/\1/p' "$map" >"$work/names"
wanted=()
while read -r name; do
	wanted+=(-u "$name")
done <"$work/names"
ld -r -o "$work/quicport.o" "${wanted[@]}" --start-group "$@" --end-group
objcopy --keep-global-symbols="$work/names" "$work/quicport.o"
rm -f "$out"
ar rcs "$out" "$work/quicport.o"
