/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ethernet, IPv4 and IPv6: a received frame to a verified transport segment.
 * Any lcore; no state. What the segment means is left to TCP, UDP and ICMP;
 * the way out is ip_encap.c.
 */
#include "dataplane/ip.h"

#include <rte_ether.h>
#include <rte_icmp.h>
#include <rte_ip.h>
#include <rte_mbuf.h>
#include <rte_tcp.h>
#include <rte_udp.h>

#include "common/classifier.h"
#include "common/error.h"
#include "dataplane/cksum.h"
#include "dataplane/mbufs.h"

#define ETHER_BYTES ((uint16_t)sizeof(struct rte_ether_hdr))
#define MAX_EXT_HEADERS 8

static const char *const verdict_texts[QP_IP_VERDICTS] = {
	[QP_IP_OK] = "ok",
#define X(name, text) [name] = text,
	QP_IP_DROPS(X)
#undef X
};

const char *
qp_ip_verdict_text(enum qp_ip_verdict v)
{
	return (unsigned)v < QP_IP_VERDICTS ? verdict_texts[v] : "unknown";
}

void
qp_ipaddr_to_sockaddr(const struct qp_ipaddr *a, uint16_t port_be, struct sockaddr_storage *ss,
	socklen_t *len)
{
	memset(ss, 0, sizeof(*ss));
	if (qp_ipaddr_is_v4(a)) {
		struct sockaddr_in *sin = (struct sockaddr_in *)ss;

		sin->sin_family = AF_INET;
		sin->sin_port = port_be;
		sin->sin_addr.s_addr = a->w[3];
		*len = sizeof(*sin);
	} else {
		struct sockaddr_in6 *sin6 = (struct sockaddr_in6 *)ss;

		sin6->sin6_family = AF_INET6;
		sin6->sin6_port = port_be;
		memcpy(&sin6->sin6_addr, a, sizeof(*a));
		*len = sizeof(*sin6);
	}
}

int
qp_ipaddr_from_sockaddr(const struct sockaddr *sa, struct qp_ipaddr *a, uint16_t *port_be)
{
	if (sa->sa_family == AF_INET) {
		const struct sockaddr_in *sin = (const struct sockaddr_in *)sa;

		*a = qp_ipaddr_v4(sin->sin_addr.s_addr);
		*port_be = sin->sin_port;
		return 0;
	}
	if (sa->sa_family == AF_INET6) {
		const struct sockaddr_in6 *sin6 = (const struct sockaddr_in6 *)sa;

		memcpy(a, &sin6->sin6_addr, sizeof(*a));
		*port_be = sin6->sin6_port;
		return 0;
	}
	return QP_E_INVAL;
}

static bool
l4_cksum_ok(const struct rte_mbuf *m, const struct qp_packet *pkt, uint32_t len, bool pseudo)
{
	uint64_t sum = qp_cksum_chain(m, pkt->l4_off, len);

	if (pseudo)
		sum += qp_cksum_pseudo(&pkt->flow, pkt->proto, len);
	return qp_cksum_fold(sum) == 0xffff;
}

/* NONE: the bytes are right, but the field has only the pseudo header's sum (virtio, within a host). */
static bool
port_verified_l4(const struct rte_mbuf *m)
{
	const uint64_t cksum = m->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK;

	return cksum == RTE_MBUF_F_RX_L4_CKSUM_GOOD || cksum == RTE_MBUF_F_RX_L4_CKSUM_NONE;
}

/* RFC 1122, 3.2.1.3: never a source; class E and 0/8 likewise. Loopback is legitimate here. */
static bool
v4_source_bad(uint32_t addr_be)
{
	uint8_t top = rte_be_to_cpu_32(addr_be) >> 24;

	return top == 0 || top >= 224;
}

/* Multicast, unspecified; and v4-mapped, which on the wire would pass for IPv4 here. */
static bool
v6_source_bad(const struct qp_ipaddr *a)
{
	return a->b[0] == 0xff || (a->q[0] == 0 && a->q[1] == 0) || qp_ipaddr_is_v4(a);
}

