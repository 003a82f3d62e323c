/* SPDX-License-Identifier: Apache-2.0 */
#include "client/control.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <stdlib.h>
#include <string.h>

#define NOW UINT64_C(1700000000)

/* What the state machine said and reported. */
struct record {
	uint8_t out[4096];
	size_t len;
	int send_error;
	unsigned opened, refused, connections, closed;
	enum qp_wire_status status;
	char message[64];
};

static struct record rec;
static struct qpc_control control;
static struct qp_secret *psk, *wrong_psk;
static struct qp_auth_server server;

static int
on_send(void *ctx, const uint8_t *data, size_t len)
{
	if (rec.send_error != 0)
		return rec.send_error;
	cr_assert(rec.len + len <= sizeof(rec.out));
	memcpy(rec.out + rec.len, data, len);
	rec.len += len;
	return QP_OK;
}

static void
on_opened(void *ctx, struct qp_slice message)
{
	rec.opened++;
}

static void
on_refused(void *ctx, enum qp_wire_status status, struct qp_slice message)
{
	rec.refused++;
	rec.status = status;
	qp_slice_printable(message, rec.message, sizeof(rec.message));
}

static void
on_connection(void *ctx, const struct qp_wire_msg *msg)
{
	rec.connections++;
}

static void
on_closed(void *ctx)
{
	rec.closed++;
}

static const struct qpc_control_ops ops = {on_send, on_opened, on_refused, on_connection, on_closed};

static void
setup(void)
{
	struct qp_auth_client_config cfg = {.method = QP_AUTH_PSK};
	struct qp_wire_msg request = {.type = QP_WIRE_REMOTE_FORWARD_REQUEST};

	cr_assert_eq(qp_keys_init(), 0);
	psk = qp_secret_new("secret", 6);
	wrong_psk = qp_secret_new("Secret", 6);
	cfg.psk = psk;
	request.remote_forward_request.port = 9022;
	request.remote_forward_request.protocol = QP_WIRE_TCP;
	request.remote_forward_request.destination = qp_slice_of("22");
	cr_assert_eq(qpc_control_start(&control, &ops, NULL, &cfg, &request, NOW), 0);
}

static void
teardown(void)
{
	qpc_control_free(&control);
	qp_auth_server_clear(&server);
	qp_secret_free(psk);
	qp_secret_free(wrong_psk);
}

TestSuite(control, .init = setup, .fini = teardown);

/* The server's reply to what the client has said. */
static size_t
make_reply(const struct qp_secret *key, uint8_t reply[QP_WIRE_MAX_STEP2_BYTES])
{
	struct qp_auth_policy policy = {.npsks = 1,
		.psks = (const struct qp_secret *const *)&psk};
	size_t len;

	cr_assert_eq(rec.len, QP_WIRE_PSK_STEP1_BYTES, "the first step goes out at once");
	cr_assert_eq(qp_auth_server_begin(&policy, rec.out, rec.len, NOW, &server, reply, &len, NULL),
		0);
	rec.len = 0;
	if (key != psk)
		reply[len - 1] ^= 1;
	return len;
}

/* Past authentication: the client has proved itself and asked. */
static void
reach_requested(void)
{
	static const uint8_t asked[] = {0x21, 0, 5, 0x23, 0x3e, 1, '2', '2'};
	uint8_t reply[QP_WIRE_MAX_STEP2_BYTES];
	size_t len = make_reply(psk, reply);

	cr_assert_eq(qpc_control_receive(&control, reply, len), 0);
	cr_assert_eq(control.state, QPC_CONTROL_REQUESTED);
	cr_assert_eq(rec.len, QP_WIRE_STEP3_BYTES + sizeof(asked));
	cr_assert_eq(qp_auth_server_finish(&server, rec.out, QP_WIRE_STEP3_BYTES, NULL), 0);
	cr_assert_arr_eq(rec.out + QP_WIRE_STEP3_BYTES, asked, sizeof(asked));
	rec.len = 0;
}

static int
receive(const char *bytes, size_t len)
{
	return qpc_control_receive(&control, (const uint8_t *)bytes, len);
}

#define GRANT "\x22\0\1\0"

Test(control, auth_reply_byte_by_byte_is_accepted)
{
	uint8_t reply[QP_WIRE_MAX_STEP2_BYTES];
	size_t len = make_reply(psk, reply);

	for (size_t i = 0; i < len; i++) {
		cr_assert_eq(control.state, QPC_CONTROL_AUTH);
		cr_assert_eq(rec.len, 0, "nothing is revealed before the reply is whole");
		cr_assert_eq(qpc_control_receive(&control, reply + i, 1), 0);
	}
	cr_assert_eq(control.state, QPC_CONTROL_REQUESTED);
}

Test(control, auth_wrong_proof_reveals_nothing)
{
	uint8_t reply[QP_WIRE_MAX_STEP2_BYTES];
	size_t len = make_reply(wrong_psk, reply);

	cr_assert_eq(qpc_control_receive(&control, reply, len), QP_E_AUTH);
	cr_assert_eq(rec.len, 0);
	cr_assert_not_null(control.broken);
	cr_assert_eq(receive(GRANT, 4), 0, "what follows is ignored");
	cr_assert_eq(rec.opened, 0);
}

