/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A packet's way to its next hop: one look at the destinations that are
 * remembered; route and neighbour only when that says nothing. Runs on the lcore.
 */
#include <string.h>

#include "common/classifier.h"
#include "dataplane/net/internal.h"

/* The port that a frame's mark names; QP_NET_NO_PORT: none of ours. */
static unsigned
marked_port(const struct qp_net *net, const struct rte_ether_hdr *eth)
{
	const uint8_t *mac = eth->dst_addr.addr_bytes;
	uint32_t ifindex;

	if (mac[0] != QP_CLS_MARK_0 || mac[1] != QP_CLS_MARK_LINK)
		return QP_NET_NO_PORT;
	memcpy(&ifindex, mac + 2, sizeof(ifindex));
	ifindex = rte_be_to_cpu_32(ifindex) - QP_NIC_IFINDEX(0);
	return ifindex < net->nports ? ifindex : QP_NET_NO_PORT;
}

void
qp_net_mark(uint8_t mac[6], unsigned port)
{
	const uint32_t ifindex = rte_cpu_to_be_32(QP_NIC_IFINDEX(port));

	mac[0] = QP_CLS_MARK_0;
	mac[1] = QP_CLS_MARK_LINK;
	memcpy(mac + 2, &ifindex, sizeof(ifindex));
}

/* False: not IP, or not all of its header. */
static bool
destination(const struct rte_mbuf *m, struct qp_ipaddr *dest)
{
	const uint8_t *p = rte_pktmbuf_mtod(m, const uint8_t *);
	const struct rte_ether_hdr *eth = (const void *)p;
	uint32_t v4;

	if (m->data_len < QP_NET_ETHER_BYTES + 20)
		return false;
	if (eth->ether_type == RTE_BE16(RTE_ETHER_TYPE_IPV4)) {
		memcpy(&v4, p + QP_NET_ETHER_BYTES + 16, sizeof(v4));
		*dest = qp_ipaddr_v4(v4);
		return true;
	}
	if (eth->ether_type != RTE_BE16(RTE_ETHER_TYPE_IPV6) || m->data_len < QP_NET_ETHER_BYTES + 40)
		return false;
	memcpy(dest, p + QP_NET_ETHER_BYTES + 24, sizeof(*dest));
	return true;
}

static struct qp_net_dest *
dest_slot(struct qp_net *net, const struct qp_ipaddr *a, unsigned hint)
{
	const unsigned __int128 h =
		(unsigned __int128)(a->q[0] ^ net->key[0] ^ hint) * (a->q[1] ^ net->key[1]);

	return &net->dest[((uint64_t)(h >> 64) ^ (uint64_t)h) & (QP_NET_DESTS - 1)];
}

/* Are the wire packets of it as long as the link takes? */
static bool
fits(const struct rte_mbuf *m, uint16_t mtu)
{
	if (m->ol_flags & (RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_UDP_SEG))
		return (uint32_t)m->l3_len + m->l4_len + m->tso_segsz <= mtu;
	return m->pkt_len - QP_NET_ETHER_BYTES <= mtu;
}

/* Nobody has such an address, everybody has, or we have. */
static bool
unsendable(const struct qp_net *net, const struct qp_ipaddr *dest)
{
	return qp_net_martian(net, dest) || qp_net_own_valid(net, dest) != NULL;
}

/* The neighbour by which a destination is reached; NULL, and counted: none. */
static struct qp_net_neigh *
next_hop(struct qp_net *net, const struct qp_ipaddr *dest, unsigned hint, uint64_t **why)
{
	const struct qp_net_route *r = qp_net_route_find(net, dest, hint);
	struct qp_net_neigh *n;

	*why = &net->counters.drop_no_route;
	if (r == NULL || unsendable(net, dest))
		return NULL;
	*why = &net->counters.drop_no_neighbour;
	n = qp_neigh_get(net, r->port, qp_ipaddr_is_zero(&r->via) ? dest : &r->via, &net->solicits);
	return n;
}

static void
slow_output(struct qp_net *net, struct rte_mbuf *m, const struct qp_ipaddr *dest, unsigned hint)
{
	struct qp_net_dest *d = dest_slot(net, dest, hint);
	struct qp_net_neigh *n;
	uint64_t *why;

	n = next_hop(net, dest, hint, &why);
	if (n == NULL) {
		qp_net_drop(m, why);
		return;
	}
	if (!fits(m, qp_net_link_mtu(net, n->port, qp_ipaddr_is_v4(dest)))) {
		qp_net_drop(m, &net->counters.drop_too_big);
		return;
	}
	*d = (struct qp_net_dest) {.addr = *dest, .neigh = (uint32_t)(n - net->neigh), .id = n->id,
		.routes = net->routes_id, .hint = hint};
	qp_neigh_output(n, m);
}

void
qp_net_output(struct qp_net *net, struct rte_mbuf *m)
{
	struct rte_ether_hdr *eth = rte_pktmbuf_mtod(m, struct rte_ether_hdr *);
	const struct qp_net_dest *d;
	struct qp_net_neigh *n;
	struct qp_ipaddr dest;
	unsigned hint;

	if (!destination(m, &dest)) {
		qp_net_drop(m, &net->counters.drop_no_route);
		return;
	}
	hint = marked_port(net, eth);
	d = dest_slot(net, &dest, hint);
	n = &net->neigh[d->neigh];
	if (d->routes != net->routes_id || d->id != n->id || d->hint != hint ||
		!qp_ipaddr_equal(&d->addr, &dest) || *net->env.now_ns >= n->usable_until_ns ||
		!fits(m, qp_net_link_mtu(net, n->port, qp_ipaddr_is_v4(&dest)))) {
		slow_output(net, m, &dest, hint);
		return;
	}
	memcpy(&eth->dst_addr, n->mac, 6);
	memcpy(&eth->src_addr, net->port[n->port].mac, 6);
	n->used_ns = *net->env.now_ns;
	qp_net_send(net, n->port, m);
}

bool
qp_net_source(const struct qp_net *net, const struct qp_ipaddr *dest, struct qp_ipaddr *source,
	unsigned *port)
{
	const struct qp_net_route *r = qp_net_route_find(net, dest, QP_NET_NO_PORT);
	const struct qp_ipaddr *target;
	const struct qp_net_own *own;

	if (r == NULL || unsendable(net, dest))
		return false;
	/* IPv4 is answered best to the router's network; RFC 6724 looks at the destination. */
	target = qp_ipaddr_is_v4(dest) && !qp_ipaddr_is_zero(&r->via) ? &r->via : dest;
	own = qp_net_own_for(net, r->port, target);
	if (own == NULL)
		own = qp_net_own_for(net, QP_NET_NO_PORT, target);
	if (own == NULL)
		return false;
	*source = own->addr;
	*port = r->port;
	return true;
}
