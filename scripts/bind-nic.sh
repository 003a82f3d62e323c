#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Gives network cards to a gateway (nic mode), and back to the kernel. Changes nothing but drivers,
# and nothing at all before it has looked at what would be cut off.
set -euo pipefail

sys=${QUICPORT_SYSFS:-/sys}
driver=vfio-pci
force=0
noiommu=0
# The kernel drivers below which DPDK's own work without taking the card away.
shared_drivers=' mlx4_core mlx5_core mana '

usage() {
	cat <<'EOF'
Usage: bind-nic.sh status
       bind-nic.sh explain DEVICE...
       bind-nic.sh bind [--driver NAME] [--no-iommu] [--force] DEVICE...
       bind-nic.sh unbind DEVICE...

DEVICE is a PCI address (0000:03:00.0, or 03:00.0) or the name of a network interface (eth1).

  status   the network cards of this host: driver, NUMA node, IOMMU group, link, interface
  explain  what stands in the way of a gateway's having the card, and how to clear it
  bind     takes the card from the kernel and gives it to vfio-pci, for --port
  unbind   gives it back to the kernel's own driver

  --driver NAME  another driver than vfio-pci (uio_pci_generic: for other DPDK programs)
  --no-iommu     switch on vfio's unsafe mode on a host without an IOMMU: the card, and whoever
                 controls it, can then read and write all memory. For other DPDK programs: quicport
                 uses virtual addresses, which a card without an IOMMU cannot
  --force        also the card that carries the default route or this ssh session
EOF
}

# die WHAT [WAY_OUT...]
die() {
	printf 'bind-nic.sh: %s\n' "$1" >&2
	shift
	[ $# -eq 0 ] || printf '  %s\n' "$@" >&2
	exit 1
}

devices=$sys/bus/pci/devices
attribute() { cat "$devices/$1/$2" 2>/dev/null || echo "${3:-}"; }
target() { basename "$(readlink -f "$1")"; }

driver_of() { if [ -e "$devices/$1/driver" ]; then target "$devices/$1/driver"; else echo none; fi; }
group_of() { if [ -e "$devices/$1/iommu_group" ]; then target "$devices/$1/iommu_group"; else echo none; fi; }

# Of virtio cards they belong to the virtio device that the PCI device has.
interfaces_of() {
	local net
	for net in "$devices/$1/net/"* "$devices/$1/virtio"*/net/*; do
		[ ! -e "$net" ] || echo "${net##*/}"
	done
}

# The whole PCI address of what the user calls DEVICE.
resolve() {
	local at
	if [ -e "$sys/class/net/$1/device" ]; then
		at=$(target "$sys/class/net/$1/device")
		# Of a virtio device it is the parent.
		[ -d "$devices/$at" ] || at=$(basename "$(dirname "$(readlink -f "$sys/class/net/$1/device")")")
	else
		at=$1
		[[ $at == *:*:* ]] || at=0000:$at
	fi
	[ -d "$devices/$at" ] || die "$1 is no PCI device and no interface of one" \
		"bind-nic.sh status shows which there are."
	[[ $(attribute "$at" class) == 0x02* ]] || die "$1 is no network card (PCI class $(attribute "$at" class))" \
		"bind-nic.sh status shows which there are."
	echo "$at"
}

link_of() {
	local net state speed
	net=$(interfaces_of "$1" | head -n 1)
	[ -n "$net" ] || { echo -; return; }
	state=$(cat "$sys/class/net/$net/operstate" 2>/dev/null || echo unknown)
	speed=$(cat "$sys/class/net/$net/speed" 2>/dev/null || echo -1)
	if [ "$state" = up ] && [ "${speed:--1}" -gt 0 ]; then echo "up, $speed Mbit/s"; else echo "$state"; fi
}

network_cards() {
	local at
	for at in "$devices"/*; do
		[ -d "$at" ] || continue
		[[ $(attribute "${at##*/}" class) != 0x02* ]] || echo "${at##*/}"
	done
}

# Interfaces whose loss cuts this host off: those of the default routes, and that of the ssh session.
vital_interfaces() {
	{
		ip -o -4 route show default 2>/dev/null
		ip -o -6 route show default 2>/dev/null
	} | sed -n 's/.* dev \([^ ]*\).*/\1 carries the default route/p' | sort -u
	local own
	own=$(echo "${SSH_CONNECTION:-}" | cut -d ' ' -f 3)
	[ -z "$own" ] || ip -o address show to "$own" 2>/dev/null |
		sed -n 's/^[0-9]*: \([^ ]*\).*/\1 carries this ssh session/p' | sort -u
}

# beneath INTERFACE: itself, and what it is made of (bonds, bridges, VLANs).
beneath() {
	local lower
	echo "${1%%@*}"
	for lower in "$sys/class/net/${1%%@*}"/lower_*; do
		[ ! -e "$lower" ] || beneath "${lower##*/lower_}"
	done
}

