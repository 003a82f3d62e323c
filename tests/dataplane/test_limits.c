/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a client may use: connections at once and in a second, the networks of
 * its outside users, bandwidth each way. With a virtual clock, so that a rate
 * is measured to the byte.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <stdlib.h>
#include <string.h>

#include "common/wire.h"
#include "tests/dataplane/client.h"
#include "tests/dataplane/outside.h"
#include "tests/dataplane/world.h"

#define PORT 50000
#define FORWARDED 9022
#define ID 7
#define MORE_THAN_ENOUGH (24u << 20)

static struct world *w;
static struct client *c;
static struct client_stream *control;
static uint8_t *pattern;

static void
setup(void)
{
	struct world_config cfg;

	world_init();
	world_config_default(&cfg);
	cfg.tcp_window = 256 << 10;
	w = world_new(&cfg);
	w->cp.identity.client_id = ID;
	pattern = malloc(MORE_THAN_ENOUGH);
	cr_assert_not_null(pattern);
	for (size_t i = 0; i < MORE_THAN_ENOUGH; i++)
		pattern[i] = (uint8_t)(i * 37 + (i >> 8) + (i >> 17));
}

static void
teardown(void)
{
	world_free(w);
	free(pattern);
}

TestSuite(limits, .init = setup, .fini = teardown, .timeout = 240);

static void
limit(struct qp_msg_client_limits limits)
{
	struct qp_msg m = cp_message_of(QP_MSG_CLIENT_LIMITS, 0);

	m.client_limits = limits;
	m.client_limits.client_id = ID;
	cp_send(w, &m);
}

static void
sources(uint16_t first, uint16_t n, const struct qp_msg_network *network)
{
	struct qp_msg m = cp_message_of(QP_MSG_CLIENT_SOURCES, 0);

	m.client_sources.client_id = ID;
	m.client_sources.first = first;
	m.client_sources.n = n;
	memcpy(m.client_sources.network, network, n * sizeof(*network));
	cp_send(w, &m);
}

static void
forget(void)
{
	struct qp_msg m = cp_message_of(QP_MSG_CLIENT_FORGET, 0);

	m.client_forget.client_id = ID;
	cp_send(w, &m);
}

static void
open_port(void)
{
	c = client_new(w, PORT, NULL);
	control = client_forward(c, FORWARDED);
	cr_assert_not_null(control);
}

static struct client_stream *
relayed(struct outside_conn **o)
{
	struct client_stream *s = client_relayed(c, FORWARDED, o);

	cr_assert_not_null(s);
	return s;
}

static struct outside_conn *
tried(void)
{
	struct outside_conn *o = outside_connect(w, FORWARDED);

	cr_assert(world_until(w, 5 * WORLD_S, o->established || o->reset));
	world_run(w, 20 * WORLD_MS);
	return o;
}

static size_t
bytes_len(const struct client_stream *s)
{
	return s->rx_len - QP_WIRE_CONN_ID_BYTES;
}

/* Connections. */

Test(limits, as_many_at_once_as_allowed_one_more_is_refused_until_one_goes)
{
	struct outside_conn *first, *second, *third;

	limit((struct qp_msg_client_limits) {.max_conns = 2});
	open_port();
	relayed(&first);
	relayed(&second);
	third = tried();
	cr_assert(third->reset);
	cr_assert_eq(w->counters.client_conns_refused, 1);
	cr_assert_eq(w->counters.conns_active, 2);
	outside_reset(first);
	cr_assert(world_until(w, WORLD_S, w->counters.conns_active == 1));
	relayed(&third);
	cr_assert_not(second->reset);
}

Test(limits, all_tunnels_of_a_client_share_the_number)
{
	struct outside_conn *o;
	struct client *other;

	limit((struct qp_msg_client_limits) {.max_conns = 1});
	other = client_new(w, PORT + 1, NULL);
	cr_assert_not_null(client_forward(other, FORWARDED + 1));
	open_port();
	relayed(&o);
	o = outside_connect(w, FORWARDED + 1);
	cr_assert(world_until(w, 5 * WORLD_S, o->reset));
}

