/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CUBIC (RFC 9438). Thread: the owning lcore. Windows in bytes; time in
 * seconds, as in the RFC's formulas.
 */
#include <math.h>

#include "dataplane/tcp/internal.h"

#define TRAIN_CWND 16 /* segments; below, ACKs that come together say nothing of the path */
#define C_CUBIC    0.4f
#define BETA_CUBIC 0.7f
/* RFC 9438, 4.3: what makes W_est as aggressive as Reno. */
#define ALPHA_CUBIC (3.0f * (1.0f - BETA_CUBIC) / (1.0f + BETA_CUBIC))

uint32_t
qp_tcp_initial_window(uint32_t mss)
{
	return qp_min(10 * mss, qp_max(2 * mss, 14600u));
}

static void
init(struct qp_tcp_conn *c)
{
	c->cwnd = qp_tcp_initial_window(qp_tcp_mss(c));
	c->ssthresh = UINT32_MAX / 2;
	/* RFC 5681, 3.1: a lost SYN leaves one segment. */
	if (c->flags & QP_TF_SYN_RTX)
		c->cwnd = qp_tcp_mss(c);
	qp_tcp_hystart_begin(&c->cc.cubic.hystart, c->snd_nxt);
}

/* 4.2 and 4.8: a new epoch of congestion avoidance. */
static void
start_epoch(struct qp_tcp_conn *c, float mss, uint64_t now_ns)
{
	float cwnd = c->cwnd;

	c->cc.cubic.epoch_ns = now_ns;
	c->cc.cubic.cwnd_epoch = c->cwnd;
	c->cc.cubic.w_est = cwnd;
	c->cc.cubic.cwnd_part = 0;
	if (c->cc.cubic.w_max <= cwnd) {
		c->cc.cubic.w_max = cwnd;
		c->cc.cubic.k_s = 0;
	} else {
		c->cc.cubic.k_s = cbrtf((c->cc.cubic.w_max - cwnd) / mss / C_CUBIC);
	}
}

/* W_cubic(t), 4.2, in bytes. */
static float
w_cubic(const struct qp_tcp_conn *c, float t, float mss)
{
	float d = t - c->cc.cubic.k_s;

	return C_CUBIC * d * d * d * mss + c->cc.cubic.w_max;
}

static void
avoid_congestion(struct qp_tcp_conn *c, uint32_t bytes, uint64_t now_ns)
{
	float mss = qp_tcp_mss(c), cwnd = c->cwnd, t, target, rtt = c->srtt_ns * 1e-9f;
	float alpha = ALPHA_CUBIC;

	if (c->cc.cubic.epoch_ns == 0)
		start_epoch(c, mss, now_ns);
	t = (now_ns - c->cc.cubic.epoch_ns) * 1e-9f;
	/* 4.3: once past W_max, Reno's own slope. */
	if (c->cc.cubic.w_est >= c->cc.cubic.w_max)
		alpha = 1.0f;
	c->cc.cubic.w_est += alpha * mss * (bytes / cwnd);
	target = w_cubic(c, t + rtt, mss);
	target = fminf(fmaxf(target, cwnd), 1.5f * cwnd);
	if (w_cubic(c, t, mss) < c->cc.cubic.w_est)
		c->cc.cubic.cwnd_part += fmaxf(c->cc.cubic.w_est - cwnd, 0); /* 4.3 */
	else
		c->cc.cubic.cwnd_part += (target - cwnd) / cwnd * bytes; /* 4.4, 4.5 */
	if (c->cc.cubic.cwnd_part >= 1) {
		uint32_t whole = (uint32_t)c->cc.cubic.cwnd_part;

		c->cwnd += whole;
		c->cc.cubic.cwnd_part -= whole;
	}
}

/* RFC 5681, 3.1 with RFC 3465's count of bytes, as many as arrived. Returns those left over. */
static uint32_t
slow_start(struct qp_tcp_conn *c, const struct qp_tcp_cc_ack *a)
{
	bool leave;
	uint32_t room = c->ssthresh - c->cwnd;
	uint32_t grow = qp_tcp_hystart_grow(&c->cc.cubic.hystart, a->acked,
		(uint32_t)qp_min(a->rtt_ns / 1000, UINT32_MAX), c->snd_una, c->snd_nxt, &leave);

	c->cwnd += qp_min(grow, room);
	if (leave)
		c->ssthresh = c->cwnd;
	return grow > room ? grow - room : 0;
}

