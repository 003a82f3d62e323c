/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The scoreboard: which of the ranges in flight have arrived, by SEG.ACK and
 * by SACK blocks (RFC 2018, 2883), and which count as lost. Thread: the owning
 * lcore. When a range counts as lost is left to rack.c and recovery.c.
 */
#include <string.h>

#include "dataplane/tcp/recovery.h"

/* Could the ACK be for an earlier transmission of `r`? (RFC 8985, 6.2, step 2) */
static bool
ambiguous(const struct qp_tcp_conn *c, const struct qp_tcp_seg *s, const struct qp_tcp_rec *r,
	uint64_t rtt_ns)
{
	if (!(r->flags & QP_REC_RTX))
		return false;
	if ((c->flags & QP_TF_TS) && s->opt.has_ts &&
		seq_lt(s->opt.tsecr, (uint32_t)(r->xmit_ns / QP_MS_NS) + c->ts_offset))
		return true;
	return rtt_ns / 1000 < c->min_rtt_us;
}

/* `r` up to `end` has arrived: RACK's steps 1 to 3, and an RTT sample. */
static void
delivered(struct qp_tcp_conn *c, const struct qp_tcp_seg *s, const struct qp_tcp_rec *r, uint32_t end,
	struct qp_tcp_ack_news *n)
{
	uint64_t rtt = qp_tcp_now(c->tcp) - r->xmit_ns;

	n->delivered += end - r->seq;
	qp_tcp_rate_delivered(c, r, end - r->seq, n);
	qp_tcp_pmtu_delivered(c, r, end);
	if (!(r->flags & QP_REC_RTX)) {
		uint32_t us = (uint32_t)qp_min(rtt / 1000, UINT32_MAX);

		/* Given up once, then acknowledged: an ACK was lost, which says nothing of the path. */
		if (!(r->flags & QP_REC_LOST))
			n->rtt_ns = qp_max(n->rtt_ns, qp_max(rtt, 1));
		if (c->min_rtt_us == 0 || us < c->min_rtt_us)
			c->min_rtt_us = qp_max(us, 1u);
		if (seq_lt(end, c->x->fack))
			c->flags |= QP_TF_REORDERING;
	} else {
		n->rtx_acked = true;
	}
	c->x->fack = seq_max(c->x->fack, end);
	if (ambiguous(c, s, r, rtt)) {
		n->ambiguous = true;
		return;
	}
	if (qp_tcp_sent_after(r->xmit_ns, end, c->x->rack_xmit_ns, c->x->rack_end)) {
		c->x->rack_xmit_ns = r->xmit_ns;
		c->x->rack_end = end;
		c->rack_rtt_us = (uint32_t)qp_min(rtt / 1000, UINT32_MAX);
	}
}

static void
mark_sacked(struct qp_tcp_conn *c, const struct qp_tcp_seg *s, struct qp_tcp_rec *r,
	struct qp_tcp_ack_news *n)
{
	if (r->flags & QP_REC_LOST)
		c->x->lost_bytes -= qp_tcp_rec_len(r);
	qp_tcp_rec_timed_remove(c, r);
	r->flags = (r->flags & ~QP_REC_LOST) | QP_REC_SACKED;
	c->x->sacked_bytes += qp_tcp_rec_len(r);
	n->sacked += qp_tcp_rec_len(r);
	delivered(c, s, r, r->end, n);
}

void
qp_tcp_mark_lost(struct qp_tcp_conn *c, struct qp_tcp_rec *r, struct qp_tcp_ack_news *n)
{
	c->x->excused = r == c->x->probe && (c->x->lost_bytes == 0 || c->x->excused);
	if (r == c->x->probe) {
		c->x->probe = NULL;
		c->x->probe_lost = true;
	}
	qp_tcp_rec_timed_remove(c, r);
	r->flags |= QP_REC_LOST;
	c->x->lost_bytes += qp_tcp_rec_len(r);
	if (n != NULL)
		n->lost += qp_tcp_rec_len(r);
}

/* The last record that starts at or before `seq`, looked for from where the last block ended. */
static struct qp_tcp_rec *
seek(struct qp_tcp_conn *c, uint32_t seq, uint32_t *steps)
{
	struct qp_tcp_rec *r = c->x->sack_hint != NULL ? c->x->sack_hint : c->x->rec_head;

	for (; r != NULL && *steps > 0; --*steps) {
		if (seq_lt(seq, r->seq) && r->prev != NULL)
			r = r->prev;
		else if (r->next != NULL && seq_leq(r->next->seq, seq))
			r = r->next;
		else
			return r;
	}
	return NULL;
}

/* A record is split where our own segments end, and not into too many. */
static bool
split(struct qp_tcp_conn *c, struct qp_tcp_rec *r, uint32_t front)
{
	if (c->x->recs >= QP_TCP_RECORDS) {
		QP_TCP_COUNT(c->tcp, sack_limited);
		return false;
	}
	return qp_tcp_rec_split(c, r, r->seq + front);
}

/*
 * One SACK block. A record that it covers in part is split where our own
 * segments end, never elsewhere: a peer cannot make us keep more records than
 * we sent segments. True: it need not be looked at again.
 */
