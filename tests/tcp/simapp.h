/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_TESTS_TCP_SIMAPP_H
#define QP_TESTS_TCP_SIMAPP_H

#include "tests/tcp/simnet.h"

/* One end's application in a simulation: sends a pattern, checks what comes. */
struct sim_app {
	struct sim_host *host;
	struct qp_tcp_conn *c;
	uint64_t seed_out, seed_in;  /* of the patterns */
	uint64_t total;              /* bytes to send */
	uint64_t queued, acked, received;
	uint64_t held;               /* received, not yet consumed */
	bool slow;                   /* consumes late and in bits */
	bool answers;                /* sends only once the peer has closed its half */
	uint64_t think_ns;           /* pauses between pieces, at most; 0: none */
	uint64_t next_ns;            /* no piece before */
	uint64_t abort_ns;           /* resets then; 0: never */
	bool connected, finished, got_end, over, aborted;
	bool wrong;                  /* a byte was not the pattern's */
	enum qp_tcp_end why;
	struct rte_mbuf *kept;       /* the slow reader's latest */
	uint64_t progress_ns;        /* when something last came of it */
};

/* For qp_tcp_listen (listener_ctx) and qp_tcp_connect (ctx): a struct sim_app. */
extern const struct qp_tcp_ops sim_app_ops;

/* The same for ops of a test's own: `c` is this application's from now on. */
void sim_app_accepted(struct sim_app *a, struct qp_tcp_conn *c);
/* Gives the stack what it takes, reads, aborts, as far as it is time for it. */
void sim_app_turn(struct sim_app *a);
/* How long until the next turn is of use; UINT64_MAX: nothing but the line will tell. */
uint64_t sim_app_wait_ns(const struct sim_app *a);

/*
 * Steps until all applications are over; false when time is up, nothing moves
 * any more, or the simulation broke. A standstill breaks it: what two
 * applications wait for must come within a timeout of the last disturbance.
 */
bool sim_run(struct sim *sim, struct sim_app *apps, unsigned n, uint64_t until_ns);

#endif
