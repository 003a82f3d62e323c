/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Outside connections through a tunnel: bytes, half-close, reset and refusal
 * one to one in each direction, back-pressure, waiting for streams, memory.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <string.h>

#include "common/wire.h"
#include "dataplane/memory.h"
#include "tests/dataplane/client.h"
#include "tests/dataplane/outside.h"
#include "tests/dataplane/world.h"

#define PORT 50000
#define FORWARDED 9022
#define MANY 200u

static struct world *w;
static struct client *c;
static struct client_config ccfg;
static struct client_stream *control;
static uint8_t pattern[4 << 20];

static struct world_config cfg;

static void
setup(void)
{
	world_init();
	world_config_default(&cfg);
	client_config_default(&ccfg);
	w = world_new(&cfg);
	for (size_t i = 0; i < sizeof(pattern); i++)
		pattern[i] = (uint8_t)(i * 37 + (i >> 8) + (i >> 17));
}

static void
teardown(void)
{
	world_free(w);
}

TestSuite(relay, .init = setup, .fini = teardown, .timeout = 240);

static void
open_port(void)
{
	c = client_new(w, PORT, &ccfg);
	control = client_forward(c, FORWARDED);
	cr_assert_not_null(control);
}

/* An outside connection and its stream at the client. */
static struct client_stream *
relayed(struct outside_conn **o)
{
	struct client_stream *s = client_relayed(c, FORWARDED, o);

	cr_assert_not_null(s);
	return s;
}

static const uint8_t *
bytes(const struct client_stream *s)
{
	return s->rx + QP_WIRE_CONN_ID_BYTES;
}

static size_t
bytes_len(const struct client_stream *s)
{
	return s->rx_len - QP_WIRE_CONN_ID_BYTES;
}

static void
expect_nothing_left(void)
{
	cr_assert(world_until(w, 10 * WORLD_S, w->counters.conns_active == 0));
	cr_assert_eq(w->counters.relay_queued_bytes, 0);
}

/* Bytes. */

Test(relay, outside_connects_stream_leads_with_its_id_and_is_announced)
{
	struct qp_wire_msg msg;
	struct outside_conn *o;
	struct client_stream *s;
	size_t before, used;
	const char *reason;

	open_port();
	before = control->rx_len;
	s = relayed(&o);
	cr_assert(world_until(w, WORLD_S, control->rx_len > before));
	cr_assert_eq(qp_wire_decode(
			     control->rx + before, control->rx_len - before, &msg, &used, &reason),
		0);
	cr_assert_eq(msg.type, QP_WIRE_REMOTE_NEW_CONNECTION);
	cr_assert_eq(msg.new_connection.id, qp_wire_get_conn_id(s->rx));
	cr_assert_eq(msg.new_connection.protocol, QP_WIRE_TCP);
	cr_assert_eq(used, control->rx_len - before);
	cr_assert(o->established);
	cr_assert_eq(w->counters.conns_active, 1);
}

Test(relay, both_sides_speak_bytes_arrive_in_order)
{
	struct outside_conn *o;
	struct client_stream *s;

	open_port();
	s = relayed(&o);
	outside_send(o, "question", 8);
	cr_assert(world_until(w, WORLD_S, bytes_len(s) == 8));
	cr_assert_arr_eq(bytes(s), "question", 8);
	client_write(s, "answer", 6);
	cr_assert(world_until(w, WORLD_S, o->rx_len == 6));
	cr_assert_arr_eq(o->rx, "answer", 6);
	cr_assert_eq(w->counters.relay_bytes_in, 8);
	cr_assert_eq(w->counters.relay_bytes_out, 6);
}

Test(relay, megabytes_both_ways_at_once_are_whole)
{
	struct outside_conn *o;
	struct client_stream *s;

	open_port();
	s = relayed(&o);
	outside_send(o, pattern, sizeof(pattern));
	outside_finish(o);
	client_write(s, pattern, sizeof(pattern));
	client_fin(s);
	cr_assert(world_until(w, 300 * WORLD_S, o->fin && s->fin));
	cr_assert_eq(bytes_len(s), sizeof(pattern));
	cr_assert_arr_eq(bytes(s), pattern, sizeof(pattern));
	cr_assert_eq(o->rx_len, sizeof(pattern));
	cr_assert_arr_eq(o->rx, pattern, sizeof(pattern));
	expect_nothing_left();
}

