/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_DATAPLANE_NIC_PORT_H
#define QP_DATAPLANE_NIC_PORT_H

#include <stdint.h>

#include "common/counters.h"
#include "common/error.h"
#include "common/nic.h"
#include "dataplane/nic/bare.h"
#include "dataplane/port.h"

struct rte_mbuf;
struct rte_mempool;
struct qp_wheel;

/*
 * Nic mode's port: all dedicated ports as a worker sees them. It receives from the queues
 * that the worker's generation holds and from its hand-off rings, does the host's part of
 * what comes (dataplane/net), hands over what is another worker's, and returns what is its
 * own with the marks that frames have in host mode (common/classifier.h). What it is given
 * to send it brings to the next hop's port. One qp_port_rx is one turn: generations and
 * queues change hands at its beginning.
 *
 * Owner: one lcore. Life: the generation's. Lock: none. On the packet path it writes to no
 * line that another worker writes to, but for hand-off rings.
 */

struct qp_nic_port_counters {
#define X(field, help) uint64_t field;
	QP_NIC_COUNTERS(X)
#undef X
};

/* All borrowed for the port's life. */
struct qp_port_links;

struct qp_nic_port_config {
	struct qp_nic *nic;
	uint32_t server_id;
	uint32_t worker, nworkers;
	uint64_t handoff;             /* the generation's rings; qp_handoff_init was called */
	struct qp_port_links *links;  /* the process's: which ports may be used now; NULL: all, always */
	const int *doorbell;          /* of each of its workers: eventfds; NULL: nobody naps */
	struct qp_wheel *wheel;
	const uint64_t *now_ns;
	struct rte_mempool *pool;     /* plain mbufs of the worker's */
	uint64_t (*random)(void *ctx); /* unpredictable 64 bits */
	void *random_ctx;
	/* Of a test, in place of qp_eth_port_open and qp_eth_port_rx; NULL: these. */
	int (*open)(void *ctx, const struct qp_eth_port_config *cfg, struct qp_port **out,
		struct qp_errmsg *msg);
	void *open_ctx;
	uint16_t (*receive)(struct qp_port *p, uint16_t rx_queue, struct rte_mbuf **frames, uint16_t n);
};

/*
 * QP_E_INVAL: the ports have too few queues for so many workers, or no transmit slot for
 * this generation; QP_E_NOMEM; what opening a queue says. The control plane has entered
 * the generation in cfg->nic->gen.
 */
int qp_nic_port_open(const struct qp_nic_port_config *cfg, struct qp_port **out,
	struct qp_errmsg *msg);

/* Of a port that qp_nic_port_open has opened. */
const struct qp_nic_port_counters *qp_nic_port_counters(const struct qp_port *p);
const struct qp_net_counters *qp_nic_port_net_counters(const struct qp_port *p);
/* By the prompt's order: the engine, and ports (bit N) that are neither received from nor sent by. */
void qp_nic_port_order(struct qp_port *p, enum qp_nic_engine engine, uint32_t ports_off);
/* Its part of the host: the lcore's. */
const struct qp_net *qp_nic_port_net(const struct qp_port *p);
/* A dedicated port's counters, of this worker's queues; `port` is an index in struct qp_nic. Any thread. */
const struct qp_port_counters *qp_nic_port_of(const struct qp_port *p, unsigned port);
/* Eighths of a pool to receive into that are free, of the one that has the least; 8: all. */
uint32_t qp_nic_port_rx_eighths(const struct qp_port *p);
/* How many connections the worker has: where new clients go is decided by it. */
void qp_nic_port_set_load(struct qp_port *p, uint32_t connections);

#endif
