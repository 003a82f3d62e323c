/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Routers that advertise themselves, where the configuration asks for it: IPv6's
 * default route, as long as they say (RFC 4861, 6.3.4), and the link's MTU. No
 * address is made of their prefixes. Runs on the lcore.
 */
#include <string.h>

#include "dataplane/net/internal.h"

#define RA_BYTES   16u /* before the options */
#define OPT_SOURCE 1u
#define OPT_MTU    5u

static void on_timer(struct qp_timer *t, uint64_t now_ns);

static void
arm(struct qp_net *net)
{
	uint64_t first = UINT64_MAX;

	for (unsigned i = 0; i < QP_NET_MAX_ROUTERS; i++) {
		if (net->router[i].until_ns != 0)
			first = RTE_MIN(first, net->router[i].until_ns);
	}
	qp_timer_cancel(net->env.wheel, &net->router_timer);
	net->router_timer.fn = on_timer;
	if (first != UINT64_MAX)
		qp_timer_arm(net->env.wheel, &net->router_timer, first);
}

static void
changed(struct qp_net *net)
{
	qp_net_routes_set(net);
	qp_neigh_reconcile(net);
}

static void
on_timer(struct qp_timer *t, uint64_t now_ns)
{
	struct qp_net *net = RTE_PTR_SUB(t, offsetof(struct qp_net, router_timer));

	for (unsigned i = 0; i < QP_NET_MAX_ROUTERS; i++) {
		if (net->router[i].until_ns <= now_ns)
			net->router[i].until_ns = 0;
	}
	changed(net);
	arm(net);
}

static struct qp_net_router *
find(struct qp_net *net, unsigned port, const struct qp_ipaddr *addr)
{
	for (unsigned i = 0; i < QP_NET_MAX_ROUTERS; i++) {
		struct qp_net_router *r = &net->router[i];

		if (r->until_ns != 0 && r->port == port && qp_ipaddr_equal(&r->addr, addr))
			return r;
	}
	return NULL;
}

static struct qp_net_router *
free_slot(struct qp_net *net)
{
	for (unsigned i = 0; i < QP_NET_MAX_ROUTERS; i++) {
		if (net->router[i].until_ns == 0)
			return &net->router[i];
	}
	return NULL;
}

/* RFC 4191, 2.1: 01 high, 11 low, the rest medium. */
static uint8_t
metric_of(uint8_t flags)
{
	const uint8_t preference = flags >> 3 & 3;

	return preference == 1 ? 1 : preference == 3 ? 3 : 2;
}

static void
set_router(struct qp_net *net, unsigned port, const struct qp_ndp *nd)
{
	const uint32_t lifetime_s = (uint32_t)nd->icmp[6] << 8 | nd->icmp[7];
	const uint8_t metric = metric_of(nd->icmp[5]);
	struct qp_net_router *r = find(net, port, &nd->ip->source);
	const struct qp_net_router before = r != NULL ? *r : (struct qp_net_router) {0};

	if (r == NULL)
		r = free_slot(net);
	if (r == NULL)
		return;
	*r = (struct qp_net_router) {.addr = nd->ip->source, .port = (uint8_t)port, .metric = metric,
		.until_ns = lifetime_s == 0 ? 0 : *net->env.now_ns + lifetime_s * QP_NET_SEC_NS};
	if ((before.until_ns != 0) != (lifetime_s != 0) || (lifetime_s != 0 && before.metric != metric))
		changed(net);
	arm(net);
}

/* RFC 4861, 6.3.4; what is out of bounds is not taken. */
static void
set_mtu(struct qp_net *net, unsigned port, const struct qp_ndp *nd)
{
	const uint8_t *option = qp_ndp_option(nd, RA_BYTES, OPT_MTU);
	uint32_t mtu;

	if (option == NULL)
		return;
	memcpy(&mtu, option + 2, sizeof(mtu));
	mtu = rte_be_to_cpu_32(mtu);
	if (mtu >= QP_NET_V6_MIN_MTU && mtu <= net->link[port].mtu)
		net->ra_mtu[port] = (uint16_t)mtu;
}

static bool
well_formed(const struct qp_ndp *nd)
{
	uint32_t at = RA_BYTES;

	if (nd->len < RA_BYTES || !qp_ipaddr_is_link_local(&nd->ip->source))
		return false;
	while (at + 8 <= nd->len && nd->icmp[at + 1] != 0)
		at += 8u * nd->icmp[at + 1];
	return at == nd->len;
}

void
qp_ra_input(struct qp_net *net, unsigned port, const struct qp_ndp *nd)
{
	struct qp_net_neigh *n;
	const uint8_t *mac;

	if (!net->link[port].accept_ra || !well_formed(nd)) {
		QP_NET_COUNT(net, routers_ignored);
		return;
	}
	QP_NET_COUNT(net, routers_heard);
	set_router(net, port, nd);
	set_mtu(net, port, nd);
	n = qp_neigh_find(net, port, &nd->ip->source);
	mac = qp_ndp_option(nd, RA_BYTES, OPT_SOURCE);
	if (n != NULL && mac != NULL &&
		rte_is_valid_assigned_ether_addr((const struct rte_ether_addr *)(const void *)mac))
		qp_neigh_told(n, mac, false, true);
}

void
qp_ra_no_router(struct qp_net *net, unsigned port, const struct qp_ipaddr *addr)
{
	struct qp_net_router *r = find(net, port, addr);

	if (r == NULL)
		return;
	r->until_ns = 0;
	changed(net);
	arm(net);
}

bool
qp_ra_known(const struct qp_net *net, unsigned port)
{
	for (unsigned i = 0; i < QP_NET_MAX_ROUTERS; i++) {
		if (net->router[i].until_ns != 0 && net->router[i].port == port)
			return true;
	}
	return false;
}

void
qp_ra_reconcile(struct qp_net *net)
{
	for (unsigned i = 0; i < QP_NET_MAX_ROUTERS; i++) {
		if (net->router[i].until_ns != 0 && !net->link[net->router[i].port].accept_ra)
			net->router[i].until_ns = 0;
	}
	for (unsigned p = 0; p < net->nports; p++) {
		if (!net->link[p].accept_ra || net->ra_mtu[p] > net->link[p].mtu)
			net->ra_mtu[p] = 0;
	}
	arm(net);
}
