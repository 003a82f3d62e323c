#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The TCP stack beside Linux's, over the same bad line: 5 paired runs for each row of a table, in
# network namespaces of its own. Needs root and a build; takes about an hour.
set -euo pipefail
cd "${BASH_SOURCE[0]%/*}/.."

usage() {
	cat <<'EOT'
Usage: scripts/tcp-vs-linux.sh [--quick] [--pairs N] [--cell KEY=VALUE,...] [--verbose]

  --quick       few short rows, lenient bounds (what `meson test tcp_versus_linux` does)
  --pairs N     paired runs a row (default: 5)
  --cell TEXT   only this row; may be repeated. Keys, with their defaults: direction=down (up, both;
                as the kernel peer sees it), loss=0, late=0, ce=0 (percent), mtu=1500, family=4,
                offloads=on, conns=1, mib=16 (each direction), rate=200 (Mbit/s), rtt_ms=10,
                late_ms=3, place=veth (tap: the peer is the TAP's own host; bare: that without a
                line), opener=peer (server), cc=cubic (the kernel's)
  --seed N      other chances of the line
  --verbose     every run with its counters

Ends with status 1 if the stack has less than 0.9 of the kernel's goodput or sends more than 1.2
times as many bytes again (medians), or if a byte differs or a connection fails in any run.
EOT
}

case ${1-} in
--help | -h)
	usage
	exit
	;;
esac
if [ ! -x build/tests/tcp/linux/our_end ]; then
	echo "error: there is no build; do: meson setup build && ninja -C build" >&2
	exit 2
fi
exec tests/tcp/linux/versus.py --build build "$@"
