/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RFC 9293, 3.10.7.4, seventh and eighth: segment text and FIN, in order to
 * the application, out of order into runs that wait for the gap before them
 * (and are what SACK reports). Thread: the owning lcore. Nothing that was
 * SACKed is ever thrown away; what exceeds a limit is refused before.
 */
#include "dataplane/tcp/internal.h"

static void
free_run(struct qp_tcp_conn *c, struct qp_tcp_ooo *o)
{
	if (o->prev != NULL)
		o->prev->next = o->next;
	else
		c->ooo_head = o->next;
	if (o->next != NULL)
		o->next->prev = o->prev;
	else
		c->ooo_tail = o->prev;
	c->ooo_ranges--;
	c->tcp->ooo_segs -= o->q.segs;
	qp_tcp_hold(c->tcp, -(int64_t)o->q.bytes);
	qp_mbufq_clear(&o->q);
	qp_slab_put(&c->tcp->ooos, o);
}

void
qp_tcp_reass_clear(struct qp_tcp_conn *c)
{
	while (c->ooo_head != NULL)
		free_run(c, c->ooo_head);
}

/* A run of its own before `next` (NULL: last). NULL at a limit. */
static struct qp_tcp_ooo *
new_run(struct qp_tcp_conn *c, struct qp_tcp_ooo *next, uint32_t seq)
{
	struct qp_tcp_ooo *o, *prev = next != NULL ? next->prev : c->ooo_tail;

	if (c->ooo_ranges >= QP_TCP_OOO_RANGES)
		return NULL;
	o = qp_slab_get(&c->tcp->ooos);
	if (o == NULL)
		return NULL;
	*o = (struct qp_tcp_ooo) {.seq = seq, .end = seq, .prev = prev, .next = next};
	if (prev != NULL)
		prev->next = o;
	else
		c->ooo_head = o;
	if (next != NULL)
		next->prev = o;
	else
		c->ooo_tail = o;
	c->ooo_ranges++;
	return o;
}

/* Appends the segment, which starts at the run's end, text and FIN. */
static void
extend_run(struct qp_tcp_conn *c, struct qp_tcp_ooo *o, struct qp_tcp_seg *s)
{
	uint32_t before = o->q.segs;

	o->end += s->data_len;
	o->fin = s->flags & RTE_TCP_FIN_FLAG;
	if (s->m != NULL)
		qp_mbufq_append(&o->q, s->m);
	s->m = NULL;
	c->tcp->ooo_segs += o->q.segs - before;
	qp_tcp_hold(c->tcp, s->data_len);
}

static void
report_duplicate(struct qp_tcp_conn *c, uint32_t start, uint32_t end)
{
	c->tcp->counters.dup_bytes += end - start;
	c->flags |= QP_TF_DSACK;
	c->dsack_start = start;
	c->dsack_end = end;
}

/* … of what waits in `o`, which is then the block to name next (RFC 2883, 4; RFC 2018, 4). */
static void
report_held(struct qp_tcp_conn *c, struct qp_tcp_ooo *o, uint32_t start, uint32_t end)
{
	report_duplicate(c, start, end);
	o->stamp = ++c->ooo_stamp;
}

static void
cut_front(struct qp_tcp_seg *s, uint32_t n)
{
	if (n == 0) /* a bare FIN has no chain to cut */
		return;
	s->m = qp_mbuf_trim_front(s->m, n);
	s->seq += n;
	s->data_len -= n;
}

static void
cut_tail(struct qp_tcp_seg *s, uint32_t n)
{
	qp_mbuf_truncate(s->m, s->data_len - n);
	s->data_len -= n;
	s->flags &= ~RTE_TCP_FIN_FLAG;
}

/*
 * Runs that the segment covers whole are replaced by it; into one that it
 * covers in part it is cut. `o` is the first run that does not end before it.
 */
static struct qp_tcp_ooo *
make_way(struct qp_tcp_conn *c, struct qp_tcp_ooo *o, struct qp_tcp_seg *s)
{
	while (o != NULL && seq_lt(o->seq, s->seq + s->data_len)) {
		struct qp_tcp_ooo *next = o->next;

		report_held(c, o, o->seq, seq_min(o->end, s->seq + s->data_len));
		if (seq_lt(s->seq + s->data_len, o->end) || o->fin) {
			cut_tail(s, s->seq + s->data_len - o->seq);
			break;
		}
		free_run(c, o);
		o = next;
	}
	return o;
}

static void
join_next(struct qp_tcp_conn *c, struct qp_tcp_ooo *o)
{
	struct qp_tcp_ooo *next = o->next;
	uint32_t segs;

	if (next == NULL || next->seq != o->end)
		return;
	segs = o->q.segs + next->q.segs;
	o->end = next->end;
	o->fin = next->fin;
	qp_mbufq_join(&o->q, &next->q);
	c->tcp->ooo_segs -= segs - o->q.segs;
	free_run(c, next);
}