/* A datagram or segment to many cannot be a conversation with us. */
static bool
dest_is_many(const struct qp_ipaddr *a)
{
	return qp_ipaddr_is_v4(a) ? a->b[12] >= 224 : a->b[0] == 0xff;
}

static enum qp_ip_verdict
parse_udp(struct rte_mbuf *m, struct qp_packet *pkt)
{
	const struct rte_udp_hdr *udp = rte_pktmbuf_mtod_offset(m, void *, pkt->l4_off);
	uint16_t len = rte_be_to_cpu_16(udp->dgram_len);

	if (len < sizeof(*udp) || len > pkt->l4_len)
		return QP_IP_BAD_HEADER;
	/* RFC 768: 0 = none made; RFC 8200, 8.1: not with IPv6. */
	if (udp->dgram_cksum == 0
			? !qp_ipaddr_is_v4(&pkt->flow.local)
			: !port_verified_l4(m) && !l4_cksum_ok(m, pkt, len, true))
		return QP_IP_BAD_L4_CKSUM;
	/* What follows the datagram inside the IP packet is not payload. */
	pkt->l4_len = len;
	pkt->flow.rport_be = udp->src_port;
	pkt->flow.lport_be = udp->dst_port;
	return QP_IP_OK;
}

static enum qp_ip_verdict
parse_tcp(struct rte_mbuf *m, struct qp_packet *pkt)
{
	const struct rte_tcp_hdr *tcp = rte_pktmbuf_mtod_offset(m, void *, pkt->l4_off);

	if (!port_verified_l4(m) && !l4_cksum_ok(m, pkt, pkt->l4_len, true))
		return QP_IP_BAD_L4_CKSUM;
	pkt->flow.rport_be = tcp->src_port;
	pkt->flow.lport_be = tcp->dst_port;
	return QP_IP_OK;
}

/* A port's L4 verdict is about TCP and UDP: ICMP is always summed here. */
static enum qp_ip_verdict
parse_icmp(struct rte_mbuf *m, struct qp_packet *pkt)
{
	if (!l4_cksum_ok(m, pkt, pkt->l4_len, pkt->proto == IPPROTO_ICMPV6))
		return QP_IP_BAD_L4_CKSUM;
	pkt->flow.rport_be = 0;
	pkt->flow.lport_be = 0;
	return QP_IP_OK;
}

/* Smallest transport header; 0 for a protocol that is not served with this IP version. */
static uint32_t
l4_header_bytes(uint8_t proto, bool v4)
{
	switch (proto) {
	case IPPROTO_TCP:
		return sizeof(struct rte_tcp_hdr);
	case IPPROTO_UDP:
		return sizeof(struct rte_udp_hdr);
	case IPPROTO_ICMP:
		return v4 ? sizeof(struct rte_icmp_hdr) : 0;
	case IPPROTO_ICMPV6:
		return v4 ? 0 : sizeof(struct rte_icmp_hdr);
	default:
		return 0;
	}
}

/* The IP layer is done: l4_off, l4_len, proto and addresses are set. */
static enum qp_ip_verdict
parse_l4(struct rte_mbuf *m, struct qp_packet *pkt)
{
	uint32_t need = l4_header_bytes(pkt->proto, qp_ipaddr_is_v4(&pkt->flow.local));
	enum qp_ip_verdict v;

	if (need == 0)
		return QP_IP_PROTO;
	if (pkt->l4_len < need || pkt->l4_off + need > m->data_len)
		return QP_IP_SHORT;
	switch (pkt->proto) {
	case IPPROTO_TCP:
		v = dest_is_many(&pkt->flow.local) ? QP_IP_BAD_ADDR : parse_tcp(m, pkt);
		break;
	case IPPROTO_UDP:
		v = dest_is_many(&pkt->flow.local) ? QP_IP_BAD_ADDR : parse_udp(m, pkt);
		break;
	default:
		v = parse_icmp(m, pkt);
		break;
	}
	if (v == QP_IP_OK)
		qp_mbuf_truncate(m, pkt->l4_off + pkt->l4_len);
	return v;
}

