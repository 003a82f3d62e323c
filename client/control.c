/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stream 0 of a client. The loop's thread. Leaves QUIC to the session, and
 * the checks of authentication to common/auth.c.
 */
#include "client/control.h"

#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#define FIRST_CAPACITY 256u
/* Enough for every message that a client sends but the requests, whose text is a command line's. */
#define SMALL_MESSAGE 16u

static int
send_message(struct qpc_control *c, const struct qp_wire_msg *msg, uint8_t *buf, size_t cap)
{
	int n = qp_wire_encode(msg, buf, cap);

	return n < 0 ? n : c->ops->send(c->ctx, buf, (size_t)n);
}

int
qpc_control_start(struct qpc_control *c, const struct qpc_control_ops *ops, void *ctx,
	const struct qp_auth_client_config *auth, const struct qp_wire_msg *request,
	uint64_t now_unix_s)
{
	uint8_t step1[QP_WIRE_MAX_STEP1_BYTES];
	size_t len;
	int err;

	*c = (struct qpc_control) {.ops = ops, .ctx = ctx, .request = *request};
	err = qp_auth_client_begin(auth, now_unix_s, &c->auth, step1, &len);
	if (err != QP_OK)
		return err;
	c->state = QPC_CONTROL_AUTH;
	return ops->send(ctx, step1, len);
}

void
qpc_control_free(struct qpc_control *c)
{
	qp_auth_client_free(c->auth);
	free(c->buf);
	*c = (struct qpc_control) {.state = QPC_CONTROL_CLOSED};
}

static int
broken(struct qpc_control *c, int err, const char *why)
{
	c->state = QPC_CONTROL_CLOSED;
	c->broken = why;
	return err;
}

static int
send_request(struct qpc_control *c)
{
	size_t cap = QP_WIRE_MAX_MESSAGE;
	uint8_t *buf = malloc(cap);
	int err;

	if (buf == NULL)
		return QP_E_NOMEM;
	err = send_message(c, &c->request, buf, cap);
	free(buf);
	return err;
}

/* The whole reply is in `buf`. */
static int
judge_reply(struct qpc_control *c, const uint8_t *buf, size_t len)
{
	uint8_t step3[QP_WIRE_STEP3_BYTES];
	const char *why = NULL;
	int err = qp_auth_client_reply(c->auth, buf, len, step3, &why);

	qp_auth_client_free(c->auth);
	c->auth = NULL;
	if (err != QP_OK)
		return broken(c, err, why != NULL ? why : "authentication failed");
	err = c->ops->send(c->ctx, step3, sizeof(step3));
	sodium_memzero(step3, sizeof(step3));
	if (err != QP_OK)
		return err;
	c->state = QPC_CONTROL_REQUESTED;
	return send_request(c);
}

static int
handle_response(struct qpc_control *c, const struct qp_wire_msg *msg)
{
	bool granted = msg->forward_response.status == QP_WIRE_SUCCESS;

	/*
	 * A response's type follows its request's; but a server that does not know the
	 * request refuses it by a RemoteForwardResponse.
	 */
	if (c->state != QPC_CONTROL_REQUESTED || (granted && msg->type != c->request.type + 1))
		return broken(c, QP_E_PROTO, "an unexpected forward response");
	c->state = granted ? QPC_CONTROL_OPEN : QPC_CONTROL_CLOSED;
	if (granted)
		c->ops->opened(c->ctx, msg->forward_response.message);
	else
		c->ops->refused(c->ctx, msg->forward_response.status,
			msg->forward_response.message);
	return QP_OK;
}

static int
handle_message(struct qpc_control *c, const struct qp_wire_msg *msg)
{
	if (!qp_wire_from_server(msg->type))
		return broken(c, QP_E_PROTO, "a message that only a client may send");
	switch (msg->type) {
	case QP_WIRE_LOCAL_FORWARD_RESPONSE:
	case QP_WIRE_REMOTE_FORWARD_RESPONSE:
		return handle_response(c, msg);
	case QP_WIRE_SESSION_CLOSE:
		c->state = QPC_CONTROL_CLOSED;
		c->ops->session_closed(c->ctx);
		return QP_OK;
	case QP_WIRE_REMOTE_NEW_CONNECTION:
	case QP_WIRE_CONNECTION_CLOSE:
		if (c->state != QPC_CONTROL_OPEN)
			return broken(c, QP_E_PROTO, "a connection before the forward is open");
		c->ops->connection(c->ctx, msg);
		return QP_OK;
	default:
		return broken(c, QP_E_PROTO, "an unexpected message");
	}
}

