/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_DATAPLANE_MBUFS_H
#define QP_DATAPLANE_MBUFS_H

#include <stdbool.h>
#include <stdint.h>

struct rte_mbuf;

/*
 * Byte ranges over mbuf chains, shared by IP, TCP and the relay. A chain's
 * head carries pkt_len and nb_segs; a chain inside a queue does not.
 * Owner: whoever holds the chain; no locks.
 */

/*
 * Bytes of payload in mbufs. The mbufs in the queue are linked by `next` alone
 * (their pkt_len and nb_segs mean nothing), so a queue may hold more segments
 * than a chain. Memory is bounded by bytes: a small piece is copied into the
 * last mbuf's free room, so each mbuf but the last is at least a quarter full
 * or was filled up by its neighbour.
 * All zero = empty.
 */
struct qp_mbufq {
	struct rte_mbuf *head;
	struct rte_mbuf *tail;
	uint32_t bytes;
	uint32_t segs;
};

/* Appends a chain (consumed). Empty segments are freed. */
void qp_mbufq_append(struct qp_mbufq *q, struct rte_mbuf *chain);
/* Appends all of `from`, which is empty after it. */
void qp_mbufq_join(struct qp_mbufq *q, struct qp_mbufq *from);
/* Frees the first `n` bytes; n <= q->bytes. */
void qp_mbufq_drop(struct qp_mbufq *q, uint32_t n);
/* Takes all out as a chain with a correct head; NULL when empty. */
struct rte_mbuf *qp_mbufq_take(struct qp_mbufq *q);
/* Frees all. */
void qp_mbufq_clear(struct qp_mbufq *q);

/*
 * Cuts `n` bytes (n <= pkt_len) off the front, whatever segments they are in.
 * Returns the new head: NULL, with all freed, when nothing is left.
 */
struct rte_mbuf *qp_mbuf_trim_front(struct rte_mbuf *chain, uint32_t n);
/* Keeps the first `n` bytes; the head stays, also when n is 0. */
void qp_mbuf_truncate(struct rte_mbuf *chain, uint32_t n);

#endif
