/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A session: what happens on a connection, in which order. The loop's thread.
 * Leaves bytes to session_data.c, stream 0's contents to control.c, packets to
 * quic.c.
 */
#define QP_LOG_MODULE QP_LOG_M_client
#include "client/session_impl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/log.h"

#define NS_PER_MS UINT64_C(1000000)
/* From the end of the handshake to the answer to the request. */
#define ANSWER_TIMEOUT_MS 15000u
/* How long SessionClose may wait for its acknowledgement. */
#define GOODBYE_TIMEOUT_MS 300u
/* What stream 0 may hold unacknowledged: 8 bytes for each failed connect, so a peer that reads none of it. */
#define MAX_CONTROL_BYTES (1u << 20)

enum qpc_session_stage
qpc_session_stage(const struct qpc_session *s)
{
	return s->stage;
}

const struct qpc_session_end *
qpc_session_end(const struct qpc_session *s)
{
	return &s->end;
}

uint32_t
qpc_session_rtt_us(const struct qpc_session *s)
{
	return s->quic != NULL ? qpc_quic_rtt_us(s->quic) : 0;
}

void
qpc_session_network_changed(struct qpc_session *s)
{
	if (s->stage < QPC_SESSION_CLOSING)
		qpc_quic_network_changed(s->quic);
}

uint64_t
qpc_session_migrations(const struct qpc_session *s)
{
	return s->quic != NULL ? qpc_quic_migrations(s->quic) : 0;
}

static void
set_deadline(struct qpc_session *s, uint32_t ms)
{
	qpc_timer_arm(&s->loop->timers, &s->timer, qp_quic_now() + ms * NS_PER_MS);
}

void
qpc_session_fail(struct qpc_session *s, int err, enum qp_app_error code, const char *text)
{
	qpc_quic_fail(s->quic, err, code, text);
}

/* Stream 0. */

static int
control_send(void *ctx, const uint8_t *data, size_t len)
{
	struct qpc_session *s = ctx;
	int err;

	if (s->stream.out.len + len > MAX_CONTROL_BYTES)
		return QP_E_FULL;
	err = qpc_bytes_append(&s->stream.out, &s->pool, data, len);
	if (err == QP_OK)
		qpc_stream_ready(s->quic, &s->stream);
	return err;
}

static void
control_opened(void *ctx, struct qp_slice message)
{
	struct qpc_session *s = ctx;

	if (s->stage >= QPC_SESSION_CLOSING)
		return; /* we are leaving */
	s->stage = QPC_SESSION_OPEN;
	qpc_timer_cancel(&s->loop->timers, &s->timer);
	s->ops->opened(s->ctx, message);
}

static void
control_refused(void *ctx, enum qp_wire_status status, struct qp_slice message)
{
	struct qpc_session *s = ctx;
	char text[200];

	qp_slice_printable(message, text, sizeof(text));
	s->end.refused = true;
	s->end.status = status;
	qpc_session_fail(s, status == QP_WIRE_PORT_IN_USE ? QP_E_INUSE :
			status == QP_WIRE_PERMISSION_DENIED ? QP_E_PERM : QP_E_IO,
		QP_APP_NONE, text[0] != '\0' ? text : qp_wire_status_name(status));
}

enum qp_wire_reason
qpc_session_close_reason(const struct qpc_session *s)
{
	return s->close_reason;
}

static void
control_connection(void *ctx, const struct qp_wire_msg *msg)
{
	struct qpc_session *s = ctx;

	if (msg->type == QP_WIRE_CONNECTION_CLOSE)
		s->close_reason = msg->connection_close.reason;
	if (qp_log_enabled(QP_LOG_MODULE, QP_LOG_TRACE)) {
		char line[256];

		qp_wire_describe(msg, line, sizeof(line));
		qp_log(QP_LOG_TRACE, "message from the server", QP_LOG_STR("what", line));
	}
}

static void
control_session_closed(void *ctx)
{
	struct qpc_session *s = ctx;

	if (qpc_quic_is_over(s->quic))
		return;
	s->end.by_peer = true;
	qpc_session_fail(s, QP_E_CLOSED, QP_APP_NONE, "the server closed the session");
}

