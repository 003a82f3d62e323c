/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_DATAPLANE_NIC_PORT_SETUP_INTERNAL_H
#define QP_DATAPLANE_NIC_PORT_SETUP_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>

#include <rte_ethdev.h>

#include "dataplane/nic/port_setup.h"

/* What the parts of port_setup.c have in common, in the order of its steps. Main thread. */

/* A port on its way. */
struct qp_setup {
	const struct qp_port_want *want;
	char name[RTE_ETH_NAME_MAX_LEN];
	uint16_t id;
	uint16_t workers, slots;
	uint16_t nrx, ntx;
	uint16_t nrxd, ntxd;
	bool has_mtu; /* else the device carries whatever it is given */
	struct rte_mempool *pool[QP_NIC_MAX_QUEUES]; /* by worker */
	struct rte_eth_dev_info info;
	struct rte_eth_conf conf;
};

/* port_buffers.c: the port's text, with buffers of the right size where that is an argument. */
const char *qp_setup_devargs(const struct qp_setup *s, char text[QP_PORT_DEVARGS_BYTES + 16]);
/* Bytes that a frame of the wanted MTU has in buffers. */
uint32_t qp_setup_frame_bytes(const struct qp_setup *s);
/* What the device says that it can. */
uint16_t qp_setup_largest_mtu(const struct qp_setup *s);
uint16_t qp_setup_mtu_to_configure(const struct qp_setup *s);
/* QP_E_INVAL: the device does not take it. */
int qp_setup_mtu(const struct qp_setup *s, struct qp_errmsg *msg);
/* One for each worker that receives. */
int qp_setup_pools(struct qp_setup *s, struct qp_errmsg *msg);

/* port_queues.c: lowers what a driver says that it has to what it has. */
void qp_setup_limit_descriptors(struct qp_setup *s);
/* `workers`, `slots`, `nrx`, `ntx`. */
void qp_setup_choose_queues(struct qp_setup *s);
/* As many receive as transmit queues. */
void qp_setup_pair_queues(struct qp_setup *s);
/* For one generation less; false: there is but one. */
bool qp_setup_fewer_queues(struct qp_setup *s);
/* Which of them a packet comes to, where the device is told. */
void qp_setup_spread(struct qp_setup *s);
/* Makes them, with their pools; the device is configured. */
int qp_setup_queues(struct qp_setup *s, struct qp_errmsg *msg);

/* port_offloads.c: `conf`, the queues are chosen. */
void qp_setup_offloads(struct qp_setup *s);

#endif