static enum qp_ip_verdict
parse_v4(struct rte_mbuf *m, struct qp_packet *pkt)
{
	const struct rte_ipv4_hdr *ip = rte_pktmbuf_mtod_offset(m, void *, pkt->l3_off);
	uint64_t cksum = m->ol_flags & RTE_MBUF_F_RX_IP_CKSUM_MASK;
	uint32_t hlen, total;

	if (m->data_len < pkt->l3_off + sizeof(*ip))
		return QP_IP_SHORT;
	hlen = rte_ipv4_hdr_len(ip);
	total = rte_be_to_cpu_16(ip->total_length);
	if (ip->version != 4 || hlen < sizeof(*ip) || total < hlen)
		return QP_IP_BAD_HEADER;
	if (m->data_len < pkt->l3_off + hlen || m->pkt_len < pkt->l3_off + total)
		return QP_IP_SHORT;
	if (cksum == RTE_MBUF_F_RX_IP_CKSUM_BAD)
		return QP_IP_BAD_IP_CKSUM;
	if (cksum != RTE_MBUF_F_RX_IP_CKSUM_GOOD && qp_cksum_fold(qp_cksum_bytes((const void *)ip, hlen)) != 0xffff)
		return QP_IP_BAD_IP_CKSUM;
	if (ip->fragment_offset & RTE_BE16(RTE_IPV4_HDR_MF_FLAG | RTE_IPV4_HDR_OFFSET_MASK))
		return QP_IP_FRAGMENT;
	if (v4_source_bad(ip->src_addr))
		return QP_IP_BAD_ADDR;
	pkt->flow.local = qp_ipaddr_v4(ip->dst_addr);
	pkt->flow.remote = qp_ipaddr_v4(ip->src_addr);
	pkt->l4_off = pkt->l3_off + hlen;
	pkt->l4_len = total - hlen;
	pkt->proto = ip->next_proto_id;
	pkt->tos = ip->type_of_service;
	pkt->ttl = ip->time_to_live;
	return parse_l4(m, pkt);
}

/* RFC 8200, 4.2: may a node that knows none of the options go on with the packet? */
static bool
options_skippable(const uint8_t *opt, uint32_t len)
{
	while (len > 0) {
		if (opt[0] == 0) { /* Pad1 */
			opt++;
			len--;
			continue;
		}
		if ((opt[0] & 0xc0) != 0 || len < 2 || len - 2 < opt[1])
			return false;
		len -= 2 + opt[1];
		opt += 2 + opt[1];
	}
	return true;
}

/*
 * One extension header at pkt->l4_off. QP_IP_OK: skipped, pkt moved on; proto
 * unchanged otherwise. `first`: right behind the IPv6 header.
 */
static enum qp_ip_verdict
skip_ext_header(const struct rte_mbuf *m, struct qp_packet *pkt, bool first)
{
	const uint8_t *h = rte_pktmbuf_mtod_offset(m, const uint8_t *, pkt->l4_off);
	uint32_t len;

	if (pkt->l4_len < 8 || pkt->l4_off + 8u > m->data_len)
		return QP_IP_SHORT;
	len = pkt->proto == IPPROTO_FRAGMENT ? 8 : 8 + 8u * h[1];
	if (pkt->l4_len < len || pkt->l4_off + len > m->data_len)
		return QP_IP_SHORT;
	switch (pkt->proto) {
	case IPPROTO_HOPOPTS:
		if (!first || !options_skippable(h + 2, len - 2))
			return QP_IP_EXT_HEADER;
		break;
	case IPPROTO_DSTOPTS:
		if (!options_skippable(h + 2, len - 2))
			return QP_IP_EXT_HEADER;
		break;
	case IPPROTO_ROUTING:
		if (h[3] != 0) /* segments left: we are not its end (RFC 8200, 4.4) */
			return QP_IP_EXT_HEADER;
		break;
	case IPPROTO_FRAGMENT:
		/* Offset 0 and no more: an atomic fragment is a whole packet (RFC 6946). */
		if ((h[2] | (h[3] & 0xf9)) != 0)
			return QP_IP_FRAGMENT;
		break;
	}
	pkt->proto = h[0];
	pkt->l4_off += len;
	pkt->l4_len -= len;
	return QP_IP_OK;
}

