/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stream 0: authentication passed on to the control plane, control messages,
 * ports granted, denied and given back; to the byte, however it is cut.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <string.h>

#include "common/wire.h"
#include "tests/common/support.h"
#include "tests/dataplane/client.h"
#include "tests/dataplane/golden.h"
#include "tests/dataplane/outside.h"
#include "tests/dataplane/world.h"

#define PORT 50000

static struct world *w;
static struct client *c;
static struct client_stream *s; /* stream 0 */

static void
setup(void)
{
	struct world_config cfg;

	world_init();
	world_config_default(&cfg);
	w = world_new(&cfg);
	c = client_new(w, PORT, NULL);
	cr_assert(world_until(w, 5 * WORLD_S, c->handshake_done));
	s = client_open(c);
}

static void
teardown(void)
{
	world_free(w);
}

TestSuite(tunnel, .init = setup, .fini = teardown, .timeout = 240);

/* One write a byte, each in a packet of its own. */
static void
write_split(const uint8_t *data, size_t len, size_t piece)
{
	for (size_t off = 0; off < len; off += piece) {
		client_write(s, data + off, len - off < piece ? len - off : piece);
		world_turn(w);
	}
}

static size_t
request(uint8_t buf[64], uint16_t port)
{
	const struct qp_wire_msg msg = {.type = QP_WIRE_REMOTE_FORWARD_REQUEST,
		.remote_forward_request = {port, QP_WIRE_TCP, qp_slice_of("127.0.0.1:22")}};
	int n = qp_wire_encode(&msg, buf, 64);

	cr_assert_gt(n, 0);
	return (size_t)n;
}

/* Authentication up to the verdict. */
static void
authenticate(void)
{
	const uint64_t others = w->counters.tunnels_active;

	client_write(s, w->step1, w->step1_len);
	cr_assert(world_until(w, WORLD_S, s->rx_len == w->step2_len));
	client_write(s, w->step3, w->step3_len);
	cr_assert(world_until(w, WORLD_S, w->counters.tunnels_active == others + 1));
}

/* The control message that stands behind step 2 on stream 0. */
static struct qp_wire_msg
response(void)
{
	struct qp_wire_msg msg;
	const char *reason;
	size_t used;

	cr_assert_eq(qp_wire_decode(
			     s->rx + w->step2_len, s->rx_len - w->step2_len, &msg, &used, &reason),
		0);
	cr_assert_eq(used, s->rx_len - w->step2_len, "one message and no more");
	return msg;
}

static void
expect_closed(uint64_t code)
{
	cr_assert(world_until(w, 15 * WORLD_S, c->over));
	cr_assert(c->by_peer && c->application, "closed by %d", c->liberr);
	cr_assert_eq(c->code, code, "closed with %lu: %s", c->code, c->reason);
}

/* Authentication. */

Test(tunnel, golden_bytes_are_those_of_the_vectors)
{
	static const char *const kinds[] = {"x25519", "psk"};
	json_t *root = vectors_load();
	uint8_t want[128];

	for (unsigned i = 0; i < 2; i++) {
		(i == 0 ? golden_x25519 : golden_psk)(w);
		cr_assert_eq(vector_bytes(root, want, sizeof(want), kinds[i], "step1_client", NULL),
			w->step1_len);
		cr_assert_arr_eq(want, w->step1, w->step1_len);
		cr_assert_eq(vector_bytes(root, want, sizeof(want), kinds[i], "step2_server", NULL),
			w->step2_len);
		cr_assert_arr_eq(want, w->step2, w->step2_len);
		cr_assert_eq(vector_bytes(root, want, sizeof(want), kinds[i], "step3_client", NULL),
			w->step3_len);
		cr_assert_arr_eq(want, w->step3, w->step3_len);
	}
	json_decref(root);
}

static void
expect_authentication(void)
{
	const struct qp_msg *begin, *finish;

	client_write(s, w->step1, w->step1_len);
	cr_assert(world_until(w, WORLD_S, s->rx_len == w->step2_len));
	cr_assert_arr_eq(s->rx, w->step2, w->step2_len);
	begin = cp_find(w, QP_MSG_AUTH_BEGIN, 0);
	cr_assert_eq(begin->auth_begin.len, w->step1_len);
	cr_assert_arr_eq(begin->auth_begin.bytes, w->step1, w->step1_len);
	cr_assert_arr_eq(begin->auth_begin.peer_addr, c->flow.remote.b, 16);
	cr_assert_eq(begin->auth_begin.peer_port_be, htons(PORT));
	cr_assert_eq(w->counters.tunnels_active, 0);
	client_write(s, w->step3, w->step3_len);
	cr_assert(world_until(w, WORLD_S, w->counters.tunnels_active == 1));
	finish = cp_find(w, QP_MSG_AUTH_FINISH, 0);
	cr_assert_eq(finish->id, cp_find(w, QP_MSG_AUTH_BEGIN, 0)->id);
	cr_assert_eq(finish->auth_bytes.len, w->step3_len);
	cr_assert_arr_eq(finish->auth_bytes.bytes, w->step3, w->step3_len);
	cr_assert_eq(w->counters.tunnels_total, 1);
	world_run(w, 100 * WORLD_MS);
	cr_assert_eq(s->rx_len, w->step2_len, "the server says nothing on its own");
}

