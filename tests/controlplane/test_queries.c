/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Listings over the workers of all data planes, which the test plays: pages,
 * cursors, filters, workers that do not answer, and those that die meanwhile.
 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "controlplane/queries.h"
#include "tests/controlplane/support.h"

#define WORKERS 3u

/* Workers of two data planes; each has so many rows. */
static struct {
	struct qp_origin origin;
	unsigned rows;
	bool dead, silent;
} workers[WORKERS];

static struct qp_loop *loop;
static struct qp_queries *qs;
static struct outbox outbox;
static unsigned answered; /* of outbox */
static unsigned per_answer;

static struct {
	unsigned called;
	unsigned n, silent;
	bool more;
	struct qp_query_cursor next;
	struct qp_query_conn conn[QP_QUERY_MAX_ROWS];
	struct qp_query_tunnel tunnel[QP_QUERY_MAX_ROWS];
} page;

static bool
worker_from(void *ctx, const struct qp_origin *at, struct qp_origin *out)
{
	for (unsigned i = 0; i < WORKERS; i++) {
		const struct qp_origin *o = &workers[i].origin;

		if (workers[i].dead || o->server_id < at->server_id ||
			(o->server_id == at->server_id && o->worker < at->worker))
			continue;
		*out = *o;
		return true;
	}
	return false;
}

static void
setup(void)
{
	struct qp_queries_config cfg = {.worker_from = worker_from};

	memset(workers, 0, sizeof(workers));
	workers[0].origin = (struct qp_origin) {.server_id = 5, .worker = 0};
	workers[1].origin = (struct qp_origin) {.server_id = 5, .worker = 1};
	workers[2].origin = (struct qp_origin) {.server_id = 9, .worker = 0};
	memset(&page, 0, sizeof(page));
	outbox.n = answered = 0;
	per_answer = 10;
	loop = cfg.loop = qp_loop_new();
	cr_assert_not_null(loop);
	cfg.sender = outbox_sender(&outbox);
	qs = qp_queries_new(&cfg);
	cr_assert_not_null(qs);
}

static void
teardown(void)
{
	qp_queries_free(qs);
	qp_loop_free(loop);
}

TestSuite(queries, .init = setup, .fini = teardown, .timeout = 60);

static unsigned
index_of(const struct qp_origin *o)
{
	unsigned i = 0;

	while (i < WORKERS && !(workers[i].origin.server_id == o->server_id &&
				      workers[i].origin.worker == o->worker))
		i++;
	cr_assert_lt(i, WORKERS, "nobody there");
	return i;
}

/* Row `n` of a worker: its slot is 3 * n, so that there are holes. */
static void
answer_conns(unsigned w, const struct qp_msg *q, uint64_t id)
{
	struct qp_msg m = {.type = QP_MSG_CONN_ROWS, .conn_rows = {.query = q->list.query}};
	struct qp_msg_conn_rows *r = &m.conn_rows;
	unsigned given = 0, n = (unsigned)((q->list.cursor + 2) / 3);

	for (; n < workers[w].rows && given < per_answer && given < q->list.max; n++, given++) {
		if (r->n == QP_MSG_CONN_ROWS_MAX) {
			r->more = 1;
			qp_queries_message(qs, &workers[w].origin, &m);
			r->n = r->more = 0;
		}
		r->row[r->n++] = (struct qp_msg_conn) {
			.tunnel_id = id != 0 ? id : 100 + w, .conn_id = n, .place = 3 * n};
	}
	r->next = n < workers[w].rows ? 3 * n : 0;
	qp_queries_message(qs, &workers[w].origin, &m);
}

static void
answer_tunnels(unsigned w, const struct qp_msg *q)
{
	struct qp_msg m = {.type = QP_MSG_TUNNEL_ROWS, .tunnel_rows = {.query = q->list.query}};
	struct qp_msg_tunnel_rows *r = &m.tunnel_rows;
	unsigned n = (unsigned)q->list.cursor, given = 0;

	for (; n < workers[w].rows && given < QP_MSG_TUNNEL_ROWS_MAX && given < q->list.max; n++, given++)
		r->row[r->n++] = (struct qp_msg_tunnel_row) {.id = n + 1, .place = n};
	r->next = n < workers[w].rows ? n : 0;
	qp_queries_message(qs, &workers[w].origin, &m);
}