static bool
over_budget(const struct qp_tcp_conn *c, const struct qp_tcp_seg *s)
{
	return s->m != NULL && c->tcp->ooo_segs + s->m->nb_segs > c->tcp->ooo_segs_max;
}

static bool
nothing_left(const struct qp_tcp_seg *s)
{
	return s->data_len == 0 && !(s->flags & RTE_TCP_FIN_FLAG);
}

/*
 * A FIN is the end: text beyond one that waits is refused, and so is a FIN
 * below text that waits. False: nothing of the segment can be right.
 */
static bool
fin_agrees(const struct qp_tcp_conn *c, struct qp_tcp_seg *s)
{
	const struct qp_tcp_ooo *last = c->ooo_tail;
	uint32_t end = s->seq + s->data_len;

	if (last == NULL)
		return true;
	if (last->fin && seq_lt(last->end, end))
		return false;
	if (seq_lt(end, last->end))
		s->flags &= ~RTE_TCP_FIN_FLAG;
	return true;
}

static void
insert_out_of_order(struct qp_tcp_conn *c, struct qp_tcp_seg *s)
{
	struct qp_tcp_ooo *prev = c->ooo_tail, *next, *o;

	QP_TCP_COUNT(c->tcp, ooo_segs);
	if (!fin_agrees(c, s) || nothing_left(s))
		return;
	/* Most often it belongs at the end: look from there. */
	while (prev != NULL && seq_lt(s->seq, prev->seq))
		prev = prev->prev;
	if (prev != NULL && seq_lt(s->seq, prev->end)) {
		uint32_t n = qp_min(prev->end - s->seq, s->data_len);

		report_held(c, prev, s->seq, s->seq + n);
		cut_front(s, n);
	}
	if ((prev != NULL && prev->fin) || nothing_left(s))
		return;
	if (over_budget(c, s)) {
		QP_TCP_COUNT(c->tcp, drop_ooo_limit);
		return;
	}
	next = make_way(c, prev != NULL ? prev->next : c->ooo_head, s);
	if (nothing_left(s))
		return;
	o = prev != NULL && prev->end == s->seq ? prev : new_run(c, next, s->seq);
	if (o == NULL) {
		QP_TCP_COUNT(c->tcp, drop_ooo_limit);
		return;
	}
	extend_run(c, o, s);
	o->stamp = ++c->ooo_stamp;
	join_next(c, o);
}

/* RFC 2883, 4: a duplicate above the ACK is told of with the block that it is part of. */
static const struct qp_tcp_ooo *
around_dsack(const struct qp_tcp_conn *c)
{
	for (const struct qp_tcp_ooo *o = c->ooo_head; o != NULL; o = o->next) {
		if (seq_leq(o->seq, c->dsack_start) && seq_leq(c->dsack_end, o->end))
			return o;
	}
	return NULL;
}

unsigned
qp_tcp_sack_blocks(const struct qp_tcp_conn *c, struct qp_tcp_sack *blocks, unsigned max)
{
	const struct qp_tcp_ooo *first = NULL;
	uint32_t below = UINT32_MAX;
	unsigned n = 0;

	if (c->flags & QP_TF_DSACK) {
		blocks[n++] = (struct qp_tcp_sack) {c->dsack_start, c->dsack_end};
		first = around_dsack(c);
		if (first != NULL)
			blocks[n++] = (struct qp_tcp_sack) {first->seq, first->end + first->fin};
	}
	/* The latest first (RFC 2018, 4); stamps are unique and at least 1. */
	while (n < max) {
		const struct qp_tcp_ooo *best = NULL;

		for (const struct qp_tcp_ooo *o = c->ooo_head; o != NULL; o = o->next) {
			if (o != first && o->stamp < below && (best == NULL || o->stamp > best->stamp))
				best = o;
		}
		if (best == NULL)
			break;
		below = best->stamp;
		blocks[n++] = (struct qp_tcp_sack) {best->seq, best->end + best->fin};
	}
	return n;
}

/* In-order text goes up. False: the application has aborted the connection. */
static bool
deliver(struct qp_tcp_conn *c, struct rte_mbuf *chain)
{
	uint32_t n = chain->pkt_len;

	c->rcv_nxt += n;
	c->rcv_held += n;
	qp_tcp_hold(c->tcp, n);
	c->rcv_adv = seq_max(c->rcv_adv, c->rcv_nxt);
	c->tcp->counters.bytes_in += n;
	c->ops->receive(c->ctx, chain);
	return c->tcb.state != QP_TCP_CLOSED;
}

