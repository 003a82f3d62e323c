/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_DATAPLANE_NIC_RX_POOL_H
#define QP_DATAPLANE_NIC_RX_POOL_H

#include <stdbool.h>
#include <stdint.h>

#include <rte_mbuf.h>
#include <rte_mbuf_dyn.h>

#include "common/error.h"
#include "common/nic.h"

/*
 * Pools that dedicated ports receive into: the port owner's, used by all data
 * planes, one of which may be killed at any instruction. A stack without locks
 * holds what is free; each thread keeps some beside it, so that the stack is
 * touched once for many; and every mbuf is marked with who has it, so that what
 * a dead data plane had comes back.
 *
 * A mark is a server_id or one of these. A driver gets mbufs as DRIVER; who
 * receives them makes them its own, who hands them to another generation makes
 * them that one's before it does so. Freed, they are whose stash they are in,
 * and FREE in the stack. What is in no place while somebody is killed (a burst
 * of each worker, a handful of its stash) is lost until all ends.
 */
#define QP_RX_MARK_OWNER  0u
#define QP_RX_MARK_DRIVER 0xfffffffeu
#define QP_RX_MARK_FREE   0xffffffffu

/* Port owner, before its first pool: `nic` gets what others have to know. */
int qp_rx_pools_begin(struct qp_nic *nic, struct qp_errmsg *msg);
/* Data plane, before its workers run. QP_E_VERSION: its DPDK differs from the port owner's. */
int qp_rx_pools_attach(const struct qp_nic *nic, uint32_t server_id, struct qp_errmsg *msg);

/* Port owner: a pool of `n` mbufs with `data_room`, on a NUMA node. NULL: rte_errno. */
struct rte_mempool *qp_rx_pool_new(
	unsigned port, unsigned worker, uint32_t n, uint16_t data_room, int socket);
/* Any thread, before its end at the latest: what it keeps beside the stacks goes back. */
void qp_rx_pools_flush(void);
/*
 * Port owner: mbufs of generations that `lives` says no to become free. Their
 * transmit queues are empty, and nobody hands them anything any more. How many.
 */
unsigned qp_rx_pools_reclaim(bool (*lives)(void *ctx, uint32_t server_id), void *ctx);

/* Where the mark is in an mbuf (a dynamic field); -1: none of the process's pools has marks. */
extern int qp_rx_mark_at;
/* This process's own. */
extern uint32_t qp_rx_mark_own;

static inline uint32_t *
qp_rx_mark(struct rte_mbuf *m)
{
	return RTE_MBUF_DYNFIELD(m, qp_rx_mark_at, uint32_t *);
}

/* All mbufs of a frame that was received are `server_id`'s from now on. */
static inline void
qp_rx_give(struct rte_mbuf *frame, uint32_t server_id)
{
	if (qp_rx_mark_at < 0)
		return;
	for (; frame != NULL; frame = frame->next)
		*qp_rx_mark(frame) = server_id;
}

#endif
