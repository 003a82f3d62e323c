/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which generations the ports know: who has which slot, who polls, who serves.
 * Loop thread. A generation's entry goes through
 *
 *	free → known, without rings → with rings → dead, without rings → free
 *
 * and is free again only when its memory is, since devices may send from it.
 */
#include "controlplane/nicnet_impl.h"

struct qp_nic_gen *
qp_nicnet_gen(const struct qp_nicnet *n, uint32_t server_id)
{
	for (unsigned i = 0; n->nic != NULL && i < QP_NIC_MAX_GENS; i++) {
		if (n->nic->gen[i].server_id == server_id)
			return &n->nic->gen[i];
	}
	return NULL;
}

/* Generations that all ports can send for. */
static unsigned
slots(const struct qp_nicnet *n)
{
	unsigned least = QP_NIC_MAX_GENS;

	for (unsigned p = 0; p < n->nic->nports; p++) {
		if (n->nic->port[p].nslots < least)
			least = n->nic->port[p].nslots;
	}
	return least;
}

static struct qp_nic_gen *
free_slot(const struct qp_nicnet *n)
{
	struct qp_nic_gen *e = qp_nicnet_gen(n, 0);

	return e != NULL && e - n->nic->gen < (ptrdiff_t)slots(n) ? e : NULL;
}

int
qp_nicnet_room(const void *net, unsigned nworkers, struct qp_errmsg *msg)
{
	const struct qp_nicnet *n = net;

	if (n->nic != NULL && nworkers > n->nic->nqueues)
		return qp_fail(msg, QP_E_FULL,
			"%u workers, and the ports have %u queues: give --workers %u, or end the "
			"gateway (SIGTERM) and start it anew", nworkers, n->nic->nqueues,
			n->nic->nqueues);
	if (n->nic == NULL || free_slot(n) != NULL)
		return 0;
	return qp_fail(msg, QP_E_FULL,
		"the ports have transmit queues for %u data planes, and as many live: end one that "
		"drains (quicport admin shutdown-data-plane), or give --drain-timeout",
		slots(n));
}

int
qp_nicnet_generation_add(void *net, const struct qp_network_generation *g, struct qp_errmsg *msg)
{
	struct qp_nicnet *n = net;
	struct qp_nic_gen *e = qp_nicnet_gen(n, g->server_id);
	int err = 0;

	if (n->nic == NULL)
		return qp_fail(msg, QP_E_INVAL, "the ports are not there");
	if (g->handoff == 0 || g->handoff_bytes == 0)
		return qp_fail(msg, QP_E_VERSION,
			"the data plane has no hand-off rings: it is of a release without --port");
	if (e == NULL) {
		err = qp_nicnet_room(n, g->nworkers, msg);
		e = free_slot(n);
	}
	if (err != 0)
		return err;
	e->nworkers = g->nworkers;
	e->slot = (uint32_t)(e - n->nic->gen);
	e->handoff_bytes = g->handoff_bytes;
	__atomic_store_n(&e->handoff, g->handoff, __ATOMIC_RELEASE);
	__atomic_store_n(&e->server_id, g->server_id, __ATOMIC_RELEASE);
	return 0;
}

/* Another one may poll them now. */
static void
release_queues(struct qp_nic *nic, uint32_t server_id)
{
	for (unsigned p = 0; p < nic->nports; p++) {
		for (unsigned q = 0; q < QP_NIC_MAX_QUEUES; q++) {
			uint32_t was = server_id;

			(void)__atomic_compare_exchange_n(&nic->queue[p][q].polled_by, &was, 0, false,
				__ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
		}
	}
}

void
qp_nicnet_generation_remove(void *net, uint32_t server_id)
{
	struct qp_nicnet *n = net;
	struct qp_nic_gen *e = qp_nicnet_gen(n, server_id);

	if (n->nic == NULL || server_id == 0)
		return;
	if (e != NULL)
		__atomic_store_n(&e->handoff, 0, __ATOMIC_RELEASE);
	qp_nicnet_ports_drop(n, server_id);
	release_queues(n->nic, server_id);
}

void
qp_nicnet_generation_freed(void *net, uint32_t server_id)
{
	struct qp_nicnet *n = net;
	struct qp_nic_gen *e = server_id != 0 ? qp_nicnet_gen(n, server_id) : NULL;

	if (e != NULL)
		__atomic_store_n(&e->server_id, 0, __ATOMIC_RELEASE);
}

/* Its queues are found by its number. */
int
qp_nicnet_worker_add(void *net, const struct qp_network_worker *w, struct qp_errmsg *msg)
{
	const struct qp_nicnet *n = net;
	const struct qp_nic_gen *e = qp_nicnet_gen(n, w->server_id);

	if (e == NULL || w->worker >= e->nworkers)
		return qp_fail(msg, QP_E_NOTFOUND, "the ports know no such worker");
	return 0;
}

int
qp_nicnet_set_active(void *net, uint32_t server_id, uint8_t nworkers)
{
	struct qp_nicnet *n = net;

	if (n->nic == NULL || qp_nicnet_gen(n, server_id) == NULL)
		return QP_E_NOTFOUND;
	__atomic_store_n(&n->nic->holder_workers, nworkers, __ATOMIC_RELAXED);
	__atomic_store_n(&n->nic->holder, server_id, __ATOMIC_RELEASE);
	return 0;
}
