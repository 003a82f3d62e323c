/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Handing frames to other workers: collected while a burst is looked at, and put into
 * each one's ring at once. A full ring costs frames, never time. The worker's lcore.
 */
#include "dataplane/nic/nic_internal.h"
#include "dataplane/nic/rx_pool.h"

#include <rte_mbuf.h>
#include <unistd.h>

_Static_assert(alignof(struct rte_mbuf) > QP_NIC_ITEM_MASK, "an item's kind fits below an address");

static struct qp_handoff_ring *
ring_to(const struct qp_nic_worker_port *w, uint32_t gen, uint32_t worker)
{
	const struct qp_steer_gen *g = &w->steer.gen[gen];

	return qp_handoff_ring(g->handoff, g->nworkers, w->slot, w->cfg.worker, worker);
}

void
qp_nic_join(struct qp_nic_worker_port *w)
{
	for (uint32_t i = 0; i < QP_NIC_MAX_GENS; i++) {
		const struct qp_steer_gen *g = &w->steer.gen[i];

		if (g->server_id == w->joined[i])
			continue;
		for (uint32_t j = 0; g->server_id != 0 && g->handoff != 0 && j < g->nworkers; j++)
			qp_handoff_join(ring_to(w, i, j));
		w->joined[i] = g->server_id;
	}
}

/* A worker of our own that naps would find it later. Others' naps are short. */
static void
wake(struct qp_nic_worker_port *w, uint32_t gen, uint32_t worker)
{
	const struct qp_steer_gen *g = &w->steer.gen[gen];
	struct qp_handoff_door *door = qp_handoff_door(g->handoff, g->nworkers, worker);
	const uint64_t one = 1;

	if (gen != w->slot || w->cfg.doorbell == NULL)
		return;
	__atomic_thread_fence(__ATOMIC_SEQ_CST); /* the item, then the look: pairs with nap_begin's */
	if (__atomic_load_n(&door->napping, __ATOMIC_RELAXED) == 0)
		return;
	/* A full eventfd rings already. */
	if (write(w->cfg.doorbell[worker], &one, sizeof(one)) == (ssize_t)sizeof(one))
		w->counters.doorbells++;
}

static void
flush(struct qp_nic_worker_port *w, uint32_t gen, uint32_t worker)
{
	struct qp_nic_out *out = &w->out[gen][worker];
	unsigned done = 0;

	if (out->n == 0)
		return;
	if (w->steer.gen[gen].handoff != 0) {
		/* Before they are in the ring: whoever of us two dies, they are not lost. */
		for (unsigned i = 0; i < out->n; i++)
			qp_rx_give(qp_nic_item_mbuf(out->item[i]), w->steer.gen[gen].server_id);
		done = qp_handoff_put(ring_to(w, gen, worker), out->item, out->n);
		wake(w, gen, worker);
	}
	if (gen == w->slot)
		w->counters.handed_worker += done;
	else
		w->counters.handed_generation += done;
	for (unsigned i = done; i < out->n; i++) {
		if ((out->item[i] & QP_NIC_ITEM_MASK) == QP_NIC_ITEM_LEARN)
			w->counters.drop_copy++;
		else
			w->counters.drop_handoff_full++;
		rte_pktmbuf_free(qp_nic_item_mbuf(out->item[i]));
	}
	out->n = 0;
}

void
qp_nic_hand(struct qp_nic_worker_port *w, uint32_t gen, uint32_t worker, struct rte_mbuf *m,
	enum qp_nic_item kind)
{
	struct qp_nic_out *out = &w->out[gen][worker];

	if (out->n == QP_NIC_BURST)
		flush(w, gen, worker);
	if (!out->listed) {
		out->listed = true;
		w->list[w->nlist].gen = (uint8_t)gen;
		w->list[w->nlist++].worker = (uint8_t)worker;
	}
	out->item[out->n++] = (uint64_t)(uintptr_t)m | kind;
}

void
qp_nic_hand_flush(struct qp_nic_worker_port *w)
{
	while (w->nlist > 0) {
		const uint32_t gen = w->list[--w->nlist].gen, worker = w->list[w->nlist].worker;

		flush(w, gen, worker);
		w->out[gen][worker].listed = false;
	}
}

/*
 * From the frame's own pool, the port owner's: any lcore of any generation may free it. The
 * worker's own may not leave its lcore.
 */
void
qp_nic_replicate(void *ctx, unsigned port, const struct rte_mbuf *frame)
{
	struct qp_nic_worker_port *w = ctx;

	for (uint32_t g = 0; g < QP_NIC_MAX_GENS; g++) {
		const struct qp_steer_gen *gen = &w->steer.gen[g];

		for (uint32_t j = 0; gen->server_id != 0 && j < gen->nworkers; j++) {
			struct rte_mbuf *copy;

			if (g == w->slot && j == w->cfg.worker)
				continue;
			copy = rte_pktmbuf_copy(frame, frame->pool, 0, UINT32_MAX);
			if (copy == NULL) {
				w->counters.drop_no_memory++;
				return;
			}
			copy->port = (uint16_t)port;
			qp_nic_hand(w, g, j, copy, QP_NIC_ITEM_LEARN);
			w->counters.learn_copies++;
		}
	}
}
