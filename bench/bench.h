/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_BENCH_BENCH_H
#define QP_BENCH_BENCH_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "bench/schedule.h"
#include "bench/sizes.h"
#include "common/auth.h"
#include "common/error.h"
#include "common/nic.h"
#include "dataplane/ip.h"

/*
 * What all parts of quicport-bench share: what is to be done, where in it the
 * run is, and what was counted. The main thread writes configuration and phase,
 * each worker its own figures.
 */
#define QPB_MAX_WORKERS 16u
#define QPB_MAX_PORTS   2u
#define QPB_MAX_CLIENTS 16384u
#define QPB_MAX_BURST   512u

enum qpb_scenario {
	QPB_BULK,        /* bytes as fast as they go */
	QPB_REQUESTS,    /* requests and answers over kept connections */
	QPB_CONNECTIONS, /* a new connection for each request */
	QPB_HANDSHAKES,  /* tunnels: QUIC handshake, authentication, forward, close */
	QPB_IDLE,        /* tunnels and connections that do nothing */
	QPB_UDP,         /* datagrams */
};
extern const char *const qpb_scenario_names[];

enum qpb_direction {
	QPB_IN = 1,  /* outside → service */
	QPB_OUT = 2, /* service → outside */
	QPB_BOTH = 3,
};
/* By direction - 1. */
extern const char *const qpb_direction_names[];
extern const char *const qpb_arrival_names[];

struct qpb_config {
	int scenario;
	int direction;             /* enum qpb_direction - 1, as an option's choice has it */
	int arrivals;              /* enum qpb_arrivals */
	uint32_t rate;             /* requests, connections, handshakes or datagrams a second; 0: closed loop */
	uint32_t clients;          /* tunnels */
	uint32_t users;            /* outside: connections or UDP sources at once */
	uint32_t addresses;        /* that users come from; 0: one each, as far as the network has them */
	struct qpb_sizes size;     /* of a request's payload */
	struct qpb_sizes answer;   /* of its answer's; 0 for UDP: none is asked for */
	bool echo;                 /* the answer is the request's payload */
	uint32_t seconds, warmup;
	uint32_t patience;         /* seconds for tunnels to open, for the last answers to come */
	uint64_t seed;
	bool verify;               /* payload bytes are compared */
	bool yield;                /* idle workers offer their CPU to others */
	/* The gateway. */
	struct qp_ipaddr target;   /* its data-plane address, for clients */
	uint16_t target_port_be;
	struct qp_ipaddr outside;  /* where its forwarded ports are, for users */
	uint16_t first_port;       /* client i asks for first_port + i */
	struct qp_auth_client_config auth;
	/* QUIC and TCP. */
	uint32_t stream_window, conn_window; /* bytes */
	uint32_t tcp_buffer;       /* bytes each way of a connection */
	uint32_t mbufs;            /* of each worker */
	uint32_t queues;           /* pairs of each port, as far as it has them; at least one a worker */
	uint16_t mtu;              /* of the ports */
};

/* Where a run is. Each worker says when it has done its part of one (qpb_worker_settled). */
enum qpb_phase {
	QPB_STANDBY,  /* answers ARP; nothing else */
	QPB_RESOLVE,  /* asks for the next hops' link-layer addresses */
	QPB_TUNNELS,  /* clients open their tunnels */
	QPB_OPEN,     /* users connect, where connections are kept */
	QPB_LOAD,     /* warm-up, then the measured time */
	QPB_FINISH,   /* nothing new begins; what runs ends */
	QPB_CLOSE,    /* tunnels close */
	QPB_QUIT,     /* workers return */
};

