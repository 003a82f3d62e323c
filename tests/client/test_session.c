/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "client/quic_impl.h"
#include "client/session_impl.h"
#include "common/cert.h"
#include "tests/client/world.h"

TestSuite(session, .init = world_init, .fini = world_fini, .timeout = 60);

static bool
both_got_all(struct end *a, struct end *b)
{
	return a->received == b->to_send && b->received == a->to_send;
}

static bool
both_ended(struct end *a, struct end *b)
{
	return a->eof && b->eof;
}

static bool
a_failed(struct end *a, struct end *b)
{
	return a->error != 0;
}

static bool
b_failed(struct end *a, struct end *b)
{
	return b->error != 0;
}

static bool
no_relay_left(void *arg)
{
	return qpc_session_counters(w.session).active == 0 &&
		test_server_counters(w.server)->active == 0;
}

static bool
one_relay_left(void *arg)
{
	return qpc_session_counters(w.session).active == 1 &&
		test_server_counters(w.server)->active == 1;
}

/* Both directions at once, then both ends. */
static void
transfer(size_t from_outside, size_t from_service)
{
	struct end out = {.to_send = from_outside, .shut_after = true};
	struct end in = {.to_send = from_service, .shut_after = true};

	world_connect(&out, &in);
	world_relay(&out, &in, both_ended, "all bytes and both ends");
	cr_assert(both_got_all(&out, &in));
	end_close(&out);
	end_close(&in);
}

/* … then nothing is left of it. */
static void
exchange(size_t from_outside, size_t from_service)
{
	transfer(from_outside, from_service);
	world_until(no_relay_left, NULL, "both relays are gone");
}

Test(session, open_bytes_go_both_ways)
{
	world_open();
	exchange(8 << 20, 8 << 20);
	exchange(1, 0);
	exchange(0, 1);
	exchange(0, 0);
	cr_assert_eq(qpc_session_counters(w.session).resets, 0);
}

Test(session, open_outside_half_closes_answer_arrives_whole)
{
	struct end out = {.to_send = 100000, .shut_after = true}, in = {0};

	world_open();
	world_connect(&out, &in);
	world_relay(&out, &in, both_got_all, "the request");
	while (!in.eof)
		world_relay(&out, &in, both_got_all, "the end of the request");
	cr_assert(!out.eof);
	in.to_send = 3 << 20;
	in.shut_after = true;
	world_relay(&out, &in, both_ended, "the answer");
	cr_assert_eq(out.received, 3u << 20);
	end_close(&out);
	end_close(&in);
	world_until(no_relay_left, NULL, "both relays are gone");
}

Test(session, open_service_half_closes_request_arrives_whole)
{
	struct end out = {0}, in = {.to_send = 10, .shut_after = true};

	world_open();
	world_connect(&out, &in);
	world_relay(&out, &in, both_got_all, "the greeting");
	out.to_send = 3 << 20;
	out.shut_after = true;
	world_relay(&out, &in, both_ended, "the request");
	cr_assert_eq(in.received, 3u << 20);
	end_close(&out);
	end_close(&in);
}

Test(session, open_outside_resets_service_is_reset)
{
	struct end out = {.to_send = 1000}, in = {.to_send = 1000};

	world_open();
	world_connect(&out, &in);
	world_relay(&out, &in, both_got_all, "some bytes");
	end_reset(&out);
	world_relay(&out, &in, b_failed, "the reset");
	cr_assert_eq(in.error, ECONNRESET);
	end_close(&in);
	world_until(no_relay_left, NULL, "both relays are gone");
}

Test(session, open_service_resets_outside_gets_its_last_words_then_reset)
{
	struct end out = {0}, in = {.to_send = 1 << 20};

	world_open();
	world_connect(&out, &in);
	while (in.sent < in.to_send)
		world_relay(&out, &in, both_got_all, "all bytes");
	end_reset(&in);
	world_relay(&out, &in, a_failed, "the reset");
	cr_assert_eq(out.error, ECONNRESET);
	cr_assert_eq(out.received, 1u << 20);
	end_close(&out);
	world_until(no_relay_left, NULL, "both relays are gone");
}

