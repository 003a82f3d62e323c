/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packets out: streams take turns, ngtcp2 writes packet behind packet into one
 * buffer, and each run of equal-sized ones leaves by one system call. The
 * loop's thread. Leaves congestion control and pacing to ngtcp2.
 */
#define QP_LOG_MODULE QP_LOG_M_client
#include "client/quic_impl.h"

#include <assert.h>
#include <string.h>

#include "common/log.h"
#include "common/wire.h"

/* A stream gives way to the next after so many bytes: enough to fill packets, little to wait for. */
#define TURN_BYTES 16384u
/* Bursts in one turn of the loop, before it looks at the sockets again. */
#define MAX_BURSTS 4
#define MAX_VECS 4

void
qpc_stream_unready(struct qpc_quic *q, struct qpc_stream *s)
{
	if (!s->ready)
		return;
	s->ready = false;
	TAILQ_REMOVE(&q->ready, s, ready_link);
}

static bool
has_more(const struct qpc_stream *s)
{
	return s->out.fresh > 0 || (s->fin && !s->fin_sent);
}

void
qpc_stream_ready(struct qpc_quic *q, struct qpc_stream *s)
{
	if (s->ready || s->blocked || s->shut || s->id < 0 || !has_more(s))
		return;
	s->ready = true;
	s->turn_bytes = 0;
	TAILQ_INSERT_TAIL(&q->ready, s, ready_link);
	qpc_quic_wake(q);
}

static void
stream_written(struct qpc_quic *q, struct qpc_stream *s, size_t n, bool fin)
{
	qpc_bytes_take(&s->out, n);
	s->fin_sent = s->fin_sent || fin;
	s->turn_bytes += (uint32_t)n;
	if (!has_more(s)) {
		qpc_stream_unready(q, s);
	} else if (s->turn_bytes >= TURN_BYTES) {
		s->turn_bytes = 0;
		TAILQ_REMOVE(&q->ready, s, ready_link);
		TAILQ_INSERT_TAIL(&q->ready, s, ready_link);
	}
}

/* What the next stream in turn offers. Returns it, or NULL with everything else empty. */
static struct qpc_stream *
next_stream(struct qpc_quic *q, ngtcp2_vec vec[MAX_VECS], size_t *nvec, size_t *bytes,
	uint32_t *flags)
{
	struct qpc_stream *s = TAILQ_FIRST(&q->ready);
	struct iovec iov[MAX_VECS];
	int n = s != NULL ? qpc_bytes_peek(&s->out, iov, MAX_VECS) : 0;

	*nvec = (size_t)n;
	*bytes = 0;
	*flags = NGTCP2_WRITE_STREAM_FLAG_NONE;
	for (int i = 0; i < n; i++) {
		vec[i] = (ngtcp2_vec) {iov[i].iov_base, iov[i].iov_len};
		*bytes += iov[i].iov_len;
	}
	if (s == NULL)
		return NULL;
	/* A packet may hold the ends of many streams. */
	*flags = NGTCP2_WRITE_STREAM_FLAG_MORE;
	if (s->fin && *bytes == s->out.fresh)
		*flags |= NGTCP2_WRITE_STREAM_FLAG_FIN;
	return s;
}

/* One packet of up to q->max_packet bytes into `dest`; 0: nothing (more) to send now; < 0: liberr. */
static ngtcp2_ssize
write_packet(struct qpc_quic *q, uint8_t *dest, ngtcp2_pkt_info *pi, ngtcp2_tstamp now)
{
	for (;;) {
		ngtcp2_vec vec[MAX_VECS];
		ngtcp2_ssize n, taken = -1;
		size_t nvec, bytes;
		uint32_t flags;
		struct qpc_stream *s = next_stream(q, vec, &nvec, &bytes, &flags);

		n = ngtcp2_conn_writev_stream(q->conn, NULL, pi, dest, q->max_packet, &taken, flags,
			s != NULL ? s->id : -1, vec, nvec, now);
		if (s != NULL && taken >= 0)
			stream_written(q, s, (size_t)taken,
				(flags & NGTCP2_WRITE_STREAM_FLAG_FIN) && (size_t)taken == bytes);
		switch (n) {
		case NGTCP2_ERR_WRITE_MORE:
			continue;
		case NGTCP2_ERR_STREAM_DATA_BLOCKED:
			s->blocked = true;
			qpc_stream_unready(q, s);
			continue;
		case NGTCP2_ERR_STREAM_SHUT_WR:
		case NGTCP2_ERR_STREAM_NOT_FOUND:
			s->shut = true;
			qpc_stream_unready(q, s);
			s->ops->stopped(s);
			continue;
		}
		return n;
	}
}