Test(tunnel, x25519_golden_bytes_authenticated)
{
	expect_authentication();
}

Test(tunnel, psk_golden_bytes_authenticated)
{
	golden_psk(w);
	expect_authentication();
}

Test(tunnel, all_in_single_bytes_port_opens)
{
	uint8_t buf[64];
	size_t n = request(buf, 9022);

	write_split(w->step1, w->step1_len, 1);
	cr_assert(world_until(w, WORLD_S, s->rx_len == w->step2_len));
	write_split(w->step3, w->step3_len, 1);
	write_split(buf, n, 1);
	cr_assert(world_until(w, WORLD_S, s->rx_len > w->step2_len + 3));
	cr_assert_eq(response().forward_response.status, QP_WIRE_SUCCESS);
	cr_assert_eq(cp_count(w, QP_MSG_AUTH_BEGIN), 1);
	cr_assert_eq(cp_count(w, QP_MSG_AUTH_FINISH), 1);
	cr_assert_eq(cp_count(w, QP_MSG_FORWARD_REQUEST), 1);
}

/* One connection for each place to cut at: a pause there changes nothing. */
Test(tunnel, step1_cut_anywhere_is_put_together)
{
	for (size_t cut = 1; cut < w->step1_len; cut++) {
		struct client *other = client_new(w, (uint16_t)(PORT + cut), NULL);
		struct client_stream *t;

		cr_assert(world_until(w, 5 * WORLD_S, other->handshake_done));
		t = client_open(other);
		client_write(t, w->step1, cut);
		world_run(w, 20 * WORLD_MS);
		cr_assert_eq(t->rx_len, 0, "nothing is said to %zu bytes", cut);
		cr_assert_eq(cp_count(w, QP_MSG_AUTH_BEGIN), cut - 1);
		client_write(t, w->step1 + cut, w->step1_len - cut);
		cr_assert(world_until(w, WORLD_S, t->rx_len == w->step2_len), "cut at %zu", cut);
		client_close(other, 0);
		world_run(w, 20 * WORLD_MS);
		client_free(other);
	}
}

/* Cut short for good: stream 0 ends, and with it the connection. */
Test(tunnel, step1_truncated_anywhere_connection_ends)
{
	for (size_t cut = 1; cut < w->step1_len; cut++) {
		struct client *other = client_new(w, (uint16_t)(PORT + cut), NULL);
		struct client_stream *t;

		cr_assert(world_until(w, 5 * WORLD_S, other->handshake_done));
		t = client_open(other);
		client_write(t, w->step1, cut);
		client_fin(t);
		cr_assert(world_until(w, WORLD_S, other->over), "cut at %zu", cut);
		cr_assert(other->application);
		client_free(other);
	}
	cr_assert_eq(cp_count(w, QP_MSG_AUTH_BEGIN), 0);
	cr_assert_eq(cp_count(w, QP_MSG_TUNNEL_CLOSED), 0);
}

Test(tunnel, step3_truncated_anywhere_connection_ends_without_verdict)
{
	for (size_t cut = 0; cut < w->step3_len; cut++) {
		struct client *other = client_new(w, (uint16_t)(PORT + 1 + cut), NULL);
		struct client_stream *t;

		cr_assert(world_until(w, 5 * WORLD_S, other->handshake_done));
		t = client_open(other);
		client_write(t, w->step1, w->step1_len);
		cr_assert(world_until(w, WORLD_S, t->rx_len == w->step2_len));
		client_write(t, w->step3, cut);
		client_fin(t);
		cr_assert(world_until(w, WORLD_S, other->over), "cut at %zu", cut);
		client_free(other);
	}
	cr_assert_eq(cp_count(w, QP_MSG_AUTH_FINISH), 0);
	cr_assert_eq(cp_count(w, QP_MSG_TUNNEL_CLOSED), w->step3_len, "each begun one is told");
	cr_assert_eq(w->counters.tunnels_total, 0);
}