/*
 * Takes what is whole from the front of `data`. Returns the bytes used, less
 * than `len` when the rest must wait for more, or an error.
 */
static int64_t
take_whole(struct qpc_control *c, const uint8_t *data, size_t len)
{
	size_t used = 0;

	while (used < len && c->state != QPC_CONTROL_CLOSED) {
		struct qp_wire_msg msg;
		const char *why = NULL;
		size_t n;
		int err;

		if (c->state == QPC_CONTROL_AUTH) {
			n = qp_auth_client_reply_bytes(c->auth);
			if (len - used < n)
				return (int64_t)used;
			err = judge_reply(c, data + used, n);
		} else {
			err = qp_wire_decode(data + used, len - used, &msg, &n, &why);
			if (err == QP_E_AGAIN)
				return (int64_t)used;
			err = err == QP_OK ? handle_message(c, &msg) : broken(c, err, why);
		}
		if (err != QP_OK)
			return err;
		used += n;
	}
	return (int64_t)len;
}

static int
keep(struct qpc_control *c, const uint8_t *data, size_t len)
{
	size_t cap = c->cap != 0 ? c->cap : FIRST_CAPACITY;
	uint8_t *buf;

	if (len == 0)
		return QP_OK;
	while (cap < c->len + len)
		cap *= 2;
	if (cap != c->cap) {
		buf = realloc(c->buf, cap);
		if (buf == NULL)
			return QP_E_NOMEM;
		c->buf = buf;
		c->cap = cap;
	}
	memcpy(c->buf + c->len, data, len);
	c->len += len;
	return QP_OK;
}

int
qpc_control_receive(struct qpc_control *c, const uint8_t *data, size_t len)
{
	int64_t used;
	int err;

	/* An end alone comes without bytes, and without an address. */
	if (len == 0 || c->state == QPC_CONTROL_NEW || c->state == QPC_CONTROL_CLOSED)
		return QP_OK;
	if (c->len == 0) {
		used = take_whole(c, data, len);
		return used < 0 ? (int)used : keep(c, data + used, len - (size_t)used);
	}
	err = keep(c, data, len);
	if (err != QP_OK)
		return err;
	used = take_whole(c, c->buf, c->len);
	if (used < 0)
		return (int)used;
	c->len -= (size_t)used;
	memmove(c->buf, c->buf + used, c->len);
	return QP_OK;
}

int
qpc_control_new_connection(struct qpc_control *c, uint32_t id, enum qp_wire_protocol protocol)
{
	struct qp_wire_msg msg = {.type = QP_WIRE_LOCAL_NEW_CONNECTION,
		.new_connection = {.id = id, .protocol = protocol}};
	uint8_t buf[SMALL_MESSAGE];

	if (c->state != QPC_CONTROL_OPEN)
		return QP_OK;
	return send_message(c, &msg, buf, sizeof(buf));
}

int
qpc_control_connection_closed(struct qpc_control *c, uint32_t id, enum qp_wire_reason reason)
{
	struct qp_wire_msg msg = {.type = QP_WIRE_CONNECTION_CLOSE,
		.connection_close = {.id = id, .reason = reason}};
	uint8_t buf[SMALL_MESSAGE];

	if (c->state != QPC_CONTROL_REQUESTED && c->state != QPC_CONTROL_OPEN)
		return QP_OK;
	return send_message(c, &msg, buf, sizeof(buf));
}

int
qpc_control_say_goodbye(struct qpc_control *c)
{
	struct qp_wire_msg msg = {.type = QP_WIRE_SESSION_CLOSE};
	uint8_t buf[SMALL_MESSAGE];

	if (c->state != QPC_CONTROL_REQUESTED && c->state != QPC_CONTROL_OPEN)
		return QP_OK;
	c->state = QPC_CONTROL_CLOSED;
	return send_message(c, &msg, buf, sizeof(buf));
}
