/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lists of tunnels and connections: pages whose cursors stay good while tunnels
 * and connections come and go, answers that are bounded, and 100,000
 * connections that hold nobody up.
 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/wire.h"
#include "dataplane/tunnel_internal.h"
#include "tests/dataplane/client.h"
#include "tests/dataplane/outside.h"
#include "tests/dataplane/world.h"

#define PORT 50000
#define FORWARDED 9022
#define TUNNELS 20u

static struct world *w;
static struct client *c;

static void
setup(void)
{
	world_init();
	w = world_new(NULL);
}

static void
teardown(void)
{
	world_free(w);
}

TestSuite(listing, .init = setup, .fini = teardown, .timeout = 240);

static struct client *
open_tunnel(unsigned n)
{
	struct client *t = client_new(w, (uint16_t)(PORT + n), NULL);

	cr_assert_not_null(client_forward(t, (uint16_t)(FORWARDED + n)));
	return t;
}

static void
open_conns(struct client *t, uint16_t port, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		outside_connect(w, port);
	cr_assert(world_until(w, 10 * WORLD_S, client_nth(t, n - 1) != NULL));
}

/* Asks once; the rows are gathered from all messages of the answer. Returns the next cursor. */
static uint64_t
ask(enum qp_msg_type type, uint64_t id, uint64_t cursor, uint32_t max, uint64_t *rows, uint32_t *n)
{
	static uint64_t query;
	struct qp_msg m = cp_message_of(type, id);
	const size_t before = w->cp.len;
	uint64_t next = 0;
	bool more = true;

	m.list = (struct qp_msg_list) {.query = ++query, .cursor = cursor, .max = max};
	cp_send(w, &m);
	*n = 0;
	for (size_t i = before; i < w->cp.len; i++) {
		const struct qp_msg *a = &w->cp.log[i];

		cr_assert(more, "a message after the last");
		cr_assert_eq(a->conn_rows.query, query);
		if (type == QP_MSG_LIST_TUNNELS) {
			cr_assert_eq(a->type, QP_MSG_TUNNEL_ROWS);
			for (uint32_t k = 0; k < a->tunnel_rows.n; k++)
				rows[(*n)++] = a->tunnel_rows.row[k].id;
		} else {
			cr_assert_eq(a->type, QP_MSG_CONN_ROWS);
			for (uint32_t k = 0; k < a->conn_rows.n; k++)
				rows[(*n)++] = a->conn_rows.row[k].tunnel_id << 32 | a->conn_rows.row[k].conn_id;
		}
		more = a->conn_rows.more;
		next = a->conn_rows.next;
	}
	cr_assert_not(more, "no last message");
	cr_assert_leq(*n, max);
	return next;
}

static unsigned
times(const uint64_t *rows, unsigned n, uint64_t row)
{
	unsigned found = 0;

	for (unsigned i = 0; i < n; i++)
		found += rows[i] == row;
	return found;
}

/* All pages of `max`; `between` is called after each. Returns the number of rows. */
static unsigned
list_all(enum qp_msg_type type, uint64_t id, uint32_t max, uint64_t *rows, void (*between)(unsigned))
{
	uint64_t cursor = 0;
	unsigned all = 0, pages = 0;
	uint32_t n;

	do {
		cursor = ask(type, id, cursor, max, rows + all, &n);
		all += n;
		if (between != NULL)
			between(pages);
		cr_assert_lt(++pages, 100000u);
	} while (cursor != 0);
	return all;
}

Test(listing, nothing_there_answer_is_empty_and_the_last)
{
	uint64_t rows[64];

	cr_assert_eq(list_all(QP_MSG_LIST_TUNNELS, 0, 10, rows, NULL), 0);
	cr_assert_eq(list_all(QP_MSG_LIST_CONNS, 0, 10, rows, NULL), 0);
	cr_assert_eq(list_all(QP_MSG_LIST_CONNS, 12345, 10, rows, NULL), 0);
}

