/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RACK-TLP (RFC 8985): what was sent before something that has arrived, and by
 * more than the reordering window, is lost; when nothing arrives, a probe makes
 * it. Thread: the owning lcore. What a loss means for cwnd is recovery.c's.
 */
#include "dataplane/tcp/recovery.h"

#define REO_PERSIST 16u /* recoveries that a widened reordering window lasts (RFC 8985, 6.2) */
#define TLP_MAX_ACK_DELAY_NS (200 * QP_MS_NS)

/* RACK_sent_after (RFC 8985, 6.2): of two sent at the same time the later in sequence. */
bool
qp_tcp_sent_after(uint64_t t1, uint32_t end1, uint64_t t2, uint32_t end2)
{
	return t1 > t2 || (t1 == t2 && seq_lt(end2, end1));
}

/* RACK_update_reo_wnd (RFC 8985, 6.2, step 4). */
uint64_t
qp_tcp_reo_wnd_ns(const struct qp_tcp_conn *c)
{
	uint64_t wnd;

	if (!(c->flags & QP_TF_REORDERING) &&
		(c->ca != QP_CA_OPEN || c->x->sacked_bytes >= QP_TCP_DUP_THRESH * qp_tcp_mss(c)))
		return 0;
	wnd = (uint64_t)c->reo_mult * c->min_rtt_us * 1000 / 4;
	return qp_min(wnd, c->srtt_ns);
}

/*
 * A reported duplicate widens the window, at most once a round trip. The mark
 * keeps up with snd_una: 2 GiB behind would be ahead.
 */
void
qp_tcp_adapt_reo_wnd(struct qp_tcp_conn *c, const struct qp_tcp_ack_news *n)
{
	if (seq_lt(c->snd_una, c->rack_round))
		return;
	c->rack_round = c->snd_una;
	if (!n->dsack)
		return;
	c->rack_round = c->snd_nxt;
	c->reo_persist = REO_PERSIST;
	if (c->reo_mult < UINT8_MAX)
		c->reo_mult++;
}

/*
 * RACK_detect_loss (RFC 8985, 6.2, step 5). Returns how long until the next
 * range may be called lost, 0 for none. The by-time list is in order, so it
 * ends at the first range that still has time.
 */
uint64_t
qp_tcp_rack_detect(struct qp_tcp_conn *c, struct qp_tcp_ack_news *n)
{
	uint64_t now = qp_tcp_now(c->tcp), wait = c->rack_rtt_us * UINT64_C(1000) + qp_tcp_reo_wnd_ns(c);
	struct qp_tcp_rec *r, *next;

	for (r = c->x->timed_head; r != NULL; r = next) {
		next = r->tnext;
		if (!qp_tcp_sent_after(c->x->rack_xmit_ns, c->x->rack_end, r->xmit_ns, r->end))
			return 0;
		if (r->xmit_ns + wait > now)
			return r->xmit_ns + wait - now;
		qp_tcp_mark_lost(c, r, n);
	}
	return 0;
}

/* RFC 8985, 7.4: did the loss probe repair a loss that nobody else saw? */
void
qp_tcp_judge_probe(struct qp_tcp_conn *c, const struct qp_tcp_seg *s, const struct qp_tcp_ack_news *n)
{
	if (!c->x->tlp_open || seq_lt(s->ack, c->x->tlp_end))
		return;
	if (!(c->flags & QP_TF_TLP_RTX) || n->dsack) {
		c->x->tlp_open = false;
	} else if (seq_lt(c->x->tlp_end, s->ack)) {
		c->x->tlp_open = false;
		if (c->ca == QP_CA_OPEN) {
			c->tcp->cc->congested(c);
			c->cwnd = qp_min(c->cwnd, c->ssthresh);
			qp_tcp_ecn_reduced(c);
		}
	} else if (n->dup && s->opt.nsack == 0) {
		c->x->tlp_open = false; /* both the original and the probe arrived */
	}
}

uint64_t
qp_tcp_tlp_due(const struct qp_tcp_conn *c)
{
	uint64_t pto;

	if (!(c->flags & QP_TF_SACK) || c->ca != QP_CA_OPEN || c->x->tlp_open || c->x->sacked_bytes > 0 ||
		c->srtt_ns == 0 || c->backoff > 0)
		return 0;
	pto = 2 * c->srtt_ns + 2 * QP_MS_NS;
	if (qp_tcp_flight(c) <= qp_tcp_mss(c))
		pto += TLP_MAX_ACK_DELAY_NS;
	return qp_tcp_now(c->tcp) + pto;
}

/* RFC 8985, 7.3: new data if there is any, else the last segment once more. */
void
qp_tcp_recovery_tlp(struct qp_tcp_conn *c)
{
	uint32_t mss = qp_tcp_mss(c), edge = c->snd_una + c->snd_wnd;
	uint32_t room = seq_lt(c->snd_nxt, edge) ? edge - c->snd_nxt : 0;
	struct qp_tcp_rec *r = c->x->rec_tail;

	c->flags &= ~QP_TF_TLP_RTX;
	if (room == 0 || !qp_tcp_send_new(c, qp_min(mss, room))) {
		if (r == NULL)
			return;
		if (qp_tcp_rec_len(r) > mss && qp_tcp_rec_split(c, r, r->end - mss))
			r = r->next;
		if (qp_tcp_retransmit(c, r, mss))
			c->flags |= QP_TF_TLP_RTX;
	}
	c->x->tlp_open = true;
	c->x->tlp_end = c->snd_nxt;
	c->rtx_kind = QP_RTX_RTO;
	qp_tcp_timer_set(c, QP_TMR_RTX, qp_tcp_now(c->tcp) + c->rto_ns);
}