static bool
is_ext_header(uint8_t proto)
{
	return proto == IPPROTO_HOPOPTS || proto == IPPROTO_DSTOPTS || proto == IPPROTO_ROUTING ||
	       proto == IPPROTO_FRAGMENT;
}

static enum qp_ip_verdict
parse_v6(struct rte_mbuf *m, struct qp_packet *pkt)
{
	const struct rte_ipv6_hdr *ip = rte_pktmbuf_mtod_offset(m, void *, pkt->l3_off);
	uint32_t vtc;

	if (m->data_len < pkt->l3_off + sizeof(*ip))
		return QP_IP_SHORT;
	vtc = rte_be_to_cpu_32(ip->vtc_flow);
	if (vtc >> 28 != 6)
		return QP_IP_BAD_HEADER;
	pkt->l4_len = rte_be_to_cpu_16(ip->payload_len);
	if (m->pkt_len < pkt->l3_off + sizeof(*ip) + pkt->l4_len)
		return QP_IP_SHORT;
	memcpy(&pkt->flow.remote, ip->src_addr, 16);
	memcpy(&pkt->flow.local, ip->dst_addr, 16);
	if (v6_source_bad(&pkt->flow.remote) || qp_ipaddr_is_v4(&pkt->flow.local))
		return QP_IP_BAD_ADDR;
	pkt->l4_off = pkt->l3_off + sizeof(*ip);
	pkt->proto = ip->proto;
	pkt->tos = (vtc >> 20) & 0xff;
	pkt->ttl = ip->hop_limits;
	for (int n = 0; is_ext_header(pkt->proto); n++) {
		enum qp_ip_verdict v = QP_IP_EXT_HEADER;

		if (n < MAX_EXT_HEADERS)
			v = skip_ext_header(m, pkt, n == 0);
		if (v != QP_IP_OK)
			return v;
	}
	return parse_l4(m, pkt);
}

/* The classifier's mark in a frame's destination; 0 in any other address. */
static uint16_t
marked_mtu(const uint8_t mac[6])
{
	if (mac[0] != QP_CLS_MARK_0 || mac[1] != QP_CLS_MARK_MTU || mac[2] != 0 || mac[3] != 0)
		return 0;
	return (uint16_t)(mac[4] << 8 | mac[5]);
}

enum qp_ip_verdict
qp_ip_parse(struct rte_mbuf *m, struct qp_packet *pkt)
{
	const struct rte_ether_hdr *eth = rte_pktmbuf_mtod(m, const struct rte_ether_hdr *);

	if (m->data_len < ETHER_BYTES)
		return QP_IP_SHORT;
	if ((m->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK) == RTE_MBUF_F_RX_L4_CKSUM_BAD)
		return QP_IP_BAD_L4_CKSUM;
	memset(pkt, 0, sizeof(*pkt));
	memcpy(pkt->flow.l2.peer_mac, &eth->src_addr, 6);
	pkt->flow.l2.mtu = marked_mtu(eth->dst_addr.addr_bytes);
	pkt->l3_off = ETHER_BYTES;
	if (m->ol_flags & RTE_MBUF_F_RX_LRO)
		pkt->segsz = m->tso_segsz;
	switch (eth->ether_type) {
	case RTE_BE16(RTE_ETHER_TYPE_IPV4):
		return parse_v4(m, pkt);
	case RTE_BE16(RTE_ETHER_TYPE_IPV6):
		return parse_v6(m, pkt);
	default:
		return QP_IP_NOT_IP;
	}
}