/* Workers answer what they are asked, until nobody asks. */
static void
answer_all(void)
{
	for (unsigned idle = 0; idle < 2; idle++) {
		qp_loop_turn(loop, 2);
		while (answered < outbox.n) {
			const struct qp_msg q = outbox.sent[answered].m;
			const struct qp_origin to = outbox.sent[answered].to;
			unsigned w = index_of(&to);

			if (++answered == 64)
				answered = outbox.n = 0;
			idle = 0;
			if (workers[w].silent)
				continue;
			if (q.type == QP_MSG_LIST_CONNS)
				answer_conns(w, &q, to.id);
			else
				answer_tunnels(w, &q);
		}
	}
}

static void
done(void *ctx, const struct qp_query_page *p)
{
	page.called++;
	page.n = p->n;
	page.silent = p->silent;
	page.more = p->more;
	page.next = p->next;
	if (p->conn != NULL)
		memcpy(page.conn, p->conn, p->n * sizeof(*p->conn));
	if (p->tunnel != NULL)
		memcpy(page.tunnel, p->tunnel, p->n * sizeof(*p->tunnel));
}

static struct qp_query *
ask(bool conns, struct qp_query_cursor from, unsigned max)
{
	const struct qp_query_ask a = {.conns = conns, .from = from, .max = max, .done = done};

	page.called = 0;
	return qp_query_start(qs, &a);
}

/* Pages of `max` until the last: each row of each worker once, in order. Returns their number. */
static unsigned
expect_all(bool conns, unsigned max)
{
	struct qp_query_cursor at = {0};
	unsigned pages = 0, w = 0, n = 0;

	do {
		cr_assert_not_null(ask(conns, at, max));
		answer_all();
		cr_assert_eq(page.called, 1);
		cr_assert_leq(page.n, max);
		for (unsigned i = 0; i < page.n; i++, n++) {
			while (n == workers[w].rows) {
				n = 0;
				w++;
			}
			cr_assert_eq(conns ? page.conn[i].row.conn_id : page.tunnel[i].row.id - 1, n);
			cr_assert_eq(conns ? page.conn[i].tunnel.server_id : page.tunnel[i].origin.server_id,
				workers[w].origin.server_id);
			if (conns)
				cr_assert_eq(page.conn[i].tunnel.id, 100 + w);
		}
		at = page.next;
		pages++;
	} while (page.more);
	while (w < WORKERS && n == workers[w].rows) {
		n = 0;
		w++;
	}
	cr_assert_eq(w, WORKERS, "the listing ended at worker %u, row %u", w, n);
	return pages;
}

Test(queries, nothing_there_page_is_empty_and_the_last)
{
	expect_all(true, 10);
	cr_assert_eq(page.n, 0);
	cr_assert_not(page.more);
}

Test(queries, done_is_never_called_from_inside_start)
{
	workers[0].dead = workers[1].dead = workers[2].dead = true;
	cr_assert_not_null(ask(true, (struct qp_query_cursor) {0}, 10));
	cr_assert_eq(page.called, 0);
	answer_all();
	cr_assert_eq(page.called, 1);
}

Test(queries, pages_of_any_size_hold_each_row_once)
{
	static const unsigned sizes[] = {1, 2, 3, 7, 10, 13, 25, 1000};

	workers[0].rows = 12;
	workers[1].rows = 0;
	workers[2].rows = 20;
	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		expect_all(true, sizes[i]);
		expect_all(false, sizes[i]);
	}
}

Test(queries, long_answers_in_several_messages_are_taken_whole)
{
	workers[0].rows = 100;
	workers[2].rows = 33;
	per_answer = 56;
	cr_assert_eq(expect_all(true, 1000), 1);
	expect_all(true, 9);
}

Test(queries, full_page_that_is_the_end_says_so)
{
	workers[2].rows = 20;
	cr_assert_eq(expect_all(true, 20), 1);
}

static bool
every_fifth(void *ctx, const void *row)
{
	return ((const struct qp_query_conn *)row)->row.conn_id % 5 == 0;
}

Test(queries, filter_fills_pages_with_what_it_keeps_and_loses_nothing)
{
	struct qp_query_ask a = {
		.conns = true, .max = 3, .keep = every_fifth, .done = done};
	unsigned seen = 0;

	workers[0].rows = workers[1].rows = workers[2].rows = 50;
	per_answer = 56;
	do {
		page.called = 0;
		cr_assert_not_null(qp_query_start(qs, &a));
		answer_all();
		cr_assert_eq(page.called, 1);
		for (unsigned i = 0; i < page.n; i++)
			cr_assert_eq(page.conn[i].row.conn_id, 5 * (seen++ % 10));
		a.from = page.next;
	} while (page.more);
	cr_assert_eq(seen, 30);
}

