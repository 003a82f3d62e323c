/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes and configures the TAP device below a host port: queues and offloads by
 * ioctl, the rest by netlink; it comes up last, so that it is never up half set.
 * Runs once, at the port's start; input and output are port_host.c's.
 */
#define QP_LOG_MODULE QP_LOG_M_worker
#include "dataplane/port_tap.h"

#include <errno.h>
#include <fcntl.h>
#include <libmnl/libmnl.h>
#include <linux/if.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <linux/if_tun.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <linux/virtio_net.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/classifier.h"
#include "common/log.h"
#include "dataplane/port_steer.h"

/* Since Linux 6.2; Debian 12's headers do not have them. */
#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif
#ifndef IFF_TUN_EXCL
#define IFF_TUN_EXCL 0x8000
#endif

/*
 * Frames that the kernel queues while the worker is busy or not scheduled.
 * Measured: a kernel core pushes 0.1 to 0.6 million frames a second into a
 * TAP, so this covers 7 ms at least.
 */
#define TAP_QUEUE_FRAMES 4096u

/*
 * The kernel's own limit for a TAP. It binds nothing here: the classifier
 * redirects frames of any size, and what is written is not checked.
 */
#define TAP_MTU_MAX (65535u - ETH_HLEN)

/* Every queue is opened with the same. */
#define TAP_FLAGS (IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE)

static void
close_queue(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static int
open_tun(struct qp_errmsg *msg)
{
	int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0 && (errno == EACCES || errno == EPERM))
		return qp_fail(msg, QP_E_PERM, "cannot open /dev/net/tun: %s; run as root, "
			"in a container with --device /dev/net/tun", strerror(errno));
	if (fd < 0)
		return qp_fail(msg, QP_E_UNSUPPORTED, "cannot open /dev/net/tun: %s; load the module "
			"(modprobe tun), or give the container the device (--device /dev/net/tun)",
			strerror(errno));
	return fd;
}

static int
open_device(const char *name, struct qp_tap *tap, struct qp_errmsg *msg)
{
	struct ifreq ifr = {.ifr_flags = TAP_FLAGS | IFF_TUN_EXCL};
	int fd = open_tun(msg);

	if (fd < 0)
		return fd;
	tap->fd[0] = fd;
	memcpy(ifr.ifr_name, name, strlen(name));
	if (ioctl(fd, TUNSETIFF, &ifr) == 0)
		return 0;
	if (errno == EPERM)
		return qp_fail(msg, QP_E_PERM, "making the TAP device %s needs CAP_NET_ADMIN; "
			"run as root", name);
	if (errno == EBUSY || errno == EEXIST)
		return qp_fail(msg, QP_E_INUSE, "an interface named %s exists already; delete it "
			"(ip link delete %s) or choose another instance name", name, name);
	return qp_fail(msg, qp_err_from_errno(errno), "cannot make the TAP device %s: %s", name,
		strerror(errno));
}

/* One more queue of the device; its descriptor, or a negative errno value. */
static int
open_queue(const struct ifreq *device)
{
	struct ifreq ifr = *device;
	int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC), err;

	ifr.ifr_flags = TAP_FLAGS;
	if (fd >= 0 && ioctl(fd, TUNSETIFF, &ifr) == 0)
		return fd;
	err = errno;
	if (fd >= 0)
		close(fd);
	return -err;
}

/*
 * The strangers' queues, and what fills them. A kernel that has no such thing,
 * or does not let us, costs fairness under a flood, not service.
 */
static void
add_strangers(const char *name, struct qp_tap *tap)
{
	struct ifreq ifr = {0};
	int err;

	/* By the descriptor, since the name may have been changed by a udev rule. */
	err = ioctl(tap->fd[0], TUNGETIFF, &ifr) < 0 ? errno : 0;
	/* Before there is a second queue: it would get flows by their hash. */
	if (err == 0)
		err = qp_steer_attach(tap->fd[0]);
	for (unsigned i = 1; err == 0 && i < QP_CLS_NQUEUES; i++) {
		tap->fd[i] = open_queue(&ifr);
		err = tap->fd[i] < 0 ? -tap->fd[i] : 0;
	}
	if (err == 0)
		return;
	qp_log(QP_LOG_WARN, "strangers' packets share the queue of established connections: "
		"the kernel does not steer a TAP device's frames", QP_LOG_STR("device", name),
		QP_LOG_ERRNO(err));
	for (unsigned i = 1; i < QP_CLS_NQUEUES; i++)
		close_queue(&tap->fd[i]);
}