Test(listing, strangers_are_no_tunnels)
{
	uint64_t rows[64];

	c = client_new(w, PORT, NULL);
	cr_assert(world_until(w, WORLD_S, qp_tunnels_count(w->tunnels) == 1));
	cr_assert_eq(list_all(QP_MSG_LIST_TUNNELS, 0, 10, rows, NULL), 0);
}

Test(listing, tunnel_row_says_where_it_is_and_what_it_carried)
{
	const struct qp_msg_tunnel_row *row;
	struct qp_msg m;
	struct outside_conn *o;

	c = open_tunnel(0);
	o = outside_connect(w, FORWARDED);
	outside_send(o, "hello", 5);
	cr_assert(world_until(w, WORLD_S, client_nth(c, 0) != NULL && client_nth(c, 0)->rx_len == 9));
	world_run(w, 100 * WORLD_MS);
	m = cp_message_of(QP_MSG_LIST_TUNNELS, 0);
	m.list = (struct qp_msg_list) {.query = 1, .max = 10};
	cp_send(w, &m);
	row = &cp_find(w, QP_MSG_TUNNEL_ROWS, 0)->tunnel_rows.row[0];
	cr_assert_eq(row->id, cp_find(w, QP_MSG_AUTH_BEGIN, 0)->id);
	cr_assert_arr_eq(row->peer_addr, c->flow.remote.b, 16);
	cr_assert_eq(row->peer_port_be, c->flow.rport_be);
	/* The network's delay is 5 ms each way. */
	cr_assert(row->rtt_us >= 9000 && row->rtt_us <= 40000, "%u us", row->rtt_us);
	cr_assert_eq(row->usage.in_bytes, 5);
	cr_assert_eq(row->usage.conns_now, 1);
}

Test(listing, each_tunnel_and_connection_is_listed_once_whatever_the_page)
{
	static const uint32_t sizes[] = {1, 3, 7, 8, 55, 56, 1000};
	uint64_t rows[1024];

	for (unsigned i = 0; i < TUNNELS; i++)
		open_conns(open_tunnel(i), (uint16_t)(FORWARDED + i), 5);
	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		cr_assert_eq(list_all(QP_MSG_LIST_TUNNELS, 0, sizes[i], rows, NULL), TUNNELS);
		for (unsigned k = 0; k < TUNNELS; k++)
			cr_assert_eq(times(rows, TUNNELS, cp_find(w, QP_MSG_AUTH_BEGIN, k)->id), 1);
		cr_assert_eq(list_all(QP_MSG_LIST_CONNS, 0, sizes[i], rows, NULL), TUNNELS * 5);
		for (unsigned k = 0; k < TUNNELS * 5; k++)
			cr_assert_eq(times(rows, TUNNELS * 5, rows[k]), 1);
		cr_assert_eq(list_all(QP_MSG_LIST_CONNS, cp_find(w, QP_MSG_AUTH_BEGIN, 7)->id, sizes[i],
				     rows, NULL),
			5);
	}
}

/* Tunnels and connections come and go between the pages. */

static struct client *churned[TUNNELS];

static void
churn(unsigned page)
{
	unsigned n = page % 5 + 1; /* tunnels 1 … 5 are replaced again and again */

	client_close(churned[n], 0);
	cr_assert(world_until(w, 5 * WORLD_S, churned[n]->over));
	client_free(churned[n]);
	world_run(w, 100 * WORLD_MS);
	churned[n] = open_tunnel(n);
	open_conns(churned[n], (uint16_t)(FORWARDED + n), 1 + page % 3);
}

