/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The wire format against the golden vectors, and against peers that cut,
 * mix up or forge it.
 */
#include "common/wire.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/common/support.h"

#define TEXT(s) {.ptr = (s), .len = sizeof(s) - 1}
#define NGOLDEN 10

/* The golden messages by their meaning, in the order of the vectors. */
static const struct golden {
	struct qp_wire_msg msg;
	const char *description;
} golden[NGOLDEN] = {
	{{.type = QP_WIRE_REMOTE_FORWARD_REQUEST,
		 .remote_forward_request = {9022, QP_WIRE_TCP, TEXT("22")}},
		"RemoteForwardRequest port 9022/tcp, local destination 22"},
	{{.type = QP_WIRE_REMOTE_FORWARD_REQUEST,
		 .remote_forward_request = {5353, QP_WIRE_UDP, TEXT("127.0.0.1:53/udp")}},
		"RemoteForwardRequest port 5353/udp, local destination 127.0.0.1:53/udp"},
	{{.type = QP_WIRE_REMOTE_FORWARD_RESPONSE,
		 .forward_response = {QP_WIRE_SUCCESS, TEXT("Listening on port 9022")}},
		"RemoteForwardResponse success: Listening on port 9022"},
	{{.type = QP_WIRE_REMOTE_FORWARD_RESPONSE,
		 .forward_response = {QP_WIRE_PORT_IN_USE, TEXT("")}},
		"RemoteForwardResponse port in use: "},
	{{.type = QP_WIRE_REMOTE_NEW_CONNECTION, .new_connection = {7, QP_WIRE_TCP}},
		"RemoteNewConnection id 7 tcp"},
	{{.type = QP_WIRE_LOCAL_FORWARD_REQUEST,
		 .local_forward_request = {QP_WIRE_TCP, TEXT("192.168.1.100:22"), TEXT("9022/tcp")}},
		"LocalForwardRequest tcp to 192.168.1.100:22, local source 9022/tcp"},
	{{.type = QP_WIRE_LOCAL_FORWARD_RESPONSE,
		 .forward_response = {QP_WIRE_PERMISSION_DENIED, TEXT("not allowed")}},
		"LocalForwardResponse permission denied: not allowed"},
	{{.type = QP_WIRE_LOCAL_NEW_CONNECTION, .new_connection = {1, QP_WIRE_UDP}},
		"LocalNewConnection id 1 udp"},
	{{.type = QP_WIRE_SESSION_CLOSE}, "SessionClose"},
	{{.type = QP_WIRE_CONNECTION_CLOSE, .connection_close = {7, QP_WIRE_REFUSED}},
		"ConnectionClose id 7 connection refused"},
};

static size_t
golden_bytes(const json_t *root, size_t i, uint8_t out[256])
{
	const json_t *list = json_object_get(root, "control_messages");

	cr_assert(eq(sz, json_array_size(list), NGOLDEN), "a message was added: add it here");
	return from_hex(json_string_value(json_object_get(json_array_get(list, i), "hex")), out,
		256);
}