/* Eighth, check the FIN bit: all text before it has been delivered. */
static void
fin_arrived(struct qp_tcp_conn *c)
{
	c->rcv_nxt++;
	c->rcv_adv = seq_max(c->rcv_adv, c->rcv_nxt);
	c->flags |= QP_TF_FIN_RCVD | QP_TF_ACK_NOW;
	qp_tcp_reass_clear(c);
	switch (c->tcb.state) {
	case QP_TCP_ESTABLISHED:
		c->tcb.state = QP_TCP_CLOSE_WAIT;
		break;
	case QP_TCP_FIN_WAIT_1: /* our FIN is not acknowledged: ack.c would have moved on */
		c->tcb.state = QP_TCP_CLOSING;
		break;
	default:
		break;
	}
	c->ops->receive_end(c->ctx);
	if (c->tcb.state == QP_TCP_FIN_WAIT_2) {
		qp_tcp_send_ack(c);
		qp_tcp_time_wait(c);
	}
}

/* The gap before the first run may be closed now. */
static void
deliver_runs(struct qp_tcp_conn *c)
{
	struct qp_tcp_ooo *o;

	while ((o = c->ooo_head) != NULL && seq_leq(o->seq, c->rcv_nxt)) {
		uint32_t old = seq_min(c->rcv_nxt, o->end) - o->seq;
		struct rte_mbuf *chain = NULL;
		bool fin = o->fin && seq_leq(c->rcv_nxt, o->end);

		c->tcp->ooo_segs -= o->q.segs;
		qp_tcp_hold(c->tcp, -(int64_t)o->q.bytes);
		if (old > 0)
			report_duplicate(c, o->seq, o->seq + old);
		qp_mbufq_drop(&o->q, old);
		chain = qp_mbufq_take(&o->q);
		free_run(c, o);
		if (chain != NULL && !deliver(c, chain))
			return;
		if (fin) {
			fin_arrived(c);
			return;
		}
	}
}

/* What a full-sized segment of the peer is, and how many this one stands for. */
static uint32_t
count_segments(struct qp_tcp_conn *c, const struct qp_tcp_seg *s)
{
	uint32_t size = s->pkt->segsz != 0 ? s->pkt->segsz : s->data_len;

	if (size > c->rcv_seg || (s->pkt->segsz != 0 && size >= QP_TCP_MIN_MSS))
		c->rcv_seg = size;
	return size == 0 ? 1 : (s->data_len + size - 1) / size;
}

static void
in_order(struct qp_tcp_conn *c, struct qp_tcp_seg *s)
{
	bool fin = s->flags & RTE_TCP_FIN_FLAG;

	qp_tcp_rcv_rtt(c, s);
	if (c->quick_acks > 0) {
		c->quick_acks -= qp_min(count_segments(c, s), (uint32_t)c->quick_acks);
		c->flags |= QP_TF_ACK_NOW;
	} else {
		count_segments(c, s);
	}
	if (c->ooo_head != NULL)
		c->flags |= QP_TF_ACK_NOW; /* RFC 5681, 4.2: a gap is filled, all of it or a part */
	if (s->m != NULL) {
		struct rte_mbuf *chain = s->m;

		s->m = NULL;
		if (!deliver(c, chain))
			return;
	}
	if (fin)
		fin_arrived(c);
	else if (c->ooo_head != NULL)
		deliver_runs(c);
	qp_tcp_work(c);
}

void
qp_tcp_text_input(struct qp_tcp_conn *c, struct qp_tcp_seg *s)
{
	uint32_t end;

	/* "This should not occur since a FIN has been received": ignored. */
	if (c->flags & QP_TF_FIN_RCVD)
		return;
	if (s->data_len > 0 && s->data_len < QP_TCP_TINY_BYTES)
		QP_TCP_COUNT(c->tcp, tiny_segs);
	if (seq_lt(s->seq, c->rcv_nxt)) {
		uint32_t n = qp_min(c->rcv_nxt - s->seq, s->data_len);

		report_duplicate(c, s->seq, s->seq + n);
		cut_front(s, n);
	}
	end = s->seq + s->data_len;
	if (seq_lt(c->rcv_adv, end))
		cut_tail(s, end - c->rcv_adv);
	if (nothing_left(s)) { /* old text, and the window is closed to what follows it */
		c->flags |= QP_TF_ACK_NOW;
		qp_tcp_work(c);
		return;
	}
	if (s->seq == c->rcv_nxt) {
		in_order(c, s);
		return;
	}
	insert_out_of_order(c, s);
	/* With a small window after the loss each ACK counts, and none may wait for a second segment. */
	c->quick_acks = QP_TCP_QUICK_ACKS;
	qp_tcp_send_ack(c); /* RFC 5681, 4.2: at once */
}