Test(relay, many_connections_at_once_none_mixed_up)
{
	struct outside_conn *o[MANY];

	ccfg.max_streams = MANY;
	open_port();
	for (unsigned i = 0; i < MANY; i++) {
		o[i] = outside_connect(w, FORWARDED);
		outside_send(o[i], pattern + i, 20000);
		outside_finish(o[i]);
	}
	/* An echo server: what a stream brought goes back when it has ended. */
	for (unsigned echoed = 0; echoed < MANY;) {
		struct client_stream *s;

		world_run(w, 10 * WORLD_MS);
		TAILQ_FOREACH (s, &c->streams, link) {
			if (s == control || !s->fin || s->fin_asked)
				continue;
			client_write(s, bytes(s), bytes_len(s));
			client_fin(s);
			echoed++;
		}
		cr_assert_lt(w->now_ns, 2000 * WORLD_S);
	}
	for (unsigned i = 0; i < MANY; i++) {
		cr_assert(world_until(w, 60 * WORLD_S, o[i]->fin), "connection %u", i);
		cr_assert_eq(o[i]->rx_len, 20000);
		cr_assert_arr_eq(o[i]->rx, pattern + i, 20000);
	}
	cr_assert_eq(w->counters.conns_total, MANY);
	expect_nothing_left();
}

Test(relay, thousands_one_after_another_nothing_is_left)
{
	uint32_t mbufs;

	open_port();
	world_run(w, WORLD_S);
	mbufs = world_mbufs_in_use(w);
	for (unsigned i = 0; i < 2000; i++) {
		struct outside_conn *o;
		struct client_stream *s = relayed(&o);

		outside_send(o, "x", 1);
		outside_finish(o);
		client_write(s, "y", 1);
		client_fin(s);
		cr_assert(world_until(w, 10 * WORLD_S, o->fin && s->fin), "connection %u", i);
		/* The list of streams stays short: the harness looks through it. */
		cr_assert(world_until(w, 10 * WORLD_S, s->closed));
		s->rx_len = 0;
	}
	cr_assert_eq(w->counters.conns_refused, 0);
	expect_nothing_left();
	world_run(w, 10 * WORLD_S);
	cr_assert_leq(world_mbufs_in_use(w), mbufs + 1);
}

/* Half-close. */

Test(relay, outside_finishes_answer_still_arrives_whole)
{
	struct outside_conn *o;
	struct client_stream *s;

	open_port();
	s = relayed(&o);
	outside_send(o, "request", 7);
	outside_finish(o);
	cr_assert(world_until(w, WORLD_S, s->fin));
	cr_assert_arr_eq(bytes(s), "request", 7);
	world_run(w, 20 * WORLD_S);
	cr_assert_not(o->fin);
	client_write(s, pattern, 500000);
	client_fin(s);
	cr_assert(world_until(w, 60 * WORLD_S, o->fin));
	cr_assert_eq(o->rx_len, 500000);
	cr_assert_arr_eq(o->rx, pattern, 500000);
	expect_nothing_left();
}

Test(relay, service_finishes_first_request_still_flows)
{
	struct outside_conn *o;
	struct client_stream *s;

	open_port();
	s = relayed(&o);
	client_write(s, "banner", 6);
	client_fin(s);
	cr_assert(world_until(w, WORLD_S, o->fin));
	cr_assert_arr_eq(o->rx, "banner", 6);
	cr_assert_not(s->fin);
	outside_send(o, pattern, 500000);
	outside_finish(o);
	cr_assert(world_until(w, 60 * WORLD_S, s->fin));
	cr_assert_eq(bytes_len(s), 500000);
	cr_assert_arr_eq(bytes(s), pattern, 500000);
	expect_nothing_left();
	cr_assert_eq(w->counters.conns_refused, 0);
}

