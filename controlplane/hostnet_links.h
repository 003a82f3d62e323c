/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_HOSTNET_LINKS_H
#define QP_CONTROLPLANE_HOSTNET_LINKS_H

#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>

#include <libmnl/libmnl.h>

#include "common/classifier.h"
#include "common/error.h"

/*
 * The host's interfaces and addresses by rtnetlink: a view that is read whole,
 * and a monitor that says when to read it again. Reading whole at each change
 * cannot miss anything, also when the kernel had to drop notifications.
 * Functions return 0 or an errno value.
 */
enum qp_link_kind {
	QP_LINK_OTHER = 0, /* the classifier has nothing to do there */
	QP_LINK_ETHERNET,  /* frames with Ethernet headers; lo, too */
	QP_LINK_L3,        /* bare IP packets */
};

struct qp_link {
	uint32_t ifindex;
	uint32_t mtu;
	enum qp_link_kind kind;
	bool up;
	bool enslaved; /* to a bridge or bond: its master receives the packets */
	bool is_tap;   /* some gateway's host port */
	bool is_vrf;   /* its routes name its members, not itself */
	uint8_t mac[6];
	char name[IF_NAMESIZE];
};

struct qp_local_addr {
	struct qp_cls_addr addr;
	struct qp_cls_local where;
};

/* All zero: empty. */
struct qp_host_view {
	struct qp_link *links;
	unsigned nlinks, links_cap;
	/* Sorted by address, each once; without loopback ones and those that DAD has not passed. */
	struct qp_local_addr *addrs;
	unsigned naddrs, addrs_cap;
};

int qp_host_view_read(struct qp_host_view *v);
void qp_host_view_clear(struct qp_host_view *v);
/* NULL: no such interface. */
const struct qp_link *qp_host_view_link(const struct qp_host_view *v, uint32_t ifindex);
const struct qp_link *qp_host_view_named(const struct qp_host_view *v, const char *name);

/*
 * All that rtnetlink knows of a kind (RTM_GETLINK, …; `header`: bytes of its
 * header), a message a call. `cb` may end it by MNL_CB_STOP.
 */
int qp_host_dump(uint16_t type, size_t header, mnl_cb_t cb, void *data);

/* A non-blocking netlink socket that is readable when something of `groups` (RTMGRP_*) changed. NULL: errno. */
struct mnl_socket *qp_host_monitor_open(unsigned groups);
/* Reads away what is waiting; whether there was anything. */
bool qp_host_monitor_drain(struct mnl_socket *nl);

/*
 * One of an interface's IPv4 settings (IPV4_DEVCONF_* of linux/ip.h), by
 * netlink, which works where /proc/sys is read-only (containers).
 */
int qp_host_get_ipv4_conf(uint32_t ifindex, uint16_t which, uint32_t *value);
int qp_host_set_ipv4_conf(uint32_t ifindex, uint16_t which, uint32_t value);

#endif