static bool
sack_block(struct qp_tcp_conn *c, const struct qp_tcp_seg *s, struct qp_tcp_sack b, uint32_t *steps,
	struct qp_tcp_ack_news *n)
{
	struct qp_tcp_rec *r = seek(c, b.start, steps);

	for (; r != NULL && seq_lt(r->seq, b.end) && *steps > 0; r = r->next, --*steps) {
		c->x->sack_hint = r;
		if (seq_leq(r->end, b.start) || (r->flags & QP_REC_SACKED))
			continue;
		if (seq_lt(r->seq, b.start)) {
			uint32_t front = (b.start - r->seq + r->mss - 1) / r->mss * r->mss;

			if (front < qp_tcp_rec_len(r) && !split(c, r, front))
				return false;
			continue;
		}
		if (seq_lt(b.end, r->end)) {
			uint32_t front = (b.end - r->seq) / r->mss * r->mss;

			if (front == 0 || !split(c, r, front))
				return false;
		}
		mark_sacked(c, s, r, n);
	}
	if (*steps == 0)
		QP_TCP_COUNT(c->tcp, sack_limited);
	return *steps > 0;
}

static bool
seen(const struct qp_tcp_xmit *x, struct qp_tcp_sack b)
{
	for (unsigned i = 0; i < 4; i++) {
		if (x->sack_seen[i].start == b.start && x->sack_seen[i].end == b.end)
			return true;
	}
	return false;
}

/* RFC 2883, 4: the first block is below the ACK or within the second one. */
static bool
first_is_dsack(const struct qp_tcp_seg *s)
{
	const struct qp_tcp_sack *b = s->opt.sack;

	if (s->opt.nsack == 0)
		return false;
	if (seq_leq(b[0].end, s->ack))
		return true;
	return s->opt.nsack > 1 && seq_leq(b[1].start, b[0].start) && seq_leq(b[0].end, b[1].end);
}

void
qp_tcp_take_sack(struct qp_tcp_conn *c, const struct qp_tcp_seg *s, struct qp_tcp_ack_news *n)
{
	struct qp_tcp_sack done[4] = {0};
	uint32_t steps = QP_TCP_SACK_STEPS;

	n->dsack = first_is_dsack(s);
	if (c->x == NULL)
		return;
	for (unsigned i = n->dsack; i < s->opt.nsack; i++) {
		struct qp_tcp_sack b = s->opt.sack[i];

		/* What we never sent, or is acknowledged already, tells nothing. */
		if (!seq_lt(b.start, b.end) || seq_lt(c->snd_nxt, b.end)) {
			QP_TCP_COUNT(c->tcp, sack_bad);
			continue;
		}
		if (seq_lt(s->ack, b.end) && seq_leq(c->snd_una, b.start) &&
			(seen(c->x, b) || sack_block(c, s, b, &steps, n)))
			done[i] = b;
	}
	if (s->opt.nsack > n->dsack)
		memcpy(c->x->sack_seen, done, sizeof(done));
}

/* snd_una moves to SEG.ACK: records and payload up to it are done with. */
void
qp_tcp_advance_una(struct qp_tcp_conn *c, const struct qp_tcp_seg *s, struct qp_tcp_ack_news *n)
{
	struct qp_tcp_rec *r;

	n->acked = s->ack - c->snd_una;
	n->acked_data = n->acked;
	while ((r = c->x->rec_head) != NULL && seq_leq(r->end, s->ack)) {
		if (!(r->flags & QP_REC_SACKED))
			delivered(c, s, r, r->end, n);
		if (r->flags & QP_REC_FIN)
			n->acked_data--;
		qp_tcp_rec_unlink(c, r);
	}
	if (r != NULL && seq_lt(r->seq, s->ack)) {
		if (!(r->flags & QP_REC_SACKED))
			delivered(c, s, r, s->ack, n);
		qp_tcp_rec_advance(c, r, s->ack);
	}
	qp_mbufq_drop(&c->x->sndq, n->acked_data);
	c->snd_una = s->ack;
	if (c->snd_una == c->snd_nxt)
		c->x->pos_m = NULL;
	if (n->acked > 0)
		c->progress_ms = qp_tcp_now_ms(c->tcp);
}

/* Without SACK one segment at a time is known to be missing: the first. */
void
qp_tcp_head_lost(struct qp_tcp_conn *c, struct qp_tcp_ack_news *n)
{
	struct qp_tcp_rec *r = c->x->rec_head;

	if (r == NULL || (r->flags & QP_REC_LOST))
		return;
	if (qp_tcp_rec_len(r) > r->mss && !qp_tcp_rec_split(c, r, r->seq + r->mss))
		return;
	qp_tcp_mark_lost(c, r, n);
}

/* The peer threw away what it had SACKed (RFC 2018, 8), as the first range shows: all goes again. */
void
qp_tcp_forget_sacked(struct qp_tcp_conn *c)
{
	QP_TCP_COUNT(c->tcp, sack_reneged);
	memset(c->x->sack_seen, 0, sizeof(c->x->sack_seen));
	for (struct qp_tcp_rec *r = c->x->rec_head; r != NULL; r = r->next) {
		if (!(r->flags & QP_REC_SACKED))
			continue;
		r->flags &= ~QP_REC_SACKED;
		c->x->sacked_bytes -= qp_tcp_rec_len(r);
		qp_tcp_mark_lost(c, r, NULL);
	}
}