Test(session, open_service_resets_while_nobody_reads_reset_is_not_held_up)
{
	struct end out = {.mute = true}, in = {.to_send = 64 << 20, .mute = true};
	uint64_t start;

	world_open();
	world_connect(&out, &in);
	/* Until every buffer on the way is full. */
	for (size_t before = SIZE_MAX; before != in.sent;) {
		before = in.sent;
		for (int i = 0; i < 50; i++) {
			end_step(&in);
			cr_assert_eq(qpc_loop_turn(&w.loop), 0);
		}
	}
	cr_assert(in.sent < in.to_send, "nothing bounds what is on the way");
	end_reset(&in);
	start = qp_quic_now();
	world_until(no_relay_left, NULL, "both relays are gone");
	cr_assert(qp_quic_now() - start < 5 * NGTCP2_SECONDS);
	end_close(&out);
}

Test(session, open_service_absent_outside_is_reset_and_server_told)
{
	struct end out = {0}, none = {.fd = -1};
	enum qp_wire_reason reason = QP_WIRE_NORMAL;

	world_open();
	close(w.service);
	w.service = -1;
	end_connect(&out);
	world_relay(&out, &none, a_failed, "the reset");
	cr_assert_eq(out.error, ECONNRESET);
	end_close(&out);
	world_until(no_relay_left, NULL, "both relays are gone");
	cr_assert_eq(test_server_closes(w.server, &reason), 1);
	cr_assert_eq(reason, QP_WIRE_REFUSED);
	cr_assert_eq(qpc_session_counters(w.session).refused, 1);
}

/* A second address is tried when the first one refuses. */
Test(session, open_first_address_refuses_second_is_used)
{
	static struct qp_sockaddr dest[2];
	struct end out = {.to_send = 5}, in = {0};

	dest[0] = dest[1] = w.dest;
	qp_sockaddr_set_port(&dest[0].sa, 1);
	w.cfg.dest = dest;
	w.cfg.ndest = 2;
	world_open();
	world_connect(&out, &in);
	world_relay(&out, &in, both_got_all, "the bytes");
	end_close(&out);
	end_close(&in);
}

Test(session, open_service_does_not_read_others_go_on_and_memory_is_bounded)
{
	struct end out = {.to_send = 256 << 20}, in = {.mute = true};

	world_open();
	world_connect(&out, &in);
	for (size_t before = SIZE_MAX; before != out.sent;) {
		before = out.sent;
		for (int i = 0; i < 50; i++) {
			end_step(&out);
			cr_assert_eq(qpc_loop_turn(&w.loop), 0);
		}
	}
	/* Kernel buffers, the two ends' queues: far from what was offered. */
	cr_assert(out.sent < 64u << 20, "%zu bytes were taken", out.sent);
	transfer(1 << 20, 1 << 20);
	world_until(one_relay_left, NULL, "the other relay is gone");
	in.mute = false;
	out.to_send = out.sent;
	world_relay(&out, &in, both_got_all, "the rest, once the service reads");
	end_close(&out);
	end_close(&in);
}

#define MANY 400

static bool
step_many(void *arg)
{
	struct end *ends = arg;
	bool all = true;

	for (int i = 0; i < 2 * MANY; i++) {
		end_step(&ends[i]);
		all = all && ends[i].eof;
	}
	return all;
}

Test(session, open_many_connections_at_once_all_whole)
{
	static struct end ends[2 * MANY];

	world_open();
	for (int i = 0; i < MANY; i++) {
		ends[i] = (struct end) {.to_send = 20000 + (size_t)i, .shut_after = true};
		end_connect(&ends[i]);
	}
	for (int i = MANY; i < 2 * MANY; i++) {
		ends[i] = (struct end) {.to_send = 30000, .shut_after = true};
		end_accept(&ends[i]);
	}
	world_until(step_many, ends, "all connections end");
	for (int i = 0; i < MANY; i++)
		cr_assert_eq(ends[i].received, 30000);
	for (int i = 0; i < 2 * MANY; i++)
		end_close(&ends[i]);
	world_until(no_relay_left, NULL, "all relays are gone");
	cr_assert_eq(qpc_session_counters(w.session).opened, MANY);
}

