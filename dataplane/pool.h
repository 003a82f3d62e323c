/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_DATAPLANE_POOL_H
#define QP_DATAPLANE_POOL_H

#include <stddef.h>
#include <stdint.h>

struct rte_mempool;

/*
 * An mbuf pool in memory that is there already. rte_pktmbuf_pool_create() takes
 * four locks that all processes share, and a process that is killed with one
 * holds it for ever; this takes none, and no other process knows the pool. It
 * goes with its memory. Of one lcore: get and put are one thread's at a time.
 */

/* What qp_pool_make needs for `n` mbufs with `data_room` bytes (0: indirect ones). */
size_t qp_pool_bytes(uint32_t n, uint16_t data_room);
/* `at`: so many bytes, aligned to cache lines, zeroed or not. Cannot fail. */
struct rte_mempool *qp_pool_make(void *at, const char *name, uint32_t n, uint16_t data_room);

#endif
