/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_TESTS_TCP_SIMNET_H
#define QP_TESTS_TCP_SIMNET_H

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/tcp/internal.h"
#include "tests/tcp/simwatch.h"

/*
 * Two hosts on a virtual line: one clock, one random source from a seed, no
 * EAL but mbuf pools. All that happens is decided by the seed. A host is a
 * stack of ours, or a peer made by a test (sim_take_over).
 */

/* One direction of the line: what happens to what a host sends. */
struct sim_line {
	double loss, dup, reorder, corrupt; /* probabilities of a wire packet */
	double burst_enter, burst_leave;    /* Gilbert: of going into the bad state and out of it, a packet */
	double burst_loss;                  /* in the bad state, in place of `loss` */
	uint64_t delay_ns;                  /* one way */
	uint64_t jitter_ns;                 /* of reordered and duplicated packets */
	uint64_t bytes_per_s;               /* 0: no limit */
	uint64_t queue_ns;                  /* the bottleneck drops what would wait longer */
	double ce;                          /* probability that a packet that may be marked is */
	uint64_t mark_ns;                   /* the bottleneck marks what would wait longer; 0: never */
	double forge;                       /* with each packet somebody forges an ICMP error about it */
	uint16_t mtu;                       /* of the host's own port */
	uint16_t path_mtu;                  /* further on; 0: no less than `mtu` */
	bool icmp;                          /* what path_mtu drops is told of by ICMP */
	bool down;                          /* nothing passes */
	uint32_t max_frame_bytes;           /* TSO; 0: none */
	bool lro;                           /* super-segments arrive as sent */
	bool no_sack, no_ts, no_wscale;     /* a middlebox wipes the option out of SYNs */
};

enum sim_what {
	SIM_DOWN,  /* value: 1 down, 0 up */
	SIM_RATE,  /* bytes a second */
	SIM_DELAY, /* ns */
	SIM_PATH_MTU,
};

/* The line changes at a time of its own. */
struct sim_change {
	uint64_t at_ns;  /* after sim_play */
	int host;        /* whose outgoing direction; -1: both */
	enum sim_what what;
	uint64_t value;
};

/*
 * How many seeds a test runs: the environment's `name`, else `n`, and fewer
 * where a sanitizer makes each of them slow. QP_SEED=x: that one alone.
 */
struct sim_seeds {
	uint64_t first, last;
};
struct sim_seeds sim_seeds(const char *name, uint64_t n);

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
	struct qp_tcp *tcp;          /* NULL: a peer of the test's own */
	struct qp_wheel *wheel;
	struct rte_mempool *pool, *indirect;
	struct qp_ipaddr addr;
	uint8_t mac[6];
	struct sim_line line;        /* what it sends over */
	uint64_t bad_until_ns;       /* Gilbert's bad state */
	uint64_t free_at_ns;         /* when the line has sent what was given to it */
	struct sim_packet *arrivals; /* in order of at_ns */
	struct sim_packet *last;     /* of them; most new ones come behind it */
	uint64_t wire_packets, dropped, marked, too_big;
	bool lawless;                /* it may send anything: the wiretap expects nothing of it */
	/* May a reset go out now? See sim_watch_sent. */
	bool reset_called_for;
	int resets_unexplained;
	/* A peer of the test's own: gets each frame, wakes at wake_ns (UINT64_MAX: never). */
	void (*input)(void *ctx, const uint8_t *frame, uint32_t len);
	void (*wake)(void *ctx);
	void *ctx;
	uint64_t wake_ns;
};

struct sim {
	uint64_t now_ns;
	uint64_t rnd;
	uint64_t orders;
	struct sim_host host[2];
	bool v6, traced;
	bool unchecked;             /* the stacks' own invariants are left alone: megabytes in flight take long */
	uint64_t disturbed_ns;      /* when the line last lost something or changed */
	uint64_t still_since_ns, still_rto_ns; /* sim_run's: nothing has moved since, and what was waited for */
	const struct sim_change *change; /* in order of at_ns */
	unsigned nchanges;
	uint64_t play_ns;
	struct sim_watch watch[SIM_WATCHES];
	char broken[200];           /* the first invariant that did not hold; empty: none */
	void (*observe)(struct sim *sim, struct sim_host *from, const uint8_t *frame, uint32_t len);
};

uint64_t sim_random(struct sim *sim);
/* True with probability p. */
bool sim_chance(struct sim *sim, double p);
/* Notes what did not hold, unless something did not before. */
void sim_breaks(struct sim *sim, const char *what, uint32_t a, uint32_t b);

/* Pools are the caller's; `cfg` and `line` for both. */
void sim_start(struct sim *sim, uint64_t seed, const struct sim_line *line,
	const struct qp_tcp_config *cfg, struct rte_mempool *pool, struct rte_mempool *indirect);
/* The same with the clock at `now_ns`; 0: at a random second. */
void sim_start_at(struct sim *sim, uint64_t seed, uint64_t now_ns, const struct sim_line *line,
	const struct qp_tcp_config *cfg, struct rte_mempool *pool, struct rte_mempool *indirect);
/*
 * When this seed would have to start for the flow's initial sequence number
 * (ts: its timestamp) at `host` to be `before` steps from zero.
 */
uint64_t sim_wrap_ns(const struct sim *sim, int host, const struct qp_flow *flow, bool ts,
	uint32_t before);
void sim_stop(struct sim *sim);
/* A test's own peer in place of a stack. */
void sim_take_over(struct sim_host *h, void (*input)(void *, const uint8_t *, uint32_t),
	void (*wake)(void *), void *ctx);
/* From now on the line changes as `change` says (borrowed). */
void sim_play(struct sim *sim, const struct sim_change *change, unsigned n);
struct qp_flow sim_flow(struct sim *sim, int from, uint16_t port);

/*
 * Goes to the next thing that happens, or on by `at_most_ns` (UINT64_MAX: no
 * limit), and lets it happen; false when nothing ever will.
 */
bool sim_step(struct sim *sim, uint64_t at_most_ns);
/* Hands a flat frame to a host as its port would. */
void sim_deliver(struct sim_host *h, const uint8_t *frame, uint32_t len, uint16_t segsz);
/* The longest timeout that a connection of the host waits for now. */
uint64_t sim_longest_rto_ns(const struct sim_host *h);

/* simline.c */
/* A frame leaves: `m` as a stack's transmit hook gets it (consumed). */
void sim_line_transmit(void *host, struct rte_mbuf *m);
/* The same for a flat frame with correct checksums. */
void sim_line_carry(struct sim_host *from, const uint8_t *frame, uint32_t len, uint16_t segsz);
/* Fills in lengths and checksums of a flat frame with `l4_len` bytes behind the IP header. */
void sim_line_finish(uint8_t *frame, uint32_t l3, uint32_t l4_len);

/* The pattern that streams carry. */
static inline uint8_t
sim_byte(uint64_t seed, uint64_t at)
{
	uint64_t x = (at >> 3) * 0x9e3779b97f4a7c15u + seed;

	x ^= x >> 29;
	return (uint8_t)(x >> ((at & 7) * 8));
}

#endif