Test(queries, connections_of_one_tunnel_ask_its_worker_alone)
{
	const struct qp_origin of = {.server_id = 5, .worker = 1, .id = 77};
	const struct qp_query_ask a = {.conns = true, .of = &of, .max = 100, .done = done};

	workers[0].rows = workers[1].rows = workers[2].rows = 4;
	cr_assert_not_null(qp_query_start(qs, &a));
	answer_all();
	cr_assert_eq(page.called, 1);
	cr_assert_eq(page.n, 4);
	cr_assert_not(page.more);
	cr_assert_eq(page.conn[0].tunnel.id, 77);
	cr_assert_eq(outbox.n, 1);
}

Test(queries, worker_is_silent_page_ends_after_two_seconds_and_the_next_goes_on)
{
	uint64_t start = qp_now_ns();

	workers[0].rows = workers[1].rows = workers[2].rows = 4;
	workers[1].silent = true;
	cr_assert_not_null(ask(true, (struct qp_query_cursor) {0}, 100));
	while (page.called == 0) {
		answer_all();
		cr_assert_lt(qp_now_ns() - start, UINT64_C(4000000000));
	}
	cr_assert_geq(qp_now_ns() - start, UINT64_C(1900000000));
	cr_assert_eq(page.n, 4);
	cr_assert_eq(page.silent, 1);
	cr_assert(page.more);
	cr_assert_not_null(ask(true, page.next, 100));
	answer_all();
	cr_assert_eq(page.n, 4);
	cr_assert_eq(page.conn[0].tunnel.server_id, 9);
	cr_assert_not(page.more);
}

Test(queries, data_plane_dies_meanwhile_the_others_are_listed)
{
	workers[0].rows = workers[1].rows = workers[2].rows = 4;
	workers[0].silent = true;
	cr_assert_not_null(ask(true, (struct qp_query_cursor) {0}, 100));
	answer_all();
	cr_assert_eq(page.called, 0);
	workers[0].dead = workers[1].dead = true;
	qp_queries_generation_ended(qs, 5);
	cr_assert_eq(page.called, 0);
	answer_all();
	cr_assert_eq(page.called, 1);
	cr_assert_eq(page.n, 4);
	cr_assert_eq(page.silent, 0);
	cr_assert_eq(page.conn[0].tunnel.server_id, 9);
}

Test(queries, late_and_foreign_answers_meet_nobody)
{
	struct qp_msg m = {.type = QP_MSG_CONN_ROWS};
	struct qp_query *q;

	workers[0].rows = 4;
	q = ask(true, (struct qp_query_cursor) {0}, 100);
	qp_loop_turn(loop, 2);
	cr_assert_eq(outbox.n, 1);
	m.conn_rows.query = outbox.sent[0].m.list.query;
	m.conn_rows.n = 1;
	qp_queries_message(qs, &workers[1].origin, &m); /* not asked */
	m.type = QP_MSG_TUNNEL_ROWS;
	qp_queries_message(qs, &workers[0].origin, &m); /* not what was asked */
	m.type = QP_MSG_CONN_ROWS;
	m.conn_rows.query++;
	qp_queries_message(qs, &workers[0].origin, &m);
	m.conn_rows.query = 0;
	qp_queries_message(qs, &workers[0].origin, &m);
	answer_all();
	cr_assert_eq(page.called, 1);
	cr_assert_eq(page.n, 4);
	q = ask(true, (struct qp_query_cursor) {0}, 100);
	qp_loop_turn(loop, 2);
	qp_query_cancel(q);
	answer_all();
	cr_assert_eq(page.called, 0);
}

Test(queries, worker_lies_about_its_rows_no_more_are_read_than_fit)
{
	struct qp_msg m = {.type = QP_MSG_CONN_ROWS};

	ask(true, (struct qp_query_cursor) {0}, 1000);
	qp_loop_turn(loop, 2);
	m.conn_rows.query = outbox.sent[0].m.list.query;
	m.conn_rows.n = UINT32_MAX;
	workers[0].silent = true;
	qp_queries_message(qs, &workers[0].origin, &m);
	answered = 1;
	answer_all();
	cr_assert_eq(page.n, QP_MSG_CONN_ROWS_MAX);
}

Test(queries, too_many_at_once_are_refused)
{
	for (unsigned i = 0; i < QP_QUERIES_MAX; i++)
		cr_assert_not_null(ask(true, (struct qp_query_cursor) {0}, 1));
	cr_assert_null(ask(true, (struct qp_query_cursor) {0}, 1));
}
