/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Local forwards: the client's streams become connections of the gateway's.
 * Addresses in turn, failures as the protocol says them, ids, limits, answers
 * of the control plane that come late, and that nothing is left.
 */
#include <criterion/criterion.h>
#include <string.h>

#include "common/wire.h"
#include "dataplane/memory.h"
#include "tests/dataplane/client.h"
#include "tests/dataplane/outside.h"
#include "tests/dataplane/world.h"

#define PORT 50000
#define GOOD 1   /* 203.0.113.1 accepts */
#define CLOSED 2 /* refuses */
#define SILENT 3

static struct world *w;
static struct client *c;
static struct client_config ccfg;
static struct client_stream *control;
static size_t seen; /* of control->rx */
static uint8_t pattern[2 << 20];

static void
setup(void)
{
	struct world_config cfg;

	world_init();
	world_config_default(&cfg);
	client_config_default(&ccfg);
	w = world_new(&cfg);
	outside_host(w, GOOD, OUTSIDE_ACCEPTS);
	outside_host(w, SILENT, OUTSIDE_IS_SILENT);
	for (size_t i = 0; i < sizeof(pattern); i++)
		pattern[i] = (uint8_t)(i * 37 + (i >> 8) + (i >> 17));
}

static void
teardown(void)
{
	world_free(w);
}

TestSuite(local, .init = setup, .fini = teardown, .timeout = 240);

/* A forward that leads to these hosts, in this order. */
static void
open_to(uint8_t first, uint8_t second)
{
	w->cp.local_hosts[0] = first;
	w->cp.local_hosts[1] = second;
	w->cp.nlocal_hosts = second != 0 ? 2 : 1;
	c = client_new(w, PORT, &ccfg);
	control = client_local(c, "service.example:8080");
	cr_assert_not_null(control);
	seen = control->rx_len;
}

/* A stream as a client opens it: the id, then the announcement. */
static struct client_stream *
begin(uint32_t id)
{
	const struct qp_wire_msg msg = {.type = QP_WIRE_LOCAL_NEW_CONNECTION,
		.new_connection = {id, QP_WIRE_TCP}};
	struct client_stream *s = client_open(c);
	uint8_t prefix[QP_WIRE_CONN_ID_BYTES], buf[16];
	int n = qp_wire_encode(&msg, buf, sizeof(buf));

	cr_assert_gt(n, 0);
	qp_wire_put_conn_id(prefix, id);
	client_write(s, prefix, sizeof(prefix));
	client_write(control, buf, (size_t)n);
	return s;
}

/* The gateway's next words on stream 0. */
static struct qp_wire_msg
said(void)
{
	struct qp_wire_msg msg;
	const char *reason;
	size_t used;

	cr_assert(world_until(w, 30 * WORLD_S,
		qp_wire_decode(control->rx + seen, control->rx_len - seen, &msg, &used, &reason) == 0));
	seen += used;
	return msg;
}

static void
expect_nothing_left(void)
{
	cr_assert(world_until(w, 10 * WORLD_S, w->counters.conns_active == 0));
	cr_assert_eq(w->counters.relay_queued_bytes, 0);
}

/* The client is told of a failure, by message and by reset. */
static void
expect_failure(struct client_stream *s, uint32_t id, enum qp_wire_reason reason, uint64_t code)
{
	struct qp_wire_msg msg = said();

	cr_assert_eq(msg.type, QP_WIRE_CONNECTION_CLOSE);
	cr_assert_eq(msg.connection_close.id, id);
	cr_assert_eq(msg.connection_close.reason, reason);
	cr_assert(world_until(w, WORLD_S, s->reset));
	cr_assert_eq(s->reset_code, code);
	cr_assert_eq(w->counters.local_conns_failed, 1);
	cr_assert_not(c->over);
	expect_nothing_left();
}

/* The request. */

