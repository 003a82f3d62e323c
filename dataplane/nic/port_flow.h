/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_DATAPLANE_NIC_PORT_FLOW_H
#define QP_DATAPLANE_NIC_PORT_FLOW_H

#include <stdbool.h>
#include <stdint.h>

#include "common/nic.h"

/*
 * Rules by which a device itself brings a forwarded port's packets to the queue of the
 * worker that has the port (rte_flow), so that they need no handing over. Without them
 * everything works; a device that refuses such a rule, or more of them, is not asked
 * again. The port owner's main thread: a rule is the device's, and outlives data planes.
 */
#define QP_PORT_FLOW_RULES 4096u /* ports of a device that have one, at most */

struct qp_port_flow;

/*
 * Asks the device whether it can. NULL: it cannot, it has one queue, or there is no memory.
 * `port` is borrowed.
 */
struct qp_port_flow *qp_port_flow_new(const struct qp_nic_port *port);
/* Without rules any more. NULL is allowed. */
void qp_port_flow_free(struct qp_port_flow *f);

/*
 * Makes what is missing and removes what is stale, at most QP_PORT_FLOW_TURN of them; true:
 * there is more to do. Rules are for the ports of the generation that holds the queues: an
 * older one's packets are handed over anyway.
 */
#define QP_PORT_FLOW_TURN 256u
bool qp_port_flow_turn(struct qp_port_flow *f, const struct qp_nic *nic);

/* How many ports have rules. */
unsigned qp_port_flow_count(const struct qp_port_flow *f);

#endif
