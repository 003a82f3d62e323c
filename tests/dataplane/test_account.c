/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the control plane learns of tunnels and connections: what they carried
 * and why they ended; what it orders to end; and all that there is, when it
 * has started anew.
 */
#include <criterion/criterion.h>
#include <string.h>

#include "common/wire.h"
#include "tests/dataplane/client.h"
#include "tests/dataplane/outside.h"
#include "tests/dataplane/world.h"

#define PORT 50000
#define FORWARDED 9022
#define HOST 1

static struct world *w;
static struct client *c;
static struct client_stream *control;

static void
setup(void)
{
	struct world_config cfg;

	world_init();
	world_config_default(&cfg);
	cfg.quic.idle_timeout_ns = 30 * WORLD_S;
	w = world_new(&cfg);
	w->cp.identity = (struct qp_msg_identity) {
		.client_id = 7, .method = 1, .since = 1234, .key = {1, 2, 3}, .name = "alice"};
}

static void
teardown(void)
{
	world_free(w);
}

TestSuite(account, .init = setup, .fini = teardown, .timeout = 240);

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

/* 5 bytes in, 3 out. */
static struct client_stream *
spoken(struct outside_conn **o)
{
	struct client_stream *s = relayed(o);

	outside_send(*o, "hello", 5);
	client_write(s, "yes", 3);
	cr_assert(world_until(w, WORLD_S, s->rx_len == 9 && (*o)->rx_len == 3));
	return s;
}

static uint64_t
tunnel_id(void)
{
	return cp_find(w, QP_MSG_AUTH_BEGIN, 0)->id;
}

static void
expect_conn_closed(enum qp_end_reason reason)
{
	const struct qp_msg *m;

	cr_assert(world_until(w, 5 * WORLD_S, cp_count(w, QP_MSG_CONN_CLOSED) == 1));
	m = cp_find(w, QP_MSG_CONN_CLOSED, 0);
	cr_assert_eq(m->conn_closed.conn.reason, reason, "ended for %u", m->conn_closed.conn.reason);
	cr_assert_eq(m->conn_closed.conn.in_bytes, 5);
	cr_assert_eq(m->conn_closed.conn.out_bytes, 3);
	cr_assert_eq(m->conn_closed.conn.tunnel_id, tunnel_id());
	cr_assert_str_eq(m->conn_closed.client, w->cp.identity.name);
	cr_assert_eq(m->conn_closed.conn.port, FORWARDED);
	cr_assert_eq(m->conn_closed.conn.protocol, QP_WIRE_TCP);
	cr_assert_neq(m->conn_closed.conn.peer_port_be, 0);
}

static void
expect_tunnel_closed(enum qp_end_reason reason)
{
	const struct qp_msg *m;

	cr_assert(world_until(w, 60 * WORLD_S, cp_count(w, QP_MSG_TUNNEL_CLOSED) == 1));
	m = cp_find(w, QP_MSG_TUNNEL_CLOSED, 0);
	cr_assert_eq(m->tunnel_closed.reason, reason, "ended for %u", m->tunnel_closed.reason);
	cr_assert_eq(m->tunnel_closed.usage.conns_now, 0);
}

/* Connections. */

Test(account, both_finish_row_says_so)
{
	struct outside_conn *o;
	struct client_stream *s;

	open_port();
	s = spoken(&o);
	outside_finish(o);
	client_fin(s);
	cr_assert(world_until(w, 5 * WORLD_S, o->ended));
	expect_conn_closed(QP_END_FINISHED);
}

Test(account, outside_resets_row_says_so)
{
	struct outside_conn *o;

	open_port();
	spoken(&o);
	outside_reset(o);
	expect_conn_closed(QP_END_OUTSIDE_RESET);
}

Test(account, client_resets_row_says_so)
{
	struct outside_conn *o;
	struct client_stream *s;

	open_port();
	s = spoken(&o);
	client_reset(s, QP_STREAM_RESET);
	expect_conn_closed(QP_END_CLIENT_RESET);
}

Test(account, connection_kicked_outside_is_reset_and_row_says_so)
{
	struct qp_msg m;
	struct outside_conn *o;
	struct client_stream *s;

	open_port();
	s = spoken(&o);
	m = cp_message_of(QP_MSG_CONN_CLOSE, tunnel_id());
	m.conn_close.conn_id = qp_wire_get_conn_id(s->rx) + 1;
	cp_send(w, &m);
	world_run(w, WORLD_S);
	cr_assert_not(o->reset, "another connection was meant");
	m.conn_close.conn_id--;
	cp_send(w, &m);
	cr_assert(world_until(w, WORLD_S, o->reset && s->reset));
	expect_conn_closed(QP_END_KICKED);
}