struct magic {
	char text[20];
	size_t len;
};

ParameterizedTestParameters(tunnel, wrong_magic_is_refused_at_its_first_wrong_byte)
{
	static struct magic rows[] = {
		{"X", 1},
		{"QUICPORT_X", 10},
		{"QUICPORT_AUTX", 13},
		{"QUICPORT_PSX", 12},
		{"\x21\x00\x05", 3},
		{"quicport_auth", 1},
		{"", 1},
	};

	return cr_make_param_array(struct magic, rows, sizeof(rows) / sizeof(rows[0]));
}

ParameterizedTest(struct magic *row, tunnel, wrong_magic_is_refused_at_its_first_wrong_byte)
{
	client_write(s, row->text, row->len);
	expect_closed(QP_APP_AUTH);
	cr_assert_eq(s->rx_len, 0);
	cr_assert_eq(cp_count(w, QP_MSG_AUTH_BEGIN), 0);
}

/* A key that nobody knows and a wrong answer look the same from outside. */
Test(tunnel, unknown_key_connection_closes_and_says_nothing_else)
{
	w->step1[20] ^= 1;
	client_write(s, w->step1, w->step1_len);
	w->step1[20] ^= 1;
	expect_closed(QP_APP_AUTH);
	cr_assert_eq(s->rx_len, 0);
	cr_assert_eq(w->counters.tunnels_total, 0);
	cr_assert_eq(cp_count(w, QP_MSG_TUNNEL_CLOSED), 1);
}

Test(tunnel, wrong_step3_connection_closes_with_the_same_words)
{
	char reason[256];

	client_write(s, w->step1, w->step1_len);
	cr_assert(world_until(w, WORLD_S, s->rx_len == w->step2_len));
	w->step3[5] ^= 1;
	client_write(s, w->step3, w->step3_len);
	w->step3[5] ^= 1;
	expect_closed(QP_APP_AUTH);
	cr_assert_eq(s->rx_len, w->step2_len);
	cr_assert_eq(w->counters.tunnels_total, 0);
	snprintf(reason, sizeof(reason), "%s", c->reason);
	cr_assert_str_eq(reason, qp_app_error_phrase(QP_APP_AUTH));
}

Test(tunnel, verdict_yes_before_step3_is_not_believed)
{
	w->cp.manual = true;
	client_write(s, w->step1, w->step1_len);
	cr_assert(world_until(w, WORLD_S, cp_count(w, QP_MSG_AUTH_BEGIN) == 1));
	cp_verdict(w, cp_find(w, QP_MSG_AUTH_BEGIN, 0)->id, true);
	expect_closed(QP_APP_AUTH);
	cr_assert_eq(w->counters.tunnels_total, 0);
}

Test(tunnel, control_plane_overwhelmed_new_client_is_sent_away)
{
	w->cp.full = true;
	client_write(s, w->step1, w->step1_len);
	cr_assert(world_until(w, WORLD_S, c->over));
	cr_assert_eq(cp_count(w, QP_MSG_TUNNEL_CLOSED), 0);
}

Test(tunnel, control_plane_silent_client_is_given_up_after_ten_seconds)
{
	uint64_t since = w->now_ns;

	w->cp.manual = true;
	client_write(s, w->step1, w->step1_len);
	expect_closed(QP_APP_SHUTDOWN); /* it is not the client's fault */
	cr_assert_geq(w->now_ns - since, 9 * WORLD_S);
	cr_assert_leq(w->now_ns - since, 11 * WORLD_S);
	cr_assert_eq(cp_count(w, QP_MSG_TUNNEL_CLOSED), 1);
}

Test(tunnel, late_answers_for_a_tunnel_that_is_gone_are_ignored)
{
	uint64_t id;

	w->cp.manual = true;
	client_write(s, w->step1, w->step1_len);
	cr_assert(world_until(w, WORLD_S, cp_count(w, QP_MSG_AUTH_BEGIN) == 1));
	id = cp_find(w, QP_MSG_AUTH_BEGIN, 0)->id;
	client_close(c, 0);
	cr_assert(world_until(w, WORLD_S, qp_tunnels_count(w->tunnels) == 0));
	cp_reply(w, id, w->step2, w->step2_len);
	cp_verdict(w, id, true);
	cp_deny(w, id, QP_WIRE_PORT_IN_USE, "");
	cr_assert_eq(w->counters.tunnels_total, 0);
	cp_grant(w, id, 9022);
	cr_assert_eq(cp_count(w, QP_MSG_FORWARD_CLOSED), 1, "the port goes back");
	cr_assert_eq(cp_find(w, QP_MSG_FORWARD_CLOSED, 0)->forward_closed.port, 9022);
}

