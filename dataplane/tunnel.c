/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A tunnel's stream 0: authentication bytes go to the control plane and back,
 * then control messages (the protocol page, "Stream 0"). Keys are never here.
 * Runs on the lcore that owns the connection.
 */
#include "dataplane/tunnel.h"

#include <stdlib.h>
#include <string.h>

#include "common/auth.h"
#include "dataplane/tunnel_internal.h"

#define SETUP_NS (10ull * 1000 * 1000 * 1000) /* from handshake to an open forward */
#define LAST_WORDS_NS (300ull * 1000 * 1000)  /* for the client to acknowledge them */
#define PATIENCE_NS (1000ull * 1000 * 1000)   /* with scarce mbufs, before connections are reset */
#define RELIEF_NS (100ull * 1000 * 1000)      /* between such resets */
#define FIRST_RX_BYTES 256u
/* Notices on stream 0 that are only information stop when a client reads none. */
#define MAX_NOTICE_BYTES (64u * 1024)

static struct qp_tunnel *
tunnel_of_timer(struct qp_timer *timer)
{
	return (struct qp_tunnel *)((char *)timer - offsetof(struct qp_tunnel, deadline));
}

static void
message_init(const struct qp_tunnel *t, struct qp_msg *msg, enum qp_msg_type type)
{
	memset(msg, 0, sizeof(*msg));
	msg->type = type;
	msg->version = QP_IPC_VERSION;
	msg->id = t->id;
}

static bool
message_send(struct qp_tunnel *t, const struct qp_msg *msg)
{
	return t->all->env.send(t->all->env.send_ctx, msg);
}

/* Closes the port and everything that runs over it; the connection itself goes on. */
static void
close_port(struct qp_tunnel *t)
{
	struct qp_msg msg;

	if (t->listener != NULL)
		qp_tcp_unlisten(t->listener);
	t->listener = NULL;
	qp_relay_abort_all(t);
	if (t->port == 0)
		return;
	message_init(t, &msg, QP_MSG_FORWARD_CLOSED);
	msg.forward_closed.port = t->port;
	msg.forward_closed.protocol = t->protocol;
	message_send(t, &msg);
	t->port = 0;
}

static void
end(struct qp_tunnel *t, enum qp_app_error code, const char *phrase)
{
	if (t->state == QP_TUNNEL_ENDED)
		return;
	t->state = QP_TUNNEL_ENDED;
	qp_timer_cancel(t->all->env.wheel, &t->deadline);
	close_port(t);
	qp_quic_conn_close(t->conn, code, phrase != NULL ? phrase : qp_app_error_phrase(code));
}

/* Lets the last message on stream 0 arrive before the connection closes. */
static void
end_after_last_words(struct qp_tunnel *t, enum qp_app_error code, const char *phrase)
{
	if (t->state == QP_TUNNEL_ENDED || t->state == QP_TUNNEL_LAST)
		return;
	if (t->control == NULL) {
		end(t, code, phrase);
		return;
	}
	t->state = QP_TUNNEL_LAST;
	t->last_code = code;
	t->last_phrase = phrase;
	close_port(t);
	qp_quic_stream_fin(t->control);
	qp_timer_arm(t->all->env.wheel, &t->deadline, *t->all->env.now_ns + LAST_WORDS_NS);
}

static void
on_deadline(struct qp_timer *timer, uint64_t now_ns)
{
	struct qp_tunnel *t = tunnel_of_timer(timer);

	if (t->state == QP_TUNNEL_LAST)
		end(t, t->last_code, t->last_phrase);
	else
		end(t, QP_APP_TIMEOUT, NULL);
}

static int
control_send(struct qp_tunnel *t, const struct qp_wire_msg *msg)
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
		(void)control_send(t, &msg);
}

static void
respond(struct qp_tunnel *t, enum qp_wire_type type, enum qp_wire_status status,
	struct qp_slice text)
{
	struct qp_wire_msg msg = {.type = type};

