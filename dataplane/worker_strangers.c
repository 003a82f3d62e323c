/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Strangers at a worker's port: who asks for something new. They may be a
 * flood, so while established flows wait they get a bounded part of the lcore's
 * time, answers included; what is left over goes to them as well. Time, not
 * frames: a SYN costs 2 µs, a first QUIC packet a hundred times that.
 */
#include "dataplane/worker_internal.h"

#include <rte_cycles.h>

#define STRANGERS_PARTS 16u /* one part in this many of the time, while flows wait */
#define STRANGERS_BURST 8u  /* frames until time is looked at again */
#define STRANGERS_SAVED_US 200u

void
qp_worker_share_init(struct qp_worker *w)
{
	for (unsigned i = 0; i < QP_CLS_NQUEUES; i++)
		w->share[i] = (struct qp_share) {
			.parts = STRANGERS_PARTS,
			.most = (int64_t)(rte_get_tsc_hz() / 1000000u * STRANGERS_SAVED_US),
			.at = rte_rdtsc(),
		};
}

/* A burst, and its answers: they cost more than the questions. */
static unsigned
serve(struct qp_worker *w, enum qp_cls_queue queue)
{
	struct rte_mbuf *frames[STRANGERS_BURST];
	uint16_t n = qp_port_rx_strangers(w->port, queue, frames, STRANGERS_BURST);

	for (uint16_t i = 0; i < n; i++)
		qp_worker_handle(w, frames[i]);
	if (n > 0)
		qp_worker_tx_flush(w);
	return n;
}

/* As many as the share pays for. */
static unsigned
serve_share(struct qp_worker *w, enum qp_cls_queue queue)
{
	uint64_t start = rte_rdtsc(), end;
	unsigned total = 0;

	while (qp_share_open(&w->share[queue], start)) {
		unsigned n = serve(w, queue);

		end = rte_rdtsc();
		qp_share_pay(&w->share[queue], end - start);
		start = end;
		total += n;
		if (n < STRANGERS_BURST)
			return total;
	}
	w->out->c.strangers_held++;
	return total;
}

unsigned
qp_worker_receive_strangers(struct qp_worker *w, bool busy)
{
	unsigned total = 0;

	for (enum qp_cls_queue q = QP_CLS_QUEUE_FLOWS + 1; q < QP_CLS_NQUEUES; q++)
		total += busy ? serve_share(w, q) : serve(w, q);
	return total;
}
