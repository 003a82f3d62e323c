/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control plane's event loop over epoll. Timers are a sorted list: there
 * is about one for each module, since modules with many deadlines of one
 * length keep them in a queue and arm a timer for the first. Runs on the main
 * thread.
 */
#include "controlplane/loop.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define EVENTS_PER_TURN 64

struct qp_loop {
	int epfd;
	bool stopped;
	struct qp_loop_timer *timers; /* earliest first */
	struct qp_loop_hook *hooks;
	/* The batch being dispatched; a watch removed meanwhile is blanked in it. */
	struct epoll_event batch[EVENTS_PER_TURN];
	int batch_len;
};

struct qp_loop *
qp_loop_new(void)
{
	struct qp_loop *loop = calloc(1, sizeof(*loop));

	if (loop == NULL)
		return NULL;
	loop->epfd = epoll_create1(EPOLL_CLOEXEC);
	if (loop->epfd < 0) {
		free(loop);
		return NULL;
	}
	return loop;
}

void
qp_loop_free(struct qp_loop *loop)
{
	if (loop == NULL)
		return;
	assert(loop->timers == NULL && loop->hooks == NULL);
	close(loop->epfd);
	free(loop);
}

int
qp_loop_watch(struct qp_loop *loop, struct qp_watch *w, int fd, uint32_t events,
	void (*ready)(void *, uint32_t), void *ctx)
{
	struct epoll_event ev = {.events = events, .data.ptr = w};

	if (epoll_ctl(loop->epfd, EPOLL_CTL_ADD, fd, &ev) < 0)
		return qp_err_from_errno(errno);
	*w = (struct qp_watch) {.fd = fd, .ready = ready, .ctx = ctx};
	return 0;
}

void
qp_loop_watch_events(struct qp_loop *loop, struct qp_watch *w, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.ptr = w};

	/* Changing a registered descriptor's mask needs no memory and cannot fail. */
	if (w->fd >= 0)
		epoll_ctl(loop->epfd, EPOLL_CTL_MOD, w->fd, &ev);
}

void
qp_loop_unwatch(struct qp_loop *loop, struct qp_watch *w)
{
	if (w->fd < 0)
		return;
	epoll_ctl(loop->epfd, EPOLL_CTL_DEL, w->fd, NULL);
	w->fd = -1;
	for (int i = 0; i < loop->batch_len; i++) {
		if (loop->batch[i].data.ptr == w)
			loop->batch[i].data.ptr = NULL;
	}
}

void
qp_loop_timer_set(struct qp_loop *loop, struct qp_loop_timer *t, unsigned delay_ms)
{
	struct qp_loop_timer **at = &loop->timers;

	qp_loop_timer_cancel(loop, t);
	t->at_ns = qp_now_ns() + (uint64_t)delay_ms * 1000000u;
	while (*at != NULL && (*at)->at_ns <= t->at_ns)
		at = &(*at)->next;
	t->next = *at;
	t->armed = true;
	*at = t;
}

void
qp_loop_timer_cancel(struct qp_loop *loop, struct qp_loop_timer *t)
{
	struct qp_loop_timer **at = &loop->timers;

	if (!t->armed)
		return;
	while (*at != t)
		at = &(*at)->next;
	*at = t->next;
	t->armed = false;
}

void
qp_loop_hook_add(struct qp_loop *loop, struct qp_loop_hook *hook)
{
	hook->next = loop->hooks;
	loop->hooks = hook;
}

void
qp_loop_hook_remove(struct qp_loop *loop, struct qp_loop_hook *hook)
{
	for (struct qp_loop_hook **at = &loop->hooks; *at != NULL; at = &(*at)->next) {
		if (*at == hook) {
			*at = hook->next;
			return;
		}
	}
}

static int
sleep_ms(const struct qp_loop *loop, int max_ms)
{
	uint64_t now, wait_ms;

	if (loop->timers == NULL)
		return max_ms;
	now = qp_now_ns();
	if (loop->timers->at_ns <= now)
		return 0;
	/* Rounded up: waking early would turn the loop for nothing. */
	wait_ms = (loop->timers->at_ns - now + 999999u) / 1000000u;
	return max_ms < 0 || wait_ms < (uint64_t)max_ms ? (int)wait_ms : max_ms;
}

static void
fire_timers(struct qp_loop *loop)
{
	uint64_t now = qp_now_ns();

	/* A timer that re-arms itself lands after `now`, so this ends. */
	while (loop->timers != NULL && loop->timers->at_ns <= now) {
		struct qp_loop_timer *t = loop->timers;

		loop->timers = t->next;
		t->armed = false;
		t->fire(t->ctx);
	}
}

static void
dispatch(struct qp_loop *loop)
{
	for (int i = 0; i < loop->batch_len; i++) {
		struct qp_watch *w = loop->batch[i].data.ptr;

		if (w != NULL)
			w->ready(w->ctx, loop->batch[i].events);
	}
	loop->batch_len = 0;
}

void
qp_loop_turn(struct qp_loop *loop, int max_ms)
{
	struct qp_loop_hook *hook, *next;
	bool busy = false;
	int n;

	for (hook = loop->hooks; hook != NULL; hook = hook->next)
		busy |= hook->prepare(hook->ctx);
	n = epoll_wait(loop->epfd, loop->batch, EVENTS_PER_TURN, busy ? 0 : sleep_ms(loop, max_ms));
	loop->batch_len = n > 0 ? n : 0;
	dispatch(loop);
	for (hook = loop->hooks; hook != NULL; hook = next) {
		next = hook->next; /* it may remove itself */
		hook->check(hook->ctx);
	}
	fire_timers(loop);
}

void
qp_loop_run(struct qp_loop *loop)
{
	loop->stopped = false;
	while (!loop->stopped)
		qp_loop_turn(loop, -1);
}

void
qp_loop_stop(struct qp_loop *loop)
{
	loop->stopped = true;
}
