/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_LOOP_H
#define QP_CONTROLPLANE_LOOP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

#include "common/clock.h"
#include "common/error.h"

/*
 * The control plane's event loop: descriptors, one-shot timers, and hooks
 * around the sleep. Single thread; nothing in here is called from another.
 * Watches, timers and hooks are embedded in their owners, who keep them alive
 * while they are registered. Any callback may add and remove any of them.
 */
struct qp_loop;

struct qp_watch {
	int fd; /* -1: not registered */
	void (*ready)(void *ctx, uint32_t events);
	void *ctx;
};

#define QP_WATCH_NONE                                                                              \
	{                                                                                          \
		.fd = -1                                                                           \
	}

struct qp_loop_timer {
	uint64_t at_ns; /* CLOCK_MONOTONIC */
	void (*fire)(void *ctx);
	void *ctx;
	bool armed;
	struct qp_loop_timer *next;
};

/*
 * For sources that are not descriptors (rings). `prepare` runs before the
 * sleep and returns true when there is work already, so that the loop only
 * looks at the descriptors; `check` runs after each wake-up.
 */
struct qp_loop_hook {
	bool (*prepare)(void *ctx);
	void (*check)(void *ctx);
	void *ctx;
	struct qp_loop_hook *next;
};

/* NULL when the system refuses (errno says why). */
struct qp_loop *qp_loop_new(void);
/* Registered watches, timers and hooks must be gone. NULL is allowed. */
void qp_loop_free(struct qp_loop *loop);

/* Watches `fd` (borrowed) for EPOLLIN, EPOLLOUT, …; level-triggered. */
int qp_loop_watch(struct qp_loop *loop, struct qp_watch *w, int fd, uint32_t events,
	void (*ready)(void *ctx, uint32_t events), void *ctx) __attribute__((warn_unused_result));
void qp_loop_watch_events(struct qp_loop *loop, struct qp_watch *w, uint32_t events);
/* Idempotent; call before the descriptor is closed. */
void qp_loop_unwatch(struct qp_loop *loop, struct qp_watch *w);

/* Arms, or moves, a one-shot timer to `delay_ms` from now. */
void qp_loop_timer_set(struct qp_loop *loop, struct qp_loop_timer *t, unsigned delay_ms);
/* Idempotent. */
void qp_loop_timer_cancel(struct qp_loop *loop, struct qp_loop_timer *t);

void qp_loop_hook_add(struct qp_loop *loop, struct qp_loop_hook *hook);
void qp_loop_hook_remove(struct qp_loop *loop, struct qp_loop_hook *hook);

/* Turns until qp_loop_stop(). */
void qp_loop_run(struct qp_loop *loop);
/* One turn, sleeping `max_ms` at most: for tests and for waits with a deadline. */
void qp_loop_turn(struct qp_loop *loop, int max_ms);
void qp_loop_stop(struct qp_loop *loop);

#endif