Test(account, local_connection_ends_row_has_the_clients_id_and_the_destination)
{
	const struct qp_msg *m;
	uint8_t prefix[QP_WIRE_CONN_ID_BYTES];
	struct client_stream *s;

	outside_host(w, HOST, OUTSIDE_ACCEPTS);
	w->cp.local_hosts[0] = HOST;
	w->cp.nlocal_hosts = 1;
	c = client_new(w, PORT, NULL);
	control = client_local(c, "service.example:8080");
	s = client_open(c);
	qp_wire_put_conn_id(prefix, 4711);
	client_write(s, prefix, sizeof(prefix));
	client_write(s, "yes", 3);
	cr_assert(world_until(w, WORLD_S, outside_accepted(w, 0) != NULL &&
						  outside_accepted(w, 0)->rx_len == 3));
	client_reset(s, QP_STREAM_RESET);
	cr_assert(world_until(w, WORLD_S, cp_count(w, QP_MSG_CONN_CLOSED) == 1));
	m = cp_find(w, QP_MSG_CONN_CLOSED, 0);
	cr_assert_eq(m->conn_closed.conn.conn_id, 4711);
	cr_assert_eq(m->conn_closed.conn.local, 1);
	cr_assert_eq(m->conn_closed.conn.peer_port_be, htons(OUTSIDE_SERVER_PORT));
	cr_assert_eq(m->conn_closed.conn.peer_addr[15], HOST);
	cr_assert_neq(m->conn_closed.conn.port, 0, "the destination sees a source port");
	cr_assert_eq(m->conn_closed.conn.out_bytes, 3);
}

/* Tunnels. */

Test(account, client_leaves_tunnel_tells_what_it_carried)
{
	const struct qp_msg *m;
	struct outside_conn *o;

	open_port();
	spoken(&o);
	spoken(&o);
	client_close(c, 0);
	expect_tunnel_closed(QP_END_CLIENT_LEFT);
	m = cp_find(w, QP_MSG_TUNNEL_CLOSED, 0);
	cr_assert_eq(m->tunnel_closed.usage.in_bytes, 10);
	cr_assert_eq(m->tunnel_closed.usage.out_bytes, 6);
	cr_assert_eq(m->tunnel_closed.usage.conns_total, 2);
	cr_assert_eq(cp_find(w, QP_MSG_CONN_CLOSED, 0)->conn_closed.conn.reason, QP_END_TUNNEL);
}

Test(account, client_says_session_close_tunnel_says_it_left)
{
	const struct qp_wire_msg bye = {.type = QP_WIRE_SESSION_CLOSE};
	uint8_t buf[16];

	open_port();
	client_write(control, buf, (size_t)qp_wire_encode(&bye, buf, sizeof(buf)));
	expect_tunnel_closed(QP_END_CLIENT_LEFT);
}

Test(account, client_falls_silent_tunnel_says_it_was_lost)
{
	open_port();
	c->gone = true;
	expect_tunnel_closed(QP_END_CLIENT_LOST);
}

Test(account, tunnel_kicked_client_reads_the_phrase)
{
	struct qp_msg m;
	struct outside_conn *o;

	open_port();
	spoken(&o);
	m = cp_message_of(QP_MSG_TUNNEL_CLOSE, tunnel_id());
	m.tunnel_close.code = QP_APP_REFUSED;
	strcpy(m.tunnel_close.phrase, "revoked by the operator");
	cp_send(w, &m);
	cr_assert(world_until(w, WORLD_S, c->over && o->reset));
	cr_assert(c->by_peer && c->application && c->code == QP_APP_REFUSED);
	cr_assert_str_eq(c->reason, "revoked by the operator");
	expect_tunnel_closed(QP_END_KICKED);
	cr_assert_eq(cp_count(w, QP_MSG_FORWARD_CLOSED), 1);
}

Test(account, phrase_without_an_end_is_cut)
{
	struct qp_msg m;

	open_port();
	m = cp_message_of(QP_MSG_TUNNEL_CLOSE, tunnel_id());
	memset(m.tunnel_close.phrase, 'x', sizeof(m.tunnel_close.phrase));
	cp_send(w, &m);
	cp_send(w, &m);
	cr_assert(world_until(w, WORLD_S, c->over));
	cr_assert_eq(strlen(c->reason), sizeof(m.tunnel_close.phrase));
}

