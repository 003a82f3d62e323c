/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A client's tunnel from handshake to close. The worker's lcore. When it opens is
 * clients.c's, what comes through it service.c's.
 */
#include "bench/client.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench/quic_connect.h"

/* Life. */

void
qpb_client_begin(struct qpb_client *c, uint64_t at_ns)
{
	struct qpb_worker *w = c->w;
	struct qpb_path *path = qpb_path_of(w, &w->b->clients);
	struct qp_flow flow = {
		.local = c->addr,
		.remote = w->b->cfg.target,
		.lport_be = htons(c->next_port),
		.rport_be = w->b->cfg.target_port_be,
	};

	memcpy(flow.l2.peer_mac, path->port->hop_mac, 6);
	c->next_port = c->next_port == UINT16_MAX ? QPB_CLIENT_FIRST_PORT
						  : (uint16_t)(c->next_port + 1);
	c->at_ns = at_ns;
	c->control = (struct qpb_control) {.kind = QPB_STREAM_CONTROL};
	if (qpb_quic_connect(w->quic, &flow, w->b->cfg.stream_window, c, &c->conn) < 0) {
		QPB_COUNT(w, tunnels_failed, 1);
		TAILQ_INSERT_TAIL(&w->clients_idle, c, link);
		return;
	}
	c->state = QPB_CLIENT_HANDSHAKE;
	w->clients_busy++;
}

/* The first reason is told; the others are likely the same. */
static void
say_why(struct qpb_client *c, struct qp_slice text)
{
	struct qpb *b = c->w->b;

	if (atomic_exchange(&b->first_taken, true))
		return;
	(void)qp_slice_printable(text, b->first_why, sizeof(b->first_why));
	atomic_store_explicit(&b->first_said, true, memory_order_release);
}

void
qpb_client_close(struct qpb_client *c)
{
	if (c->state == QPB_CLIENT_IDLE || c->state == QPB_CLIENT_CLOSING)
		return;
	if (c->state != QPB_CLIENT_OPEN)
		QPB_COUNT(c->w, tunnels_failed, 1);
	else
		c->w->clients_busy++; /* until closed() */
	c->state = QPB_CLIENT_CLOSING;
	atomic_store_explicit(&c->w->b->open[c->id], 0, memory_order_release);
	qp_quic_conn_close(c->conn, QP_APP_NONE, "");
}

/* The gateway ended it, or does not keep to the protocol. */
static void
lose_tunnel(struct qpb_client *c)
{
	if (c->state == QPB_CLIENT_OPEN)
		QPB_COUNT(c->w, tunnels_lost, 1);
	qpb_client_close(c);
}

static void
on_closed(void *conn_ctx, enum qp_quic_end how)
{
	struct qpb_client *c = conn_ctx;
	struct qpb_worker *w = c->w;

	if (c->state == QPB_CLIENT_OPEN)
		QPB_COUNT(w, tunnels_lost, 1);
	else
		w->clients_busy--;
	if (c->state != QPB_CLIENT_OPEN && c->state != QPB_CLIENT_CLOSING) {
		say_why(c, qp_slice_of(c->state == QPB_CLIENT_HANDSHAKE ? "no QUIC handshake"
				       : c->state == QPB_CLIENT_AUTH
					       ? "the key was refused"
					       : "it was closed before the forward was granted"));
		QPB_COUNT(w, tunnels_failed, 1);
	}
	atomic_store_explicit(&w->b->open[c->id], 0, memory_order_release);
	qpb_services_drop(c);
	qp_auth_client_free(c->auth);
	c->auth = NULL;
	c->control.s = NULL;
	c->conn = NULL;
	c->state = QPB_CLIENT_IDLE;
	TAILQ_INSERT_TAIL(&w->clients_idle, c, link);
}

/* Authentication. */

static int
on_opened(void *app, struct qp_quic_conn *conn, void **conn_ctx)
{
	struct qpb_client *c = *conn_ctx;
	uint8_t step1[QP_WIRE_MAX_STEP1_BYTES];
	size_t len;
	int rc = qp_auth_client_begin(
		&c->w->b->cfg.auth, (uint64_t)time(NULL), &c->auth, step1, &len);

	if (rc == 0)
		rc = qp_quic_stream_open(conn, &c->control, &c->control.s);
	if (rc == 0)
		rc = qp_quic_stream_write_bytes(c->control.s, step1, len);
	if (rc < 0)
		return rc;
	c->state = QPB_CLIENT_AUTH;
	return 0;
}

static int
request_forward(struct qpb_client *c)
{
	const struct qpb_config *cfg = &c->w->b->cfg;
	const struct qp_wire_msg msg = {
		.type = QP_WIRE_REMOTE_FORWARD_REQUEST,
		.remote_forward_request =
			{
				/* Who comes again at once must not find his own port still open. */
				.port = qpb_handshakes(c->w) ? 0
							     : (uint16_t)(cfg->first_port + c->id),
				.protocol = cfg->scenario == QPB_UDP ? QP_WIRE_UDP : QP_WIRE_TCP,
				.destination = qp_slice_of("quicport-bench"),
			},
	};
	uint8_t buf[64];
	int n = qp_wire_encode(&msg, buf, sizeof(buf));

	return n < 0 ? n : qp_quic_stream_write_bytes(c->control.s, buf, (size_t)n);
}

