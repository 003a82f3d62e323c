/* SPDX-License-Identifier: Apache-2.0 */
/* The port owner's process, with a program beside this one that fails at once. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "controlplane/owner.h"
#include "tests/common/support.h"

static struct qp_loop *loop;
static struct qp_instance instance;
static char told[256];

static void
start(void)
{
	loop = qp_loop_new();
	cr_assert_not_null(loop);
	snprintf(instance.dir, sizeof(instance.dir), "%s", scratch_make());
	snprintf(instance.name, sizeof(instance.name), "quicport-00000000");
}

static void
stop(void)
{
	qp_loop_free(loop);
	scratch_remove();
}

TestSuite(owner, .init = start, .fini = stop, .timeout = 60);

static void
on_ready(void *ctx)
{
	(void)ctx;
	cr_assert_fail("it cannot be ready");
}

static void
on_failed(void *ctx, const char *why)
{
	(void)ctx;
	snprintf(told, sizeof(told), "%s", why);
}

static void
on_ended(void *ctx, const char *how)
{
	(void)ctx;
	cr_expect_str_eq(how, "exited with status 1");
	qp_loop_stop(loop);
}

/* On one processor, where anybody else goes first: a child ends before this process goes on. */
static void
let_children_go_first(void)
{
	const struct sched_param none = {0};
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(sched_getcpu(), &one);
	cr_assert_eq(sched_setaffinity(0, sizeof(one), &one), 0);
	cr_assert_eq(sched_setscheduler(0, SCHED_IDLE | SCHED_RESET_ON_FORK, &none), 0);
}

static void
check_last_words(void)
{
	struct qp_owner *o = NULL;
	struct qp_errmsg msg;

	cr_assert_eq(qp_owner_new(&(struct qp_owner_config) {.loop = loop,
					  .instance = &instance,
					  .memory_mib = 64,
					  .ready = on_ready,
					  .failed = on_failed,
					  .ended = on_ended},
			     &o, &msg),
		0, "%s", msg.text);
	qp_loop_run(loop);
	cr_expect_str_eq(told, "there is no memory");
	cr_expect_not(qp_owner_alive(o));
	cr_expect_eq(instance.nprocesses, 0u);
	qp_owner_free(o);
}

Test(owner, one_that_fails_tells_why)
{
	check_last_words();
}

Test(owner, one_that_has_failed_before_it_is_looked_at_tells_why)
{
	let_children_go_first();
	check_last_words();
}