Test(relay, outside_finishes_without_a_byte_stream_ends)
{
	struct outside_conn *o;
	struct client_stream *s;

	open_port();
	s = relayed(&o);
	outside_finish(o);
	cr_assert(world_until(w, WORLD_S, s->fin));
	cr_assert_eq(bytes_len(s), 0);
	client_fin(s);
	cr_assert(world_until(w, WORLD_S, o->fin));
	expect_nothing_left();
}

Test(relay, fin_lost_and_late_no_byte_is_missing)
{
	struct outside_conn *o;
	struct client_stream *s;

	open_port();
	s = relayed(&o);
	w->net.loss = 300;
	client_write(s, pattern, 3000);
	client_fin(s);
	outside_send(o, pattern, 3000);
	outside_finish(o);
	cr_assert(world_until(w, 300 * WORLD_S, o->fin && s->fin));
	cr_assert_eq(o->rx_len, 3000);
	cr_assert_eq(bytes_len(s), 3000);
	w->net.loss = 0;
	expect_nothing_left();
}

/* Resets and refusal. */

Test(relay, outside_resets_stream_is_reset_both_ways)
{
	struct outside_conn *o;
	struct client_stream *s;

	open_port();
	s = relayed(&o);
	outside_send(o, "half a req", 10);
	cr_assert(world_until(w, WORLD_S, bytes_len(s) == 10));
	outside_reset(o);
	cr_assert(world_until(w, WORLD_S, s->reset));
	cr_assert_eq(s->reset_code, QP_STREAM_RESET);
	client_write(s, "into the void", 13);
	world_run(w, WORLD_S);
	cr_assert(s->stopped || s->closed, "STOP_SENDING came");
	expect_nothing_left();
	cr_assert_not(c->over);
}

Test(relay, client_resets_stream_outside_is_reset)
{
	struct outside_conn *o;
	struct client_stream *s;

	open_port();
	s = relayed(&o);
	outside_send(o, "request", 7);
	cr_assert(world_until(w, WORLD_S, bytes_len(s) == 7));
	client_reset(s, 9);
	cr_assert(world_until(w, WORLD_S, o->reset));
	expect_nothing_left();
}

Test(relay, client_cannot_connect_outside_is_reset_at_once)
{
	const struct qp_wire_msg msg = {
		.type = QP_WIRE_CONNECTION_CLOSE, .connection_close = {0, QP_WIRE_REFUSED}};
	struct qp_wire_msg close = msg;
	struct outside_conn *o;
	struct client_stream *s;
	uint8_t buf[16];
	int n;

	open_port();
	s = relayed(&o);
	close.connection_close.id = qp_wire_get_conn_id(s->rx);
	n = qp_wire_encode(&close, buf, sizeof(buf));
	cr_assert_gt(n, 0);
	client_write(control, buf, (size_t)n);
	client_reset(s, QP_STREAM_REFUSED);
	cr_assert(world_until(w, 100 * WORLD_MS, o->reset));
	expect_nothing_left();
	world_run(w, WORLD_S);
	cr_assert_not(c->over);
	cr_assert_eq(w->counters.tunnels_active, 1);
}

Test(relay, connection_close_without_reset_outside_is_reset_too)
{
	uint8_t buf[8] = {QP_WIRE_CONNECTION_CLOSE, 0, 5};
	struct outside_conn *o;
	struct client_stream *s;

	open_port();
	s = relayed(&o);
	memcpy(buf + 3, s->rx, 4);
	buf[7] = QP_WIRE_TIMEOUT;
	client_write(control, buf, sizeof(buf));
	cr_assert(world_until(w, WORLD_S, o->reset && s->reset));
	expect_nothing_left();
}

Test(relay, connection_close_normal_streams_end_by_themselves)
{
	uint8_t buf[8] = {QP_WIRE_CONNECTION_CLOSE, 0, 5};
	struct outside_conn *o;
	struct client_stream *s;

	open_port();
	s = relayed(&o);
	memcpy(buf + 3, s->rx, 4);
	client_write(control, buf, sizeof(buf));
	world_run(w, WORLD_S);
	client_write(s, "the rest", 8);
	client_fin(s);
	outside_finish(o);
	cr_assert(world_until(w, WORLD_S, o->fin));
	cr_assert_arr_eq(o->rx, "the rest", 8);
	expect_nothing_left();
}

