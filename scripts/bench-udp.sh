#!/bin/bash
# UDP through gateway and client, next to the kernel's own path between the same two programs over
# the same cable: iperf3 both ways, with datagrams that fit the MTU and with the longest (in IP
# fragments), and dig, whose every question comes from a new port and so is a flow of its own.
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
Usage: scripts/bench-udp.sh [--seconds N] [--questions N]

  --seconds N    of each iperf3 run (default: 5)
  --questions N  of each dig run (default: 2000)

Needs root, a build (meson setup build && ninja -C build), iperf3, dig and dnsmasq.
END
}

seconds=5
questions=2000
while [ $# -gt 0 ]; do
	case $1 in
	--seconds | --questions)
		number=$(take_number "$1" "${2:-}")
		[ "$1" = --seconds ] && seconds=$number || questions=$number
		shift
		;;
	*) no_such_option "$1" ;;
	esac
	shift
done
home=qpudp-$$ outside=qpudp-$$-out
begin "$home" "$outside"
must_be_built "$build/quicport"
for program in iperf3 dig dnsmasq; do
	command -v "$program" >/dev/null || die "no $program" "Run: apt-get install iperf3 bind9-dnsutils dnsmasq-base"
done

out() { ip netns exec "$outside" "$@"; }
metric() { ip netns exec "$home" curl -s http://127.0.0.1:39000/metrics | awk -v n="$1" '$1 == n { print $2 }'; }
ports_open() { [ "$(metric quicport_ports_open)" = 3 ]; }

# transfer ADDRESS PORT LENGTH RATE [-R]: "received Mbit/s, lost %, CPU seconds a GB of gateway, client".
transfer() {
	local addr=$1 port=$2 length=$3 rate=$4 before after
	before="$(cpu_s "${data_plane[@]}") $(cpu_s "$client")"
	out timeout $((seconds + 20)) iperf3 -c "$addr" -p "$port" -u -l "$length" -b "$rate" -t "$seconds" \
		"${@:5}" --json >"$work/run" 2>"$work/iperf-err" || die "iperf3 failed: $(head -c 300 "$work/run")"
	after="$(cpu_s "${data_plane[@]}") $(cpu_s "$client")"
	jq -r '.end.sum | "\(.bits_per_second) \(.lost_percent) \(.seconds)"' "$work/run" |
		awk -v cpu="$before $after" '{
			split(cpu, c, " "); rate = $1 * (100 - $2) / 100; gb = rate * $3 / 8e9
			printf "%6.0f Mbit/s, %5.2f %% lost, CPU s a GB: %.2f + %.2f\n", rate / 1e6, $2,
				(c[3] - c[1]) / gb, (c[4] - c[2]) / gb }'
}

# ask ADDRESS PORT: questions one after another; "questions a second, how many answered".
ask() {
	local begin end answered
	begin=$(date +%s.%N)
	out dig "@$1" -p "$2" -f "$work/questions" +short +tries=1 +timeout=5 >"$work/answers"
	end=$(date +%s.%N)
	answered=$(grep -c '^192\.0\.2\.53$' "$work/answers" || true)
	awk -v b="$begin" -v e="$end" -v n="$questions" -v a="$answered" \
		'BEGIN { printf "%5.0f a second, %d of %d answered\n", n / (e - b), a, n }'
}

ip netns add "$home"
ip netns add "$outside"
ip link add qpudp0 netns "$home" type veth peer name qpudp1 netns "$outside"
for ns in "$home" "$outside"; do
	ip -n "$ns" link set lo up
done
ip -n "$home" addr add 192.0.2.1/24 dev qpudp0
ip -n "$home" addr add 2001:db8::1/64 dev qpudp0 nodad
ip -n "$outside" addr add 192.0.2.2/24 dev qpudp1
ip -n "$outside" addr add 2001:db8::2/64 dev qpudp1 nodad
ip -n "$home" link set qpudp0 up
ip -n "$outside" link set qpudp1 up

start iperf.log iperf3 -s -p 5201
start dns.log dnsmasq --no-daemon --no-resolv --no-hosts --port=5353 --address=/bench.test/192.0.2.53
start_gateway
start client.log "$build/quicport" client -s 127.0.0.1:39000 --psk benchmark --insecure \
	-r 7201/tcp -l 127.0.0.1:5201/tcp -r 7201/udp -l 127.0.0.1:5201/udp -r 7053/udp -l 127.0.0.1:5353/udp
client=${pids[-1]}
wait_until ports_open
mapfile -t data_plane < <(pgrep -P "$gateway" -f quicport-data-plane)
for ((i = 0; i < questions; i++)); do
	echo "q$i.bench.test A"
done >"$work/questions"

for addr in 192.0.2.1 2001:db8::1; do
	for way in "" -R; do
		for shape in "1400 100M" "1400 500M" "1400 1500M" "65507 1500M"; do
			read -r length rate <<<"$shape"
			text="$addr, $length bytes, $rate${way:+ (service to outside)}"
			# shellcheck disable=SC2086
			printf '%-58s direct  %s\n' "$text" "$(transfer "$addr" 5201 "$length" "$rate" $way)"
			# shellcheck disable=SC2086
			printf '%-58s gateway %s\n' "" "$(transfer "$addr" 7201 "$length" "$rate" $way)"
		done
	done
	printf '%-58s direct  %s\n' "$addr, dig" "$(ask "$addr" 5353)"
	printf '%-58s gateway %s\n' "" "$(ask "$addr" 7053)"
done
echo "The gateway dropped, in all of this:"
ip netns exec "$home" curl -s http://127.0.0.1:39000/metrics |
	awk '/^quicport_udp_drop_[a-z_]*_total / && $2 > 0 { print "  " $1, $2 } /^quicport_udp_datagrams_/ { print "  " $1, $2 }'