static const struct qpc_control_ops control_ops = {
	.send = control_send,
	.opened = control_opened,
	.refused = control_refused,
	.connection = control_connection,
	.session_closed = control_session_closed,
};

void
qpc_session_control_broken(struct qpc_session *s, int err)
{
	char text[200];

	if (err == QP_E_PROTO) {
		snprintf(text, sizeof(text), "the server broke the protocol: %s",
			s->control.broken != NULL ? s->control.broken : "?");
		qpc_session_fail(s, err, QP_APP_PROTOCOL, text);
	} else if (err == QP_E_AUTH) {
		/* The peer learns only that; the reason is for our side. */
		snprintf(s->end.text, sizeof(s->end.text), "%s",
			s->control.broken != NULL ? s->control.broken : "authentication failed");
		qpc_session_fail(s, err, QP_APP_AUTH, qp_app_error_phrase(QP_APP_AUTH));
	} else {
		qpc_session_fail(s, err, QP_APP_INTERNAL, qp_strerror(err));
	}
}

static struct qpc_session *
session_of_stream(struct qpc_stream *stream)
{
	return QPC_CONTAINER(stream, struct qpc_session, stream);
}

static int
stream0_data(struct qpc_stream *stream, const uint8_t *data, size_t len, bool fin)
{
	struct qpc_session *s = session_of_stream(stream);
	int err = qpc_control_receive(&s->control, data, len);

	qpc_stream_consumed(s->quic, stream, len);
	qpc_quic_consumed(s->quic, len);
	if (err != QP_OK) {
		qpc_session_control_broken(s, err);
		return QP_OK;
	}
	if (s->stage == QPC_SESSION_AUTHENTICATING &&
		s->control.state == QPC_CONTROL_REQUESTED) {
		s->stage = QPC_SESSION_REQUESTING;
		if (s->ops->connected != NULL)
			s->ops->connected(s->ctx, &s->cfg->server);
	}
	if (fin && s->stage != QPC_SESSION_CLOSING)
		control_session_closed(s);
	return QP_OK;
}

static void
end_closing(struct qpc_session *s)
{
	qpc_session_fail(s, QP_OK, QP_APP_NONE, "closed by the client");
}

static void
stream0_acked(struct qpc_stream *stream)
{
	struct qpc_session *s = session_of_stream(stream);

	if (s->stage == QPC_SESSION_CLOSING && stream->out.len == 0)
		end_closing(s);
}

static void
stream0_reset(struct qpc_stream *stream, uint64_t code)
{
	control_session_closed(session_of_stream(stream));
}

static void
stream0_stopped(struct qpc_stream *stream)
{
	control_session_closed(session_of_stream(stream));
}

static void
stream0_closed(struct qpc_stream *stream, bool whole)
{
	struct qpc_session *s = session_of_stream(stream);

	if (s->stage == QPC_SESSION_CLOSING)
		end_closing(s);
	else
		control_session_closed(s);
}

static const struct qpc_stream_ops stream0_ops = {
	.data = stream0_data,
	.acked = stream0_acked,
	.reset = stream0_reset,
	.stopped = stream0_stopped,
	.closed = stream0_closed,
};

/* The connection. */

static int
handshake_done(void *ctx)
{
	struct qpc_session *s = ctx;
	struct qpc_cert cert;
	int err = qpc_tls_peer_cert(qpc_quic_tls(s->quic), &cert);

	if (err != QP_OK) {
		qpc_session_fail(s, err, QP_APP_INTERNAL, "the server showed no certificate that can be read");
		return err;
	}
	err = s->ops->trust(s->ctx, &cert);
	if (err != QP_OK) {
		qpc_session_fail(s, err, QP_APP_NONE, "the server's certificate is not trusted");
		return err;
	}
	err = qpc_quic_open_stream(s->quic, &s->stream);
	if (err != QP_OK) {
		qpc_session_fail(s, QP_E_PROTO, QP_APP_PROTOCOL, "the server allows no streams");
		return err;
	}
	err = qpc_control_start(&s->control, &control_ops, s, &s->cfg->auth, &s->cfg->request,
		(uint64_t)time(NULL));
	if (err != QP_OK) {
		qpc_session_control_broken(s, err);
		return err;
	}
	s->stage = QPC_SESSION_AUTHENTICATING;
	set_deadline(s, ANSWER_TIMEOUT_MS);
	return QP_OK;
}