Test(local, request_is_passed_on_and_the_grant_is_told)
{
	const struct qp_msg *m;
	struct qp_wire_msg msg;

	open_to(GOOD, 0);
	m = cp_find(w, QP_MSG_LOCAL_REQUEST, 0);
	cr_assert_not_null(m);
	cr_assert_eq(m->local.protocol, QP_WIRE_TCP);
	cr_assert_eq(m->local.again, 0);
	cr_assert_eq(m->local.destination_len, 20);
	cr_assert_arr_eq(m->local.destination, "service.example:8080", 20);
	seen = w->step2_len;
	msg = said();
	cr_assert_eq(msg.type, QP_WIRE_LOCAL_FORWARD_RESPONSE);
	cr_assert_eq(msg.forward_response.status, QP_WIRE_SUCCESS);
	cr_assert_eq(msg.forward_response.message.len, 10);
}

Test(local, request_denied_status_arrives_before_the_close)
{
	struct qp_wire_msg msg;

	c = client_new(w, PORT, &ccfg);
	control = client_local(c, "192.0.2.1:22");
	cr_assert_not_null(control);
	seen = w->step2_len;
	msg = said();
	cr_assert_eq(msg.type, QP_WIRE_LOCAL_FORWARD_RESPONSE);
	cr_assert_eq(msg.forward_response.status, QP_WIRE_PERMISSION_DENIED);
	cr_assert(world_until(w, WORLD_S, c->over));
	cr_assert_eq(c->code, QP_APP_REFUSED);
}

