/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The send queue of a stream, on mbuf segments linked by their next pointers.
 * Runs on the owning lcore.
 */
#include "dataplane/quic/sendq.h"

#include <assert.h>
#include <rte_mbuf.h>
#include <rte_prefetch.h>
#include <string.h>

#include "common/error.h"

/* Pieces up to here are copied into the tail's room, so that memory follows bytes, not segments. */
#define SMALL_PIECE 256u

/*
 * Segments wait a round trip for their acknowledgement, and perhaps longer for
 * their turn to be sent: their headers' two lines are far away by then, and come
 * one after another to who follows the list. So each segment knows the one that is
 * some places behind it, by a field that is for frames that are sent, which no
 * segment here is, and that one is fetched when its own turn comes.
 */
_Static_assert(sizeof(uintptr_t) <= sizeof(((struct rte_mbuf *)0)->tx_offload), "an address fits");

static void
set_behind(struct rte_mbuf *seg, const struct rte_mbuf *behind)
{
	seg->tx_offload = (uintptr_t)behind;
}

static void
prefetch_behind(const struct rte_mbuf *seg)
{
	const uint8_t *behind = (const uint8_t *)(uintptr_t)seg->tx_offload;

	if (behind == NULL)
		return;
	rte_prefetch0(behind);
	rte_prefetch0(behind + RTE_CACHE_LINE_MIN_SIZE);
}

static void
append_segment(struct qp_sendq *q, struct rte_mbuf *seg)
{
	seg->next = NULL;
	set_behind(seg, NULL);
	if (q->tail != NULL)
		q->tail->next = seg;
	else
		q->head = seg;
	q->tail = seg;
	q->segs++;
	if (q->early != NULL)
		q->early = q->early->next;
	else if (q->segs == QP_SENDQ_AHEAD + 1)
		q->early = q->head;
	if (q->early != NULL)
		set_behind(q->early, seg);
	if (q->unsent == NULL) {
		q->unsent = seg;
		q->unsent_off = 0;
	}
	q->queued_bytes += seg->data_len;
	q->unsent_bytes += seg->data_len;
}

static void
free_head(struct qp_sendq *q)
{
	struct rte_mbuf *seg = q->head;

	prefetch_behind(seg);
	q->head_acked = 0;
	q->head = seg->next;
	if (q->head == NULL)
		q->tail = NULL;
	if (q->early == seg)
		q->early = NULL;
	q->segs--;
	set_behind(seg, NULL);
	seg->next = NULL;
	rte_pktmbuf_free_seg(seg);
}

/* Room behind the tail's bytes, if nobody else holds the segment. */
static uint32_t
tail_room(const struct qp_sendq *q)
{
	struct rte_mbuf *t = q->tail;

	if (t == NULL || !RTE_MBUF_DIRECT(t) || rte_mbuf_refcnt_read(t) != 1)
		return 0;
	return t->buf_len - t->data_off - t->data_len;
}

static void
fill_tail(struct qp_sendq *q, const uint8_t *data, uint32_t len)
{
	struct rte_mbuf *t = q->tail;

	if (len == 0)
		return;
	memcpy(rte_pktmbuf_mtod_offset(t, uint8_t *, t->data_len), data, len);
	if (q->unsent == NULL) {
		q->unsent = t;
		q->unsent_off = t->data_len;
	}
	t->data_len += len;
	q->queued_bytes += len;
	q->unsent_bytes += len;
}

void
qp_sendq_append(struct qp_sendq *q, struct rte_mbuf *chain)
{
	struct rte_mbuf *next;

	for (struct rte_mbuf *seg = chain; seg != NULL; seg = next) {
		next = seg->next;
		seg->next = NULL;
		seg->nb_segs = 1;
		if (seg->data_len > SMALL_PIECE || seg->data_len > tail_room(q)) {
			append_segment(q, seg);
			continue;
		}
		fill_tail(q, rte_pktmbuf_mtod(seg, uint8_t *), seg->data_len);
		rte_pktmbuf_free_seg(seg);
	}
}

int
qp_sendq_copy(struct qp_sendq *q, struct rte_mempool *pool, const void *data, size_t len)
{
	const uint8_t *p = data;
	size_t into_tail = RTE_MIN((size_t)tail_room(q), len);
	struct rte_mbuf *fresh = NULL, **link = &fresh, *seg;

	/* All memory first, so that failure leaves the queue as it was. */
	for (size_t off = into_tail; off < len; off += seg->data_len) {
		seg = rte_pktmbuf_alloc(pool);
		if (seg == NULL) {
			rte_pktmbuf_free(fresh);
			return QP_E_NOMEM;
		}
		seg->data_len = RTE_MIN(len - off, (size_t)rte_pktmbuf_tailroom(seg));
		memcpy(rte_pktmbuf_mtod(seg, uint8_t *), p + off, seg->data_len);
		*link = seg;
		link = &seg->next;
	}
	fill_tail(q, p, into_tail);
	qp_sendq_append(q, fresh);
	return 0;
}

size_t
qp_sendq_peek(const struct qp_sendq *q, ngtcp2_vec *vec, size_t n, size_t max_bytes)
{
	uint32_t off = q->unsent_off;
	size_t i = 0;

	for (struct rte_mbuf *seg = q->unsent; seg != NULL && i < n && max_bytes > 0;
		seg = seg->next, off = 0) {
		size_t len = RTE_MIN((size_t)(seg->data_len - off), max_bytes);

		vec[i].base = rte_pktmbuf_mtod_offset(seg, uint8_t *, off);
		vec[i].len = len;
		max_bytes -= len;
		i++;
	}
	return i;
}

void
qp_sendq_sent(struct qp_sendq *q, uint64_t bytes)
{
	assert(bytes <= q->unsent_bytes);
	q->unsent_bytes -= bytes;
	while (bytes > 0) {
		uint32_t left = q->unsent->data_len - q->unsent_off;

		if (bytes < left) {
			q->unsent_off += bytes;
			return;
		}
		bytes -= left;
		q->unsent = q->unsent->next;
		q->unsent_off = 0;
		if (q->unsent != NULL)
			prefetch_behind(q->unsent);
	}
}

void
qp_sendq_acked(struct qp_sendq *q, uint64_t bytes)
{
	assert(bytes <= q->queued_bytes - q->unsent_bytes);
	q->queued_bytes -= bytes;
	while (bytes > 0) {
		uint32_t left = q->head->data_len - q->head_acked;

		if (bytes < left) {
			q->head_acked += bytes;
			return;
		}
		bytes -= left;
		free_head(q);
	}
}

void
qp_sendq_clear(struct qp_sendq *q)
{
	while (q->head != NULL)
		free_head(q);
	*q = (struct qp_sendq) {0};
}
