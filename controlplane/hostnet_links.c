/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads interfaces, addresses and settings from the kernel by rtnetlink.
 * The loop thread's; blocks only for the kernel's answers to its own requests.
 */
#include "controlplane/hostnet_links.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/if_addr.h>
#include <linux/if_arp.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>

#define REPLY_BYTES 32768u /* the most that the kernel puts into one part of a dump */
#define DUMP_TRIES  5u     /* when changes get in between */

/* Room for one more element; false when out of memory. */
static bool
grow(void **array, unsigned n, unsigned *cap, size_t size)
{
	unsigned more = *cap ? *cap * 2 : 16;
	void *grown;

	if (n < *cap)
		return true;
	grown = reallocarray(*array, more, size);
	if (grown == NULL)
		return false;
	*array = grown;
	*cap = more;
	return true;
}

static enum qp_link_kind
kind_of(unsigned short type)
{
	switch (type) {
	case ARPHRD_ETHER:
	case ARPHRD_LOOPBACK:
		return QP_LINK_ETHERNET;
	case ARPHRD_NONE: /* WireGuard, tun */
	case ARPHRD_PPP:
	case ARPHRD_RAWIP:
	case ARPHRD_TUNNEL:
	case ARPHRD_TUNNEL6:
	case ARPHRD_SIT:
	case ARPHRD_IPGRE:
	case ARPHRD_IP6GRE:
		return QP_LINK_L3;
	}
	return QP_LINK_OTHER;
}

static const struct nlattr *
find_nested(const struct nlattr *nest, uint16_t type)
{
	const struct nlattr *attr;

	mnl_attr_for_each_nested(attr, nest)
		if (mnl_attr_get_type(attr) == type)
			return attr;
	return NULL;
}

static bool
is_kind(const struct nlattr *info, const char *kind)
{
	const struct nlattr *attr = find_nested(info, IFLA_INFO_KIND);

	return attr != NULL && strcmp(mnl_attr_get_str(attr), kind) == 0;
}

static void
read_link_attr(const struct nlattr *attr, struct qp_link *l)
{
	switch (mnl_attr_get_type(attr)) {
	case IFLA_IFNAME:
		strncpy(l->name, mnl_attr_get_str(attr), sizeof(l->name) - 1);
		break;
	case IFLA_MTU:
		l->mtu = mnl_attr_get_u32(attr);
		break;
	case IFLA_MASTER:
		l->enslaved = mnl_attr_get_u32(attr) != 0;
		break;
	case IFLA_ADDRESS:
		if (mnl_attr_get_payload_len(attr) == sizeof(l->mac))
			memcpy(l->mac, mnl_attr_get_payload(attr), sizeof(l->mac));
		break;
	case IFLA_LINKINFO:
		l->is_vrf = is_kind(attr, "vrf");
		break;
	case IFLA_IFALIAS:
		l->is_tap = strcmp(mnl_attr_get_str(attr), QP_TAP_ALIAS) == 0;
		break;
	}
}

static int
on_link(const struct nlmsghdr *nlh, void *data)
{
	const struct ifinfomsg *ifi = mnl_nlmsg_get_payload(nlh);
	struct qp_host_view *v = data;
	const struct nlattr *attr;
	struct qp_link *l;

	if (nlh->nlmsg_type != RTM_NEWLINK)
		return MNL_CB_OK;
	if (!grow((void **)&v->links, v->nlinks, &v->links_cap, sizeof(*v->links))) {
		errno = ENOMEM;
		return MNL_CB_ERROR;
	}
	l = &v->links[v->nlinks++];
	*l = (struct qp_link) {
		.ifindex = (uint32_t)ifi->ifi_index,
		.kind = kind_of(ifi->ifi_type),
		.up = (ifi->ifi_flags & IFF_UP) != 0,
	};
	mnl_attr_for_each(attr, nlh, sizeof(*ifi))
		read_link_attr(attr, l);
	return MNL_CB_OK;
}

const struct qp_link *
qp_host_view_link(const struct qp_host_view *v, uint32_t ifindex)
{
	for (unsigned i = 0; i < v->nlinks; i++)
		if (v->links[i].ifindex == ifindex)
			return &v->links[i];
	return NULL;
}

const struct qp_link *
qp_host_view_named(const struct qp_host_view *v, const char *name)
{
	for (unsigned i = 0; i < v->nlinks; i++)
		if (strcmp(v->links[i].name, name) == 0)
			return &v->links[i];
	return NULL;
}