static int
set_offloads(const char *name, struct qp_tap *tap, struct qp_errmsg *msg)
{
	const unsigned base = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;
	int hdr_bytes = sizeof(struct virtio_net_hdr);

	if (ioctl(tap->fd[0], TUNSETVNETHDRSZ, &hdr_bytes) < 0)
		return qp_fail(msg, qp_err_from_errno(errno),
			"cannot set the header size of TAP device %s: %s", name, strerror(errno));
	tap->uso = ioctl(tap->fd[0], TUNSETOFFLOAD, base | TUN_F_USO4 | TUN_F_USO6) == 0;
	if (!tap->uso && ioctl(tap->fd[0], TUNSETOFFLOAD, base) < 0)
		return qp_fail(msg, qp_err_from_errno(errno),
			"cannot set the offloads of TAP device %s: %s", name, strerror(errno));
	return 0;
}

static int
find_ifindex(struct qp_tap *tap)
{
	struct ifreq ifr = {0};
	int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), err;

	if (s < 0)
		return errno;
	/* By the descriptor, since the name may have been changed by a udev rule. */
	err = ioctl(tap->fd[0], TUNGETIFF, &ifr) < 0 || ioctl(s, SIOCGIFINDEX, &ifr) < 0 ? errno : 0;
	close(s);
	tap->ifindex = (uint32_t)ifr.ifr_ifindex;
	return err;
}

/* Sends a request and waits for its acknowledgement; 0 or an errno value. */
static int
talk(struct mnl_socket *nl, struct nlmsghdr *nlh)
{
	char buf[8192];
	ssize_t n;

	nlh->nlmsg_flags |= NLM_F_REQUEST | NLM_F_ACK;
	nlh->nlmsg_seq = 1;
	if (mnl_socket_sendto(nl, nlh, nlh->nlmsg_len) < 0)
		return errno;
	n = mnl_socket_recvfrom(nl, buf, sizeof(buf));
	if (n < 0)
		return errno;
	return mnl_cb_run(buf, (size_t)n, 1, mnl_socket_get_portid(nl), NULL, NULL) < 0 ? errno : 0;
}

static int
set_link(struct mnl_socket *nl, const struct qp_tap *tap, uint16_t mtu)
{
	char buf[1024];
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct ifinfomsg *ifi = mnl_nlmsg_put_extra_header(nlh, sizeof(*ifi));
	struct nlattr *spec, *inet6;

	nlh->nlmsg_type = RTM_NEWLINK;
	ifi->ifi_index = (int)tap->ifindex;
	/* No multicast, no ARP, no link-local address: the kernel has nothing to say on it. */
	ifi->ifi_flags = IFF_NOARP;
	ifi->ifi_change = IFF_NOARP | IFF_MULTICAST;
	mnl_attr_put(nlh, IFLA_ADDRESS, sizeof(tap->mac), tap->mac);
	mnl_attr_put_u32(nlh, IFLA_MTU, mtu < TAP_MTU_MAX ? mtu : TAP_MTU_MAX);
	mnl_attr_put_u32(nlh, IFLA_TXQLEN, TAP_QUEUE_FRAMES);
	mnl_attr_put_strz(nlh, IFLA_IFALIAS, QP_TAP_ALIAS);
	/* A host without IPv6 refuses the attribute, and needs none. */
	if (access("/proc/sys/net/ipv6", F_OK) == 0) {
		spec = mnl_attr_nest_start(nlh, IFLA_AF_SPEC);
		inet6 = mnl_attr_nest_start(nlh, AF_INET6);
		mnl_attr_put_u8(nlh, IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE);
		mnl_attr_nest_end(nlh, inet6);
		mnl_attr_nest_end(nlh, spec);
	}
	return talk(nl, nlh);
}