/* The client reads no more, but still writes: what it wrote arrives. */
Test(relay, client_stops_reading_its_answer_arrives_and_queue_is_dropped)
{
	struct outside_conn *o;
	struct client_stream *s;

	open_port();
	s = relayed(&o);
	outside_send(o, pattern, 100000);
	cr_assert(world_until(w, WORLD_S, bytes_len(s) == 100000));
	client_stop(s, 3);
	client_write(s, "enough", 6);
	outside_send(o, pattern, 100000);
	cr_assert(world_until(w, WORLD_S, o->rx_len == 6));
	world_run(w, 5 * WORLD_S);
	cr_assert_eq(w->counters.relay_queued_bytes, 0);
	cr_assert_eq(o->taken, 200000, "swallowed while the answer is on its way");
	client_fin(s);
	cr_assert(world_until(w, 5 * WORLD_S, o->fin));
	outside_finish(o);
	expect_nothing_left();
}

/* It is known late that nobody reads a stream out of credit: then the outside hears it. */
Test(relay, client_stops_a_blocked_stream_and_finishes_outside_is_reset)
{
	struct outside_conn *o;
	struct client_stream *s;

	ccfg.hold = true;
	ccfg.stream_window = 5000;
	open_port();
	s = relayed(&o);
	outside_send(o, pattern, 1000000);
	world_run(w, 5 * WORLD_S);
	client_stop(s, 3);
	client_write(s, "no more", 7);
	client_fin(s);
	cr_assert(world_until(w, 5 * WORLD_S, o->rx_len == 7));
	cr_assert(world_until(w, 30 * WORLD_S, o->reset));
	expect_nothing_left();
}

Test(relay, port_closes_what_runs_is_reset)
{
	struct outside_conn *o[3];

	open_port();
	for (unsigned i = 0; i < 3; i++)
		relayed(&o[i]);
	outside_send(o[0], pattern, 100000);
	client_write(control, "\x41\x00\x00", 3);
	for (unsigned i = 0; i < 3; i++)
		cr_assert(world_until(w, WORLD_S, o[i]->reset));
	expect_nothing_left();
}

Test(relay, client_closes_connection_what_runs_is_reset)
{
	struct outside_conn *o;

	open_port();
	relayed(&o);
	client_close(c, 0);
	cr_assert(world_until(w, WORLD_S, o->reset));
	expect_nothing_left();
}

Test(relay, outside_ended_long_ago_tunnel_closing_does_not_touch_it)
{
	struct outside_conn *o;
	struct client_stream *s;

	ccfg.hold = true;
	ccfg.stream_window = 5000;
	open_port();
	s = relayed(&o);
	outside_send(o, pattern, 20000);
	outside_finish(o);
	client_write(s, "ok", 2);
	client_fin(s);
	cr_assert(world_until(w, 5 * WORLD_S, o->ended));
	cr_assert_gt(w->counters.relay_queued_bytes, 0, "the client has not read it yet");
	client_close(c, 0);
	expect_nothing_left();
}

/* Back-pressure. */

Test(relay, client_reads_nothing_outside_stops_and_goes_on)
{
	struct outside_conn *o;
	struct client_stream *s;
	size_t taken;

	ccfg.hold = true;
	ccfg.stream_window = 50000;
	open_port();
	s = relayed(&o);
	outside_send(o, pattern, sizeof(pattern));
	outside_finish(o);
	world_run(w, 30 * WORLD_S);
	taken = o->taken;
	cr_assert_eq(s->rx_len, 50000);
	cr_assert_leq(taken, 50000 + 2 * w->cfg.tcp_window, "what is queued is bounded");
	cr_assert_leq(w->counters.relay_queued_bytes, w->cfg.tcp_window);
	world_run(w, 60 * WORLD_S);
	cr_assert_eq(o->taken, taken);
	client_unhold(s);
	cr_assert(world_until(w, 60 * WORLD_S, s->fin));
	cr_assert_eq(bytes_len(s), sizeof(pattern));
	cr_assert_arr_eq(bytes(s), pattern, sizeof(pattern));
}

