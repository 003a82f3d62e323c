/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A datagram that exceeds the MTU, to IP fragments (RFC 791, 3.2; RFC 8200,
 * 4.5). Headers in mbufs of their own, payload as clones. DPDK's librte_ip_frag
 * gives all IPv6 fragments the identification 0, so it is of no use here. Runs
 * on the owning lcore.
 */
#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_mbuf.h>
#include <rte_udp.h>
#include <string.h>

#include "dataplane/cksum.h"
#include "dataplane/udp/internal.h"

#define HOP_LIMIT 64
#define ETHER_BYTES ((uint16_t)sizeof(struct rte_ether_hdr))
#define V6_HEADERS (sizeof(struct rte_ipv6_hdr) + RTE_IPV6_FRAG_HDR_SIZE)

/* Where the next payload byte stands. */
struct cursor {
	struct rte_mbuf *seg;
	uint32_t off;
};

/* The port sums no fragments. */
static void
fill_checksum(struct rte_mbuf *m, const struct qp_flow *flow)
{
	struct rte_udp_hdr *udp = rte_pktmbuf_mtod(m, struct rte_udp_hdr *);
	uint64_t sum = qp_cksum_chain(m, 0, m->pkt_len);
	uint16_t inverted;

	sum += qp_cksum_pseudo(flow, IPPROTO_UDP, m->pkt_len);
	inverted = (uint16_t)~qp_cksum_fold(sum);
	udp->dgram_cksum = inverted != 0 ? inverted : 0xffff;
}

/* Appends `len` bytes from the cursor to the fragment, as clones. */
static int
append_clones(struct qp_udp *u, struct rte_mbuf *frag, struct cursor *at, uint32_t len)
{
	struct rte_mbuf *tail = frag;

	while (len > 0) {
		uint32_t n = RTE_MIN(len, at->seg->data_len - at->off);
		struct rte_mbuf *clone;

		if (n == 0) {
			*at = (struct cursor) {at->seg->next, 0};
			continue;
		}
		clone = rte_pktmbuf_alloc(u->env.indirect_pool);
		if (clone == NULL)
			return QP_E_NOMEM;
		rte_pktmbuf_attach(clone, at->seg);
		clone->data_off = (uint16_t)(at->seg->data_off + at->off);
		clone->data_len = (uint16_t)n;
		tail->next = clone;
		tail = clone;
		frag->nb_segs++;
		frag->pkt_len += n;
		at->off += n;
		len -= n;
	}
	return 0;
}

/* What all fragments of a datagram have in common. */
struct shape {
	const struct qp_flow *flow;
	const uint8_t *own_mac;
	uint32_t id;
};

static void
put_v4(struct rte_mbuf *m, const struct shape *s, uint32_t off, uint32_t len, bool more)
{
	struct rte_ipv4_hdr *ip = rte_pktmbuf_mtod_offset(m, void *, ETHER_BYTES);

	*ip = (struct rte_ipv4_hdr) {
		.version_ihl = RTE_IPV4_VHL_DEF,
		.total_length = rte_cpu_to_be_16((uint16_t)(sizeof(*ip) + len)),
		.packet_id = rte_cpu_to_be_16((uint16_t)s->id),
		.fragment_offset = rte_cpu_to_be_16(
			(uint16_t)(off / 8 | (more ? RTE_IPV4_HDR_MF_FLAG : 0))),
		.time_to_live = HOP_LIMIT,
		.next_proto_id = IPPROTO_UDP,
		.src_addr = s->flow->local.w[3],
		.dst_addr = s->flow->remote.w[3],
	};
	m->l3_len = sizeof(*ip);
	m->ol_flags |= RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_IP_CKSUM;
}

static void
put_v6(struct rte_mbuf *m, const struct shape *s, uint32_t off, uint32_t len, bool more)
{
	struct rte_ipv6_hdr *ip = rte_pktmbuf_mtod_offset(m, void *, ETHER_BYTES);
	uint8_t *frag = (uint8_t *)(ip + 1);
	const uint16_t where = rte_cpu_to_be_16((uint16_t)(off | more));
	const uint32_t id = rte_cpu_to_be_32(s->id);

	*ip = (struct rte_ipv6_hdr) {
		.vtc_flow = RTE_BE32(UINT32_C(6) << 28),
		.payload_len = rte_cpu_to_be_16((uint16_t)(RTE_IPV6_FRAG_HDR_SIZE + len)),
		.proto = IPPROTO_FRAGMENT,
		.hop_limits = HOP_LIMIT,
	};
	memcpy(ip->src_addr, &s->flow->local, 16);
	memcpy(ip->dst_addr, &s->flow->remote, 16);
	frag[0] = IPPROTO_UDP;
	frag[1] = 0;
	memcpy(frag + 2, &where, 2);
	memcpy(frag + 4, &id, 4);
	m->l3_len = V6_HEADERS;
	m->ol_flags |= RTE_MBUF_F_TX_IPV6;
}

static struct rte_mbuf *
new_fragment(struct qp_udp *u, const struct shape *s, uint32_t off, uint32_t len, bool more)
{
	const bool v4 = qp_ipaddr_is_v4(&s->flow->local);
	struct rte_mbuf *m = rte_pktmbuf_alloc(u->env.pool);
	struct rte_ether_hdr *eth;

	if (m == NULL)
		return NULL;
	m->l2_len = ETHER_BYTES;
	m->data_len = (uint16_t)(ETHER_BYTES + (v4 ? sizeof(struct rte_ipv4_hdr) : V6_HEADERS));
	m->pkt_len = m->data_len;
	eth = rte_pktmbuf_mtod(m, struct rte_ether_hdr *);
	memcpy(&eth->dst_addr, s->flow->l2.peer_mac, 6);
	memcpy(&eth->src_addr, s->own_mac, 6);
	eth->ether_type = v4 ? RTE_BE16(RTE_ETHER_TYPE_IPV4) : RTE_BE16(RTE_ETHER_TYPE_IPV6);
	if (v4)
		put_v4(m, s, off, len, more);
	else
		put_v6(m, s, off, len, more);
	return m;
}

void
qp_udp_send_fragments(struct qp_udp_flow *f, struct rte_mbuf *m, uint32_t mtu)
{
	struct qp_udp *u = f->udp;
	const struct shape s = {&f->flow, u->env.own_mac, qp_udp_ip_id(u, 1)};
	const bool v4 = qp_ipaddr_is_v4(&f->flow.local);
	const uint32_t most =
		(mtu - (v4 ? (uint32_t)sizeof(struct rte_ipv4_hdr) : (uint32_t)V6_HEADERS)) & ~7u;
	const uint32_t total = m->pkt_len;
	struct cursor at = {m, 0};

	fill_checksum(m, &f->flow);
	for (uint32_t off = 0; off < total; off += most) {
		uint32_t len = RTE_MIN(most, total - off);
		struct rte_mbuf *frag = new_fragment(u, &s, off, len, off + len < total);

		if (frag == NULL || append_clones(u, frag, &at, len) < 0) {
			rte_pktmbuf_free(frag);
			QP_UDP_COUNT(u, drop_no_memory);
			break;
		}
		QP_UDP_COUNT(u, fragments_out);
		u->env.transmit(u->env.transmit_ctx, frag);
	}
	rte_pktmbuf_free(m);
}
