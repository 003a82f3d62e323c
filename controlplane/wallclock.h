/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_WALLCLOCK_H
#define QP_CONTROLPLANE_WALLCLOCK_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Unix time for what is kept with dates but lasts for a time: a clock that
 * somebody sets must neither end it nor make it last. All zero: not looked yet.
 * Owner: whoever keeps such dates. Lock: none.
 */
struct qp_wallclock {
	uint64_t (*unix_time)(void); /* seconds; NULL: the system's clock */
	uint64_t (*up_time)(void);   /* seconds that passed, whatever the clock says; NULL: the system's,
					or with a `unix_time` of the caller's, that */
	bool known;
	int64_t ahead; /* of the one before the other when we last looked */
};

/* The clock was corrected by so little that it is left at that, seconds. */
#define QP_WALLCLOCK_SLACK_S 30

/*
 * Unix time, and in `*set_by` for how many seconds the clock was set (negative:
 * back) since the last call: dates from before are to be moved by them.
 */
uint64_t qp_wallclock_now(struct qp_wallclock *w, int64_t *set_by);
/* `date` moved by `by` seconds, not beyond 0. */
uint64_t qp_wallclock_moved(uint64_t date, int64_t by);

#endif