/* More connections in a row than the client grants at once: credit for streams comes back. */
Test(session, open_stream_limit_is_given_back)
{
	w.cfg.quic.max_streams = 4;
	world_open();
	for (int i = 0; i < 50; i++)
		exchange(100, 100);
}

Test(session, open_peer_with_small_windows_is_obeyed)
{
	w.server_cfg.quic.stream_window_bytes = 3000;
	w.server_cfg.quic.max_stream_window_bytes = 0;
	w.server_cfg.quic.window_bytes = 5000;
	w.server_cfg.quic.max_window_bytes = 0;
	world_open();
	exchange(100000, 1 << 20);
}

Test(session, open_our_small_windows_are_given_back)
{
	w.cfg.quic.stream_window_bytes = 3000;
	w.cfg.quic.max_stream_window_bytes = 0;
	w.cfg.quic.window_bytes = 5000;
	w.cfg.quic.max_window_bytes = 0;
	world_open();
	exchange(1 << 20, 100000);
}

Test(session, open_path_loses_swaps_and_doubles_bytes_arrive)
{
	static struct lossy path = {.loss_percent = 2, .swap_percent = 5, .double_percent = 5,
		.seed = 7};

	w.path = &path;
	world_open();
	for (int i = 0; i < 10; i++)
		exchange(100000, 200000);
	exchange(16 << 20, 16 << 20);
	cr_assert_gt(path.lost, 20);
}

static bool
ended(void *arg)
{
	return w.ended;
}

/* A path that a test can cut; the client is to find silence strange after a second. */
static struct lossy *
open_cuttable_path(void)
{
	static struct lossy path = {.seed = 3};

	w.path = &path;
	w.cfg.quic.idle_timeout_s = 6;
	w.cfg.quic.keep_alive_s = 1;
	world_open();
	return &path;
}

static bool
quarter_done(struct end *a, struct end *b)
{
	return a->received >= b->to_send / 4 && b->received >= a->to_send / 4;
}

Test(session, open_path_dies_in_a_transfer_another_path_brings_the_rest)
{
	struct end out = {.to_send = 32 << 20, .shut_after = true};
	struct end in = {.to_send = 32 << 20, .shut_after = true};
	struct lossy *path = open_cuttable_path();

	world_connect(&out, &in);
	world_relay(&out, &in, quarter_done, "a quarter");
	lossy_cut(path);
	world_relay(&out, &in, both_ended, "the rest");
	cr_assert(both_got_all(&out, &in));
	cr_assert_eq(qpc_session_migrations(w.session), 1);
	cr_assert_eq(test_server_clients(w.server), 1);
	end_close(&out);
	end_close(&in);
}

Test(session, open_network_changes_but_the_path_works_connection_stays)
{
	(void)open_cuttable_path();
	exchange(100000, 100000);
	qpc_session_network_changed(w.session);
	exchange(100000, 100000);
	cr_assert_eq(qpc_session_migrations(w.session), 0);
}

static bool
moved(void *arg)
{
	qpc_session_network_changed(w.session);
	return qpc_session_migrations(w.session) > 0;
}

/* Silence alone would take 15 s. */
Test(session, open_network_changes_in_silence_connection_moves_soon)
{
	struct lossy *path = open_cuttable_path();
	uint64_t start;

	w.session->quic->silence_ns = w.session->quic->patience_ns = 15 * NGTCP2_SECONDS;
	lossy_cut(path);
	start = qp_quic_now();
	world_until(moved, NULL, "the connection moves");
	cr_assert(qp_quic_now() - start < 8 * NGTCP2_SECONDS);
	exchange(100000, 100000);
}