Test(relay, outside_reads_nothing_client_stops_and_goes_on)
{
	struct outside_conn *o;
	struct client_stream *s;

	open_port();
	s = relayed(&o);
	o->hold = true;
	client_write(s, pattern, sizeof(pattern));
	client_fin(s);
	world_run(w, 60 * WORLD_S);
	cr_assert_leq(w->counters.relay_bytes_out, 1 << 20, "a stream's window and no more");
	cr_assert_geq(w->counters.relay_bytes_out, 100000);
	outside_unhold(o);
	cr_assert(world_until(w, 60 * WORLD_S, o->fin));
	cr_assert_eq(o->rx_len, sizeof(pattern));
	cr_assert_arr_eq(o->rx, pattern, sizeof(pattern));
}

/* A client that fills the whole connection's window by one stream that nobody outside reads. */
Test(relay, one_outside_reads_nothing_others_flow)
{
	struct outside_conn *slow[10], *quick;
	struct client_stream *s;

	open_port();
	for (unsigned i = 0; i < 10; i++) {
		s = relayed(&slow[i]);
		slow[i]->hold = true;
		client_write(s, pattern, sizeof(pattern));
	}
	world_run(w, 10 * WORLD_S);
	s = relayed(&quick);
	client_write(s, pattern, sizeof(pattern));
	client_fin(s);
	cr_assert(world_until(w, 120 * WORLD_S, quick->fin));
	cr_assert_eq(quick->rx_len, sizeof(pattern));
}

Test(relay, one_stream_not_read_others_flow)
{
	struct outside_conn *slow, *quick;
	struct client_stream *s;

	open_port();
	s = relayed(&slow);
	s->hold = true;
	outside_send(slow, pattern, sizeof(pattern));
	world_run(w, 10 * WORLD_S);
	s = relayed(&quick);
	outside_send(quick, pattern, sizeof(pattern));
	outside_finish(quick);
	cr_assert(world_until(w, 120 * WORLD_S, s->fin));
	cr_assert_arr_eq(bytes(s), pattern, sizeof(pattern));
}

/* Streams share what congestion control lets out: none waits for another to be done. */
Test(relay, two_long_transfers_both_make_progress)
{
	struct outside_conn *a, *b;
	struct client_stream *sa, *sb;

	world_free(w);
	cfg.tcp_window = 1 << 20; /* both always have more to send … */
	w = world_new(&cfg);
	open_port();
	sa = relayed(&a);
	sb = relayed(&b);
	w->net.loss = 50; /* … than the congestion window lets out */
	outside_send(a, pattern, sizeof(pattern));
	outside_send(b, pattern, sizeof(pattern));
	cr_assert(world_until(w, 600 * WORLD_S, bytes_len(sa) > 400000 || bytes_len(sb) > 400000));
	cr_assert_gt(bytes_len(sa), 100000);
	cr_assert_gt(bytes_len(sb), 100000);
}

/* What waits for the port stays with QUIC: none of it is a loss, which would halve the window. */
Test(relay, port_takes_few_datagrams_a_turn_none_is_lost)
{
	struct outside_conn *a, *b;
	struct client_stream *sa, *sb;

	world_free(w);
	cfg.tcp_window = 1 << 20;
	cfg.udp_segmentation = false;
	w = world_new(&cfg);
	open_port();
	sa = relayed(&a);
	sb = relayed(&b);
	w->port_room = 4;
	outside_send(a, pattern, 1 << 20);
	outside_send(b, pattern + 1, 1 << 20);
	cr_assert(world_until(w, 60 * WORLD_S,
		bytes_len(sa) == 1 << 20 && bytes_len(sb) == 1 << 20));
	cr_assert_arr_eq(bytes(sa), pattern, 1 << 20);
	cr_assert_arr_eq(bytes(sb), pattern + 1, 1 << 20);
	cr_assert_eq(w->port_dropped, 0, "%lu frames", w->port_dropped);
}

/* Waiting for streams. */