/* X(name, help): sums over lcores. */
#define QPB_FIGURES(X)                                                                             \
	X(tunnels_opened, "tunnels: handshake, authentication and forward done")                   \
	X(tunnels_failed, "tunnels that did not open")                                             \
	X(tunnels_lost, "tunnels that ended before they were to")                                  \
	X(conns_opened, "outside connections established")                                         \
	X(conns_failed, "outside connections refused, reset or timed out")                         \
	X(conns_closed, "outside connections that ended as they should")                           \
	X(requests_begun, "requests begun")                                                        \
	X(requests_done, "requests whose answer came whole")                                       \
	X(requests_lost, "requests without a whole answer")                                        \
	X(requests_unserved, "requests, handshakes or datagrams whose time came, but nobody free")                         \
	X(user_tx_bytes, "payload bytes that users sent")                                          \
	X(service_rx_bytes, "payload bytes that services received")                                \
	X(service_tx_bytes, "payload bytes that services sent")                                    \
	X(user_rx_bytes, "payload bytes that users received")                                      \
	X(user_wrong, "pieces of payload that users found wrong")                                  \
	X(service_wrong, "pieces of payload or headers that services found wrong")                 \
	X(dgrams_sent, "datagrams that users sent")                                                \
	X(dgrams_arrived, "datagrams that services received")                                      \
	X(dgrams_answered, "answers that services sent")                                           \
	X(dgrams_back, "answers that users received")                                              \
	X(dgrams_stray, "datagrams that belong to nobody")                                         \
	X(no_mbuf, "times that no packet buffer was free")                                         \
	X(rx_frames, "frames received")                                                            \
	X(rx_bytes, "bytes of frames received")                                                    \
	X(tx_frames, "frames sent")                                                                \
	X(tx_bytes, "bytes of frames sent")                                                        \
	X(tx_dropped, "frames that the port did not take")                                         \
	X(rx_ignored, "frames that are nobody's")                                                  \
	X(handed, "frames handed to the lcore that owns their address")                            \
	X(handed_dropped, "frames that did not fit there")                                         \
	X(turns, "turns of the loop")                                                              \
	X(cycles_busy, "TSC cycles of turns that found work")                                      \
	X(cycles_idle, "TSC cycles of turns that found none")

struct qpb_figures {
#define X(field, help) uint64_t field;
	QPB_FIGURES(X)
#undef X
};
/* Handshakes need none. */
static inline uint32_t
qpb_users_wanted(const struct qpb_config *c)
{
	return c->scenario == QPB_HANDSHAKES ? 0 : c->users;
}

void qpb_figures_add(struct qpb_figures *to, const struct qpb_figures *from);
/* a - b */
void qpb_figures_diff(struct qpb_figures *out, const struct qpb_figures *a,
	const struct qpb_figures *b);

/*
 * One port, as workers see it. Owner: the main thread; `mac`, `hop_mac` and
 * `hop_known` are set by the worker that hears the next hop's answer.
 */
struct qpb_port {
	struct qp_nic_port nic;     /* as it was opened; queue w, w + nworkers … are worker w's */
	bool stopped;               /* by the prompt */
	struct qp_ipaddr addr;      /* on the link */
	uint8_t prefix;             /* of the link, in bits of the mapped form */
	struct qp_ipaddr hop;       /* where all packets go: the gateway, or a router */
	uint8_t hop_mac[6];
	atomic_bool hop_known;      /* release: hop_mac stands */
	atomic_bool hop_busy;       /* a worker writes it */
	struct qp_ipaddr net;       /* addresses of clients and users, from its second one on */
	uint8_t net_prefix;
};

/* How users and clients have their addresses: `count` of a port's network, from `first` on. */
struct qpb_hosts {
	struct qpb_port *port;
	uint32_t first, count;
};

struct qpb_worker;
struct qp_verbose;

struct qpb {
	struct qpb_config cfg;
	struct qpb_port port[QPB_MAX_PORTS];
	unsigned nports;
	struct qpb_hosts clients, users;
	unsigned nworkers;
	struct qpb_worker *worker[QPB_MAX_WORKERS];
	/*
	 * Written by the main thread, phase last (release); workers read it once a
	 * turn (acquire). Times are CLOCK_MONOTONIC's.
	 */
	atomic_uint phase;
	/* The prompt's orders; workers look once a turn (relaxed). */
	atomic_uint burst;          /* frames taken and given at once, 1 … QPB_MAX_BURST */
	atomic_uint verbose;        /* 1: received frames are shown, 2: sent ones, 3: both */
	struct qp_verbose *shown[QPB_MAX_WORKERS];
	uint64_t load_from_ns;      /* when the schedule begins */
	uint64_t run_from_ns;       /* what begins from here on … */
	_Atomic uint64_t run_to_ns; /* … and before this is measured; nothing begins later */
	/*
	 * What the gateway, or a worker, said of the first tunnel that did not open.
	 * Writer: the worker that sets `first_said` (release).
	 */
	atomic_bool first_taken, first_said;
	char first_why[160];
	/* By client: 1 when its port is open. Writer: its worker (release). */
	atomic_uchar *open;
	/* By client: the port that the gateway opened, host order. */
	uint16_t *opened_port;
};

/* Address number `i` of a network (0 is the network's own). */
struct qp_ipaddr qpb_host_addr(const struct qpb_port *p, uint32_t i);
/* Its number again; UINT32_MAX when it is not in that network. */
uint32_t qpb_host_index(const struct qpb_port *p, const struct qp_ipaddr *a);
/* How many a network has that hosts may use (the first and last excluded). */
uint32_t qpb_host_room(const struct qpb_port *p);
bool qpb_in_prefix(const struct qp_ipaddr *a, const struct qp_ipaddr *net, uint8_t prefix);

#endif
