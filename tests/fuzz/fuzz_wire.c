/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Control messages and UDP records from hostile bytes: nothing is read beyond
 * the input, a verdict never depends on how the bytes were split, and what was
 * decoded encodes to the same bytes.
 */
#include "tests/fuzz/fuzz.h"

#include <stdbool.h>
#include <string.h>

#include "common/wire.h"

static void
check_text(struct qp_slice text, const uint8_t *buf, size_t len)
{
	const uint8_t *p = (const uint8_t *)text.ptr;

	FUZZ_CHECK(p >= buf && p + text.len <= buf + len);
	FUZZ_CHECK(qp_utf8_valid(text.ptr, text.len));
}

/* Every text within its message. True: the type has text, so that no byte was ignored. */
static bool
check_texts(const struct qp_wire_msg *msg, const uint8_t *buf, size_t len)
{
	switch (msg->type) {
	case QP_WIRE_LOCAL_FORWARD_REQUEST:
		check_text(msg->local_forward_request.destination, buf, len);
		check_text(msg->local_forward_request.source, buf, len);
		return true;
	case QP_WIRE_REMOTE_FORWARD_REQUEST:
		check_text(msg->remote_forward_request.destination, buf, len);
		return true;
	case QP_WIRE_LOCAL_FORWARD_RESPONSE:
	case QP_WIRE_REMOTE_FORWARD_RESPONSE:
		check_text(msg->forward_response.message, buf, len);
		return true;
	default:
		return false;
	}
}

static void
check_message(const struct qp_wire_msg *msg, const uint8_t *buf, size_t used)
{
	static uint8_t again[QP_WIRE_MAX_MESSAGE];
	char line[1024];
	bool has_text = check_texts(msg, buf, used);
	int n = qp_wire_encode(msg, again, sizeof(again));

	FUZZ_CHECK(n > 0 && (size_t)n <= used);
	if (has_text)
		FUZZ_CHECK((size_t)n == used && memcmp(again, buf, used) == 0);
	else
		FUZZ_CHECK(memcmp(again + 3, buf + 3, (size_t)n - 3) == 0);
	FUZZ_CHECK(qp_wire_describe(msg, line, sizeof(line)) == strlen(line));
	FUZZ_CHECK(qp_utf8_valid(line, strlen(line)));
}

/* A shorter piece of a message may only be "more" or, if it is lost already, the same refusal. */
static void
check_prefixes(const uint8_t *buf, size_t len, int verdict, size_t used)
{
	size_t end = verdict == QP_OK ? used : len;
	size_t step = end / 64 + 1;

	for (size_t cut = 0; cut < end; cut += step) {
		struct qp_wire_msg msg;
		const char *reason = NULL;
		size_t n;
		int err = qp_wire_decode(buf, cut, &msg, &n, &reason);

		FUZZ_CHECK(err == QP_E_AGAIN || (err == QP_E_PROTO && verdict == QP_E_PROTO));
		FUZZ_CHECK(err != QP_E_PROTO || reason != NULL);
	}
}

static void
fuzz_messages(const uint8_t *data, size_t size)
{
	for (;;) {
		struct qp_wire_msg msg;
		const char *reason = NULL;
		size_t used = 0;
		int err = qp_wire_decode(data, size, &msg, &used, &reason);

		check_prefixes(data, size, err, used);
		if (err != QP_OK) {
			FUZZ_CHECK(err == QP_E_AGAIN || (err == QP_E_PROTO && reason != NULL));
			return;
		}
		FUZZ_CHECK(used >= QP_WIRE_HEADER_BYTES && used <= size);
		FUZZ_CHECK(qp_wire_message_bytes(data, size) == (int)used);
		check_message(&msg, data, used);
		data += used;
		size -= used;
	}
}

static void
fuzz_records(const uint8_t *data, size_t size)
{
	const uint8_t *payload;
	size_t len, used;

	while (qp_wire_record_decode(data, size, &payload, &len, &used) == QP_OK) {
		uint8_t head[QP_WIRE_RECORD_HEADER_BYTES];

		FUZZ_CHECK(used <= size && len <= QP_WIRE_MAX_RECORD);
		FUZZ_CHECK(payload + len == data + used);
		FUZZ_CHECK(qp_wire_put_record_header(head, len) == QP_OK);
		FUZZ_CHECK(memcmp(head, data, sizeof(head)) == 0);
		data += used;
		size -= used;
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	fuzz_messages(data, size);
	fuzz_records(data, size);
	return 0;
}