static bool
same_text(struct qp_slice a, struct qp_slice b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

static bool
same(const struct qp_wire_msg *a, const struct qp_wire_msg *b)
{
	if (a->type != b->type)
		return false;
	switch (a->type) {
	case QP_WIRE_LOCAL_FORWARD_REQUEST:
		return a->local_forward_request.protocol == b->local_forward_request.protocol &&
		       same_text(a->local_forward_request.destination,
			       b->local_forward_request.destination) &&
		       same_text(a->local_forward_request.source, b->local_forward_request.source);
	case QP_WIRE_REMOTE_FORWARD_REQUEST:
		return a->remote_forward_request.port == b->remote_forward_request.port &&
		       a->remote_forward_request.protocol == b->remote_forward_request.protocol &&
		       same_text(a->remote_forward_request.destination,
			       b->remote_forward_request.destination);
	case QP_WIRE_LOCAL_FORWARD_RESPONSE:
	case QP_WIRE_REMOTE_FORWARD_RESPONSE:
		return a->forward_response.status == b->forward_response.status &&
		       same_text(a->forward_response.message, b->forward_response.message);
	case QP_WIRE_LOCAL_NEW_CONNECTION:
	case QP_WIRE_REMOTE_NEW_CONNECTION:
		return a->new_connection.id == b->new_connection.id &&
		       a->new_connection.protocol == b->new_connection.protocol;
	case QP_WIRE_CONNECTION_CLOSE:
		return a->connection_close.id == b->connection_close.id &&
		       a->connection_close.reason == b->connection_close.reason;
	case QP_WIRE_SESSION_CLOSE:
		return true;
	}
	return false;
}

/* Decodes from memory of exactly that size, so that a sanitizer sees a read beyond it. */
static int
decode_exact(const uint8_t *bytes, size_t len, struct qp_wire_msg *msg, const char **reason)
{
	uint8_t *copy = malloc(len + (len == 0));
	size_t used = 0;
	int err;

	memcpy(copy, bytes, len);
	err = qp_wire_decode(copy, len, msg, &used, reason);
	if (err == QP_OK)
		cr_assert(le(sz, used, len));
	free(copy);
	return err;
}

Test(wire, fixture_equals_the_shared_vectors)
{
	const char *path = getenv("QP_VECTORS_SHARED");
	json_t *fixture = vectors_load(), *shared;

	if (path == NULL || access(path, R_OK) != 0) {
		json_decref(fixture);
		cr_skip_test("the shared vectors are not beside this tree");
	}
	shared = json_load_file(path, 0, NULL);
	cr_assert(json_equal(fixture, shared));
	json_decref(fixture);
	json_decref(shared);
}

Test(wire, encode_every_golden_message_to_the_byte)
{
	json_t *root = vectors_load();

	for (size_t i = 0; i < NGOLDEN; i++) {
		uint8_t want[256], got[256];
		size_t len = golden_bytes(root, i, want);
		int n = qp_wire_encode(&golden[i].msg, got, sizeof(got));

		cr_assert(eq(int, n, (int)len), "message %zu", i);
		cr_assert(eq(int, memcmp(got, want, len), 0), "message %zu", i);
	}
	json_decref(root);
}

Test(wire, encode_into_too_little_room_writes_nothing)
{
	for (size_t i = 0; i < NGOLDEN; i++) {
		uint8_t whole[256];
		int n = qp_wire_encode(&golden[i].msg, whole, sizeof(whole));

		for (size_t cap = 0; cap < (size_t)n; cap++) {
			uint8_t *buf = malloc(cap + 1);

			buf[cap] = 0xa5;
			cr_assert(eq(int, qp_wire_encode(&golden[i].msg, buf, cap), QP_E_FULL));
			cr_assert(eq(u8, buf[cap], 0xa5));
			free(buf);
		}
	}
}

Test(wire, decode_every_golden_message)
{
	json_t *root = vectors_load();

	for (size_t i = 0; i < NGOLDEN; i++) {
		struct qp_wire_msg msg;
		const char *reason = NULL;
		uint8_t bytes[256];
		char text[256];
		size_t used = 0, len = golden_bytes(root, i, bytes);

		cr_assert(eq(int, qp_wire_decode(bytes, len, &msg, &used, &reason), QP_OK));
		cr_assert(eq(sz, used, len));
		cr_assert(same(&msg, &golden[i].msg), "message %zu", i);
		cr_assert(eq(sz, qp_wire_describe(&msg, text, sizeof(text)), strlen(text)));
		cr_assert(eq(str, text, (char *)golden[i].description));
	}
	json_decref(root);
}

Test(wire, decode_every_truncation_waits_for_more)
{
	json_t *root = vectors_load();

	for (size_t i = 0; i < NGOLDEN; i++) {
		uint8_t bytes[256];
		size_t len = golden_bytes(root, i, bytes);

		for (size_t cut = 0; cut < len; cut++) {
			struct qp_wire_msg msg;
			const char *reason = NULL;

			cr_assert(eq(int, decode_exact(bytes, cut, &msg, &reason), QP_E_AGAIN),
				"message %zu cut to %zu", i, cut);
		}
	}
	json_decref(root);
}

/* The header says that the payload is all there: it must be judged, not awaited. */
Test(wire, decode_truncation_with_a_fitting_header_never_waits)
{
	json_t *root = vectors_load();

	for (size_t i = 0; i < NGOLDEN; i++) {
		uint8_t bytes[256];
		size_t len = golden_bytes(root, i, bytes);

		for (size_t cut = QP_WIRE_HEADER_BYTES; cut < len; cut++) {
			struct qp_wire_msg msg;
			const char *reason = NULL;
			int err;

			qp_put_u16(bytes + 1, (uint16_t)(cut - QP_WIRE_HEADER_BYTES));
			err = decode_exact(bytes, cut, &msg, &reason);
			cr_assert(err == QP_OK || err == QP_E_PROTO, "message %zu cut to %zu", i,
				cut);
			if (err == QP_E_PROTO)
				cr_assert(ne(ptr, (void *)(uintptr_t)reason, NULL));
		}
	}
	json_decref(root);
}

Test(wire, decode_malformed_list_is_refused_with_a_reason)
{
	static const char *const reasons[] = {
		"unknown control message",
		"control message shorter than its fields",
		"unknown protocol in control message",
		"unknown status in control message",
		"unknown reason in control message",
		"destination longer than its control message",
	};
	json_t *root = vectors_load();
	const json_t *list = json_object_get(root, "malformed_control_messages");

	cr_assert(eq(sz, json_array_size(list), sizeof(reasons) / sizeof(reasons[0])));
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *item = json_array_get(list, i);
		struct qp_wire_msg msg;
		const char *reason = NULL;
		uint8_t bytes[256];
		size_t len =
			from_hex(json_string_value(json_object_get(item, "hex")), bytes, 256);

		cr_assert(eq(int, decode_exact(bytes, len, &msg, &reason), QP_E_PROTO), "%s",
			json_string_value(json_object_get(item, "why")));
		cr_assert(eq(str, (char *)reason, (char *)reasons[i]));
	}
	json_decref(root);
}

