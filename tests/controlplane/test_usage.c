/* SPDX-License-Identifier: Apache-2.0 */
/* Accounts of clients: sums that never fall, whatever order the data planes speak in. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "controlplane/metrics_impl.h"
#include "controlplane/usage.h"

/* The queries' module is replaced: what is asked is kept, the test answers. */
static struct qp_query_ask asked;
static unsigned asks, cancels;
static bool full;

struct qp_query *
qp_query_start(struct qp_queries *qs, const struct qp_query_ask *ask)
{
	(void)qs;
	if (full)
		return NULL;
	asked = *ask;
	asks++;
	return (struct qp_query *)&asked;
}

void
qp_query_cancel(struct qp_query *q)
{
	cr_assert_eq((void *)q, (void *)&asked);
	cancels++;
}

static struct qp_loop *loop;
static struct qp_tunnels *tunnels;
static struct qp_usage *u;
static char *text;

static void
start(void)
{
	loop = qp_loop_new();
	tunnels = qp_tunnels_new();
	u = qp_usage_new(loop, NULL, tunnels);
	cr_assert(loop != NULL && tunnels != NULL && u != NULL);
}

static void
stop(void)
{
	free(text);
	qp_usage_free(u);
	qp_tunnels_free(tunnels);
	qp_loop_free(loop);
}

TestSuite(usage, .init = start, .fini = stop, .timeout = 60);

static struct qp_tunnel *
open_tunnel(uint64_t id, const char *client)
{
	const struct qp_origin origin = {.server_id = 7, .id = id};
	struct qp_tunnel *tun = qp_tunnels_add(tunnels, &origin, 0);

	cr_assert_not_null(tun);
	qp_tunnels_authenticated(tunnels, tun);
	snprintf(tun->identity.name, sizeof(tun->identity.name), "%s", client);
	qp_usage_opened(u, tun);
	return tun;
}

static void
close_tunnel(struct qp_tunnel *tun, const struct qp_msg_usage *last)
{
	qp_usage_closed(u, tun, last);
	qp_tunnels_remove(tunnels, tun);
}

static struct qp_msg_usage
usage(uint64_t in, uint64_t out, uint32_t now)
{
	return (struct qp_msg_usage) {
		.in_bytes = in, .out_bytes = out, .conns_total = now, .conns_now = now};
}

static void
settle(struct qp_tunnel *tun, uint64_t in, uint64_t out, uint32_t now)
{
	const struct qp_msg_usage said = usage(in, out, now);

	qp_usage_settle(u, tun, &said);
}

/* Of quicport_client_NAME; -1: the client has no line. */
static long long
value(const char *name, const char *client)
{
	char line[160];
	const char *at;
	size_t len;
	FILE *out;

	free(text);
	out = open_memstream(&text, &len);
	qp_usage_metrics(u, out);
	fclose(out);
	snprintf(line, sizeof(line), "\nquicport_client_%s{client=\"%s\"} ", name, client);
	at = strstr(text, line);
	return at != NULL ? atoll(at + strlen(line)) : -1;
}

Test(usage, tunnels_of_a_client_add_up)
{
	struct qp_tunnel *a = open_tunnel(1, "alice"), *b = open_tunnel(2, "alice");
	struct qp_tunnel *c = open_tunnel(3, "bob");

	settle(a, 100, 10, 2);
	settle(b, 1000, 0, 1);
	settle(c, 7, 7, 0);
	cr_expect_eq(value("tunnels", "alice"), 2);
	cr_expect_eq(value("bytes_sent_total", "alice"), 1100);
	cr_expect_eq(value("bytes_received_total", "alice"), 10);
	cr_expect_eq(value("connections", "alice"), 3);
	cr_expect_eq(value("bytes_sent_total", "bob"), 7);
	cr_expect_eq(value("tunnels", QP_USAGE_OTHERS), 0);
	cr_expect_eq(value("tunnels", "carol"), -1);
	close_tunnel(a, NULL);
	close_tunnel(b, NULL);
	close_tunnel(c, NULL);
}

