/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A tunnel's life, from the QUIC handshake to the connection's end: what the
 * endpoint tells it, how its port closes and its last words are said. What the
 * client says on stream 0 is tunnel_control.c's, what the control plane answers
 * tunnels.c's. Runs on the lcore that owns the connection.
 */
#include "dataplane/tunnel.h"

#include <stdlib.h>
#include <string.h>

#include "dataplane/tunnel_internal.h"

#define SETUP_NS (10ull * 1000 * 1000 * 1000) /* from handshake to an open forward */
#define LAST_WORDS_NS (300ull * 1000 * 1000)  /* for the client to acknowledge them */
/* Notices on stream 0 that are only information stop when a client reads none. */
#define MAX_NOTICE_BYTES (64u * 1024)

static struct qp_tunnel *
tunnel_of_timer(struct qp_timer *timer)
{
	return (struct qp_tunnel *)((char *)timer - offsetof(struct qp_tunnel, deadline));
}

void
qp_tunnel_message_init(const struct qp_tunnel *t, struct qp_msg *msg, enum qp_msg_type type)
{
	memset(msg, 0, sizeof(*msg));
	msg->type = type;
	msg->version = QP_IPC_VERSION;
	msg->id = t->id;
}

bool
qp_tunnel_message_send(struct qp_tunnel *t, const struct qp_msg *msg)
{
	return t->all->env.send(t->all->env.send_ctx, msg);
}

/* Why, for people, where nobody has said it better. */
static enum qp_end_reason
reason_of(enum qp_app_error code)
{
	switch (code) {
	case QP_APP_NONE:
		return QP_END_CLIENT_LEFT;
	case QP_APP_PROTOCOL:
		return QP_END_PROTOCOL;
	case QP_APP_AUTH:
	case QP_APP_REFUSED:
		return QP_END_REFUSED;
	case QP_APP_SHUTDOWN:
		return QP_END_SHUTDOWN;
	case QP_APP_TIMEOUT:
		return QP_END_TIMEOUT;
	case QP_APP_INTERNAL:
		return QP_END_NO_MEMORY;
	}
	return QP_END_UNKNOWN;
}

static enum qp_end_reason
reason_of_quic(enum qp_quic_end how)
{
	static const enum qp_end_reason reasons[] = {
		[QP_QUIC_END_OURS] = QP_END_PROTOCOL,
		[QP_QUIC_END_PEER] = QP_END_CLIENT_LEFT,
		[QP_QUIC_END_SILENCE] = QP_END_CLIENT_LOST,
		[QP_QUIC_END_FREED] = QP_END_SHUTDOWN,
	};

	return reasons[how];
}

/* Closes the port and everything that runs over it; the connection itself goes on. */
void
qp_tunnel_close_port(struct qp_tunnel *t)
{
	struct qp_msg msg;

	qp_forward_unlisten(t);
	qp_relay_abort_all(t);
	qp_udp_abort_all(t);
	if (t->port == 0)
		return;
	qp_tunnel_message_init(t, &msg, QP_MSG_FORWARD_CLOSED);
	msg.forward_closed.port = t->port;
	msg.forward_closed.protocol = t->protocol;
	msg.forward_closed.reason = t->why;
	msg.forward_closed.usage = t->usage;
	qp_tunnel_message_send(t, &msg);
	t->was_port = t->port;
	t->port = 0;
}

void
qp_tunnel_end(struct qp_tunnel *t, enum qp_app_error code, const char *phrase)
{
	if (t->state == QP_TUNNEL_ENDED)
		return;
	t->state = QP_TUNNEL_ENDED;
	qp_usage_why(&t->why, reason_of(code));
	qp_timer_cancel(t->all->env.wheel, &t->deadline);
	qp_tunnel_close_port(t);
	qp_quic_conn_close(t->conn, code, phrase != NULL ? phrase : qp_app_error_phrase(code));
}

/* Lets the last message on stream 0 arrive before the connection closes. */
void
qp_tunnel_last_words(struct qp_tunnel *t, enum qp_app_error code, const char *phrase)
{
	if (t->state == QP_TUNNEL_ENDED || t->state == QP_TUNNEL_LAST)
		return;
	if (t->control == NULL) {
		qp_tunnel_end(t, code, phrase);
		return;
	}
	t->state = QP_TUNNEL_LAST;
	qp_usage_why(&t->why, reason_of(code));
	t->last_code = code;
	t->last_phrase = phrase;
	qp_tunnel_close_port(t);
	qp_quic_stream_fin(t->control);
	qp_timer_arm(t->all->env.wheel, &t->deadline, *t->all->env.now_ns + LAST_WORDS_NS);
}