/* A stranger may make us keep one window of bytes, and that is all. */
Test(tunnel, stranger_floods_while_control_plane_thinks_memory_is_bounded)
{
	static uint8_t junk[1 << 20];

	w->cp.manual = true;
	client_write(s, w->step1, w->step1_len);
	client_write(s, junk, sizeof(junk));
	world_run(w, 5 * WORLD_S);
	cr_assert_not(c->over);
	cr_assert_leq(w->step1_len + STAILQ_NEXT(STAILQ_FIRST(&s->tx), link)->sent, QP_QUIC_FIRST_CREDIT);
}

/* The same held back for a client who is let in: all of it is taken then. */
Test(tunnel, longest_request_sent_before_the_verdict_is_taken)
{
	static uint8_t buf[QP_WIRE_MAX_MESSAGE];

	buf[0] = QP_WIRE_REMOTE_FORWARD_REQUEST;
	qp_put_u16(buf + 1, QP_WIRE_MAX_PAYLOAD);
	qp_put_u16(buf + 3, 9022);
	buf[5] = QP_WIRE_TCP;
	memset(buf + 6, 'x', sizeof(buf) - 6);
	w->cp.manual = true;
	client_write(s, w->step1, w->step1_len);
	cr_assert(world_until(w, WORLD_S, cp_count(w, QP_MSG_AUTH_BEGIN) == 1));
	cp_reply(w, cp_find(w, QP_MSG_AUTH_BEGIN, 0)->id, w->step2, w->step2_len);
	cr_assert(world_until(w, WORLD_S, s->rx_len == w->step2_len));
	client_write(s, w->step3, w->step3_len);
	client_write(s, buf, sizeof(buf));
	world_run(w, WORLD_S);
	cp_verdict(w, cp_find(w, QP_MSG_AUTH_BEGIN, 0)->id, true);
	cr_assert(world_until(w, WORLD_S, cp_count(w, QP_MSG_FORWARD_REQUEST) == 1));
	cr_assert_eq(cp_find(w, QP_MSG_FORWARD_REQUEST, 0)->forward.port, 9022);
	cr_assert_eq(cp_find(w, QP_MSG_FORWARD_REQUEST, 0)->forward.destination_len, 256);
}

/* The request. */

Test(tunnel, request_granted_port_is_open_and_said_so)
{
	const struct qp_msg *asked;
	struct qp_wire_msg msg;
	uint8_t buf[64];

	authenticate();
	client_write(s, buf, request(buf, 9022));
	cr_assert(world_until(w, WORLD_S, s->rx_len > w->step2_len + 3));
	msg = response();
	cr_assert_eq(msg.type, QP_WIRE_REMOTE_FORWARD_RESPONSE);
	cr_assert_eq(msg.forward_response.status, QP_WIRE_SUCCESS);
	cr_assert_eq(msg.forward_response.message.len, strlen("Listening on port 9022"));
	cr_assert_arr_eq(msg.forward_response.message.ptr, "Listening on port 9022", 22);
	asked = cp_find(w, QP_MSG_FORWARD_REQUEST, 0);
	cr_assert_eq(asked->forward.port, 9022);
	cr_assert_eq(asked->forward.protocol, QP_WIRE_TCP);
	cr_assert_eq(asked->forward.destination_len, strlen("127.0.0.1:22"));
	cr_assert_arr_eq(asked->forward.destination, "127.0.0.1:22", 12);
	world_run(w, 60 * WORLD_S);
	cr_assert_not(c->over, "an open tunnel has no deadline");
}

Test(tunnel, request_denied_status_arrives_before_the_close)
{
	uint8_t buf[64];

	w->cp.refuse_ports = true;
	authenticate();
	client_write(s, buf, request(buf, 9022));
	expect_closed(QP_APP_REFUSED);
	cr_assert_eq(response().forward_response.status, QP_WIRE_PORT_IN_USE);
	cr_assert(s->fin);
	cr_assert_eq(cp_count(w, QP_MSG_FORWARD_CLOSED), 0, "none was held");
	cr_assert_eq(cp_count(w, QP_MSG_TUNNEL_CLOSED), 1);
}

Test(tunnel, port_of_another_tunnel_granted_twice_second_is_told_in_use)
{
	struct client *other = client_new(w, PORT + 1, NULL);
	uint8_t buf[64];

	cr_assert_not_null(client_forward(other, 9022));
	authenticate();
	client_write(s, buf, request(buf, 9022));
	expect_closed(QP_APP_REFUSED);
	cr_assert_eq(response().forward_response.status, QP_WIRE_PORT_IN_USE);
	cr_assert_eq(cp_count(w, QP_MSG_FORWARD_CLOSED), 1, "what was granted goes back");
	cr_assert_not(other->over);
}