Test(wire, decode_lost_message_is_refused_before_its_payload)
{
	struct qp_wire_msg msg;
	const char *reason = NULL;
	size_t used;

	cr_assert(eq(int, qp_wire_decode((const uint8_t *)"\x42", 1, &msg, &used, &reason),
		QP_E_PROTO));
	cr_assert(eq(int, qp_wire_decode((const uint8_t *)"\x23\x00\x04", 3, &msg, &used, &reason),
		QP_E_PROTO));
}

/* All golden messages in one stream, cut in two at each place, and fed byte by byte. */
static size_t
whole_stream(const json_t *root, uint8_t *out)
{
	size_t n = 0;

	for (size_t i = 0; i < NGOLDEN; i++) {
		uint8_t bytes[256];
		size_t len = golden_bytes(root, i, bytes);

		memcpy(out + n, bytes, len);
		n += len;
	}
	return n;
}

/* Decodes what is there; returns how many bytes remain. */
static size_t
drain(uint8_t *buf, size_t len, size_t *next)
{
	struct qp_wire_msg msg;
	const char *reason;
	size_t used;
	int err;

	while ((err = qp_wire_decode(buf, len, &msg, &used, &reason)) == QP_OK) {
		cr_assert(lt(sz, *next, NGOLDEN));
		cr_assert(same(&msg, &golden[(*next)++].msg));
		memmove(buf, buf + used, len - used);
		len -= used;
	}
	cr_assert(eq(int, err, QP_E_AGAIN));
	return len;
}

Test(wire, decode_stream_in_any_split_gives_the_same_messages)
{
	json_t *root = vectors_load();
	uint8_t stream[1024], buf[1024];
	size_t len = whole_stream(root, stream);

	for (size_t split = 0; split <= len; split++) {
		size_t next = 0, rest;

		memcpy(buf, stream, split);
		rest = drain(buf, split, &next);
		memcpy(buf + rest, stream + split, len - split);
		cr_assert(eq(sz, drain(buf, rest + len - split, &next), 0));
		cr_assert(eq(sz, next, NGOLDEN), "split at %zu", split);
	}
	for (size_t piece = 1; piece < 7; piece++) {
		size_t next = 0, rest = 0;

		for (size_t at = 0; at < len; at += piece) {
			size_t n = len - at < piece ? len - at : piece;

			memcpy(buf + rest, stream + at, n);
			rest = drain(buf, rest + n, &next);
		}
		cr_assert(eq(sz, next, NGOLDEN), "pieces of %zu", piece);
	}
	json_decref(root);
}

Test(wire, decode_bytes_beyond_the_last_field_are_ignored)
{
	struct qp_wire_msg msg;
	const char *reason;
	size_t used;

	cr_assert(eq(int, qp_wire_decode((const uint8_t *)"\x23\0\x07\0\0\0\x07\x01zz\x41", 11,
		&msg, &used, &reason), QP_OK));
	cr_assert(eq(sz, used, 10));
	cr_assert(eq(u32, msg.new_connection.id, 7));
	cr_assert(eq(int, qp_wire_decode((const uint8_t *)"\x41\0\x01z", 4, &msg, &used, &reason),
		QP_OK));
	cr_assert(eq(sz, used, 4));
}

