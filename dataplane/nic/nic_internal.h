/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_DATAPLANE_NIC_INTERNAL_H
#define QP_DATAPLANE_NIC_INTERNAL_H

#include <stdalign.h>

#include "dataplane/net/net.h"
#include "dataplane/nic/bare.h"
#include "dataplane/nic/handoff.h"
#include "dataplane/nic/hold.h"
#include "dataplane/nic/nic_port.h"
#include "dataplane/nic/steer.h"
#include "dataplane/nic/strangers.h"

struct rte_mbuf;

#define QP_NIC_BURST    32u
#define QP_NIC_WAITING  512u /* strangers of a kind that wait for the worker's time */
#define QP_NIC_TX_ROOM  256u /* frames that wait for a port */

/* What a ring's item is: in the low bits of the mbuf's address. */
enum qp_nic_item {
	QP_NIC_ITEM_OWN = 0, /* the taker's; it has its marks */
	QP_NIC_ITEM_COLLECT, /* a piece of a datagram that the taker collects; it has its marks */
	QP_NIC_ITEM_LEARN,   /* about a neighbour: a copy for qp_net_learn; mbuf.port: the port's index */
	QP_NIC_ITEM_NEW,     /* the taker's, and QUIC that names no connection; it has its marks */
};
#define QP_NIC_ITEM_MASK UINT64_C(3)

static inline struct rte_mbuf *
qp_nic_item_mbuf(uint64_t item)
{
	return (struct rte_mbuf *)(uintptr_t)(item & ~QP_NIC_ITEM_MASK);
}

/* Frames that wait to be handed to one worker, until the burst's end. */
struct qp_nic_out {
	uint16_t n;
	bool listed;
	uint64_t item[QP_NIC_BURST];
};

struct qp_nic_waiting {
	uint32_t head, tail;
	struct rte_mbuf *frame[QP_NIC_WAITING];
};

struct qp_nic_tx {
	struct qp_port *port;
	uint16_t n;
	struct rte_mbuf *frame[QP_NIC_TX_ROOM];
};

/* Owner: one lcore. Life: qp_nic_port_open to close. Lock: none. */
struct qp_nic_worker_port {
	struct qp_port port;
	struct qp_nic_port_config cfg;
	struct qp_nic_port_counters counters;
	uint32_t slot;                     /* transmit slot: our index in nic->gen */
	struct qp_steer steer;
	struct qp_hold hold;
	struct qp_strangers *strangers;
	struct qp_net *net;
	uint32_t rings_first;              /* turns: queues were taken over, or 0 */
	bool was_holder;
	enum qp_nic_engine engine;         /* the prompt's order */
	uint32_t ports_off;                /* likewise: bit N, neither receives nor sends */
	bool usable[QP_NIC_MAX_PORTS];     /* the links, as of the last turn */
	uint32_t turn;
	uint32_t joined[QP_NIC_MAX_GENS];  /* server_id whose rings we have joined as a producer */
	struct qp_nic_tx tx[QP_NIC_MAX_PORTS]; /* the ports themselves, and what waits for them */
	struct qp_nic_waiting waiting[QP_CLS_NQUEUES]; /* the first is not used */
	/* Hand-off out. `list`: those of `out` that have something. */
	struct qp_nic_out out[QP_NIC_MAX_GENS][QP_MAX_WORKERS];
	uint16_t nlist;
	struct {
		uint8_t gen, worker;
	} list[QP_NIC_MAX_GENS * QP_MAX_WORKERS];
};

/* nic_rx.c */
uint16_t qp_nic_rx(struct qp_port *p, enum qp_cls_queue queue, struct rte_mbuf **frames, uint16_t n);

/* nic_out.c */
/* Puts an item into a worker's ring at the burst's end. Consumes the mbuf. */
void qp_nic_hand(struct qp_nic_worker_port *w, uint32_t gen, uint32_t worker,
	struct rte_mbuf *m, enum qp_nic_item kind);
void qp_nic_hand_flush(struct qp_nic_worker_port *w);
/* At a turn's beginning: makes us the producer of the rings of generations that are new. */
void qp_nic_join(struct qp_nic_worker_port *w);
/* struct qp_net_env's replicate: to all workers of all generations but us. */
void qp_nic_replicate(void *ctx, unsigned port, const struct rte_mbuf *frame);

/* nic_tx.c */
uint16_t qp_nic_tx(struct qp_port *p, struct rte_mbuf **frames, uint16_t n);
/* struct qp_net_env's transmit. */
void qp_nic_transmit(void *ctx, unsigned port, struct rte_mbuf *frame);
/* What waits for the ports; false: some still does. */
bool qp_nic_tx_flush(struct qp_nic_worker_port *w);

#endif
