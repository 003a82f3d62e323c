#!/bin/bash
# Bulk throughput through gateway and client, next to a direct kernel connection between the same two
# programs in the same minute: rounds alternate, medians are shown. CPU seconds a gigabyte say where
# the time goes, and barely depend on what else the machine does.
# shellcheck source-path=SCRIPTDIR
set -euo pipefail

here=$(cd "${BASH_SOURCE[0]%/*}" && pwd)
root=$(cd "$here/.." && pwd)
build=${QP_BUILD:-$root/build}
# shellcheck source=lib.sh
. "$here/lib.sh"
# shellcheck source=bench-lib.sh
. "$here/bench-lib.sh"

usage() {
	cat <<'END'
Usage: scripts/bench.sh [--quick] [--rounds N] [--mib N]

  --quick     3 rounds of 256 MiB
  --rounds N  how many times each way is measured (default: 7)
  --mib N     MiB a measurement (default: 1024)

Needs root and a build (meson setup build && ninja -C build).
END
}

rounds=7
mib=1024
while [ $# -gt 0 ]; do
	case $1 in
	--quick) rounds=3 mib=256 ;;
	--rounds | --mib)
		number=$(take_number "$1" "${2:-}")
		[ "$1" = --mib ] && mib=$number || rounds=$number
		shift
		;;
	*) no_such_option "$1" ;;
	esac
	shift
done
home=qpbench-$$
bytes=$((mib << 20))
qpload=$build/tests/tools/qpload
begin "$home"
must_be_built "$build/quicport" "$qpload"

opens() { ip netns exec "$home" "$qpload" run 127.0.0.1 "$1" --half-close --deadline 2 >/dev/null; }

# The gateway's processes, by the name of their program: "NAME PID" a line.
members() {
	local pid
	for pid in "$1" $(pgrep -P "$1"); do
		printf '%s %d\n' "$(tr '\0' ' ' <"/proc/$pid/cmdline" | awk -v exe="$(basename \
			"$(readlink "/proc/$pid/exe")")" '{ print exe == "quicport" ? exe "-" $2 : exe }')" "$pid"
	done
}

# measure PORT SEND RECEIVE_ONLY: one bulk transfer; prints "SECONDS".
measure() {
	local port=$1 way=$2 args=(--raw --half-close --deadline 300)
	[ "$way" = down ] || args+=(--send "$bytes")
	ip netns exec "$home" "$qpload" run 127.0.0.1 "$port" "${args[@]}" >"$work/run" ||
		die "a transfer failed: $(cat "$work/run")"
	sed -n 's/.*"seconds": \([0-9.]*\).*/\1/p' "$work/run"
}

median() { sort -g | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }
gbits() { awk -v s="$1" -v b="$bytes" 'BEGIN { printf "%.2f", b * 8 / s / 1e9 }'; }

# Ports: 7001 and 7002 take and give; the gateway's 8001 and 8002 lead to them.
ip netns add "$home"
ip -n "$home" link set lo up
start sink.log "$qpload" serve 127.0.0.1 7001 --raw --after-eof
start source.log "$qpload" serve 127.0.0.1 7002 --raw --send "$bytes"
start_gateway
clients=()
for n in 1 2; do
	start "client-$n.log" "$build/quicport" client --insecure --psk benchmark -s 127.0.0.1:39000 \
		-r "800$n" -l "127.0.0.1:700$n"
	clients+=("${pids[-1]}")
	wait_until grep -q . "$work/client-$n.log"
done
wait_until opens 8001
wait_until answers http://127.0.0.1:39000/healthcheck

mapfile -t parts < <(members "$gateway")
for n in 1 2; do
	parts+=("client-$n ${clients[n - 1]}")
done

echo "quicport $("$build/quicport" --version 2>/dev/null | grep -oE '[0-9]+\.[0-9.]+' | head -n 1)," \
	"Linux $(uname -r), $(nproc) cores,$(sed -n 's/^model name[^:]*:/ /p;T;q' /proc/cpuinfo | tr -s ' ')"
echo "One connection, all on one host over lo, $mib MiB, medians of $rounds rounds"
echo
declare -A cpu
for round in $(seq "$rounds"); do
	for way in up down; do
		port=$([ $way = up ] && echo 1 || echo 2)
		measure "700$port" $way >>"$work/direct-$way"
		for part in "${parts[@]}"; do
			cpu[$part]=$(cpu_s "${part##* }")
		done
		measure "800$port" $way >>"$work/tunnel-$way"
		for part in "${parts[@]}"; do
			awk -v a="${cpu[$part]}" -v b="$(cpu_s "${part##* }")" -v n="$bytes" \
				'BEGIN { print (b - a) / n * 1e9 }' >>"$work/cpu-$way-${part%% *}"
		done
	done
	[ $lib_tty = 0 ] || printf '\r  round %d of %d' "$round" "$rounds"
done
[ $lib_tty = 0 ] || printf '\r\033[K'

printf '%-24s %14s %14s %9s\n' "" "direct" "quicport" "share"
for way in up down; do
	text=$([ $way = up ] && echo "outside → service" || echo "service → outside")
	direct=$(median <"$work/direct-$way")
	tunnel=$(median <"$work/tunnel-$way")
	printf '%-26s %7s Gbit/s %7s Gbit/s %8s%%\n' "$text" "$(gbits "$direct")" "$(gbits "$tunnel")" \
		"$(awk -v d="$direct" -v t="$tunnel" 'BEGIN { printf "%.1f", 100 * d / t }')"
done
printf '\n%-24s %22s %22s\n' "CPU seconds a GB" "outside → service" "service → outside"
for part in "${parts[@]}"; do
	name=${part%% *}
	printf '%-24s' "$name"
	for way in up down; do
		printf '%20.2f' "$(median <"$work/cpu-$way-$name")"
	done
	printf '\n'
done
