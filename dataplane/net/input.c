/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a port receives: to our MAC address, with our tag, to an address of ours,
 * from one that can be somebody's. Connections go up, the rest is done here or
 * counted. Runs on the lcore.
 */
#include <netinet/in.h>
#include <rte_ip.h>
#include <string.h>

#include "dataplane/net/internal.h"

#define TAG_BYTES 4u
#define VLAN_ID   0xfffu
#define LSRR      131u /* RFC 791: source routes */
#define SSRR      137u
#define MAX_EXT_HEADERS 8u
#define V4_UNREACHABLE  3u
#define V4_PROTOCOL     2u
#define V6_PARAMETER    4u
#define V6_NEXT_HEADER  1u

/*
 * Takes a tag out of the bytes; the mbuf has what the device took out, and what is behind
 * that is an inner one, which says nothing of the link. False: cut short.
 */
static bool
untag(struct rte_mbuf *m)
{
	uint8_t *p = rte_pktmbuf_mtod(m, uint8_t *);

	if (((struct rte_ether_hdr *)(void *)p)->ether_type != RTE_BE16(RTE_ETHER_TYPE_VLAN) ||
		(m->ol_flags & RTE_MBUF_F_RX_VLAN_STRIPPED) != 0)
		return true;
	if (m->data_len < QP_NET_ETHER_BYTES + TAG_BYTES)
		return false;
	m->vlan_tci = (uint16_t)(p[QP_NET_ETHER_BYTES] << 8 | p[QP_NET_ETHER_BYTES + 1]);
	m->ol_flags |= RTE_MBUF_F_RX_VLAN;
	memmove(p + TAG_BYTES, p, 2 * RTE_ETHER_ADDR_LEN);
	(void)rte_pktmbuf_adj(m, TAG_BYTES);
	return true;
}

/* Our tag; on an untagged link a tag without an id, which has but a priority (802.1Q, 6.9.1). */
static bool
tag_is_ours(const struct qp_net *net, unsigned port, const struct rte_mbuf *m)
{
	const uint16_t id = m->ol_flags & RTE_MBUF_F_RX_VLAN ? m->vlan_tci & VLAN_ID : 0;

	return id == net->link[port].vlan;
}

/* RFC 7126, 4.3: source routes are not obeyed; other options mean nothing to an end. */
static bool
options_bad(const uint8_t *opt, uint32_t len)
{
	while (len > 0 && opt[0] != 0) {
		if (opt[0] == 1) { /* no operation */
			opt++;
			len--;
			continue;
		}
		if (len < 2 || opt[1] < 2 || opt[1] > len)
			return true;
		if (opt[0] == LSRR || opt[0] == SSRR)
			return true;
		len -= opt[1];
		opt += opt[1];
	}
	return false;
}

/* May it be from there? If not, *why says which counter. */
static bool
source_ok(struct qp_net *net, const struct qp_ipaddr *source, uint64_t **why)
{
	if (qp_net_martian(net, source))
		*why = &net->counters.drop_martian;
	else if (qp_net_own_find(net, source) != NULL)
		*why = &net->counters.drop_spoofed;
	else
		return true;
	return false;
}

/* Whose address is it? NULL: nobody's here, or it cannot be answered; *why says which counter. */
static const struct qp_net_own *
addressed(struct qp_net *net, const struct rte_mbuf *m, const struct qp_ipaddr *dest,
	const struct qp_ipaddr *source, uint64_t **why)
{
	const struct rte_ether_hdr *eth = rte_pktmbuf_mtod(m, const struct rte_ether_hdr *);
	const struct qp_net_own *own = qp_net_own_valid(net, dest);

	/* RFC 1122, 3.3.6: one that came to all is for an address of all. */
	if (rte_is_multicast_ether_addr(&eth->dst_addr))
		*why = &net->counters.drop_many;
	else if (own == NULL)
		*why = &net->counters.drop_not_local;
	else if (source_ok(net, source, why))
		return own;
	return NULL;
}

static enum qp_net_verdict
consumed(struct rte_mbuf *m, uint64_t *why)
{
	qp_net_drop(m, why);
	return QP_NET_CONSUMED;
}

