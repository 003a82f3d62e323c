/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loss recovery: what one ACK or one timeout means. Episodes begin by RACK,
 * without SACK by duplicate ACKs (RFC 5681, 6582), or by a timeout; cwnd
 * follows by PRR (RFC 6937); what was no loss is taken back (Eifel, RFC 3522
 * and 4015). Thread: the owning lcore. Sending again is left to output.c.
 */
#include "dataplane/tcp/recovery.h"

/* RFC 5681, 3.2 and RFC 6582, 3.2, for peers without SACK. */
static void
count_duplicates(struct qp_tcp_conn *c, struct qp_tcp_ack_news *n)
{
	uint32_t mss = qp_tcp_mss(c);

	/* Once passed it keeps up: 2 GiB behind would be ahead. */
	if (c->ca == QP_CA_OPEN && seq_lt(c->x->recover, c->snd_una))
		c->x->recover = c->snd_una - 1;
	if (n->acked > 0) {
		c->x->dupacks = 0;
		c->x->dup_bytes -= qp_min(c->x->dup_bytes, n->acked);
		if (c->ca == QP_CA_RECOVERY && seq_lt(c->snd_una, c->x->recover))
			qp_tcp_head_lost(c, n); /* a partial acknowledgment */
		else
			c->x->dup_bytes = 0;
		return;
	}
	if (!n->dup)
		return;
	if (c->x->dup_bytes + mss < qp_tcp_flight(c)) {
		c->x->dup_bytes += mss;
		n->delivered += mss;
	}
	if (c->x->dupacks < UINT8_MAX)
		c->x->dupacks++;
	if (c->x->dupacks == QP_TCP_DUP_THRESH && c->ca == QP_CA_OPEN && seq_lt(c->x->recover, c->snd_una))
		qp_tcp_head_lost(c, n);
}

/* RFC 6937: as much goes out as keeps the decline to ssthresh in proportion. */
static void
prr(struct qp_tcp_conn *c, const struct qp_tcp_ack_news *n)
{
	int64_t pipe = qp_tcp_pipe(c), mss = qp_tcp_mss(c), count;

	c->x->prr_delivered += n->delivered;
	if (pipe > c->ssthresh) {
		uint64_t share = (uint64_t)c->x->prr_delivered * c->ssthresh;

		count = (int64_t)((share + c->x->prr_flight - 1) / c->x->prr_flight) - c->x->prr_out;
	} else {
		int64_t limit = RTE_MAX((int64_t)c->x->prr_delivered - c->x->prr_out, (int64_t)n->delivered);

		if (n->acked > 0 && n->lost == 0)
			limit += mss;
		count = RTE_MIN((int64_t)c->ssthresh - pipe, limit);
	}
	if (c->x->prr_out == 0)
		count = qp_max(count, mss); /* the fast retransmit itself */
	count = RTE_MAX(count, INT64_C(0));
	c->cwnd = (uint32_t)RTE_MAX(pipe + count, mss);
}

static void
remember_for_undo(struct qp_tcp_conn *c)
{
	if (c->ca != QP_CA_OPEN)
		return;
	c->x->undo = QP_UNDO_ARMED;
	c->x->undo_cwnd = c->cwnd;
	c->x->undo_ssthresh = c->ssthresh;
}

static void
enter_recovery(struct qp_tcp_conn *c)
{
	QP_TCP_COUNT(c->tcp, fast_recoveries);
	remember_for_undo(c);
	if (!qp_tcp_ecn_reduced_already(c))
		c->tcp->cc->congested(c);
	c->ca = QP_CA_RECOVERY;
	c->x->recover = c->snd_nxt;
	qp_tcp_ecn_reduced(c);
	c->x->prr_delivered = 0;
	c->x->prr_out = 0;
	c->x->prr_flight = qp_max(qp_tcp_flight(c), 1u);
	c->x->tlp_open = false;
}

static void
leave(struct qp_tcp_conn *c)
{
	if (c->ca == QP_CA_RECOVERY && !c->tcp->cc->owns_cwnd)
		c->cwnd = qp_max(c->ssthresh, qp_tcp_mss(c));
	c->ca = QP_CA_OPEN;
	c->x->undo = QP_UNDO_NONE;
	c->x->dupacks = 0;
	c->x->dup_bytes = 0;
	if (c->reo_persist > 0 && --c->reo_persist == 0)
		c->reo_mult = 1;
}

/*
 * The ACK was caused by a segment sent before the first retransmission: what
 * was called lost had only been late (RFC 3522, 3.2; RFC 4015, 3.2).
 */
