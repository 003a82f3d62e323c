/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_TESTS_PORT_RESPONDER_H
#define QP_TESTS_PORT_RESPONDER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/classifier.h"

/*
 * A data plane of a few lines: a thread on a host port that echoes UDP
 * datagrams and what TCP connections send (in order, without loss), by
 * turning received frames around: a super-segment comes back as one.
 */
#define RESPONDER_CONNS 64

struct responder_conn {
	uint8_t remote[16];
	uint16_t rport, lport;
	uint32_t rcv_nxt, snd_nxt;
};

struct responder_stats {
	_Atomic uint64_t udp, tcp, icmp, other; /* frames */
	_Atomic uint64_t super;                 /* of them, super-segments */
	_Atomic uint64_t unverified;            /* TCP and UDP whose checksum nobody vouched for */
	_Atomic uint64_t largest;               /* bytes */
	_Atomic uint32_t last_ifindex, last_mtu; /* the last frame's marks */
	_Atomic uint64_t tx_refused;
	_Atomic uint64_t queue[QP_CLS_NQUEUES]; /* frames, by where they waited */
};

struct responder {
	struct qp_port *port;
	pthread_t thread;
	atomic_bool stop;
	struct responder_stats stats;
	struct responder_conn conns[RESPONDER_CONNS];
	unsigned nconns;
};

struct rte_mempool;

/* EAL without hugepages, and a pool; once a process. Aborts on failure. */
struct rte_mempool *responder_eal(unsigned mbufs);
/* Opens a host port in the current namespace. Aborts on failure. */
void responder_open(struct responder *r, const char *name, struct rte_mempool *pool);
void responder_close(struct responder *r);
/* Between them the port is the caller's. */
void responder_pause(struct responder *r);
void responder_resume(struct responder *r);

#endif