Test(session, open_no_path_works_is_lost_after_six_moves)
{
	struct lossy *path = open_cuttable_path();

	path->loss_percent = 100;
	world_until(ended, NULL, "the session ends");
	cr_assert_eq(qpc_session_end(w.session)->err, QP_E_TIMEOUT);
	cr_assert_geq(qpc_session_migrations(w.session), 4);
	cr_assert_leq(qpc_session_migrations(w.session), 6);
}

static bool
server_idle(void *arg)
{
	return test_server_idle(w.server);
}

Test(session, open_close_says_goodbye_within_a_second)
{
	struct end out = {.to_send = 1000}, in = {0};
	uint64_t start;

	world_open();
	world_connect(&out, &in);
	world_relay(&out, &in, both_got_all, "some bytes");
	start = qp_quic_now();
	qpc_session_close(w.session);
	world_until(ended, NULL, "the session ends");
	cr_assert(qp_quic_now() - start < NGTCP2_SECONDS);
	cr_assert_eq(qpc_session_end(w.session)->err, QP_OK);
	cr_assert(test_server_said_goodbye(w.server));
	world_until(server_idle, NULL, "the server is told");
	qpc_session_free(w.session);
	w.session = NULL;
	world_relay(&out, &in, b_failed, "the service is reset");
	end_close(&out);
	end_close(&in);
}

Test(session, closing_server_gone_ends_nonetheless)
{
	uint64_t start;

	world_open();
	test_server_free(w.server); /* without a word */
	w.server = NULL;
	start = qp_quic_now();
	qpc_session_close(w.session);
	world_until(ended, NULL, "the session ends");
	cr_assert(qp_quic_now() - start < NGTCP2_SECONDS);
	cr_assert_eq(qpc_session_end(w.session)->err, QP_OK);
}

Test(session, open_server_gone_is_noticed_by_the_idle_timeout)
{
	w.cfg.quic.idle_timeout_s = 1;
	w.cfg.quic.keep_alive_s = 0;
	world_open();
	test_server_free(w.server);
	w.server = NULL;
	world_until(ended, NULL, "the session ends");
	cr_assert_eq(qpc_session_end(w.session)->err, QP_E_TIMEOUT);
	cr_assert_eq(qpc_session_end(w.session)->stage, QPC_SESSION_OPEN);
}

static void
set_flag(struct qpc_timer *t)
{
	t->at_ns = 0;
}

static bool
is_over(void *arg)
{
	return ((struct qpc_timer *)arg)->at_ns == 0;
}

Test(session, open_keep_alive_outlives_the_idle_timeout)
{
	struct qpc_timer wait = {.fire = set_flag};

	w.cfg.quic.idle_timeout_s = 2;
	w.cfg.quic.keep_alive_s = 1;
	world_open();
	qpc_timer_arm(&w.loop.timers, &wait, qp_quic_now() + 5 * NGTCP2_SECONDS);
	world_until(is_over, &wait, "the wait ends");
	cr_assert(!w.ended);
	exchange(10, 10);
}

Test(session, connecting_nobody_there_times_out)
{
	w.cfg.quic.handshake_timeout_s = 1;
	w.server_cfg.misbehave = TEST_ABSENT;
	const struct qpc_session_end *end = world_run_to_end();

	cr_assert_eq(end->err, QP_E_TIMEOUT);
	cr_assert_eq(end->stage, QPC_SESSION_CONNECTING);
	cr_assert_not_null(strstr(end->text, strerror(ECONNREFUSED)), "%s", end->text);
}

Test(session, connecting_nobody_there_but_another_address_waits_ends_at_once)
{
	uint64_t start = qp_quic_now();

	w.cfg.quic.heed_icmp = true;
	w.server_cfg.misbehave = TEST_ABSENT;
	const struct qpc_session_end *end = world_run_to_end();

	cr_assert_eq(end->stage, QPC_SESSION_CONNECTING);
	cr_assert(qp_quic_now() - start < NGTCP2_SECONDS / 2);
}

