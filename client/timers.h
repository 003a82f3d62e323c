/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CLIENT_TIMERS_H
#define QP_CLIENT_TIMERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The struct of `type` whose `member` the pointer is to: callbacks get timers, sources, streams. */
#define QPC_CONTAINER(ptr, type, member) ((type *)((char *)(ptr) - offsetof(type, member)))

/*
 * Timers of one event loop: a pairing heap whose nodes live in what they time,
 * so that arming never allocates and never fails. Arming and the next deadline
 * cost O(1), cancelling and firing O(log n) amortised. One thread.
 */
struct qpc_timer {
	uint64_t at_ns; /* CLOCK_MONOTONIC; meaningful while armed */
	/* Called disarmed; may arm it again, cancel others, or free what holds it. */
	void (*fire)(struct qpc_timer *timer);
	struct qpc_timer *child; /* first of those that are due no earlier */
	struct qpc_timer *next;  /* sibling */
	struct qpc_timer *prev;  /* sibling before, or the parent of a first child */
	bool armed;
};

struct qpc_timers {
	struct qpc_timer *root;
};

/* (Re)arms for `at_ns`. */
void qpc_timer_arm(struct qpc_timers *timers, struct qpc_timer *t, uint64_t at_ns);
/* Safe on one that is not armed. */
void qpc_timer_cancel(struct qpc_timers *timers, struct qpc_timer *t);
/* The earliest deadline; UINT64_MAX when none is armed. */
uint64_t qpc_timers_next(const struct qpc_timers *timers);
/*
 * Fires what is due at `now_ns`. A timer that is armed anew meanwhile for `now_ns` or
 * before fires in the same call: a callback that wants another turn first asks for later.
 */
void qpc_timers_run(struct qpc_timers *timers, uint64_t now_ns);

#endif
