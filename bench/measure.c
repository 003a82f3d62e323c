/* SPDX-License-Identifier: Apache-2.0 */
/* Time, and what counts of it. The worker's lcore. */
#include "bench/worker.h"

#include "common/clock.h"

#define LATE_NS (2000ull * 1000 * 1000)

void
qpb_latency(struct qpb_worker *w, uint64_t at_ns)
{
	uint64_t now = qp_now_ns();

	if (qpb_measured(w, at_ns))
		qpb_hist_record(w->latency, now > at_ns ? now - at_ns : 0);
}

bool
qpb_backlog(struct qpb_worker *w)
{
	uint64_t at;

	if (w->schedule.arrivals == QPB_CLOSED ||
		qpb_schedule_peek(&w->schedule) >= w->b->run_to_ns)
		return false;
	if (w->now_ns < w->b->run_to_ns + LATE_NS)
		return true;
	while (qpb_schedule_take(&w->schedule, w->b->run_to_ns - 1, &at)) {
		if (!qpb_measured(w, at))
			continue;
		QPB_ADD(w->total.requests_unserved, 1);
		QPB_ADD(w->run.requests_unserved, 1);
		qpb_hist_record(w->latency, w->now_ns - at);
	}
	return false;
}
