/* SPDX-License-Identifier: Apache-2.0 */
/* A wait that has an end, whatever the main thread hangs in. */
#define QP_LOG_MODULE QP_LOG_M_process
#include "controlplane/guard.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "common/log.h"

static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	pthread_t thread;
	bool running; /* main thread */
	bool ended; /* under the lock */
	struct timespec until;
	char what[512];
} guard = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void *
wait_beside(void *arg)
{
	int err = 0;

	(void)arg;
	pthread_mutex_lock(&guard.lock);
	while (!guard.ended && err != ETIMEDOUT)
		err = pthread_cond_timedwait(&guard.changed, &guard.lock, &guard.until);
	if (!guard.ended) {
		qp_log(QP_LOG_ERROR, guard.what);
		_exit(1);
	}
	pthread_mutex_unlock(&guard.lock);
	return NULL;
}

void
qp_guard_begin(unsigned seconds, const char *what)
{
	pthread_condattr_t attr;
	sigset_t all, before;

	snprintf(guard.what, sizeof(guard.what), "%s", what);
	guard.ended = false;
	clock_gettime(CLOCK_MONOTONIC, &guard.until);
	guard.until.tv_sec += seconds;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&guard.changed, &attr);
	pthread_condattr_destroy(&attr);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	guard.running = pthread_create(&guard.thread, NULL, wait_beside, NULL) == 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void
qp_guard_end(void)
{
	if (!guard.running)
		return;
	pthread_mutex_lock(&guard.lock);
	guard.ended = true;
	pthread_cond_signal(&guard.changed);
	pthread_mutex_unlock(&guard.lock);
	pthread_join(guard.thread, NULL);
	pthread_cond_destroy(&guard.changed);
	guard.running = false;
}
