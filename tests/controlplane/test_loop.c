/* SPDX-License-Identifier: Apache-2.0 */
/* The event loop: timers in order, watches that go while they are called, hooks. */
#include <criterion/criterion.h>
#include <string.h>
#include <unistd.h>

#include "controlplane/loop.h"

static struct qp_loop *loop;
static char order[16];
static unsigned norder;

static void
start(void)
{
	loop = qp_loop_new();
}

static void
stop(void)
{
	qp_loop_free(loop);
}

TestSuite(loop, .init = start, .fini = stop, .timeout = 30);

static void
note(void *ctx)
{
	order[norder++] = *(const char *)ctx;
}

Test(loop, timers_fire_by_time_not_by_order)
{
	struct qp_loop_timer a = {.fire = note, .ctx = "a"}, b = {.fire = note, .ctx = "b"},
			     c = {.fire = note, .ctx = "c"};

	qp_loop_timer_set(loop, &a, 20);
	qp_loop_timer_set(loop, &b, 5);
	qp_loop_timer_set(loop, &c, 1);
	qp_loop_timer_set(loop, &c, 10); /* moved */
	while (a.armed)
		qp_loop_turn(loop, -1);
	cr_expect_str_eq(order, "bca");
}

Test(loop, cancelled_timer_does_not_fire)
{
	struct qp_loop_timer a = {.fire = note, .ctx = "a"}, b = {.fire = note, .ctx = "b"};

	qp_loop_timer_set(loop, &a, 1);
	qp_loop_timer_set(loop, &b, 5);
	qp_loop_timer_cancel(loop, &a);
	qp_loop_timer_cancel(loop, &a);
	while (b.armed)
		qp_loop_turn(loop, -1);
	cr_expect_str_eq(order, "b");
}

static void
fire_and_set_again(void *ctx)
{
	struct qp_loop_timer *t = ctx;

	order[norder++] = 'x';
	if (norder < 3)
		qp_loop_timer_set(loop, t, 0);
}

Test(loop, timer_that_sets_itself_waits_for_the_next_turn)
{
	struct qp_loop_timer t = {.fire = fire_and_set_again};

	t.ctx = &t;
	qp_loop_timer_set(loop, &t, 0);
	qp_loop_turn(loop, 10);
	cr_expect_eq(norder, 1u);
	while (t.armed)
		qp_loop_turn(loop, 10);
	cr_expect_eq(norder, 3u);
}

/* Two watches that are ready in one batch; whichever comes first removes the other. */
struct pair {
	struct qp_watch mine;
	struct pair *other;
	unsigned called;
};

static void
remove_other(void *ctx, uint32_t events)
{
	struct pair *p = ctx;

	p->called++;
	qp_loop_unwatch(loop, &p->other->mine);
	memset(&p->other->mine, 0xee, sizeof(p->other->mine)); /* as if it were freed */
	qp_loop_unwatch(loop, &p->mine);
}

Test(loop, watch_removed_in_the_batch_is_not_called)
{
	struct pair a = {0}, b = {.other = &a};
	int p[2], q[2];

	a.other = &b;
	cr_assert_eq(pipe(p) | pipe(q), 0);
	cr_assert_eq(write(p[1], "x", 1) + write(q[1], "x", 1), 2);
	cr_assert_eq(qp_loop_watch(loop, &a.mine, p[0], EPOLLIN, remove_other, &a), 0);
	cr_assert_eq(qp_loop_watch(loop, &b.mine, q[0], EPOLLIN, remove_other, &b), 0);
	qp_loop_turn(loop, 1000);
	cr_expect_eq(a.called + b.called, 1u);
}

static bool busy;

static bool
prepare(void *ctx)
{
	order[norder++] = 'p';
	return busy;
}

static void
check(void *ctx)
{
	order[norder++] = 'c';
}

Test(loop, hook_with_work_forbids_the_sleep)
{
	struct qp_loop_hook hook = {.prepare = prepare, .check = check};
	uint64_t start_ns = qp_now_ns();

	qp_loop_hook_add(loop, &hook);
	busy = true;
	qp_loop_turn(loop, 10000);
	cr_expect_lt(qp_now_ns() - start_ns, 5000000000u);
	busy = false;
	qp_loop_turn(loop, 1);
	cr_expect_str_eq(order, "pcpc");
	qp_loop_hook_remove(loop, &hook);
}
