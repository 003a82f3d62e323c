/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A mempool put together by hand: header with the lcores' caches, a stack that
 * holds what is free, the mbufs. What rte_mempool_create() does, without its
 * list of all pools, its memzones and its heap.
 *
 * A stack, since what was freed last is in the processor's cache: a ring gives
 * back what was free longest, so that bursts that go beyond the lcore's share
 * turn the whole pool over, through the far cache. The one without a lock, since
 * a process that is killed must not hold one.
 */
/* The stack's double-width compare and exchange: experimental in DPDK 22.11, the same since. */
#define ALLOW_EXPERIMENTAL_API
#include "dataplane/pool.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include <rte_mbuf.h>
#include <rte_mempool.h>
#include <rte_stack.h>

#define CACHE 256u
/* When a cache gives back: rte_mempool's own factor. */
#define FLUSH_AT (CACHE + CACHE / 2)
#define HANDLER "lf_stack"

static size_t
lines(size_t bytes)
{
	return RTE_ALIGN_CEIL(bytes, (size_t)RTE_CACHE_LINE_SIZE);
}

static size_t
head_bytes(void)
{
	/* Caches, then the private data: where rte_mempool_get_priv() looks for it. */
	return RTE_MEMPOOL_HEADER_SIZE((struct rte_mempool *)NULL, CACHE) +
	       lines(sizeof(struct rte_pktmbuf_pool_private));
}

static size_t
stack_bytes(uint32_t n)
{
	return lines(sizeof(struct rte_stack) + n * sizeof(struct rte_stack_lf_elem));
}

/* What rte_stack_create() does, in memory that there is. */
static struct rte_stack *
make_stack(void *at, uint32_t n)
{
	struct rte_stack *s = at;

	memset(s, 0, sizeof(*s));
	s->capacity = n;
	s->flags = RTE_STACK_F_LF;
	for (uint32_t i = 0; i < n; i++)
		__rte_stack_lf_push_elems(
			&s->stack_lf.free, &s->stack_lf.elems[i], &s->stack_lf.elems[i], 1);
	return s;
}

static uint32_t
object_bytes(uint16_t data_room, struct rte_mempool_objsz *size)
{
	return rte_mempool_calc_obj_size(
		(uint32_t)(sizeof(struct rte_mbuf) + data_room), 0, size);
}

size_t
qp_pool_bytes(uint32_t n, uint16_t data_room)
{
	struct rte_mempool_objsz size;

	return head_bytes() + stack_bytes(n) + (size_t)n * object_bytes(data_room, &size);
}

static struct rte_mempool *
make_head(char *at, const char *name, uint32_t n, const struct rte_mempool_objsz *size)
{
	struct rte_mempool *mp = (struct rte_mempool *)at;

	memset(at, 0, head_bytes());
	snprintf(mp->name, sizeof(mp->name), "%s", name);
	mp->flags = RTE_MEMPOOL_F_SP_PUT | RTE_MEMPOOL_F_SC_GET;
	mp->socket_id = SOCKET_ID_ANY;
	mp->size = n;
	mp->cache_size = CACHE;
	mp->elt_size = size->elt_size;
	mp->header_size = size->header_size;
	mp->trailer_size = size->trailer_size;
	mp->private_data_size = sizeof(struct rte_pktmbuf_pool_private);
	mp->local_cache = (struct rte_mempool_cache *)(at + sizeof(*mp));
	STAILQ_INIT(&mp->elt_list);
	STAILQ_INIT(&mp->mem_list);
	for (unsigned i = 0; i < RTE_MAX_LCORE; i++) {
		mp->local_cache[i].size = CACHE;
		mp->local_cache[i].flushthresh = FLUSH_AT;
	}
	return mp;
}

static void
add_object(struct rte_mempool *mp, char *at)
{
	void *object = at + mp->header_size;
	struct rte_mempool_objhdr *head = rte_mempool_get_header(object);

	head->mp = mp;
	head->iova = (rte_iova_t)(uintptr_t)object; /* --iova-mode=va */
	STAILQ_INSERT_TAIL(&mp->elt_list, head, next);
	mp->populated_size++;
	rte_mempool_ops_enqueue_bulk(mp, &object, 1);
}

struct rte_mempool *
qp_pool_make(void *at, const char *name, uint32_t n, uint16_t data_room)
{
	struct rte_mempool_objsz size;
	const uint32_t each = object_bytes(data_room, &size);
	struct rte_mempool *mp = make_head(at, name, n, &size);
	struct rte_pktmbuf_pool_private private = {.mbuf_data_room_size = data_room};
	char *object = (char *)at + head_bytes() + stack_bytes(n);
	int err = rte_mempool_set_ops_byname(mp, HANDLER, NULL);

	assert(err == 0); /* a handler of DPDK's own, linked in */
	(void)err;
	mp->pool_data = make_stack((char *)at + head_bytes(), n);
	mp->flags |= RTE_MEMPOOL_F_POOL_CREATED;
	rte_pktmbuf_pool_init(mp, &private);
	for (uint32_t i = 0; i < n; i++, object += each)
		add_object(mp, object);
	rte_mempool_obj_iter(mp, rte_pktmbuf_init, NULL);
	return mp;
}
