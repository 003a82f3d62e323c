/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_BENCH_SCHEDULE_H
#define QP_BENCH_SCHEDULE_H

#include <stdbool.h>
#include <stdint.h>

#include "bench/rng.h"

/*
 * When requests are to begin, fixed before anything is sent: an open loop. What
 * cannot begin in time keeps its time, and its latency counts from there, so that
 * a gateway that stalls is not asked more gently (no coordinated omission).
 * Owner: one lcore.
 */
enum qpb_arrivals {
	QPB_CLOSED, /* no times: the next begins when one ends */
	QPB_EVEN,
	QPB_POISSON,
};

struct qpb_schedule {
	enum qpb_arrivals arrivals;
	struct qpb_rng rng;
	double gap_ns;      /* mean */
	double next_ns;     /* since `origin_ns`; a double holds 104 days in whole ns */
	uint64_t origin_ns;
};

/*
 * `rate` a second in all, of which this is share `share` of `shares`. Poisson
 * streams of lcores add up to one; even ones take turns. rate > 0 unless closed.
 */
void qpb_schedule_init(struct qpb_schedule *s, enum qpb_arrivals arrivals, double rate,
	unsigned share, unsigned shares, uint64_t seed, uint64_t origin_ns);

/* When the next one is to begin; the same until qpb_schedule_take. */
static inline uint64_t
qpb_schedule_peek(const struct qpb_schedule *s)
{
	return s->origin_ns + (uint64_t)s->next_ns;
}

/* True when it is due: `*at_ns` is its time, and the next one's turn comes. Not for a closed loop. */
bool qpb_schedule_take(struct qpb_schedule *s, uint64_t now_ns, uint64_t *at_ns);

/* How many are due before `until_ns` and not taken; takes them. */
uint64_t qpb_schedule_skip(struct qpb_schedule *s, uint64_t until_ns);

#endif
