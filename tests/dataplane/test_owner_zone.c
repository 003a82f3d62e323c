/* SPDX-License-Identifier: Apache-2.0 */
/* On which NUMA node a worker's memory is. The nodes are a test's: this host may have one. */
#include "dataplane/owner_zone.h"

#include <criterion/criterion.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <rte_memory.h>
#include <rte_memzone.h>

#define BYTES 1000u
#define BESIDE (4 * RTE_CACHE_LINE_SIZE) /* what DPDK may want beside it */

/* What each node has left; who asks for any gets the first one's that has enough. */
static uint64_t left[4];
static struct rte_memzone zone;
static unsigned asked;

static const struct rte_memzone *
reserve(const char *name, size_t bytes, int socket, unsigned flags, unsigned align)
{
	(void)flags;
	asked++;
	cr_expect_eq(align, RTE_CACHE_LINE_SIZE);
	for (int node = 0; node < 4; node++) {
		if ((socket != SOCKET_ID_ANY && socket != node) || left[node] < bytes)
			continue;
		left[node] -= bytes;
		snprintf(zone.name, sizeof(zone.name), "%s", name);
		zone.socket_id = node;
		return &zone;
	}
	return NULL;
}

static uint64_t
largest(int socket)
{
	return socket < 4 ? left[socket] : 0;
}

static const struct qp_owner_zone_ops ops = {reserve, largest};

static void
fill(uint64_t node0, uint64_t node1)
{
	memset(left, 0, sizeof(left));
	left[0] = node0;
	left[1] = node1;
	asked = 0;
}

static int
node_of(uint32_t wanted)
{
	const struct rte_memzone *got = qp_owner_zone("qp_mem_20000_1", BYTES, wanted, &ops);

	return got != NULL ? got->socket_id : -1;
}

Test(owner_zone, memory_is_on_the_workers_node)
{
	fill(9000, 9000);
	cr_expect_eq(node_of(1 + 1), 1);
	cr_expect_eq(node_of(1 + 0), 0);
	cr_expect_str_eq(zone.name, "qp_mem_20000_1");
	cr_expect_eq(asked, 2);
}

Test(owner_zone, node_without_room_gives_way_to_another)
{
	fill(9000, 2 * BYTES + BESIDE - 1);
	cr_expect_eq(node_of(1 + 1), 1);
	cr_expect_eq(asked, 1);
	cr_expect_eq(node_of(1 + 1), 0, "a byte is missing");
	cr_expect_eq(asked, 2, "a node with too little is not asked: it would fetch pages");
	cr_expect_eq(node_of(1 + 3), 0, "a node that has none at all");
}

Test(owner_zone, who_names_no_node_or_none_that_there_is_gets_any)
{
	fill(5, 9000);
	cr_expect_eq(node_of(0), 1);
	cr_expect_eq(node_of(UINT32_MAX), 1);
	cr_expect_eq(asked, 2, "no node is tried first");
}

Test(owner_zone, without_memory_there_is_none)
{
	fill(5, 9);
	cr_expect_eq(node_of(1 + 1), -1);
	cr_expect_eq(node_of(0), -1);
}