/* A control plane that starts anew. */

static void
replay(void)
{
	const struct qp_msg m = cp_message_of(QP_MSG_REPLAY, 0);
	unsigned before = cp_count(w, QP_MSG_REPLAY_END);

	cp_send(w, &m);
	cr_assert(world_until(w, WORLD_S, cp_count(w, QP_MSG_REPLAY_END) == before + 1));
}

/* Up to the verdict. */
static void
authenticate(void)
{
	c = client_new(w, PORT, NULL);
	cr_assert(world_until(w, WORLD_S, c->handshake_done));
	control = client_open(c);
	client_write(control, w->step1, w->step1_len);
	cr_assert(world_until(w, WORLD_S, control->rx_len == w->step2_len));
	client_write(control, w->step3, w->step3_len);
	cr_assert(world_until(w, WORLD_S, w->counters.tunnels_active == 1));
}

static void
say(const struct qp_wire_msg *msg)
{
	uint8_t buf[256];
	int n = qp_wire_encode(msg, buf, sizeof(buf));

	cr_assert_gt(n, 0);
	client_write(control, buf, (size_t)n);
}

Test(account, replay_of_nothing_ends_at_once)
{
	replay();
	cr_assert_eq(cp_count(w, QP_MSG_TUNNEL_STATE), 0);
}

Test(account, replay_tells_an_open_tunnel_and_it_runs_on)
{
	const struct qp_msg *m;
	struct outside_conn *o;
	struct client_stream *s;

	open_port();
	s = spoken(&o);
	replay();
	m = cp_find(w, QP_MSG_TUNNEL_STATE, 0);
	cr_assert_not_null(m);
	cr_assert_eq(m->id, tunnel_id());
	cr_assert_eq(m->tunnel_state.port, FORWARDED);
	cr_assert_eq(m->tunnel_state.protocol, QP_WIRE_TCP);
	cr_assert_eq(m->tunnel_state.local, 0);
	cr_assert_eq(memcmp(&m->tunnel_state.identity, &w->cp.identity, sizeof(w->cp.identity)), 0);
	cr_assert_arr_eq(m->tunnel_state.peer_addr, c->flow.remote.b, 16);
	cr_assert_eq(m->tunnel_state.peer_port_be, c->flow.rport_be);
	cr_assert_gt(m->tunnel_state.destination_len, 0);
	outside_send(o, "more", 4);
	cr_assert(world_until(w, WORLD_S, s->rx_len == 13));
	cr_assert_eq(cp_count(w, QP_MSG_TUNNEL_STATE), 1);
	cr_assert_eq(cp_count(w, QP_MSG_FORWARD_REQUEST), 1);
}

Test(account, replay_while_a_grant_is_awaited_asks_again_and_a_second_grant_harms_nothing)
{
	struct outside_conn *o;
	const struct qp_wire_msg msg = {.type = QP_WIRE_REMOTE_FORWARD_REQUEST,
		.remote_forward_request = {FORWARDED, QP_WIRE_TCP, qp_slice_of("127.0.0.1:22")}};

	authenticate();
	w->cp.manual = true;
	say(&msg);
	cr_assert(world_until(w, WORLD_S, cp_count(w, QP_MSG_FORWARD_REQUEST) == 1));
	replay();
	cr_assert_eq(cp_count(w, QP_MSG_TUNNEL_STATE), 1);
	cr_assert_eq(cp_find(w, QP_MSG_TUNNEL_STATE, 0)->tunnel_state.port, 0);
	cr_assert_eq(cp_count(w, QP_MSG_FORWARD_REQUEST), 2);
	cr_assert_eq(memcmp(&cp_find(w, QP_MSG_FORWARD_REQUEST, 0)->forward,
			     &cp_find(w, QP_MSG_FORWARD_REQUEST, 1)->forward, sizeof(struct qp_msg_forward)),
		0);
	cp_grant(w, tunnel_id(), FORWARDED);
	cp_grant(w, tunnel_id(), FORWARDED);
	cp_grant(w, tunnel_id(), FORWARDED + 1);
	cr_assert_eq(cp_count(w, QP_MSG_FORWARD_CLOSED), 1);
	cr_assert_eq(cp_find(w, QP_MSG_FORWARD_CLOSED, 0)->forward_closed.port, FORWARDED + 1);
	relayed(&o);
	cr_assert_not(o->reset);
}