Test(control, requested_grant_opens)
{
	reach_requested();
	cr_assert_eq(receive(GRANT, 4), 0);
	cr_assert_eq(rec.opened, 1);
	cr_assert_eq(control.state, QPC_CONTROL_OPEN);
}

Test(control, requested_reply_and_grant_in_one_piece_opens)
{
	uint8_t all[QP_WIRE_MAX_STEP2_BYTES + 4];
	size_t len = make_reply(psk, all);

	memcpy(all + len, GRANT, 4);
	cr_assert_eq(qpc_control_receive(&control, all, len + 4), 0);
	cr_assert_eq(rec.opened, 1);
}

Test(control, requested_refusal_is_told_with_its_message)
{
	reach_requested();
	cr_assert_eq(receive("\x22\0\5\1in\x1buse", 8), 0);
	cr_assert_eq(rec.refused, 1);
	cr_assert_eq(rec.status, QP_WIRE_PORT_IN_USE);
	cr_assert(strchr(rec.message, 0x1b) == NULL);
}

Test(control, requested_other_response_type_refusing_is_a_refusal)
{
	reach_requested();
	cr_assert_eq(receive("\x02\0\1\3", 4), 0);
	cr_assert_eq(rec.refused, 1);
}

Test(control, open_split_messages_are_joined)
{
	static const char stream[] = "\x23\0\5\0\0\0\7\1" "\x61\0\5\0\0\0\7\0" "\x23\0\5\0\0\0\x8\1"
				     "\x41\0\0";
	size_t len = sizeof(stream) - 1;

	reach_requested();
	cr_assert_eq(receive(GRANT, 4), 0);
	for (size_t i = 0; i < len; i++)
		cr_assert_eq(receive(stream + i, 1), 0);
	cr_assert_eq(rec.connections, 3);
	cr_assert_eq(rec.closed, 1);
}

Test(control, open_largest_message_is_taken)
{
	size_t len = QP_WIRE_HEADER_BYTES + QP_WIRE_MAX_PAYLOAD;
	char *bytes = calloc(1, len);

	reach_requested();
	memcpy(bytes, "\x22\xff\xff\1", 4);
	memset(bytes + 4, 'x', len - 4);
	for (size_t at = 0; at < len; at += 1000)
		cr_assert_eq(receive(bytes + at, len - at < 1000 ? len - at : 1000), 0);
	cr_assert_eq(rec.refused, 1);
	free(bytes);
}

struct bad {
	const char *why;
	bool open;
	char bytes[16];
	size_t len;
};

ParameterizedTestParameters(control, broken_message_ends_with_a_protocol_error)
{
	static struct bad cases[] = {
		{"unknown type", true, "\x42\0\0", 3},
		{"payload too short", true, "\x23\0\2\0\0", 5},
		{"unknown protocol", true, "\x23\0\5\0\0\0\7\3", 8},
		{"unknown status", false, "\x22\0\1\4", 4},
		{"unknown reason", true, "\x61\0\5\0\0\0\7\4", 8},
		{"a client's message", true, "\x21\0\3\x23\x3e\1", 6},
		{"a client's message", true, "\x03\0\5\0\0\0\7\1", 8},
		{"second response", true, GRANT, 4},
		{"response of the other kind", false, "\x02\0\1\0", 4},
		{"connection before the grant", false, "\x23\0\5\0\0\0\7\1", 8},
	};

	return cr_make_param_array(struct bad, cases, sizeof(cases) / sizeof(cases[0]));
}

ParameterizedTest(struct bad *bad, control, broken_message_ends_with_a_protocol_error)
{
	reach_requested();
	if (bad->open)
		cr_assert_eq(receive(GRANT, 4), 0);
	cr_assert_eq(receive(bad->bytes, bad->len), QP_E_PROTO, "%s", bad->why);
	cr_assert_not_null(control.broken);
	cr_assert_eq(control.state, QPC_CONTROL_CLOSED);
	cr_assert_eq(rec.connections, 0);
}

Test(control, goodbye_before_authentication_says_nothing)
{
	rec.len = 0;
	cr_assert_eq(qpc_control_say_goodbye(&control), 0);
	cr_assert_eq(rec.len, 0);
}

Test(control, goodbye_when_open_is_a_session_close_and_the_last_word)
{
	reach_requested();
	cr_assert_eq(receive(GRANT, 4), 0);
	cr_assert_eq(qpc_control_connection_closed(&control, 7, QP_WIRE_REFUSED), 0);
	cr_assert_eq(qpc_control_say_goodbye(&control), 0);
	cr_assert_eq(qpc_control_connection_closed(&control, 8, QP_WIRE_REFUSED), 0);
	cr_assert_eq(rec.len, 11);
	cr_assert_arr_eq(rec.out, "\x61\0\5\0\0\0\7\1" "\x41\0\0", 11);
}

Test(control, send_failure_is_passed_on)
{
	uint8_t reply[QP_WIRE_MAX_STEP2_BYTES];
	size_t len = make_reply(psk, reply);

	rec.send_error = QP_E_FULL;
	cr_assert_eq(qpc_control_receive(&control, reply, len), QP_E_FULL);
}
