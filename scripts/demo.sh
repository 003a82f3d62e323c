#!/bin/bash
# Shows quicport at its main job, and proves it: a web server behind NAT, which nobody can connect
# to, is reached through a gateway. Sets everything up, and takes everything down again.
# shellcheck source-path=SCRIPTDIR
set -euo pipefail

here=$(cd "${BASH_SOURCE[0]%/*}" && pwd)
root=$(cd "$here/.." && pwd)
build=${QP_BUILD:-$root/build}
# shellcheck source=lib.sh
. "$here/lib.sh"

file_mib=${DEMO_MIB:-256}
tag=qpdemo-$$
outside=$tag-outside
gateway=$tag-gateway
router=$tag-router
behind=$tag-behind

usage() {
	cat <<'END'
Usage: scripts/demo.sh

Makes four hosts out of network namespaces: outside, gateway, a NAT router that admits no inbound
connection, and behind it a host with a web server. Starts a gateway and a client, fetches a file
from outside through the gateway, compares checksums, and takes everything down.
Exit status 0: it worked. Needs root. Installs and builds what is missing (minutes the first time).

  DEMO_MIB  size of the file in MiB (default: 256)
  NO_COLOR  set to anything: no colours
END
}

# ---- how it looks ----

if [ $lib_tty = 1 ] && [ -z "${NO_COLOR:-}" ] && [ "${TERM:-dumb}" != dumb ]; then
	bold=$'\e[1m' dim=$'\e[2m' green=$'\e[32m' red=$'\e[31m' cyan=$'\e[36m' plain=$'\e[0m'
else
	bold='' dim='' green='' red='' cyan='' plain=''
fi
# Line drawing needs UTF-8, whatever the caller's locale.
export LC_ALL=C.UTF-8

heading() { printf '\n%s%s%s\n' "$bold" "$1" "$plain"; }

