/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_DATAPLANE_QUIC_SENDQ_H
#define QP_DATAPLANE_QUIC_SENDQ_H

#include <stddef.h>
#include <stdint.h>

#include <ngtcp2/ngtcp2.h>

struct rte_mbuf;
struct rte_mempool;

/* Segments that are fetched into the cache before their turn comes. */
#define QP_SENDQ_AHEAD 4u

/*
 * A stream's bytes between writing and acknowledgement: a list of mbuf
 * segments that ngtcp2 reads from (and again for a retransmission) and that
 * are freed one by one from the front as they are acknowledged.
 *
 *   head … [acked | sent, not acknowledged | unsent] … tail
 */
struct qp_sendq {
	struct rte_mbuf *head;    /* first segment not wholly acknowledged */
	struct rte_mbuf *tail;
	struct rte_mbuf *unsent;  /* segment of the first unsent byte; NULL: all is sent */
	uint32_t head_acked;      /* acknowledged bytes at the head's start */
	uint32_t unsent_off;      /* sent bytes at the unsent segment's start */
	uint64_t queued_bytes;    /* not acknowledged */
	uint64_t unsent_bytes;
	/* The segment that is QP_SENDQ_AHEAD before the tail; NULL: there are not so many. */
	struct rte_mbuf *early;
	uint32_t segs;
};

/* Consumes the chain. Empty segments are freed at once. */
void qp_sendq_append(struct qp_sendq *q, struct rte_mbuf *chain);
/*
 * Copies bytes to the end, into the tail's room (never where bytes stand that
 * were handed out) and fresh mbufs. QP_E_NOMEM: nothing was appended.
 */
int qp_sendq_copy(struct qp_sendq *q, struct rte_mempool *pool, const void *data, size_t len);
/* Fills up to `n` vectors with unsent bytes, at most `max_bytes`; returns how many vectors. */
size_t qp_sendq_peek(const struct qp_sendq *q, ngtcp2_vec *vec, size_t n, size_t max_bytes);
/* `bytes` of what peek showed are sent. */
void qp_sendq_sent(struct qp_sendq *q, uint64_t bytes);
/* The oldest `bytes` are acknowledged; their segments are freed. */
void qp_sendq_acked(struct qp_sendq *q, uint64_t bytes);
/* Frees all. */
void qp_sendq_clear(struct qp_sendq *q);

#endif
