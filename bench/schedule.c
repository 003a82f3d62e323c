/* SPDX-License-Identifier: Apache-2.0 */
/* Arrival times, even or Poisson. Pure; any thread, one for each schedule. */
#include "bench/schedule.h"

#include <math.h>

static void
advance(struct qpb_schedule *s)
{
	s->next_ns += s->arrivals == QPB_POISSON ? -log(qpb_rng_unit(&s->rng)) * s->gap_ns
						 : s->gap_ns;
}

void
qpb_schedule_init(struct qpb_schedule *s, enum qpb_arrivals arrivals, double rate, unsigned share,
	unsigned shares, uint64_t seed, uint64_t origin_ns)
{
	*s = (struct qpb_schedule) {.arrivals = arrivals, .origin_ns = origin_ns};
	qpb_rng_init(&s->rng, seed, 0x5c4ed00000000000u + share);
	if (arrivals == QPB_CLOSED)
		return;
	s->gap_ns = 1e9 * shares / rate;
	if (arrivals == QPB_EVEN)
		s->next_ns = s->gap_ns * share / shares;
	else
		advance(s);
}

bool
qpb_schedule_take(struct qpb_schedule *s, uint64_t now_ns, uint64_t *at_ns)
{
	uint64_t at = qpb_schedule_peek(s);

	if (at > now_ns)
		return false;
	*at_ns = at;
	advance(s);
	return true;
}

uint64_t
qpb_schedule_skip(struct qpb_schedule *s, uint64_t until_ns)
{
	uint64_t n = 0;

	while (qpb_schedule_peek(s) < until_ns) {
		advance(s);
		n++;
	}
	return n;
}