static void
begin_authentication(void)
{
	w->cp.manual = true;
	c = client_new(w, PORT, NULL);
	cr_assert(world_until(w, WORLD_S, c->handshake_done));
	control = client_open(c);
	client_write(control, w->step1, w->step1_len);
	cr_assert(world_until(w, WORLD_S, cp_count(w, QP_MSG_AUTH_BEGIN) == 1));
}

Test(account, replay_before_the_answer_to_a_client_it_is_asked_for_again)
{
	const struct qp_msg *first, *again;

	begin_authentication();
	replay();
	cr_assert_eq(cp_count(w, QP_MSG_AUTH_BEGIN), 2);
	first = cp_find(w, QP_MSG_AUTH_BEGIN, 0);
	again = cp_find(w, QP_MSG_AUTH_BEGIN, 1);
	cr_assert_eq(first->id, again->id);
	cr_assert_eq(memcmp(&first->auth_begin, &again->auth_begin, sizeof(again->auth_begin)), 0);
	cp_reply(w, again->id, w->step2, w->step2_len);
	cr_assert(world_until(w, WORLD_S, control->rx_len == w->step2_len), "it gets the one answer");
	cr_assert_not(c->over);
}

Test(account, replay_in_the_middle_of_an_authentication_client_is_asked_to_come_again)
{
	begin_authentication();
	cp_reply(w, cp_find(w, QP_MSG_AUTH_BEGIN, 0)->id, w->step2, w->step2_len);
	cr_assert(world_until(w, WORLD_S, control->rx_len == w->step2_len));
	replay();
	cr_assert(world_until(w, WORLD_S, c->over));
	cr_assert(c->by_peer && c->application && c->code == QP_APP_SHUTDOWN);
	cr_assert_eq(cp_count(w, QP_MSG_TUNNEL_STATE), 0);
}

Test(account, replay_before_the_first_bytes_they_go_to_the_new_one)
{
	c = client_new(w, PORT, NULL);
	cr_assert(world_until(w, WORLD_S, c->handshake_done));
	replay();
	client_free(c);
	open_port();
	cr_assert_eq(cp_count(w, QP_MSG_TUNNEL_STATE), 0);
}

Test(account, replay_of_a_local_forward_says_where_it_leads)
{
	const struct qp_msg *m;

	outside_host(w, HOST, OUTSIDE_ACCEPTS);
	w->cp.local_hosts[0] = HOST;
	w->cp.nlocal_hosts = 1;
	c = client_new(w, PORT, NULL);
	control = client_local(c, "service.example:8080");
	cr_assert_not_null(control);
	replay();
	m = cp_find(w, QP_MSG_TUNNEL_STATE, 0);
	cr_assert_eq(m->tunnel_state.local, 1);
	cr_assert_eq(m->tunnel_state.destination_len, strlen("service.example:8080"));
	cr_assert_arr_eq(m->tunnel_state.destination, "service.example:8080", 20);
	cr_assert_eq(cp_count(w, QP_MSG_LOCAL_REQUEST), 1);
}

Test(account, replay_while_a_local_request_is_unanswered_asks_again)
{
	const struct qp_wire_msg msg = {.type = QP_WIRE_LOCAL_FORWARD_REQUEST,
		.local_forward_request = {
			QP_WIRE_TCP, qp_slice_of("service.example:8080"), qp_slice_of("9022")}};

	w->cp.silent_locals = true;
	authenticate();
	say(&msg);
	cr_assert(world_until(w, WORLD_S, cp_count(w, QP_MSG_LOCAL_REQUEST) == 1));
	replay();
	cr_assert_eq(cp_count(w, QP_MSG_LOCAL_REQUEST), 2, "%u", cp_count(w, QP_MSG_LOCAL_REQUEST));
	cr_assert_eq(cp_count(w, QP_MSG_TUNNEL_STATE), 1);
}

Test(account, tunnel_ends_before_it_was_replayed_its_state_goes_first)
{
	const struct qp_msg m = cp_message_of(QP_MSG_REPLAY, 0);

	open_port();
	cp_send(w, &m);
	client_close(c, 0);
	cr_assert(world_until(w, WORLD_S, cp_count(w, QP_MSG_TUNNEL_CLOSED) == 1));
	cr_assert_eq(cp_count(w, QP_MSG_TUNNEL_STATE), 1);
	cr_assert(cp_find(w, QP_MSG_TUNNEL_STATE, 0) < cp_find(w, QP_MSG_TUNNEL_CLOSED, 0));
}
