/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_TESTS_TOOLS_STORM_H
#define QP_TESTS_TOOLS_STORM_H

#include <netdb.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * A load that runs on while something is done to a gateway: long connections,
 * each with bytes both ways at a modest rate, and short ones, a request and
 * its answer. Users and service are this one process, so that it knows what is
 * under way at any moment. One epoll thread owns everything here.
 */

enum storm_kind {
	STORM_BULK,
	STORM_SHORT,
	STORM_KINDS,
};

/* How a connection ended; FINISHED is the only good one. */
enum storm_end {
	STORM_FINISHED,
	STORM_REFUSED,
	STORM_RESET,
	STORM_TIMED_OUT,
	STORM_ENDED_EARLY,
	STORM_UNREACHABLE,
	STORM_CORRUPT,
	STORM_ENDS,
};

enum {
	STORM_TARGETS = 64,
};

/* A port of the gateway's that users connect to. */
struct storm_target {
	const char *name; /* as it was given: HOST:PORT */
	struct addrinfo *addr;
};

struct storm_plan {
	struct storm_target targets[STORM_TARGETS];
	unsigned targets_count;
	unsigned bulk; /* connections, shared out among the targets */
	unsigned short_rate; /* connections a second, to the targets in turn */
	uint64_t bulk_bytes_s; /* each way of each bulk connection */
	int64_t tick_us; /* a bulk connection's due bytes are sent this often */
	int64_t timeout_us; /* without progress for so long, a connection is given up */
	uint64_t seed;
};

extern struct storm_plan storm_plan; /* written before the first connection */
extern int storm_epoll;

/* ---- connections (storm_conn.c) ---- */

struct storm_side;

/* Connects to that target. */
void storm_open(enum storm_kind kind, unsigned target);
/* A service's socket that was accepted; whose it is, its first bytes say. */
void storm_accepted(int fd);
/* What epoll reported for a side (data.ptr). */
void storm_turn(struct storm_side *side, uint32_t events);
/* Bulk connections send what is due by now. */
void storm_tick(int64_t now);
/* Gives up those without progress; tells the report of stalls that last on. */
void storm_sweep(int64_t now);
/* Bulk connections end once all that was sent has arrived. */
void storm_finish_bulk(void);
/* Frees what ended: not while reported events may still name it. */
void storm_bury(void);
/* How many run, of all kinds; bulk ones of one target, and how many of these have had an answer. */
unsigned storm_running(void);
unsigned storm_running_bulk(unsigned target, unsigned *served);
/* Whether each bulk connection has had bytes in both directions. */
bool storm_all_flow(void);

/* ---- figures (storm_report.c): for the phase since the last mark, and for all ---- */

void storm_count_start(enum storm_kind kind);
/* `served`: bytes had come from the service. A bulk connection that ends badly then is lost. */
void storm_count_end(enum storm_kind kind, enum storm_end end, unsigned target, int64_t took_us, bool served);
void storm_count_bytes(uint64_t bytes);
void storm_count_wrong(uint64_t bytes);
/*
 * Bytes under way to the service, or from it, made no progress for so long;
 * `over` when they have just arrived.
 */
void storm_count_stall(uint32_t number, unsigned target, bool to_service, int64_t stall_us, bool over);
/* This program itself did not get to run for so long: no stall below is sure. */
void storm_count_lag(int64_t lag_us);
/* From now on a target that answers nobody is no outage. */
void storm_no_more(void);
/* One JSON line of the phase, named so; the next phase begins. */
void storm_mark(const char *name);
/* One JSON line of all phases. */
void storm_print_total(void);
/* Connections that ended otherwise than FINISHED, and wrong bytes, of all phases. */
uint64_t storm_failures(void);

#endif
