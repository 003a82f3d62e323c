/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Offloads in software, for devices that lack them. Pieces are copies: a header
 * of their own and payload in as few mbufs as it takes, so that a device that
 * takes no chains gets one mbuf. Runs on a worker's lcore.
 */
#include "dataplane/port_soft.h"

#include <string.h>

#include <rte_ip.h>
#include <rte_tcp.h>
#include <rte_udp.h>

#include "dataplane/ip.h"

#define FLAGS_SEG (RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_UDP_SEG)

void
qp_soft_init(struct qp_soft *s, uint64_t hw, uint16_t nb_seg_max, uint16_t nb_mtu_seg_max,
	struct rte_mempool *pool)
{
	*s = (struct qp_soft) {.hw = hw, .pool = pool, .max_segs = 1, .max_packet_segs = 1};
	if ((hw & RTE_ETH_TX_OFFLOAD_MULTI_SEGS) != 0) {
		s->max_segs = nb_seg_max != 0 ? nb_seg_max : UINT16_MAX;
		s->max_packet_segs = nb_mtu_seg_max != 0 ? nb_mtu_seg_max : s->max_segs;
	}
	if ((hw & RTE_ETH_TX_OFFLOAD_TCP_TSO) == 0)
		s->flags |= RTE_MBUF_F_TX_TCP_SEG;
	if ((hw & RTE_ETH_TX_OFFLOAD_UDP_TSO) == 0)
		s->flags |= RTE_MBUF_F_TX_UDP_SEG;
	if ((hw & RTE_ETH_TX_OFFLOAD_IPV4_CKSUM) == 0)
		s->flags |= RTE_MBUF_F_TX_IP_CKSUM;
	if ((hw & RTE_ETH_TX_OFFLOAD_VLAN_INSERT) == 0)
		s->flags |= RTE_MBUF_F_TX_VLAN;
}

static uint32_t
super_header_bytes(const struct rte_mbuf *m)
{
	return (uint32_t)(m->l2_len + m->l3_len) +
	       (m->ol_flags & RTE_MBUF_F_TX_UDP_SEG ? (uint32_t)sizeof(struct rte_udp_hdr) : m->l4_len);
}

bool
qp_soft_is_crowded(const struct qp_soft *s, const struct rte_mbuf *m)
{
	uint32_t left = super_header_bytes(m) + m->tso_segsz;
	unsigned segs = 0;

	for (const struct rte_mbuf *seg = m; seg != NULL; seg = seg->next) {
		for (uint32_t bytes = seg->data_len; bytes > 0;) {
			const uint32_t take = RTE_MIN(bytes, left);

			if (++segs > s->max_packet_segs)
				return true;
			bytes -= take;
			left -= take;
			if (left == 0) {
				left = m->tso_segsz;
				segs = 1; /* the header is read again */
			}
		}
	}
	return false;
}

/* Where in a chain the next bytes come from. */
struct cursor {
	const struct rte_mbuf *seg;
	uint32_t off;
};

static void
copy_from(struct cursor *c, uint8_t *to, uint32_t len)
{
	while (len > 0) {
		uint32_t take = RTE_MIN(len, c->seg->data_len - c->off);

		memcpy(to, rte_pktmbuf_mtod_offset(c->seg, const uint8_t *, c->off), take);
		to += take;
		len -= take;
		c->off += take;
		while (c->seg->next != NULL && c->off == c->seg->data_len) {
			c->seg = c->seg->next;
			c->off = 0;
		}
	}
}

/* Adds the next `len` bytes to `frame`, in new mbufs where its last one is full. */
static bool
append(struct rte_mempool *pool, struct rte_mbuf *frame, struct cursor *from, uint32_t len)
{
	struct rte_mbuf *last = frame;

	while (len > 0) {
		uint16_t room = rte_pktmbuf_tailroom(last);
		uint16_t take = (uint16_t)RTE_MIN(len, (uint32_t)room);

		if (room == 0) {
			last->next = rte_pktmbuf_alloc(pool);
			if (last->next == NULL)
				return false;
			last = last->next;
			frame->nb_segs++;
			continue;
		}
		copy_from(from, rte_pktmbuf_mtod_offset(last, uint8_t *, last->data_len), take);
		last->data_len = (uint16_t)(last->data_len + take);
		frame->pkt_len += take;
		len -= take;
	}
	return true;
}

/* An empty frame with the offload fields of `m`. */
static struct rte_mbuf *
like(struct rte_mempool *pool, const struct rte_mbuf *m)
{
	struct rte_mbuf *frame = pool != NULL ? rte_pktmbuf_alloc(pool) : NULL;

	if (frame == NULL)
		return NULL;
	frame->ol_flags = m->ol_flags & ~(RTE_MBUF_F_INDIRECT | RTE_MBUF_F_EXTERNAL);
	frame->tx_offload = m->tx_offload;
	frame->vlan_tci = m->vlan_tci;
	frame->port = m->port;
	return frame;
}

