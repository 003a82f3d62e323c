/* SPDX-License-Identifier: Apache-2.0 */
/* Where a data plane's memory is. */
#define QP_LOG_MODULE QP_LOG_M_process
#include "dataplane/owner_zone.h"

#include <rte_malloc.h>
#include <rte_memory.h>
#include <rte_memzone.h>

#include "common/log.h"

#define BESIDE (4 * RTE_CACHE_LINE_SIZE) /* DPDK's header of a zone, and what alignment may cost */

static uint64_t
largest(int socket)
{
	struct rte_malloc_socket_stats stats;

	return rte_malloc_get_socket_stats(socket, &stats) == 0 ? stats.greatest_free_size : 0;
}

const struct qp_owner_zone_ops qp_owner_zone_dpdk = {rte_memzone_reserve_aligned, largest};

/*
 * Of what is there: a node that has too little is not asked, since DPDK would fetch more pages,
 * and wait for each process to map them, one that was just killed among them.
 */
static const struct rte_memzone *
on_node(const char *name, uint64_t bytes, int node, const struct qp_owner_zone_ops *ops)
{
	if (ops->largest(node) < bytes + BESIDE)
		return NULL;
	return ops->reserve(name, bytes, node, 0, RTE_CACHE_LINE_SIZE);
}

const struct rte_memzone *
qp_owner_zone(const char *name, uint64_t bytes, uint32_t node, const struct qp_owner_zone_ops *ops)
{
	const struct rte_memzone *zone = NULL;

	if (node != 0 && node <= RTE_MAX_NUMA_NODES)
		zone = on_node(name, bytes, (int)node - 1, ops);
	if (zone != NULL)
		return zone;
	zone = ops->reserve(name, bytes, SOCKET_ID_ANY, 0, RTE_CACHE_LINE_SIZE);
	if (zone != NULL && node != 0 && zone->socket_id != (int)node - 1)
		qp_log(QP_LOG_WARN, "a worker's NUMA node has no hugepage memory of this gateway's left: it uses another "
			"node's, and is slower", QP_LOG_STR("zone", name), QP_LOG_U64("node", node - 1),
			QP_LOG_I64("memory_of", zone->socket_id), QP_LOG_U64("mib", bytes >> 20));
	return zone;
}
