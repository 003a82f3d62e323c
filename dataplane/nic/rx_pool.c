/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The handler of mempools that port owner and data planes share. Any thread: a
 * stash is its thread's own.
 */
/* The stack's double-width compare and exchange: experimental in DPDK 22.11, the same since. */
#define ALLOW_EXPERIMENTAL_API
#include "dataplane/nic/rx_pool.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_errno.h>
#include <rte_mempool.h>
#include <rte_stack.h>

#define HANDLER "qp_rx"
#define POOLS (QP_NIC_MAX_PORTS * QP_NIC_MAX_QUEUES)
#define STASH 256u
#define MOVE  (STASH / 2)

int qp_rx_mark_at = -1;
uint32_t qp_rx_mark_own = QP_RX_MARK_OWNER;

/* Mbufs that the thread has beside a pool's stack, marked as the process's own. */
struct stash {
	struct rte_mempool *pool;
	unsigned n;
	void *at[STASH];
};

static _Thread_local struct stash *stashes[POOLS];
static struct rte_mempool *pools[POOLS]; /* the port owner's; by port and worker */

static unsigned
index_of(const struct rte_mempool *mp)
{
	return (unsigned)(uintptr_t)mp->pool_config;
}

static struct stash *
own_stash(struct rte_mempool *mp)
{
	struct stash **s = &stashes[index_of(mp)];

	if (*s == NULL) { /* once for each thread and pool */
		*s = calloc(1, sizeof(**s));
		if (*s != NULL)
			(*s)->pool = mp;
	}
	return *s;
}

static void
mark(void *const *m, unsigned n, uint32_t who)
{
	for (unsigned i = 0; i < n; i++)
		*qp_rx_mark(m[i]) = who;
}

/* Marked before: one that is found in the stack is free, whenever its pusher dies. */
static int
push(struct rte_mempool *mp, void *const *m, unsigned n)
{
	mark(m, n, QP_RX_MARK_FREE);
	return rte_stack_push(mp->pool_data, m, n) == n ? 0 : -ENOBUFS;
}

static int
put(struct rte_mempool *mp, void *const *m, unsigned n)
{
	struct stash *s = own_stash(mp);

	if (s == NULL || n > MOVE)
		return push(mp, m, n);
	if (s->n + n > STASH) {
		s->n -= MOVE;
		if (push(mp, s->at + s->n, MOVE) != 0)
			return -ENOBUFS;
	}
	mark(m, n, qp_rx_mark_own);
	memcpy(s->at + s->n, m, n * sizeof(*m));
	s->n += n;
	return 0;
}

/* True: there are `n` in it. */
static bool
fill(struct rte_mempool *mp, struct stash *s, unsigned n)
{
	unsigned got;

	if (s->n >= n)
		return true;
	/* All or none is what a stack gives: near its end, as few as will do. */
	got = rte_stack_pop(mp->pool_data, s->at + s->n, MOVE);
	if (got == 0)
		got = rte_stack_pop(mp->pool_data, s->at + s->n, n - s->n);
	mark(s->at + s->n, got, qp_rx_mark_own);
	s->n += got;
	return s->n >= n;
}

static int
get(struct rte_mempool *mp, void **m, unsigned n)
{
	struct stash *s = own_stash(mp);

	if (s == NULL || n > MOVE) {
		if (rte_stack_pop(mp->pool_data, m, n) != n)
			return -ENOBUFS;
	} else {
		if (!fill(mp, s, n))
			return -ENOBUFS;
		s->n -= n;
		memcpy(m, s->at + s->n, n * sizeof(*m));
	}
	mark(m, n, QP_RX_MARK_DRIVER);
	return 0;
}

/* What threads have beside it is not in use either, but nobody else's to take. */
static unsigned
count(const struct rte_mempool *mp)
{
	const struct stash *s = stashes[index_of(mp)];

	return rte_stack_count(mp->pool_data) + (s != NULL ? s->n : 0);
}

static int
make_stack(struct rte_mempool *mp)
{
	mp->pool_data = rte_stack_create(mp->name, mp->size, mp->socket_id, RTE_STACK_F_LF);
	return mp->pool_data != NULL ? 0 : -rte_errno;
}

static void
free_stack(struct rte_mempool *mp)
{
	rte_stack_free(mp->pool_data);
}

static const struct rte_mempool_ops ops = {
	.name = HANDLER,
	.alloc = make_stack,
	.free = free_stack,
	.enqueue = put,
	.dequeue = get,
	.get_count = count,
};

