/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Neighbour discovery: RFC 4861, 7, for a host with addresses by hand, and
 * RFC 4862, 5.4, for those addresses. Nothing that a router has forwarded is
 * believed: the hop limit must be 255. Redirects are not obeyed. Runs on the lcore.
 */
#include <netinet/in.h>
#include <string.h>

#include "dataplane/cksum.h"
#include "dataplane/net/internal.h"

#define TYPE_MLD_QUERY 130u
#define TYPE_MLD_LAST  132u
#define TYPE_RS        133u
#define TYPE_RA        134u
#define TYPE_NS        135u
#define TYPE_NA        136u
#define TYPE_REDIRECT  137u
#define TYPE_MLD2      143u
#define OPT_SOURCE     1u
#define OPT_TARGET     2u
#define NEIGHBOUR_BYTES 24u  /* of NS and NA before the options */
#define MESSAGE_BYTES   1500u
#define NA_ROUTER       0x80u
#define NA_SOLICITED    0x40u
#define NA_OVERRIDE     0x20u

bool
qp_ndp_is(const struct rte_mbuf *m, uint16_t l4_off)
{
	const uint8_t *p = rte_pktmbuf_mtod_offset(m, const uint8_t *, l4_off);
	const uint8_t type = l4_off < m->data_len ? *p : 0;

	return (type >= TYPE_MLD_QUERY && type <= TYPE_REDIRECT) || type == TYPE_MLD2;
}

const uint8_t *
qp_ndp_option(const struct qp_ndp *nd, uint32_t from, uint8_t type)
{
	for (uint32_t at = from; at + 8 <= nd->len; at += 8u * nd->icmp[at + 1]) {
		if (nd->icmp[at] == type)
			return nd->icmp + at + 2;
	}
	return NULL;
}

/* RFC 4861, 6.1 and 7.1: none is longer than what is left, none has no length. */
static bool
options_ok(const struct qp_ndp *nd, uint32_t from)
{
	uint32_t at = from;

	while (at < nd->len) {
		if (at + 8 > nd->len || nd->icmp[at + 1] == 0)
			return false;
		at += 8u * nd->icmp[at + 1];
	}
	return at == nd->len;
}

static bool
sum_ok(const struct rte_mbuf *m, const struct qp_net_v6 *ip)
{
	const struct qp_flow flow = {.local = ip->dest, .remote = ip->source};
	const uint32_t len = ip->end - ip->l4_off;

	return qp_cksum_fold((uint64_t)qp_cksum_chain(m, ip->l4_off, len) +
			     qp_cksum_pseudo(&flow, IPPROTO_ICMPV6, len)) == 0xffff;
}

/* A link-layer address that a host can have; NULL: none is told. */
static const uint8_t *
told_mac(const struct qp_ndp *nd, uint8_t option)
{
	const uint8_t *mac = qp_ndp_option(nd, NEIGHBOUR_BYTES, option);

	if (mac == NULL ||
		!rte_is_valid_assigned_ether_addr((const struct rte_ether_addr *)(const void *)mac))
		return NULL;
	return mac;
}

static bool
pinned(struct qp_net *net, unsigned port, const struct qp_ipaddr *addr)
{
	const struct qp_net_neigh *n = qp_neigh_find(net, port, addr);

	return n != NULL && n->pinned;
}

static enum qp_net_copy
copy_kind(struct qp_net *net, unsigned port, const struct qp_ipaddr *target, bool solicited)
{
	if (pinned(net, port, target))
		return QP_NET_COPY_ROUTER;
	return solicited ? QP_NET_COPY_ANSWER : QP_NET_COPY_QUESTION;
}

static bool
link_neighbour(const struct qp_net *net, unsigned port, const struct qp_ipaddr *addr)
{
	return !qp_ipaddr_is_v4(addr) && !qp_net_martian(net, addr) && qp_net_on_link(net, port, addr);
}

/* Who asks is told, and noted when it says where it is (RFC 4861, 7.2.3, 7.2.4). */
static void
answer(struct qp_net *net, unsigned port, const struct rte_mbuf *m, const struct qp_ndp *nd,
	const struct qp_net_own *own, bool copy)
{
	const struct rte_ether_hdr *eth = rte_pktmbuf_mtod(m, const struct rte_ether_hdr *);
	const uint8_t *mac = told_mac(nd, OPT_SOURCE);
	struct qp_net_neigh *n;

	if (mac != NULL && link_neighbour(net, port, &nd->ip->source)) {
		n = qp_neigh_get(net, port, &nd->ip->source, &net->heard);
		if (n != NULL)
			qp_neigh_told(n, mac, false, true);
	}
	if (!copy)
		qp_ndp_advertise(net, own, &nd->ip->source,
			mac != NULL ? mac : eth->src_addr.addr_bytes);
}

