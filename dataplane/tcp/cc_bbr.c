/* SPDX-License-Identifier: Apache-2.0 */
/*
 * BBR (draft-cardwell-iccrg-bbr-congestion-control-00, version 1): a model of
 * the path, its bandwidth and its least round trip, rules the rate and the
 * window; loss alone does not. Thread: the owning lcore. Names are the draft's.
 */
#include "dataplane/tcp/internal.h"

#define BW_SHIFT        4u         /* bandwidths in units of 16 bytes a second */
#define BW_ROUNDS       10u        /* BtlBwFilterLen */
#define MIN_RTT_MS      10000u     /* RTpropFilterLen */
#define PROBE_RTT_MS    200u       /* ProbeRTTDuration */
#define MIN_PIPE        4u         /* BBRMinPipeCwnd, segments */
#define HIGH_GAIN       739u       /* 2/ln 2, in 256ths */
#define DRAIN_GAIN      88u        /* its inverse */
#define CWND_GAIN       512u
#define UNIT            256u
#define FULL_BW_COUNT   3u
#define CYCLE           8u

enum {
	STARTUP,
	DRAIN,
	PROBE_BW,
	PROBE_RTT,
};

enum {
	ROUND_START = 1 << 0,
	IDLE_RESTART = 1 << 1,
	PROBE_RTT_ROUND_DONE = 1 << 2,
	PACKET_CONSERVATION = 1 << 3,
	WAS_RECOVERY = 1 << 4,
	HAS_RTT = 1 << 5,
};

static const uint16_t cycle_gain[CYCLE] = {320, 192, 256, 256, 256, 256, 256, 256};

/* Kathleen Nichols' windowed maximum: three candidates of a third of the window each. */
static void
filter_reset(struct qp_tcp_max_filter *f, uint32_t round, uint32_t value)
{
	for (unsigned i = 0; i < 3; i++) {
		f->best[i].round = round;
		f->best[i].value = value;
	}
}

static void
filter_age(struct qp_tcp_max_filter *f, uint32_t round, uint32_t value)
{
	uint32_t age = round - f->best[0].round;

	if (age > BW_ROUNDS) {
		f->best[0] = f->best[1];
		f->best[1] = f->best[2];
		f->best[2].round = round;
		f->best[2].value = value;
		if (round - f->best[0].round > BW_ROUNDS) {
			f->best[0] = f->best[1];
			f->best[1] = f->best[2];
		}
	} else if (f->best[1].round == f->best[0].round && age > BW_ROUNDS / 4) {
		f->best[1].round = f->best[2].round = round;
		f->best[1].value = f->best[2].value = value;
	} else if (f->best[2].round == f->best[1].round && age > BW_ROUNDS / 2) {
		f->best[2].round = round;
		f->best[2].value = value;
	}
}

static void
filter_take(struct qp_tcp_max_filter *f, uint32_t round, uint32_t value)
{
	if (value >= f->best[0].value || round - f->best[2].round > BW_ROUNDS) {
		filter_reset(f, round, value);
		return;
	}
	if (value >= f->best[1].value) {
		f->best[1].round = f->best[2].round = round;
		f->best[1].value = f->best[2].value = value;
	} else if (value >= f->best[2].value) {
		f->best[2].round = round;
		f->best[2].value = value;
	}
	filter_age(f, round, value);
}

static uint32_t
max_bw(const struct qp_tcp_conn *c)
{
	return c->cc.bbr.bw.best[0].value;
}

static bool
full_bw_reached(const struct qp_tcp_conn *c)
{
	return c->cc.bbr.full_bw_count >= FULL_BW_COUNT;
}

static uint32_t
pacing_gain(const struct qp_tcp_conn *c)
{
	switch (c->cc.bbr.mode) {
	case STARTUP:
		return HIGH_GAIN;
	case DRAIN:
		return DRAIN_GAIN;
	case PROBE_BW:
		return cycle_gain[c->cc.bbr.phase];
	default:
		return UNIT;
	}
}

static uint32_t
cwnd_gain(const struct qp_tcp_conn *c)
{
	switch (c->cc.bbr.mode) {
	case STARTUP:
	case DRAIN:
		return HIGH_GAIN;
	case PROBE_BW:
		return CWND_GAIN;
	default:
		return UNIT;
	}
}