/* A port that another tunnel of the same client has. */

static struct qp_msg
grant_of(uint64_t id, uint16_t port)
{
	struct qp_msg m = cp_message_of(QP_MSG_FORWARD_GRANT, id);

	m.forward_answer.port = port;
	m.forward_answer.protocol = QP_WIRE_TCP;
	return m;
}

/* The fixture's client asks for a port, and the test answers. Returns its tunnel's id. */
static uint64_t
ask_by_hand(uint16_t port)
{
	const unsigned before = cp_count(w, QP_MSG_FORWARD_REQUEST);
	uint8_t buf[64];

	authenticate();
	w->cp.manual = true;
	client_write(s, buf, request(buf, port));
	cr_assert(world_until(w, WORLD_S, cp_count(w, QP_MSG_FORWARD_REQUEST) > before));
	return cp_find(w, QP_MSG_FORWARD_REQUEST, before)->id;
}

static bool
answered(void)
{
	return s->rx_len > w->step2_len + 3;
}

Test(tunnel, grant_takes_the_port_from_another_tunnel_and_ends_it)
{
	struct client *old = client_new(w, PORT + 1, NULL);
	struct outside_conn *first, *second;
	struct qp_msg grant;
	uint64_t old_id;

	strcpy(w->cp.identity.name, "golden");
	cr_assert_not_null(client_forward(old, 9022));
	old_id = cp_find(w, QP_MSG_FORWARD_REQUEST, 0)->id;
	cr_assert_not_null(client_relayed(old, 9022, &first));
	grant = grant_of(ask_by_hand(9022), 9022);
	grant.forward_answer.takes_from = old_id;
	cp_send(w, &grant);
	cr_assert(world_until(w, WORLD_S, answered() && old->over && first->reset));
	cr_assert_eq(response().forward_response.status, QP_WIRE_SUCCESS);
	cr_assert_eq(old->code, QP_APP_NONE);
	cr_assert_str_eq(old->reason, "a new tunnel of 'golden' has taken its port over");
	cr_assert_eq(cp_find(w, QP_MSG_FORWARD_CLOSED, 0)->id, old_id);
	cr_assert_not_null(client_relayed(c, 9022, &second));
	cr_assert_not(c->over);
}

Test(tunnel, grant_for_a_tunnel_that_is_gone_ends_the_other_too)
{
	struct client *old = client_new(w, PORT + 1, NULL);
	struct qp_msg grant;
	uint64_t id;

	cr_assert_not_null(client_forward(old, 9022));
	id = ask_by_hand(9022);
	grant = grant_of(id, 9022);
	grant.forward_answer.takes_from = cp_find(w, QP_MSG_FORWARD_REQUEST, 0)->id;
	client_close(c, 0);
	cr_assert(world_until(w, WORLD_S, cp_count(w, QP_MSG_TUNNEL_CLOSED) == 1));
	cp_send(w, &grant);
	cr_assert(world_until(w, WORLD_S, old->over));
	cr_assert_eq(cp_count(w, QP_MSG_FORWARD_CLOSED), 2);
	cr_assert_eq(cp_find(w, QP_MSG_FORWARD_CLOSED, 0)->id, id, "the port goes back");
}

/* On another worker: it listens, and nobody hears of it before the port has moved here. */
Test(tunnel, grant_to_listen_only_connections_wait_until_it_is_granted)
{
	struct outside_conn *o;
	struct qp_msg grant = grant_of(ask_by_hand(9022), 9022);

	grant.forward_answer.listen_only = 1;
	cp_send(w, &grant);
	cp_send(w, &grant); /* of another control plane: once more */
	cr_assert_eq(cp_count(w, QP_MSG_FORWARD_LISTENS), 2);
	cr_assert_eq(cp_find(w, QP_MSG_FORWARD_LISTENS, 1)->forward.port, 9022);
	cr_assert_eq(cp_find(w, QP_MSG_FORWARD_LISTENS, 1)->forward.protocol, QP_WIRE_TCP);
	o = outside_connect(w, 9022);
	outside_send(o, "early", 5);
	world_run(w, WORLD_S);
	cr_assert(o->established && !o->reset);
	cr_assert_not(answered(), "the client is told nothing yet");
	cr_assert_null(client_nth(c, 0));
	client_grant_streams(c, 10);
	world_run(w, WORLD_S);
	cr_assert_null(client_nth(c, 0));
	grant.forward_answer.listen_only = 0;
	cp_send(w, &grant);
	cr_assert(world_until(w, WORLD_S, client_nth(c, 0) != NULL && client_nth(c, 0)->rx_len == 9));
	cr_assert_arr_eq(client_nth(c, 0)->rx + 4, "early", 5);
	cr_assert(answered());
	cr_assert_not_null(client_relayed(c, 9022, &o));
}