static bool
undo(struct qp_tcp_conn *c, const struct qp_tcp_seg *s, const struct qp_tcp_ack_news *n)
{
	if (c->x->undo != QP_UNDO_TIMED || c->ca == QP_CA_OPEN || n->acked == 0 || !n->rtx_acked)
		return false;
	if (!(c->flags & QP_TF_TS) || !s->opt.has_ts || !seq_lt(s->opt.tsecr, c->x->undo_ts)) {
		c->x->undo = QP_UNDO_NONE; /* only the first such ACK can tell */
		return false;
	}
	/* From the back, each to the front: the list stays in order of time. */
	for (struct qp_tcp_rec *r = c->x->rec_tail; r != NULL; r = r->prev) {
		if (!(r->flags & QP_REC_LOST))
			continue;
		c->x->lost_bytes -= qp_tcp_rec_len(r);
		r->flags = (r->flags & ~QP_REC_LOST) | QP_REC_TIMED;
		r->tprev = NULL;
		r->tnext = c->x->timed_head;
		if (c->x->timed_head != NULL)
			c->x->timed_head->tprev = r;
		else
			c->x->timed_tail = r;
		c->x->timed_head = r;
	}
	leave(c);
	c->ecn &= ~QP_ECN_REDUCED;
	c->cwnd = qp_max(c->cwnd, c->x->undo_cwnd);
	c->ssthresh = c->x->undo_ssthresh;
	c->tcp->cc->undo(c);
	c->flags |= QP_TF_REORDERING;
	return true;
}

static void
sample_rtt(struct qp_tcp_conn *c, const struct qp_tcp_seg *s, const struct qp_tcp_ack_news *n)
{
	uint32_t ticks;

	/* What was sent once may have arrived long ago and waited for what was sent twice. */
	if (n->rtt_ns != 0 && !n->rtx_acked) {
		qp_tcp_rtt_sample(c, n->rtt_ns);
		return;
	}
	/*
	 * Only the timestamp knows which transmission caused this ACK (RFC 7323,
	 * 4.1). When not the latest, an ACK may have been lost in between: its age
	 * is no round trip.
	 */
	if (n->acked == 0 || n->ambiguous || !(c->flags & QP_TF_TS) || !s->opt.has_ts || s->opt.tsecr == 0)
		return;
	ticks = qp_tcp_tsval(c) - s->opt.tsecr;
	if (ticks < QP_TCP_RTO_MAX_NS / QP_MS_NS)
		qp_tcp_rtt_sample(c, qp_max(ticks, 1u) * QP_MS_NS);
}

/* Growth counts only while cwnd is what holds the sender back (RFC 9438, 5.8). */
static bool
cwnd_mattered(const struct qp_tcp_conn *c, const struct qp_tcp_ack_news *n)
{
	if (c->flags & QP_TF_CWND_LIMITED)
		return true;
	return c->cwnd < c->ssthresh && n->flight_before >= c->cwnd / 2;
}

/* A sample has ended a backoff: the timeout that still runs by it is too far away. */
static bool
rto_is_late(const struct qp_tcp_conn *c)
{
	return c->rtx_kind == QP_RTX_RTO && c->due[QP_TMR_RTX] != 0 &&
	       qp_tcp_timer_due_ns(c, QP_TMR_RTX) > qp_tcp_now(c->tcp) + c->rto_ns + QP_TIMER_TICK_NS;
}

static void
arm_reordering(struct qp_tcp_conn *c, uint64_t wait_ns)
{
	uint64_t at = qp_tcp_now(c->tcp) + qp_max(wait_ns, QP_TIMER_TICK_NS);

	if (qp_tcp_timer_due_ns(c, QP_TMR_RTX) < at && c->rtx_kind == QP_RTX_RTO)
		return;
	c->rtx_kind = QP_RTX_REO;
	qp_tcp_timer_set(c, QP_TMR_RTX, at);
}

static void
tell_cc(struct qp_tcp_conn *c, const struct qp_tcp_ack_news *n)
{
	struct qp_tcp_cc_ack a = {
		.now_ns = qp_tcp_now(c->tcp),
		.acked = n->acked,
		.delivered = n->delivered,
		.lost = n->lost,
		.in_flight = qp_tcp_pipe(c),
		.rtt_ns = n->rate_rtt_ns,
		.recovery = c->ca == QP_CA_RECOVERY || (c->tcp->cc->owns_cwnd && c->ca != QP_CA_OPEN),
		.cwnd_limited = !n->ece && cwnd_mattered(c, n),
	};

	if (a.cwnd_limited && !a.recovery)
		a.acked = qp_tcp_credit(c, a.acked);
	qp_tcp_rate_sample(c, n, &a);
	c->tcp->cc->acked(c, &a);
}

