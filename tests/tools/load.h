/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_TESTS_TOOLS_LOAD_H
#define QP_TESTS_TOOLS_LOAD_H

#include <stdbool.h>
#include <stdint.h>

#include "loop.h"

/*
 * One connection of a load, as service or as client: what it sends, what it
 * expects, how it ends. One epoll thread.
 */
struct plan {
	const char *host;
	const char *port;
	const char *bind_host;
	bool serve;
	bool echo; /* service: send back what comes; client: expect that */
	bool after_eof; /* send only when the peer's direction has ended */
	bool half_close; /* end our direction once all is sent (a service always does) */
	bool raw; /* neither make nor check contents */
	bool sha; /* hash both directions and report each connection */
	bool hold; /* service: accept and do nothing more */
	uint64_t send_bytes;
	int64_t reset_after; /* reset once that much went through; -1: never */
	uint64_t connections;
	uint64_t parallel;
	double deadline_s;
	uint64_t seed;
};

struct totals {
	uint64_t started, finished, done, failed;
	uint64_t rx_bytes, tx_bytes;
	uint64_t mismatches, timeouts, early_ends;
	uint64_t errors[ERRNOS]; /* by errno */
	int64_t slowest_us;
};

extern struct plan plan; /* written before the first connection */
extern struct totals totals; /* what has ended so far */
extern int load_epoll;

struct conn;

/* Takes over a socket that is connected, or connecting, into load_epoll (data.ptr). */
void conn_new(int fd, bool connecting);
/* What epoll reported for a connection (data.ptr); frees it when it ended. */
void conn_turn(void *conn, uint32_t events);
/* Any connection that runs; NULL: none. */
struct conn *conn_any(void);
/* Ends it as failed, because of `end`. */
void conn_give_up(struct conn *c, const char *end);

#endif
