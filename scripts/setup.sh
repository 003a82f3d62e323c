#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Brings a bare Debian 12 to where quicport builds, runs and passes its tests. Run it again at any
# time: what is there already is left alone.
# shellcheck source-path=SCRIPTDIR disable=SC2034
set -euo pipefail

here=$(cd "${BASH_SOURCE[0]%/*}" && pwd)
deps_lock=$here/deps.lock
# shellcheck source=lib.sh
. "$here/lib.sh"
# shellcheck source=deps.sh
. "$here/deps.sh"

usage() {
	cat <<'EOF'
Usage: scripts/setup.sh [option]

Installs the Debian packages that quicport needs, builds wolfSSL and ngtcp2 into a cache outside the
source tree, and reserves huge pages for DPDK. Safe to run again: it only does what is missing.

  --no-hugepages   packages and libraries only (for a machine that builds, but runs nothing)
  --deps-only      wolfSSL and ngtcp2 only; needs no root
  --print-prefix   print where wolfSSL and ngtcp2 are installed, and do nothing else
  --relock         look up the newest patched versions of both, and pin them in scripts/deps.lock
  --help           this text

Environment:
  QUICPORT_CACHE      cache folder (default: ~/.cache/quicport)
  QUICPORT_HUGEPAGES  2 MiB huge pages to reserve (default: 512, which is 1 GiB)
  QUICPORT_MIRROR     URIs of Debian mirrors to ask for sources before those that apt is set up with
EOF
}

packages=(
	# compilers and build tools; the second line builds wolfSSL and ngtcp2
	build-essential pkg-config meson ninja-build clang llvm libclang-rt-14-dev clang-format-14
	autoconf automake libtool patch xz-utils
	# libraries
	libdpdk-dev dpdk libsodium-dev libbpf-dev bpftool libmicrohttpd-dev libgnutls28-dev libjansson-dev
	libsqlite3-dev
	libcurl4-openssl-dev libsystemd-dev libmnl-dev libcyaml-dev libyaml-dev zlib1g-dev
	# tests and demo
	libcriterion-dev python3 python3-pytest python3-pytest-timeout python3-venv shellcheck
	# the web page's tests: a browser without a window
	chromium-headless-shell fonts-dejavu-core
	curl socat iperf3 mandoc zsh netcat-openbsd openssh-client openssh-server ethtool iproute2 iptables nftables tcpdump procps kmod
	# packages
	debhelper lintian logrotate systemd libcap2-bin
	prometheus
)

need_root() {
	[ "$EUID" = 0 ] || die "$1 needs root" \
		"Run: sudo scripts/setup.sh" \
		"(wolfSSL and ngtcp2 alone can be built without: scripts/setup.sh --deps-only)"
}

missing_packages() {
	comm -23 <(printf '%s\n' "${packages[@]}" | sort -u) \
		<(dpkg-query -W -f '${db:Status-Status} ${Package}\n' | sed -n 's/^installed //p' | sort -u)
}

# The tests want the programs of sshd and Prometheus; this machine gets no server from us, now or at its
# next boot.
without_services() {
	local policy=/usr/sbin/policy-rc.d status=0
	if [ -e $policy ]; then
		policy=
	else
		printf '#!/bin/sh\nexit 101\n' >$policy
		chmod 755 $policy
	fi
	"$@" || status=$?
	[ -z "$policy" ] || rm -f $policy
	return $status
}

install_packages() {
	export DEBIAN_FRONTEND=noninteractive
	# A third-party source that fails is not ours to judge: the install shows whether it mattered.
	apt-get update || true
	without_services \
		apt-get install -y --no-install-recommends -o DPkg::Lock::Timeout=300 "$@" || return
	[[ " $* " != *" openssh-server "* ]] || systemctl disable ssh.service 2>/dev/null || true
	[[ " $* " != *" prometheus "* ]] || systemctl disable prometheus.service 2>/dev/null || true
}