Test(tunnel, grant_to_listen_only_then_denied_the_port_is_closed)
{
	uint64_t id = ask_by_hand(9022);
	struct outside_conn *o;
	struct qp_msg grant = grant_of(id, 9022);

	grant.forward_answer.listen_only = 1;
	cp_send(w, &grant);
	o = outside_connect(w, 9022);
	world_run(w, WORLD_S);
	cp_deny(w, id, QP_WIRE_PORT_IN_USE, "a newer tunnel takes the port over");
	expect_closed(QP_APP_REFUSED);
	cr_assert(o->reset);
	cr_assert_eq(response().forward_response.status, QP_WIRE_PORT_IN_USE);
	cr_assert_eq(cp_count(w, QP_MSG_FORWARD_CLOSED), 0, "it was never granted");
}

Test(tunnel, grant_to_listen_only_then_of_another_port)
{
	struct outside_conn *o;
	struct qp_msg grant = grant_of(ask_by_hand(0), 9022);

	grant.forward_answer.listen_only = 1;
	cp_send(w, &grant);
	grant.forward_answer.listen_only = 0;
	grant.forward_answer.port = 9023;
	cp_send(w, &grant);
	cr_assert(world_until(w, WORLD_S, answered()));
	cr_assert_not_null(client_relayed(c, 9023, &o));
	o = outside_connect(w, 9022);
	cr_assert(world_until(w, WORLD_S, o->reset));
}

Test(tunnel, no_request_connection_ends_after_ten_seconds)
{
	authenticate();
	expect_closed(QP_APP_TIMEOUT);
	cr_assert_eq(w->counters.tunnels_active, 0);
}

struct first {
	char hex[80];
	enum qp_wire_type answer;
	enum qp_wire_status status;
};

ParameterizedTestParameters(tunnel, wrong_first_message_is_answered_then_closed)
{
	static struct first rows[] = {
		/* RemoteNewConnection, SessionClose, ConnectionClose, a response: misplaced. */
		{"2300050000000701", QP_WIRE_REMOTE_FORWARD_RESPONSE, QP_WIRE_INTERNAL_ERROR},
		{"410000", QP_WIRE_REMOTE_FORWARD_RESPONSE, QP_WIRE_INTERNAL_ERROR},
		{"6100050000000701", QP_WIRE_REMOTE_FORWARD_RESPONSE, QP_WIRE_INTERNAL_ERROR},
		{"22000101", QP_WIRE_REMOTE_FORWARD_RESPONSE, QP_WIRE_INTERNAL_ERROR},
		{"0300050000000102", QP_WIRE_REMOTE_FORWARD_RESPONSE, QP_WIRE_INTERNAL_ERROR},
		/* The golden malformed ones. */
		{"420000", QP_WIRE_REMOTE_FORWARD_RESPONSE, QP_WIRE_INTERNAL_ERROR},
		{"210002233e", QP_WIRE_REMOTE_FORWARD_RESPONSE, QP_WIRE_INTERNAL_ERROR},
		{"2300050000000703", QP_WIRE_REMOTE_FORWARD_RESPONSE, QP_WIRE_INTERNAL_ERROR},
		{"22000104", QP_WIRE_REMOTE_FORWARD_RESPONSE, QP_WIRE_INTERNAL_ERROR},
		{"6100050000000704", QP_WIRE_REMOTE_FORWARD_RESPONSE, QP_WIRE_INTERNAL_ERROR},
		{"01000c010063312e322e332e343a35", QP_WIRE_REMOTE_FORWARD_RESPONSE,
			QP_WIRE_INTERNAL_ERROR},
		/* A local forward is a first message, but none is allowed here. */
		{"01001b0100103139322e3136382e312e3130303a3232393032322f746370",
			QP_WIRE_LOCAL_FORWARD_RESPONSE, QP_WIRE_PERMISSION_DENIED},
	};

	return cr_make_param_array(struct first, rows, sizeof(rows) / sizeof(rows[0]));
}