/* The text of the end, in the words of the stage that it came in. */
static void
describe_end(struct qpc_session *s, const struct qpc_quic_end *end)
{
	const struct qpc_udp *udp = qpc_quic_udp(s->quic);

	if (s->end.text[0] != '\0')
		return;
	if (s->stage == QPC_SESSION_CONNECTING && end->err == QP_E_TIMEOUT && udp->last_error != 0)
		snprintf(s->end.text, sizeof(s->end.text), "%s (%s)", end->text,
			strerror(udp->last_error));
	else
		snprintf(s->end.text, sizeof(s->end.text), "%s", end->text);
}

static void
connection_ended(void *ctx, const struct qpc_quic_end *end)
{
	struct qpc_session *s = ctx;

	s->end.err = end->err;
	s->end.stage = s->stage;
	s->end.by_peer = s->end.by_peer || end->by_peer;
	s->end.forgotten = end->forgotten;
	s->end.going_down = end->by_peer && end->application && end->code == QP_APP_SHUTDOWN;
	if (s->stage == QPC_SESSION_CLOSING)
		s->end.err = QP_OK; /* whatever came first, it is over as wanted */
	describe_end(s, end);
	s->stage = QPC_SESSION_ENDED;
	qpc_timer_cancel(&s->loop->timers, &s->timer);
	s->ops->ended(s->ctx);
}

static const struct qpc_quic_ops quic_ops = {
	.handshake_done = handshake_done,
	.stream_opened = qpc_session_stream_opened,
	.work = qpc_session_work,
	.room = qpc_session_room_came,
	.ended = connection_ended,
};

static void
on_deadline(struct qpc_timer *timer)
{
	struct qpc_session *s = QPC_CONTAINER(timer, struct qpc_session, timer);

	if (s->stage == QPC_SESSION_CLOSING)
		end_closing(s);
	else
		qpc_session_fail(s, QP_E_TIMEOUT, QP_APP_TIMEOUT, "the server did not answer the request in time");
}

void
qpc_session_close(struct qpc_session *s)
{
	if (s->stage >= QPC_SESSION_CLOSING)
		return;
	if (s->stage < QPC_SESSION_REQUESTING ||
		qpc_control_say_goodbye(&s->control) != QP_OK) {
		s->stage = QPC_SESSION_CLOSING;
		end_closing(s);
		return;
	}
	s->stage = QPC_SESSION_CLOSING;
	s->stream.fin = true;
	qpc_stream_ready(s->quic, &s->stream);
	set_deadline(s, GOODBYE_TIMEOUT_MS);
}

int
qpc_session_start(struct qpc_loop *loop, WOLFSSL_CTX *tls, const struct qpc_session_config *cfg,
	const struct qpc_session_ops *ops, void *ctx, struct qpc_session **out,
	struct qp_errmsg *msg)
{
	struct qpc_session *s = calloc(1, sizeof(*s));
	int err;

	if (s == NULL)
		return qp_fail(msg, QP_E_NOMEM, "out of memory for a session");
	s->loop = loop;
	s->cfg = cfg;
	s->ops = ops;
	s->ctx = ctx;
	s->timer.fire = on_deadline;
	s->stream.ops = &stream0_ops;
	s->stream.id = -1;
	qpc_pool_init(&s->pool, QPC_POOL_FREE_BYTES);
	err = qpc_session_data_init(s);
	if (err != QP_OK) {
		qpc_session_free(s);
		return qp_fail(msg, err, "out of memory for a session");
	}
	err = qpc_quic_new(loop, &cfg->quic, tls, &cfg->server, &s->pool, &quic_ops, s, &s->quic,
		msg);
	if (err != QP_OK) {
		qpc_session_free(s);
		return err;
	}
	qpc_session_data_use(s, s->quic);
	*out = s;
	return QP_OK;
}

void
qpc_session_free(struct qpc_session *s)
{
	if (s == NULL)
		return;
	s->stage = QPC_SESSION_ENDED;
	qpc_quic_free(s->quic);
	qpc_session_data_fini(s);
	qpc_timer_cancel(&s->loop->timers, &s->timer);
	qpc_control_free(&s->control);
	qpc_pool_fini(&s->pool);
	free(s);
}