void
qp_tunnel_goodbye(struct qp_tunnel *t)
{
	const struct qp_wire_msg bye = {.type = QP_WIRE_SESSION_CLOSE};

	/* Before that, the client takes bytes for authentication's. */
	if (t->authenticated && t->state < QP_TUNNEL_LAST)
		(void)qp_tunnel_control_send(t, &bye);
	qp_tunnel_last_words(t, QP_APP_SHUTDOWN, NULL);
}

static void
on_deadline(struct qp_timer *timer, uint64_t now_ns)
{
	struct qp_tunnel *t = tunnel_of_timer(timer);

	switch (t->state) {
	case QP_TUNNEL_LAST:
		qp_tunnel_end(t, t->last_code, t->last_phrase);
		break;
	case QP_TUNNEL_REPLY:
	case QP_TUNNEL_VERDICT:
	case QP_TUNNEL_GRANT:
		/* The client has done its part: it is no better than before when it comes again. */
		qp_tunnel_end(t, QP_APP_SHUTDOWN,
			"the gateway's control plane does not answer: try again");
		break;
	default:
		qp_tunnel_end(t, QP_APP_TIMEOUT, NULL);
	}
}

int
qp_tunnel_control_send(struct qp_tunnel *t, const struct qp_wire_msg *msg)
{
	uint8_t buf[QP_WIRE_HEADER_BYTES + 512];
	int n;

	if (t->control == NULL)
		return QP_E_CLOSED;
	n = qp_wire_encode(msg, buf, sizeof(buf));
	return n < 0 ? n : qp_quic_stream_write_bytes(t->control, buf, (size_t)n);
}

void
qp_tunnel_announce(struct qp_tunnel *t, uint32_t conn_id)
{
	struct qp_wire_msg msg = {.type = QP_WIRE_REMOTE_NEW_CONNECTION};

	msg.new_connection.id = conn_id;
	msg.new_connection.protocol = t->protocol;
	if (t->control != NULL && qp_quic_stream_queued(t->control) < MAX_NOTICE_BYTES)
		(void)qp_tunnel_control_send(t, &msg);
}

void
qp_tunnel_respond(struct qp_tunnel *t, enum qp_wire_type type, enum qp_wire_status status,
	struct qp_slice text)
{
	struct qp_wire_msg msg = {.type = type};

	msg.forward_response.status = status;
	msg.forward_response.message = text;
	if (qp_tunnel_control_send(t, &msg) < 0)
		qp_tunnel_end(t, QP_APP_INTERNAL, NULL);
}

/* What the QUIC endpoint calls. */

static int
opened(void *app, struct qp_quic_conn *c, void **conn_ctx)
{
	struct qp_tunnels *ts = app;
	struct qp_tunnel *t = calloc(1, sizeof(*t));

	if (t == NULL)
		return QP_E_NOMEM;
	if (qp_slots_add(&ts->ids, t, &t->id) < 0) {
		free(t);
		return QP_E_FULL;
	}
	t->kind = QP_STREAM_CONTROL;
	t->state = QP_TUNNEL_STEP1;
	t->all = ts;
	t->conn = c;
	t->told = ts->epoch;
	t->relay_ids.gen_mask = 0xfff; /* 20 + 12 bits: the wire's 32 */
	t->deadline.fn = on_deadline;
	TAILQ_INIT(&t->relays);
	TAILQ_INIT(&t->waiting);
	TAILQ_INIT(&t->flows);
	TAILQ_INIT(&t->waiting_flows);
	LIST_INSERT_HEAD(&ts->list, t, link);
	qp_timer_arm(ts->env.wheel, &t->deadline, *ts->env.now_ns + SETUP_NS);
	*conn_ctx = t;
	return 0;
}

/* Before its port goes: a control plane that started anew must be told whose end it is. */
static void
last_state(const struct qp_tunnel *t, struct qp_msg *msg)
{
	qp_tunnel_message_init(t, msg, QP_MSG_TUNNEL_CLOSED);
	msg->tunnel_closed.authenticated = t->authenticated;
	if (!t->authenticated)
		return;
	qp_replay_state(t, &msg->tunnel_closed.state);
	if (t->port == 0)
		msg->tunnel_closed.state.port = t->was_port;
}

static void
closed(void *conn_ctx, enum qp_quic_end how)
{
	struct qp_tunnel *t = conn_ctx;
	struct qp_msg msg;

	last_state(t, &msg);
	t->control = NULL;
	t->state = QP_TUNNEL_ENDED;
	qp_usage_why(&t->why, reason_of_quic(how));
	qp_tunnel_close_port(t);
	if (t->announced) {
		msg.tunnel_closed.reason = t->why;
		msg.tunnel_closed.usage = t->usage;
		qp_tunnel_message_send(t, &msg);
	}
	qp_client_detach(t);
	if (t->authenticated)
		t->all->env.counters->tunnels_active--;
	qp_timer_cancel(t->all->env.wheel, &t->deadline);
	qp_slots_remove(&t->all->ids, t->id);
	qp_slots_fini(&t->relay_ids);
	if (t->all->sampled_next == t)
		t->all->sampled_next = LIST_NEXT(t, link);
	LIST_REMOVE(t, link);
	qp_local_free(t);
	free(t->rx);
	free(t->asked);
	free(t->began);
	free(t->ordered_phrase);
	free(t);
}