int
qp_rx_pools_begin(struct qp_nic *nic, struct qp_errmsg *msg)
{
	const struct rte_mbuf_dynfield field = {.name = "quicport_rx_mark",
		.size = sizeof(uint32_t), .align = sizeof(uint32_t)};
	const int at = rte_mbuf_dynfield_register(&field);
	const int index = at < 0 ? at : rte_mempool_register_ops(&ops);

	if (at < 0 || index < 0)
		return qp_fail(msg, QP_E_IO, "packet buffers cannot be marked: %s",
			rte_strerror(rte_errno));
	qp_rx_mark_at = nic->rx_mark = at;
	nic->rx_ops = (uint32_t)index;
	return 0;
}

int
qp_rx_pools_attach(const struct qp_nic *nic, uint32_t server_id, struct qp_errmsg *msg)
{
	const int index = rte_mempool_register_ops(&ops);

	/* Pools know their handler by its number, which DPDK counts in each process for itself. */
	if (index != (int)nic->rx_ops)
		return qp_fail(msg, QP_E_VERSION,
			"the port owner's DPDK has other mempool handlers than ours: install both "
			"from one release, then quicport admin replace-port-owner");
	qp_rx_mark_at = nic->rx_mark;
	qp_rx_mark_own = server_id;
	return 0;
}

/* rte_pktmbuf_init leaves a zero there. */
static void
init_mbuf(struct rte_mempool *mp, void *opaque, void *m, unsigned i)
{
	const uint32_t was = *qp_rx_mark(m);

	rte_pktmbuf_init(mp, opaque, m, i);
	*qp_rx_mark(m) = was;
}

struct rte_mempool *
qp_rx_pool_new(unsigned port, unsigned worker, uint32_t n, uint16_t data_room, int socket)
{
	const unsigned index = port * QP_NIC_MAX_QUEUES + worker;
	const struct rte_pktmbuf_pool_private private = {.mbuf_data_room_size = data_room};
	char name[RTE_MEMPOOL_NAMESIZE];
	struct rte_mempool *mp;

	snprintf(name, sizeof(name), "qp_rx_%u_%u", port, worker);
	mp = rte_mempool_create_empty(name, n, (unsigned)sizeof(struct rte_mbuf) + data_room, 0,
		sizeof(private), socket, 0);
	if (mp == NULL)
		return NULL;
	if (rte_mempool_set_ops_byname(mp, HANDLER, (void *)(uintptr_t)index) != 0) {
		rte_mempool_free(mp);
		return NULL;
	}
	rte_pktmbuf_pool_init(mp, (void *)(uintptr_t)&private);
	if (rte_mempool_populate_default(mp) < 0) {
		rte_mempool_free(mp);
		return NULL;
	}
	rte_mempool_obj_iter(mp, init_mbuf, NULL);
	pools[index] = mp;
	return mp;
}

void
qp_rx_pools_flush(void)
{
	for (unsigned i = 0; i < POOLS; i++) {
		struct stash *s = stashes[i];

		stashes[i] = NULL;
		if (s != NULL && s->n > 0)
			(void)push(s->pool, s->at, s->n); /* there is room: it holds all that there are */
		free(s);
	}
}

struct reclaiming {
	bool (*lives)(void *ctx, uint32_t server_id);
	void *ctx;
	uint32_t alive, dead; /* the last ones that were asked about */
	unsigned n;
};

static bool
is_dead(struct reclaiming *r, uint32_t who)
{
	if (who == QP_RX_MARK_OWNER || who == QP_RX_MARK_DRIVER || who == QP_RX_MARK_FREE ||
		who == r->alive)
		return false;
	if (who != r->dead) {
		if (r->lives(r->ctx, who))
			r->alive = who;
		else
			r->dead = who;
	}
	return who == r->dead;
}

static void
reclaim_mbuf(struct rte_mempool *mp, void *ctx, void *m, unsigned i)
{
	struct reclaiming *r = ctx;

	if (!is_dead(r, *qp_rx_mark(m)))
		return;
	/* Whatever state it was left in. */
	rte_pktmbuf_init(mp, NULL, m, i);
	r->n += push(mp, &m, 1) == 0;
}

unsigned
qp_rx_pools_reclaim(bool (*lives)(void *ctx, uint32_t server_id), void *ctx)
{
	struct reclaiming r = {.lives = lives, .ctx = ctx};

	for (unsigned i = 0; i < POOLS; i++) {
		if (pools[i] != NULL)
			rte_mempool_obj_iter(pools[i], reclaim_mbuf, &r);
	}
	return r.n;
}
