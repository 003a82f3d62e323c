/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_TESTS_NIC_WORLD_H
#define QP_TESTS_NIC_WORLD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/nic.h"
#include "dataplane/nic/handoff.h"
#include "dataplane/nic/nic_port.h"
#include "dataplane/port.h"
#include "tests/nic/packets.h"

struct rte_mempool;
struct rte_mbuf;
struct qp_wheel;

/*
 * A NIC without hardware, and generations of workers at it. Each queue is a pair of
 * bounded queues between the test and one worker, so a test may step the workers by
 * hand or run each in a thread. All on one port with the addresses of world_open.
 */
#define WORLD_QUEUES  8u
#define WORLD_FRAMES  1024u
#define WORLD_US      "192.0.2.1"
#define WORLD_US6     "2001:db8::1"
#define WORLD_THEM    "198.51.100.7"  /* behind WORLD_GATEWAY */
#define WORLD_GATEWAY "192.0.2.254"
#define WORLD_QUIC    4433u
#define WORLD_API     7000u

/* One producer, one consumer. */
struct fifo {
	_Atomic uint32_t tail, head;
	struct rte_mbuf *frame[WORLD_FRAMES];
};

struct queue {
	struct fifo in, out;
	atomic_uint pollers;     /* workers that poll it just now */
	atomic_uint two_pollers; /* how often there were two */
	uint64_t polls;          /* as a driver's own state: only the hand-over orders two pollers */
	bool slow;               /* of a transmit queue: the next frame is taken, and sent by the call after */
	struct rte_mbuf *taken;
};

struct worker {
	struct gen *gen;
	uint32_t index;
	uint64_t now_ns;
	struct qp_wheel *wheel;
	struct rte_mempool *pool; /* its own packets */
	struct qp_port *port;
	struct qp_nic_port_config cfg; /* as it was opened */
	void (*got)(struct worker *w, struct rte_mbuf *m); /* consumes; NULL: counts and frees */
	uint64_t frames, bytes;
	struct frame last;        /* the last one's first bytes */
	void *user;
};

struct gen {
	struct world *world;
	uint32_t id, slot, nworkers;
	void *handoff;
	struct worker worker[WORLD_QUEUES];
};

struct world {
	struct qp_nic *nic;
	struct rte_mempool *rx_pool;
	struct queue queue[WORLD_QUEUES];
	struct queue tx[QP_NIC_MAX_GENS * WORLD_QUEUES];
	uint64_t now_ns; /* of those that are stepped */
};

/* `pool`: any thread may free into it. */
void world_open(struct world *w, uint32_t queues, struct rte_mempool *rx_pool);
void world_close(struct world *w);

/* Enters it in slot `slot` and opens its workers' ports. `pools`: one for each worker. */
void gen_open(struct gen *g, struct world *w, uint32_t slot, uint32_t id, uint32_t nworkers,
	struct rte_mempool **pools);
void gen_close(struct gen *g);
/* The receive queues are to be its. */
void gen_hold(struct gen *g);

/* False: the queue is full. */
bool world_receive(struct world *w, uint32_t queue, const struct frame *f);
/* What a worker sent, of all its slot's queue; false: nothing more. */
bool world_sent(struct world *w, uint32_t slot, uint32_t worker, struct frame *f);
/* Answers the workers' questions who the gateway and others are, by queue 0. Other frames are freed. */
void world_answer_arp(struct world *w);

/* One turn of a worker: frames of each of its queues go to `got`. How many. */
unsigned worker_turn(struct worker *w);
/* Turns of all workers of `n` generations until none has anything. */
void settle(struct world *w, struct gen **gens, unsigned n);
/* Sends a frame as the worker's TCP would: `f` without Ethernet header's contents. */
void worker_send(struct worker *w, struct rte_mempool *pool, const struct frame *f);

const struct qp_nic_port_counters *counters(const struct worker *w);

#endif
