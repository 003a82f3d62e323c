/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_DATAPLANE_TIMER_H
#define QP_DATAPLANE_TIMER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * A hierarchical timer wheel: arm, re-arm and cancel in O(1) however many
 * timers there are. Owner: one lcore. Life: the lcore's. Lock: none.
 * Times are monotonic nanoseconds of the clock that the caller passes in;
 * a timer never fires early and at most one tick (QP_TIMER_TICK_NS) late.
 */
#define QP_TIMER_TICK_NS 65536u

struct qp_timer;
typedef void (*qp_timer_fn)(struct qp_timer *t, uint64_t now_ns);

/* Embedded in what it times. All zero = not armed (then `fn` must be set before arming). */
struct qp_timer {
	struct qp_timer *next;
	struct qp_timer **pprev; /* NULL: not armed */
	uint64_t at_ns;          /* when it is due */
	qp_timer_fn fn;          /* called disarmed: may re-arm or free its holder */
};

struct qp_wheel;

/* NULL when out of memory. */
struct qp_wheel *qp_wheel_new(uint64_t now_ns);
/* Armed timers are forgotten, not fired. */
void qp_wheel_free(struct qp_wheel *w);

/* Arms, or moves an armed timer. `at_ns` in the past fires at the next advance. */
void qp_timer_arm(struct qp_wheel *w, struct qp_timer *t, uint64_t at_ns);
/* Disarming a timer that is not armed does nothing. */
void qp_timer_cancel(struct qp_wheel *w, struct qp_timer *t);

static inline bool
qp_timer_armed(const struct qp_timer *t)
{
	return t->pprev != NULL;
}

/* Fires all that is due; returns how many fired. */
unsigned qp_wheel_advance(struct qp_wheel *w, uint64_t now_ns);

/*
 * A time that is not later than the next due timer (so a sleeper that wakes
 * then misses nothing), UINT64_MAX when none is armed. Exact within a level-0
 * turn (256 ticks), else the next cascade.
 */
uint64_t qp_wheel_next_ns(const struct qp_wheel *w);

#endif
