/* SPDX-License-Identifier: Apache-2.0 */
/* Which silence is a hang: threads that are stuck, spin, starve, or whose watcher was late. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "controlplane/heartbeat.h"

#define MS 1000000ull
#define LIMIT_MS 800u

static struct qp_heartbeat h;
static uint64_t now_ms;

/* What a thread does while it is silent: its state, and how many of 100 ms it runs. */
struct silence {
	char state;
	unsigned ran_ms;
	unsigned step_ms; /* between our looks */
	unsigned until_ms; /* when it speaks again */
};

/* After how much silence it is taken for hanging; 0: never. */
static unsigned
found_after(const struct silence *s)
{
	struct qp_thread_sample sample = {.state = s->state, .ran_ns = 12345 * MS};
	const uint64_t start_ms = now_ms = 1000000;
	uint64_t passed_ns, silence_ns;

	h = (struct qp_heartbeat) {0};
	for (; now_ms < start_ms + s->until_ms; now_ms += s->step_ms) {
		if (qp_heartbeat_quiet(&h, start_ms * MS, now_ms * MS, &passed_ns)) {
			silence_ns = qp_heartbeat_silence_ns(&h, &sample, passed_ns);
			if (silence_ns >= LIMIT_MS * MS)
				return (unsigned)(now_ms - start_ms);
		}
		sample.ran_ns += s->ran_ms * MS * s->step_ms / 100;
	}
	return 0;
}

Test(heartbeat, stopped_thread_is_found_in_time)
{
	const struct silence stopped = {'T', 0, 100, 5000}, traced = {'t', 0, 100, 5000},
			     waits = {'S', 0, 100, 5000}, disk = {'D', 0, 100, 5000};

	cr_expect_leq(found_after(&stopped), LIMIT_MS + 100);
	cr_expect_geq(found_after(&stopped), LIMIT_MS - 100);
	cr_expect_leq(found_after(&traced), LIMIT_MS + 100);
	cr_expect_neq(found_after(&traced), 0);
	cr_expect_neq(found_after(&waits), 0);
	cr_expect_neq(found_after(&disk), 0);
}

Test(heartbeat, spinning_thread_is_found_in_time)
{
	const struct silence alone = {'R', 100, 100, 5000}, shares = {'R', 25, 100, 5000},
			     crowded = {'R', 5, 100, 60000};

	cr_expect_leq(found_after(&alone), LIMIT_MS + 100);
	cr_expect_neq(found_after(&alone), 0);
	cr_expect_leq(found_after(&shares), LIMIT_MS + 100);
	cr_expect_neq(found_after(&shares), 0);
	/* It takes longer, but is found. */
	cr_expect_gt(found_after(&crowded), LIMIT_MS + 500);
}

Test(heartbeat, starved_thread_does_not_hang)
{
	const struct silence starved = {'R', 0, 100, 60000};

	cr_expect_eq(found_after(&starved), 0);
}

Test(heartbeat, sleeping_thread_that_speaks_in_time_does_not_hang)
{
	const struct silence sleeps = {'S', 0, 100, 300};

	cr_expect_eq(found_after(&sleeps), 0);
}

Test(heartbeat, time_that_we_did_not_watch_is_not_counted)
{
	/* We look once in 5 s, as after a suspended machine: of each only 200 ms count. */
	const struct silence late = {'S', 0, 5000, 14000};

	cr_expect_eq(found_after(&late), 0);
}

Test(heartbeat, new_beat_begins_anew)
{
	const struct silence almost = {'T', 0, 100, 700};
	uint64_t passed_ns;

	cr_expect_eq(found_after(&almost), 0);
	cr_expect_not(qp_heartbeat_quiet(&h, now_ms * MS, now_ms * MS, &passed_ns));
	for (unsigned i = 0; i < 3; i++) {
		now_ms += 100;
		cr_expect_not(qp_heartbeat_quiet(&h, (now_ms - 100 - i * 100) * MS, now_ms * MS,
			&passed_ns));
	}
}

static atomic_int tid;
static atomic_bool stop;

static void *
spin(void *arg)
{
	(void)arg;
	tid = (int)gettid();
	while (!stop)
		;
	return NULL;
}

Test(heartbeat, kernel_tells_what_a_thread_does, .timeout = 60)
{
	struct qp_thread_sample first, later;
	pthread_t thread;

	cr_assert_eq(pthread_create(&thread, NULL, spin, NULL), 0);
	while (tid == 0)
		usleep(1000);
	cr_assert(qp_thread_look(getpid(), tid, &first));
	cr_expect_eq(first.state, 'R');
	do
		cr_assert(qp_thread_look(getpid(), tid, &later));
	while (later.ran_ns < first.ran_ns + 50 * MS);
	stop = true;
	pthread_join(thread, NULL);
	cr_expect_not(qp_thread_look(getpid(), 1, &first), "no thread of ours");
}
