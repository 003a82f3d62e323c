/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_BENCH_WORKER_H
#define QP_BENCH_WORKER_H

#include <sys/queue.h>

#include "bench/bench.h"
#include "bench/hist.h"
#include "bench/request.h"
#include "common/ipc.h"
#include "dataplane/port.h"
#include "dataplane/quic/quic.h"
#include "dataplane/tcp/tcp.h"
#include "dataplane/timer.h"
#include "dataplane/verbose.h"

struct rte_mbuf;
struct rte_mempool;
struct rte_ring;
struct qpb_client;
struct qpb_user;

/* Something that has more to send than one turn takes. Embedded; all zero: not queued. */
struct qpb_pump {
	TAILQ_ENTRY(qpb_pump) link;
	bool queued;
	/* Sends its turn's worth; true: there is more, or no packet buffer was free. */
	bool (*turn)(struct qpb_pump *p);
};
TAILQ_HEAD(qpb_pump_queue, qpb_pump);

#define QPB_TX_ROOM 256u

/* A worker's way through a port. Owner: the worker. */
struct qpb_path {
	struct qpb_worker *w;
	struct qpb_port *port;
	struct qp_port *eth;
	struct qp_port_counters counted;
	uint16_t tx_len;
	struct rte_mbuf *tx[QPB_TX_ROOM];
};

TAILQ_HEAD(qpb_user_queue, qpb_user);
TAILQ_HEAD(qpb_client_queue, qpb_client);

/*
 * All of one lcore: its clients with their tunnels and services, its users, the
 * stacks below them. Owner: the lcore; the main thread makes and frees it, and
 * reads `settled`, the figures (relaxed) and, after the lcore has returned, the
 * histogram. Lock: none.
 */
struct qpb_worker {
	struct qpb *b;
	unsigned index;
	unsigned lcore;
	uint64_t now_ns;           /* of this turn */
	enum qpb_phase phase;      /* as this turn sees it */
	uint32_t burst, verbose;   /* likewise */
	bool measuring;            /* run_from_ns <= now_ns < run_to_ns */
	uint8_t mem_level;
	struct rte_mempool *pool, *indirect;
	struct qp_wheel *wheel;
	struct qpb_path path[QPB_MAX_PORTS];
	/* inbox[i]: frames that worker i received and that are ours. Single producer and consumer. */
	struct rte_ring *inbox[QPB_MAX_WORKERS];
	struct qp_tcp *tcp;
	struct qp_quic *quic;
	struct qp_worker_counters quic_counters;
	struct qpb_rng rng;
	struct qpb_schedule schedule;
	struct qpb_pump_queue pumps;
	uint64_t asked_ns;         /* when the next hop was asked for */

	struct qpb_client *client; /* nclients of them */
	uint32_t nclients, clients_started, clients_busy; /* busy: between start and open or end */
	struct qpb_client_queue clients_idle;

	struct qpb_user *user;     /* nusers of them */
	uint32_t nusers, users_started, users_connecting;
	uint32_t users_live;       /* have a connection */
	uint32_t users_asking;     /* idle: of those that are asked at the end */
	uint32_t naddrs, first_addr; /* numbers of own addresses: first_addr + k * nworkers */
	struct qpb_user_queue users_ready;
	uint32_t dgrams_open;      /* closed loop: asked and not answered */

	atomic_uint settled;       /* the last phase that is done; release */
	struct qpb_figures total, run;
	struct qpb_hist *latency;
};

/* One writer; the main thread reads meanwhile. */
#define QPB_ADD(place, n) \
	__atomic_store_n(&(place), (place) + (uint64_t)(n), __ATOMIC_RELAXED)
#define QPB_COUNT(w, field, n)                              \
	do {                                                \
		QPB_ADD((w)->total.field, n);               \
		if ((w)->measuring)                         \
			QPB_ADD((w)->run.field, n);         \
	} while (0)

/* Pools, rings, clients and users; the main thread, before the lcore starts. */
int qpb_worker_new(struct qpb *b, unsigned index, unsigned lcore, struct qpb_worker **out,
	struct qp_errmsg *msg);
void qpb_worker_free(struct qpb_worker *w);
/* The lcore's function; returns after QPB_QUIT. */
int qpb_worker_run(void *worker);

/* Everybody's way out; `path` is a struct qpb_path. Consumes the frame. */
void qpb_path_transmit(void *path, struct rte_mbuf *frame);
void qpb_pump(struct qpb_worker *w, struct qpb_pump *p);
/* One turn for each that is queued now; true: there were some. */
bool qpb_pump_all(struct qpb_worker *w);
/* Before its holder is freed. */
void qpb_pump_remove(struct qpb_worker *w, struct qpb_pump *p);
/* The way of clients, and of users. */
struct qpb_path *qpb_path_of(struct qpb_worker *w, const struct qpb_hosts *hosts);
/* How long something took that began at `at_ns`, if it belongs to the measured time. */
void qpb_latency(struct qpb_worker *w, uint64_t at_ns);
/* True: what begins at this time is measured. */
static inline bool
qpb_measured(const struct qpb_worker *w, uint64_t at_ns)
{
	return at_ns >= w->b->run_from_ns && at_ns < w->b->run_to_ns;
}

/*
 * After the end of an open loop's measured time. True: arrivals of that time
 * still wait, and may be served; after two seconds they may not, and are counted
 * with the time that they have waited.
 */
bool qpb_backlog(struct qpb_worker *w);

/*
 * `len` bytes of pattern in a chain, `segment` bytes an mbuf at most, after `head`
 * (head_len bytes; NULL: none). NULL when there are no packet buffers for it.
 */
struct rte_mbuf *qpb_payload(struct qpb_worker *w, const uint8_t *head, uint32_t head_len,
	uint64_t seed, uint64_t offset, uint32_t len, uint32_t segment);
/* Compares a piece with the pattern, if that is wanted. */
bool qpb_matches(const struct qpb_worker *w, uint64_t seed, uint64_t offset, const uint8_t *data,
	uint32_t len);

/* l2.c: ARP and neighbour discovery. True: consumed. */
bool qpb_l2_input(struct qpb_path *path, struct rte_mbuf *m);
/* Asks for the next hop's address. */
void qpb_l2_ask(struct qpb_path *path);

/* Each of the parts: what a turn does for its phase; true when it found work. */
bool qpb_clients_step(struct qpb_worker *w);
bool qpb_users_step(struct qpb_worker *w);
bool qpb_udp_step(struct qpb_worker *w);
/* True: nothing more is to be done for this phase. */
bool qpb_clients_settled(const struct qpb_worker *w);
bool qpb_users_settled(const struct qpb_worker *w);

int qpb_clients_new(struct qpb_worker *w, struct qp_errmsg *msg);
void qpb_clients_free(struct qpb_worker *w);
extern const struct qp_quic_ops qpb_client_ops;

int qpb_users_new(struct qpb_worker *w);
void qpb_users_free(struct qpb_worker *w);
/* Ends at once what still runs, and counts it as lost. */
void qpb_users_abort(struct qpb_worker *w);
/* A datagram for a user. Consumes `m`. */
void qpb_udp_input(struct qpb_worker *w, struct rte_mbuf *m, const struct qp_packet *pkt);

#endif