/* What is not spoken here: its sender is told so (RFC 1122, 3.2.2.1; RFC 4443, 3.4). */
static enum qp_net_verdict
not_spoken(struct qp_net *net, unsigned port, struct rte_mbuf *m, const struct qp_net_info *info,
	uint32_t next_at)
{
	struct qp_packet pkt;

	if (info->proto != IPPROTO_NONE && !info->fragment && qp_ip_parse(m, &pkt) == QP_IP_PROTO) {
		if (info->v4)
			qp_icmp_error(net, port, m, V4_UNREACHABLE, V4_PROTOCOL, 0);
		else
			qp_icmp_error(net, port, m, V6_PARAMETER, V6_NEXT_HEADER, next_at);
	}
	return consumed(m, &net->counters.drop_protocol);
}

static enum qp_net_verdict
transport(struct qp_net *net, unsigned port, struct rte_mbuf *m, const struct qp_net_own *own,
	const struct qp_net_info *info, uint32_t next_at)
{
	if (info->proto == IPPROTO_TCP || info->proto == IPPROTO_UDP) {
		QP_NET_COUNT(net, up);
		return QP_NET_UP;
	}
	if (info->proto != (info->v4 ? IPPROTO_ICMP : IPPROTO_ICMPV6))
		return not_spoken(net, port, m, info, next_at);
	if (info->fragment)
		return consumed(m, &net->counters.drop_icmp);
	if (qp_icmp_input(net, port, m, own) != QP_NET_UP)
		return QP_NET_CONSUMED;
	QP_NET_COUNT(net, up);
	return QP_NET_UP;
}

static enum qp_net_verdict
input_v4(struct qp_net *net, unsigned port, struct rte_mbuf *m, struct qp_net_info *info)
{
	const struct rte_ipv4_hdr *ip =
		rte_pktmbuf_mtod_offset(m, const struct rte_ipv4_hdr *, QP_NET_ETHER_BYTES);
	const struct qp_net_own *own;
	struct qp_ipaddr dest, source;
	uint32_t hlen, total;
	uint64_t *why;

	if (m->data_len < QP_NET_ETHER_BYTES + sizeof(*ip))
		return consumed(m, &net->counters.drop_header);
	hlen = rte_ipv4_hdr_len(ip);
	total = rte_be_to_cpu_16(ip->total_length);
	if (ip->version != 4 || hlen < sizeof(*ip) || total < hlen ||
		m->data_len < QP_NET_ETHER_BYTES + hlen || m->pkt_len < QP_NET_ETHER_BYTES + total)
		return consumed(m, &net->counters.drop_header);
	dest = qp_ipaddr_v4(ip->dst_addr);
	source = qp_ipaddr_v4(ip->src_addr);
	own = addressed(net, m, &dest, &source, &why);
	if (own == NULL)
		return consumed(m, why);
	if (hlen > sizeof(*ip) && options_bad((const uint8_t *)(ip + 1), hlen - sizeof(*ip)))
		return consumed(m, &net->counters.drop_options);
	*info = (struct qp_net_info) {.l4_off = (uint16_t)(QP_NET_ETHER_BYTES + hlen),
		.mtu = qp_net_mtu(net, port, true), .proto = ip->next_proto_id, .addr = own->index,
		.v4 = true,
		.fragment = ip->fragment_offset &
			    RTE_BE16(RTE_IPV4_HDR_MF_FLAG | RTE_IPV4_HDR_OFFSET_MASK)};
	return transport(net, port, m, own, info, 0);
}

/* One header at ip->l4_off. False: it ends outside of the packet. */
static bool
skip_header(const struct rte_mbuf *m, struct qp_net_info *info, struct qp_net_v6 *ip)
{
	const uint8_t *h = rte_pktmbuf_mtod_offset(m, const uint8_t *, ip->l4_off);
	const uint32_t end = RTE_MIN(ip->end, m->data_len);
	uint32_t len;

	if (ip->l4_off + 8u > end)
		return false;
	len = info->proto == IPPROTO_FRAGMENT ? 8u : 8u + 8u * h[1];
	if (ip->l4_off + len > end)
		return false;
	/* Not one that is whole (RFC 6946). */
	if (info->proto == IPPROTO_FRAGMENT)
		info->fragment = (h[2] | (h[3] & 0xf9)) != 0;
	info->proto = h[0];
	ip->next_at = (uint16_t)(ip->l4_off - QP_NET_ETHER_BYTES);
	ip->l4_off = (uint16_t)(ip->l4_off + len);
	return true;
}