Test(limits, another_client_is_not_touched)
{
	struct outside_conn *o;
	struct client *other;

	limit((struct qp_msg_client_limits) {.max_conns = 1});
	open_port();
	relayed(&o);
	w->cp.identity.client_id = ID + 1024; /* the same bucket of the table, perhaps */
	other = client_new(w, PORT + 1, NULL);
	cr_assert_not_null(client_forward(other, FORWARDED + 1));
	for (unsigned i = 0; i < 5; i++) {
		o = outside_connect(w, FORWARDED + 1);
		cr_assert(world_until(w, 5 * WORLD_S, o->established));
	}
	world_run(w, 100 * WORLD_MS);
	cr_assert_eq(w->counters.conns_active, 6);
}

Test(limits, rate_of_new_connections_is_kept_over_ten_seconds)
{
	unsigned opened = 0;

	limit((struct qp_msg_client_limits) {.conns_per_s = 20});
	open_port();
	/* 100 a second for ten seconds. */
	for (unsigned i = 0; i < 1000; i++) {
		struct outside_conn *o = outside_connect(w, FORWARDED);

		world_run(w, 10 * WORLD_MS);
		opened += !o->reset;
		if (!o->reset)
			outside_reset(o);
	}
	/* 20 in advance. */
	cr_assert(opened >= 215 && opened <= 221, "%u were let in", opened);
	cr_assert_geq(w->counters.client_rate_refused, 1000 - opened);
}

Test(limits, limit_comes_while_connections_are_open_they_stay)
{
	struct outside_conn *first, *second;

	open_port();
	relayed(&first);
	relayed(&second);
	limit((struct qp_msg_client_limits) {.max_conns = 1});
	world_run(w, 100 * WORLD_MS);
	cr_assert(!first->reset && !second->reset);
	cr_assert(tried()->reset);
	forget();
	cr_assert_not(tried()->reset);
}

Test(limits, tunnel_gets_another_identity_the_new_clients_limits_count)
{
	const uint64_t id = (open_port(), cp_find(w, QP_MSG_AUTH_BEGIN, 0)->id);
	struct outside_conn *o;

	relayed(&o);
	limit((struct qp_msg_client_limits) {.max_conns = 1});
	w->cp.identity.client_id = ID + 1;
	cp_verdict(w, id, true);
	cr_assert_not(tried()->reset);
	w->cp.identity.client_id = ID;
	cp_verdict(w, id, true);
	cr_assert(tried()->reset, "it brings its connections along");
	cp_verdict(w, id, false);
	world_run(w, 100 * WORLD_MS);
	cr_assert_not(c->over);
}

/* Sources: the outside comes from 203.0.113.9. */

static struct qp_msg_network
network(uint32_t addr, uint8_t prefix)
{
	const struct qp_ipaddr a = qp_ipaddr_v4(htonl(addr));
	struct qp_msg_network n = {.prefix = (uint8_t)(96 + prefix)};

	memcpy(n.addr, a.b, sizeof(n.addr));
	return n;
}

Test(limits, source_from_elsewhere_meets_a_closed_port)
{
	const struct qp_msg_network elsewhere = network(0xc6336400, 24), here = network(0xcb007100, 24);

	limit((struct qp_msg_client_limits) {.nsources = 1});
	open_port();
	cr_assert(tried()->reset, "before the list is here, nobody is let in");
	sources(0, 1, &elsewhere);
	cr_assert(tried()->reset);
	cr_assert_eq(w->counters.client_sources_refused, 2);
	cr_assert_eq(w->counters.conns_total, 0);
	limit((struct qp_msg_client_limits) {.nsources = 1});
	cr_assert(tried()->reset);
	sources(0, 1, &here);
	cr_assert_not(tried()->reset);
	limit((struct qp_msg_client_limits) {.nsources = 0});
	cr_assert_not(tried()->reset);
}