static bool
is_loopback(const struct qp_cls_addr *a)
{
	static const uint8_t localhost6[16] = {[15] = 1};
	const uint8_t *b = (const uint8_t *)a;

	if (a->w[0] == 0 && a->w[1] == 0 && a->w[2] == htonl(0xffff))
		return b[12] == 127;
	return memcmp(a, localhost6, sizeof(localhost6)) == 0;
}

/* Which addresses the host answers on; false for those that do not count (yet). */
static bool
read_addr(const struct nlmsghdr *nlh, struct qp_cls_addr *out)
{
	const struct ifaddrmsg *ifa = mnl_nlmsg_get_payload(nlh);
	const size_t want = ifa->ifa_family == AF_INET ? 4 : 16;
	uint32_t flags = ifa->ifa_flags;
	const struct nlattr *attr, *found = NULL;

	mnl_attr_for_each(attr, nlh, sizeof(*ifa)) {
		const uint16_t type = mnl_attr_get_type(attr);

		/* On a point-to-point link IFA_ADDRESS is the peer's, IFA_LOCAL our own. */
		if (type == IFA_LOCAL || (type == IFA_ADDRESS && found == NULL))
			found = attr;
		else if (type == IFA_FLAGS)
			flags = mnl_attr_get_u32(attr);
	}
	if (found == NULL || mnl_attr_get_payload_len(found) != want ||
		(flags & IFA_F_DADFAILED) ||
		((flags & IFA_F_TENTATIVE) && !(flags & IFA_F_OPTIMISTIC)))
		return false;
	*out = (struct qp_cls_addr) {{0, 0, htonl(0xffff), 0}};
	memcpy(want == 4 ? (void *)&out->w[3] : (void *)out, mnl_attr_get_payload(found), want);
	return !is_loopback(out);
}

static int
on_addr(const struct nlmsghdr *nlh, void *data)
{
	const struct ifaddrmsg *ifa = mnl_nlmsg_get_payload(nlh);
	struct qp_host_view *v = data;
	const struct qp_link *link;
	struct qp_local_addr *a;
	struct qp_cls_addr addr;

	if (nlh->nlmsg_type != RTM_NEWADDR ||
		(ifa->ifa_family != AF_INET && ifa->ifa_family != AF_INET6) ||
		!read_addr(nlh, &addr))
		return MNL_CB_OK;
	if (!grow((void **)&v->addrs, v->naddrs, &v->addrs_cap, sizeof(*v->addrs))) {
		errno = ENOMEM;
		return MNL_CB_ERROR;
	}
	a = &v->addrs[v->naddrs++];
	*a = (struct qp_local_addr) {.addr = addr, .where.ifindex = ifa->ifa_index};
	link = qp_host_view_link(v, ifa->ifa_index);
	if (link != NULL)
		memcpy(a->where.mac, link->mac, sizeof(a->where.mac));
	return MNL_CB_OK;
}

/* Receives the answers to a request; 0 or an errno value. */
static int
receive(struct mnl_socket *nl, unsigned seq, mnl_cb_t cb, void *data)
{
	char buf[REPLY_BYTES];
	int rc = 1;

	while (rc > 0) {
		ssize_t n = mnl_socket_recvfrom(nl, buf, sizeof(buf));

		if (n < 0)
			return errno;
		rc = mnl_cb_run(buf, (size_t)n, seq, mnl_socket_get_portid(nl), cb, data);
	}
	return rc < 0 ? errno : 0;
}

static int
request(struct nlmsghdr *nlh, mnl_cb_t cb, void *data)
{
	struct mnl_socket *nl = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
	int err = 0;

	if (nl == NULL)
		return errno;
	nlh->nlmsg_flags |= NLM_F_REQUEST;
	nlh->nlmsg_seq = 1;
	if (mnl_socket_bind(nl, 0, MNL_SOCKET_AUTOPID) < 0 ||
		mnl_socket_sendto(nl, nlh, nlh->nlmsg_len) < 0)
		err = errno;
	else
		err = receive(nl, 1, cb, data);
	mnl_socket_close(nl);
	return err;
}

int
qp_host_dump(uint16_t type, size_t header, mnl_cb_t cb, void *data)
{
	char buf[256];
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);

	mnl_nlmsg_put_extra_header(nlh, header);
	nlh->nlmsg_type = type;
	nlh->nlmsg_flags = NLM_F_DUMP;
	return request(nlh, cb, data);
}

static int
compare_addrs(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct qp_cls_addr));
}

