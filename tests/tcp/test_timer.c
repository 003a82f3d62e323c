/* SPDX-License-Identifier: Apache-2.0 */
/* The timer wheel: never early, at most a tick late, whatever is armed, moved and cancelled. */
#include "dataplane/timer.h"

#include <criterion/criterion.h>
#include <stddef.h>
#include <stdlib.h>

#define TICK ((uint64_t)QP_TIMER_TICK_NS)
#define SECOND UINT64_C(1000000000)

struct probe {
	struct qp_timer t;
	uint64_t fired_at;
	unsigned fires;
	struct qp_wheel *w;
	struct probe *victim; /* cancelled when this one fires */
	uint64_t rearm_ns;    /* armed again by so much, once, when this one fires */
};

static void
on_fire(struct qp_timer *t, uint64_t now_ns)
{
	struct probe *p = (struct probe *)((char *)t - offsetof(struct probe, t));

	cr_assert(!qp_timer_armed(t));
	p->fired_at = now_ns;
	p->fires++;
	if (p->victim != NULL)
		qp_timer_cancel(p->w, &p->victim->t);
	if (p->rearm_ns != 0) {
		uint64_t at = t->at_ns + p->rearm_ns;

		p->rearm_ns = 0;
		qp_timer_arm(p->w, t, at);
	}
}

static uint64_t
rnd(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

Test(timer, armed_each_distance_fires_within_a_tick)
{
	static const uint64_t ahead[] = {1, TICK - 1, TICK, TICK + 1, 255 * TICK, 256 * TICK,
		256 * TICK + 1, 65535 * TICK, 65536 * TICK, 65537 * TICK + 3, SECOND, 3600 * SECOND,
		(UINT64_C(1) << 24) * TICK + 5, 30 * 86400 * SECOND, 400 * 86400 * SECOND};
	/* Starts that sit right before, at and after the boundaries of each level. */
	static const uint64_t starts[] = {0, 255 * TICK, 256 * TICK - 1, 65535 * TICK + 7,
		((UINT64_C(1) << 24) - 1) * TICK, 123456789123456};

	for (size_t s = 0; s < sizeof(starts) / sizeof(starts[0]); s++) {
		for (size_t i = 0; i < sizeof(ahead) / sizeof(ahead[0]); i++) {
			struct qp_wheel *w = qp_wheel_new(starts[s]);
			struct probe p = {.t.fn = on_fire};
			uint64_t at = starts[s] + ahead[i], now = starts[s];

			qp_timer_arm(w, &p.t, at);
			/* A sleeper: wakes when the wheel says so. */
			while (p.fires == 0) {
				uint64_t next = qp_wheel_next_ns(w);

				cr_assert_geq(next, now);
				cr_assert_lt(next, at + TICK, "start %zu ahead %zu", s, i);
				now = next;
				qp_wheel_advance(w, now);
			}
			cr_assert_geq(p.fired_at, at);
			cr_assert_lt(p.fired_at, at + TICK);
			cr_assert_eq(qp_wheel_next_ns(w), UINT64_MAX);
			qp_wheel_free(w);
		}
	}
}

Test(timer, armed_in_the_past_fires_at_next_advance_only)
{
	struct qp_wheel *w = qp_wheel_new(10 * SECOND);
	struct probe p = {.t.fn = on_fire, .w = w};

	qp_timer_arm(w, &p.t, 3);
	cr_assert_leq(qp_wheel_next_ns(w), 10 * SECOND);
	cr_assert_eq(qp_wheel_advance(w, 10 * SECOND), 1);
	/* One that re-arms itself in the past does not hold the wheel up for ever. */
	p.rearm_ns = 1;
	qp_timer_arm(w, &p.t, 3);
	cr_assert_eq(qp_wheel_advance(w, 10 * SECOND), 1);
	cr_assert_eq(qp_wheel_advance(w, 10 * SECOND), 1);
	cr_assert_eq(qp_wheel_advance(w, 10 * SECOND), 0);
	qp_wheel_free(w);
}

Test(timer, fired_cancels_neighbour_of_same_slot_which_stays_silent)
{
	struct qp_wheel *w = qp_wheel_new(0);
	struct probe a = {.t.fn = on_fire, .w = w}, b = {.t.fn = on_fire, .w = w};

	a.victim = &b;
	b.victim = &a;
	qp_timer_arm(w, &a.t, 5 * TICK);
	qp_timer_arm(w, &b.t, 5 * TICK);
	cr_assert_eq(qp_wheel_advance(w, SECOND), 1);
	cr_assert_eq(a.fires + b.fires, 1);
	cr_assert_eq(qp_wheel_next_ns(w), UINT64_MAX);
	qp_wheel_free(w);
}

Test(timer, rearmed_by_handler_within_the_same_advance_fires_in_it)
{
	struct qp_wheel *w = qp_wheel_new(0);
	struct probe p = {.t.fn = on_fire, .w = w, .rearm_ns = 400 * TICK};

	qp_timer_arm(w, &p.t, 5 * TICK);
	cr_assert_eq(qp_wheel_advance(w, SECOND), 2);
	cr_assert_eq(p.fires, 2);
	qp_wheel_free(w);
}

Test(timer, hundred_thousand_armed_moved_cancelled_fire_on_time)
{
	enum { N = 100000 };
	struct qp_wheel *w = qp_wheel_new(SECOND);
	struct probe *p = calloc(N, sizeof(*p));
	uint64_t *due = calloc(N, sizeof(*due)), seed = 42, now = SECOND;
	unsigned fired = 0, expected = 0;

	for (int i = 0; i < N; i++) {
		p[i].t.fn = on_fire;
		qp_timer_arm(w, &p[i].t, now + rnd(&seed) % (600 * SECOND));
	}
	for (int i = 0; i < N; i++) {
		if (i % 3 == 0) {
			qp_timer_cancel(w, &p[i].t);
			continue;
		}
		if (i % 3 == 1)
			qp_timer_arm(w, &p[i].t, now + rnd(&seed) % (2 * SECOND));
		due[i] = p[i].t.at_ns;
		expected++;
	}
	while (now < 700 * SECOND) {
		uint64_t before = now;

		now += rnd(&seed) % (rnd(&seed) % 64 == 0 ? 20 * SECOND : 3 * TICK) + 1;
		fired += qp_wheel_advance(w, now);
		if (rnd(&seed) % 256 != 0)
			continue;
		for (int i = 0; i < N; i++) {
			if (due[i] == 0 || p[i].fires == 0)
				continue;
			cr_assert_geq(p[i].fired_at, due[i]);
			due[i] = 0;
		}
		(void)before;
	}
	cr_assert_eq(fired, expected);
	for (int i = 0; i < N; i++)
		cr_assert_eq(p[i].fires, i % 3 == 0 ? 0u : 1u);
	qp_wheel_free(w);
	free(p);
	free(due);
}
