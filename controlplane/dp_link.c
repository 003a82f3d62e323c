/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The only file of the control plane that touches DPDK's shared memory: rings
 * and doorbells of common/ipc.h. Loop thread. What the messages mean is the gateway's matter.
 */
#include "controlplane/dp_link.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <rte_ring.h>
#include <rte_ring_elem.h>

#include "controlplane/memory.h"

struct qp_dp_link {
	unsigned nworkers;
	uint32_t version; /* that both speak */
	struct qp_gen_shared *shared;
	struct qp_shared_view view;
	struct {
		struct rte_ring *d2c;
		struct rte_ring *c2d;
		int doorbell;
	} worker[QP_MAX_WORKERS];
};

/* A ring of smaller elements, or beyond the zone's end, would be read where nothing is. */
static int
find_ring(const struct qp_dp_link *l, uint32_t epoch, unsigned worker, int to_cp,
	struct rte_ring **out, struct qp_errmsg *msg)
{
	const uint32_t n = l->view.ring_messages;

	*out = (struct rte_ring *)((char *)l->shared +
				   qp_shared_ring_at(&l->view, epoch, worker, to_cp));
	if (rte_ring_get_size(*out) != n || rte_ring_get_capacity(*out) + 1 != n ||
		(*out)->mask != n - 1)
		return qp_fail(msg, QP_E_PROTO, "the data plane set up no ring for worker %u", worker);
	return 0;
}

static int
check_view(const struct qp_shared_view *v, const struct qp_gen_shared *s, uint32_t server_id,
	unsigned nworkers, struct qp_errmsg *msg)
{
	const ssize_t need = rte_ring_get_memsize_elem(QP_MSG_BYTES, v->ring_messages);

	if (s->server_id != server_id || v->nworkers != nworkers)
		return qp_fail(msg, QP_E_PROTO, "the data plane's block is of 0x%x with %u workers",
			s->server_id, v->nworkers);
	if (need < 0 || v->ring_bytes != (uint64_t)need)
		return qp_fail(msg, QP_E_VERSION, "the data plane's rings have %u bytes: it was built "
			"with another DPDK", v->ring_bytes);
	return 0;
}

static int
find_rings(struct qp_dp_link *l, uint32_t epoch, struct qp_errmsg *msg)
{
	int err = 0;

	for (unsigned w = 0; err == 0 && w < l->nworkers; w++) {
		err = find_ring(l, epoch, w, 1, &l->worker[w].d2c, msg);
		if (err == 0)
			err = find_ring(l, epoch, w, 0, &l->worker[w].c2d, msg);
	}
	return err;
}

int
qp_dp_link_open(uint32_t server_id, unsigned nworkers, uint32_t epoch, uint32_t version,
	const int *doorbells, struct qp_dp_link **out, struct qp_errmsg *msg)
{
	size_t bytes = 0;
	void *zone = qp_memory_find(server_id, &bytes);
	struct qp_dp_link *l;
	int err;

	if (zone == NULL)
		return qp_fail(msg, QP_E_NOTFOUND, "the data plane has no memory zone");
	l = calloc(1, sizeof(*l));
	if (l == NULL)
		return qp_fail(msg, QP_E_NOMEM, "out of memory");
	l->nworkers = nworkers;
	l->version = version;
	l->shared = zone;
	err = qp_shared_open(&l->view, zone, bytes, msg);
	if (err == 0)
		err = check_view(&l->view, l->shared, server_id, nworkers, msg);
	if (err == 0)
		err = find_rings(l, epoch, msg);
	if (err != 0) {
		free(l);
		return err;
	}
	for (unsigned w = 0; w < nworkers; w++)
		l->worker[w].doorbell = doorbells[w];
	*out = l;
	return 0;
}

void
qp_dp_link_close(struct qp_dp_link *l)
{
	if (l == NULL)
		return;
	for (unsigned w = 0; w < l->nworkers; w++)
		close(l->worker[w].doorbell);
	free(l);
}

const struct qp_gen_shared *
qp_dp_link_shared(const struct qp_dp_link *l)
{
	return l->shared;
}

const struct qp_shared_view *
qp_dp_link_view(const struct qp_dp_link *l)
{
	return &l->view;
}

void
qp_dp_link_note_draining(struct qp_dp_link *l, uint64_t since_ns)
{
	__atomic_store_n(&l->shared->draining_since_ns, since_ns, __ATOMIC_RELAXED);
}

bool
qp_dp_link_receive(struct qp_dp_link *l, unsigned worker, struct qp_msg *out)
{
	if (rte_ring_sc_dequeue_elem(l->worker[worker].d2c, out, sizeof(*out)) != 0)
		return false;
	/* Not ours: a data plane that ends may have given its ring back already. Or not known to us. */
	if (out->version != l->version || out->type >= QP_MSG_NTYPES)
		out->type = 0;
	out->worker = (uint16_t)worker;
	return true;
}

unsigned
qp_dp_link_waiting(const struct qp_dp_link *l, unsigned worker, bool to_us)
{
	return rte_ring_count(to_us ? l->worker[worker].d2c : l->worker[worker].c2d);
}

unsigned
qp_dp_link_room(const struct qp_dp_link *l, unsigned worker)
{
	return rte_ring_free_count(l->worker[worker].c2d);
}

int
qp_dp_link_send(struct qp_dp_link *l, unsigned worker, struct qp_msg *m)
{
	uint64_t one = 1;

	if (qp_msg_since(m->type) > l->version)
		return 0;
	m->version = l->version;
	m->worker = (uint16_t)worker;
	if (rte_ring_sp_enqueue_elem(l->worker[worker].c2d, m, sizeof(*m)) != 0)
		return QP_E_FULL;
#if QP_IPC_AHEAD > 0
	/* What an older data plane does not know: it ignores it. */
	if (m->type == QP_MSG_CONFIG) {
		struct qp_msg ahead = {.type = QP_MSG_AHEAD, .version = m->version};

		(void)rte_ring_sp_enqueue_elem(l->worker[worker].c2d, &ahead, sizeof(ahead));
	}
#endif
	/*
	 * Enqueue, then look whether it sleeps; the worker says that it sleeps,
	 * then looks at the ring. With a full fence between the two on either side
	 * one of us sees the other. Pairs with the worker's store of c2d_sleeping.
	 */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (__atomic_load_n(&l->shared->door[worker].c2d_sleeping, __ATOMIC_SEQ_CST) != 0 &&
		write(l->worker[worker].doorbell, &one, sizeof(one)) < 0 && errno != EAGAIN)
		return QP_E_IO;
	return 0;
}

void
qp_dp_link_sleep(struct qp_dp_link *l)
{
	__atomic_store_n(&l->shared->d2c_sleeping, 1, __ATOMIC_SEQ_CST);
	/* Pairs with the fence between a worker's enqueue and its load of d2c_sleeping. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

void
qp_dp_link_wake(struct qp_dp_link *l)
{
	__atomic_store_n(&l->shared->d2c_sleeping, 0, __ATOMIC_RELAXED);
}

bool
qp_dp_link_pending(const struct qp_dp_link *l, unsigned worker)
{
	return !rte_ring_empty(l->worker[worker].d2c);
}
