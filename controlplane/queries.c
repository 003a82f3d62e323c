/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Listings over all workers. A page asks its worker for a part, again while it
 * has more and the page has room, then goes on with the next worker. Each
 * question has a number of its own, so that an answer that comes too late meets
 * nobody. Loop thread.
 */
#include "controlplane/queries.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

struct qp_query {
	struct qp_queries *all;
	struct qp_query_ask ask;
	struct qp_origin of;       /* ask.of's own copy */
	struct qp_origin worker;   /* that is being asked */
	uint64_t at;               /* its cursor */
	uint64_t number;           /* of the question that is out; 0: none */
	uint64_t began_ns;
	unsigned silent;
	unsigned n;
	union {
		struct qp_query_tunnel *tunnel;
		struct qp_query_conn *conn;
		void *rows;
	};
	struct qp_loop_timer timer;
	LIST_ENTRY(qp_query) link;
};

struct qp_queries {
	struct qp_queries_config cfg;
	uint64_t last_number;
	unsigned n;
	LIST_HEAD(, qp_query) list;
};

struct qp_queries *
qp_queries_new(const struct qp_queries_config *cfg)
{
	struct qp_queries *qs = calloc(1, sizeof(*qs));

	if (qs == NULL)
		return NULL;
	qs->cfg = *cfg;
	LIST_INIT(&qs->list);
	return qs;
}

void
qp_query_cancel(struct qp_query *q)
{
	qp_loop_timer_cancel(q->all->cfg.loop, &q->timer);
	LIST_REMOVE(q, link);
	q->all->n--;
	free(q->rows);
	free(q);
}

unsigned
qp_queries_count(const struct qp_queries *qs)
{
	return qs->n;
}

void
qp_queries_free(struct qp_queries *qs)
{
	if (qs == NULL)
		return;
	while (!LIST_EMPTY(&qs->list))
		qp_query_cancel(LIST_FIRST(&qs->list));
	free(qs);
}

/* `more`: the listing goes on at q->worker, q->at. The query is gone afterwards. */
static void
finish(struct qp_query *q, bool more)
{
	const struct qp_query_page page = {
		.n = q->n,
		.tunnel = q->ask.conns ? NULL : q->tunnel,
		.conn = q->ask.conns ? q->conn : NULL,
		.more = more,
		.next = {more ? q->worker.server_id : 0, more ? q->worker.worker : 0, more ? q->at : 0},
		.silent = q->silent,
	};

	q->ask.done(q->ask.ctx, &page);
	qp_query_cancel(q);
}

static void
ask_worker(struct qp_query *q)
{
	struct qp_msg m = {.type = q->ask.conns ? QP_MSG_LIST_CONNS : QP_MSG_LIST_TUNNELS};
	struct qp_origin to = q->worker;

	to.id = q->ask.of != NULL ? q->of.id : 0;
	q->number = ++q->all->last_number;
	m.list.query = q->number;
	m.list.cursor = q->at;
	/* With a filter rows are asked for that may not count. */
	m.list.max = q->ask.keep != NULL ? QP_QUERY_MAX_ROWS : q->ask.max - q->n;
	qp_send(&q->all->cfg.sender, &to, &m);
	qp_loop_timer_set(q->all->cfg.loop, &q->timer, QP_QUERY_PATIENCE_MS);
}

/* To q->worker, or who comes after it. */
static void
go_on(struct qp_query *q)
{
	struct qp_origin found;

	q->number = 0;
	if (!q->all->cfg.worker_from(q->all->cfg.ctx, &q->worker, &found) ||
		(q->ask.of != NULL && !(found.server_id == q->of.server_id && found.worker == q->of.worker))) {
		finish(q, false);
		return;
	}
	if (found.server_id != q->worker.server_id || found.worker != q->worker.worker)
		q->at = 0;
	q->worker = found;
	if (q->n >= q->ask.max ||
		qp_now_ns() - q->began_ns > QP_QUERY_PATIENCE_MS * UINT64_C(1000000))
		finish(q, true);
	else
		ask_worker(q);
}

static void
next_worker(struct qp_query *q)
{
	q->at = 0;
	if (++q->worker.worker == QP_MAX_WORKERS) {
		q->worker.worker = 0;
		q->worker.server_id++;
	}
	go_on(q);
}

/* The first question is sent by this, too: never from inside qp_query_start. */
static void
on_timer(void *ctx)
{
	struct qp_query *q = ctx;

	if (q->number == 0) {
		go_on(q);
		return;
	}
	q->silent++;
	q->began_ns = 0; /* no patience is left for the others: they are the next page's */
	next_worker(q);
}