Test(session, connecting_untrusted_certificate_no_authentication_is_sent)
{
	const struct qpc_session_end *end;
	char print[QP_FINGERPRINT_TEXT_BYTES];
	struct qp_errmsg msg;

	w.distrust = QP_E_AUTH;
	end = world_run_to_end();
	cr_assert_eq(end->err, QP_E_AUTH);
	cr_assert_eq(end->stage, QPC_SESSION_CONNECTING);
	cr_assert_eq(test_server_clients(w.server), 0);
	cr_assert_eq(qp_cert_fingerprint_file(w.cert, print, &msg), 0);
	cr_assert_str_eq(w.fingerprint, print);
}

Test(session, requesting_wrong_psk_is_refused)
{
	const struct qpc_session_end *end;

	qp_secret_free(w.client_psk);
	w.client_psk = qp_secret_new("Secret", 6);
	end = world_run_to_end();
	cr_assert(end->by_peer);
	cr_assert_leq(end->stage, QPC_SESSION_REQUESTING);
	cr_assert_eq(test_server_clients(w.server), 0);
	cr_assert(!w.opened);
}

struct bad_server {
	enum test_misbehave what;
	enum qp_wire_status status;
	int err;
	enum qpc_session_stage stage;
	bool refused, by_peer;
};

ParameterizedTestParameters(session, misbehaving_server_ends_the_session)
{
	static struct bad_server cases[] = {
		{TEST_REFUSE_PORT, QP_WIRE_PORT_IN_USE, QP_E_INUSE, QPC_SESSION_REQUESTING, true, false},
		{TEST_REFUSE_PORT, QP_WIRE_PERMISSION_DENIED, QP_E_PERM, QPC_SESSION_REQUESTING, true,
			false},
		{TEST_REFUSE_PORT, QP_WIRE_INTERNAL_ERROR, QP_E_IO, QPC_SESSION_REQUESTING, true, false},
		{TEST_WRONG_PROOF, 0, QP_E_AUTH, QPC_SESSION_AUTHENTICATING, false, false},
		{TEST_CLOSE_SESSION, 0, QP_E_CLOSED, QPC_SESSION_OPEN, false, true},
		{TEST_CLOSE_AND_OPEN, 0, QP_E_CLOSED, QPC_SESSION_OPEN, false, true},
		{TEST_BAD_MESSAGE, 0, QP_E_PROTO, QPC_SESSION_OPEN, false, false},
		{TEST_CLIENT_MESSAGE, 0, QP_E_PROTO, QPC_SESSION_OPEN, false, false},
		{TEST_EARLY_STREAM, 0, QP_E_PROTO, QPC_SESSION_AUTHENTICATING, false, false},
		/* The reset overtakes the grant: it was not sent yet. */
		{TEST_RESET_CONTROL, 0, QP_E_CLOSED, QPC_SESSION_REQUESTING, false, true},
	};

	return cr_make_param_array(struct bad_server, cases, sizeof(cases) / sizeof(cases[0]));
}

ParameterizedTest(struct bad_server *bad, session, misbehaving_server_ends_the_session)
{
	const struct qpc_session_end *end;

	w.server_cfg.misbehave = bad->what;
	w.server_cfg.status = bad->status;
	end = world_run_to_end();
	cr_assert_eq(end->err, bad->err, "%d: %s", bad->what, end->text);
	cr_assert_eq(end->stage, bad->stage, "%d: stage %d: %s", bad->what, end->stage, end->text);
	cr_assert_eq(end->refused, bad->refused);
	cr_assert_eq(end->by_peer, bad->by_peer, "%d: %s", bad->what, end->text);
	if (bad->refused)
		cr_assert_eq(end->status, bad->status);
	cr_assert(end->text[0] != '\0');
}

Test(session, server_sends_stream_0_byte_by_byte_forward_works)
{
	w.server_cfg.misbehave = TEST_DRIBBLE;
	world_open();
	exchange(1000, 1000);
}

Test(session, open_stream_ends_within_its_id_costs_only_itself)
{
	w.server_cfg.misbehave = TEST_SHORT_STREAM;
	world_open();
	exchange(1000, 1000);
	world_until(no_relay_left, NULL, "the short stream is gone");
	cr_assert(!w.ended);
}