/* A copy in as few mbufs as possible. Consumes `m`. */
static struct rte_mbuf *
gather(struct qp_soft *s, struct rte_mbuf *m)
{
	struct cursor at = {m, 0};
	struct rte_mbuf *copy = like(s->pool, m);

	if (copy != NULL && (!append(s->pool, copy, &at, m->pkt_len) || copy->nb_segs > s->max_packet_segs)) {
		rte_pktmbuf_free(copy);
		copy = NULL;
	}
	s->no_mbuf += copy == NULL;
	rte_pktmbuf_free(m);
	return copy;
}

/* Over all from the transport header on, where the pseudo-header's sum stands already. */
static uint16_t
transport_sum(const struct rte_mbuf *m)
{
	const uint32_t off = (uint32_t)(m->l2_len + m->l3_len);

	return (uint16_t)~qp_cksum_chain(m, off, m->pkt_len - off);
}

static bool
fill_sums(const struct qp_soft *s, struct rte_mbuf *m)
{
	const uint64_t l4 = m->ol_flags & RTE_MBUF_F_TX_L4_MASK;
	const uint32_t at = (uint32_t)(m->l2_len + m->l3_len);
	const bool udp = l4 == RTE_MBUF_F_TX_UDP_CKSUM;
	const bool tcp = l4 == RTE_MBUF_F_TX_TCP_CKSUM;
	const uint32_t l4_bytes = udp ? sizeof(struct rte_udp_hdr) : tcp ? sizeof(struct rte_tcp_hdr) : 0;

	if (at + l4_bytes > m->data_len)
		return false;
	if ((m->ol_flags & s->flags & RTE_MBUF_F_TX_IP_CKSUM) != 0) {
		struct rte_ipv4_hdr *ip = rte_pktmbuf_mtod_offset(m, struct rte_ipv4_hdr *, m->l2_len);

		ip->hdr_checksum = 0;
		ip->hdr_checksum = rte_ipv4_cksum(ip);
		m->ol_flags &= ~RTE_MBUF_F_TX_IP_CKSUM;
	}
	if (udp && (s->hw & RTE_ETH_TX_OFFLOAD_UDP_CKSUM) == 0) {
		struct rte_udp_hdr *h = rte_pktmbuf_mtod_offset(m, struct rte_udp_hdr *, at);
		uint16_t sum = transport_sum(m);

		h->dgram_cksum = sum != 0 ? sum : 0xffff;
		m->ol_flags &= ~RTE_MBUF_F_TX_L4_MASK;
	} else if (tcp && (s->hw & RTE_ETH_TX_OFFLOAD_TCP_CKSUM) == 0) {
		rte_pktmbuf_mtod_offset(m, struct rte_tcp_hdr *, at)->cksum = transport_sum(m);
		m->ol_flags &= ~RTE_MBUF_F_TX_L4_MASK;
	}
	return true;
}

static bool
put_tag(const struct qp_soft *s, struct rte_mbuf *m)
{
	struct rte_vlan_hdr *tag;
	uint8_t *head;

	if ((m->ol_flags & s->flags & RTE_MBUF_F_TX_VLAN) == 0)
		return true;
	head = (uint8_t *)rte_pktmbuf_prepend(m, sizeof(*tag));
	if (head == NULL)
		return false;
	memmove(head, head + sizeof(*tag), 2 * RTE_ETHER_ADDR_LEN);
	tag = (struct rte_vlan_hdr *)(head + RTE_ETHER_HDR_LEN);
	tag->vlan_tci = rte_cpu_to_be_16(m->vlan_tci);
	/* The type that stood there stands behind the tag already. */
	((struct rte_ether_hdr *)head)->ether_type = rte_cpu_to_be_16(RTE_ETHER_TYPE_VLAN);
	m->l2_len += sizeof(*tag);
	m->ol_flags &= ~RTE_MBUF_F_TX_VLAN;
	return true;
}

/* What a single frame lacks. Its first mbuf is nobody else's. */
static bool
finish(struct qp_soft *s, struct rte_mbuf *m)
{
	if (fill_sums(s, m) && put_tag(s, m))
		return true;
	s->bad++;
	rte_pktmbuf_free(m);
	return false;
}

static void
fix_ip(struct rte_mbuf *piece, unsigned index)
{
	uint8_t *at = rte_pktmbuf_mtod_offset(piece, uint8_t *, piece->l2_len);
	const uint16_t bytes = (uint16_t)(piece->pkt_len - piece->l2_len);

	if (piece->ol_flags & RTE_MBUF_F_TX_IPV6) {
		struct rte_ipv6_hdr *ip = (struct rte_ipv6_hdr *)at;

		ip->payload_len = rte_cpu_to_be_16((uint16_t)(bytes - sizeof(*ip)));
	} else {
		struct rte_ipv4_hdr *ip = (struct rte_ipv4_hdr *)at;

		ip->total_length = rte_cpu_to_be_16(bytes);
		ip->packet_id = rte_cpu_to_be_16((uint16_t)(rte_be_to_cpu_16(ip->packet_id) + index));
	}
}

