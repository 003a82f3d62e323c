/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_DATAPLANE_TRIM_H
#define QP_DATAPLANE_TRIM_H

#include <stdbool.h>
#include <stdint.h>

#include "common/ipc.h"

/*
 * Gives memory back to the system that a crowd of tunnels or connections has
 * freed: malloc keeps what lies between pieces that are in use. Owner: the data
 * plane's main thread. Life: the process's. Lock: none of ours; malloc's, which
 * workers wait for meanwhile, so only while they all sleep.
 */
struct qp_trim {
	uint64_t peak_bytes;    /* of the heap in use, since the last time */
	uint64_t calm_bytes;    /* of it when the calm began */
	uint64_t calm_since_ns;
	bool owed;              /* due, and a worker was awake */
};

#define QP_TRIM_LEAST (16ull << 20) /* what is worth it … */
#define QP_TRIM_MOST (2048ull << 20) /* … and what would take longer than a heartbeat may */
#define QP_TRIM_CALM_NS (2000ull * 1000 * 1000)

/*
 * Whether it is time: the heap in use has fallen by more than half and by a
 * crowd's worth, and hardly changed for QP_TRIM_CALM_NS. True once for each crowd.
 */
bool qp_trim_due(struct qp_trim *t, uint64_t heap_bytes, uint64_t now_ns);
/* Each turn of the main thread: gives back what is due, in some milliseconds. */
void qp_trim_turn(struct qp_trim *t, const struct qp_gen_shared *shared, uint64_t now_ns);

#endif