Test(limits, source_list_in_pieces_counts_when_it_is_whole)
{
	struct qp_msg_network n[QP_MSG_NETWORKS];

	limit((struct qp_msg_client_limits) {.nsources = QP_MSG_NETWORKS + 1});
	open_port();
	for (unsigned i = 0; i < QP_MSG_NETWORKS; i++)
		n[i] = network(0x0a000000 + (i << 16), 16);
	sources(0, QP_MSG_NETWORKS, n);
	cr_assert(tried()->reset);
	sources(QP_MSG_NETWORKS + 5, 1, n); /* a hole: it is not taken */
	n[0] = network(0xcb007109, 32);
	cr_assert(tried()->reset);
	sources(QP_MSG_NETWORKS, 1, n);
	cr_assert_not(tried()->reset);
}

struct prefix_case {
	uint32_t addr;
	uint8_t prefix;
	bool in;
};

ParameterizedTestParameters(limits, network_holds_its_addresses)
{
	static struct prefix_case cases[] = {
		{0x00000000, 0, true},
		{0xcb007109, 32, true},
		{0xcb007108, 32, false},
		{0xcb007108, 31, true},
		{0xcb007108, 29, true},
		{0xcb007100, 29, false},
		{0xca000000, 7, true},
		{0xcc000000, 7, false},
	};

	return cr_make_param_array(struct prefix_case, cases, sizeof(cases) / sizeof(cases[0]));
}

ParameterizedTest(struct prefix_case *p, limits, network_holds_its_addresses)
{
	const struct qp_msg_network n = network(p->addr, p->prefix);

	limit((struct qp_msg_client_limits) {.nsources = 1});
	sources(0, 1, &n);
	open_port();
	cr_assert_eq(tried()->reset, !p->in);
}

Test(limits, networks_are_narrowed_who_is_connected_from_elsewhere_is_reset)
{
	const struct qp_msg_network here = network(0xcb007100, 24), elsewhere = network(0xc6336400, 24);
	struct outside_conn *o[20], *other;
	struct client *another;

	open_port();
	for (unsigned i = 0; i < 20; i++)
		relayed(&o[i]);
	w->cp.identity.client_id = ID + 1;
	another = client_new(w, PORT + 1, NULL);
	cr_assert_not_null(client_forward(another, FORWARDED + 1));
	other = outside_connect(w, FORWARDED + 1);
	cr_assert(world_until(w, WORLD_S, other->established));
	limit((struct qp_msg_client_limits) {.nsources = 1});
	sources(0, 1, &here);
	world_run(w, 100 * WORLD_MS);
	cr_assert_not(o[0]->reset);
	limit((struct qp_msg_client_limits) {.nsources = 1});
	sources(0, 1, &elsewhere);
	for (unsigned i = 0; i < 20; i++)
		cr_assert(world_until(w, 100 * WORLD_MS, o[i]->reset), "connection %u goes on", i);
	cr_assert_not(other->reset);
	cr_assert(world_until(w, WORLD_S, cp_count(w, QP_MSG_CONN_CLOSED) == 20));
	cr_assert_eq(cp_find(w, QP_MSG_CONN_CLOSED, 0)->conn_closed.conn.reason, QP_END_LIMIT);
}

/* Bandwidth. */

struct rate_case {
	uint64_t rate;
	unsigned conns;
};

#define RATES                                                                                      \
	{                                                                                          \
		{10000, 1}, {100000, 1}, {100000, 7}, {1250000, 1}, {1250000, 10},                 \
	}

ParameterizedTestParameters(limits, bandwidth_in_is_kept)
{
	static struct rate_case cases[] = RATES;

	return cr_make_param_array(struct rate_case, cases, sizeof(cases) / sizeof(cases[0]));
}

#define expect_rate(got, rate, s)                                                                  \
	cr_assert((got) >= (rate) * (s) * 95 / 100 && (got) <= (rate) * (s) * 105 / 100,           \
		"%lu bytes in %u s at %lu", (unsigned long)(got), (unsigned)(s), (unsigned long)(rate))

