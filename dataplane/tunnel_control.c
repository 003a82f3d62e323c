/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a client says on stream 0: raw authentication bytes, then control
 * messages (the protocol page, "Stream 0"), however they were split on the
 * way. Runs on the lcore that owns the connection. Keys are never here: the
 * bytes go to the control plane.
 */
#include <stdlib.h>
#include <string.h>

#include "common/auth.h"
#include "dataplane/tunnel_internal.h"

#define FIRST_RX_BYTES 256u

void
qp_tunnel_ask_auth(struct qp_tunnel *t)
{
	struct qp_msg msg;

	qp_tunnel_message_init(t, &msg, QP_MSG_AUTH_BEGIN);
	msg.auth_begin = *t->began;
	t->announced = qp_tunnel_message_send(t, &msg);
	if (!t->announced)
		qp_tunnel_end(t, QP_APP_INTERNAL, NULL);
}

/* Asks the control plane whether `len` bytes of step 1 are a client of ours. */
static void
begin_auth(struct qp_tunnel *t, uint32_t len)
{
	const struct qp_flow *flow = qp_quic_conn_flow(t->conn);
	struct qp_msg_auth_begin *b = calloc(1, sizeof(*b));

	if (b == NULL) {
		qp_tunnel_end(t, QP_APP_INTERNAL, NULL);
		return;
	}
	memcpy(b->peer_addr, flow->remote.b, sizeof(b->peer_addr));
	b->peer_port_be = flow->rport_be;
	b->len = (uint16_t)len;
	memcpy(b->bytes, t->rx, len);
	t->began = b;
	t->state = QP_TUNNEL_REPLY;
	qp_tunnel_ask_auth(t);
}

/* Each step returns the bytes it took from t->rx; 0: it needs more. */
static uint32_t
take_step1(struct qp_tunnel *t)
{
	int len = qp_auth_step1_length(t->rx, t->rx_len);

	if (len == QP_E_AGAIN)
		return 0;
	if (len < 0) {
		qp_tunnel_end(t, QP_APP_AUTH, NULL);
		return 0;
	}
	if (t->rx_len < (uint32_t)len)
		return 0;
	begin_auth(t, (uint32_t)len);
	return (uint32_t)len;
}

static uint32_t
take_step3(struct qp_tunnel *t)
{
	struct qp_msg msg;

	if (t->rx_len < QP_WIRE_STEP3_BYTES)
		return 0;
	qp_tunnel_message_init(t, &msg, QP_MSG_AUTH_FINISH);
	msg.auth_bytes.len = QP_WIRE_STEP3_BYTES;
	memcpy(msg.auth_bytes.bytes, t->rx, QP_WIRE_STEP3_BYTES);
	t->state = QP_TUNNEL_VERDICT;
	qp_tunnel_message_send(t, &msg);
	return QP_WIRE_STEP3_BYTES;
}

void
qp_tunnel_ask_forward(struct qp_tunnel *t)
{
	struct qp_msg msg;

	qp_tunnel_message_init(t, &msg, QP_MSG_FORWARD_REQUEST);
	msg.forward = *t->asked;
	qp_tunnel_message_send(t, &msg);
}

static void
request_remote_forward(struct qp_tunnel *t, const struct qp_wire_msg *in)
{
	struct qp_slice destination = in->remote_forward_request.destination;
	struct qp_msg_forward *f = calloc(1, sizeof(*f));
	size_t len = destination.len;

	if (f == NULL) {
		qp_tunnel_end(t, QP_APP_INTERNAL, NULL);
		return;
	}
	if (len > sizeof(f->destination))
		len = sizeof(f->destination);
	f->port = in->remote_forward_request.port;
	f->protocol = in->remote_forward_request.protocol;
	f->destination_len = (uint16_t)len;
	if (len > 0)
		memcpy(f->destination, destination.ptr, len);
	t->asked = f;
	t->state = QP_TUNNEL_GRANT;
	qp_tunnel_ask_forward(t);
}

static void
first_message(struct qp_tunnel *t, const struct qp_wire_msg *msg)
{
	switch (msg->type) {
	case QP_WIRE_REMOTE_FORWARD_REQUEST:
		request_remote_forward(t, msg);
		break;
	case QP_WIRE_LOCAL_FORWARD_REQUEST:
		qp_local_request(t, msg);
		break;
	default:
		qp_tunnel_respond(t, QP_WIRE_REMOTE_FORWARD_RESPONSE, QP_WIRE_INTERNAL_ERROR,
			qp_slice_of("the first message must be a forward request"));
		qp_tunnel_last_words(t, QP_APP_PROTOCOL, "unexpected message");
		break;
	}
}

