/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HyStart++ (RFC 9406): slow start ends when the round trip grows, before the
 * queue overflows. Pure; names are the RFC's. The limit of L segments an ACK is
 * not kept: a receiver whose system joins segments acknowledges 64 KiB at once,
 * and what goes out for it is one super-segment either way.
 */
#include "dataplane/tcp/cc.h"

#include "dataplane/tcp/seq.h"

#define MIN_RTT_THRESH_US   4000u
#define MAX_RTT_THRESH_US   16000u
#define MIN_RTT_DIVISOR     8u
#define N_RTT_SAMPLE        8u
#define CSS_GROWTH_DIVISOR  4u
#define CSS_ROUNDS          5u
#define TRAIN_GAP_US        2000u

void
qp_tcp_hystart_begin(struct qp_tcp_hystart *h, uint32_t snd_nxt)
{
	*h = (struct qp_tcp_hystart) {.window_end = snd_nxt};
}

static void
start_round(struct qp_tcp_hystart *h, uint32_t snd_nxt)
{
	h->last_min_us = h->min_us;
	h->min_us = 0;
	h->samples = 0;
	h->window_end = snd_nxt;
}

static void
sample(struct qp_tcp_hystart *h, uint32_t rtt_us)
{
	if (rtt_us == 0)
		return;
	if (h->min_us == 0 || rtt_us < h->min_us)
		h->min_us = rtt_us;
	if (h->samples < UINT8_MAX)
		h->samples++;
}

/* Section 4.2: has the round trip grown? Then carefully, until it is certain. */
static void
judge(struct qp_tcp_hystart *h)
{
	uint32_t thresh;

	if (h->samples < N_RTT_SAMPLE || h->min_us == 0)
		return;
	if (h->phase == QP_HYSTART_CSS) {
		if (h->min_us < h->css_base_us)
			h->phase = QP_HYSTART_SS; /* it was a passing one */
		return;
	}
	if (h->last_min_us == 0)
		return;
	thresh = (uint32_t)qp_max(MIN_RTT_THRESH_US,
		qp_min(h->last_min_us / MIN_RTT_DIVISOR, MAX_RTT_THRESH_US));
	if (h->min_us >= h->last_min_us + thresh) {
		h->css_base_us = h->min_us;
		h->css_rounds = 0;
		h->phase = QP_HYSTART_CSS;
	}
}

uint32_t
qp_tcp_hystart_grow(struct qp_tcp_hystart *h, uint32_t acked, uint32_t rtt_us, uint32_t snd_una,
	uint32_t snd_nxt, bool *leave)
{
	*leave = false;
	if (h->phase == QP_HYSTART_DONE)
		return acked;
	sample(h, rtt_us);
	judge(h);
	if (h->phase == QP_HYSTART_CSS)
		acked /= CSS_GROWTH_DIVISOR;
	if (seq_leq(h->window_end, snd_una)) {
		if (h->phase == QP_HYSTART_CSS && ++h->css_rounds >= CSS_ROUNDS) {
			h->phase = QP_HYSTART_DONE;
			*leave = true;
		}
		start_round(h, snd_nxt);
	}
	return acked;
}

/*
 * Not in RFC 9406, but in the HyStart before it (Ha and Rhee, 2011) and in Linux.
 * A round trip that has grown shows a round too late where the queue is no
 * longer than the path: what its first ACKs measure left when that was empty.
 */
bool
qp_tcp_hystart_train(struct qp_tcp_hystart *h, uint32_t now_us, uint32_t full_us)
{
	if (h->phase == QP_HYSTART_DONE)
		return false;
	if (h->train_round != h->window_end || now_us - h->train_last_us > TRAIN_GAP_US) {
		h->train_round = h->window_end;
		h->train_start_us = now_us;
	}
	h->train_last_us = now_us;
	if (full_us == 0 || now_us - h->train_start_us <= full_us)
		return false;
	h->phase = QP_HYSTART_DONE;
	return true;
}