/* To the transport, as far as steering has to know; whether each may be there says qp_ip_parse. */
static bool
skip_headers(const struct rte_mbuf *m, struct qp_net_info *info, struct qp_net_v6 *ip)
{
	for (unsigned i = 0; i < MAX_EXT_HEADERS && !info->fragment; i++) {
		switch (info->proto) {
		case IPPROTO_HOPOPTS:
		case IPPROTO_DSTOPTS:
		case IPPROTO_ROUTING:
		case IPPROTO_FRAGMENT:
			if (!skip_header(m, info, ip))
				return false;
			break;
		default:
			return true;
		}
	}
	return info->fragment;
}

/* What is it, up to its transport? NULL: all is well; else the counter. */
static uint64_t *
parse_v6(struct qp_net *net, unsigned port, const struct rte_mbuf *m, struct qp_net_info *info,
	struct qp_net_v6 *ip)
{
	const struct rte_ipv6_hdr *h =
		rte_pktmbuf_mtod_offset(m, const struct rte_ipv6_hdr *, QP_NET_ETHER_BYTES);

	if (m->data_len < QP_NET_ETHER_BYTES + sizeof(*h))
		return &net->counters.drop_header;
	ip->end = QP_NET_ETHER_BYTES + (uint32_t)sizeof(*h) + rte_be_to_cpu_16(h->payload_len);
	if (rte_be_to_cpu_32(h->vtc_flow) >> 28 != 6 || m->pkt_len < ip->end)
		return &net->counters.drop_header;
	memcpy(&ip->dest, h->dst_addr, sizeof(ip->dest));
	memcpy(&ip->source, h->src_addr, sizeof(ip->source));
	ip->l4_off = QP_NET_ETHER_BYTES + sizeof(*h);
	ip->next_at = offsetof(struct rte_ipv6_hdr, proto);
	ip->hop_limit = h->hop_limits;
	*info = (struct qp_net_info) {.mtu = qp_net_mtu(net, port, false), .proto = h->proto,
		.addr = QP_NET_NO_ADDR};
	if (!skip_headers(m, info, ip))
		return &net->counters.drop_options;
	info->l4_off = ip->l4_off;
	return NULL;
}

/* All nodes, of the link and (RFC 4291, 2.7.1) of the interface; our solicited-node groups. */
static bool
listens(const struct qp_net *net, unsigned port, const struct qp_ipaddr *group)
{
	static const struct qp_ipaddr all[] = {{.b = {0xff, 2, [15] = 1}}, {.b = {0xff, 1, [15] = 1}}};

	if (qp_ipaddr_equal(group, &all[0]) || qp_ipaddr_equal(group, &all[1]))
		return true;
	for (unsigned i = 0; i < net->nown; i++) {
		struct qp_ipaddr node;

		if (net->own[i].port != port || qp_ipaddr_is_v4(&net->own[i].addr))
			continue;
		node = qp_ndp_solicited_node(&net->own[i].addr);
		if (qp_ipaddr_equal(&node, group))
			return true;
	}
	return false;
}

/* To a group. Only ICMPv6 is spoken there. */
static enum qp_net_verdict
input_group(struct qp_net *net, unsigned port, struct rte_mbuf *m, const struct qp_net_info *info,
	const struct qp_net_v6 *ip)
{
	const struct qp_net_own *own;
	uint64_t *why = &net->counters.drop_many;

	if (info->proto != IPPROTO_ICMPV6 || info->fragment || !listens(net, port, &ip->dest))
		return consumed(m, why);
	if (qp_ndp_is(m, ip->l4_off)) {
		qp_ndp_input(net, port, m, ip, false);
		return QP_NET_CONSUMED;
	}
	own = qp_net_own_for(net, port, &ip->source);
	if (own == NULL || !source_ok(net, &ip->source, &why))
		return consumed(m, why);
	if (qp_icmp_input(net, port, m, own) == QP_NET_CONSUMED)
		return QP_NET_CONSUMED;
	return consumed(m, &net->counters.drop_many); /* no error is sent to a group */
}