set_up_packages() {
	local missing id=unknown version=unknown
	mapfile -t missing < <(missing_packages)
	if [ ${#missing[@]} -eq 0 ]; then
		ok "packages: all ${#packages[@]} are installed"
		return
	fi
	if [ -r /etc/os-release ]; then
		id=$(. /etc/os-release && echo "${ID:-unknown}")
		version=$(. /etc/os-release && echo "${VERSION_ID:-unknown}")
	fi
	[ "$id $version" = "debian 12" ] || die "this is $id $version; quicport is set up on Debian 12" \
		"Use a Debian 12 machine, virtual machine or container, or install by hand:" "${missing[*]}"
	need_root "installing packages"
	must_run_hint=(
		"If apt could not reach its mirror: check the network and /etc/apt/sources.list*."
		"If dpkg was interrupted before: dpkg --configure -a"
	)
	must_run "packages: installing ${#missing[@]} of ${#packages[@]}" install_packages "${missing[@]}"
}

set_up_deps() {
	if [ -d "$prefix" ]; then
		ok "wolfSSL and ngtcp2: built, in $prefix"
		return
	fi
	command -v gcc >/dev/null || die "no C compiler" "Run: sudo scripts/setup.sh"

	if ! run_logged "wolfSSL and ngtcp2: fetching the sources" fetch_all; then
		# Mirrors keep the newest patch set only. A newer one of the same release is what we want.
		must_run_hint=(
			"No mirror that apt is set up with has the versions in scripts/deps.lock. One of:"
			"- check that the network works: apt-get update"
			"- take what the mirror has now, then build and test: scripts/setup.sh --relock"
			"- name a mirror or archive that has them: QUICPORT_MIRROR=<uri> scripts/setup.sh"
			"- put the files by hand into $cache/deps/src/"
			"If the log says NO_PUBKEY: apt-get install --only-upgrade debian-archive-keyring"
		)
		must_run "wolfSSL and ngtcp2: looking for a newer patch set" relock same-upstream
		note "scripts/deps.lock now has Debian's newer patches (its signature is checked): commit it"
		deps_prefix
		set_up_deps
		return
	fi

	must_run_hint=()
	must_run "wolfSSL: building (about a minute)" build_wolfssl
	must_run "ngtcp2: building" build_ngtcp2
	must_run "wolfSSL and ngtcp2: installing into $prefix" finish_prefix
}

# Huge pages of 2 MiB, counted over all NUMA nodes. What is reserved already is never lowered.
set_up_hugepages() {
	local pages=/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages
	local want=${QUICPORT_HUGEPAGES:-512} have fit
	[[ $want =~ ^[0-9]+$ ]] || die "QUICPORT_HUGEPAGES is \"$want\": not a number"
	[ "$want" -gt 0 ] || { skip "huge pages: QUICPORT_HUGEPAGES is 0"; return; }
	[ -r $pages ] || die "this kernel has no 2 MiB huge pages" "DPDK needs them: $pages is missing."
	read -r have <$pages
	if [ "$have" -ge "$want" ]; then
		ok "huge pages: $have of 2 MiB are reserved"
		return
	fi

	need_root "reserving huge pages"
	# The rest of the machine keeps at least 512 MiB.
	fit=$(awk '/^MemAvailable:/ { print int(($2 / 1024 - 512) / 2) }' /proc/meminfo)
	[ "$fit" -gt 0 ] || fit=0
	if [ "$want" -gt $((have + fit)) ]; then
		note "huge pages: memory allows for $((have + fit)) of the $want wanted"
		want=$((have + fit))
	fi
	echo "$want" 2>/dev/null >$pages || die "cannot write $pages" \
		"In a container: reserve them on the host, or give the container more rights (--privileged)." \
		"To set up a machine that only builds: scripts/setup.sh --no-hugepages"
	if [ "$(<$pages)" -lt "$want" ]; then
		# Memory is there, but in pieces.
		sync
		echo 3 >/proc/sys/vm/drop_caches || true
		echo 1 >/proc/sys/vm/compact_memory || true
		echo "$want" >$pages
	fi
	read -r have <$pages
	[ "$have" -ge 64 ] || die "only $have huge pages of 2 MiB could be reserved; a gateway needs 64 and more" \
		"Stop programs that use much memory, or restart the machine, and run this again."
	if [ "$have" -lt "$want" ]; then
		note "huge pages: $have of the $want wanted are reserved; memory is too fragmented for more"
	else
		ok "huge pages: $have of 2 MiB reserved (until the next boot)"
	fi
}

mount_hugetlbfs() {
	local dir
	while read -r _ dir type options _; do
		[ "$type" = hugetlbfs ] || continue
		case ,$options, in
		*,pagesize=2M,*)
			ok "hugetlbfs: mounted at $dir"
			return
			;;
		esac
	done </proc/mounts
	need_root "mounting hugetlbfs"
	dir=/dev/hugepages
	# Something else, such as 1 GiB pages, may be mounted there.
	! mountpoint -q $dir || dir=/dev/hugepages2M
	mkdir -p $dir
	mount -t hugetlbfs -o pagesize=2M none $dir 2>>"$log" || die "cannot mount hugetlbfs at $dir" \
		"In a container: pass the host's mount on (-v /dev/hugepages:/dev/hugepages)." \
		"To set up a machine that only builds: scripts/setup.sh --no-hugepages"
	ok "hugetlbfs: mounted at $dir"
}

on_exit() {
	clean_exit $?
	rm -rf "$work"
	# What root made in another person's cache is that person's.
	if [ "$EUID" = 0 ] && [ -n "${SUDO_UID:-}" ] && [ -z "${QUICPORT_CACHE:-}" ]; then
		chown -R "$SUDO_UID:${SUDO_GID:-$SUDO_UID}" "$cache"
	fi
}

mode=all
while [ $# -gt 0 ]; do
	case $1 in
	--print-prefix | --no-hugepages | --deps-only | --relock) mode=${1#--} ;;
	*) no_such_option "$1" ;;
	esac
	shift
done

work=
cache=$(deps_cache_dir)
deps_prefix
if [ "$mode" = print-prefix ]; then
	[ -d "$prefix" ] || die "wolfSSL and ngtcp2 are not built yet" "Run: scripts/setup.sh"
	printf '%s\n' "$prefix"
	exit 0
fi

case $cache in
/*) ;;
*) die "the cache folder must be an absolute path: $cache" ;;
esac
[[ $cache != *[[:space:]]* ]] || die "the cache folder's path must not have blanks: $cache" \
	"Choose another: QUICPORT_CACHE=/var/cache/quicport scripts/setup.sh"
{ mkdir -p "$cache/deps" && : >>"$cache/setup.lock"; } 2>/dev/null ||
	die "cannot write to the cache folder $cache" \
		"Choose another: QUICPORT_CACHE=<folder> scripts/setup.sh"

exec 9>"$cache/setup.lock"
if ! flock --nonblock 9; then
	note "another set-up is at work: waiting for it to end"
	flock 9
fi
log=$cache/setup.log
[ ! -s "$log" ] || mv "$log" "$log.old"   # a run that had nothing to do leaves the last log
: >"$log"
at_exit on_exit
# Of a run that was killed. What it started may still be writing there: then the next run clears it.
rm -rf "$cache"/deps/.work-* 2>/dev/null || true
work=$(mktemp -d "$cache/deps/.work-XXXXXX")

case $mode in
relock)
	before=$(lock_lines)
	must_run_hint=("If the log says NO_PUBKEY: apt-get install --only-upgrade debian-archive-keyring")
	must_run "reading the signed package index of $deps_suite" relock
	if [ "$before" = "$(lock_lines)" ]; then
		ok "scripts/deps.lock has the newest versions already"
	else
		ok "scripts/deps.lock is rewritten: run scripts/setup.sh and the tests, then commit it"
		diff <(echo "$before") <(lock_lines) | sed -nE 's/^([<>].*[^ ]) +[0-9a-f]{64}$/        \1/p' || true
	fi
	exit 0
	;;
deps-only) set_up_deps ;;
no-hugepages)
	set_up_packages
	deps_prefix   # the compiler may have come just now
	set_up_deps
	;;
all)
	set_up_packages
	deps_prefix
	set_up_deps
	set_up_hugepages
	mount_hugetlbfs
	;;
esac
printf 'Set up in %s.\n' "$(elapsed $SECONDS)"
[ -f "$here/../build/build.ninja" ] || echo "Next: meson setup build && ninja -C build"