ParameterizedTest(struct first *row, tunnel, wrong_first_message_is_answered_then_closed)
{
	struct qp_wire_msg msg;
	uint8_t buf[64];

	authenticate();
	client_write(s, buf, from_hex(row->hex, buf, sizeof(buf)));
	cr_assert(world_until(w, WORLD_S, c->over));
	cr_assert(c->application);
	cr_assert_neq(c->code, QP_APP_NONE);
	msg = response();
	cr_assert_eq(msg.type, row->answer);
	cr_assert_eq(msg.forward_response.status, row->status);
	cr_assert_eq(cp_count(w, QP_MSG_FORWARD_REQUEST), 0);
	cr_assert_eq(w->counters.tunnels_active, 0);
}

/* Every proper prefix of a request, then the end: no port is asked for. */
Test(tunnel, request_truncated_anywhere_nothing_is_asked_for)
{
	uint8_t buf[64];
	size_t len = request(buf, 9022);

	for (size_t cut = 0; cut < len; cut++) {
		struct client *other = client_new(w, (uint16_t)(PORT + 1 + cut), NULL);
		struct client_stream *t;

		cr_assert(world_until(w, 5 * WORLD_S, other->handshake_done));
		t = client_open(other);
		client_write(t, w->step1, w->step1_len);
		cr_assert(world_until(w, WORLD_S, t->rx_len == w->step2_len));
		client_write(t, w->step3, w->step3_len);
		client_write(t, buf, cut);
		client_fin(t);
		cr_assert(world_until(w, WORLD_S, other->over), "cut at %zu", cut);
		client_free(other);
	}
	cr_assert_eq(cp_count(w, QP_MSG_FORWARD_REQUEST), 0);
	cr_assert_eq(w->counters.tunnels_active, 0);
}

/* Later messages. */

static void
open_port(void)
{
	uint8_t buf[64];

	authenticate();
	client_write(s, buf, request(buf, 9022));
	cr_assert(world_until(w, WORLD_S, s->rx_len > w->step2_len + 3));
	cr_assert_eq(response().forward_response.status, QP_WIRE_SUCCESS);
}

static void
expect_port_given_back(void)
{
	const struct qp_msg *closed = cp_find(w, QP_MSG_FORWARD_CLOSED, 0);

	cr_assert_not_null(closed);
	cr_assert_eq(closed->forward_closed.port, 9022);
	cr_assert_eq(closed->forward_closed.protocol, QP_WIRE_TCP);
	cr_assert_eq(cp_count(w, QP_MSG_FORWARD_CLOSED), 1);
}

static void
expect_port_closed(void)
{
	struct outside_conn *o = outside_connect(w, 9022);

	cr_assert(world_until(w, WORLD_S, o->reset));
}

Test(tunnel, session_close_port_goes_back_at_once)
{
	open_port();
	client_write(s, "\x41\x00\x00", 3);
	cr_assert(world_until(w, WORLD_S, cp_count(w, QP_MSG_FORWARD_CLOSED) == 1));
	expect_port_given_back();
	expect_port_closed();
	expect_closed(QP_APP_NONE);
	cr_assert_eq(w->counters.tunnels_active, 0);
}

Test(tunnel, control_stream_ends_port_goes_back)
{
	open_port();
	client_fin(s);
	cr_assert(world_until(w, WORLD_S, cp_count(w, QP_MSG_FORWARD_CLOSED) == 1));
	expect_port_given_back();
	expect_closed(QP_APP_NONE);
}

Test(tunnel, control_stream_reset_port_goes_back)
{
	open_port();
	client_reset(s, 0);
	cr_assert(world_until(w, WORLD_S, cp_count(w, QP_MSG_FORWARD_CLOSED) == 1));
	expect_port_given_back();
}

Test(tunnel, connection_closed_port_goes_back)
{
	open_port();
	client_close(c, 0);
	cr_assert(world_until(w, WORLD_S, cp_count(w, QP_MSG_FORWARD_CLOSED) == 1));
	expect_port_given_back();
	expect_port_closed();
	cr_assert_eq(cp_count(w, QP_MSG_TUNNEL_CLOSED), 1);
}

Test(tunnel, client_crashed_port_goes_back_at_idle_timeout)
{
	open_port();
	c->gone = true;
	cr_assert(world_until(w, 100 * WORLD_S, cp_count(w, QP_MSG_FORWARD_CLOSED) == 1));
	expect_port_given_back();
	cr_assert_eq(w->counters.tunnels_active, 0);
}

Test(tunnel, port_given_back_next_tunnel_opens_it)
{
	struct client *other;

	open_port();
	client_write(s, "\x41\x00\x00", 3);
	other = client_new(w, PORT + 1, NULL);
	cr_assert_not_null(client_forward(other, 9022));
	cr_assert_not(other->over);
}

struct later {
	char hex[40];
	bool broken;
};

