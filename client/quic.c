/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A client's QUIC connection at work: streams, packets in, timers, its end.
 * The loop's thread. quic_new.c makes it, quic_callbacks.c hears ngtcp2,
 * quic_write.c writes packets; what streams and the certificate mean is the
 * session's.
 */
#include "client/quic_impl.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/wire.h"

/* Super-datagrams read in a turn, 64 KiB each: then acknowledgements must go out. */
#define MAX_RECEIVES 8
/* How soon to look again while the socket takes nothing. */
#define BLOCKED_POLL_NS (10 * NGTCP2_MILLISECONDS)

void
qpc_quic_fail(struct qpc_quic *q, int err, uint64_t app_code, const char *text)
{
	if (q->over)
		return;
	q->over = true;
	q->close_code = app_code;
	q->end = (struct qpc_quic_end) {.err = err};
	snprintf(q->end.text, sizeof(q->end.text), "%s", text);
	qpc_quic_wake(q);
}

static void
ended_by_peer(struct qpc_quic *q)
{
	const ngtcp2_ccerr *ccerr = ngtcp2_conn_get_ccerr(q->conn);

	q->end = (struct qpc_quic_end) {
		.err = QP_E_CLOSED,
		.by_peer = true,
		.forgotten = q->stateless_reset,
		.application = ccerr->type == NGTCP2_CCERR_TYPE_APPLICATION,
		.code = ccerr->error_code,
	};
	if (q->stateless_reset)
		snprintf(q->end.text, sizeof(q->end.text),
			"the server has forgotten the connection (it was restarted)");
	else
		qp_quic_close_text(ccerr, q->end.text, sizeof(q->end.text));
}

void
qpc_quic_lib_failed(struct qpc_quic *q, int liberr)
{
	if (q->over)
		return;
	q->over = true;
	q->liberr = liberr;
	q->close_is_liberr = true;
	q->end = (struct qpc_quic_end) {.err = qp_quic_err(liberr)};
	if (liberr == NGTCP2_ERR_DRAINING) {
		ended_by_peer(q);
	} else if (liberr == NGTCP2_ERR_CRYPTO) {
		char tls[WOLFSSL_MAX_ERROR_SZ];

		qp_tls_error_text(q->ssl, WOLFSSL_FATAL_ERROR, tls, sizeof(tls));
		snprintf(q->end.text, sizeof(q->end.text), "TLS failed: %s", tls);
	} else {
		snprintf(q->end.text, sizeof(q->end.text), "%s", qp_quic_err_text(liberr));
	}
	qpc_quic_wake(q);
}

bool
qpc_quic_is_over(const struct qpc_quic *q)
{
	return q->over;
}

void
qpc_quic_wake(struct qpc_quic *q)
{
	qpc_loop_queue(q->loop, &q->task);
}

const struct qpc_udp *
qpc_quic_udp(const struct qpc_quic *q)
{
	return &q->udp;
}

uint32_t
qpc_quic_rtt_us(const struct qpc_quic *q)
{
	ngtcp2_conn_info info;

	if (q->conn == NULL || !ngtcp2_conn_get_handshake_completed(q->conn))
		return 0;
	ngtcp2_conn_get_conn_info(q->conn, &info);
	return (uint32_t)(info.smoothed_rtt / NGTCP2_MICROSECONDS);
}

WOLFSSL *
qpc_quic_tls(const struct qpc_quic *q)
{
	return q->ssl;
}

/* Streams. */

void
qpc_stream_init(struct qpc_quic *q, struct qpc_stream *s, int64_t id)
{
	s->id = id;
	s->fin = s->fin_sent = s->blocked = s->shut = s->ready = false;
	TAILQ_INSERT_TAIL(&q->open, s, open_link);
}

void
qpc_stream_gone(struct qpc_quic *q, struct qpc_stream *s)
{
	bool whole = s->fin_sent && s->out.len == 0;

	qpc_stream_unready(q, s);
	TAILQ_REMOVE(&q->open, s, open_link);
	qpc_bytes_clear(&s->out, q->pool);
	s->id = -1;
	s->ops->closed(s, whole);
}

uint64_t
qpc_quic_streams_left(const struct qpc_quic *q)
{
	return ngtcp2_conn_get_streams_bidi_left(q->conn);
}

int
qpc_quic_open_stream(struct qpc_quic *q, struct qpc_stream *s)
{
	int64_t id;
	int rv = ngtcp2_conn_open_bidi_stream(q->conn, &id, s);

	if (rv != 0)
		return qp_quic_err(rv);
	qpc_stream_init(q, s, id);
	return QP_OK;
}

void
qpc_stream_consumed(struct qpc_quic *q, struct qpc_stream *s, size_t n)
{
	int rv;

	if (s->id < 0 || n == 0)
		return;
	rv = ngtcp2_conn_extend_max_stream_offset(q->conn, s->id, n);
	if (rv != 0)
		qpc_quic_lib_failed(q, rv);
	qpc_quic_wake(q);
}

void
qpc_quic_consumed(struct qpc_quic *q, size_t n)
{
	q->credit += n;
}