/* DPDK leaves the length out of a super-segment's pseudo-header sum. */
static uint16_t
with_length(uint16_t sum, uint16_t bytes)
{
	uint32_t all = (uint32_t)sum + rte_cpu_to_be_16(bytes);

	return (uint16_t)((all & 0xffff) + (all >> 16));
}

/* `off`: of the piece's payload in the super-segment's. */
static void
fix_transport(struct rte_mbuf *piece, uint32_t off, unsigned index, bool last)
{
	const uint32_t at = (uint32_t)(piece->l2_len + piece->l3_len);
	const uint16_t bytes = (uint16_t)(piece->pkt_len - at);

	if (piece->ol_flags & RTE_MBUF_F_TX_UDP_SEG) {
		struct rte_udp_hdr *udp = rte_pktmbuf_mtod_offset(piece, struct rte_udp_hdr *, at);

		udp->dgram_len = rte_cpu_to_be_16(bytes);
		udp->dgram_cksum = with_length(udp->dgram_cksum, bytes);
	} else {
		struct rte_tcp_hdr *tcp = rte_pktmbuf_mtod_offset(piece, struct rte_tcp_hdr *, at);

		tcp->sent_seq = rte_cpu_to_be_32(rte_be_to_cpu_32(tcp->sent_seq) + off);
		if (index > 0)
			tcp->tcp_flags &= (uint8_t)~RTE_TCP_CWR_FLAG;
		if (!last)
			tcp->tcp_flags &= (uint8_t)~(RTE_TCP_FIN_FLAG | RTE_TCP_PSH_FLAG);
		tcp->cksum = with_length(tcp->cksum, bytes);
	}
}

static struct rte_mbuf *
cut_one(struct qp_soft *s, const struct rte_mbuf *m, uint32_t hdr, struct cursor *payload, uint32_t off,
	unsigned index)
{
	const bool udp = (m->ol_flags & RTE_MBUF_F_TX_UDP_SEG) != 0;
	const uint32_t left = m->pkt_len - hdr - off, take = RTE_MIN(left, (uint32_t)m->tso_segsz);
	struct cursor head = {m, 0};
	struct rte_mbuf *piece = like(s->pool, m);

	if (piece == NULL)
		return NULL;
	if (!append(s->pool, piece, &head, hdr) || !append(s->pool, piece, payload, take) ||
		piece->data_len < hdr || piece->nb_segs > s->max_packet_segs) {
		rte_pktmbuf_free(piece);
		return NULL;
	}
	fix_ip(piece, index);
	fix_transport(piece, off, index, take == left);
	piece->tso_segsz = 0;
	piece->ol_flags &= ~(FLAGS_SEG | RTE_MBUF_F_TX_L4_MASK);
	piece->ol_flags |= udp ? RTE_MBUF_F_TX_UDP_CKSUM : RTE_MBUF_F_TX_TCP_CKSUM;
	return piece;
}

/* All or nothing: a hole in the middle would only have to be filled later. */
static unsigned
cut(struct qp_soft *s, struct rte_mbuf *m, struct rte_mbuf *out[QP_SOFT_PIECES])
{
	const uint32_t hdr = super_header_bytes(m);
	struct cursor payload = {m, 0};
	unsigned n = 0;
	bool whole = true;

	if (m->tso_segsz == 0 || hdr > m->data_len || m->pkt_len <= hdr ||
		(m->pkt_len - hdr - 1) / m->tso_segsz >= QP_SOFT_PIECES) {
		s->bad++;
		rte_pktmbuf_free(m);
		return 0;
	}
	payload.off = hdr;
	while (payload.seg->next != NULL && payload.off == payload.seg->data_len)
		payload = (struct cursor) {payload.seg->next, 0};
	for (uint32_t off = 0; whole && off < m->pkt_len - hdr; off += m->tso_segsz) {
		out[n] = cut_one(s, m, hdr, &payload, off, n);
		s->no_mbuf += out[n] == NULL;
		whole = out[n] != NULL && finish(s, out[n]);
		n += whole;
	}
	s->cut += whole;
	rte_pktmbuf_free(m);
	if (whole)
		return n;
	rte_pktmbuf_free_bulk(out, n);
	return 0;
}

unsigned
qp_soft_frames(struct qp_soft *s, struct rte_mbuf *m, struct rte_mbuf *out[QP_SOFT_PIECES])
{
	const bool odd = s->even_only && qp_soft_is_odd(m);

	/* Some devices take a super-segment, but not in so many mbufs. */
	if ((m->ol_flags & FLAGS_SEG) != 0 &&
		((m->ol_flags & s->flags & FLAGS_SEG) != 0 || qp_soft_is_beyond(s, m) || odd))
		return cut(s, m, out);
	/* A header that others see, too, is not ours to write into. */
	if (odd || qp_soft_is_beyond(s, m) || rte_mbuf_refcnt_read(m) > 1 || !RTE_MBUF_DIRECT(m))
		m = gather(s, m);
	if (m == NULL || !finish(s, m))
		return 0;
	out[0] = m;
	return 1;
}
