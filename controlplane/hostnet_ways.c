/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tells the classifier where the host's routes lead, so that an answer whose
 * way back is gone takes the one that the host would take: for each served
 * interface the networks that a route of any table leads to by it, and for each
 * network of the main table the best interface. Read whole, compared with what
 * was last applied. Loop thread.
 */
#define QP_LOG_MODULE QP_LOG_M_host
#include "controlplane/hostnet_impl.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>

#include "classifier.skel.h"
#include "common/clock.h"
#include "common/log.h"

#define ANY_INTERFACE 0u

/* A route's destination, and what is the same for all its next hops. */
struct route {
	struct qp_cls_addr addr;
	uint32_t bits; /* of the mapped form */
	uint32_t metric;
	bool is_main;
};

struct reader {
	const struct qp_hostnet *h;
	struct qp_host_ways *ways;
};

static int
add(struct qp_host_ways *w, uint32_t ifindex, const struct route *r, uint32_t value)
{
	if (w->n == QP_CLS_MAX_WAYS) {
		w->too_many = true;
		return MNL_CB_STOP;
	}
	if (w->n == w->cap) {
		unsigned cap = w->cap ? w->cap * 2 : 64;
		struct qp_host_way *grown = reallocarray(w->all, cap, sizeof(*w->all));

		if (grown == NULL) {
			errno = ENOMEM;
			return MNL_CB_ERROR;
		}
		w->all = grown;
		w->cap = cap;
	}
	w->all[w->n++] = (struct qp_host_way) {
		.key = {.prefix = 32 + r->bits, .ifindex = ifindex, .addr = r->addr},
		.value = value,
		.metric = r->metric,
	};
	return MNL_CB_OK;
}

/* IPv4's addresses are in their mapped form, and these networks of IPv6's are around that. */
static bool
covers_mapped(const struct route *r)
{
	const uint32_t *w = r->addr.w;

	return r->bits <= 80 && (w[0] | w[1] | w[2]) == 0;
}

static int
add_way(const struct reader *rd, uint32_t ifindex, const struct route *r, uint32_t value)
{
	/* The worst of all, so that a route of IPv4's own goes before it. */
	const struct route no_ipv4 = {
		.addr = {{0, 0, htonl(0xffff), 0}}, .bits = 96, .metric = UINT32_MAX};
	int rc = add(rd->ways, ifindex, r, value);

	if (rc == MNL_CB_OK && covers_mapped(r))
		rc = add(rd->ways, ifindex, &no_ipv4, QP_CLS_NO_WAY);
	return rc;
}

/* A next hop. What is down leads nowhere, whatever the route says. */
static int
add_hop(const struct reader *rd, const struct route *r, uint32_t ifindex, unsigned flags)
{
	const struct qp_link *l = qp_host_view_link(&rd->h->view, ifindex);
	int rc;

	if (flags & (RTNH_F_DEAD | RTNH_F_LINKDOWN) || ifindex == QP_CLS_LO_IFINDEX || l == NULL ||
		!l->up || !qp_hostnet_serves(rd->h, l))
		return MNL_CB_OK;
	rc = add_way(rd, ifindex, r, ifindex);
	if (rc == MNL_CB_OK && r->is_main)
		rc = add_way(rd, ANY_INTERFACE, r, ifindex);
	return rc;
}

static int
add_hops(const struct reader *rd, const struct route *r, const struct nlattr *multipath)
{
	const struct rtnexthop *hop = mnl_attr_get_payload(multipath);
	int left = (int)mnl_attr_get_payload_len(multipath), rc = MNL_CB_OK;

	while (rc == MNL_CB_OK && RTNH_OK(hop, left)) {
		rc = add_hop(rd, r, (uint32_t)hop->rtnh_ifindex, hop->rtnh_flags);
		left -= RTNH_ALIGN(hop->rtnh_len);
		hop = RTNH_NEXT(hop);
	}
	return rc;
}

static bool
is_of_interest(const struct rtmsg *rt, const struct qp_cls_addr *to)
{
	const bool link_local = rt->rtm_family == AF_INET6 && rt->rtm_dst_len >= 10 &&
		(to->w[0] & htonl(0xffc00000)) == htonl(0xfe800000);

	return rt->rtm_type == RTN_UNICAST && !(rt->rtm_flags & RTM_F_CLONED) && !link_local;
}

static int
on_route(const struct nlmsghdr *nlh, void *data)
{
	const struct rtmsg *rt = mnl_nlmsg_get_payload(nlh);
	const bool v4 = rt->rtm_family == AF_INET;
	struct route r = {.addr = {{0, 0, v4 ? htonl(0xffff) : 0, 0}},
		.bits = rt->rtm_dst_len + (v4 ? 96u : 0)};
	const struct nlattr *attr, *multipath = NULL;
	uint32_t ifindex = 0, table = rt->rtm_table;

	if (nlh->nlmsg_type != RTM_NEWROUTE || (!v4 && rt->rtm_family != AF_INET6))
		return MNL_CB_OK;
	mnl_attr_for_each(attr, nlh, sizeof(*rt)) {
		const uint16_t type = mnl_attr_get_type(attr);

		if (type == RTA_DST && mnl_attr_get_payload_len(attr) == (v4 ? 4 : 16))
			memcpy(v4 ? (void *)&r.addr.w[3] : (void *)&r.addr,
				mnl_attr_get_payload(attr), v4 ? 4 : 16);
		else if (type == RTA_OIF)
			ifindex = mnl_attr_get_u32(attr);
		else if (type == RTA_PRIORITY)
			r.metric = mnl_attr_get_u32(attr);
		else if (type == RTA_TABLE)
			table = mnl_attr_get_u32(attr);
		else if (type == RTA_MULTIPATH)
			multipath = attr;
	}
	if (!is_of_interest(rt, &r.addr))
		return MNL_CB_OK;
	r.is_main = table == RT_TABLE_MAIN;
	return multipath != NULL ? add_hops(data, &r, multipath)
				 : add_hop(data, &r, ifindex, rt->rtm_flags);
}