# done_step TEXT [RIGHT]: one finished step, with what is worth knowing at the right margin.
done_step() {
	local right=${2:-}
	# printf counts bytes, a screen characters.
	[ -z "$right" ] || printf -v right '%*s%s' $((75 - ${#1} - ${#right})) '' "$right"
	printf '  %s✓%s %s%s%s%s\n' "$green" "$plain" "$1" "$dim" "$right" "$plain"
}

draw_topology() {
	local b=$bold c=$cyan d=$dim p=$plain
	cat <<END
   ${b}outside${p}            ${b}gateway${p}             ${b}NAT router${p}           ${b}behind NAT${p}
 ╭──────────────╮   ╭───────────────╮   ╭────────────────╮   ╭────────────────╮
 │ 198.51.100.2 ├───┤ 198.51.100.1  │   │ ${d}masquerade${p}     │   │ 10.0.0.2       │
 │              │   │   203.0.113.1 ├───┤ 203.0.113.2    ├───┤                │
 │ curl         │   │ quicport      │   │ ${d}admits nothing${p} │   │ web server     │
 │              │   │ control-plane │   │ ${d}from outside${p}   │   │ quicport client│
 ╰──────┬───────╯   ╰──┬─────────┬──╯   ╰────────────────╯   ╰───────┬────────╯
        ${c}╰── TCP 8080 ──╯         ╰──────── QUIC to UDP 39000 ─────────╯${p}
END
}

# ---- doing things, and undoing them ----

pids=()   # of what was started, in order
work=
instance= # how the gateway's files are called

in_host() { ip netns exec "$@"; }

# start HOST LOG COMMAND...: in the background; its process id is the last in pids.
start() {
	local host=$1 output=$2
	shift 2
	ip netns exec "$host" "$@" >"$work/$output" 2>&1 </dev/null &
	pids+=($!)
}

now_ms() { date +%s%3N; }
since() { awk -v ms=$(($(now_ms) - $1)) 'BEGIN { printf "%.2f s", ms / 1000 }'; }

# wait_until SECONDS COMMAND...: until it succeeds. Fails when the time is up.
wait_until() {
	local end=$(($(now_ms) + $1 * 1000))
	shift
	until "$@"; do
		[ "$(now_ms)" -lt "$end" ] || return 1
		sleep 0.02
	done
}

# broken WHAT: ends the demo, with the last words of the processes.
broken() {
	local file
	printf '  %s✗ %s%s\n' "$red" "$1" "$plain"
	for file in gateway client web; do
		[ -s "$work/$file.log" ] || continue
		printf '\n%s said last:\n' "$file"
		tail -n 12 "$work/$file.log" | cut -c 1-400 | sed 's/^/  | /'
	done
	die "$1"
}

# stop PID SECONDS: asks it to end. Fails if it does not end in time or not well.
stop() {
	kill -TERM "$1" 2>/dev/null || return 1
	wait_until "$2" gone "$1" || return 1
	wait "$1"
}
gone() { ! kill -0 "$1" 2>/dev/null || [[ $(ps -o stat= -p "$1") == Z* ]]; }

take_down() {
	local host pid
	for ((pid = ${#pids[@]} - 1; pid >= 0; pid--)); do
		gone "${pids[pid]}" || kill -TERM "${pids[pid]}" 2>/dev/null || true
	done
	for pid in "${pids[@]}"; do
		wait_until 3 gone "$pid" || kill -KILL "$pid" 2>/dev/null || true
		wait "$pid" 2>/dev/null || true
	done
	pids=()
	for host in "$outside" "$behind" "$router" "$gateway"; do
		[ ! -e "/run/netns/$host" ] || ip netns del "$host"
	done
	[ -z "$work" ] || rm -rf "$work"
	work=
}

on_exit() {
	local status=$?
	trap '' INT TERM HUP
	[ "$status" = 0 ] || ! [ -t 1 ] || printf '%s' "$plain"
	take_down
	clean_exit "$status"
	[ -z "${SUDO_UID:-}" ] || chown -R "$SUDO_UID:${SUDO_GID:-$SUDO_UID}" "$root/build-logs" || true
}

# ---- the parts ----

build_product() {
	[ -f "$build/build.ninja" ] || meson setup "$build" "$root" || return
	# Without the tests, which take longer than all the rest.
	ninja -C "$build" quicport quicport-control-plane quicport-data-plane quicport-port-owner || return
	[ -z "${SUDO_UID:-}" ] || chown -R "$SUDO_UID:${SUDO_GID:-$SUDO_UID}" "$build"
}

# cable HOST ADDRESS HOST ADDRESS: eth-like interfaces, named after the host at the other end.
cable() {
	local one=${3##*-} other=${1##*-}
	ip link add "$one" netns "$1" type veth peer name "$other" netns "$3"
	ip -n "$1" address add "$2" dev "$one"
	ip -n "$3" address add "$4" dev "$other"
	ip -n "$1" link set "$one" up
	ip -n "$3" link set "$other" up
}

make_hosts() {
	local host
	for host in "$outside" "$gateway" "$router" "$behind"; do
		ip netns add "$host"
		ip -n "$host" link set lo up
	done
	cable "$outside" 198.51.100.2/24 "$gateway" 198.51.100.1/24
	cable "$gateway" 203.0.113.1/24 "$router" 203.0.113.2/24
	cable "$router" 10.0.0.1/24 "$behind" 10.0.0.2/24
	ip -n "$outside" route add default via 198.51.100.1
	ip -n "$behind" route add default via 10.0.0.1
	# As at home: what goes out gets the router's address, and only answers come in.
	in_host "$router" sysctl -q net.ipv4.ip_forward=1
	in_host "$router" nft -f - <<'END'
table ip home {
	chain nat {
		type nat hook postrouting priority srcnat;
		oifname "gateway" masquerade
	}
	chain forward {
		type filter hook forward priority filter; policy drop;
		ct state established,related accept
		iifname "behind" accept
	}
	chain input {
		type filter hook input priority filter; policy drop;
		ct state established,related accept
	}
}
END
}

make_keys() {
	local side
	mkdir "$work/keys"
	for side in gateway client; do
		(umask 077 && "$build/quicport" keygen >"$work/keys/$side")
		"$build/quicport" pubkey <"$work/keys/$side" >"$work/keys/$side.pub"
	done
}

healthy() {
	in_host "$gateway" curl --silent --fail --max-time 1 --output /dev/null \
		http://127.0.0.1:39000/healthcheck
}

port_open() {
	in_host "$outside" curl --silent --max-time 2 --output /dev/null "http://198.51.100.1:8080/$1"
}

start_gateway() {
	start "$gateway" gateway.log "$build/quicport" control-plane \
		--control-plane-addr 127.0.0.1:39000 --data-plane-addr 0.0.0.0:39000 \
		--privkey-file "$work/keys/gateway" --client-pubkeys-file "$work/keys/client.pub" \
		--state-dir "$work/state"
	gateway_pid=${pids[-1]}
	wait_until 10 healthy_or_gone || return 1
	! gone "$gateway_pid" || return 1
	instance=$(grep -l "^$gateway_pid " /run/quicport/*/lock | head -n 1 | sed 's,.*/\(.*\)/lock$,\1,')
}
healthy_or_gone() { gone "$gateway_pid" || healthy; }

start_client() {
	start "$behind" client.log "$build/quicport" client \
		--insecure -s 203.0.113.1:39000 -r 8080 -l 127.0.0.1:8000 \
		--privkey-file "$work/keys/client" --server-pubkey-file "$work/keys/gateway.pub"
	client_pid=${pids[-1]}
	wait_until 10 port_open_or_gone || return 1
	! gone "$client_pid"
}
port_open_or_gone() { gone "$client_pid" || port_open hello; }

# What a gateway may leave behind on its host, one thing a line.
traces() {
	local dev
	ip -n "$gateway" -o link show | awk -F': ' '{ print "interface", $2 }'
	for dev in lo outside router; do
		in_host "$gateway" tc filter show dev $dev ingress
	done
	for dev in $(ip netns pids "$gateway"); do
		readlink "/proc/$dev/exe" || true
	done
	# Another gateway's files, on the same machine, are not this one's.
	[ -z "$instance" ] || compgen -G "/run/quicport/$instance" ||
		compgen -G "/dev/hugepages*/${instance}map_*" || true
}

demo() {
	local t before want got connect total size

	heading "The hosts"
	draw_topology
	t=$(now_ms)
	make_hosts
	make_keys
	mkdir "$work/www"
	head -c "${file_mib}M" /dev/urandom >"$work/www/file"
	echo hello >"$work/www/hello"
	want=$(sha256sum <"$work/www/file")

	heading "What happens"
	done_step "4 hosts made, X25519 keys made, $file_mib MiB of random bytes made" "$(since "$t")"
	start "$behind" web.log /usr/bin/python3 -u -m http.server --bind 127.0.0.1 \
		--directory "$work/www" 8000
	wait_until 10 grep -q Serving "$work/web.log" || broken "the web server does not start"
	done_step "behind: web server on 127.0.0.1:8000"
	! in_host "$outside" curl --silent --max-time 1 --output /dev/null http://203.0.113.2:8000/hello ||
		broken "the NAT router lets connections in"
	done_step "outside → router: no way in, as it should be" "dropped"

	before=$(traces)
	t=$(now_ms)
	start_gateway || broken "the gateway does not start"
	done_step "gateway: quicport control-plane is healthy, UDP port 39000" "after $(since "$t")"
	t=$(now_ms)
	start_client || broken "the client does not get its port"
	done_step "behind: quicport client connected out; gateway opened TCP 8080" "after $(since "$t")"

	read -r connect total size < <(in_host "$outside" curl --silent --show-error --fail \
		--max-time 120 --output "$work/got" --write-out '%{time_connect} %{time_total} %{size_download}\n' \
		http://198.51.100.1:8080/file) || broken "curl could not fetch the file"
	done_step "outside: curl http://198.51.100.1:8080/file ($((size >> 20)) MiB)" \
		"$(awk -v s="$size" -v t="$total" 'BEGIN { printf "%.2f Gbit/s", s * 8 / t / 1e9 }')"
	got=$(sha256sum <"$work/got")
	[ "$got" = "$want" ] || broken "the checksums differ: ${got:0:16}… instead of ${want:0:16}…"
	done_step "SHA-256 is the same at both ends: ${want:0:12}…${want:52:12}" \
		"$(awk -v t="$connect" 'BEGIN { printf "connect %.1f ms", t * 1000 }')"

	heading "And down again"
	t=$(now_ms)
	stop "$client_pid" 3 || broken "the client does not end"
	! port_open hello || broken "the port is still open after the client has left"
	done_step "client left: its port is closed at once" "$(since "$t")"
	t=$(now_ms)
	stop "$gateway_pid" 5 || broken "the gateway does not end"
	done_step "gateway ended, and its data plane and port owner with it" "$(since "$t")"
	[ "$(traces)" = "$before" ] || {
		diff <(echo "$before") <(traces) | sed 's/^/  | /' || true
		broken "the gateway left something behind"
	}
	done_step "nothing is left: no device, filter, process, file or huge page" ""
	take_down
	done_step "the 4 hosts are removed"
}

[ -z "${1:-}" ] || no_such_option "$1"
[ "$EUID" = 0 ] || die "the demo makes network namespaces, which needs root" "Run: sudo scripts/demo.sh"
[[ $file_mib =~ ^[1-9][0-9]{0,3}$ ]] || die "DEMO_MIB is \"$file_mib\": not a number from 1 to 9999"

log=$root/build-logs/demo.log
mkdir -p "$root/build-logs"
: >"$log"
at_exit on_exit

printf '%squicport: a web server behind NAT, reached through a gateway%s\n' "$bold" "$plain"
must_run "set-up: packages, wolfSSL, ngtcp2, huge pages" "$here/setup.sh"
must_run "build" build_product
# Only what this script says goes to the product.
for name in ${!QUICPORT_@}; do
	unset "$name"
done
work=$(mktemp -d -t qpdemo-XXXXXX)
demo
printf '\n%s%sIt works.%s The same for you: README.md has the commands.\n' "$bold" "$green" "$plain"