static void
queue_packet(struct qpc_quic *q, size_t n, uint8_t ecn)
{
	struct qpc_tx_run *run = q->nruns > 0 ? &q->runs[q->nruns - 1] : NULL;

	if (run == NULL || run->closed || run->ecn != ecn || n > run->segment ||
		run->len + n > QPC_UDP_MAX_BYTES) {
		run = &q->runs[q->nruns++];
		*run = (struct qpc_tx_run) {.off = (uint32_t)q->tx_len, .segment = (uint32_t)n,
			.ecn = ecn};
	}
	run->len += (uint32_t)n;
	run->closed = n < run->segment || run->len >= run->segment * QPC_UDP_MAX_SEGMENTS;
	q->tx_len += n;
}

/* A burst of packets into the empty buffer. Returns its bytes. */
static size_t
fill(struct qpc_quic *q)
{
	ngtcp2_tstamp now = qp_quic_now();
	size_t quantum = ngtcp2_conn_get_send_quantum(q->conn);

	assert(q->nruns == 0);
	q->tx_len = 0;
	if (quantum > QPC_TX_BYTES)
		quantum = QPC_TX_BYTES;
	while (q->tx_len < quantum && q->nruns < QPC_TX_RUNS) {
		ngtcp2_pkt_info pi = {0};
		ngtcp2_ssize n = write_packet(q, q->tx_buf + q->tx_len, &pi, now);

		if (n < 0) {
			qpc_quic_lib_failed(q, (int)n);
			return 0;
		}
		if (n == 0)
			break;
		queue_packet(q, (size_t)n, (uint8_t)pi.ecn);
	}
	ngtcp2_conn_update_pkt_tx_time(q->conn, now);
	if (q->tx_len > 0 && q->asked == 0)
		q->asked = now;
	return q->tx_len;
}

static void
ask_for_room(struct qpc_quic *q, bool want)
{
	uint32_t events = want ? EPOLLIN | EPOLLOUT : EPOLLIN;

	if (q->want_write == want)
		return;
	if (qpc_loop_change(q->loop, &q->source, events) != QP_OK)
		qpc_quic_fail(q, QP_E_IO, QP_APP_INTERNAL, "epoll refused the UDP socket");
	q->want_write = want;
}

/* Returns true when all runs are out. */
static bool
send_runs(struct qpc_quic *q)
{
	while (q->run_next < q->nruns) {
		struct qpc_tx_run *run = &q->runs[q->run_next];
		struct qpc_udp_batch batch = {q->tx_buf + run->off, run->len, run->segment, run->ecn};
		int err = qpc_udp_send(&q->udp, &batch);

		if (err == QP_E_AGAIN) {
			run->off += run->len - (uint32_t)batch.len;
			run->len = (uint32_t)batch.len;
			ask_for_room(q, true);
			return false;
		}
		if (err != QP_OK) {
			qpc_quic_fail(q, err, QP_APP_INTERNAL, "the UDP socket failed");
			return false;
		}
		q->run_next++;
	}
	q->run_next = q->nruns = 0;
	ask_for_room(q, false);
	return true;
}

void
qpc_quic_flush(struct qpc_quic *q)
{
	if (q->credit > 0) {
		ngtcp2_conn_extend_max_offset(q->conn, q->credit);
		q->credit = 0;
	}
	for (int i = 0; i < MAX_BURSTS; i++) {
		if (!send_runs(q) || fill(q) == 0 || q->over)
			return;
	}
	if (send_runs(q))
		qpc_quic_wake(q);
}

static void
close_error(const struct qpc_quic *q, ngtcp2_ccerr *ccerr)
{
	const uint8_t *phrase = (const uint8_t *)q->end.text;

	ngtcp2_ccerr_default(ccerr);
	if (!q->close_is_liberr)
		ngtcp2_ccerr_set_application_error(ccerr, q->close_code, phrase,
			strlen(q->end.text));
	else if (q->liberr == NGTCP2_ERR_CRYPTO)
		ngtcp2_ccerr_set_tls_alert(ccerr, ngtcp2_conn_get_tls_alert(q->conn), NULL, 0);
	else
		ngtcp2_ccerr_set_liberr(ccerr, q->liberr, NULL, 0);
}

void
qpc_quic_send_close(struct qpc_quic *q)
{
	struct qpc_udp_batch batch = {.data = q->tx_buf};
	ngtcp2_pkt_info pi = {0};
	ngtcp2_ccerr ccerr;
	ngtcp2_ssize n;

	close_error(q, &ccerr);
	n = ngtcp2_conn_write_connection_close(q->conn, NULL, &pi, q->tx_buf, q->max_packet, &ccerr,
		qp_quic_now());
	if (n <= 0)
		return;
	batch.len = batch.segment = (size_t)n;
	batch.ecn = (uint8_t)pi.ecn;
	if (qpc_udp_send(&q->udp, &batch) != QP_OK)
		qp_log(QP_LOG_DEBUG, "the last packet could not be sent");
}
