/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_QUERIES_H
#define QP_CONTROLPLANE_QUERIES_H

#include <stdbool.h>
#include <stdint.h>

#include "controlplane/loop.h"
#include "controlplane/msg.h"

/*
 * Lists of tunnels and connections, page by page, as the workers of all data
 * planes have them now. Asked one worker after the other, ordered by server id
 * and worker; what lives through a whole listing is in it once. Owner: the loop
 * thread. Lock: none.
 */
struct qp_queries;
struct qp_query;

/* A worker has so long to answer; a page is not worked on for longer either. */
#define QP_QUERY_PATIENCE_MS 2000u
#define QP_QUERY_MAX_ROWS 1000u
#define QP_QUERIES_MAX 64u /* at once */

struct qp_queries_config {
	struct qp_loop *loop;
	struct qp_sender sender;
	/*
	 * The first worker that comes after (server_id, worker) of `at`, or is it,
	 * in that order; false: there is none.
	 */
	bool (*worker_from)(void *ctx, const struct qp_origin *at, struct qp_origin *out);
	void *ctx;
};

/* Where a page begins. All zero: the first. */
struct qp_query_cursor {
	uint32_t server_id;
	uint16_t worker;
	uint64_t at;
};

struct qp_query_tunnel {
	struct qp_origin origin;
	struct qp_msg_tunnel_row row;
};

struct qp_query_conn {
	struct qp_origin tunnel;
	struct qp_msg_conn row;
};

/* Borrowed until the callback returns. */
struct qp_query_page {
	unsigned n;
	const struct qp_query_tunnel *tunnel; /* n of them, or NULL */
	const struct qp_query_conn *conn;     /* n of them, or NULL */
	bool more;
	struct qp_query_cursor next;          /* if `more` */
	unsigned silent;                      /* workers that did not answer: theirs are missing */
};

struct qp_query_ask {
	bool conns;                           /* connections, else tunnels */
	const struct qp_origin *of;           /* only this tunnel's connections; NULL: all */
	struct qp_query_cursor from;
	unsigned max;                         /* rows; 1 … QP_QUERY_MAX_ROWS */
	/* Which rows count: a struct qp_query_tunnel or _conn. NULL: all. */
	bool (*keep)(void *ctx, const void *row);
	/* Called once, from the loop, never from inside qp_query_start; not after qp_query_cancel. */
	void (*done)(void *ctx, const struct qp_query_page *page);
	void *ctx;
};

/* NULL when out of memory. `cfg` is copied. */
struct qp_queries *qp_queries_new(const struct qp_queries_config *cfg);
/* Queries under way are forgotten, not called back. NULL is allowed. */
void qp_queries_free(struct qp_queries *qs);
/* Under way now. */
unsigned qp_queries_count(const struct qp_queries *qs);

/* NULL: QP_QUERIES_MAX are under way, or no memory. The query lives until it is done. */
struct qp_query *qp_query_start(struct qp_queries *qs, const struct qp_query_ask *ask);
void qp_query_cancel(struct qp_query *q);

/* TUNNEL_ROWS and CONN_ROWS. What nobody waits for any more is dropped. */
void qp_queries_message(struct qp_queries *qs, const struct qp_origin *from, const struct qp_msg *m);
/* That data plane is dead: who waits for it goes on with the next. */
void qp_queries_generation_ended(struct qp_queries *qs, uint32_t server_id);

#endif
