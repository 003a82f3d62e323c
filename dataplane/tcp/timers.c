/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A connection's deadlines on one wheel timer, and what happens when one
 * passes: retransmission timeout, loss probe, zero-window probe, delayed ACK,
 * keep-alive. Thread: the owning lcore. What is sent again is left to
 * recovery.c and output.c.
 *
 * The wheel timer is moved only to an earlier time. A deadline that was put
 * off, as each ACK puts off the RTO, is noticed when the timer fires too early.
 */
#include "dataplane/tcp/internal.h"

void
qp_tcp_timer_set(struct qp_tcp_conn *c, enum qp_tcp_timer which, uint64_t at_ns)
{
	c->due[which] = qp_max((uint32_t)((at_ns + QP_TIMER_TICK_NS - 1) / QP_TIMER_TICK_NS), 1u);
	if (!qp_timer_armed(&c->timer) || at_ns < c->timer.at_ns)
		qp_timer_arm(c->tcp->env.wheel, &c->timer, at_ns);
}

void
qp_tcp_timer_clear(struct qp_tcp_conn *c, enum qp_tcp_timer which)
{
	c->due[which] = 0;
}

uint64_t
qp_tcp_timer_due_ns(const struct qp_tcp_conn *c, enum qp_tcp_timer which)
{
	uint64_t tick = qp_tcp_now(c->tcp) / QP_TIMER_TICK_NS;

	if (c->due[which] == 0)
		return UINT64_MAX;
	return (tick + (uint64_t)(int64_t)(int32_t)(c->due[which] - (uint32_t)tick)) * QP_TIMER_TICK_NS;
}

static bool
probing_window(const struct qp_tcp_conn *c)
{
	return c->snd_una == c->snd_nxt && qp_tcp_queued(c) > 0;
}

/*
 * In flight: loss probe or RTO. Nothing in flight but data waiting, which only
 * a closed or silly window explains: persist (RFC 9293, 3.8.6.1).
 */
void
qp_tcp_arm_rtx(struct qp_tcp_conn *c, bool restart)
{
	uint64_t now = qp_tcp_now(c->tcp), due;

	if (c->snd_una == c->snd_nxt && !probing_window(c)) {
		qp_tcp_timer_clear(c, QP_TMR_RTX);
		return;
	}
	/* The pace alone holds it back. */
	if (probing_window(c) && c->due[QP_TMR_PACE] != 0) {
		qp_tcp_timer_clear(c, QP_TMR_RTX);
		return;
	}
	if (probing_window(c)) {
		if (c->due[QP_TMR_RTX] != 0 && c->rtx_kind == QP_RTX_PERSIST && !restart)
			return;
		c->rtx_kind = QP_RTX_PERSIST;
		qp_tcp_timer_set(c, QP_TMR_RTX, now + c->rto_ns);
		return;
	}
	if (c->due[QP_TMR_RTX] != 0 && c->rtx_kind != QP_RTX_PERSIST && !restart)
		return;
	/* RFC 8985, 7.2: a timeout that would come before the probe makes way for it. */
	due = qp_tcp_tlp_due(c);
	c->rtx_kind = due != 0 ? QP_RTX_TLP : QP_RTX_RTO;
	if (due == 0 || due > now + c->rto_ns)
		due = now + c->rto_ns;
	qp_tcp_timer_set(c, QP_TMR_RTX, due);
}

/* R2 (RFC 9293, 3.8.3) or the application's user timeout. */
static bool
given_up(const struct qp_tcp_conn *c)
{
	return qp_tcp_now_ms(c->tcp) - c->progress_ms >= qp_tcp_user_timeout_s(c) * UINT64_C(1000);
}

static void
on_rto(struct qp_tcp_conn *c)
{
	if (c->tcb.state == QP_TCP_SYN_SENT || c->tcb.state == QP_TCP_SYN_RECEIVED) {
		qp_tcp_syn_timeout(c);
		return;
	}
	if (given_up(c)) {
		qp_tcp_send_rst(c, QP_TCP_RST_TIMEOUT);
		qp_tcp_conn_end(c, QP_TCP_END_TIMEOUT);
		return;
	}
	QP_TCP_COUNT(c->tcp, rto_fired);
	qp_tcp_rto_backoff(c);
	qp_tcp_pmtu_timeout(c);
	qp_tcp_recovery_rto(c);
	qp_tcp_output(c);
	qp_tcp_arm_rtx(c, true);
}