static bool
take_step2(struct qpb_client *c)
{
	struct qpb_control *k = &c->control;
	uint32_t need = (uint32_t)qp_auth_client_reply_bytes(c->auth);
	uint8_t step3[QP_WIRE_STEP3_BYTES];

	if (k->rx_len < need)
		return false;
	if (qp_auth_client_reply(c->auth, k->rx, need, step3, NULL) < 0 ||
		qp_quic_stream_write_bytes(k->s, step3, sizeof(step3)) < 0 ||
		request_forward(c) < 0) {
		say_why(c, qp_slice_of("the gateway has another key"));
		qpb_client_close(c);
		return false;
	}
	qp_auth_client_free(c->auth);
	c->auth = NULL;
	c->state = QPB_CLIENT_ASKED;
	k->rx_len -= need;
	memmove(k->rx, k->rx + need, k->rx_len);
	return true;
}

static void
opened(struct qpb_client *c)
{
	struct qpb_worker *w = c->w;

	c->state = QPB_CLIENT_OPEN;
	w->clients_busy--;
	w->b->opened_port[c->id] = (uint16_t)(w->b->cfg.first_port + c->id);
	atomic_store_explicit(&w->b->open[c->id], 1, memory_order_release);
	QPB_COUNT(w, tunnels_opened, 1);
	if (!qpb_handshakes(w))
		return;
	qpb_latency(w, c->at_ns);
	qpb_client_close(c);
}

/* One message off the front of rx; false: none is whole yet. */
static bool
take_message(struct qpb_client *c)
{
	struct qpb_control *k = &c->control;
	struct qp_wire_msg msg;
	const char *reason;
	size_t used;
	int rc = qp_wire_decode(k->rx, k->rx_len, &msg, &used, &reason);

	if (rc == QP_E_AGAIN && k->rx_len == sizeof(k->rx)) {
		/* Only texts are that long, and none of them matters here. */
		k->skip = (uint32_t)qp_wire_message_bytes(k->rx, k->rx_len) - k->rx_len;
		k->rx_len = 0;
	}
	if (rc == QP_E_AGAIN)
		return false;
	if (rc < 0) {
		lose_tunnel(c);
		return false;
	}
	k->rx_len -= (uint32_t)used;
	if (msg.type == QP_WIRE_REMOTE_FORWARD_RESPONSE && c->state == QPB_CLIENT_ASKED) {
		if (msg.forward_response.status == QP_WIRE_SUCCESS) {
			opened(c);
		} else {
			say_why(c, msg.forward_response.message);
			qpb_client_close(c);
		}
	} else if (msg.type == QP_WIRE_SESSION_CLOSE) {
		lose_tunnel(c);
	}
	memmove(k->rx, k->rx + used, k->rx_len);
	return true;
}

static void
control_data(struct qpb_client *c, const uint8_t *data, size_t len)
{
	struct qpb_control *k = &c->control;

	if (k->s != NULL)
		qp_quic_stream_consumed(k->s, len);
	qp_quic_conn_consumed(c->conn, len);
	while (len > 0 && c->state != QPB_CLIENT_CLOSING) {
		size_t n = len < k->skip ? len : k->skip;

		if (n == 0) {
			n = sizeof(k->rx) - k->rx_len;
			n = len < n ? len : n;
			memcpy(k->rx + k->rx_len, data, n);
			k->rx_len += (uint32_t)n;
		} else {
			k->skip -= (uint32_t)n;
		}
		data += n;
		len -= n;
		if (c->state == QPB_CLIENT_AUTH && !take_step2(c))
			continue;
		while (c->state != QPB_CLIENT_AUTH && take_message(c))
			;
	}
}

/* Streams. */

static struct qpb_client *
control_client(void *stream_ctx)
{
	return (struct qpb_client *)((char *)stream_ctx - offsetof(struct qpb_client, control));
}

static bool
is_control(const void *stream_ctx)
{
	return *(const enum qpb_stream_kind *)stream_ctx == QPB_STREAM_CONTROL;
}

static void
on_stream_opened(void *conn_ctx, struct qp_quic_stream *s)
{
	struct qpb_service *v = qpb_service_new(conn_ctx, s);

	if (v != NULL)
		qp_quic_stream_set_ctx(s, v);
	else
		qp_quic_stream_abort(s, QP_STREAM_REFUSED);
}

static void
on_stream_data(void *ctx, const uint8_t *data, size_t len, bool fin)
{
	if (!is_control(ctx)) {
		qpb_service_data(ctx, data, len, fin);
		return;
	}
	control_data(control_client(ctx), data, len);
	if (fin)
		lose_tunnel(control_client(ctx));
}

static void
on_stream_acked(void *ctx, uint64_t bytes)
{
	if (!is_control(ctx))
		qpb_service_acked(ctx);
}

static void
on_stream_broken(void *ctx, uint64_t code)
{
	if (is_control(ctx))
		lose_tunnel(control_client(ctx));
	else
		qpb_service_broken(ctx);
}

static void
on_stream_closed(void *ctx)
{
	if (is_control(ctx))
		control_client(ctx)->control.s = NULL;
	else
		qpb_service_closed(ctx);
}

static void
on_may_open(void *conn_ctx, uint64_t left)
{
	/* One stream of ours is enough. */
}

const struct qp_quic_ops qpb_client_ops = {
	.opened = on_opened,
	.closed = on_closed,
	.may_open = on_may_open,
	.stream_opened = on_stream_opened,
	.stream_data = on_stream_data,
	.stream_acked = on_stream_acked,
	.stream_reset = on_stream_broken,
	.stream_stopped = on_stream_broken,
	.stream_closed = on_stream_closed,
};
