/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The send queue's bookkeeping: payload stays in the mbufs it came in until it
 * is acknowledged; records say which ranges of it are in flight since when.
 * Frames refer to the payload by indirect mbufs, so a retransmission copies
 * nothing. Thread: the owning lcore. When to send is left to output.c.
 */
#include <assert.h>
#include <string.h>

#include "dataplane/tcp/internal.h"

/* A payload so small is copied behind the header: one mbuf instead of two. */
#define COPY_MAX 192u

static uint32_t
seg_start(const struct rte_mbuf *m)
{
	return m->data_off;
}

static uint32_t
seg_end(const struct rte_mbuf *m)
{
	return (uint32_t)m->data_off + m->data_len;
}

/* Moves a position over `n` bytes; it may end at the end of the last segment. */
static void
pos_advance(struct rte_mbuf **m, uint32_t *off, uint32_t n)
{
	for (;;) {
		uint32_t here = seg_end(*m) - *off;

		if (n < here || (*m)->next == NULL) {
			assert(n <= here);
			*off += n;
			return;
		}
		n -= here;
		*m = (*m)->next;
		*off = seg_start(*m);
	}
}

void
qp_tcp_unsent(struct qp_tcp_conn *c, struct rte_mbuf **m, uint32_t *off)
{
	if (c->x->pos_m == NULL) {
		c->x->pos_m = c->x->sndq.head;
		c->x->pos_off = c->x->pos_m != NULL ? seg_start(c->x->pos_m) : 0;
	} else {
		/* At a segment's end when it was reached; more may have come since. */
		pos_advance(&c->x->pos_m, &c->x->pos_off, 0);
	}
	*m = c->x->pos_m;
	*off = c->x->pos_off;
}

static bool
clone_one(struct qp_tcp *tcp, struct rte_mbuf *frame, struct rte_mbuf *m, uint32_t off, uint32_t n)
{
	struct rte_mbuf *clone = rte_pktmbuf_alloc(tcp->env.indirect_pool);

	if (clone == NULL) {
		QP_TCP_COUNT(tcp, drop_no_memory);
		return false;
	}
	rte_pktmbuf_attach(clone, m);
	clone->data_off = off;
	clone->data_len = n;
	clone->pkt_len = n;
	clone->ol_flags &= ~(RTE_MBUF_F_RX_LRO | RTE_MBUF_F_TX_OFFLOAD_MASK);
	if (rte_pktmbuf_chain(frame, clone) != 0) {
		rte_pktmbuf_free(clone);
		return false;
	}
	return true;
}

uint32_t
qp_tcp_clone_payload(struct qp_tcp *tcp, struct rte_mbuf *frame, struct rte_mbuf *m, uint32_t off,
	uint32_t len)
{
	bool copy = len <= qp_min(COPY_MAX, (uint32_t)rte_pktmbuf_tailroom(frame));
	uint32_t done = 0;

	while (done < len) {
		uint32_t n = qp_min(len - done, seg_end(m) - off);

		if (copy)
			memcpy(rte_pktmbuf_append(frame, n), (char *)m->buf_addr + off, n);
		else if (n > 0 && !clone_one(tcp, frame, m, off, n))
			break;
		done += n;
		m = m->next;
		if (m != NULL)
			off = seg_start(m);
	}
	return done;
}

void
qp_tcp_rec_timed_append(struct qp_tcp_conn *c, struct qp_tcp_rec *r)
{
	r->tnext = NULL;
	r->tprev = c->x->timed_tail;
	if (c->x->timed_tail != NULL)
		c->x->timed_tail->tnext = r;
	else
		c->x->timed_head = r;
	c->x->timed_tail = r;
	r->flags |= QP_REC_TIMED;
}

void
qp_tcp_rec_timed_remove(struct qp_tcp_conn *c, struct qp_tcp_rec *r)
{
	if (!(r->flags & QP_REC_TIMED))
		return;
	if (r->tprev != NULL)
		r->tprev->tnext = r->tnext;
	else
		c->x->timed_head = r->tnext;
	if (r->tnext != NULL)
		r->tnext->tprev = r->tprev;
	else
		c->x->timed_tail = r->tprev;
	r->flags &= ~QP_REC_TIMED;
}

struct qp_tcp_rec *
qp_tcp_rec_push(struct qp_tcp_conn *c, struct qp_tcp_rec *r, uint32_t len, bool fin)
{
	memset(r, 0, sizeof(*r));
	qp_tcp_unsent(c, &r->m, &r->off);
	r->seq = c->snd_nxt;
	r->end = r->seq + len + fin;
	r->flags = fin ? QP_REC_FIN : 0;
	r->xmit_ns = qp_tcp_now(c->tcp);
	r->prev = c->x->rec_tail;
	c->x->recs++;
	if (c->x->rec_tail != NULL)
		c->x->rec_tail->next = r;
	else
		c->x->rec_head = r;
	c->x->rec_tail = r;
	qp_tcp_rec_timed_append(c, r);
	qp_tcp_rate_sent(c, r);
	c->snd_nxt = r->end;
	if (len > 0)
		pos_advance(&c->x->pos_m, &c->x->pos_off, len);
	return r;
}

bool
qp_tcp_rec_split(struct qp_tcp_conn *c, struct qp_tcp_rec *r, uint32_t seq)
{
	struct qp_tcp_rec *back = qp_slab_get(&c->tcp->recs);

	assert(seq_lt(r->seq, seq) && seq_lt(seq, r->end));
	qp_tcp_pmtu_touched(c, r);
	if (back == NULL) {
		QP_TCP_COUNT(c->tcp, drop_no_memory);
		return false;
	}
	*back = *r;
	c->x->recs++;
	back->seq = seq;
	/* Only FIN may be left: then the position is not used, but must not run off the queue. */
	pos_advance(&back->m, &back->off, seq - r->seq);
	r->end = seq;
	r->flags &= ~QP_REC_FIN;
	back->prev = r;
	if (r->next != NULL)
		r->next->prev = back;
	else
		c->x->rec_tail = back;
	r->next = back;
	if (r->flags & QP_REC_TIMED) {
		back->tprev = r;
		if (r->tnext != NULL)
			r->tnext->tprev = back;
		else
			c->x->timed_tail = back;
		r->tnext = back;
	}
	return true;
}

void
qp_tcp_rec_advance(struct qp_tcp_conn *c, struct qp_tcp_rec *r, uint32_t seq)
{
	uint32_t n = seq - r->seq;

	if (r->flags & QP_REC_SACKED)
		c->x->sacked_bytes -= n;
	if (r->flags & QP_REC_LOST)
		c->x->lost_bytes -= n;
	pos_advance(&r->m, &r->off, n);
	r->seq = seq;
}

void
qp_tcp_rec_unlink(struct qp_tcp_conn *c, struct qp_tcp_rec *r)
{
	uint32_t n = r->end - r->seq;

	if (r->flags & QP_REC_SACKED)
		c->x->sacked_bytes -= n;
	if (r->flags & QP_REC_LOST)
		c->x->lost_bytes -= n;
	qp_tcp_rec_timed_remove(c, r);
	if (r->prev != NULL)
		r->prev->next = r->next;
	else
		c->x->rec_head = r->next;
	if (r->next != NULL)
		r->next->prev = r->prev;
	else
		c->x->rec_tail = r->prev;
	if (c->x->sack_hint == r)
		c->x->sack_hint = r->next;
	c->x->recs--;
	qp_slab_put(&c->tcp->recs, r);
}