/*
 * The probe's sequence number is old, so that the peer must answer with an ACK
 * (3.10.7.4, first) whatever its window is, and nothing new is in flight.
 */
static void
on_persist(struct qp_tcp_conn *c)
{
	if (given_up(c)) {
		qp_tcp_send_rst(c, QP_TCP_RST_TIMEOUT);
		qp_tcp_conn_end(c, QP_TCP_END_TIMEOUT);
		return;
	}
	if (qp_tcp_stalled_too_long(c)) {
		QP_TCP_COUNT(c->tcp, zero_windows_ended);
		qp_tcp_send_rst(c, QP_TCP_RST_TIMEOUT);
		qp_tcp_conn_end(c, QP_TCP_END_TIMEOUT);
		return;
	}
	qp_tcp_rto_backoff(c);
	/* A window below a segment (RFC 9293, 3.8.6.2.1): after the wait, whatever fits goes. */
	if (c->snd_wnd == 0 || !qp_tcp_send_new(c, c->snd_wnd)) {
		QP_TCP_COUNT(c->tcp, zero_window_probes);
		qp_tcp_send_probe(c);
	}
	qp_tcp_arm_rtx(c, true);
}

static void
on_rtx(struct qp_tcp_conn *c)
{
	switch (c->rtx_kind) {
	case QP_RTX_RTO:
		on_rto(c);
		break;
	case QP_RTX_TLP:
		qp_tcp_recovery_tlp(c);
		break;
	case QP_RTX_REO:
		qp_tcp_recovery_reo(c);
		qp_tcp_output(c);
		break;
	case QP_RTX_PERSIST:
		on_persist(c);
		break;
	case QP_RTX_SYN:
		qp_tcp_syn_again(c);
		break;
	}
}

/* RFC 9293, 3.8.4: only when the line was silent and nothing of ours waits for an ACK. */
static void
on_keepalive(struct qp_tcp_conn *c)
{
	uint64_t idle = qp_tcp_keepalive_ns(c), now = qp_tcp_now(c->tcp);
	uint64_t silent = (qp_tcp_now_ms(c->tcp) - c->last_rx_ms) * QP_MS_NS;

	if (silent < idle) {
		c->keep_probes = 0;
		qp_tcp_timer_set(c, QP_TMR_KEEP, now + idle - silent);
		return;
	}
	qp_tcp_xmit_rest(c); /* whatever a loss probe still waits for */
	if (c->snd_una == c->snd_nxt && !probing_window(c)) {
		if (c->keep_probes >= QP_TCP_KEEP_PROBES) {
			qp_tcp_send_rst(c, QP_TCP_RST_TIMEOUT);
			qp_tcp_conn_end(c, QP_TCP_END_TIMEOUT);
			return;
		}
		c->keep_probes++;
		qp_tcp_send_probe(c);
	}
	qp_tcp_timer_set(c, QP_TMR_KEEP, now + qp_min(idle, QP_TCP_KEEP_PROBE_NS));
}

static void
fire(struct qp_tcp_conn *c, enum qp_tcp_timer which)
{
	c->due[which] = 0;
	switch (which) {
	case QP_TMR_RTX:
		on_rtx(c);
		break;
	case QP_TMR_ACK:
		c->flags |= QP_TF_ACK_NOW;
		qp_tcp_output(c);
		break;
	case QP_TMR_KEEP:
		on_keepalive(c);
		break;
	case QP_TMR_RETRY:
	case QP_TMR_PACE:
		qp_tcp_output(c);
		break;
	case QP_TMR_N:
		break;
	}
}

void
qp_tcp_on_timer(struct qp_timer *t, uint64_t now_ns)
{
	struct qp_tcp_conn *c =
		(struct qp_tcp_conn *)((char *)t - offsetof(struct qp_tcp_conn, timer));
	uint64_t next = UINT64_MAX;

	for (unsigned i = 0; i < QP_TMR_N && c->tcb.state != QP_TCP_CLOSED; i++) {
		if (qp_tcp_timer_due_ns(c, i) <= now_ns)
			fire(c, i);
	}
	if (c->tcb.state == QP_TCP_CLOSED)
		return;
	for (unsigned i = 0; i < QP_TMR_N; i++) {
		next = qp_min(next, qp_tcp_timer_due_ns(c, i));
	}
	if (next != UINT64_MAX)
		qp_timer_arm(c->tcp->env.wheel, &c->timer, next);
}
