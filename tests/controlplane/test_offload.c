/* SPDX-License-Identifier: Apache-2.0 */
/* Work beside the loop: where it runs, when its end is heard, and who waits for it. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <semaphore.h>

#include "controlplane/offload.h"

TestSuite(offload, .timeout = 60);

struct work {
	struct qp_loop *loop;
	sem_t may_end;
	pthread_t ran_on, told_on;
	unsigned ran, told;
};

static void
run(void *ctx)
{
	struct work *w = ctx;

	while (sem_wait(&w->may_end) != 0)
		;
	w->ran_on = pthread_self();
	w->ran++;
}

static void
told(void *ctx)
{
	struct work *w = ctx;

	w->told_on = pthread_self();
	w->told++;
	qp_loop_stop(w->loop);
}

static struct qp_offload *
make(struct work *w)
{
	struct qp_offload *o = NULL;
	struct qp_errmsg msg;

	*w = (struct work) {.loop = qp_loop_new()};
	cr_assert_not_null(w->loop);
	sem_init(&w->may_end, 0, 0);
	cr_assert_eq(qp_offload_new(w->loop, &o, &msg), 0);
	return o;
}

static void
end(struct work *w, struct qp_offload *o)
{
	qp_offload_free(o);
	qp_loop_free(w->loop);
	sem_destroy(&w->may_end);
}

Test(offload, work_runs_beside_the_loop_which_hears_its_end)
{
	struct work w;
	struct qp_offload *o = make(&w);

	for (unsigned i = 1; i <= 3; i++) {
		cr_assert_eq(qp_offload_start(o, run, told, &w), 0);
		cr_expect(qp_offload_busy(o));
		qp_loop_turn(w.loop, 0);
		cr_expect_eq(w.told, i - 1, "it is told before its end");
		sem_post(&w.may_end);
		qp_loop_run(w.loop);
		cr_expect_eq(w.ran, i);
		cr_expect_eq(w.told, i);
		cr_expect_not(qp_offload_busy(o));
		cr_expect(pthread_equal(w.told_on, pthread_self()));
		cr_expect_not(pthread_equal(w.ran_on, pthread_self()));
	}
	end(&w, o);
}

Test(offload, settled_work_has_run_and_is_not_told)
{
	struct work w;
	struct qp_offload *o = make(&w);

	cr_assert_eq(qp_offload_start(o, run, told, &w), 0);
	sem_post(&w.may_end);
	qp_offload_settle(o);
	cr_expect_eq(w.ran, 1u);
	cr_expect_not(qp_offload_busy(o));
	qp_loop_turn(w.loop, 0);
	cr_expect_eq(w.told, 0u);

	/* The bell that rang for it is not taken for the next one's. */
	cr_assert_eq(qp_offload_start(o, run, told, &w), 0);
	qp_loop_turn(w.loop, 0);
	cr_expect_eq(w.told, 0u);
	sem_post(&w.may_end);
	qp_loop_run(w.loop);
	cr_expect_eq(w.told, 1u);
	end(&w, o);
}

Test(offload, freed_while_work_runs_waits_for_it)
{
	struct work w;
	struct qp_offload *o = make(&w);

	cr_assert_eq(qp_offload_start(o, run, told, &w), 0);
	sem_post(&w.may_end);
	end(&w, o);
	cr_expect_eq(w.ran, 1u);
	cr_expect_eq(w.told, 0u);
}