Test(wire, decode_text_that_is_not_utf8_is_refused)
{
	static const struct {
		const char *bytes;
		size_t len;
	} bad[] = {
		{"\x21\0\x04\x23\x3e\x01\xff", 7},
		{"\x22\0\x02\0\xc3", 5},
		{"\x01\0\x05\x01\0\x01\x80z", 8},     /* destination */
		{"\x01\0\x05\x01\0\x01z\x80", 8},     /* source */
		{"\x01\0\x05\x01\0\x01\xc3\xa4", 8},  /* a character across both */
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct qp_wire_msg msg;
		const char *reason = "";

		cr_assert(eq(int, decode_exact((const uint8_t *)bad[i].bytes, bad[i].len, &msg,
			&reason), QP_E_PROTO), "%zu", i);
		cr_assert(eq(str, (char *)reason, "text in control message is not UTF-8"));
	}
}

Test(wire, longest_message_goes_there_and_back)
{
	char *text = malloc(QP_WIRE_MAX_PAYLOAD);
	uint8_t *buf = malloc(QP_WIRE_MAX_MESSAGE);
	struct qp_wire_msg in = {.type = QP_WIRE_LOCAL_FORWARD_REQUEST}, out;
	const char *reason;
	size_t used;

	memset(text, 'd', QP_WIRE_MAX_PAYLOAD);
	in.local_forward_request.protocol = QP_WIRE_UDP;
	in.local_forward_request.destination = (struct qp_slice) {text, 60000};
	in.local_forward_request.source = (struct qp_slice) {text, QP_WIRE_MAX_PAYLOAD - 3 - 60000};
	cr_assert(eq(int, qp_wire_encode(&in, buf, QP_WIRE_MAX_MESSAGE), (int)QP_WIRE_MAX_MESSAGE));
	cr_assert(eq(int, qp_wire_message_bytes(buf, 3), (int)QP_WIRE_MAX_MESSAGE));
	cr_assert(eq(int, qp_wire_message_bytes(buf, 2), QP_E_AGAIN));
	cr_assert(eq(int, qp_wire_decode(buf, QP_WIRE_MAX_MESSAGE, &out, &used, &reason), QP_OK));
	cr_assert(same(&in, &out));
	in.local_forward_request.source.len++;
	cr_assert(eq(int, qp_wire_encode(&in, buf, QP_WIRE_MAX_MESSAGE), QP_E_INVAL));
	free(text);
	free(buf);
}

Test(wire, encode_field_that_the_wire_cannot_carry_is_refused)
{
	struct qp_wire_msg bad[] = {
		{.type = (enum qp_wire_type)0x42},
		{.type = QP_WIRE_REMOTE_NEW_CONNECTION, .new_connection = {1, 0}},
		{.type = QP_WIRE_LOCAL_NEW_CONNECTION, .new_connection = {1, 3}},
		{.type = QP_WIRE_CONNECTION_CLOSE, .connection_close = {1, 4}},
		{.type = QP_WIRE_REMOTE_FORWARD_RESPONSE, .forward_response = {4, TEXT("")}},
		{.type = QP_WIRE_REMOTE_FORWARD_RESPONSE, .forward_response = {0, TEXT("\xff")}},
		{.type = QP_WIRE_REMOTE_FORWARD_REQUEST, .remote_forward_request = {1, 0, TEXT("")}},
	};
	uint8_t buf[64];

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		cr_assert(eq(int, qp_wire_encode(&bad[i], buf, sizeof(buf)), QP_E_INVAL), "%zu", i);
}

Test(wire, direction_follows_the_protocol)
{
	static const struct {
		enum qp_wire_type type;
		bool client, server;
	} rows[] = {
		{QP_WIRE_LOCAL_FORWARD_REQUEST, true, false},
		{QP_WIRE_LOCAL_FORWARD_RESPONSE, false, true},
		{QP_WIRE_LOCAL_NEW_CONNECTION, true, false},
		{QP_WIRE_REMOTE_FORWARD_REQUEST, true, false},
		{QP_WIRE_REMOTE_FORWARD_RESPONSE, false, true},
		{QP_WIRE_REMOTE_NEW_CONNECTION, false, true},
		{QP_WIRE_SESSION_CLOSE, true, true},
		{QP_WIRE_CONNECTION_CLOSE, true, true},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		cr_assert(eq(int, qp_wire_from_client(rows[i].type), rows[i].client));
		cr_assert(eq(int, qp_wire_from_server(rows[i].type), rows[i].server));
	}
}