Test(usage, what_is_said_twice_counts_once_and_old_news_counts_nothing)
{
	struct qp_tunnel *a = open_tunnel(1, "alice");

	settle(a, 100, 10, 2);
	settle(a, 100, 10, 2);
	settle(a, 60, 5, 1);
	cr_expect_eq(value("bytes_sent_total", "alice"), 100);
	cr_expect_eq(value("connections", "alice"), 1);
	qp_usage_opened(u, a);
	cr_expect_eq(value("tunnels", "alice"), 1);
	close_tunnel(a, NULL);
}

Test(usage, a_tunnels_last_words_settle_its_account)
{
	struct qp_tunnel *a = open_tunnel(1, "alice");
	const struct qp_msg_usage last = usage(150, 30, 0);

	settle(a, 100, 10, 2);
	close_tunnel(a, &last);
	cr_expect_eq(value("tunnels", "alice"), 0);
	cr_expect_eq(value("connections", "alice"), 0);
	cr_expect_eq(value("bytes_sent_total", "alice"), 150);
	a = open_tunnel(2, "alice");
	settle(a, 5, 0, 0);
	cr_expect_eq(value("bytes_sent_total", "alice"), 155);
	close_tunnel(a, NULL);
	cr_expect_eq(value("bytes_sent_total", "alice"), 155);
}

Test(usage, names_are_bounded_and_the_rest_is_together)
{
	struct qp_tunnel *tun[QP_USAGE_NAMED + 20];
	char name[32];

	for (unsigned i = 0; i < QP_USAGE_NAMED + 20; i++) {
		snprintf(name, sizeof(name), "client-%u", i);
		tun[i] = open_tunnel(i + 1, name);
		settle(tun[i], 1, 2, 1);
	}
	cr_expect_eq(value("tunnels", "client-0"), 1);
	cr_expect_eq(value("tunnels", "client-499"), 1);
	cr_expect_eq(value("tunnels", "client-500"), -1);
	cr_expect_eq(value("tunnels", QP_USAGE_OTHERS), 20);
	cr_expect_eq(value("bytes_received_total", QP_USAGE_OTHERS), 40);
	for (unsigned i = 0; i < QP_USAGE_NAMED + 20; i++)
		close_tunnel(tun[i], NULL);
	cr_expect_eq(value("connections", QP_USAGE_OTHERS), 0);
}

static void
answer(unsigned n, const struct qp_query_tunnel *rows, bool more)
{
	const struct qp_query_page page = {.n = n, .tunnel = rows, .more = more, .next = {.at = 5}};

	asked.done(asked.ctx, &page);
}

Test(usage, data_planes_are_asked_page_by_page_while_somebody_reads)
{
	struct qp_tunnel *a = open_tunnel(1, "alice");
	struct qp_query_tunnel rows[2] = {{.origin = {.server_id = 7, .id = 1}},
		{.origin = {.server_id = 7, .id = 99}}};

	rows[0].row.usage = usage(40, 0, 1);
	rows[1].row.usage = usage(1000, 0, 1); /* unknown here: it has just gone */
	cr_expect_eq(asks, 0u);
	cr_expect_eq(value("bytes_sent_total", "alice"), 0);
	cr_expect_eq(asks, 1u);
	cr_expect_eq(value("bytes_sent_total", "alice"), 0);
	cr_expect_eq(asks, 1u, "one is under way");
	answer(2, rows, true);
	cr_expect_eq(asks, 2u);
	cr_expect_eq(asked.from.at, 5u);
	answer(0, NULL, false);
	cr_expect_eq(asks, 2u);
	cr_expect_eq(value("bytes_sent_total", "alice"), 40);
	close_tunnel(a, NULL);
}

Test(usage, a_query_that_cannot_start_is_tried_again_and_one_under_way_is_cancelled)
{
	full = true;
	cr_expect_eq(value("tunnels", QP_USAGE_OTHERS), 0);
	cr_expect_eq(asks, 0u);
	full = false;
	while (asks == 0)
		qp_loop_turn(loop, (int)QP_USAGE_EVERY_MS);
	qp_usage_free(u);
	cr_expect_eq(cancels, 1u);
	u = NULL;
}
