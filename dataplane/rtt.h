/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_DATAPLANE_RTT_H
#define QP_DATAPLANE_RTT_H

#include "common/ipc.h"

/* Counts one round trip. Writer: the lcore that owns the histogram. */
static inline void
qp_rtt_count(struct qp_rtt_histogram *h, uint64_t us)
{
	unsigned i = us < QP_RTT_FIRST_US
			     ? 0
			     : (unsigned)(64 - __builtin_clzll(us / QP_RTT_FIRST_US));

	h->bucket[i < QP_RTT_BUCKETS ? i : QP_RTT_BUCKETS - 1]++;
	h->sum_us += us;
}

#endif
