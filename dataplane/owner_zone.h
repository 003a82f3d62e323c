/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_DATAPLANE_OWNER_ZONE_H
#define QP_DATAPLANE_OWNER_ZONE_H

#include <stddef.h>
#include <stdint.h>

struct rte_memzone;

/* How memory is made: DPDK's, or a test's. */
struct qp_owner_zone_ops {
	/* rte_memzone_reserve_aligned() */
	const struct rte_memzone *(*reserve)(
		const char *name, size_t bytes, int socket, unsigned flags, unsigned align);
	/* The largest piece that a NUMA node has free, in bytes; 0: it has none, or is none. */
	uint64_t (*largest)(int socket);
};
extern const struct qp_owner_zone_ops qp_owner_zone_dpdk;

/*
 * A zone on the NUMA node that is asked for (as in struct qp_owner_ask: 1 + its number, 0: any),
 * else on any, which is told: who uses it pays for each cache line that changes nodes, but serves.
 * NULL: there is no memory. The port owner's main thread.
 */
const struct rte_memzone *qp_owner_zone(
	const char *name, uint64_t bytes, uint32_t node, const struct qp_owner_zone_ops *ops);

#endif