/* What the path holds, times a gain; three super-segments more, for what is on its way in the hosts. */
static uint32_t
inflight(const struct qp_tcp_conn *c, uint32_t gain)
{
	uint64_t bdp;

	if (c->cc.bbr.min_rtt_us == 0)
		return qp_tcp_initial_window(qp_tcp_mss(c));
	bdp = ((uint64_t)max_bw(c) << BW_SHIFT) * c->cc.bbr.min_rtt_us / 1000000 * gain / UNIT;
	return (uint32_t)qp_min(bdp + 3 * qp_tcp_pacing_quantum(c), UINT32_C(1) << 30);
}

static void
set_rate(struct qp_tcp_conn *c, uint32_t bw, uint32_t gain)
{
	/* 1 % below the estimate, so that the queue that it made can drain. */
	uint64_t rate = (uint64_t)bw * gain / UNIT * 99 / 100;

	if (full_bw_reached(c) || rate > c->cc.bbr.rate)
		c->cc.bbr.rate = (uint32_t)qp_min(qp_max(rate, 1), UINT32_MAX);
}

/* The initial window a round trip, before there is a bandwidth. */
static void
set_first_rate(struct qp_tcp_conn *c)
{
	uint64_t rtt = c->srtt_ns != 0 ? c->srtt_ns : QP_MS_NS;
	uint64_t bw = (uint64_t)c->cwnd * QP_SEC_NS / rtt >> BW_SHIFT;

	if (c->srtt_ns != 0)
		c->cc.bbr.flags |= HAS_RTT;
	c->cc.bbr.rate = 0;
	set_rate(c, (uint32_t)qp_min(bw, UINT32_MAX), HIGH_GAIN);
}

static void
init(struct qp_tcp_conn *c)
{
	c->cwnd = qp_tcp_initial_window(qp_tcp_mss(c));
	c->ssthresh = UINT32_MAX / 2;
	c->cc.bbr.next_round_delivered = c->delivered;
	if (c->srtt_ns != 0 && !(c->flags & (QP_TF_SYN_RTX | QP_TF_COOKIE)))
		c->cc.bbr.min_rtt_us = (uint32_t)qp_max(c->srtt_ns / 1000, 1);
	c->cc.bbr.min_rtt_ms = qp_tcp_now_ms(c->tcp);
	set_first_rate(c);
}

static void
enter_probe_bw(struct qp_tcp_conn *c, uint64_t now_ns)
{
	c->cc.bbr.mode = PROBE_BW;
	/* Any phase but the one that drains, so that flows do not probe together. */
	c->cc.bbr.phase = (uint8_t)(2 + (c->tcp->env.random(c->tcp->env.random_ctx) % (CYCLE - 1))) % CYCLE;
	c->cc.bbr.cycle_us = (uint32_t)(now_ns / 1000);
}

static void
update_round(struct qp_tcp_conn *c, const struct qp_tcp_cc_ack *a)
{
	c->cc.bbr.flags &= ~ROUND_START;
	if (a->interval_ns == 0 || seq_lt(a->prior_delivered, c->cc.bbr.next_round_delivered))
		return;
	c->cc.bbr.next_round_delivered = c->delivered;
	c->cc.bbr.round++;
	c->cc.bbr.flags |= ROUND_START;
	c->cc.bbr.flags &= ~PACKET_CONSERVATION;
}

static uint32_t
sampled_bw(const struct qp_tcp_cc_ack *a)
{
	uint64_t per_s = a->rate_delivered * QP_SEC_NS / qp_max(a->interval_ns, 1);

	return (uint32_t)qp_min(per_s >> BW_SHIFT, UINT32_MAX);
}

static void
update_bw(struct qp_tcp_conn *c, const struct qp_tcp_cc_ack *a)
{
	uint32_t bw;

	if (a->interval_ns == 0)
		return;
	bw = sampled_bw(a);
	/* An application that had little to send says nothing, unless it shows more than was known. */
	if (!a->app_limited || bw >= max_bw(c))
		filter_take(&c->cc.bbr.bw, c->cc.bbr.round, bw);
}

static bool
phase_is_over(const struct qp_tcp_conn *c, const struct qp_tcp_cc_ack *a)
{
	uint32_t gain = cycle_gain[c->cc.bbr.phase];
	bool full = (uint32_t)(a->now_ns / 1000) - c->cc.bbr.cycle_us > c->cc.bbr.min_rtt_us;
	uint32_t before = a->in_flight + a->delivered;

	if (gain == UNIT)
		return full;
	if (gain > UNIT)
		return full && (a->lost > 0 || before >= inflight(c, gain));
	return full || before <= inflight(c, UNIT);
}

