/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_DATAPLANE_NIC_BARE_H
#define QP_DATAPLANE_NIC_BARE_H

#include <stdint.h>

struct rte_mbuf;
struct qp_nic_worker_port;

/*
 * testpmd's engines, to measure what a port costs by itself: a frame is read, perhaps its
 * addresses are, and it goes out by the port's pair (0 and 1, 2 and 3 …; one that has none:
 * itself). Nothing is steered, answered or carried meanwhile. The worker's lcore.
 */
enum qp_nic_engine {
	QP_NIC_ENGINE_TUNNEL = 0, /* the gateway's own */
	QP_NIC_ENGINE_IO,         /* as they came */
	QP_NIC_ENGINE_MAC,        /* from the port, to 02:00:00:00:00:PORT */
	QP_NIC_ENGINE_MACSWAP,    /* back to who sent them */
	QP_NIC_ENGINE_RXONLY,     /* nowhere */
	QP_NIC_NENGINES,
};

#define QP_NIC_ENGINE_NAMES "tunnel", "io", "mac", "macswap", "rxonly"

/* Consumes a burst that came by `port`, an index in struct qp_nic. */
void qp_nic_bare(struct qp_nic_worker_port *w, unsigned port, struct rte_mbuf **frames, uint16_t n);

#endif