struct qp_query *
qp_query_start(struct qp_queries *qs, const struct qp_query_ask *ask)
{
	struct qp_query *q = qs->n < QP_QUERIES_MAX ? calloc(1, sizeof(*q)) : NULL;

	if (q == NULL)
		return NULL;
	q->all = qs;
	q->ask = *ask;
	q->ask.max = ask->max == 0 ? 1 : ask->max > QP_QUERY_MAX_ROWS ? QP_QUERY_MAX_ROWS : ask->max;
	q->rows = calloc(q->ask.max, ask->conns ? sizeof(*q->conn) : sizeof(*q->tunnel));
	if (q->rows == NULL) {
		free(q);
		return NULL;
	}
	q->worker = (struct qp_origin) {.server_id = ask->from.server_id, .worker = ask->from.worker};
	q->at = ask->from.at;
	if (ask->of != NULL) {
		q->of = *ask->of;
		q->ask.of = &q->of;
		q->worker = (struct qp_origin) {.server_id = q->of.server_id, .worker = q->of.worker};
	}
	q->began_ns = qp_now_ns();
	q->timer.fire = on_timer;
	q->timer.ctx = q;
	LIST_INSERT_HEAD(&qs->list, q, link);
	qs->n++;
	qp_loop_timer_set(qs->cfg.loop, &q->timer, 0);
	return q;
}

/* What a worker says. */

/* The place for the next row, which counts if it is kept. */
static void
keep(struct qp_query *q, const void *row)
{
	if (q->ask.keep == NULL || q->ask.keep(q->ask.ctx, row))
		q->n++;
}

/* Takes rows while the page has room. True: it is full, and some of these were left. */
static bool
take_conns(struct qp_query *q, const struct qp_msg_conn_rows *rows)
{
	for (uint32_t i = 0; i < rows->n && i < QP_MSG_CONN_ROWS_MAX; i++) {
		struct qp_query_conn *c = &q->conn[q->n];

		if (q->n == q->ask.max)
			return true;
		c->tunnel = q->worker;
		c->tunnel.id = rows->row[i].tunnel_id;
		c->row = rows->row[i];
		q->at = c->row.place + 1;
		keep(q, c);
	}
	return q->n == q->ask.max && rows->more;
}

static bool
take_tunnels(struct qp_query *q, const struct qp_msg_tunnel_rows *rows)
{
	for (uint32_t i = 0; i < rows->n && i < QP_MSG_TUNNEL_ROWS_MAX; i++) {
		struct qp_query_tunnel *t = &q->tunnel[q->n];

		if (q->n == q->ask.max)
			return true;
		t->origin = q->worker;
		t->origin.id = rows->row[i].id;
		t->row = rows->row[i];
		q->at = t->row.place + 1;
		keep(q, t);
	}
	return q->n == q->ask.max && rows->more;
}

static struct qp_query *
asker(struct qp_queries *qs, const struct qp_origin *from, uint64_t number)
{
	struct qp_query *q;

	LIST_FOREACH(q, &qs->list, link)
		if (q->number == number && number != 0 && q->worker.server_id == from->server_id &&
			q->worker.worker == from->worker)
			return q;
	return NULL;
}

void
qp_queries_message(struct qp_queries *qs, const struct qp_origin *from, const struct qp_msg *m)
{
	/* Both kinds of answer begin alike. */
	const struct qp_msg_conn_rows *head = &m->conn_rows;
	struct qp_query *q = asker(qs, from, head->query);

	if (q == NULL || m->type != (q->ask.conns ? QP_MSG_CONN_ROWS : QP_MSG_TUNNEL_ROWS))
		return;
	if (q->ask.conns ? take_conns(q, &m->conn_rows) : take_tunnels(q, &m->tunnel_rows)) {
		finish(q, true);
		return;
	}
	if (head->more)
		return;
	if (head->next == 0) {
		next_worker(q);
		return;
	}
	q->at = head->next;
	go_on(q);
}

void
qp_queries_generation_ended(struct qp_queries *qs, uint32_t server_id)
{
	struct qp_query *q, *next;

	for (q = LIST_FIRST(&qs->list); q != NULL; q = next) {
		next = LIST_NEXT(q, link);
		if (q->worker.server_id != server_id || q->number == 0)
			continue;
		q->worker.server_id++;
		q->worker.worker = 0;
		q->at = 0;
		q->number = 0;
		/* Not from here: its callback may cancel others. */
		qp_loop_timer_set(qs->cfg.loop, &q->timer, 0);
	}
}

_Static_assert(offsetof(struct qp_msg_conn_rows, query) == offsetof(struct qp_msg_tunnel_rows, query) &&
		       offsetof(struct qp_msg_conn_rows, next) == offsetof(struct qp_msg_tunnel_rows, next) &&
		       offsetof(struct qp_msg_conn_rows, more) == offsetof(struct qp_msg_tunnel_rows, more),
	"both answers begin alike");