/*
 * A host that forwards IPv6 would send a report of the groups that it joined.
 * Nothing is wrong when this fails (a container's /proc/sys may be read-only):
 * the worker drops what is not its own.
 */
static void
silence_ipv6(const char *name)
{
	char path[64 + IFNAMSIZ];
	int fd;

	snprintf(path, sizeof(path), "/proc/sys/net/ipv6/conf/%s/disable_ipv6", name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	(void)!write(fd, "1", 1);
	close(fd);
}

/* Apart from the rest: the kernel would bring it up first, and then read what else is asked. */
static int
set_up(struct mnl_socket *nl, const struct qp_tap *tap)
{
	char buf[256];
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct ifinfomsg *ifi = mnl_nlmsg_put_extra_header(nlh, sizeof(*ifi));

	nlh->nlmsg_type = RTM_NEWLINK;
	ifi->ifi_index = (int)tap->ifindex;
	ifi->ifi_flags = IFF_UP;
	ifi->ifi_change = IFF_UP;
	return talk(nl, nlh);
}

/* The device has a queue of its own: a qdisc before it would only add a lock and a hop. */
static int
set_noqueue(struct mnl_socket *nl, const struct qp_tap *tap)
{
	char buf[256];
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct tcmsg *tcm = mnl_nlmsg_put_extra_header(nlh, sizeof(*tcm));

	nlh->nlmsg_type = RTM_NEWQDISC;
	nlh->nlmsg_flags = NLM_F_CREATE | NLM_F_REPLACE;
	tcm->tcm_family = AF_UNSPEC;
	tcm->tcm_ifindex = (int)tap->ifindex;
	tcm->tcm_parent = TC_H_ROOT;
	mnl_attr_put_strz(nlh, TCA_KIND, "noqueue");
	return talk(nl, nlh);
}

static int
configure(const char *name, const struct qp_tap *tap, uint16_t mtu, struct qp_errmsg *msg)
{
	struct mnl_socket *nl = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
	int err;

	if (nl == NULL || mnl_socket_bind(nl, 0, MNL_SOCKET_AUTOPID) < 0)
		err = errno;
	else
		err = set_link(nl, tap, mtu);
	/* Slower without, but right: not worth a failure. */
	if (err == 0)
		(void)set_noqueue(nl, tap);
	silence_ipv6(name);
	if (err == 0)
		err = set_up(nl, tap);
	if (nl != NULL)
		mnl_socket_close(nl);
	if (err != 0)
		return qp_fail(msg, qp_err_from_errno(err), "cannot set up TAP device %s (mtu %u): %s",
			name, mtu, strerror(err));
	return 0;
}

static int
choose_mac(uint8_t mac[6])
{
	/* Locally administered; 02:71 belongs to the classifier's interface marks. */
	mac[0] = 0x02;
	mac[1] = 0x70;
	return getrandom(mac + 2, 4, 0) == 4 ? 0 : errno;
}

int
qp_tap_open(const char *name, uint16_t mtu, struct qp_tap *tap, struct qp_errmsg *msg)
{
	int rc, err;

	*tap = (struct qp_tap) {.fd = {-1, -1, -1, -1}};
	if (name[0] == '\0' || strlen(name) >= IFNAMSIZ)
		return qp_fail(msg, QP_E_INVAL, "interface name \"%s\" must have 1 to %d characters",
			name, IFNAMSIZ - 1);
	rc = open_device(name, tap, msg);
	if (rc == 0)
		rc = set_offloads(name, tap, msg);
	if (rc != 0)
		goto err;
	err = find_ifindex(tap);
	if (err == 0)
		err = choose_mac(tap->mac);
	if (err != 0) {
		rc = qp_fail(msg, qp_err_from_errno(err), "TAP device %s: %s", name, strerror(err));
		goto err;
	}
	add_strangers(name, tap);
	rc = configure(name, tap, mtu, msg);
	if (rc != 0)
		goto err;
	return 0;

err:
	qp_tap_close(tap);
	return rc;
}

void
qp_tap_close(struct qp_tap *tap)
{
	for (unsigned i = 0; i < QP_CLS_NQUEUES; i++)
		close_queue(&tap->fd[i]);
}
