/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stream 0 as a hostile server may fill it, by the client's state machine. The
 * first byte of an input says how: bit 0 a local forward; bit 1 before the
 * server has proved itself, else after; the rest, how the bytes are split. What
 * comes of them must not depend on that.
 */
#include "tests/fuzz/fuzz.h"

#include <string.h>

#include "client/control.h"

#define NOW 1700000000u

struct outcome {
	size_t sent;
	unsigned opened, refused, connections, closed;
	enum qpc_control_state state;
	int err;
	const char *broken;
};

static struct qp_secret *psk;
/* Past the proof, with a remote and a local forward: guarded memory takes a while, so only once. */
static struct qpc_control requested[2];

static void
deal(void *ctx, void *buf, size_t len)
{
	memset(buf, *(const uint8_t *)ctx, len);
}

static int
on_send(void *ctx, const uint8_t *data, size_t len)
{
	((struct outcome *)ctx)->sent += len;
	return QP_OK;
}

static void
on_opened(void *ctx, struct qp_slice message)
{
	FUZZ_CHECK(qp_utf8_valid(message.ptr, message.len));
	((struct outcome *)ctx)->opened++;
}

static void
on_refused(void *ctx, enum qp_wire_status status, struct qp_slice message)
{
	FUZZ_CHECK(status != QP_WIRE_SUCCESS && qp_utf8_valid(message.ptr, message.len));
	((struct outcome *)ctx)->refused++;
}

static void
on_connection(void *ctx, const struct qp_wire_msg *msg)
{
	FUZZ_CHECK(msg->type == QP_WIRE_CONNECTION_CLOSE || msg->type == QP_WIRE_REMOTE_NEW_CONNECTION);
	((struct outcome *)ctx)->connections++;
}

static void
on_closed(void *ctx)
{
	((struct outcome *)ctx)->closed++;
}

static const struct qpc_control_ops ops = {.send = on_send, .opened = on_opened,
	.refused = on_refused, .connection = on_connection, .session_closed = on_closed};

static void
start(struct qpc_control *c, struct outcome *o, bool local)
{
	static const uint8_t draw = 0x55;
	const struct qp_auth_client_config cfg = {.method = QP_AUTH_PSK, .psk = psk,
		.random = {deal, (void *)(uintptr_t)&draw}};
	struct qp_wire_msg request = {.type = QP_WIRE_REMOTE_FORWARD_REQUEST};

	request.remote_forward_request.protocol = QP_WIRE_TCP;
	request.remote_forward_request.destination = qp_slice_of("x");
	if (local) {
		request.type = QP_WIRE_LOCAL_FORWARD_REQUEST;
		request.local_forward_request.protocol = QP_WIRE_UDP;
		request.local_forward_request.destination = qp_slice_of("a:1");
		request.local_forward_request.source = qp_slice_of("b");
	}
	*c = (struct qpc_control) {.state = QPC_CONTROL_NEW};
	FUZZ_CHECK(qpc_control_start(c, &ops, o, &cfg, &request, NOW) == QP_OK);
	FUZZ_CHECK(c->state == QPC_CONTROL_AUTH && o->sent > 0);
}

/* The proof that the client waits for; what it sends for it depends on its first step alone. */
static const uint8_t *
proof(size_t *len)
{
	static uint8_t reply[QP_WIRE_MAX_STEP2_BYTES];
	static size_t reply_len;
	static const uint8_t client_draw = 0x55, server_draw = 0x77;
	const struct qp_auth_client_config cfg = {.method = QP_AUTH_PSK, .psk = psk,
		.random = {deal, (void *)(uintptr_t)&client_draw}};
	const struct qp_auth_policy policy = {.npsks = 1,
		.psks = (const struct qp_secret *const *)&psk,
		.random = {deal, (void *)(uintptr_t)&server_draw}};
	uint8_t step1[QP_WIRE_MAX_STEP1_BYTES];
	struct qp_auth_server server;
	struct qp_auth_client *client;
	const char *why;
	size_t n;

	if (reply_len == 0) {
		FUZZ_CHECK(qp_auth_client_begin(&cfg, NOW, &client, step1, &n) == QP_OK);
		FUZZ_CHECK(qp_auth_server_begin(&policy, step1, n, NOW, &server, reply, &reply_len,
				   &why) == QP_OK);
		qp_auth_client_free(client);
		qp_auth_server_clear(&server);
	}
	*len = reply_len;
	return reply;
}

static void
set_up(void)
{
	struct outcome o = {0};
	const uint8_t *reply;
	size_t n;

	FUZZ_CHECK(qp_keys_init() == QP_OK);
	psk = qp_secret_new("secret", 6);
	for (unsigned local = 0; local < 2; local++) {
		start(&requested[local], &o, local != 0);
		reply = proof(&n);
		FUZZ_CHECK(qpc_control_receive(&requested[local], reply, n) == QP_OK);
		FUZZ_CHECK(requested[local].state == QPC_CONTROL_REQUESTED);
		/* Nothing of it is on the heap then: a copy is as good. */
		FUZZ_CHECK(requested[local].auth == NULL && requested[local].len == 0);
		free(requested[local].buf);
		requested[local].buf = NULL;
		requested[local].cap = 0;
	}
}

/* `piece` bytes at a time. */
static struct outcome
play(uint8_t how, const uint8_t *data, size_t size, size_t piece)
{
	struct outcome o = {.err = QP_OK};
	struct qpc_control c;

	if ((how & 2) != 0) {
		start(&c, &o, (how & 1) != 0);
	} else {
		c = requested[how & 1];
		c.ctx = &o;
		FUZZ_CHECK(c.state == QPC_CONTROL_REQUESTED);
	}
	for (size_t at = 0; at < size && o.err == QP_OK; at += piece)
		o.err = qpc_control_receive(&c, data + at, size - at < piece ? size - at : piece);
	o.state = c.state;
	o.broken = c.broken;
	FUZZ_CHECK(o.err == QP_OK || o.err == QP_E_AUTH || o.err == QP_E_PROTO);
	FUZZ_CHECK(o.err == QP_OK || (c.broken != NULL && c.state == QPC_CONTROL_CLOSED));
	FUZZ_CHECK(o.opened + o.refused <= 1 && o.closed <= 1);
	/* Over is over. */
	if (c.state == QPC_CONTROL_CLOSED) {
		struct outcome before = o;

		FUZZ_CHECK(qpc_control_receive(&c, data, size) == QP_OK);
		FUZZ_CHECK(before.opened == o.opened && before.sent == o.sent &&
			before.connections == o.connections && before.closed == o.closed);
	}
	qpc_control_free(&c);
	return o;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct outcome whole, split;
	uint8_t how;

	if (psk == NULL)
		set_up();
	if (size == 0)
		return 0;
	how = data[0];
	whole = play(how, data + 1, size - 1, size);
	split = play(how, data + 1, size - 1, (size_t)(how >> 2) % 13 + 1);
	FUZZ_CHECK(whole.err == split.err && whole.state == split.state && whole.sent == split.sent);
	FUZZ_CHECK(whole.opened == split.opened && whole.refused == split.refused &&
		whole.connections == split.connections && whole.closed == split.closed);
	FUZZ_CHECK((whole.broken == NULL) == (split.broken == NULL));
	return 0;
}