/* False: not valid. */
static bool
solicitation(struct qp_net *net, unsigned port, const struct rte_mbuf *m, const struct qp_ndp *nd,
	bool copy)
{
	const bool nobody = qp_ipaddr_is_zero(&nd->ip->source);
	const struct rte_ether_hdr *eth = rte_pktmbuf_mtod(m, const struct rte_ether_hdr *);
	struct qp_ipaddr target, group;
	struct qp_net_own *own;

	memcpy(&target, nd->icmp + 8, sizeof(target));
	group = qp_ndp_solicited_node(&target);
	/* RFC 4861, 7.1.1 */
	if (target.b[0] == 0xff || (nobody && (!qp_ipaddr_equal(&nd->ip->dest, &group) ||
					       qp_ndp_option(nd, NEIGHBOUR_BYTES, OPT_SOURCE) != NULL)))
		return false;
	own = qp_net_own_here(net, port, &target);
	if (own == NULL)
		return true;
	/* Two that begin at once: neither gets it (RFC 4862, 5.4.3). */
	if (nobody && own->state == QP_OWN_TENTATIVE)
		qp_net_own_conflict(net, own, eth->src_addr.addr_bytes, copy);
	else if (own->state != QP_OWN_VALID)
		return true;
	else if (!nobody)
		answer(net, port, m, nd, own, copy);
	else if (!copy)
		qp_ndp_advertise(net, own, NULL, NULL);
	if (!copy)
		qp_net_replicate(net, port, m,
			copy_kind(net, port, &nd->ip->source, false));
	return true;
}

/* RFC 4861, 7.2.5 */
static bool
advertisement(struct qp_net *net, unsigned port, const struct rte_mbuf *m, const struct qp_ndp *nd,
	bool copy)
{
	const struct rte_ether_hdr *eth = rte_pktmbuf_mtod(m, const struct rte_ether_hdr *);
	const bool solicited = nd->icmp[4] & NA_SOLICITED;
	const uint8_t *mac = told_mac(nd, OPT_TARGET);
	struct qp_ipaddr target;
	struct qp_net_neigh *n;
	struct qp_net_own *own;

	memcpy(&target, nd->icmp + 8, sizeof(target));
	if (target.b[0] == 0xff || (solicited && nd->multicast) || qp_ipaddr_is_zero(&nd->ip->source))
		return false;
	if (!copy)
		qp_net_replicate(net, port, m, copy_kind(net, port, &target, solicited));
	own = qp_net_own_here(net, port, &target);
	if (own != NULL) {
		qp_net_own_conflict(net, own, mac != NULL ? mac : eth->src_addr.addr_bytes, copy);
		return true;
	}
	n = qp_neigh_find(net, port, &target);
	if (n == NULL)
		return true;
	/* Without an address only what is known already can be confirmed. */
	if (mac == NULL && (n->state == QP_NEIGH_NONE || n->state == QP_NEIGH_INCOMPLETE))
		return true;
	qp_neigh_told(n, mac != NULL ? mac : n->mac, solicited, nd->icmp[4] & NA_OVERRIDE);
	if (!(nd->icmp[4] & NA_ROUTER))
		qp_ra_no_router(net, port, &target);
	return true;
}

/* False: wrong in itself, or of somebody who is not on the link. */
static bool
handle(struct qp_net *net, unsigned port, const struct rte_mbuf *m, const struct qp_ndp *nd, bool copy)
{
	const uint8_t type = nd->icmp[0];

	if (type == TYPE_MLD_QUERY) {
		if (!copy)
			qp_mld_query(net, port, nd);
		return true;
	}
	if (nd->ip->hop_limit != 255 || nd->icmp[1] != 0)
		return false;
	if (type == TYPE_RA) {
		if (!copy && net->link[port].accept_ra)
			qp_net_replicate(net, port, m, QP_NET_COPY_ROUTER);
		qp_ra_input(net, port, nd);
		return true;
	}
	if ((type != TYPE_NS && type != TYPE_NA) || nd->len < NEIGHBOUR_BYTES ||
		!options_ok(nd, NEIGHBOUR_BYTES))
		return false;
	if (!copy)
		QP_NET_COUNT(net, nd_in);
	return type == TYPE_NS ? solicitation(net, port, m, nd, copy)
			       : advertisement(net, port, m, nd, copy);
}

void
qp_ndp_input(struct qp_net *net, unsigned port, struct rte_mbuf *m, const struct qp_net_v6 *ip,
	bool copy)
{
	uint8_t room[MESSAGE_BYTES];
	struct qp_ndp nd = {.ip = ip, .len = ip->end - ip->l4_off, .multicast = ip->dest.b[0] == 0xff};

	if (nd.len < 8 || nd.len > sizeof(room) || !sum_ok(m, ip)) {
		qp_net_drop(m, &net->counters.drop_icmp);
		return;
	}
	nd.icmp = rte_pktmbuf_read(m, ip->l4_off, nd.len, room);
	if (!handle(net, port, m, &nd, copy))
		QP_NET_COUNT(net, drop_icmp);
	rte_pktmbuf_free(m);
}