static void
may_open(void *conn_ctx, uint64_t left)
{
	qp_relay_open_waiting(conn_ctx);
	qp_udp_open_waiting(conn_ctx);
}

static void
stream_opened(void *conn_ctx, struct qp_quic_stream *s)
{
	struct qp_tunnel *t = conn_ctx;

	if (qp_quic_stream_id(s) == 0) {
		t->control = s;
		qp_quic_stream_set_ctx(s, t);
		return;
	}
	/* A client of a remote forward opens no other stream. */
	if (t->local != NULL && t->state == QP_TUNNEL_OPEN)
		qp_local_stream_opened(t, s);
	else
		qp_quic_stream_abort(s, QP_STREAM_PROTOCOL);
}

static enum qp_stream_kind
kind_of(const void *stream_ctx)
{
	return *(const enum qp_stream_kind *)stream_ctx;
}

static void
stream_data(void *ctx, const uint8_t *data, size_t len, bool fin)
{
	switch (kind_of(ctx)) {
	case QP_STREAM_RELAY:
		qp_relay_stream_data(ctx, data, len, fin);
		break;
	case QP_STREAM_UDP:
		qp_udp_stream_data(ctx, data, len, fin);
		break;
	case QP_STREAM_LOCAL:
		qp_local_stream_data(ctx, data, len, fin);
		break;
	case QP_STREAM_CONTROL:
		qp_tunnel_control_data(ctx, data, len, fin);
		break;
	}
}

static void
control_acked(struct qp_tunnel *t)
{
	if (t->state == QP_TUNNEL_LAST && qp_quic_stream_queued(t->control) == 0)
		qp_tunnel_end(t, t->last_code, t->last_phrase);
}

static void
stream_acked(void *ctx, uint64_t bytes)
{
	switch (kind_of(ctx)) {
	case QP_STREAM_RELAY:
	case QP_STREAM_LOCAL:
		qp_relay_stream_acked(ctx, bytes);
		break;
	case QP_STREAM_UDP:
		qp_udp_stream_acked(ctx, bytes);
		break;
	case QP_STREAM_CONTROL:
		control_acked(ctx);
		break;
	}
}

static void
stream_reset(void *ctx, uint64_t code)
{
	switch (kind_of(ctx)) {
	case QP_STREAM_RELAY:
	case QP_STREAM_LOCAL:
		qp_relay_stream_reset(ctx);
		break;
	case QP_STREAM_UDP:
		qp_udp_stream_reset(ctx, code);
		break;
	case QP_STREAM_CONTROL:
		qp_tunnel_end(ctx, QP_APP_NONE, NULL);
		break;
	}
}

static void
stream_stopped(void *ctx, uint64_t code)
{
	switch (kind_of(ctx)) {
	case QP_STREAM_RELAY:
	case QP_STREAM_LOCAL:
		qp_relay_stream_stopped(ctx);
		break;
	case QP_STREAM_UDP:
		qp_udp_stream_stopped(ctx, code);
		break;
	case QP_STREAM_CONTROL:
		qp_tunnel_end(ctx, QP_APP_NONE, NULL);
		break;
	}
}

static void
control_closed(struct qp_tunnel *t)
{
	t->control = NULL;
	if (t->state == QP_TUNNEL_LAST)
		qp_tunnel_end(t, t->last_code, t->last_phrase);
	else
		qp_tunnel_end(t, QP_APP_NONE, NULL);
}

static void
stream_closed(void *ctx)
{
	switch (kind_of(ctx)) {
	case QP_STREAM_RELAY:
	case QP_STREAM_LOCAL:
		qp_relay_stream_closed(ctx);
		break;
	case QP_STREAM_UDP:
		qp_udp_stream_closed(ctx);
		break;
	case QP_STREAM_CONTROL:
		control_closed(ctx);
		break;
	}
}

const struct qp_quic_ops qp_tunnel_quic_ops = {
	.opened = opened,
	.closed = closed,
	.may_open = may_open,
	.stream_opened = stream_opened,
	.stream_data = stream_data,
	.stream_acked = stream_acked,
	.stream_reset = stream_reset,
	.stream_stopped = stream_stopped,
	.stream_closed = stream_closed,
};
