/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Strangers at a worker's port: who asks for something new. They may be a
 * flood, so while established flows are at work they get a bounded part of the
 * lcore's time, answers included. Time, not frames: a SYN costs 2 µs, a first
 * QUIC packet a hundred times that.
 */
#include "dataplane/worker_internal.h"

#include <rte_cycles.h>

#define STRANGERS_PARTS    20u   /* a queue has one part in this many of the time */
#define STRANGERS_BURST    8u    /* frames until time is looked at again */
#define STRANGERS_SAVED_US 200u
#define STRANGERS_DEBT_US  2000u /* a few TLS handshakes */
/*
 * Silence of all that are known, after which strangers have the lcore alone. A
 * shorter one is a pause between bursts, and the cores are not always ours
 * alone: what strangers burn then may be what the others wait for.
 */
#define QUIET_NS (2000ull * 1000)
#define LOOK_NS  (50ull * 1000) /* between two looks at their queues, a system call each */

void
qp_worker_share_init(struct qp_worker *w)
{
	const int64_t us = (int64_t)(rte_get_tsc_hz() / 1000000u);

	for (unsigned i = 0; i < QP_CLS_NQUEUES; i++)
		w->share[i] = (struct qp_share) {
			.parts = STRANGERS_PARTS,
			.most = us * STRANGERS_SAVED_US,
			.debt = us * STRANGERS_DEBT_US,
			.at = rte_rdtsc(),
		};
}

/* A burst, and its answers: they cost more than the questions. */
static unsigned
serve(struct qp_worker *w, enum qp_cls_queue queue)
{
	struct rte_mbuf *frames[STRANGERS_BURST];
	uint16_t n = qp_port_rx_strangers(w->port, queue, frames, STRANGERS_BURST);

	if (n > 0 && (qp_order(&w->cfg.orders->verbose) & QP_VERBOSE_RX) != 0)
		qp_verbose_burst(w->cfg.verbose, false, frames, n);
	for (uint16_t i = 0; i < n; i++)
		qp_worker_handle(w, frames[i]);
	if (n > 0)
		qp_worker_tx_flush(w);
	return n;
}

/* As many as the share pays for; false when more may wait. */
static bool
serve_share(struct qp_worker *w, enum qp_cls_queue queue, unsigned *total)
{
	struct qp_share *share = &w->share[queue];
	uint64_t start = rte_rdtsc(), end;

	while (qp_share_open(share, start)) {
		unsigned n = serve(w, queue);

		/* A look into an empty queue is free: looks alone would use the share up. */
		if (n == 0)
			return true;
		end = rte_rdtsc();
		qp_share_pay(share, end - start);
		start = end;
		*total += n;
		if (n < STRANGERS_BURST)
			return true;
	}
	w->out->c.strangers_held++;
	return false;
}

unsigned
qp_worker_receive_strangers(struct qp_worker *w)
{
	const bool alone = w->now_ns - w->flows_at_ns > QUIET_NS;
	unsigned total = 0;

	if (!alone && w->now_ns - w->strangers_at_ns < LOOK_NS)
		return 0;
	w->strangers_at_ns = w->now_ns;
	w->held = false;
	for (enum qp_cls_queue q = QP_CLS_QUEUE_FLOWS + 1; q < QP_CLS_NQUEUES; q++) {
		if (alone)
			total += serve(w, q);
		else if (!serve_share(w, q, &total))
			w->held = true;
	}
	return total;
}
