/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_DATAPLANE_NIC_PLACEMENT_H
#define QP_DATAPLANE_NIC_PLACEMENT_H

#include <stdbool.h>
#include <stdint.h>

#include "common/ipc.h"

/*
 * Which worker of the holder a new QUIC client goes to: the one with the fewest
 * connections, or the one that its packets come to anyway, if that has hardly more (an
 * eighth): they need no handing over then. What the client repeats goes to the same one. A
 * worker decides for the clients that the port's hash leads to it. Owner: one lcore. Lock: none.
 */
#define QP_PLACEMENT_ENTRIES 8192u

struct qp_placement_entry {
	uint32_t mark;      /* of the client that was last placed by this entry */
	uint16_t server_id; /* 0: free */
	uint8_t worker;
	uint8_t pad;
	uint32_t at_ms;     /* when it was last heard */
};

struct qp_placement {
	struct qp_placement_entry *entries;
	uint32_t seed;
	uint32_t pending_ms;                  /* since when `pending` counts */
	uint32_t pending[QP_MAX_WORKERS];     /* placed, and perhaps not in their worker's load yet */
	uint32_t seen[QP_MAX_WORKERS];        /* that load, when it was last looked at */
	uint32_t pending_server;
};

/* QP_E_NOMEM. `seed`: random. */
int qp_placement_init(struct qp_placement *p, uint32_t seed);
void qp_placement_fini(struct qp_placement *p);

/* Where there is to choose. */
struct qp_placement_gen {
	uint32_t server_id, nworkers;
	uint64_t handoff; /* its rings; 0: none, all its workers are equal */
	uint32_t home;    /* the worker that receives the client's packets; UINT32_MAX: none of these */
};

/*
 * The worker for the client whose hash is `hash`. `opens`: the packet can open a
 * connection; another one of an unknown client goes where the hash says, and is forgotten.
 */
uint32_t qp_placement_worker(struct qp_placement *p, uint32_t hash, bool opens,
	const struct qp_placement_gen *gen, uint64_t now_ns);

#endif