/* The first of equal ones stays: a link-local address may be on several interfaces. */
static void
sort_addrs(struct qp_host_view *v)
{
	unsigned n = 0;

	if (v->naddrs == 0)
		return;
	qsort(v->addrs, v->naddrs, sizeof(*v->addrs), compare_addrs);
	for (unsigned i = 1; i < v->naddrs; i++)
		if (compare_addrs(&v->addrs[n], &v->addrs[i]) != 0)
			v->addrs[++n] = v->addrs[i];
	v->naddrs = n + 1;
}

int
qp_host_view_read(struct qp_host_view *v)
{
	int err = EINTR;

	for (unsigned i = 0; err == EINTR && i < DUMP_TRIES; i++) {
		v->nlinks = 0;
		v->naddrs = 0;
		err = qp_host_dump(RTM_GETLINK, sizeof(struct ifinfomsg), on_link, v);
		if (err == 0)
			err = qp_host_dump(RTM_GETADDR, sizeof(struct ifaddrmsg), on_addr, v);
	}
	if (err == 0)
		sort_addrs(v);
	return err;
}

void
qp_host_view_clear(struct qp_host_view *v)
{
	free(v->links);
	free(v->addrs);
	*v = (struct qp_host_view) {0};
}

struct mnl_socket *
qp_host_monitor_open(unsigned groups)
{
	struct mnl_socket *nl = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC | SOCK_NONBLOCK);
	int err;

	if (nl == NULL)
		return NULL;
	if (mnl_socket_bind(nl, groups, MNL_SOCKET_AUTOPID) == 0)
		return nl;
	err = errno;
	mnl_socket_close(nl);
	errno = err;
	return NULL;
}

bool
qp_host_monitor_drain(struct mnl_socket *nl)
{
	char buf[REPLY_BYTES];
	bool any = false;

	/* ENOBUFS: some were lost; that something changed is all that we want to know. */
	while (mnl_socket_recvfrom(nl, buf, sizeof(buf)) >= 0 || errno == ENOBUFS ||
		errno == ENOSPC || errno == EINTR)
		any = true;
	return any;
}

struct conf_query {
	uint16_t which;
	uint32_t value;
	bool found;
};

/* IFLA_AF_SPEC { AF_INET { IFLA_INET_CONF: an array of 32-bit values } } */
static int
on_conf(const struct nlmsghdr *nlh, void *data)
{
	struct conf_query *q = data;
	const struct nlattr *attr, *inet, *conf;

	mnl_attr_for_each(attr, nlh, sizeof(struct ifinfomsg)) {
		if (mnl_attr_get_type(attr) != IFLA_AF_SPEC)
			continue;
		inet = find_nested(attr, AF_INET);
		conf = inet != NULL ? find_nested(inet, IFLA_INET_CONF) : NULL;
		if (conf == NULL || mnl_attr_get_payload_len(conf) < q->which * sizeof(uint32_t))
			continue;
		memcpy(&q->value,
			(const uint32_t *)mnl_attr_get_payload(conf) + (q->which - 1),
			sizeof(q->value));
		q->found = true;
	}
	/* One message answers. */
	return MNL_CB_STOP;
}

int
qp_host_get_ipv4_conf(uint32_t ifindex, uint16_t which, uint32_t *value)
{
	char buf[256];
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct ifinfomsg *ifi = mnl_nlmsg_put_extra_header(nlh, sizeof(*ifi));
	struct conf_query q = {.which = which};
	int err;

	nlh->nlmsg_type = RTM_GETLINK;
	ifi->ifi_index = (int)ifindex;
	err = request(nlh, on_conf, &q);
	if (err == 0 && !q.found)
		err = ENOENT;
	*value = q.value;
	return err;
}

int
qp_host_set_ipv4_conf(uint32_t ifindex, uint16_t which, uint32_t value)
{
	char buf[256];
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct ifinfomsg *ifi = mnl_nlmsg_put_extra_header(nlh, sizeof(*ifi));
	struct nlattr *spec, *inet, *conf;

	nlh->nlmsg_type = RTM_SETLINK;
	nlh->nlmsg_flags = NLM_F_ACK;
	ifi->ifi_index = (int)ifindex;
	spec = mnl_attr_nest_start(nlh, IFLA_AF_SPEC);
	inet = mnl_attr_nest_start(nlh, AF_INET);
	conf = mnl_attr_nest_start(nlh, IFLA_INET_CONF);
	mnl_attr_put_u32(nlh, which, value);
	mnl_attr_nest_end(nlh, conf);
	mnl_attr_nest_end(nlh, inet);
	mnl_attr_nest_end(nlh, spec);
	return request(nlh, NULL, NULL);
}