static void
update_cycle(struct qp_tcp_conn *c, const struct qp_tcp_cc_ack *a)
{
	if (c->cc.bbr.mode != PROBE_BW || !phase_is_over(c, a))
		return;
	c->cc.bbr.phase = (c->cc.bbr.phase + 1) % CYCLE;
	c->cc.bbr.cycle_us = (uint32_t)(a->now_ns / 1000);
}

/* A plateau: three rounds without a quarter more. */
static void
check_full_bw(struct qp_tcp_conn *c, const struct qp_tcp_cc_ack *a)
{
	if (full_bw_reached(c) || !(c->cc.bbr.flags & ROUND_START) || a->app_limited)
		return;
	if (max_bw(c) >= (uint64_t)c->cc.bbr.full_bw * 5 / 4) {
		c->cc.bbr.full_bw = max_bw(c);
		c->cc.bbr.full_bw_count = 0;
		return;
	}
	c->cc.bbr.full_bw_count++;
}

static void
check_drain(struct qp_tcp_conn *c, const struct qp_tcp_cc_ack *a)
{
	if (c->cc.bbr.mode == STARTUP && full_bw_reached(c)) {
		c->cc.bbr.mode = DRAIN;
		c->ssthresh = inflight(c, UNIT);
	}
	if (c->cc.bbr.mode == DRAIN && a->in_flight <= inflight(c, UNIT))
		enter_probe_bw(c, a->now_ns);
}

static void
leave_probe_rtt(struct qp_tcp_conn *c, const struct qp_tcp_cc_ack *a)
{
	c->cc.bbr.min_rtt_ms = (uint32_t)(a->now_ns / QP_MS_NS);
	c->cwnd = qp_max(c->cwnd, c->cc.bbr.prior_cwnd);
	if (full_bw_reached(c))
		enter_probe_bw(c, a->now_ns);
	else
		c->cc.bbr.mode = STARTUP;
}

static void
probe_rtt(struct qp_tcp_conn *c, const struct qp_tcp_cc_ack *a)
{
	uint32_t now_ms = (uint32_t)(a->now_ns / QP_MS_NS);

	/* A small window is the probe's, no sign of the path's bandwidth. */
	qp_tcp_app_limited(c);
	if (c->cc.bbr.probe_rtt_done_ms == 0) {
		if (a->in_flight > MIN_PIPE * qp_tcp_mss(c))
			return;
		c->cc.bbr.probe_rtt_done_ms = qp_max(now_ms + PROBE_RTT_MS, 1u);
		c->cc.bbr.flags &= ~PROBE_RTT_ROUND_DONE;
		c->cc.bbr.next_round_delivered = c->delivered;
		return;
	}
	if (c->cc.bbr.flags & ROUND_START)
		c->cc.bbr.flags |= PROBE_RTT_ROUND_DONE;
	if ((c->cc.bbr.flags & PROBE_RTT_ROUND_DONE) && seq_leq(c->cc.bbr.probe_rtt_done_ms, now_ms))
		leave_probe_rtt(c, a);
}

static void
update_min_rtt(struct qp_tcp_conn *c, const struct qp_tcp_cc_ack *a)
{
	uint32_t now_ms = (uint32_t)(a->now_ns / QP_MS_NS);
	bool expired = now_ms - c->cc.bbr.min_rtt_ms > MIN_RTT_MS;
	uint32_t us = (uint32_t)qp_min(a->rtt_ns / 1000, UINT32_MAX);

	if (us != 0 && (c->cc.bbr.min_rtt_us == 0 || us <= c->cc.bbr.min_rtt_us || expired)) {
		c->cc.bbr.min_rtt_us = us;
		c->cc.bbr.min_rtt_ms = now_ms;
	}
	if (expired && !(c->cc.bbr.flags & IDLE_RESTART) && c->cc.bbr.mode != PROBE_RTT) {
		c->cc.bbr.mode = PROBE_RTT;
		if (!(c->cc.bbr.flags & WAS_RECOVERY))
			c->cc.bbr.prior_cwnd = c->cwnd;
		c->cc.bbr.probe_rtt_done_ms = 0;
	}
	if (c->cc.bbr.mode == PROBE_RTT)
		probe_rtt(c, a);
	if (a->delivered > 0)
		c->cc.bbr.flags &= ~IDLE_RESTART;
}