Test(local, request_with_a_name_beyond_all_names_is_refused)
{
	char name[400];

	memset(name, 'a', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	c = client_new(w, PORT, &ccfg);
	control = client_local(c, name);
	cr_assert_not_null(control);
	seen = w->step2_len;
	cr_assert_eq(said().forward_response.status, QP_WIRE_INTERNAL_ERROR);
	cr_assert_eq(cp_count(w, QP_MSG_LOCAL_REQUEST), 0);
	cr_assert(world_until(w, WORLD_S, c->over));
}

Test(local, no_answer_connection_ends_after_ten_seconds)
{
	w->cp.silent_locals = true;
	c = client_new(w, PORT, &ccfg);
	cr_assert_null(client_local(c, "192.0.2.1:22"));
	cr_assert(c->over);
	/* Its own part is done: it is the gateway that has nobody to ask, and it may come again. */
	cr_assert_eq(c->code, QP_APP_SHUTDOWN);
}

/* Connections. */

Test(local, stream_opened_connects_and_bytes_go_both_ways)
{
	struct client_stream *s;
	struct outside_conn *o;

	open_to(GOOD, 0);
	s = begin(77);
	client_write(s, "question", 8);
	cr_assert(world_until(w, WORLD_S, (o = outside_accepted(w, 0)) != NULL && o->rx_len == 8));
	cr_assert_arr_eq(o->rx, "question", 8);
	outside_send(o, "answer", 6);
	cr_assert(world_until(w, WORLD_S, s->rx_len == 6));
	cr_assert_arr_eq(s->rx, "answer", 6);
	cr_assert_eq(w->counters.local_conns_total, 1);
}

Test(local, service_speaks_first_before_any_byte_of_the_client)
{
	struct client_stream *s;
	struct outside_conn *o;

	open_to(GOOD, 0);
	s = begin(1);
	cr_assert(world_until(w, WORLD_S, (o = outside_accepted(w, 0)) != NULL));
	outside_send(o, "220 hello", 9);
	cr_assert(world_until(w, WORLD_S, s->rx_len == 9));
}

Test(local, megabytes_both_ways_then_both_ends_finish)
{
	struct client_stream *s;
	struct outside_conn *o;

	open_to(GOOD, 0);
	s = begin(1);
	client_write(s, pattern, sizeof(pattern));
	client_fin(s);
	cr_assert(world_until(w, WORLD_S, (o = outside_accepted(w, 0)) != NULL));
	outside_send(o, pattern, sizeof(pattern));
	outside_finish(o);
	cr_assert(world_until(w, 300 * WORLD_S, o->fin && s->fin));
	cr_assert_eq(o->rx_len, sizeof(pattern));
	cr_assert_eq(memcmp(o->rx, pattern, sizeof(pattern)), 0);
	cr_assert_eq(s->rx_len, sizeof(pattern));
	cr_assert_eq(memcmp(s->rx, pattern, sizeof(pattern)), 0);
	expect_nothing_left();
}

Test(local, id_in_single_bytes_is_put_together)
{
	struct client_stream *s;
	struct outside_conn *o;
	static const uint8_t id[] = {1, 2, 3, 4, 'x'};

	open_to(GOOD, 0);
	s = client_open(c);
	for (size_t i = 0; i < sizeof(id); i++) {
		client_write(s, &id[i], 1);
		world_run(w, 50 * WORLD_MS);
		cr_assert_eq(outside_accepted(w, 0) != NULL, i >= 3);
	}
	o = outside_accepted(w, 0);
	cr_assert_eq(o->rx_len, 1);
	cr_assert_eq(o->rx[0], 'x');
}

Test(local, stream_ends_within_its_id_is_reset)
{
	struct client_stream *s;

	open_to(GOOD, 0);
	s = client_open(c);
	client_write(s, "abc", 3);
	client_fin(s);
	cr_assert(world_until(w, WORLD_S, s->reset));
	cr_assert_eq(s->reset_code, QP_STREAM_PROTOCOL);
	cr_assert_eq(w->counters.local_conns_unpaired, 1);
	expect_nothing_left();
}

Test(local, id_used_twice_second_is_reset_first_lives)
{
	struct client_stream *s, *twin;
	struct outside_conn *o;

	open_to(GOOD, 0);
	s = begin(5);
	cr_assert(world_until(w, WORLD_S, (o = outside_accepted(w, 0)) != NULL));
	twin = begin(5);
	cr_assert(world_until(w, WORLD_S, twin->reset));
	cr_assert_eq(twin->reset_code, QP_STREAM_PROTOCOL);
	cr_assert_null(outside_accepted(w, 1));
	client_write(s, "x", 1);
	cr_assert(world_until(w, WORLD_S, o->rx_len == 1));
}

Test(local, id_is_free_again_after_its_connection)
{
	struct client_stream *s;
	struct outside_conn *o;

	open_to(GOOD, 0);
	for (unsigned i = 0; i < 3; i++) {
		s = begin(5);
		client_fin(s);
		cr_assert(world_until(w, WORLD_S, (o = outside_accepted(w, i)) != NULL));
		outside_finish(o);
		cr_assert(world_until(w, WORLD_S, s->fin));
		expect_nothing_left();
	}
}

Test(local, announcement_of_another_protocol_ends_the_tunnel)
{
	static const uint8_t udp[] = {3, 0, 5, 0, 0, 0, 1, 2};

	open_to(GOOD, 0);
	client_write(control, udp, sizeof(udp));
	cr_assert(world_until(w, WORLD_S, c->over));
	cr_assert_eq(c->code, QP_APP_PROTOCOL);
}

/* Failures. */

Test(local, destination_refuses_client_is_told)
{
	struct client_stream *s;

	open_to(CLOSED, 0);
	s = begin(9);
	client_write(s, "early", 5);
	expect_failure(s, 9, QP_WIRE_REFUSED, QP_STREAM_REFUSED);
}

Test(local, destination_is_silent_client_is_told_after_ten_seconds)
{
	uint64_t start;
	struct client_stream *s;

	open_to(SILENT, 0);
	start = w->now_ns;
	s = begin(9);
	expect_failure(s, 9, QP_WIRE_TIMEOUT, QP_STREAM_TIMEOUT);
	cr_assert_geq(w->now_ns - start, 10 * WORLD_S);
	cr_assert_leq(w->now_ns - start, 12 * WORLD_S);
}

Test(local, first_address_refuses_second_is_used_and_early_bytes_are_whole)
{
	struct client_stream *s;
	struct outside_conn *o;

	open_to(CLOSED, GOOD);
	s = begin(1);
	client_write(s, pattern, 50000);
	client_fin(s);
	cr_assert(world_until(w, 5 * WORLD_S, (o = outside_accepted(w, 0)) != NULL && o->fin));
	cr_assert_eq(o->host, GOOD);
	cr_assert_eq(o->rx_len, 50000);
	cr_assert_eq(memcmp(o->rx, pattern, 50000), 0);
	cr_assert_eq(w->counters.local_conns_failed, 0);
}

Test(local, first_address_is_silent_second_is_used_soon)
{
	struct outside_conn *o;

	open_to(SILENT, GOOD);
	begin(1);
	cr_assert(world_until(w, 4 * WORLD_S, (o = outside_accepted(w, 0)) != NULL));
	cr_assert_eq(o->host, GOOD);
}

Test(local, client_gives_up_while_connecting_nothing_is_left)
{
	static const enum { RESET, CLOSE_MESSAGE, BOTH_ENDS } ways[] = {RESET, CLOSE_MESSAGE, BOTH_ENDS};
	struct client_stream *s;

	open_to(SILENT, 0);
	for (unsigned i = 0; i < 3; i++) {
		static const uint8_t bye[] = {0x61, 0, 5, 0, 0, 0, 1, 3};

		s = begin(1);
		cr_assert(world_until(w, WORLD_S, w->counters.conns_active == 1));
		if (ways[i] == RESET)
			client_reset(s, 0);
		else if (ways[i] == CLOSE_MESSAGE)
			client_write(control, bye, sizeof(bye));
		else
			client_fin(s), client_stop(s, 0);
		cr_assert(world_until(w, 15 * WORLD_S, w->counters.conns_active == 0));
		cr_assert_not(c->over);
	}
}

Test(local, client_leaves_while_connecting_nothing_is_left)
{
	open_to(SILENT, 0);
	for (uint32_t i = 0; i < 50; i++)
		begin(i);
	cr_assert(world_until(w, WORLD_S, w->counters.conns_active == 50));
	client_close(c, 0);
	cr_assert(world_until(w, WORLD_S, w->counters.conns_active == 0));
}

Test(local, connection_close_by_the_client_resets_the_connection)
{
	static const uint8_t bye[] = {0x61, 0, 5, 0, 0, 0, 7, 3};
	struct outside_conn *o;

	open_to(GOOD, 0);
	begin(7);
	cr_assert(world_until(w, WORLD_S, (o = outside_accepted(w, 0)) != NULL));
	client_write(control, bye, sizeof(bye));
	cr_assert(world_until(w, WORLD_S, o->reset));
	expect_nothing_left();
}

Test(local, destination_resets_stream_is_reset)
{
	struct client_stream *s;
	struct outside_conn *o;

	open_to(GOOD, 0);
	s = begin(7);
	cr_assert(world_until(w, WORLD_S, (o = outside_accepted(w, 0)) != NULL));
	outside_reset(o);
	cr_assert(world_until(w, WORLD_S, s->reset));
	cr_assert_eq(s->reset_code, QP_STREAM_RESET);
	expect_nothing_left();
	cr_assert_eq(w->counters.local_conns_failed, 0);
}

/* What a tunnel may have at a time. */

Test(local, all_streams_of_a_tunnel_at_once_may_wait)
{
	open_to(SILENT, 0);
	for (uint32_t i = 0; i < 1000; i++)
		begin(i);
	cr_assert(world_until(w, 3 * WORLD_S, w->counters.conns_active == 1000));
	cr_assert_eq(w->counters.local_conns_refused, 0);
	outside_host(w, SILENT, OUTSIDE_ACCEPTS);
	cr_assert(world_until(w, 5 * WORLD_S, outside_accepted(w, 999) != NULL));
}

Test(local, too_many_of_a_worker_at_once_are_reset_the_others_wait)
{
	struct client_stream *s = NULL;

	for (uint16_t n = 0; n < 5; n++) {
		w->cp.local_hosts[0] = SILENT;
		w->cp.nlocal_hosts = 1;
		c = client_new(w, PORT + n, &ccfg);
		control = client_local(c, "service.example:8080");
		cr_assert_not_null(control);
		for (uint32_t i = 0; i < 1000; i++)
			s = begin(i);
		world_run(w, 100 * WORLD_MS);
	}
	cr_assert(world_until(w, 2 * WORLD_S, w->counters.local_conns_refused == 5000 - 4096));
	cr_assert(world_until(w, WORLD_S, s->reset));
	cr_assert_eq(s->reset_code, QP_STREAM_LIMIT);
	cr_assert(world_until(w, 60 * WORLD_S, w->counters.conns_active == 0));
}

Test(local, mbufs_scarce_new_ones_are_reset)
{
	struct client_stream *s;

	open_to(GOOD, 0);
	w->force_mem_level = true;
	w->mem_level = QP_MEM_SCARCE;
	s = begin(1);
	cr_assert(world_until(w, WORLD_S, s->reset));
	cr_assert_eq(s->reset_code, QP_STREAM_LIMIT);
	cr_assert_eq(w->counters.local_conns_refused, 1);
}

/* Answers grow old. */

Test(local, old_answer_is_asked_for_again_and_the_new_one_counts)
{
	struct outside_conn *o;

	open_to(GOOD, 0);
	outside_host(w, GOOD, OUTSIDE_REFUSES);
	outside_host(w, 4, OUTSIDE_ACCEPTS);
	world_run(w, 31 * WORLD_S);
	w->cp.local_hosts[0] = 4;
	begin(1);
	cr_assert(world_until(w, WORLD_S, (o = outside_accepted(w, 0)) != NULL));
	cr_assert_eq(o->host, 4);
	cr_assert_eq(cp_count(w, QP_MSG_LOCAL_REQUEST), 2);
	cr_assert_eq(cp_find(w, QP_MSG_LOCAL_REQUEST, 1)->local.again, 1);
}

Test(local, many_connections_one_question)
{
	open_to(GOOD, 0);
	world_run(w, 31 * WORLD_S);
	w->cp.silent_locals = true;
	for (uint32_t i = 0; i < 20; i++)
		begin(i);
	cr_assert(world_until(w, WORLD_S, cp_count(w, QP_MSG_LOCAL_REQUEST) == 2));
	world_run(w, WORLD_S);
	cr_assert_eq(cp_count(w, QP_MSG_LOCAL_REQUEST), 2);
	cr_assert_null(outside_accepted(w, 0));
	cp_local_grant(w, cp_find(w, QP_MSG_LOCAL_REQUEST, 1)->id, w->cp.local_hosts, 1);
	cr_assert(world_until(w, WORLD_S, outside_accepted(w, 19) != NULL));
}

Test(local, control_plane_is_gone_old_addresses_must_do)
{
	open_to(GOOD, 0);
	world_run(w, 31 * WORLD_S);
	w->cp.silent_locals = true;
	begin(1);
	world_run(w, 2 * WORLD_S);
	cr_assert_null(outside_accepted(w, 0));
	cr_assert(world_until(w, 2 * WORLD_S, outside_accepted(w, 0) != NULL));
}

Test(local, policy_says_no_later_new_connections_fail_old_ones_live)
{
	struct client_stream *old, *s;
	struct outside_conn *o;
	struct qp_wire_msg msg;

	open_to(GOOD, 0);
	old = begin(1);
	cr_assert(world_until(w, WORLD_S, (o = outside_accepted(w, 0)) != NULL));
	world_run(w, 31 * WORLD_S);
	w->cp.nlocal_hosts = 0;
	s = begin(2);
	msg = said();
	cr_assert_eq(msg.type, QP_WIRE_CONNECTION_CLOSE);
	cr_assert_eq(msg.connection_close.reason, QP_WIRE_ERROR);
	cr_assert(world_until(w, WORLD_S, s->reset));
	client_write(old, "x", 1);
	cr_assert(world_until(w, WORLD_S, o->rx_len == 1));
}

Test(local, resolver_fails_later_old_addresses_stay)
{
	open_to(GOOD, 0);
	world_run(w, 31 * WORLD_S);
	w->cp.silent_locals = true;
	begin(1);
	cr_assert(world_until(w, WORLD_S, cp_count(w, QP_MSG_LOCAL_REQUEST) == 2));
	cp_local_deny(w, cp_find(w, QP_MSG_LOCAL_REQUEST, 1)->id, QP_WIRE_INTERNAL_ERROR, "no answer");
	cr_assert(world_until(w, WORLD_S, outside_accepted(w, 0) != NULL));
}

Test(local, late_answers_for_a_tunnel_that_is_gone_are_ignored)
{
	uint64_t id;

	open_to(GOOD, 0);
	id = cp_find(w, QP_MSG_LOCAL_REQUEST, 0)->id;
	client_close(c, 0);
	cr_assert(world_until(w, WORLD_S, cp_count(w, QP_MSG_TUNNEL_CLOSED) == 1));
	cp_local_grant(w, id, w->cp.local_hosts, 1);
	cp_local_deny(w, id, QP_WIRE_PERMISSION_DENIED, "");
	world_run(w, WORLD_S);
	cr_assert_eq(w->counters.conns_active, 0);
}
