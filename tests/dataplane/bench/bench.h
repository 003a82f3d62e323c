/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_TESTS_DATAPLANE_BENCH_H
#define QP_TESTS_DATAPLANE_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/ipc.h"
#include "dataplane/ip.h"

/*
 * What the data-plane lcore costs, by itself: a real worker (worker.c and all
 * that stands on it) on a port in memory that copies each packet once each way,
 * as memif does. The rest of the world is on another thread of the same CPU,
 * which runs when the worker has received all that there was, and whose time
 * does not count: ngtcp2 clients, outside users with a TCP of their own, and a
 * control plane that says yes. So figures do not depend on how fast those are.
 */
struct rte_mbuf;
struct rte_mempool;

#define BENCH_QUIC_PORT 39000u
#define BENCH_TCP_PORT 40000u /* of the first client; the n-th has the n-th port after it */
#define BENCH_PACKET 1452u    /* QUIC datagram */

/* For what the bench itself relies on. */
#define must(cond)                                                                                 \
	do {                                                                                       \
		if (!(cond)) {                                                                     \
			fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, #cond);   \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

struct bench_config {
	unsigned cpu;     /* of the worker */
	unsigned peers_cpu; /* of the rest of the world */
	bool huge;        /* memory from huge pages */
	bool super;       /* the port has checksums and segmentation, both ways; else packets of 1,500 bytes */
	bool audit;       /* the control plane is told of each connection */
	unsigned clients; /* tunnels at most */
};

struct bench_slot {
	uint32_t len;
	uint16_t segsz; /* payload of each wire packet of a super-segment; 0: it is none */
	bool tcp;
};

/* Packets on their way, copied in and out. Owner: whichever of the two threads runs. */
struct bench_wire {
	uint8_t *bytes;
	struct bench_slot *slot;
	uint32_t slots, stride; /* slots: a power of two */
	uint32_t head, tail;    /* head - tail wait */
	uint64_t dropped;
};

/* What the worker took, of the TSC's cycles. */
struct bench_meter {
	uint64_t cycles;    /* of turns in which packets came or went */
	uint64_t turns;
	uint64_t idle;      /* of the others */
	uint64_t preempted; /* stretches in which another program had the CPU: not counted */
};

/* gateway.c */
extern struct bench_config bench_cfg;
extern struct bench_wire bench_to_gateway, bench_from_gateway;
void bench_gateway_start(const struct bench_config *cfg);
/* The worker's turns until it has received all that waits, and one more. */
void bench_gateway_turn(void);
void bench_gateway_stop(void);
struct bench_meter bench_meter(void);
const struct qp_worker_shared *bench_counters(void);
/* TSC cycles a nanosecond. */
double bench_ghz(void);

/* A frame's place on a wire, or NULL when that is full; then it is pushed. */
uint8_t *bench_wire_room(struct bench_wire *w);
void bench_wire_push(struct bench_wire *w, struct bench_slot slot);
/* The oldest, or NULL; gone with the next call of pop. */
uint8_t *bench_wire_peek(struct bench_wire *w, struct bench_slot *slot);
void bench_wire_pop(struct bench_wire *w);
/* Copies a frame that is ready for a port, and frees it; checksums are made unless the port has them. */
void bench_wire_send(struct bench_wire *w, struct rte_mbuf *m);
/* The other way: NULL without mbufs. */
struct rte_mbuf *bench_wire_receive(struct bench_wire *w, struct rte_mempool *pool);

/* client.c: what the clients do with connections. */
enum bench_client_does {
	BENCH_SWALLOWS, /* reads */
	BENCH_POURS,    /* writes without end to each stream that comes */
	BENCH_ANSWERS,  /* a request of `bytes` gets as many back, and the end */
};
struct bench_clients {
	enum bench_client_does does;
	uint32_t bytes;
	uint64_t received;   /* payload of streams other than 0 */
	uint64_t sent;
	uint64_t handshakes; /* complete */
	unsigned open;       /* tunnels whose port is, or was, open */
};
extern struct bench_clients bench_clients;
/* How long a client stays. */
enum bench_client_stay {
	BENCH_SHAKES_HANDS, /* closes as soon as the handshake is complete */
	BENCH_COMES_IN,     /* as soon as its port is open */
	BENCH_STAYS,        /* with its port */
};
void bench_client_add(enum bench_client_stay stay);
void bench_clients_receive(const uint8_t *frame, const struct bench_slot *slot);
/* Their turn to send. */
void bench_clients_turn(void);
void bench_clients_free(void);

/* outside.c */
struct bench_outside {
	uint64_t received, sent; /* payload; sent: as TCP took it */
	uint64_t ended, failed;  /* connections */
	unsigned open;
};
extern struct bench_outside bench_outside;
void bench_outside_start(void);
void bench_outside_stop(void);
/* A connection to the n-th client's port. `pours`: sends without end; else `bytes` at once and then nothing. */
void bench_outside_connect(unsigned client, bool pours, uint32_t bytes);
void bench_outside_receive(void);
void bench_outside_turn(void);

/* crypto.c: what the same work costs as cryptography alone, in TSC cycles. */
double bench_seal_cycles(size_t packet);
double bench_handshake_cycles(void);

#endif
