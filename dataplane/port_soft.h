/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_DATAPLANE_PORT_SOFT_H
#define QP_DATAPLANE_PORT_SOFT_H

#include <stdbool.h>
#include <stdint.h>

#include <rte_ethdev.h>
#include <rte_mbuf.h>

/*
 * What a device does not do to frames that are sent, done by us: checksums, TCP
 * and UDP segmentation, VLAN tags, chains made one piece. Owner: a worker's
 * port. No locks.
 */
#define QP_SOFT_PIECES 256u /* of one super-segment, at most: more are refused */
/* Devices refuse to cut smaller pieces (ice: 64 bytes, i40e: 256), which a path of a small MTU asks for. */
#define QP_SOFT_MIN_MSS 256u

struct qp_soft {
	uint64_t hw;              /* RTE_ETH_TX_OFFLOAD_* that the device does */
	uint64_t flags;           /* RTE_MBUF_F_TX_* that it does not: qp_soft_init */
	uint16_t max_segs;        /* mbufs of a super-segment's chain; 1: it takes no chains */
	/* … and of a single packet's, or of one that it cuts off, with the header: it may be fewer. */
	uint16_t max_packet_segs;
	/*
	 * Its sums are right only if each mbuf of a chain but the last has an even
	 * number of bytes: of net_tap, which sums mbuf by mbuf. Set by the caller.
	 */
	bool even_only;
	struct rte_mempool *pool; /* for pieces and copies; NULL: what needs them is dropped */
	uint64_t cut;             /* super-segments that were cut here */
	uint64_t no_mbuf;         /* frames dropped for want of an mbuf */
	uint64_t bad;             /* frames dropped: headers that make no sense, too many pieces */
};

/* `nb_seg_max`, `nb_mtu_seg_max`: as struct rte_eth_desc_lim has them, 0: no limit. */
void qp_soft_init(struct qp_soft *s, uint64_t hw, uint16_t nb_seg_max, uint16_t nb_mtu_seg_max,
	struct rte_mempool *pool);

/* Of a chain, also as the device would cut it. */
static inline bool
qp_soft_is_odd(const struct rte_mbuf *m)
{
	for (const struct rte_mbuf *seg = m; seg->next != NULL; seg = seg->next)
		if (seg->data_len % 2 != 0)
			return true;
	return (m->ol_flags & (RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_UDP_SEG)) != 0 &&
	       m->tso_segsz % 2 != 0;
}

/*
 * Whether a packet that the device cuts off the chain would be of too many mbufs:
 * i40e and ice take that for an attack, and stop the queue.
 */
bool qp_soft_is_crowded(const struct qp_soft *s, const struct rte_mbuf *m);

/* More mbufs, or smaller pieces, than the device takes. */
static inline bool
qp_soft_is_beyond(const struct qp_soft *s, const struct rte_mbuf *m)
{
	if ((m->ol_flags & (RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_UDP_SEG)) == 0)
		return m->nb_segs > s->max_packet_segs;
	return m->nb_segs > s->max_segs || m->tso_segsz < QP_SOFT_MIN_MSS ||
	       (m->nb_segs > s->max_packet_segs && qp_soft_is_crowded(s, m));
}

static inline bool
qp_soft_needed(const struct qp_soft *s, const struct rte_mbuf *m)
{
	const uint64_t l4 = m->ol_flags & RTE_MBUF_F_TX_L4_MASK;

	if ((m->ol_flags & s->flags) != 0 || qp_soft_is_beyond(s, m) ||
		(s->even_only && qp_soft_is_odd(m)))
		return true;
	if (l4 == RTE_MBUF_F_TX_TCP_CKSUM)
		return (s->hw & RTE_ETH_TX_OFFLOAD_TCP_CKSUM) == 0;
	return l4 == RTE_MBUF_F_TX_UDP_CKSUM && (s->hw & RTE_ETH_TX_OFFLOAD_UDP_CKSUM) == 0;
}

/* Of a frame for which it is needed: one comes of it, made in place. */
static inline bool
qp_soft_in_place(const struct qp_soft *s, const struct rte_mbuf *m)
{
	return (m->ol_flags & (RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_UDP_SEG)) == 0 &&
	       m->nb_segs <= s->max_segs && !(s->even_only && qp_soft_is_odd(m));
}

/*
 * Consumes `m` and puts frames that the device takes as they are into `out`, in
 * order; how many, 0: dropped and counted.
 */
unsigned qp_soft_frames(struct qp_soft *s, struct rte_mbuf *m, struct rte_mbuf *out[QP_SOFT_PIECES]);

#endif
