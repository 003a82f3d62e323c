/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_DATAPLANE_WORKER_INTERNAL_H
#define QP_DATAPLANE_WORKER_INTERNAL_H

#include <poll.h>

#include "dataplane/api.h"
#include "dataplane/port.h"
#include "dataplane/quic/quic.h"
#include "dataplane/share.h"
#include "dataplane/tcp/tcp.h"
#include "dataplane/timer.h"
#include "dataplane/tunnel.h"
#include "dataplane/udp/udp.h"
#include "dataplane/worker.h"

struct rte_mbuf;
struct rte_mempool;

#define QP_WORKER_TX_ROOM 256u

/* Owner: its lcore, once it runs. Life: the process's. Lock: none. */
struct qp_worker {
	struct qp_worker_config cfg;
	struct qp_worker_shared *out;   /* counters; only this lcore writes */
	struct qp_ctl ctl;
	struct rte_mempool *pool, *indirect;
	struct qp_farewells *farewells;
	struct qp_wheel *wheel;
	/* What ends its sleep: the doorbell, then the port's queues. */
	struct pollfd wake[1 + QP_CLS_NQUEUES];
	uint64_t now_ns;
	uint8_t mem_level;              /* enum qp_mem_level */
	bool failed;                    /* the port did not start: wait to be told to end */
	bool draining;                  /* no new tunnels; leaves with the process's last one: */
	uint64_t drained_from_ns;       /* … not before */
	bool leaving;
	uint64_t leave_by_ns;
	uint64_t publish_at_ns;
	uint64_t idle_since_ns;         /* 0: busy */
	uint64_t nap_ns;                /* of a port that must be polled: the next one's length */
	/* Strangers. By enum qp_cls_queue: of the lcore's TSC cycles; the first has no limit. */
	struct qp_share share[QP_CLS_NQUEUES];
	uint64_t flows_at_ns;           /* when somebody known was last heard */
	uint64_t strangers_at_ns;       /* when strangers were last looked for */
	bool held;                      /* strangers may wait whose share is used up */
	/* From CONFIG on. */
	struct qp_port *port;
	struct qp_port *_Atomic shown_port; /* the same for other threads: stored with release, once it is up */
	struct qp_tcp *tcp;
	struct qp_udp *udp;
	struct qp_quic *quic;
	struct qp_tunnels *tunnels;
	struct qp_api *api;
	uint16_t quic_port_be;
	uint16_t tx_len;
	bool port_full;                 /* it took none of what was sent last in this turn */
	bool waited;                    /* the last turn did nothing but ask it again */
	struct rte_mbuf *tx[QP_WORKER_TX_ROOM];
};

/* Everybody's way out: struct qp_tcp_env's and qp_quic_env's transmit. */
void qp_worker_transmit(void *worker, struct rte_mbuf *frame);
/*
 * True when half of what may wait for the port does, and the port takes no more now: the other
 * half is for those who do not ask. struct qp_quic_env's full.
 */
bool qp_worker_full(void *worker);
void qp_worker_tx_flush(struct qp_worker *w);
/* A received frame to who it is for. Consumes it. */
void qp_worker_handle(struct qp_worker *w, struct rte_mbuf *m);
/* To the control plane, with the worker's index; false: not taken (see qp_ctl_send). */
bool qp_worker_send(void *worker, const struct qp_msg *msg);

/* worker_strangers.c */
void qp_worker_share_init(struct qp_worker *w);
/* Serves strangers, within their share while others are there. How many frames. */
unsigned qp_worker_receive_strangers(struct qp_worker *w);

/* worker_open.c */
/* CONFIG: opens the port and all that stands on it, and answers HELLO. */
void qp_worker_configure(struct qp_worker *w, const struct qp_msg_config *in);

#endif
