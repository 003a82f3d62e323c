/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_TESTS_TCP_SIMNET_H
#define QP_TESTS_TCP_SIMNET_H

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/tcp/internal.h"

/*
 * Two stacks on a virtual line: one clock, one random source from a seed, no
 * EAL but mbuf pools. All that happens is decided by the seed.
 */

struct sim_line {
	double loss, dup, reorder, corrupt; /* probabilities of a wire packet */
	uint64_t delay_ns;                  /* one way */
	uint64_t jitter_ns;                 /* of reordered and duplicated packets, and of all if spread */
	uint64_t bytes_per_s;               /* 0: no limit */
	uint64_t queue_ns;                  /* the bottleneck drops what would wait longer */
	double ce;                          /* probability that a packet that may be marked is */
	uint64_t mark_ns;                   /* the bottleneck marks what would wait longer; 0: never */
	uint16_t mtu;
	uint32_t max_frame_bytes;           /* TSO; 0: none */
	uint16_t path_mtu;                  /* what a router further on takes, from path_mtu_at_ns on; 0: mtu */
	uint64_t path_mtu_at_ns;            /* after the start */
	bool black_hole;                    /* … and sends no ICMP error */
	double forge;                       /* with each wire packet somebody forges an ICMP error about it */
	bool lro;                           /* super-segments arrive as sent */
	bool no_sack, no_ts, no_wscale;     /* a middlebox wipes the option out of SYNs */
};

struct sim_packet {
	struct sim_packet *next;
	uint64_t at_ns;
	uint64_t order;
	uint32_t len;
	uint16_t segsz;
	uint8_t bytes[];
};

struct sim;

struct sim_host {
	struct sim *sim;
	struct sim_host *peer;
	struct qp_tcp *tcp;
	struct qp_wheel *wheel;
	struct rte_mempool *pool, *indirect;
	struct qp_ipaddr addr;
	uint8_t mac[6];
	uint64_t free_at_ns;        /* when the line has sent what was given to it */
	struct sim_packet *arrivals; /* in order of at_ns */
	/* What this host's frames have shown so far, for the invariants (one connection only). */
	bool watch;
	bool edge_known, ack_known;
	uint32_t edge, ack;
	uint8_t wscale;
	uint32_t next_seq;          /* behind all that was sent: what lies below goes again */
	bool seq_known;
	uint64_t wire_packets, dropped, marked, too_big;
};

struct sim {
	uint64_t now_ns, start_ns;
	uint64_t rnd;
	uint64_t orders;
	struct sim_line line;
	struct sim_host host[2];
	bool v6, traced;
	char broken[200];           /* the first invariant that did not hold; empty: none */
	void (*observe)(struct sim *sim, struct sim_host *from, const uint8_t *frame, uint32_t len);
};

uint64_t sim_random(struct sim *sim);
/* True with probability p. */
bool sim_chance(struct sim *sim, double p);

/* Pools are the caller's; `cfg` for both. */
void sim_start(struct sim *sim, uint64_t seed, const struct sim_line *line,
	const struct qp_tcp_config *cfg, struct rte_mempool *pool, struct rte_mempool *indirect);
void sim_stop(struct sim *sim);
struct qp_flow sim_flow(struct sim *sim, int from, uint16_t port);

/*
 * Goes to the next thing that happens, or on by `at_most_ns` (UINT64_MAX: no
 * limit), and lets it happen; false when nothing ever will.
 */
bool sim_step(struct sim *sim, uint64_t at_most_ns);
/* Hands a flat frame to a host as its port would. */
void sim_deliver(struct sim_host *h, const uint8_t *frame, uint32_t len, uint16_t segsz);

/* The pattern that streams carry. */
static inline uint8_t
sim_byte(uint64_t seed, uint64_t at)
{
	uint64_t x = (at >> 3) * 0x9e3779b97f4a7c15u + seed;

	x ^= x >> 29;
	return (uint8_t)(x >> ((at & 7) * 8));
}

#endif
