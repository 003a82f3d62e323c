/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_DATAPLANE_SHARE_H
#define QP_DATAPLANE_SHARE_H

#include <stdbool.h>
#include <stdint.h>

/*
 * A bounded part of one thread's time for work that must not crowd out the
 * rest. Credit grows with time, one part in `parts`, up to `most`; the work is
 * paid for afterwards, so a single piece may overdraw, and is then waited for;
 * not for more than `debt`, since the thread may have been off its processor
 * meanwhile. Any unit of time. Owner: one thread.
 */
struct qp_share {
	uint32_t parts;
	int64_t most;   /* credit that silence can save up */
	int64_t debt;   /* what can be owed */
	int64_t credit;
	uint64_t at;    /* when credit was last counted */
};

/* Whether the work may go on at `now`. */
static inline bool
qp_share_open(struct qp_share *s, uint64_t now)
{
	const uint64_t earned = (now - s->at) / s->parts;

	if (earned > 0) {
		s->credit = (int64_t)earned < s->most - s->credit ? s->credit + (int64_t)earned
								  : s->most;
		s->at += earned * s->parts;
	}
	return s->credit > 0;
}

static inline void
qp_share_pay(struct qp_share *s, uint64_t time)
{
	s->credit -= (int64_t)time;
	s->credit = s->credit > -s->debt ? s->credit : -s->debt;
}

#endif