/* Of the nine seconds after the first, which has what was saved up. */
static void
expect_fair(size_t bytes, const struct rate_case *p)
{
	const uint64_t share = 9 * p->rate / p->conns;

	cr_assert(bytes + 4096 > share * 93 / 100 && bytes < share * 107 / 100 + 4096,
		"one of %u has %zu bytes of %lu", p->conns, bytes, (unsigned long)(9 * p->rate));
}

ParameterizedTest(struct rate_case *p, limits, bandwidth_in_is_kept)
{
	struct outside_conn *o[10];
	struct client_stream *s[10];
	size_t before[10];
	uint64_t sum = 0;

	limit((struct qp_msg_client_limits) {.in_bytes_per_s = p->rate});
	open_port();
	for (unsigned i = 0; i < p->conns; i++)
		s[i] = relayed(&o[i]);
	for (unsigned i = 0; i < p->conns; i++)
		outside_send(o[i], pattern, MORE_THAN_ENOUGH);
	world_run(w, WORLD_S);
	for (unsigned i = 0; i < p->conns; i++)
		before[i] = bytes_len(s[i]);
	world_run(w, 9 * WORLD_S);
	for (unsigned i = 0; i < p->conns; i++) {
		sum += bytes_len(s[i]);
		expect_fair(bytes_len(s[i]) - before[i], p);
	}
	expect_rate(sum, p->rate, 10);
	for (unsigned i = 0; i < p->conns; i++) {
		cr_assert_arr_eq(s[i]->rx + QP_WIRE_CONN_ID_BYTES, pattern, bytes_len(s[i]));
		cr_assert_not(o[i]->reset);
	}
}

ParameterizedTestParameters(limits, bandwidth_out_is_kept)
{
	static struct rate_case cases[] = RATES;

	return cr_make_param_array(struct rate_case, cases, sizeof(cases) / sizeof(cases[0]));
}

ParameterizedTest(struct rate_case *p, limits, bandwidth_out_is_kept)
{
	struct outside_conn *o[10];
	struct client_stream *s[10];
	size_t before[10];
	uint64_t sum = 0;

	limit((struct qp_msg_client_limits) {.out_bytes_per_s = p->rate});
	open_port();
	for (unsigned i = 0; i < p->conns; i++)
		s[i] = relayed(&o[i]);
	for (unsigned i = 0; i < p->conns; i++)
		client_write(s[i], pattern, MORE_THAN_ENOUGH);
	world_run(w, WORLD_S);
	for (unsigned i = 0; i < p->conns; i++)
		before[i] = o[i]->rx_len;
	world_run(w, 9 * WORLD_S);
	for (unsigned i = 0; i < p->conns; i++) {
		sum += o[i]->rx_len;
		expect_fair(o[i]->rx_len - before[i], p);
	}
	expect_rate(sum, p->rate, 10);
	for (unsigned i = 0; i < p->conns; i++)
		cr_assert_arr_eq(o[i]->rx, pattern, o[i]->rx_len);
}

Test(limits, many_short_connections_share_the_bandwidth_too)
{
	uint64_t sum = 0;

	limit((struct qp_msg_client_limits) {.in_bytes_per_s = 100000});
	open_port();
	/* 400 KB a second are wanted, in connections of 4 KB. */
	for (unsigned i = 0; i < 1000; i++) {
		struct outside_conn *o = outside_connect(w, FORWARDED);

		outside_send(o, pattern, 4000);
		outside_finish(o);
		world_run(w, 10 * WORLD_MS);
		for (unsigned j = 0; client_nth(c, j) != NULL; j++)
			if (client_nth(c, j)->fin)
				client_fin(client_nth(c, j));
	}
	for (unsigned i = 0; client_nth(c, i) != NULL; i++)
		sum += bytes_len(client_nth(c, i));
	expect_rate(sum, 100000, 10);
}

