/* SPDX-License-Identifier: Apache-2.0 */
/* The neighbour cache, for people. The worker's lcore. */
#include <string.h>

#include "dataplane/net/internal.h"

static const char *const states[] = {
	[QP_NEIGH_NONE] = "NONE",
	[QP_NEIGH_INCOMPLETE] = "INCOMPLETE",
	[QP_NEIGH_REACHABLE] = "REACHABLE",
	[QP_NEIGH_STALE] = "STALE",
	[QP_NEIGH_DELAY] = "DELAY",
	[QP_NEIGH_PROBE] = "PROBE",
};

uint32_t
qp_net_neighbours(const struct qp_net *net, uint32_t from, struct qp_net_neighbour *out, uint32_t most,
	uint32_t *n)
{
	uint32_t at = from;

	for (*n = 0; at < net->cfg.max_neighbours && *n < most; at++) {
		const struct qp_net_neigh *e = &net->neigh[at];

		if (e->id == 0)
			continue;
		out[*n] = (struct qp_net_neighbour) {
			.addr = e->addr, .port = e->port, .state = states[e->state], .pinned = e->pinned};
		memcpy(out[(*n)++].mac, e->mac, sizeof(e->mac));
	}
	return at < net->cfg.max_neighbours ? at : 0;
}
