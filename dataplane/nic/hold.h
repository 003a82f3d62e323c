/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_DATAPLANE_NIC_HOLD_H
#define QP_DATAPLANE_NIC_HOLD_H

#include <stdbool.h>
#include <stdint.h>

#include "common/nic.h"

/*
 * Which receive queues a worker polls: queue q of each port is that of worker
 * q % nworkers of the generation that `holder` names. No queue has two pollers:
 * the one before lets go first, or is dead (struct qp_nic_queue). Owner: one lcore.
 */
struct qp_hold {
	struct qp_nic *nic;
	uint32_t server_id;
	uint16_t wanted; /* how many it has as the holder */
	uint16_t n;      /* how many it has now; those of `at` */
	struct {
		uint8_t port;
		uint8_t queue;
	} at[QP_NIC_MAX_PORTS * QP_NIC_MAX_QUEUES];
};

void qp_hold_init(struct qp_hold *h, struct qp_nic *nic, uint32_t server_id, uint32_t worker,
	uint32_t nworkers);

/*
 * At a turn's beginning, when all that was received before has been handed on: takes queues
 * or lets go of them. True: it has more than before, so frames that the one before took from
 * them may be in the hand-off rings, and come first.
 */
bool qp_hold_turn(struct qp_hold *h);
/* At the end: all go. */
void qp_hold_release(struct qp_hold *h);

#endif
