# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# shellcheck disable=SC2154,SC2034 # $home comes from the caller; $log is lib.sh's
# What bench.sh and bench-udp.sh share: programs in namespaces of their own, waited for, measured and
# ended. Sourced after lib.sh, never run. The caller sets $home, the namespace that start() uses.

log=/dev/null
pids=()       # of all that start() started
namespaces=() # that go at the end; the caller makes them
work=         # a folder for the time of the run

# take_number OPTION VALUE: prints it; ends the script when it is none.
take_number() {
	[[ $2 =~ ^[1-9][0-9]{0,5}$ ]] || die "$1 takes a number from 1 up, not \"$2\""
	echo "$2"
}

# begin NAMESPACE...: from here on, what is left behind is removed whatever happens.
begin() {
	[ "$EUID" = 0 ] || die "a gateway needs root" "Run: sudo $0"
	local name
	for name in ${!QUICPORT_@}; do
		unset "$name"
	done
	namespaces=("$@")
	work=$(mktemp -d -t qpbench-XXXXXX)
	at_exit end_all
}

# must_be_built PROGRAM...
must_be_built() {
	local program
	for program; do
		[ -x "$program" ] ||
			die "not built: $program" "Run: scripts/setup.sh && meson setup build && ninja -C build"
	done
}

end_all() {
	local status=$? pid name
	trap '' INT TERM HUP
	[ ${#pids[@]} = 0 ] || kill -TERM "${pids[@]}" 2>/dev/null || true
	for pid in "${pids[@]}"; do
		wait "$pid" 2>/dev/null || true
	done
	for name in "${namespaces[@]}"; do
		ip netns del "$name" 2>/dev/null || true
	done
	if [ "$status" != 0 ] && [ "$status" -lt 128 ]; then
		tail -n 5 "$work"/*.log >&2 2>/dev/null || true
	fi
	rm -rf "$work"
	clean_exit "$status"
}

# start LOG COMMAND...: in $home, in the background.
start() {
	local output=$1
	shift
	ip netns exec "$home" "$@" >"$work/$output" 2>&1 </dev/null &
	pids+=($!)
}

# start_gateway: at 39000, its API too; sets $gateway, its process.
start_gateway() {
	start gateway.log "$build/quicport" control-plane --control-plane-addr 127.0.0.1:39000 \
		--data-plane-addr 127.0.0.1:39000 --no-public-api --psk benchmark --state-dir "$work/state"
	gateway=${pids[-1]}
	wait_until answers http://127.0.0.1:39000/healthcheck
}

# wait_until COMMAND...: until it succeeds; ends the script after 10 seconds.
wait_until() {
	local end=$((SECONDS + 10))
	until "$@"; do
		[ $SECONDS -lt $end ] || die "not after 10 seconds: $*"
		sleep 0.05
	done
}

# answers URL: of an HTTP server in $home.
answers() { ip netns exec "$home" curl --silent --max-time 2 --output /dev/null "$1"; }

# cpu_s PID...: CPU seconds that they have used, all threads.
cpu_s() {
	local pid
	for pid; do
		sed 's/.*) //' "/proc/$pid/stat"
	done | awk -v hz="$(getconf CLK_TCK)" '{ s += $12 + $13 } END { print s / hz }'
}