/* In recovery: at first one byte out for each in, then the model again. True: cwnd is settled. */
static bool
conserve(struct qp_tcp_conn *c, const struct qp_tcp_cc_ack *a)
{
	uint8_t *flags = &c->cc.bbr.flags;

	if (a->lost > 0)
		c->cwnd = qp_max(c->cwnd > a->lost ? c->cwnd - a->lost : 0, qp_tcp_mss(c));
	if (a->recovery && !(*flags & WAS_RECOVERY)) {
		*flags |= PACKET_CONSERVATION | WAS_RECOVERY;
		c->cc.bbr.next_round_delivered = c->delivered;
		c->cwnd = a->in_flight + a->delivered;
	} else if (!a->recovery && (*flags & WAS_RECOVERY)) {
		*flags &= ~(PACKET_CONSERVATION | WAS_RECOVERY);
		c->cwnd = qp_max(c->cwnd, c->cc.bbr.prior_cwnd);
	}
	if (!(*flags & PACKET_CONSERVATION))
		return false;
	c->cwnd = qp_max(c->cwnd, a->in_flight + a->delivered);
	return true;
}

static void
set_cwnd(struct qp_tcp_conn *c, const struct qp_tcp_cc_ack *a)
{
	uint32_t target = inflight(c, cwnd_gain(c)), mss = qp_tcp_mss(c);

	if (a->delivered > 0 && !conserve(c, a)) {
		if (full_bw_reached(c))
			c->cwnd = qp_min(c->cwnd + a->delivered, target);
		else if (c->cwnd < target || c->delivered < qp_tcp_initial_window(mss))
			c->cwnd += a->delivered;
	}
	c->cwnd = qp_max(c->cwnd, MIN_PIPE * mss);
	if (c->cc.bbr.mode == PROBE_RTT)
		c->cwnd = qp_min(c->cwnd, MIN_PIPE * mss);
	c->cwnd = qp_min(c->cwnd, UINT32_C(1) << 30);
}

static void
acked(struct qp_tcp_conn *c, const struct qp_tcp_cc_ack *a)
{
	if (!(c->cc.bbr.flags & HAS_RTT) && c->srtt_ns != 0)
		set_first_rate(c);
	update_round(c, a);
	update_bw(c, a);
	update_cycle(c, a);
	check_full_bw(c, a);
	check_drain(c, a);
	update_min_rtt(c, a);
	set_rate(c, max_bw(c), pacing_gain(c));
	set_cwnd(c, a);
}

/* Loss alone changes nothing but what recovery itself needs. */
static void
congested(struct qp_tcp_conn *c)
{
	if (!(c->cc.bbr.flags & WAS_RECOVERY) && c->cc.bbr.mode != PROBE_RTT)
		c->cc.bbr.prior_cwnd = c->cwnd;
	else
		c->cc.bbr.prior_cwnd = qp_max(c->cc.bbr.prior_cwnd, c->cwnd);
}

static void
timeout(struct qp_tcp_conn *c)
{
	c->cc.bbr.flags |= WAS_RECOVERY;
	c->cc.bbr.flags &= ~PACKET_CONSERVATION;
	c->cc.bbr.full_bw = 0;
	c->cwnd = qp_tcp_mss(c);
}

static void
undo(struct qp_tcp_conn *c)
{
	c->cc.bbr.full_bw = 0; /* a spurious loss may have hidden growth */
	c->cc.bbr.flags &= ~(PACKET_CONSERVATION | WAS_RECOVERY);
}

/* The model is kept; sending begins at the estimate, not with a burst. */
static void
idle(struct qp_tcp_conn *c)
{
	c->cc.bbr.flags |= IDLE_RESTART;
	if (c->cc.bbr.mode == PROBE_BW)
		set_rate(c, max_bw(c), UNIT);
}

static uint64_t
rate(const struct qp_tcp_conn *c)
{
	return (uint64_t)c->cc.bbr.rate << BW_SHIFT;
}

const struct qp_tcp_cc qp_tcp_bbr = {
	.name = "bbr",
	.owns_cwnd = true,
	.init = init,
	.acked = acked,
	.congested = congested,
	.timeout = timeout,
	.undo = undo,
	.idle = idle,
	.rate = rate,
};