ParameterizedTestParameters(tunnel, open_later_message_is_taken_or_ends_it)
{
	static struct later rows[] = {
		{"6100050000000701", false}, /* ConnectionClose for nobody */
		{"6100050000000700", false},
		{"6100070000000003ffff", false},
		{"420000", true},
		{"2300050000000701", true},
		{"22000101", true},
		{"210005233e013232", true},
		{"610004000000ff", true},
		{"6100050000000704", true},
	};

	return cr_make_param_array(struct later, rows, sizeof(rows) / sizeof(rows[0]));
}

ParameterizedTest(struct later *row, tunnel, open_later_message_is_taken_or_ends_it)
{
	uint8_t buf[32];
	size_t len = from_hex(row->hex, buf, sizeof(buf));

	open_port();
	write_split(buf, len, 1);
	if (row->broken) {
		expect_closed(QP_APP_PROTOCOL);
		cr_assert_neq(c->reason[0], '\0');
		expect_port_given_back();
		return;
	}
	world_run(w, WORLD_S);
	cr_assert_not(c->over);
}

Test(tunnel, streams_of_the_clients_own_are_turned_away_tunnel_lives)
{
	struct client_stream *own[20];

	open_port();
	for (unsigned i = 0; i < 20; i++) {
		own[i] = client_open(c);
		client_write(own[i], "hello", 5);
	}
	cr_assert(world_until(w, WORLD_S, own[19]->reset));
	for (unsigned i = 0; i < 20; i++)
		cr_assert_eq(own[i]->reset_code, QP_STREAM_PROTOCOL);
	world_run(w, WORLD_S);
	cr_assert_not(c->over);
	cr_assert_eq(w->counters.tunnels_active, 1);
}

/* More streams than ever fit at once: each that has ended makes room for another. */
Test(tunnel, clients_own_streams_one_after_another_credit_does_not_run_out)
{
	open_port();
	for (unsigned i = 0; i < 3000; i++) {
		struct client_stream *own;

		cr_assert(world_until(w, WORLD_S, ngtcp2_conn_get_streams_bidi_left(c->conn) > 0));
		own = client_open(c);
		client_write(own, "hello", 5);
		client_fin(own);
		cr_assert(world_until(w, WORLD_S, own->reset), "stream %u", i);
	}
	cr_assert_not(c->over);
}

/* Something to say and no mbuf to say it in: it is said as soon as there is one. */
Test(tunnel, mbufs_all_gone_reset_is_sent_with_the_first_that_is_free)
{
	static struct rte_mbuf *all[WORLD_POOL];
	struct client_stream *t;
	struct outside_conn *o;
	unsigned n;

	open_port();
	o = outside_connect(w, 9022);
	cr_assert(world_until(w, WORLD_S, client_nth(c, 0) != NULL));
	t = client_nth(c, 0);
	world_run(w, WORLD_S);
	n = world_take_mbufs(w, all, WORLD_POOL);
	outside_reset(o);
	world_run(w, 10 * WORLD_MS);
	world_give_mbufs(all, n);
	cr_assert(world_until(w, 20 * WORLD_MS, t->reset));
}

/* Shutdown. */

Test(tunnel, shutdown_client_hears_session_close_first)
{
	static const uint8_t bye[] = {0x41, 0, 0};

	open_port();
	qp_tunnels_shutdown(w->tunnels);
	expect_port_given_back();
	expect_closed(QP_APP_SHUTDOWN);
	cr_assert(s->fin);
	cr_assert_arr_eq(s->rx + s->rx_len - sizeof(bye), bye, sizeof(bye));
}

Test(tunnel, shutdown_twice_nothing_more_happens)
{
	open_port();
	qp_tunnels_shutdown(w->tunnels);
	world_run(w, 3 * WORLD_MS);
	qp_tunnels_shutdown(w->tunnels);
	expect_closed(QP_APP_SHUTDOWN);
	cr_assert_eq(cp_count(w, QP_MSG_FORWARD_CLOSED), 1);
}

Test(tunnel, shutdown_client_gone_ends_within_a_second)
{
	open_port();
	c->gone = true;
	qp_tunnels_shutdown(w->tunnels);
	cr_assert(world_until(w, WORLD_S, qp_tunnels_count(w->tunnels) == 0));
}

Test(tunnel, shutdown_stranger_gets_no_message_among_authentication_bytes)
{
	w->cp.manual = true;
	client_write(s, w->step1, w->step1_len);
	cr_assert(world_until(w, WORLD_S, cp_count(w, QP_MSG_AUTH_BEGIN) == 1));
	qp_tunnels_shutdown(w->tunnels);
	expect_closed(QP_APP_SHUTDOWN);
	cr_assert_eq(s->rx_len, 0);
}
