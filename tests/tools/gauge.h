/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_TESTS_TOOLS_GAUGE_H
#define QP_TESTS_TOOLS_GAUGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "loop.h"

struct qpb_hist;

/*
 * What qpgauge's client and service agree on. A connection begins with eight
 * bytes that say what it is for, so that a relay needs one port for all.
 * Nothing depends on that a relay hands half-closes on: a direction ends
 * when all has been read.
 */
enum gauge_work {
	GAUGE_UP = 'u', /* the client sends until the time is over, the service swallows */
	GAUGE_DOWN = 'd', /* the service sends until the client has sent a byte */
	GAUGE_ASK = 'a', /* each `size` bytes are answered by as many */
	GAUGE_CONNECT = 'c', /* the same once, and the service ends the connection */
};

enum {
	GAUGE_HELLO_BYTES = 8, /* 'Q', work, two zeros, size in network order */
	GAUGE_CHUNK = 256 * 1024, /* a request's or answer's most, too */
};

/* Written before the first connection, but for `stopping`. */
struct gauge_plan {
	bool serve;
	bool stopping; /* client: the time is over, nothing new begins */
	enum gauge_work work;
	uint32_t size;
};

/* Of connections that have ended, each way by what was read from and written to sockets. */
struct gauge_totals {
	uint64_t started, ok, failed;
	uint64_t rx_bytes, tx_bytes;
	uint64_t wrong; /* connections that brought other bytes than were sent */
	uint64_t answers;
	uint64_t errors[ERRNOS]; /* by errno */
	int64_t last_ns; /* when the last answer came, or the last connection ended */
	struct qpb_hist *latency_ns; /* ASK: request to answer; CONNECT: connect() to answer */
};

extern struct gauge_plan gauge_plan;
extern struct gauge_totals gauge_totals;
extern int gauge_epoll;

/* The bytes of requests and answers; once, before the first connection. */
void gauge_make_pattern(void);
int64_t gauge_now_ns(void);
/* Takes over a socket, connected or connecting, into gauge_epoll (data.ptr). */
void gauge_conn_new(int fd);
/* What epoll reported for a connection (data.ptr); frees it when it ended. */
void gauge_conn_turn(void *conn, uint32_t events);
/* All learn that gauge_plan.stopping is set. */
void gauge_conns_stop(void);
/* How many run. */
uint64_t gauge_conns(void);
/* Ends all that run as failed. */
void gauge_conns_give_up(void);

#endif