# Why the host would miss this card; nothing: it would not.
why_vital() {
	local line below
	vital_interfaces | while read -r line; do
		beneath "${line%% *}" | while read -r below; do
			interfaces_of "$1" | grep -qx "$below" && echo "${line#* } ($below)"
		done
	done | sort -u || true
}

# Others in its IOMMU group that the kernel still uses: vfio takes whole groups only.
group_fellows() {
	local group fellow at
	group=$(group_of "$1")
	[ "$group" != none ] || return 0
	for fellow in "$devices/$1/iommu_group/devices"/*; do
		at=${fellow##*/}
		if [ ! -e "$fellow" ] || [ "$at" = "$1" ]; then continue; fi
		case $(attribute "$at" class) in 0x0604*) continue ;; esac # a bridge
		case $(driver_of "$at") in none | vfio-pci | pci-stub) continue ;; esac
		echo "$at $(driver_of "$at")"
	done
}

unsafe_mode() { [ "$(cat "$sys/module/vfio/parameters/enable_unsafe_noiommu_mode" 2>/dev/null || echo N)" = Y ]; }

status() {
	local at
	printf '%-13s %-10s %-16s %-5s %-6s %-18s %s\n' DEVICE ID DRIVER NUMA IOMMU LINK INTERFACE
	for at in $(network_cards); do
		printf '%-13s %-10s %-16s %-5s %-6s %-18s %s\n' "$at" \
			"$(attribute "$at" vendor | cut -c 3-):$(attribute "$at" device | cut -c 3-)" \
			"$(driver_of "$at")" "$(attribute "$at" numa_node -1)" "$(group_of "$at")" \
			"$(link_of "$at")" "$(interfaces_of "$at" | paste -sd ' ' -)"
	done
}

explain() {
	local at=$1 numa cpus vital line trouble=0
	numa=$(attribute "$at" numa_node -1)
	echo "$at: $(attribute "$at" vendor):$(attribute "$at" device), driver $(driver_of "$at"), link $(link_of "$at")"
	cpus=$(cat "$sys/devices/system/node/node$numa/cpulist" 2>/dev/null || true)
	if [ -n "$cpus" ]; then
		echo "  NUMA node $numa: take the workers' CPUs and huge pages there (--lcores, out of $cpus)"
	else
		echo "  NUMA node: not known (one node, or a virtual machine)"
	fi
	if [ "$(attribute "$at" current_link_width 0)" != "$(attribute "$at" max_link_width 0)" ]; then
		echo "  PCIe: x$(attribute "$at" current_link_width) in use, the card has x$(attribute "$at" max_link_width): another slot is faster"
	fi
	vital=$(why_vital "$at")
	if [ -n "$vital" ]; then
		trouble=1
		echo "  in use by the host: it $vital: take another card, or bind with --force from a console"
	fi
	case $shared_drivers in
	*" $(driver_of "$at") "*)
		echo "  driver $(driver_of "$at"): nothing to bind, DPDK uses the card beside it: --port $at"
		return $trouble
		;;
	esac
	if [ "$(group_of "$at")" = none ]; then
		if unsafe_mode; then
			echo "  no IOMMU: vfio runs in its unsafe mode, the card can reach all memory; quicport cannot use it"
		else
			trouble=1
			echo "  no IOMMU: switch it on in the firmware (VT-d, AMD-Vi) and on the kernel's command line"
			echo "    (intel_iommu=on iommu=pt, or amd_iommu=on iommu=pt); or, for another DPDK program than quicport:"
			echo "    bind-nic.sh bind --no-iommu $at"
		fi
	else
		while read -r line; do
			[ -n "$line" ] || continue
			trouble=1
			echo "  IOMMU group $(group_of "$at") has ${line% *} (driver ${line#* }) as well, and vfio takes whole groups:"
			echo "    bind-nic.sh bind ${line% *}, or echo ${line% *} > $sys/bus/pci/drivers/${line#* }/unbind,"
			echo "    or another slot"
		done < <(group_fellows "$at")
	fi
	if [ "$(driver_of "$at")" = "$driver" ]; then
		echo "  bound: --port $at; unprivileged gateways need: chown quicport /dev/vfio/$(group_of "$at")"
	elif [ $trouble = 0 ]; then
		echo "  ready: bind-nic.sh bind $at"
	fi
	return $trouble
}

# Writes a word that the kernel reads.
tell() {
	echo "$1" >"$2" || die "cannot write $2: $3" "Run it as root; dmesg tells the kernel's reason."
}

# The kernel changes drivers before the write returns, but for what udev does afterwards.
wait_driver() {
	local tries
	for ((tries = 0; tries < 100; tries++)); do
		case $2 in
		any) [ "$(driver_of "$1")" = "$driver" ] || return 0 ;;
		*) [ "$(driver_of "$1")" != "$2" ] || return 0 ;;
		esac
		sleep 0.05
	done
	return 1
}