static void
episodes(struct qp_tcp_conn *c, const struct qp_tcp_ack_news *n)
{
	if (c->ca != QP_CA_OPEN && seq_leq(c->x->recover, c->snd_una))
		leave(c);
	qp_tcp_pmtu_judge(c);
	if (c->ca == QP_CA_OPEN && c->x->lost_bytes > 0 && !c->x->excused)
		enter_recovery(c);
	if (c->ca == QP_CA_RECOVERY && !c->tcp->cc->owns_cwnd)
		prr(c, n);
	else if (n->ece)
		qp_tcp_ecn_congested(c);
	tell_cc(c, n);
}

void
qp_tcp_recovery_ack(struct qp_tcp_conn *c, const struct qp_tcp_seg *s, struct qp_tcp_ack_news *n)
{
	uint64_t wait = 0;

	if (c->x == NULL) { /* nothing was in flight; a late duplicate may still be reported */
		if (c->flags & QP_TF_SACK) {
			qp_tcp_take_sack(c, s, n);
			qp_tcp_adapt_reo_wnd(c, n);
		}
		return;
	}
	n->flight_before = qp_tcp_flight(c);
	/* In this order: a SACKed range is later in sequence, which is no sign of reordering. */
	qp_tcp_advance_una(c, s, n);
	if (c->flags & QP_TF_SACK)
		qp_tcp_take_sack(c, s, n);
	n->ece = qp_tcp_ecn_heard(c, s);
	sample_rtt(c, s, n);
	qp_tcp_judge_probe(c, s, n);
	if (!undo(c, s, n)) {
		if (c->flags & QP_TF_SACK) {
			qp_tcp_adapt_reo_wnd(c, n);
			wait = qp_tcp_rack_detect(c, n);
		} else {
			count_duplicates(c, n);
		}
	}
	episodes(c, n);
	if (n->acked > 0) {
		c->backoff = 0;
		qp_tcp_arm_rtx(c, true);
	} else if ((n->sacked > 0 && c->rtx_kind == QP_RTX_TLP) || rto_is_late(c)) {
		qp_tcp_arm_rtx(c, true);
	}
	if (wait != 0)
		arm_reordering(c, wait);
	if (n->acked > 0 || n->sacked > 0 || n->dup || c->x->lost_bytes > 0)
		qp_tcp_work(c);
}

void
qp_tcp_recovery_reo(struct qp_tcp_conn *c)
{
	struct qp_tcp_ack_news n = {0};
	uint64_t wait = qp_tcp_rack_detect(c, &n);

	episodes(c, &n);
	qp_tcp_arm_rtx(c, true);
	if (wait != 0)
		arm_reordering(c, wait);
}

/*
 * RFC 5681, 3.1 and RFC 8985, 6.3: the first range is lost, and so is what RACK
 * would call lost; without SACK all is.
 */
void
qp_tcp_recovery_rto(struct qp_tcp_conn *c)
{
	uint64_t now = qp_tcp_now(c->tcp), wait = c->rack_rtt_us * UINT64_C(1000) + qp_tcp_reo_wnd_ns(c);

	if (c->x->rec_head == NULL)
		return;
	if (c->x->rec_head->flags & QP_REC_SACKED)
		qp_tcp_forget_sacked(c);
	remember_for_undo(c);
	if (c->ca != QP_CA_LOSS)
		c->tcp->cc->congested(c);
	c->ca = QP_CA_LOSS;
	c->x->recover = c->snd_nxt;
	qp_tcp_ecn_reduced(c);
	c->x->tlp_open = false;
	c->x->dupacks = 0;
	c->x->dup_bytes = 0;
	for (struct qp_tcp_rec *r = c->x->rec_head; r != NULL; r = r->next) {
		if ((r->flags & QP_REC_TIMED) && (r == c->x->rec_head || !(c->flags & QP_TF_SACK) ||
							 r->xmit_ns + wait <= now))
			qp_tcp_mark_lost(c, r, NULL);
	}
	c->tcp->cc->timeout(c);
	c->cwnd += qp_tcp_pipe(c);
}

void
qp_tcp_recovery_mtu(struct qp_tcp_conn *c)
{
	uint32_t mss = qp_tcp_mss(c);
	bool alone;

	if (c->x == NULL) /* a SYN alone is in flight */
		return;
	alone = c->x->lost_bytes == 0 || c->x->excused;
	for (struct qp_tcp_rec *r = c->x->rec_head; r != NULL; r = r->next) {
		if ((r->flags & QP_REC_TIMED) && r->mss > mss && qp_tcp_rec_len(r) > mss)
			qp_tcp_mark_lost(c, r, NULL);
	}
	/* Not congestion: cwnd stays; what counts as lost goes again as cwnd allows. */
	c->x->excused = alone;
	if (c->x->lost_bytes > 0)
		qp_tcp_work(c);
}