	msg.forward_response.status = status;
	msg.forward_response.message = text;
	if (control_send(t, &msg) < 0)
		end(t, QP_APP_INTERNAL, NULL);
}

/* Asks the control plane whether `len` bytes of step 1 are a client of ours. */
static void
begin_auth(struct qp_tunnel *t, uint32_t len)
{
	const struct qp_flow *flow = qp_quic_conn_flow(t->conn);
	struct qp_msg msg;

	message_init(t, &msg, QP_MSG_AUTH_BEGIN);
	memcpy(msg.auth_begin.peer_addr, flow->remote.b, sizeof(msg.auth_begin.peer_addr));
	msg.auth_begin.peer_port_be = flow->rport_be;
	msg.auth_begin.len = (uint16_t)len;
	memcpy(msg.auth_begin.bytes, t->rx, len);
	t->state = QP_TUNNEL_REPLY;
	t->announced = message_send(t, &msg);
	if (!t->announced)
		end(t, QP_APP_INTERNAL, NULL);
}

/* Each step returns the bytes it took from t->rx; 0: it needs more. */
static uint32_t
take_step1(struct qp_tunnel *t)
{
	int len = qp_auth_step1_length(t->rx, t->rx_len);

	if (len == QP_E_AGAIN)
		return 0;
	if (len < 0) {
		end(t, QP_APP_AUTH, NULL);
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
	message_init(t, &msg, QP_MSG_AUTH_FINISH);
	msg.auth_bytes.len = QP_WIRE_STEP3_BYTES;
	memcpy(msg.auth_bytes.bytes, t->rx, QP_WIRE_STEP3_BYTES);
	t->state = QP_TUNNEL_VERDICT;
	message_send(t, &msg);
	return QP_WIRE_STEP3_BYTES;
}

static void
request_remote_forward(struct qp_tunnel *t, const struct qp_wire_msg *in)
{
	struct qp_slice destination = in->remote_forward_request.destination;
	struct qp_msg msg;
	size_t len = destination.len;

	message_init(t, &msg, QP_MSG_FORWARD_REQUEST);
	if (len > sizeof(msg.forward.destination))
		len = sizeof(msg.forward.destination);
	msg.forward.port = in->remote_forward_request.port;
	msg.forward.protocol = in->remote_forward_request.protocol;
	msg.forward.destination_len = (uint16_t)len;
	if (len > 0)
		memcpy(msg.forward.destination, destination.ptr, len);
	t->state = QP_TUNNEL_GRANT;
	message_send(t, &msg);
}

static void
first_message(struct qp_tunnel *t, const struct qp_wire_msg *msg)
{
	switch (msg->type) {
	case QP_WIRE_REMOTE_FORWARD_REQUEST:
		request_remote_forward(t, msg);
		break;
	case QP_WIRE_LOCAL_FORWARD_REQUEST:
		respond(t, QP_WIRE_LOCAL_FORWARD_RESPONSE, QP_WIRE_PERMISSION_DENIED,
			qp_slice_of("this gateway allows no local forwards"));
		end_after_last_words(t, QP_APP_REFUSED, NULL);
		break;
	default:
		respond(t, QP_WIRE_REMOTE_FORWARD_RESPONSE, QP_WIRE_INTERNAL_ERROR,
			qp_slice_of("the first message must be a forward request"));
		end_after_last_words(t, QP_APP_PROTOCOL, "unexpected message");
		break;
	}
}

static void
later_message(struct qp_tunnel *t, const struct qp_wire_msg *msg)
{
	struct qp_relay *r;

	switch (msg->type) {
	case QP_WIRE_SESSION_CLOSE:
		end(t, QP_APP_NONE, NULL);
		break;
	case QP_WIRE_CONNECTION_CLOSE:
		/* The stream may have been reset before: then the id is nobody's. */
		r = qp_slots_get(&t->relay_ids, msg->connection_close.id);
		if (r != NULL && msg->connection_close.reason != QP_WIRE_NORMAL)
			qp_relay_abort(r, QP_STREAM_RESET);
		break;
	default:
		end(t, QP_APP_PROTOCOL, "unexpected message");
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
			respond(t, QP_WIRE_REMOTE_FORWARD_RESPONSE, QP_WIRE_INTERNAL_ERROR,
				qp_slice_of(reason));
			end_after_last_words(t, QP_APP_PROTOCOL, reason);
		} else {
			end(t, QP_APP_PROTOCOL, reason);
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

static void
process(struct qp_tunnel *t)
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

static void
give_credit(struct qp_tunnel *t, uint64_t len)
{
	qp_quic_conn_consumed(t->conn, len);
	if (t->control != NULL)
		qp_quic_stream_consumed(t->control, len);
}

static void
control_data(struct qp_tunnel *t, const uint8_t *data, size_t len, bool fin)
{
	/* A stranger has the first window for all that it says. */
	if (t->authenticated)
		give_credit(t, len);
	else
		t->early_bytes += (uint32_t)len;
	if (t->state >= QP_TUNNEL_LAST)
		return;
	if (rx_reserve(t, len) < 0) {
		end(t, QP_APP_PROTOCOL, "too much data on the control stream");
		return;
	}
	if (len > 0)
		memcpy(t->rx + t->rx_len, data, len);
	t->rx_len += (uint32_t)len;
	process(t);
	if (fin)
		end(t, QP_APP_NONE, NULL);
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
	t->relay_ids.gen_mask = 0xfff; /* 20 + 12 bits: the wire's 32 */
	t->deadline.fn = on_deadline;
	TAILQ_INIT(&t->relays);
	TAILQ_INIT(&t->waiting);
	LIST_INSERT_HEAD(&ts->list, t, link);
	qp_timer_arm(ts->env.wheel, &t->deadline, *ts->env.now_ns + SETUP_NS);
	*conn_ctx = t;
	return 0;
}

static void
closed(void *conn_ctx)
{
	struct qp_tunnel *t = conn_ctx;
	struct qp_msg msg;

	t->control = NULL;
	t->state = QP_TUNNEL_ENDED;
	close_port(t);
	if (t->announced) {
		message_init(t, &msg, QP_MSG_TUNNEL_CLOSED);
		message_send(t, &msg);
	}
	if (t->authenticated)
		t->all->env.counters->tunnels_active--;
	qp_timer_cancel(t->all->env.wheel, &t->deadline);
	qp_slots_remove(&t->all->ids, t->id);
	qp_slots_fini(&t->relay_ids);
	LIST_REMOVE(t, link);
	free(t->rx);
	free(t);
}

static void
may_open(void *conn_ctx, uint64_t left)
{
	qp_relay_open_waiting(conn_ctx);
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
	qp_quic_stream_abort(s, QP_STREAM_PROTOCOL);
}

static void
stream_data(void *ctx, const uint8_t *data, size_t len, bool fin)
{
	if (*(enum qp_stream_kind *)ctx == QP_STREAM_RELAY)
		qp_relay_stream_data(ctx, data, len, fin);
	else
		control_data(ctx, data, len, fin);
}

static void
stream_acked(void *ctx, uint64_t bytes)
{
	struct qp_tunnel *t = ctx;

	if (*(enum qp_stream_kind *)ctx == QP_STREAM_RELAY) {
		qp_relay_stream_acked(ctx, bytes);
		return;
	}
	if (t->state == QP_TUNNEL_LAST && qp_quic_stream_queued(t->control) == 0)
		end(t, t->last_code, t->last_phrase);
}

static void
stream_reset(void *ctx, uint64_t code)
{
	if (*(enum qp_stream_kind *)ctx == QP_STREAM_RELAY)
		qp_relay_stream_reset(ctx);
	else
		end(ctx, QP_APP_NONE, NULL);
}

static void
stream_stopped(void *ctx, uint64_t code)
{
	if (*(enum qp_stream_kind *)ctx == QP_STREAM_RELAY)
		qp_relay_stream_stopped(ctx);
	else
		end(ctx, QP_APP_NONE, NULL);
}

static void
stream_closed(void *ctx)
{
	struct qp_tunnel *t = ctx;

	if (*(enum qp_stream_kind *)ctx == QP_STREAM_RELAY) {
		qp_relay_stream_closed(ctx);
		return;
	}
	t->control = NULL;
	if (t->state == QP_TUNNEL_LAST)
		end(t, t->last_code, t->last_phrase);
	else
		end(t, QP_APP_NONE, NULL);
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

/* What the control plane answers. */

static void
auth_reply(struct qp_tunnel *t, const struct qp_msg *msg)
{
	if (t->state != QP_TUNNEL_REPLY || t->control == NULL)
		return;
	if (qp_quic_stream_write_bytes(t->control, msg->auth_bytes.bytes, msg->auth_bytes.len) < 0) {
		end(t, QP_APP_INTERNAL, NULL);
		return;
	}
	t->state = QP_TUNNEL_STEP3;
	process(t);
}

static void
verdict(struct qp_tunnel *t, const struct qp_msg *msg)
{
	if (t->state != QP_TUNNEL_REPLY && t->state != QP_TUNNEL_VERDICT)
		return;
	if (!msg->verdict.accepted || t->state != QP_TUNNEL_VERDICT) {
		end(t, QP_APP_AUTH, NULL);
		return;
	}
	t->state = QP_TUNNEL_REQUEST;
	t->authenticated = true;
	qp_quic_conn_trust(t->conn);
	give_credit(t, t->early_bytes);
	t->all->env.counters->tunnels_total++;
	t->all->env.counters->tunnels_active++;
	process(t);
}

static void
grant(struct qp_tunnel *t, const struct qp_msg *msg)
{
	const struct qp_msg_forward_answer *a = &msg->forward_answer;
	struct qp_ipaddr addr;
	int rc;

	t->port = a->port;
	t->protocol = a->protocol;
	if (t->state != QP_TUNNEL_GRANT) {
		close_port(t);
		return;
	}
	memcpy(addr.b, a->addr, sizeof(addr.b));
	rc = QP_E_UNSUPPORTED;
	if (a->protocol == QP_WIRE_TCP)
		rc = qp_tcp_listen(t->all->env.tcp, (addr.q[0] | addr.q[1]) != 0 ? &addr : NULL,
			htons(a->port), &qp_relay_tcp_ops, t, &t->listener);
	if (rc < 0) {
		respond(t, QP_WIRE_REMOTE_FORWARD_RESPONSE,
			rc == QP_E_INUSE ? QP_WIRE_PORT_IN_USE : QP_WIRE_INTERNAL_ERROR,
			qp_slice_of(qp_strerror(rc)));
		end_after_last_words(t, QP_APP_REFUSED, NULL);
		return;
	}
	qp_timer_cancel(t->all->env.wheel, &t->deadline);
	t->state = QP_TUNNEL_OPEN;
	respond(t, QP_WIRE_REMOTE_FORWARD_RESPONSE, QP_WIRE_SUCCESS,
		(struct qp_slice) {a->message, a->message_len});
	process(t);
}

static void
deny(struct qp_tunnel *t, const struct qp_msg *msg)
{
	const struct qp_msg_forward_answer *a = &msg->forward_answer;

	if (t->state != QP_TUNNEL_GRANT)
		return;
	respond(t, QP_WIRE_REMOTE_FORWARD_RESPONSE, a->status,
		(struct qp_slice) {a->message, a->message_len});
	end_after_last_words(t, QP_APP_REFUSED, NULL);
}

/* A port was granted to a tunnel that is gone: give it back. */
static void
return_port(struct qp_tunnels *ts, const struct qp_msg *msg)
{
	struct qp_msg back = {.type = QP_MSG_FORWARD_CLOSED, .version = QP_IPC_VERSION,
		.id = msg->id};

	back.forward_closed.port = msg->forward_answer.port;
	back.forward_closed.protocol = msg->forward_answer.protocol;
	ts->env.send(ts->env.send_ctx, &back);
}

void
qp_tunnels_message(struct qp_tunnels *ts, const struct qp_msg *msg)
{
	struct qp_tunnel *t = qp_slots_get(&ts->ids, msg->id);

	if (t == NULL) {
		if (msg->type == QP_MSG_FORWARD_GRANT)
			return_port(ts, msg);
		return;
	}
	switch (msg->type) {
	case QP_MSG_AUTH_REPLY:
		auth_reply(t, msg);
		break;
	case QP_MSG_VERDICT:
		verdict(t, msg);
		break;
	case QP_MSG_FORWARD_GRANT:
		grant(t, msg);
		break;
	case QP_MSG_FORWARD_DENY:
		deny(t, msg);
		break;
	default:
		break;
	}
}

/*
 * Mbufs have been scarce for so long that what holds them does not move: some
 * client or its outside reads nothing. Who holds most loses it, so that the
 * others are served.
 */
static void
on_relief(struct qp_timer *timer, uint64_t now_ns)
{
	struct qp_tunnels *ts =
		(struct qp_tunnels *)((char *)timer - offsetof(struct qp_tunnels, relief));
	struct qp_tunnel *t, *most = NULL;

	LIST_FOREACH(t, &ts->list, link)
		if (t->held_bytes > 0 && (most == NULL || t->held_bytes > most->held_bytes))
			most = t;
	if (most != NULL)
		qp_relay_abort_largest(most);
	qp_timer_arm(ts->env.wheel, timer, now_ns + RELIEF_NS);
}

struct qp_tunnels *
qp_tunnels_new(const struct qp_tunnels_env *env)
{
	struct qp_tunnels *ts = calloc(1, sizeof(*ts));

	if (ts == NULL)
		return NULL;
	ts->env = *env;
	LIST_INIT(&ts->list);
	TAILQ_INIT(&ts->dirty);
	ts->relief.fn = on_relief;
	return ts;
}

void
qp_tunnels_free(struct qp_tunnels *ts)
{
	if (ts == NULL)
		return;
	qp_timer_cancel(ts->env.wheel, &ts->relief);
	qp_slots_fini(&ts->ids);
	free(ts);
}

/* Memory is there again: what clients are owed. */
static void
pay_credit(struct qp_tunnels *ts)
{
	struct qp_tunnel *t;

	LIST_FOREACH(t, &ts->list, link) {
		if (t->owed_credit == 0)
			continue;
		qp_quic_conn_consumed(t->conn, t->owed_credit);
		t->owed_credit = 0;
	}
	ts->owed = false;
}

static void
watch_memory(struct qp_tunnels *ts)
{
	if (*ts->env.mem_level != QP_MEM_SCARCE)
		qp_timer_cancel(ts->env.wheel, &ts->relief);
	else if (!qp_timer_armed(&ts->relief))
		qp_timer_arm(ts->env.wheel, &ts->relief, *ts->env.now_ns + PATIENCE_NS);
}

void
qp_tunnels_flush(struct qp_tunnels *ts)
{
	watch_memory(ts);
	qp_relay_flush(ts);
	if (ts->owed && *ts->env.mem_level == QP_MEM_PLENTY)
		pay_credit(ts);
}

void
qp_tunnels_shutdown(struct qp_tunnels *ts)
{
	const struct qp_wire_msg bye = {.type = QP_WIRE_SESSION_CLOSE};
	struct qp_tunnel *t;

	LIST_FOREACH(t, &ts->list, link) {
		/* Before that, the client takes bytes for authentication's. */
		if (t->authenticated && t->state < QP_TUNNEL_LAST)
			(void)control_send(t, &bye);
		end_after_last_words(t, QP_APP_SHUTDOWN, NULL);
	}
}

uint32_t
qp_tunnels_count(const struct qp_tunnels *ts)
{
	return ts->ids.used;
}