Test(relay, stream_limit_reached_connections_wait_and_are_served_in_order)
{
	enum { LIMIT = 3, ALL = 8 };
	struct outside_conn *o[ALL];
	unsigned served = 0;

	ccfg.max_streams = LIMIT;
	ccfg.manual_streams = true;
	open_port();
	for (unsigned i = 0; i < ALL; i++) {
		o[i] = outside_connect(w, FORWARDED);
		outside_send(o[i], pattern + i, 1000);
		if (i % 2)
			outside_finish(o[i]);
		world_run(w, 20 * WORLD_MS);
	}
	world_run(w, 5 * WORLD_S);
	while (client_nth(c, served) != NULL)
		served++;
	cr_assert_eq(served, LIMIT);
	cr_assert_eq(w->counters.conns_active, ALL);
	client_grant_streams(c, ALL - LIMIT);
	cr_assert(world_until(w, 10 * WORLD_S,
		client_nth(c, ALL - 1) != NULL && bytes_len(client_nth(c, ALL - 1)) == 1000));
	for (unsigned i = 0; i < ALL; i++) {
		struct client_stream *s = client_nth(c, i);

		cr_assert(world_until(w, WORLD_S, bytes_len(s) == 1000 && s->fin == i % 2),
			"connection %u", i);
		cr_assert_arr_eq(bytes(s), pattern + i, 1000);
		client_write(s, "done", 4);
		client_fin(s);
	}
	for (unsigned i = 0; i < ALL; i++) {
		cr_assert(world_until(w, WORLD_S, o[i]->fin));
		if (i % 2 == 0)
			outside_finish(o[i]);
	}
	expect_nothing_left();
}

Test(relay, waiting_connection_resets_others_move_up)
{
	struct outside_conn *a, *b, *d;

	ccfg.max_streams = 1;
	ccfg.manual_streams = true;
	open_port();
	relayed(&a);
	b = outside_connect(w, FORWARDED);
	outside_send(b, "never seen", 10);
	d = outside_connect(w, FORWARDED);
	outside_send(d, "seen", 4);
	world_run(w, WORLD_S);
	outside_reset(b);
	world_run(w, WORLD_S);
	cr_assert_eq(w->counters.conns_active, 2);
	client_grant_streams(c, 1);
	cr_assert(world_until(
		w, 5 * WORLD_S, client_nth(c, 1) != NULL && bytes_len(client_nth(c, 1)) == 4));
	cr_assert_arr_eq(bytes(client_nth(c, 1)), "seen", 4);
}

Test(relay, waiting_connections_window_stays_shut)
{
	struct outside_conn *o;

	ccfg.max_streams = 0;
	open_port();
	o = outside_connect(w, FORWARDED);
	outside_send(o, pattern, sizeof(pattern));
	world_run(w, 10 * WORLD_S);
	cr_assert_leq(o->taken, 2 * w->cfg.tcp_window);
	cr_assert_leq(w->counters.relay_queued_bytes, w->cfg.tcp_window);
	cr_assert_gt(w->counters.relay_queued_bytes, 0);
	client_close(c, 0);
	cr_assert(world_until(w, WORLD_S, o->reset));
	expect_nothing_left();
}

Test(relay, ended_stream_makes_room_for_a_waiting_one)
{
	ccfg.max_streams = 1;
	open_port();
	for (unsigned i = 0; i < 20; i++)
		outside_finish(outside_connect(w, FORWARDED));
	for (unsigned i = 0; i < 20; i++) {
		cr_assert(world_until(w, 5 * WORLD_S, client_nth(c, i) != NULL), "stream %u", i);
		client_fin(client_nth(c, i));
	}
	expect_nothing_left();
}

/* Memory. */

Test(relay, mbufs_scarce_new_connections_are_refused_old_ones_live)
{
	struct outside_conn *o, *late;
	struct client_stream *s;

	open_port();
	s = relayed(&o);
	w->force_mem_level = true;
	w->mem_level = QP_MEM_SCARCE;
	late = outside_connect(w, FORWARDED);
	client_write(s, "still here", 10);
	cr_assert(world_until(w, WORLD_S, o->rx_len == 10));
	world_run(w, WORLD_S);
	cr_assert_not(o->reset);
	cr_assert_eq(w->counters.conns_active, 1);
	w->force_mem_level = false;
	if (!late->reset) /* TCP may try again by itself */
		return;
	outside_send(outside_connect(w, FORWARDED), "me too", 6);
	cr_assert(world_until(w, 5 * WORLD_S, w->counters.conns_active == 2));
}

