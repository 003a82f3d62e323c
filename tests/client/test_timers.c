/* SPDX-License-Identifier: Apache-2.0 */
#include "client/timers.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#define N 2000

struct item {
	struct qpc_timer timer;
	unsigned fired;
};

static struct qpc_timers heap;
static struct item items[N];
static uint64_t last_at;
static unsigned total;

static void
on_fire(struct qpc_timer *t)
{
	struct item *i = (struct item *)t;

	cr_assert(!t->armed);
	cr_assert(t->at_ns >= last_at, "fired out of order");
	last_at = t->at_ns;
	i->fired++;
	total++;
}

static void
reset(void)
{
	heap.root = NULL;
	last_at = 0;
	total = 0;
	for (int i = 0; i < N; i++)
		items[i] = (struct item) {.timer.fire = on_fire};
}

Test(timers, empty_next_is_never)
{
	reset();
	cr_assert_eq(qpc_timers_next(&heap), UINT64_MAX);
	qpc_timers_run(&heap, UINT64_MAX);
	qpc_timer_cancel(&heap, &items[0].timer);
}

Test(timers, many_run_fires_in_order_and_once)
{
	reset();
	srand(1);
	for (int i = 0; i < N; i++)
		qpc_timer_arm(&heap, &items[i].timer, (uint64_t)rand() % 500 + 1);
	for (uint64_t now = 0; now <= 500; now += 7) {
		qpc_timers_run(&heap, now);
		cr_assert(qpc_timers_next(&heap) > now);
	}
	qpc_timers_run(&heap, 501);
	cr_assert_eq(total, N);
	for (int i = 0; i < N; i++)
		cr_assert_eq(items[i].fired, 1);
}

/* Against a plain array: the same operations, the same next deadline after each. */
Test(timers, random_arm_cancel_rearm_matches_a_list)
{
	uint64_t at[64];

	reset();
	srand(2);
	for (int i = 0; i < 64; i++)
		at[i] = UINT64_MAX;
	for (int n = 0; n < 50000; n++) {
		int i = rand() % 64;
		uint64_t next = UINT64_MAX;

		if (rand() % 3 == 0) {
			qpc_timer_cancel(&heap, &items[i].timer);
			at[i] = UINT64_MAX;
		} else {
			at[i] = (uint64_t)rand() % 1000;
			qpc_timer_arm(&heap, &items[i].timer, at[i]);
		}
		for (int k = 0; k < 64; k++)
			next = at[k] < next ? at[k] : next;
		cr_assert_eq(qpc_timers_next(&heap), next);
		cr_assert_eq(items[i].timer.armed, at[i] != UINT64_MAX);
	}
}

static void
on_fire_cancel_next(struct qpc_timer *t)
{
	struct item *i = (struct item *)t;

	i->fired++;
	qpc_timer_cancel(&heap, &(i + 1)->timer);
}

Test(timers, callback_cancels_another_that_is_due)
{
	reset();
	items[0].timer.fire = on_fire_cancel_next;
	qpc_timer_arm(&heap, &items[0].timer, 1);
	qpc_timer_arm(&heap, &items[1].timer, 2);
	qpc_timers_run(&heap, 10);
	cr_assert_eq(items[0].fired, 1);
	cr_assert_eq(items[1].fired, 0);
	cr_assert_eq(qpc_timers_next(&heap), UINT64_MAX);
}