Test(listing, others_come_and_go_meanwhile_who_stays_is_listed_once)
{
	uint64_t *rows = calloc(65536, sizeof(*rows)), stays[64];
	uint64_t tunnels[12];
	unsigned n, all;

	for (unsigned i = 0; i < 12; i++) {
		churned[i] = open_tunnel(i);
		open_conns(churned[i], (uint16_t)(FORWARDED + i), 5);
		tunnels[i] = cp_find(w, QP_MSG_AUTH_BEGIN, i)->id;
	}
	n = 0;
	for (unsigned i = 0; i < 12; i++) {
		uint32_t got;

		if (i >= 1 && i <= 5)
			continue;
		(void)ask(QP_MSG_LIST_CONNS, tunnels[i], 0, 56, stays + n, &got);
		cr_assert_eq(got, 5);
		n += got;
	}
	all = list_all(QP_MSG_LIST_CONNS, 0, 3, rows, churn);
	for (unsigned i = 0; i < n; i++)
		cr_assert_eq(times(rows, all, stays[i]), 1, "connection %u is listed %u times", i,
			times(rows, all, stays[i]));
	all = list_all(QP_MSG_LIST_TUNNELS, 0, 2, rows, churn);
	for (unsigned i = 0; i < 12; i++)
		if (i < 1 || i > 5)
			cr_assert_eq(times(rows, all, tunnels[i]), 1);
	free(rows);
}

Test(listing, cursors_of_nobody_do_no_harm)
{
	static const uint64_t cursors[] = {1, 77, UINT32_MAX, UINT64_C(1) << 32, UINT64_C(5) << 32 | 99,
		UINT64_MAX, UINT64_MAX - 1, UINT64_C(1) << 63};
	uint64_t rows[64];
	uint32_t n;

	c = open_tunnel(0);
	open_conns(c, FORWARDED, 3);
	for (unsigned i = 0; i < sizeof(cursors) / sizeof(cursors[0]); i++) {
		(void)ask(QP_MSG_LIST_TUNNELS, 0, cursors[i], 50, rows, &n);
		(void)ask(QP_MSG_LIST_CONNS, 0, cursors[i], 50, rows, &n);
		(void)ask(QP_MSG_LIST_CONNS, cp_find(w, QP_MSG_AUTH_BEGIN, 0)->id, cursors[i], 50, rows, &n);
	}
	cr_assert_eq(ask(QP_MSG_LIST_CONNS, 0, 0, 0, rows, &n), 0);
}

/* Whatever the number of connections, one question costs the packets behind it next to nothing. */

#define CROWD 100000u

static uint64_t
thread_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

Test(listing, hundred_thousand_connections_each_answer_takes_a_moment)
{
	static uint64_t rows[CROWD];
	struct qp_relay **crowd = calloc(CROWD, sizeof(struct qp_relay *));
	struct qp_tunnel *t;
	uint64_t cursor = 0, longest = 0, begin, took, all_began;
	unsigned asked = 0, n = 0;
	uint32_t got;

	c = open_tunnel(0);
	t = qp_slots_get(&w->tunnels->ids, cp_find(w, QP_MSG_AUTH_BEGIN, 0)->id);
	cr_assert_not_null(t);
	for (unsigned i = 0; i < CROWD; i++)
		cr_assert_not_null(crowd[i] = qp_relay_new(t, NULL));
	all_began = thread_ns();
	do {
		begin = thread_ns();
		cursor = ask(QP_MSG_LIST_CONNS, 0, cursor, 1000, rows + n, &got);
		took = thread_ns() - begin;
		longest = took > longest ? took : longest;
		n += got;
		asked++;
	} while (cursor != 0);
	cr_assert_eq(n, CROWD);
	fprintf(stderr, "100,000 connections: %u questions, %lu us in all, the longest %lu us\n", asked,
		(thread_ns() - all_began) / 1000, longest / 1000);
	/* The log that the test keeps of all messages is in it, and moves now and then. */
	cr_assert_leq(asked, CROWD / 50);
	/* Only the last of them is left: the slots are looked at in portions, too. */
	for (unsigned i = 0; i + 1 < CROWD; i++)
		qp_relay_free(crowd[i]);
	n = list_all(QP_MSG_LIST_CONNS, 0, 1000, rows, NULL);
	cr_assert_eq(n, 1);
	qp_relay_free(crowd[CROWD - 1]);
	free(crowd);
}