Test(wire, describe_peers_text_cannot_break_the_line)
{
	struct qp_wire_msg msg = {.type = QP_WIRE_REMOTE_FORWARD_RESPONSE,
		.forward_response = {QP_WIRE_INTERNAL_ERROR, TEXT("a\nERROR forged\x1b[31m")}};
	char out[128], small[10];

	qp_wire_describe(&msg, out, sizeof(out));
	cr_assert(eq(str, out,
		"RemoteForwardResponse internal error: a\\x0aERROR forged\\x1b[31m"));
	cr_assert(eq(sz, qp_wire_describe(&msg, small, sizeof(small)), 9));
	cr_assert(eq(str, small, "RemoteFor"));
}

Test(wire, record_golden_there_and_back)
{
	json_t *root = vectors_load();
	uint8_t want[64], payload[64], head[QP_WIRE_RECORD_HEADER_BYTES];
	size_t len = vector_bytes(root, want, sizeof(want), "udp_record", "hex", NULL);
	size_t n = vector_bytes(root, payload, sizeof(payload), "udp_record", "payload", NULL);
	const uint8_t *got;
	size_t got_len, used;

	cr_assert(eq(int, qp_wire_put_record_header(head, n), QP_OK));
	cr_assert(eq(int, memcmp(head, want, sizeof(head)), 0));
	for (size_t cut = 0; cut < len; cut++)
		cr_assert(eq(int, qp_wire_record_decode(want, cut, &got, &got_len, &used),
			QP_E_AGAIN));
	cr_assert(eq(int, qp_wire_record_decode(want, len, &got, &got_len, &used), QP_OK));
	cr_assert(eq(sz, used, len));
	cr_assert(eq(sz, got_len, n));
	cr_assert(eq(int, memcmp(got, payload, n), 0));
	json_decref(root);
}

Test(wire, record_longer_than_a_datagram_is_refused_from_its_header)
{
	uint8_t head[QP_WIRE_RECORD_HEADER_BYTES];
	const uint8_t *got;
	size_t got_len, used;

	qp_put_u32(head, QP_WIRE_MAX_RECORD);
	cr_assert(eq(int, qp_wire_get_record_header(head), 65507));
	cr_assert(eq(int, qp_wire_record_decode(head, 4, &got, &got_len, &used), QP_E_AGAIN));
	for (uint32_t shift = 0; shift < 16; shift++) {
		qp_put_u32(head, (QP_WIRE_MAX_RECORD + 1) << shift);
		cr_assert(eq(int, qp_wire_get_record_header(head), QP_E_PROTO));
		cr_assert(eq(int, qp_wire_record_decode(head, 4, &got, &got_len, &used),
			QP_E_PROTO));
	}
	cr_assert(eq(int, qp_wire_put_record_header(head, QP_WIRE_MAX_RECORD + 1), QP_E_INVAL));
}

Test(wire, record_empty_datagram_is_a_record)
{
	uint8_t head[QP_WIRE_RECORD_HEADER_BYTES];
	const uint8_t *got;
	size_t got_len = 1, used;

	cr_assert(eq(int, qp_wire_put_record_header(head, 0), QP_OK));
	cr_assert(eq(int, qp_wire_record_decode(head, 4, &got, &got_len, &used), QP_OK));
	cr_assert(eq(sz, got_len, 0));
	cr_assert(eq(sz, used, 4));
}

Test(wire, data_stream_prefix_golden)
{
	json_t *root = vectors_load();
	uint8_t want[8], got[QP_WIRE_CONN_ID_BYTES];

	cr_assert(eq(sz, vector_bytes(root, want, sizeof(want), "data_stream_prefix", "hex", NULL),
		sizeof(got)));
	qp_wire_put_conn_id(got, 7);
	cr_assert(eq(int, memcmp(got, want, sizeof(got)), 0));
	cr_assert(eq(u32, qp_wire_get_conn_id(want), 7));
	json_decref(root);
}

Test(wire, names_of_unknown_values_are_text_too)
{
	cr_assert(eq(str, (char *)qp_wire_type_name((enum qp_wire_type)0), "unknown message"));
	cr_assert(eq(str, (char *)qp_wire_protocol_name((enum qp_wire_protocol)9),
		"unknown protocol"));
	cr_assert(eq(str, (char *)qp_wire_status_name((enum qp_wire_status)9), "unknown status"));
	cr_assert(eq(str, (char *)qp_wire_reason_name((enum qp_wire_reason)9), "unknown reason"));
	cr_assert(eq(str, (char *)qp_app_error_phrase((enum qp_app_error)99), "unknown error"));
	cr_assert(eq(str, (char *)qp_app_error_phrase(QP_APP_AUTH), "authentication failed"));
}