Test(limits, slowed_connection_ends_well_with_all_its_bytes)
{
	const size_t len = 300000;
	struct outside_conn *o;
	struct client_stream *s;

	limit((struct qp_msg_client_limits) {.in_bytes_per_s = 100000, .out_bytes_per_s = 100000});
	open_port();
	s = relayed(&o);
	outside_send(o, pattern, len);
	outside_finish(o);
	client_write(s, pattern, len);
	client_fin(s);
	cr_assert(world_until(w, 10 * WORLD_S, o->ended && s->closed && w->counters.conns_active == 0));
	cr_assert_eq(bytes_len(s), len);
	cr_assert_eq(o->rx_len, len);
	cr_assert_arr_eq(s->rx + QP_WIRE_CONN_ID_BYTES, pattern, len);
	cr_assert_arr_eq(o->rx, pattern, len);
	cr_assert_eq(w->counters.relay_queued_bytes, 0);
}

Test(limits, slowed_connection_is_reset_nothing_is_left)
{
	struct outside_conn *o[4];
	struct client_stream *s[4];

	limit((struct qp_msg_client_limits) {.in_bytes_per_s = 10000, .out_bytes_per_s = 10000});
	open_port();
	for (unsigned i = 0; i < 4; i++) {
		s[i] = relayed(&o[i]);
		outside_send(o[i], pattern, 200000);
		client_write(s[i], pattern, 200000);
	}
	world_run(w, WORLD_S);
	outside_reset(o[0]);
	client_reset(s[1], QP_STREAM_RESET);
	client_stop(s[2], QP_STREAM_RESET);
	world_run(w, WORLD_S);
	client_close(c, 0);
	cr_assert(world_until(w, 5 * WORLD_S, w->counters.conns_active == 0));
	cr_assert_eq(w->counters.relay_queued_bytes, 0);
}

Test(limits, limit_changes_what_waits_goes_on_by_the_new_one)
{
	struct outside_conn *o;
	struct client_stream *s;
	size_t before;

	limit((struct qp_msg_client_limits) {.in_bytes_per_s = 10000});
	open_port();
	s = relayed(&o);
	outside_send(o, pattern, MORE_THAN_ENOUGH);
	world_run(w, 2 * WORLD_S);
	cr_assert_lt(bytes_len(s), 30000);
	limit((struct qp_msg_client_limits) {.in_bytes_per_s = 200000});
	before = bytes_len(s);
	world_run(w, 10 * WORLD_S);
	expect_rate(bytes_len(s) - before, 200000, 10);
	limit((struct qp_msg_client_limits) {.in_bytes_per_s = 0});
	before = bytes_len(s);
	world_run(w, WORLD_S);
	cr_assert_gt(bytes_len(s) - before, 2000000);
	cr_assert_arr_eq(s->rx + QP_WIRE_CONN_ID_BYTES, pattern, bytes_len(s));
}

Test(limits, waiting_bytes_are_bounded_by_the_bandwidth)
{
	struct outside_conn *o;

	limit((struct qp_msg_client_limits) {.in_bytes_per_s = 10000});
	open_port();
	relayed(&o);
	outside_send(o, pattern, MORE_THAN_ENOUGH);
	world_run(w, 10 * WORLD_S);
	cr_assert_leq(w->counters.relay_queued_bytes, 300000);
	cr_assert_gt(w->counters.client_waits, 0);
}

Test(limits, forgotten_while_bytes_wait_they_go_on)
{
	struct outside_conn *o;
	struct client_stream *s;

	limit((struct qp_msg_client_limits) {.in_bytes_per_s = 1000});
	open_port();
	s = relayed(&o);
	outside_send(o, pattern, 100000);
	world_run(w, WORLD_S);
	forget();
	cr_assert(world_until(w, 5 * WORLD_S, bytes_len(s) == 100000));
	cr_assert_arr_eq(s->rx + QP_WIRE_CONN_ID_BYTES, pattern, 100000);
}