Test(relay, mbufs_tight_transfer_goes_on_as_the_outside_acknowledges)
{
	struct outside_conn *o;
	struct client_stream *s;

	open_port();
	s = relayed(&o);
	w->force_mem_level = true;
	w->mem_level = QP_MEM_TIGHT;
	for (unsigned i = 0; i < 4; i++)
		client_write(s, pattern, sizeof(pattern));
	client_fin(s);
	cr_assert(world_until(w, 300 * WORLD_S, o->fin));
	cr_assert_eq(o->rx_len, 4 * sizeof(pattern));
}

Test(relay, mbufs_tight_outsides_read_nothing_credit_is_held_back_then_paid)
{
	enum { SLOW = 12, WINDOW = 2 << 20 };
	struct outside_conn *o[SLOW];

	world_free(w);
	cfg.quic.conn_window = WINDOW;
	w = world_new(&cfg);
	open_port();
	w->force_mem_level = true;
	w->mem_level = QP_MEM_TIGHT;
	for (unsigned i = 0; i < SLOW; i++) {
		client_write(relayed(&o[i]), pattern, sizeof(pattern));
		o[i]->hold = true;
	}
	world_run(w, 60 * WORLD_S);
	/* The connection's window, and what the outsides' own buffers took. */
	cr_assert_leq(w->counters.relay_bytes_out, WINDOW + SLOW * w->cfg.tcp_window);
	cr_assert_gt(w->counters.relay_bytes_out, WINDOW * 9 / 10);
	w->mem_level = QP_MEM_PLENTY;
	cr_assert(world_until(w, 60 * WORLD_S, w->counters.relay_bytes_out > WINDOW * 12 / 10));
	for (unsigned i = 0; i < SLOW; i++)
		outside_unhold(o[i]);
	for (unsigned i = 0; i < SLOW; i++)
		cr_assert(world_until(w, 300 * WORLD_S, o[i]->rx_len == sizeof(pattern)));
}

/* Sixteen mebibytes to the outside over a tunnel of 200 ms. */
static void
long_path_transfer(uint64_t most_ns)
{
	struct outside_conn *o;
	struct client_stream *s;

	w->net.delay_ns = 100 * WORLD_MS;
	s = relayed(&o);
	for (unsigned i = 0; i < 4; i++)
		client_write(s, pattern, sizeof(pattern));
	client_fin(s);
	cr_assert(world_until(w, most_ns, o->fin));
	cr_assert_eq(o->rx_len, 4 * sizeof(pattern));
}

/* With 256 KiB on their way they would take 13 s. */
Test(relay, long_path_stream_window_grows_beyond_its_first)
{
	open_port();
	long_path_transfer(8 * WORLD_S);
}

/* A share among all of them would be 16 KiB, and the transfer 200 s. */
Test(relay, long_path_beside_idle_connections_is_as_quick)
{
	struct outside_conn *idle;

	ccfg.max_streams = 301;
	open_port();
	for (unsigned i = 0; i < 300; i++)
		relayed(&idle);
	long_path_transfer(12 * WORLD_S);
}

/* Nearly no mbuf: payload waits outside, as if lost, and nobody is reset. */
Test(relay, mbufs_spent_tunnel_payload_is_dropped_then_sent_again)
{
	static struct rte_mbuf *most[WORLD_POOL];
	struct outside_conn *o;
	struct client_stream *s;
	unsigned n;

	open_port();
	s = relayed(&o);
	n = world_take_mbufs(w, most, WORLD_POOL - WORLD_POOL / 40);
	world_turn(w);
	client_write(s, pattern, sizeof(pattern));
	client_fin(s);
	cr_assert(world_until(w, 10 * WORLD_S, w->counters.drop_quic_no_memory > 0));
	cr_assert_eq(w->counters.relay_bytes_out, 0);
	world_give_mbufs(most, n);
	cr_assert(world_until(w, 60 * WORLD_S, o->fin));
	cr_assert_arr_eq(o->rx, pattern, sizeof(pattern));
	cr_assert_eq(w->counters.conns_refused, 0);
}

