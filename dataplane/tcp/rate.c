/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Delivery rate samples (draft-cheng-iccrg-delivery-rate-estimation) and
 * pacing: how fast data arrives, and how fast it is sent. Thread: the owning
 * lcore. What rate is right, congestion control says.
 */
#include "dataplane/tcp/recovery.h"

#define QUANTUM_NS   QP_MS_NS          /* a frame is worth so much time, … */
#define QUANTUM_MIN  2u                /* … at least so many segments */
#define QUANTUM_MAX  (64u * 1024)
#define CATCH_UP_NS  QP_MS_NS          /* what a late timer lost, and no more, is made up for */

/* Samples. */

void
qp_tcp_rate_sent(struct qp_tcp_conn *c, struct qp_tcp_rec *r)
{
	struct qp_tcp_xmit *x = c->x;

	/* Nothing else is in flight: this is where the next interval begins. */
	if (c->snd_una == r->seq && x->rec_head == r && r->next == NULL) {
		x->first_sent_ns = r->xmit_ns;
		x->delivered_ns = r->xmit_ns;
	}
	r->delivered = c->delivered;
	r->delivered_ns = x->delivered_ns;
	r->first_sent_ns = x->first_sent_ns;
	if (x->app_limited)
		r->flags |= QP_REC_APP_LIMITED;
	else
		r->flags &= ~QP_REC_APP_LIMITED;
}

void
qp_tcp_rate_delivered(struct qp_tcp_conn *c, const struct qp_tcp_rec *r, uint32_t bytes,
	struct qp_tcp_ack_news *n)
{
	struct qp_tcp_xmit *x = c->x;

	c->delivered += bytes;
	x->delivered_ns = qp_tcp_now(c->tcp);
	/* The range that was sent last tells most of now. */
	if (n->rate_known && !qp_tcp_sent_after(r->xmit_ns, r->end, n->rate_sent_ns, n->rate_end))
		return;
	n->rate_known = true;
	n->rate_sent_ns = r->xmit_ns;
	n->rate_end = r->end;
	n->rate_prior = r->delivered;
	n->rate_prior_ns = r->delivered_ns;
	n->rate_send_ns = r->xmit_ns - r->first_sent_ns;
	n->rate_rtt_ns = r->flags & QP_REC_RTX ? 0 : qp_max(x->delivered_ns - r->xmit_ns, 1);
	n->rate_app_limited = r->flags & QP_REC_APP_LIMITED;
	x->first_sent_ns = r->xmit_ns;
}

void
qp_tcp_rate_sample(struct qp_tcp_conn *c, const struct qp_tcp_ack_news *n, struct qp_tcp_cc_ack *a)
{
	struct qp_tcp_xmit *x = c->x;
	uint64_t ack_ns;

	if (x->app_limited && seq_lt(x->app_limited_end, c->delivered))
		x->app_limited = false;
	if (!n->rate_known)
		return;
	a->prior_delivered = n->rate_prior;
	a->app_limited = n->rate_app_limited;
	a->rate_delivered = c->delivered - n->rate_prior;
	ack_ns = x->delivered_ns - n->rate_prior_ns;
	a->interval_ns = qp_max(qp_max(ack_ns, n->rate_send_ns), 1);
	/* Shorter than any round trip: ACKs were compressed on their way. */
	if (a->interval_ns / 1000 < c->min_rtt_us)
		a->interval_ns = 0;
}

void
qp_tcp_app_limited(struct qp_tcp_conn *c)
{
	if (c->x == NULL)
		return;
	c->x->app_limited = true;
	c->x->app_limited_end = c->delivered + qp_tcp_pipe(c);
}

/* Pacing. */

uint32_t
qp_tcp_pacing_quantum(const struct qp_tcp_conn *c)
{
	uint64_t rate = c->tcp->cc->rate(c);
	uint64_t bytes = rate * QUANTUM_NS / QP_SEC_NS;

	if (rate == 0)
		return QUANTUM_MAX;
	return (uint32_t)qp_min(qp_max(bytes, QUANTUM_MIN * qp_tcp_mss(c)), QUANTUM_MAX);
}

bool
qp_tcp_pacing_holds(struct qp_tcp_conn *c)
{
	if (c->x == NULL || c->x->pace_ns <= qp_tcp_now(c->tcp))
		return false;
	if (c->tcp->cc->rate(c) == 0)
		return false;
	qp_tcp_timer_set(c, QP_TMR_PACE, c->x->pace_ns);
	return true;
}

void
qp_tcp_pacing_sent(struct qp_tcp_conn *c, uint32_t bytes)
{
	uint64_t rate = c->tcp->cc->rate(c), now = qp_tcp_now(c->tcp);

	if (rate == 0 || bytes == 0)
		return;
	c->x->pace_ns = qp_max(c->x->pace_ns, now - CATCH_UP_NS) + bytes * QP_SEC_NS / rate;
}
