/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The retransmission timeout's length (RFC 6298), from samples of which there
 * are many in a round trip (RFC 7323, appendix G). Thread: the owning lcore.
 * When the timer runs is left to timers.c.
 */
#include "dataplane/rtt.h"
#include "dataplane/tcp/internal.h"

void
qp_tcp_rto_reset(struct qp_tcp_conn *c)
{
	uint64_t rto = QP_TCP_RTO_INIT_NS;

	if (c->srtt_ns != 0)
		rto = c->srtt_ns + qp_max(4 * c->rttvar_ns, QP_TIMER_TICK_NS);
	c->rto_ns = qp_min(qp_max(rto, QP_TCP_RTO_MIN_NS), QP_TCP_RTO_MAX_NS);
	c->backoff = 0;
}

/* RFC 6298, 5.5 */
void
qp_tcp_rto_backoff(struct qp_tcp_conn *c)
{
	c->rto_ns = qp_min(2 * c->rto_ns, QP_TCP_RTO_MAX_NS);
	if (c->backoff < UINT8_MAX)
		c->backoff++;
}

/* So that a window's worth of samples weighs as one does in RFC 6298. */
static uint64_t
expected_samples(const struct qp_tcp_conn *c)
{
	uint32_t two = 2 * qp_tcp_mss(c);

	return qp_max(1u, (qp_tcp_flight(c) + two - 1) / two);
}

void
qp_tcp_rtt_sample(struct qp_tcp_conn *c, uint64_t rtt_ns)
{
	uint64_t es, delta;

	if (rtt_ns == 0)
		rtt_ns = 1;
	qp_rtt_count(&c->tcp->rtt, rtt_ns / 1000);
	if (c->srtt_ns == 0) {
		c->srtt_ns = rtt_ns;
		c->rttvar_ns = rtt_ns / 2;
		qp_tcp_rto_reset(c);
		return;
	}
	es = expected_samples(c);
	delta = rtt_ns > c->srtt_ns ? rtt_ns - c->srtt_ns : c->srtt_ns - rtt_ns;
	c->rttvar_ns = c->rttvar_ns - c->rttvar_ns / (4 * es) + delta / (4 * es);
	c->srtt_ns = c->srtt_ns - c->srtt_ns / (8 * es) + rtt_ns / (8 * es);
	if (c->srtt_ns == 0)
		c->srtt_ns = 1;
	qp_tcp_rto_reset(c);
}