rebind() { # DEVICE OVERRIDE
	local old
	old=$(driver_of "$1")
	tell "$2" "$devices/$1/driver_override" "which driver"
	[ "$old" = none ] || tell "$1" "$sys/bus/pci/drivers/$old/unbind" "the old driver"
	tell "$1" "$sys/bus/pci/drivers_probe" "the new driver"
}

load_driver() {
	[ -d "$sys/bus/pci/drivers/$driver" ] || modprobe "$driver" 2>/dev/null || true
	[ -d "$sys/bus/pci/drivers/$driver" ] || die "there is no driver $driver" \
		"modprobe $driver says why; Debian's kernels have vfio-pci as a module, cloud kernels may not."
}

check_group() {
	local fellows
	if [ "$driver" = vfio-pci ] && [ "$(group_of "$1")" = none ]; then
		if [ $noiommu = 1 ]; then
			echo "bind-nic.sh: WARNING: without an IOMMU the card can read and write all memory of this host, and quicport cannot use it" >&2
			unsafe_mode || tell Y "$sys/module/vfio/parameters/enable_unsafe_noiommu_mode" "unsafe mode"
		elif ! unsafe_mode; then
			die "$1 has no IOMMU group" \
				"Switch the IOMMU on: VT-d or AMD-Vi in the firmware, and on the kernel's command line" \
				"intel_iommu=on iommu=pt (or amd_iommu=on iommu=pt). For another DPDK program than quicport, and at" \
				"your own risk: bind-nic.sh bind --no-iommu $1"
		fi
	fi
	fellows=$(group_fellows "$1" | paste -sd ',' -)
	[ -z "$fellows" ] || [ "$driver" != vfio-pci ] || die "IOMMU group $(group_of "$1") has others that the kernel uses: $fellows" \
		"vfio takes whole groups: bind or unbind them, too, or put the card into another slot" \
		"(bind-nic.sh explain $1)."
}

# Whether there is anything to do for it.
needs_binding() {
	case $shared_drivers in *" $(driver_of "$1") "*) return 1 ;; esac
	[ "$(driver_of "$1")" != "$driver" ]
}

check_one() {
	local at=$1 vital
	needs_binding "$at" || return 0
	command -v ip >/dev/null || [ $force = 1 ] ||
		die "there is no ip command (iproute2), which tells what the host needs $at for" \
			"Install it, or add --force from a console or with another way in."
	vital=$(why_vital "$at")
	[ -z "$vital" ] || [ $force = 1 ] || die "$at $vital: this host would be cut off" \
		"Take another card; or, from a console or with another way in, add --force."
	load_driver
	check_group "$at"
}

bind_one() {
	local at=$1
	if ! needs_binding "$at"; then
		echo "$at: nothing to do, its driver $(driver_of "$at") is one that DPDK uses: --port $at"
		return
	fi
	rebind "$at" "$driver"
	wait_driver "$at" "$driver" || die "$at does not take the driver $driver: it has $(driver_of "$at") now" \
		"dmesg tells the kernel's reason. Back again: bind-nic.sh unbind $at"
	echo "$at: bound to $driver, until the next boot (driverctl set-override $at $driver, or QUICPORT_NICS in"
	echo "  /etc/default/quicport-gateway, keep it so): --port $at"
}

unbind_one() {
	local at=$1
	if [ "$(driver_of "$at")" != vfio-pci ] && [ "$(driver_of "$at")" != uio_pci_generic ]; then
		echo "$at: is the kernel's already (driver $(driver_of "$at"))"
		return
	fi
	driver=$(driver_of "$at")
	rebind "$at" ""
	wait_driver "$at" any || die "$at is still bound to $driver" \
		"Does a gateway run on it? End that first; dmesg tells the kernel's reason."
	echo "$at: driver $(driver_of "$at")"
}

command=${1:-}
[ $# -eq 0 ] || shift
names=()
while [ $# -gt 0 ]; do
	case $1 in
	--driver)
		driver=${2:?--driver needs a name}
		shift
		;;
	--no-iommu) noiommu=1 ;;
	--force) force=1 ;;
	-h | --help)
		usage
		exit 0
		;;
	-*) die "unknown option $1" "bind-nic.sh --help shows which there are." ;;
	*) names+=("$1") ;;
	esac
	shift
done
case $command in
-h | --help | help)
	usage
	exit 0
	;;
status)
	status
	exit 0
	;;
explain | bind | unbind) ;;
*)
	usage >&2
	exit 2
	;;
esac
[ ${#names[@]} -gt 0 ] || die "$command needs a device" "bind-nic.sh status shows which there are."
# All of them are looked at before the first one is touched.
addresses=()
for name in "${names[@]}"; do
	address=$(resolve "$name")
	addresses+=("$address")
done
if [ "$command" = bind ]; then
	for address in "${addresses[@]}"; do check_one "$address"; done
fi
result=0
for address in "${addresses[@]}"; do
	case $command in
	explain) explain "$address" || result=1 ;;
	bind) bind_one "$address" ;;
	unbind) unbind_one "$address" ;;
	esac
done
exit $result