/* No mbuf at all for a while: nothing is lost, nothing hangs. */
Test(relay, mbufs_all_gone_for_a_second_transfer_goes_on)
{
	static struct rte_mbuf *all[WORLD_POOL];
	struct outside_conn *o;
	struct client_stream *s;
	unsigned n = 0;

	open_port();
	s = relayed(&o);
	outside_send(o, pattern, sizeof(pattern));
	outside_finish(o);
	cr_assert(world_until(w, 10 * WORLD_S, bytes_len(s) > 300000));
	n = world_take_mbufs(w, all, WORLD_POOL);
	world_run(w, WORLD_S);
	world_give_mbufs(all, n);
	cr_assert(world_until(w, 60 * WORLD_S, s->fin));
	cr_assert_eq(bytes_len(s), sizeof(pattern));
	cr_assert_arr_eq(bytes(s), pattern, sizeof(pattern));
}

static bool
all_finished(struct outside_conn *const *o, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (!o[i]->fin)
			return false;
	return true;
}

/* What came in goes back at once, stream by stream. */
static void
echo_turn(struct client *e, size_t echoed[])
{
	struct client_stream *s;

	for (unsigned i = 0; (s = client_nth(e, i)) != NULL; i++) {
		size_t *done = &echoed[s->id / 4]; /* an earlier stream's first bytes may come late */

		if (bytes_len(s) > *done)
			client_write(s, bytes(s) + *done, bytes_len(s) - *done);
		*done = bytes_len(s);
		if (s->fin && !s->fin_asked)
			client_fin(s);
	}
}

/* Together they could have many times the pool on its way. */
Test(relay, hundred_connections_echo_more_than_all_mbufs_all_are_whole)
{
	enum { N = 100, BYTES = 1 << 20 };
	static size_t echoed[N];
	struct outside_conn *o[N];

	world_free(w);
	cfg.tcp_window = 1 << 20;
	w = world_new(&cfg);
	ccfg.max_streams = N;
	open_port();
	for (unsigned i = 0; i < N; i++) {
		o[i] = outside_connect(w, FORWARDED);
		outside_send(o[i], pattern + i, BYTES);
		outside_finish(o[i]);
	}
	while (!all_finished(o, N)) {
		world_step(w, w->now_ns + 10 * WORLD_MS);
		echo_turn(c, echoed);
		cr_assert_lt(w->now_ns, 1300 * WORLD_S);
	}
	for (unsigned i = 0; i < N; i++) {
		cr_assert_eq(o[i]->rx_len, BYTES, "connection %u", i);
		cr_assert_arr_eq(o[i]->rx, pattern + i, BYTES);
	}
	expect_nothing_left();
}

/* A crowd behind a client that reads nothing takes a part of the mbufs, not all. */
Test(relay, crowd_behind_a_client_that_reads_nothing_leaves_mbufs_for_others)
{
	struct client *other;
	struct outside_conn *o;
	struct client_stream *s;

	ccfg.hold = true;
	ccfg.stream_window = 1000;
	ccfg.max_streams = 1000;
	open_port();
	for (unsigned i = 0; i < 400; i++)
		outside_send(outside_connect(w, FORWARDED), pattern, 200000);
	world_run(w, 30 * WORLD_S);
	cr_assert_lt(world_mbufs_in_use(w), WORLD_POOL * 7 / 8);
	client_config_default(&ccfg);
	other = client_new(w, PORT + 1, &ccfg);
	cr_assert_not_null(client_forward(other, FORWARDED + 1));
	o = outside_connect(w, FORWARDED + 1);
	outside_send(o, pattern, 1000000);
	outside_finish(o);
	cr_assert(world_until(w, 60 * WORLD_S, client_nth(other, 0) != NULL), "others are served");
	s = client_nth(other, 0);
	client_write(s, pattern, 1000000);
	client_fin(s);
	cr_assert(world_until(w, 300 * WORLD_S, s->fin && o->fin));
	cr_assert_eq(o->rx_len, 1000000);
}
