/* SPDX-License-Identifier: Apache-2.0 */
/* Arrival times: fixed in advance, by their seed. */
#include "bench/schedule.h"

#include <criterion/criterion.h>
#include <math.h>

#define S_NS 1000000000ull

Test(schedule, even_takes_turns_with_the_other_shares)
{
	struct qpb_schedule a, b;
	uint64_t at;

	qpb_schedule_init(&a, QPB_EVEN, 1000, 0, 2, 1, 5 * S_NS);
	qpb_schedule_init(&b, QPB_EVEN, 1000, 1, 2, 1, 5 * S_NS);
	for (unsigned i = 0; i < 1000; i++) {
		cr_assert(qpb_schedule_take(&a, UINT64_MAX, &at));
		cr_assert_eq(at, 5 * S_NS + i * 2000000ull);
		cr_assert(qpb_schedule_take(&b, UINT64_MAX, &at));
		cr_assert_eq(at, 5 * S_NS + i * 2000000ull + 1000000);
	}
}

Test(schedule, before_its_time_none_is_taken)
{
	struct qpb_schedule s;
	uint64_t at;

	qpb_schedule_init(&s, QPB_EVEN, 1, 0, 1, 1, S_NS);
	cr_assert_not(qpb_schedule_take(&s, S_NS - 1, &at));
	cr_assert(qpb_schedule_take(&s, S_NS, &at));
	cr_assert_not(qpb_schedule_take(&s, 2 * S_NS - 1, &at));
	cr_assert_eq(qpb_schedule_peek(&s), 2 * S_NS);
}

Test(schedule, late_takers_get_the_times_of_the_plan)
{
	struct qpb_schedule prompt, late;
	uint64_t a, b;

	qpb_schedule_init(&prompt, QPB_POISSON, 5000, 0, 1, 42, 0);
	qpb_schedule_init(&late, QPB_POISSON, 5000, 0, 1, 42, 0);
	for (unsigned i = 0; i < 1000; i++) {
		cr_assert(qpb_schedule_take(&prompt, qpb_schedule_peek(&prompt), &a));
		cr_assert(qpb_schedule_take(&late, 1000 * S_NS, &b));
		cr_assert_eq(a, b);
	}
}

Test(schedule, another_seed_or_share_has_other_times)
{
	struct qpb_schedule a, b, c;

	qpb_schedule_init(&a, QPB_POISSON, 5000, 0, 1, 42, 0);
	qpb_schedule_init(&b, QPB_POISSON, 5000, 0, 1, 43, 0);
	qpb_schedule_init(&c, QPB_POISSON, 5000, 1, 2, 42, 0);
	cr_assert_neq(qpb_schedule_peek(&a), qpb_schedule_peek(&b));
	cr_assert_neq(qpb_schedule_peek(&a), qpb_schedule_peek(&c));
}

/* Mean and variance of an exponential distribution are its gap and the gap squared. */
Test(schedule, poisson_gaps_are_exponential)
{
	enum { N = 100000 };
	struct qpb_schedule s;
	double sum = 0, squares = 0, mean;
	uint64_t at, last = 0, below = 0;

	qpb_schedule_init(&s, QPB_POISSON, 1000000, 0, 1, 3, 0);
	for (unsigned i = 0; i < N; i++) {
		double gap;

		cr_assert(qpb_schedule_take(&s, UINT64_MAX, &at));
		gap = (double)(at - last);
		last = at;
		sum += gap;
		squares += gap * gap;
		below += gap < 1000 * log(2);
	}
	mean = sum / N;
	cr_assert_float_eq(mean, 1000, 15);
	cr_assert_float_eq(sqrt(squares / N - mean * mean), 1000, 30);
	cr_assert_float_eq((double)below / N, 0.5, 0.01);
}