/* Half a round trip of ACKs will be a whole one with the next window. Pacing makes half of one by itself. */
static bool
train_fills_path(struct qp_tcp_conn *c, uint64_t now_ns)
{
	uint32_t full_us = c->tcp->cfg.pacing ? c->min_rtt_us : c->min_rtt_us / 2;

	return c->cwnd >= TRAIN_CWND * qp_tcp_mss(c) &&
	       qp_tcp_hystart_train(&c->cc.cubic.hystart, (uint32_t)(now_ns / 1000), full_us);
}

static void
acked(struct qp_tcp_conn *c, const struct qp_tcp_cc_ack *a)
{
	uint32_t left = a->acked;

	/* With those that only SACK: late packets do not break the train. */
	if (!a->recovery && a->delivered > 0 && c->cwnd < c->ssthresh && train_fills_path(c, a->now_ns))
		c->ssthresh = c->cwnd;
	/* RFC 9438, 5.8: growth counts only while cwnd is what holds the sender back. */
	if (a->recovery || a->acked == 0 || !a->cwnd_limited)
		return;
	if (c->cwnd < c->ssthresh)
		left = slow_start(c, a);
	if (left > 0 && c->cwnd >= c->ssthresh)
		avoid_congestion(c, left, a->now_ns);
	c->cwnd = qp_min(c->cwnd, UINT32_C(1) << 30);
}

/* 4.6, 4.7 */
static void
congested(struct qp_tcp_conn *c)
{
	float cwnd = c->cwnd, floor = 2.0f * qp_tcp_mss(c);

	c->cc.cubic.undo_w_max = c->cc.cubic.w_max;
	c->cc.cubic.hystart.phase = QP_HYSTART_DONE;
	if (cwnd < c->cc.cubic.w_max)
		c->cc.cubic.w_max = cwnd * (1.0f + BETA_CUBIC) / 2; /* fast convergence */
	else
		c->cc.cubic.w_max = cwnd;
	c->ssthresh = (uint32_t)fmaxf(qp_tcp_flight(c) < c->cwnd ? qp_tcp_flight(c) * BETA_CUBIC
							       : cwnd * BETA_CUBIC, floor);
	c->cc.cubic.epoch_ns = 0;
}

/* 4.8; RFC 5681, 3.1: the loss window. */
static void
timeout(struct qp_tcp_conn *c)
{
	c->cwnd = qp_tcp_mss(c);
	c->cc.cubic.epoch_ns = 0;
}

/* 4.9: no congestion after all. */
static void
undo(struct qp_tcp_conn *c)
{
	c->cc.cubic.w_max = c->cc.cubic.undo_w_max;
	c->cc.cubic.epoch_ns = 0;
	/* Slow start that goes on is watched again. */
	if (c->cwnd < c->ssthresh)
		qp_tcp_hystart_begin(&c->cc.cubic.hystart, c->snd_nxt);
}

/*
 * Twice the window a round trip in slow start, a quarter more than it after: the
 * window leads, pacing only spreads it.
 */
static uint64_t
rate(const struct qp_tcp_conn *c)
{
	uint64_t per_s;

	if (!c->tcp->cfg.pacing || c->srtt_ns == 0)
		return 0;
	per_s = (uint64_t)c->cwnd * QP_SEC_NS / c->srtt_ns;
	return c->cwnd < c->ssthresh / 2 ? 2 * per_s : per_s + per_s / 4;
}

/* RFC 5681, 4.1; RFC 9438, 5.8. */
static void
idle(struct qp_tcp_conn *c)
{
	c->cwnd = qp_min(c->cwnd, qp_tcp_initial_window(qp_tcp_mss(c)));
	c->cc.cubic.epoch_ns = 0;
}

const struct qp_tcp_cc qp_tcp_cubic = {
	.name = "cubic",
	.init = init,
	.acked = acked,
	.congested = congested,
	.timeout = timeout,
	.undo = undo,
	.idle = idle,
	.rate = rate,
};