static void
close_connection(struct qp_tunnel *t, uint32_t id, uint8_t reason)
{
	/* The stream may have been reset before: then the id is nobody's. */
	void *ctx = t->local != NULL ? qp_local_find(t, id) : qp_slots_get(&t->relay_ids, id);

	if (ctx == NULL || reason == QP_WIRE_NORMAL)
		return;
	if (*(enum qp_stream_kind *)ctx == QP_STREAM_UDP)
		qp_udp_flow_close(ctx, reason);
	else
		qp_relay_abort(ctx, QP_STREAM_RESET);
}

static void
later_message(struct qp_tunnel *t, const struct qp_wire_msg *msg)
{
	switch (msg->type) {
	case QP_WIRE_SESSION_CLOSE:
		qp_tunnel_end(t, QP_APP_NONE, NULL);
		break;
	case QP_WIRE_CONNECTION_CLOSE:
		close_connection(t, msg->connection_close.id, msg->connection_close.reason);
		break;
	case QP_WIRE_LOCAL_NEW_CONNECTION:
		/* Only information, which the stream may overtake: its first bytes have the id. */
		if (t->local != NULL && msg->new_connection.protocol == t->protocol)
			break;
		qp_tunnel_end(t, QP_APP_PROTOCOL, "a new connection of another forward's kind");
		break;
	default:
		qp_tunnel_end(t, QP_APP_PROTOCOL, "unexpected message");
		break;
	}
}

static uint32_t
take_message(struct qp_tunnel *t)
{
	const char *reason = NULL;
	struct qp_wire_msg msg;
	size_t used = 0;
	int rc = qp_wire_decode(t->rx, t->rx_len, &msg, &used, &reason);

	if (rc == QP_E_AGAIN)
		return 0;
	if (rc < 0) {
		if (t->state == QP_TUNNEL_REQUEST) {
			qp_tunnel_respond(t, QP_WIRE_REMOTE_FORWARD_RESPONSE, QP_WIRE_INTERNAL_ERROR,
				qp_slice_of(reason));
			qp_tunnel_last_words(t, QP_APP_PROTOCOL, reason);
		} else {
			qp_tunnel_end(t, QP_APP_PROTOCOL, reason);
		}
		return 0;
	}
	if (t->state == QP_TUNNEL_REQUEST)
		first_message(t, &msg);
	else
		later_message(t, &msg);
	return (uint32_t)used;
}

static uint32_t
take(struct qp_tunnel *t)
{
	switch (t->state) {
	case QP_TUNNEL_STEP1:
		return take_step1(t);
	case QP_TUNNEL_STEP3:
		return take_step3(t);
	case QP_TUNNEL_REQUEST:
	case QP_TUNNEL_OPEN:
		return take_message(t);
	default:
		return 0; /* waits for the control plane, or listens no more */
	}
}

void
qp_tunnel_process(struct qp_tunnel *t)
{
	uint32_t used;

	while (t->rx_len > 0 && (used = take(t)) > 0) {
		t->rx_len -= used;
		memmove(t->rx, t->rx + used, t->rx_len);
	}
}

/* Room for `len` more bytes; at most one message and what fits a window's burst behind it. */
static int
rx_reserve(struct qp_tunnel *t, size_t len)
{
	size_t want = t->rx_len + len;
	uint32_t cap = t->rx_cap != 0 ? t->rx_cap : FIRST_RX_BYTES;
	uint8_t *rx;

	if (want <= t->rx_cap)
		return 0;
	if (want > 2 * QP_WIRE_MAX_MESSAGE)
		return QP_E_FULL;
	while (cap < want)
		cap *= 2;
	rx = realloc(t->rx, cap);
	if (rx == NULL)
		return QP_E_NOMEM;
	t->rx = rx;
	t->rx_cap = cap;
	return 0;
}

void
qp_tunnel_give_credit(struct qp_tunnel *t, uint64_t len)
{
	qp_quic_conn_consumed(t->conn, len);
	if (t->control != NULL)
		qp_quic_stream_consumed(t->control, len);
}

void
qp_tunnel_control_data(struct qp_tunnel *t, const uint8_t *data, size_t len, bool fin)
{
	/* A stranger has the first window for all that it says. */
	if (t->authenticated)
		qp_tunnel_give_credit(t, len);
	else
		t->early_bytes += (uint32_t)len;
	if (t->state >= QP_TUNNEL_LAST)
		return;
	if (rx_reserve(t, len) < 0) {
		qp_tunnel_end(t, QP_APP_PROTOCOL, "too much data on the control stream");
		return;
	}
	if (len > 0)
		memcpy(t->rx + t->rx_len, data, len);
	t->rx_len += (uint32_t)len;
	qp_tunnel_process(t);
	if (fin)
		qp_tunnel_end(t, QP_APP_NONE, NULL);
}
