/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_DATAPLANE_BUCKET_H
#define QP_DATAPLANE_BUCKET_H

#include <stdbool.h>
#include <stdint.h>

/*
 * A token bucket that loses no fraction of a token, so that it keeps its rate
 * over any time. Whoever takes more than there is leaves a debt. Owner: one
 * thread. All zero: no limit.
 */
struct qp_bucket {
	uint64_t rate;     /* tokens a second; 0: no limit */
	int64_t burst;     /* tokens at most */
	int64_t tokens;
	uint64_t frac;     /* of a token, in 1 / 10^9 */
	uint64_t last_ns;
};

/* Larger ones count as none: the product below must fit. */
#define QP_BUCKET_MAX_RATE (UINT64_C(1) << 33)

/* Full when it had no limit before, else it keeps what it has. `burst` > 0. */
static inline void
qp_bucket_set(struct qp_bucket *b, uint64_t rate, int64_t burst, uint64_t now_ns)
{
	const bool fresh = b->rate == 0;

	if (rate > QP_BUCKET_MAX_RATE)
		rate = 0;
	b->rate = rate;
	b->burst = burst;
	if (fresh || b->tokens > burst)
		b->tokens = burst;
	if (fresh) {
		b->frac = 0;
		b->last_ns = now_ns;
	}
}

/* Adds what time has brought; returns how much that was. */
static inline int64_t
qp_bucket_refill(struct qp_bucket *b, uint64_t now_ns)
{
	uint64_t ns = now_ns - b->last_ns, sum;
	int64_t got;

	if (ns == 0 || now_ns < b->last_ns)
		return 0;
	b->last_ns = now_ns;
	/* Seconds by themselves, so that the product fits. */
	if (ns > 1000000000u) {
		got = (int64_t)(ns / 1000000000u * b->rate);
		ns %= 1000000000u;
	} else {
		got = 0;
	}
	sum = ns * b->rate + b->frac;
	b->frac = sum % 1000000000u;
	got += (int64_t)(sum / 1000000000u);
	if (got > b->burst - b->tokens) {
		got = b->burst - b->tokens;
		b->frac = 0;
	}
	b->tokens += got;
	return got;
}

#endif