static enum qp_net_verdict
input_v6(struct qp_net *net, unsigned port, struct rte_mbuf *m, struct qp_net_info *info)
{
	const struct qp_net_own *own;
	struct qp_net_v6 ip;
	uint64_t *why = parse_v6(net, port, m, info, &ip);

	if (why != NULL)
		return consumed(m, why);
	if (ip.dest.b[0] == 0xff)
		return input_group(net, port, m, info, &ip);
	if (info->proto == IPPROTO_ICMPV6 && !info->fragment && qp_ndp_is(m, ip.l4_off) &&
		qp_net_own_valid(net, &ip.dest) != NULL) {
		qp_ndp_input(net, port, m, &ip, false);
		return QP_NET_CONSUMED;
	}
	own = addressed(net, m, &ip.dest, &ip.source, &why);
	if (own == NULL)
		return consumed(m, why);
	info->addr = own->index;
	return transport(net, port, m, own, info, ip.next_at);
}

/* False: not for us, freed and counted. */
static bool
admit(struct qp_net *net, unsigned port, struct rte_mbuf *m)
{
	const struct rte_ether_hdr *eth = rte_pktmbuf_mtod(m, const struct rte_ether_hdr *);
	const uint8_t *own = port < net->nports ? net->port[port].mac : NULL;

	if (own == NULL || m->data_len < QP_NET_ETHER_BYTES || !untag(m)) {
		qp_net_drop(m, &net->counters.drop_header);
		return false;
	}
	eth = rte_pktmbuf_mtod(m, const struct rte_ether_hdr *);
	if (!tag_is_ours(net, port, m)) {
		qp_net_drop(m, &net->counters.drop_vlan);
		return false;
	}
	if (!rte_is_multicast_ether_addr(&eth->dst_addr) && memcmp(&eth->dst_addr, own, 6) != 0) {
		qp_net_drop(m, &net->counters.drop_mac);
		return false;
	}
	/* Our own, come back; or nobody's. */
	if (memcmp(&eth->src_addr, own, 6) == 0 || rte_is_multicast_ether_addr(&eth->src_addr)) {
		qp_net_drop(m, &net->counters.drop_spoofed);
		return false;
	}
	return true;
}

enum qp_net_verdict
qp_net_input(struct qp_net *net, unsigned port, struct rte_mbuf *m, struct qp_net_info *info)
{
	if (!admit(net, port, m))
		return QP_NET_CONSUMED;
	switch (rte_pktmbuf_mtod(m, const struct rte_ether_hdr *)->ether_type) {
	case RTE_BE16(RTE_ETHER_TYPE_IPV4):
		return input_v4(net, port, m, info);
	case RTE_BE16(RTE_ETHER_TYPE_IPV6):
		return input_v6(net, port, m, info);
	case RTE_BE16(RTE_ETHER_TYPE_ARP):
		QP_NET_COUNT(net, arp_in);
		qp_arp_input(net, port, m, false);
		return QP_NET_CONSUMED;
	default:
		return consumed(m, &net->counters.drop_ethertype);
	}
}

static void
learn_v6(struct qp_net *net, unsigned port, struct rte_mbuf *m)
{
	struct qp_net_info info;
	struct qp_net_v6 ip;
	uint64_t *why = parse_v6(net, port, m, &info, &ip);

	if (why == NULL && info.proto == IPPROTO_ICMPV6 && !info.fragment && qp_ndp_is(m, ip.l4_off))
		qp_ndp_input(net, port, m, &ip, true);
	else
		qp_net_drop(m, why != NULL ? why : &net->counters.drop_icmp);
}

/* It was admitted where it came in. */
void
qp_net_learn(struct qp_net *net, unsigned port, struct rte_mbuf *m)
{
	const struct rte_ether_hdr *eth = rte_pktmbuf_mtod(m, const struct rte_ether_hdr *);

	QP_NET_COUNT(net, learned);
	if (port >= net->nports || m->data_len < QP_NET_ETHER_BYTES)
		qp_net_drop(m, &net->counters.drop_header);
	else if (eth->ether_type == RTE_BE16(RTE_ETHER_TYPE_ARP))
		qp_arp_input(net, port, m, true);
	else if (eth->ether_type == RTE_BE16(RTE_ETHER_TYPE_IPV6))
		learn_v6(net, port, m);
	else
		qp_net_drop(m, &net->counters.drop_ethertype);
}
