/* SPDX-License-Identifier: Apache-2.0 */
/* What workers write for each packet lies in cache lines of their own. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "common/shared.h"
#include "dataplane/lines.h"
#include "dataplane/nic/handoff.h"
#include "dataplane/nic/placement.h"
#include "dataplane/nic/strangers.h"
#include "dataplane/timer.h"

#define WORKERS 16u

static uint64_t
line(const void *p)
{
	return (uint64_t)(uintptr_t)p / QP_LINE;
}

Test(layout, memory_in_lines_begins_and_ends_with_them)
{
	for (size_t n = 1; n < 300; n++) {
		char *p = qp_lines_alloc(n);

		cr_assert_not_null(p);
		cr_assert_eq((uintptr_t)p % QP_LINE, 0u);
		for (size_t i = 0; i < (n + 63) / 64 * 64; i++)
			cr_assert_eq(p[i], 0);
		free(p);
	}
}

/* The main thread makes them one after the other. */
Test(layout, what_workers_own_on_the_heap_shares_no_line)
{
	struct qp_wheel *wheel[WORKERS];
	struct qp_strangers *strangers[WORKERS];
	struct qp_placement placement[WORKERS];

	for (unsigned i = 0; i < WORKERS; i++) {
		wheel[i] = qp_wheel_new(1);
		strangers[i] = qp_strangers_new(i);
		cr_assert(wheel[i] != NULL && strangers[i] != NULL);
		cr_assert_eq(qp_placement_init(&placement[i], i), 0);
		cr_expect_eq((uintptr_t)wheel[i] % QP_LINE, 0u);
		cr_expect_eq((uintptr_t)strangers[i] % QP_LINE, 0u);
		cr_expect_eq((uintptr_t)placement[i].entries % QP_LINE, 0u);
	}
	for (unsigned i = 0; i < WORKERS; i++) {
		qp_wheel_free(wheel[i]);
		qp_strangers_free(strangers[i]);
		qp_placement_fini(&placement[i]);
	}
}

Test(layout, counters_of_workers_share_no_line)
{
	const uint64_t bytes = qp_shared_bytes(WORKERS, 640);
	struct qp_gen_shared *s = aligned_alloc(64, (bytes + 63) / 64 * 64);

	cr_assert_not_null(s);
	qp_shared_init(s, WORKERS, 640);
	for (uint32_t i = 0; i + 1 < WORKERS; i++) {
		const char *end = (const char *)(qp_shared_worker(s, i) + 1);

		cr_expect_lt(line(end - 1), line(qp_shared_worker(s, i + 1)));
		cr_expect_lt(line((const char *)(&s->door[i] + 1) - 1), line(&s->door[i + 1]));
	}
	free(s);
}

Test(layout, a_ring_has_a_line_for_each_side_and_none_for_neighbours)
{
	const uint64_t at = 1 << 20;

	for (uint32_t p = 0; p < QP_NIC_MAX_QUEUES; p++) {
		const struct qp_handoff_ring *r = qp_handoff_ring(at, WORKERS, 1, p, 3);
		const struct qp_handoff_ring *next = qp_handoff_ring(at, WORKERS, 1, p, 4);

		cr_expect_neq(line(&r->tail), line(&r->head));
		cr_expect_eq(line(&r->tail), line(&r->head_seen), "both the producer's");
		cr_expect_neq(line(&r->head), line(r->slot));
		cr_expect_lt(line((const char *)(r + 1) - 1), line(next));
	}
	for (uint32_t i = 0; i + 1 < WORKERS; i++)
		cr_expect_lt(line(qp_handoff_door(at, WORKERS, i)), line(qp_handoff_door(at, WORKERS, i + 1)));
}