void
qpc_stream_reset(struct qpc_quic *q, struct qpc_stream *s, uint64_t code)
{
	int rv;

	if (s->id < 0)
		return;
	s->shut = true;
	qpc_stream_unready(q, s);
	rv = ngtcp2_conn_shutdown_stream_write(q->conn, 0, s->id, code);
	if (rv != 0)
		qpc_quic_lib_failed(q, rv);
	qpc_quic_wake(q);
}

void
qpc_stream_stop(struct qpc_quic *q, struct qpc_stream *s, uint64_t code)
{
	int rv;

	if (s->id < 0)
		return;
	rv = ngtcp2_conn_shutdown_stream_read(q->conn, 0, s->id, code);
	if (rv != 0)
		qpc_quic_lib_failed(q, rv);
	qpc_quic_wake(q);
}

/* Packets in. */

ngtcp2_path
qpc_quic_path(struct qpc_quic *q)
{
	return (ngtcp2_path) {
		.local = {&q->udp.local.sa, q->udp.local.len},
		.remote = {&q->udp.remote.sa, q->udp.remote.len},
	};
}

void
qpc_quic_read(struct qpc_quic *q, const struct qpc_udp_batch *batch)
{
	ngtcp2_path path = qpc_quic_path(q);
	ngtcp2_pkt_info pi = {.ecn = batch->ecn};
	ngtcp2_tstamp now = qp_quic_now();

	q->asked = 0;
	q->patience_ns = q->silence_ns;
	q->moves = 0;
	for (size_t off = 0; off < batch->len && !q->over; off += batch->segment) {
		size_t left = batch->len - off;
		size_t n = left < batch->segment ? left : batch->segment;
		int rv = ngtcp2_conn_read_pkt(q->conn, &path, &pi, batch->data + off, n, now);

		if (rv != 0)
			qpc_quic_lib_failed(q, rv);
	}
}

static void
on_readable(struct qpc_quic *q)
{
	for (int i = 0; i < MAX_RECEIVES && !q->over; i++) {
		struct qpc_udp_batch batch;
		int err = qpc_udp_receive(&q->udp, q->rx_buf, &batch);

		if (err == QP_E_AGAIN)
			break;
		if (err != QP_OK) {
			qpc_quic_fail(q, err, QP_APP_INTERNAL, "the UDP socket failed");
			break;
		}
		qpc_quic_read(q, &batch);
	}
	if (q->heed_icmp && q->udp.last_error != 0)
		qpc_quic_fail(q, qp_err_from_errno(q->udp.last_error), QP_APP_NONE,
			strerror(q->udp.last_error));
}

void
qpc_quic_on_events(struct qpc_source *source, uint32_t events)
{
	struct qpc_quic *q = QPC_CONTAINER(source, struct qpc_quic, source);

	if (!q->over && (events & (EPOLLIN | EPOLLERR)))
		on_readable(q);
	qpc_quic_wake(q);
}

void
qpc_quic_on_timer(struct qpc_timer *timer)
{
	struct qpc_quic *q = QPC_CONTAINER(timer, struct qpc_quic, timer);
	int rv;

	if (!q->over) {
		rv = ngtcp2_conn_handle_expiry(q->conn, qp_quic_now());
		if (rv != 0)
			qpc_quic_lib_failed(q, rv);
	}
	qpc_quic_wake(q);
}

static void
arm_timer(struct qpc_quic *q)
{
	ngtcp2_tstamp at = ngtcp2_conn_get_expiry(q->conn);

	if (at == UINT64_MAX) {
		qpc_timer_cancel(&q->loop->timers, &q->timer);
		return;
	}
	/* Pacing's deadline stays in the past until a packet is written, which must wait here. */
	if (q->want_write) {
		ngtcp2_tstamp soon = qp_quic_now() + BLOCKED_POLL_NS;

		at = at > soon ? at : soon;
	}
	qpc_timer_arm(&q->loop->timers, &q->timer, at);
}

/* Everything of the connection that the loop knows. */
static void
leave_loop(struct qpc_quic *q)
{
	qpc_loop_unqueue(q->loop, &q->task);
	qpc_timer_cancel(&q->loop->timers, &q->timer);
	qpc_timer_cancel(&q->loop->timers, &q->silence);
	if (q->udp.fd >= 0)
		qpc_loop_remove(q->loop, &q->source);
	qpc_udp_close(&q->udp);
}

static void
drop_streams(struct qpc_quic *q)
{
	struct qpc_stream *s;

	while ((s = TAILQ_FIRST(&q->open)) != NULL)
		qpc_stream_gone(q, s);
}

void
qpc_quic_on_task(struct qpc_task *task)
{
	struct qpc_quic *q = QPC_CONTAINER(task, struct qpc_quic, task);

	if (!q->over)
		q->ops->work(q->ctx);
	if (!q->over)
		qpc_quic_flush(q);
	if (!q->over) {
		arm_timer(q);
		return;
	}
	if (!q->end.by_peer)
		qpc_quic_send_close(q);
	drop_streams(q);
	leave_loop(q);
	q->ops->ended(q->ctx, &q->end);
}

void
qpc_quic_free(struct qpc_quic *q)
{
	if (q == NULL)
		return;
	drop_streams(q);
	leave_loop(q);
	if (q->conn != NULL)
		ngtcp2_conn_del(q->conn);
	if (q->ssl != NULL)
		wolfSSL_free(q->ssl);
	free(q);
}
