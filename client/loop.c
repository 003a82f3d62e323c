/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The event loop. One thread. Leaves signals to the command and everything
 * about packets to the sources.
 */
#include "client/loop.h"

#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"

#define NS_PER_S UINT64_C(1000000000)
#define NS_PER_MS UINT64_C(1000000)
#define MAX_COARSE_MS 3600000u

int
qpc_loop_init(struct qpc_loop *loop, struct qp_errmsg *msg)
{
	memset(loop, 0, sizeof(*loop));
	TAILQ_INIT(&loop->tasks);
	TAILQ_INIT(&loop->running);
	loop->now_ns = qp_now_ns();
	loop->epfd = epoll_create1(EPOLL_CLOEXEC);
	if (loop->epfd < 0)
		return qp_fail(msg, qp_err_from_errno(errno), "cannot make an epoll descriptor: %s",
			strerror(errno));
	return QP_OK;
}

void
qpc_loop_fini(struct qpc_loop *loop)
{
	if (loop->epfd >= 0)
		close(loop->epfd);
	loop->epfd = -1;
}

static int
control(struct qpc_loop *loop, int op, struct qpc_source *source, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.ptr = source};

	if (epoll_ctl(loop->epfd, op, source->fd, &ev) != 0)
		return qp_err_from_errno(errno);
	return QP_OK;
}

int
qpc_loop_add(struct qpc_loop *loop, struct qpc_source *source, uint32_t events)
{
	return control(loop, EPOLL_CTL_ADD, source, events);
}

int
qpc_loop_change(struct qpc_loop *loop, struct qpc_source *source, uint32_t events)
{
	return control(loop, EPOLL_CTL_MOD, source, events);
}

void
qpc_loop_remove(struct qpc_loop *loop, struct qpc_source *source)
{
	(void)control(loop, EPOLL_CTL_DEL, source, 0);
	for (int i = loop->cursor; i < loop->nevents; i++) {
		if (loop->events[i].data.ptr == source)
			loop->events[i].data.ptr = NULL;
	}
}

void
qpc_loop_queue(struct qpc_loop *loop, struct qpc_task *task)
{
	if (task->list != NULL)
		return;
	task->list = &loop->tasks;
	TAILQ_INSERT_TAIL(&loop->tasks, task, link);
}

void
qpc_loop_unqueue(struct qpc_loop *loop, struct qpc_task *task)
{
	if (task->list == NULL)
		return;
	TAILQ_REMOVE(task->list, task, link);
	task->list = NULL;
}

uint64_t
qpc_loop_next_ns(const struct qpc_loop *loop)
{
	return TAILQ_EMPTY(&loop->tasks) ? qpc_timers_next(&loop->timers) : 0;
}

/* How long the next turn may wait, in nanoseconds; UINT64_MAX: for ever. */
static uint64_t
patience(const struct qpc_loop *loop)
{
	uint64_t next = qpc_loop_next_ns(loop), now;

	if (next == 0 || next == UINT64_MAX)
		return next;
	now = qp_now_ns();
	return next > now ? next - now : 0;
}

static int
wait_for_events(struct qpc_loop *loop, uint64_t ns)
{
	struct timespec ts = {(time_t)(ns / NS_PER_S), (long)(ns % NS_PER_S)};
	int n;

	if (!loop->coarse) {
		/* Pacing needs microseconds. */
		n = epoll_pwait2(loop->epfd, loop->events, QPC_LOOP_EVENTS,
			ns == UINT64_MAX ? NULL : &ts, NULL);
		if (n >= 0 || errno != ENOSYS)
			return n;
		loop->coarse = true; /* a kernel before 5.11 */
	}
	if (ns >= MAX_COARSE_MS * NS_PER_MS)
		ns = MAX_COARSE_MS * NS_PER_MS;
	return epoll_wait(loop->epfd, loop->events, QPC_LOOP_EVENTS,
		(int)((ns + NS_PER_MS - 1) / NS_PER_MS));
}

/* Only those queued before: one that queues itself anew must let events pass first. */
static void
run_tasks(struct qpc_loop *loop)
{
	struct qpc_task *task;

	TAILQ_CONCAT(&loop->running, &loop->tasks, link);
	TAILQ_FOREACH(task, &loop->running, link)
		task->list = &loop->running;
	while ((task = TAILQ_FIRST(&loop->running)) != NULL) {
		qpc_loop_unqueue(loop, task);
		task->run(task);
	}
}

int
qpc_loop_wait(struct qpc_loop *loop, bool now)
{
	int n = wait_for_events(loop, now ? 0 : patience(loop));

	if (n < 0 && errno != EINTR)
		return QP_E_IO;
	loop->nevents = n > 0 ? n : 0;
	return QP_OK;
}

void
qpc_loop_dispatch(struct qpc_loop *loop)
{
	loop->now_ns = qp_now_ns();
	for (loop->cursor = 0; loop->cursor < loop->nevents;) {
		struct epoll_event *ev = &loop->events[loop->cursor++];
		struct qpc_source *source = ev->data.ptr;

		if (source != NULL)
			source->ready(source, ev->events);
	}
	loop->nevents = 0;
	qpc_timers_run(&loop->timers, loop->now_ns);
	run_tasks(loop);
}

int
qpc_loop_turn(struct qpc_loop *loop)
{
	int err = qpc_loop_wait(loop, false);

	if (err == QP_OK)
		qpc_loop_dispatch(loop);
	return err;
}