/* A VRF's routes name its members, which receive nothing themselves: it answers for them all. */
static int
add_vrfs(const struct reader *rd)
{
	/* IPv4's by itself: a default route of IPv6's to a VRF says something else of it. */
	const struct route all = {.bits = 0}, ipv4 = {.addr = {{0, 0, htonl(0xffff), 0}}, .bits = 96};
	int rc = MNL_CB_OK;

	for (unsigned i = 0; rc == MNL_CB_OK && i < rd->h->view.nlinks; i++) {
		const struct qp_link *l = &rd->h->view.links[i];

		if (!l->is_vrf || !l->up)
			continue;
		rc = add(rd->ways, l->ifindex, &all, l->ifindex);
		if (rc == MNL_CB_OK)
			rc = add(rd->ways, l->ifindex, &ipv4, l->ifindex);
	}
	return rc;
}

static int
compare(const void *a, const void *b)
{
	const struct qp_host_way *x = a, *y = b;
	int order = memcmp(&x->key, &y->key, sizeof(x->key));

	if (order == 0)
		order = (x->metric > y->metric) - (x->metric < y->metric);
	return order != 0 ? order : (y->value != QP_CLS_NO_WAY) - (x->value != QP_CLS_NO_WAY);
}

/* The first of equal keys, which has the best metric, stays. */
static void
sort(struct qp_host_ways *w)
{
	unsigned n = 0;

	if (w->n == 0)
		return;
	qsort(w->all, w->n, sizeof(*w->all), compare);
	for (unsigned i = 1; i < w->n; i++)
		if (memcmp(&w->all[n].key, &w->all[i].key, sizeof(w->all[i].key)) != 0)
			w->all[++n] = w->all[i];
	w->n = n + 1;
}

static int
read_ways(const struct qp_hostnet *h, struct qp_host_ways *out)
{
	const struct reader rd = {h, out};
	int err = EINTR;

	/* EINTR: changes got in between. */
	for (unsigned i = 0; err == EINTR && i < 5; i++) {
		out->n = 0;
		out->too_many = false;
		err = qp_host_dump(RTM_GETROUTE, sizeof(struct rtmsg), on_route, (void *)(uintptr_t)&rd);
	}
	if (err == 0 && !out->too_many && add_vrfs(&rd) == MNL_CB_ERROR)
		err = ENOMEM;
	if (err != 0 || out->too_many)
		out->n = 0;
	sort(out);
	return err;
}

static const struct qp_host_way *
find(const struct qp_host_ways *w, const struct qp_cls_way *key)
{
	unsigned from = 0, to = w->n;

	while (from < to) {
		const unsigned mid = from + (to - from) / 2;
		const int order = memcmp(&w->all[mid].key, key, sizeof(*key));

		if (order == 0)
			return &w->all[mid];
		if (order < 0)
			from = mid + 1;
		else
			to = mid;
	}
	return NULL;
}

static int
put_new(const struct qp_hostnet *h, int map, const struct qp_host_ways *now)
{
	int err = 0;

	for (unsigned i = 0; i < now->n; i++) {
		const struct qp_host_way *w = &now->all[i], *old = find(&h->ways, &w->key);

		if ((old == NULL || old->value != w->value) &&
			bpf_map_update_elem(map, &w->key, &w->value, BPF_ANY) != 0)
			err = errno;
	}
	return err;
}

/*
 * What is new goes in before what is old goes out: there is a way all the time. What
 * had no room beside the old has it then.
 */
static int
apply(struct qp_hostnet *h, const struct qp_host_ways *now)
{
	const int map = bpf_map__fd(h->bpf->maps.ways);
	int err = put_new(h, map, now);

	for (unsigned i = 0; i < h->ways.n; i++)
		if (find(now, &h->ways.all[i].key) == NULL)
			(void)bpf_map_delete_elem(map, &h->ways.all[i].key);
	return err != 0 ? put_new(h, map, now) : 0;
}

int
qp_hostnet_sync_ways(struct qp_hostnet *h)
{
	struct qp_host_ways now = {0};
	const uint64_t began = qp_now_ns();
	int err = read_ways(h, &now);

	h->routes_took_ns = qp_now_ns() - began;
	if (err != 0) {
		free(now.all);
		qp_log(err == EINTR ? QP_LOG_DEBUG : QP_LOG_WARN, "the host's routes cannot be read: answers leave by the ones "
			"before", QP_LOG_ERRNO(err));
		return qp_err_from_errno(err);
	}
	if (now.too_many && !h->ways.too_many)
		qp_log(QP_LOG_INFO, "the host has many routes: answers always leave by the "
			"interface that their requests came in by",
			QP_LOG_U64("most", QP_CLS_MAX_WAYS));
	err = apply(h, &now);
	if (err != 0)
		qp_log(QP_LOG_WARN, "some of the host's routes are not followed",
			QP_LOG_ERRNO(err));
	free(h->ways.all);
	h->ways = now;
	return 0;
}

static bool
is_way(const struct qp_hostnet *h, const void *key)
{
	return find(&h->ways, key) != NULL;
}

void
qp_hostnet_prune_ways(struct qp_hostnet *h)
{
	qp_hostnet_prune_map(bpf_map__fd(h->bpf->maps.ways), sizeof(struct qp_cls_way), is_way, h);
}
