#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# boot.sh FOLDER CGROUP: becomes systemd, as process 1 of a machine of its own: this machine's files under
# a layer of their own, its own network, processes and control groups. Nothing outside is touched, and
# all is gone with process 1.
set -eu
if [ "${3:-}" != inside ]; then
	mkdir "$1/cgroup"
	mount --make-rprivate /
	mount -t cgroup2 none "$1/cgroup"
	mkdir "$1/cgroup/$2"
	echo $$ >"$1/cgroup/$2/cgroup.procs"
	exec unshare --pid --mount --net --cgroup --uts --ipc --fork --kill-child "$0" "$1" "$2" inside
fi
root=$1/root
mkdir "$1/layer" "$root"
mount -t tmpfs tmpfs "$1/layer"
mkdir "$1/layer/upper" "$1/layer/work"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/layer/upper,workdir=$1/layer/work" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs tmpfs "$root/tmp"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
mkdir "$root/dev/net" "$root/dev/shm" "$root/dev/pts"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
for node in null zero full random urandom tty net/tun; do
	touch "$root/dev/$node"
	mount --bind "/dev/$node" "$root/dev/$node"
done
ln -s /proc/self/fd "$root/dev/fd"
# Of the kernel's settings only those of its own network may change.
mkdir "$root/run/net"
mount --bind "$root/proc/sys/net" "$root/run/net"
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,bind,ro "$root/proc/sys"
mount --move "$root/run/net" "$root/proc/sys/net"
rmdir "$root/run/net"
mkdir "$root/run/upper" "$root/run/test"
mount --bind "$1/layer/upper" "$root/run/upper"
mount --bind "$1/share" "$root/run/test"
# Only what a service stands on; nothing of this machine's own.
cd "$root/etc/systemd/system"
for unit in "$root"/{lib,etc}/systemd/system/*.target.wants/*; do
	case ${unit##*/} in
	systemd-journald.service | systemd-journald.socket | systemd-journald-dev-log.socket | systemd-tmpfiles-setup.service | systemd-sysusers.service) ;;
	*) ln -sf /dev/null "${unit##*/}" ;;
	esac
done
rm -rf "$root"/{var/lib,var/log,etc}/quicport # this machine's own gateways
rm -f "$root"/etc/dpkg/dpkg.cfg.d/* # a container's may leave documentation out
: >"$root/etc/fstab"
rm -f "$root/var/lib/man-db/auto-update" # an index of all man pages for each package takes seconds
rm -f "$root/usr/sbin/policy-rc.d"
ip link set lo up
cd "$root"
mkdir -p run/old
pivot_root . run/old
umount -l run/old
rmdir run/old
export container=quicport-test
exec /lib/systemd/systemd --system --unit=basic.target </dev/null
