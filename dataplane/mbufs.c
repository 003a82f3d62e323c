/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Byte ranges over mbuf chains: queues that coalesce, cuts at both ends.
 * Thread: the owner's lcore. What the bytes mean is left to the callers.
 */
#include "dataplane/mbufs.h"

#include <assert.h>
#include <string.h>

#include <rte_mbuf.h>

/*
 * A piece is copied rather than linked when that is cheap and the mbuf's room
 * would be mostly wasted on it.
 */
static bool
fits_tail(const struct rte_mbuf *tail, const struct rte_mbuf *piece)
{
	return piece->data_len <= piece->buf_len / 4 && RTE_MBUF_DIRECT(tail) &&
	       piece->data_len <= rte_pktmbuf_tailroom(tail);
}

static void
append_segment(struct qp_mbufq *q, struct rte_mbuf *seg)
{
	q->bytes += seg->data_len;
	if (q->tail != NULL && fits_tail(q->tail, seg)) {
		/* Clones of the tail see their own data_len: what they show does not change. */
		memcpy(rte_pktmbuf_mtod_offset(q->tail, void *, q->tail->data_len),
			rte_pktmbuf_mtod(seg, void *), seg->data_len);
		q->tail->data_len += seg->data_len;
		rte_pktmbuf_free_seg(seg);
		return;
	}
	if (q->tail == NULL)
		q->head = seg;
	else
		q->tail->next = seg;
	q->tail = seg;
	q->segs++;
}

void
qp_mbufq_append(struct qp_mbufq *q, struct rte_mbuf *chain)
{
	while (chain != NULL) {
		struct rte_mbuf *seg = chain;

		chain = seg->next;
		seg->next = NULL;
		seg->nb_segs = 1;
		if (seg->data_len == 0)
			rte_pktmbuf_free_seg(seg);
		else
			append_segment(q, seg);
	}
}

void
qp_mbufq_join(struct qp_mbufq *q, struct qp_mbufq *from)
{
	/* Where the two meet, small pieces share an mbuf; behind that `from` has seen to it. */
	while (from->head != NULL && q->tail != NULL && fits_tail(q->tail, from->head)) {
		struct rte_mbuf *seg = from->head;

		from->head = seg->next;
		from->bytes -= seg->data_len;
		from->segs--;
		seg->next = NULL;
		append_segment(q, seg);
	}
	if (from->head != NULL) {
		if (q->tail == NULL)
			q->head = from->head;
		else
			q->tail->next = from->head;
		q->tail = from->tail;
		q->bytes += from->bytes;
		q->segs += from->segs;
	}
	*from = (struct qp_mbufq) {0};
}

void
qp_mbufq_drop(struct qp_mbufq *q, uint32_t n)
{
	assert(n <= q->bytes);
	q->bytes -= n;
	while (n > 0) {
		struct rte_mbuf *seg = q->head;

		if (n < seg->data_len) {
			seg->data_off += n;
			seg->data_len -= n;
			return;
		}
		n -= seg->data_len;
		q->head = seg->next;
		seg->next = NULL;
		q->segs--;
		rte_pktmbuf_free_seg(seg);
	}
	if (q->head == NULL)
		q->tail = NULL;
}

struct rte_mbuf *
qp_mbufq_take(struct qp_mbufq *q)
{
	struct rte_mbuf *head = q->head;

	if (head != NULL) {
		assert(q->segs <= RTE_MBUF_MAX_NB_SEGS);
		head->pkt_len = q->bytes;
		head->nb_segs = q->segs;
	}
	*q = (struct qp_mbufq) {0};
	return head;
}

void
qp_mbufq_clear(struct qp_mbufq *q)
{
	while (q->head != NULL) {
		struct rte_mbuf *seg = q->head;

		q->head = seg->next;
		seg->next = NULL;
		rte_pktmbuf_free_seg(seg);
	}
	*q = (struct qp_mbufq) {0};
}

struct rte_mbuf *
qp_mbuf_trim_front(struct rte_mbuf *chain, uint32_t n)
{
	uint32_t left = chain->pkt_len - n;
	uint16_t segs = chain->nb_segs;

	assert(n <= chain->pkt_len);
	while (chain != NULL && n >= chain->data_len) {
		struct rte_mbuf *seg = chain;

		n -= seg->data_len;
		chain = seg->next;
		seg->next = NULL;
		segs--;
		rte_pktmbuf_free_seg(seg);
	}
	if (chain != NULL) {
		chain->data_off += n;
		chain->data_len -= n;
		chain->pkt_len = left;
		chain->nb_segs = segs;
	}
	return chain;
}

void
qp_mbuf_truncate(struct rte_mbuf *chain, uint32_t n)
{
	struct rte_mbuf *seg = chain, *rest;
	uint16_t segs = 1;

	if (n >= chain->pkt_len)
		return;
	chain->pkt_len = n;
	for (; n > seg->data_len; seg = seg->next, segs++)
		n -= seg->data_len;
	seg->data_len = n;
	rest = seg->next;
	seg->next = NULL;
	chain->nb_segs = segs;
	while (rest != NULL) {
		seg = rest;
		rest = seg->next;
		seg->next = NULL;
		rte_pktmbuf_free_seg(seg);
	}
}
