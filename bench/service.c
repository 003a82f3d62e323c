/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What stands behind a tunnel in place of a local service: discards, makes,
 * echoes or answers, as each request's header says, and compares all that comes
 * with the pattern. The worker's lcore.
 */
#include "bench/client.h"

#include <rte_mbuf.h>
#include <stdlib.h>
#include <string.h>

#include "common/wire.h"

#define TURN_BYTES (64u * 1024)
#define SEGMENT 1420u
#define QUEUED_BYTES (1024u * 1024) /* of a stream, until the gateway has acknowledged */
#define ECHO_BYTES (64u * 1024) /* likewise, of an echo: beyond it the gateway gets no credit */

/* What comes next on the stream. */
enum step {
	STEP_CONN_ID,
	STEP_RECORD, /* UDP: a record's length */
	STEP_HEADER,
	STEP_PAYLOAD,
	STEP_ANSWER, /* TCP: of this request; nothing is to come meanwhile */
	STEP_BROKEN, /* what comes is thrown away */
};

struct qpb_service {
	enum qpb_stream_kind kind; /* first: see qpb_client_ops */
	struct qpb_client *c;
	struct qp_quic_stream *s;
	struct qpb_pump pump;
	LIST_ENTRY(qpb_service) link;
	enum step step;
	bool udp;
	bool fin; /* the user has sent all */
	bool ended; /* so have we */
	uint8_t head[QPB_REQUEST_BYTES];
	uint32_t head_len;
	uint32_t record_left; /* UDP: bytes of the record still to come */
	struct qpb_request req;
	uint64_t rx; /* payload bytes of the request so far */
	uint64_t tx, tx_end; /* of the answer */
	uint64_t held; /* bytes that were taken, and whose credit the gateway has not got back */
};

static bool answer_turn(struct qpb_pump *p);

struct qpb_service *
qpb_service_new(struct qpb_client *c, struct qp_quic_stream *s)
{
	struct qpb_service *v = calloc(1, sizeof(*v));

	if (v == NULL)
		return NULL;
	v->kind = QPB_STREAM_SERVICE;
	v->c = c;
	v->s = s;
	v->udp = c->w->b->cfg.scenario == QPB_UDP;
	v->pump.turn = answer_turn;
	LIST_INSERT_HEAD(&c->services, v, link);
	return v;
}

static void
service_free(struct qpb_service *v)
{
	qpb_pump_remove(v->c->w, &v->pump);
	LIST_REMOVE(v, link);
	free(v);
}

void
qpb_services_drop(struct qpb_client *c)
{
	while (!LIST_EMPTY(&c->services))
		service_free(LIST_FIRST(&c->services));
}

/*
 * The gateway may send as much more: of what is only taken at once, of what is
 * sent back when it takes that.
 */
static void
give_credit(struct qpb_service *v)
{
	bool echo = !v->udp && (v->req.flags & QPB_ECHO) && v->step != STEP_BROKEN;

	if (v->held == 0 || (echo && qp_quic_stream_queued(v->s) >= ECHO_BYTES))
		return;
	qp_quic_stream_consumed(v->s, v->held);
	qp_quic_conn_consumed(v->c->conn, v->held);
	v->held = 0;
}

static void
wrong(struct qpb_service *v)
{
	QPB_COUNT(v->c->w, service_wrong, 1);
	v->step = STEP_BROKEN;
	qpb_pump_remove(v->c->w, &v->pump);
	qp_quic_stream_abort(v->s, QP_STREAM_PROTOCOL);
}

static void
end_if_done(struct qpb_service *v)
{
	if (!v->fin || v->ended || v->tx < v->tx_end)
		return;
	v->ended = true;
	qp_quic_stream_fin(v->s);
}

/* TCP: the answer of this request is out, or there is none. */
static void
next_request(struct qpb_service *v)
{
	v->step = STEP_HEADER;
	v->head_len = 0;
	v->rx = v->tx = v->tx_end = 0;
	end_if_done(v);
}

static bool
answer_turn(struct qpb_pump *p)
{
	struct qpb_service *v = (struct qpb_service *)((char *)p -
						       offsetof(struct qpb_service, pump));
	struct qpb_worker *w = v->c->w;
	uint32_t sent = 0;

	while (v->tx < v->tx_end && sent < TURN_BYTES) {
		uint64_t left = v->tx_end - v->tx;
		uint32_t n = left < SEGMENT * 8u ? (uint32_t)left : SEGMENT * 8u;
		struct rte_mbuf *m;

		if (qp_quic_stream_queued(v->s) >= QUEUED_BYTES)
			return false; /* qpb_service_acked goes on */
		m = qpb_payload(w, NULL, 0, qpb_answer_seed(v->req.seed), v->tx, n, SEGMENT);
		if (m == NULL)
			return true;
		qp_quic_stream_write(v->s, m);
		QPB_COUNT(w, service_tx_bytes, n);
		v->tx += n;
		sent += n;
	}
	if (v->tx < v->tx_end)
		return true;
	if (v->step == STEP_ANSWER)
		next_request(v);
	else
		end_if_done(v);
	return false;
}

void
qpb_service_acked(struct qpb_service *v)
{
	give_credit(v);
	if (v->tx < v->tx_end && qp_quic_stream_queued(v->s) < QUEUED_BYTES / 2)
		qpb_pump(v->c->w, &v->pump);
}

/* UDP: one datagram back, if the request wants it; what the queue has no room for is lost, as on a wire. */
static void
answer_datagram(struct qpb_service *v)
{
	struct qpb_worker *w = v->c->w;
	uint8_t head[QP_WIRE_RECORD_HEADER_BYTES + QPB_REQUEST_BYTES];
	uint64_t seed = v->req.flags & QPB_ECHO ? v->req.seed : qpb_answer_seed(v->req.seed);
	uint32_t n = (uint32_t)v->req.answer_bytes;
	struct rte_mbuf *m;

	QPB_COUNT(w, dgrams_arrived, 1);
	if (v->req.answer_bytes == QPB_ENDLESS || qp_quic_stream_queued(v->s) >= QUEUED_BYTES)
		return;
	qp_put_u32(head, QPB_REQUEST_BYTES + n);
	qpb_request_put(&v->req, head + QP_WIRE_RECORD_HEADER_BYTES);
	m = qpb_payload(w, head, sizeof(head), seed, 0, n, SEGMENT);
	if (m == NULL)
		return;
	qp_quic_stream_write(v->s, m);
	QPB_COUNT(w, dgrams_answered, 1);
	QPB_COUNT(w, service_tx_bytes, n);
}

static void
request_whole(struct qpb_service *v)
{
	if (v->udp) {
		answer_datagram(v);
		v->step = STEP_RECORD;
		v->head_len = 0;
		return;
	}
	v->step = STEP_ANSWER;
	if (v->tx >= v->tx_end)
		next_request(v);
	else
		qpb_pump(v->c->w, &v->pump);
}

static void
header(struct qpb_service *v)
{
	struct qpb_request *r = &v->req;

	if (qpb_request_get(r, v->head) < 0 ||
		(v->udp && v->record_left != QPB_REQUEST_BYTES + r->request_bytes)) {
		wrong(v);
		return;
	}
	v->rx = 0;
	v->tx = 0;
	v->tx_end = v->udp || (r->flags & QPB_ECHO) ? 0 : r->answer_bytes;
	v->step = STEP_PAYLOAD;
	if (v->tx_end == QPB_ENDLESS)
		qpb_pump(v->c->w, &v->pump);
	else if (r->request_bytes == 0)
		request_whole(v);
}

/* Fills `head` up to `need`; returns how much it took. */
static size_t
gather(struct qpb_service *v, const uint8_t *data, size_t len, uint32_t need)
{
	size_t n = need - v->head_len < len ? need - v->head_len : len;

	memcpy(v->head + v->head_len, data, n);
	v->head_len += (uint32_t)n;
	return n;
}

static size_t
payload(struct qpb_service *v, const uint8_t *data, size_t len)
{
	struct qpb_worker *w = v->c->w;
	uint64_t left = v->req.request_bytes - v->rx;
	uint32_t n = left < len ? (uint32_t)left : (uint32_t)len;

	QPB_COUNT(w, service_rx_bytes, n);
	if (!qpb_matches(w, v->req.seed, v->rx, data, n)) {
		wrong(v);
		return len;
	}
	v->rx += n;
	if (!v->udp && (v->req.flags & QPB_ECHO)) {
		if (qp_quic_stream_write_bytes(v->s, data, n) < 0)
			wrong(v);
		QPB_COUNT(w, service_tx_bytes, n);
	}
	if (v->step == STEP_PAYLOAD && v->rx == v->req.request_bytes)
		request_whole(v);
	return n;
}

static size_t
take(struct qpb_service *v, const uint8_t *data, size_t len)
{
	size_t n;

	switch (v->step) {
	case STEP_CONN_ID:
		n = gather(v, data, len, QP_WIRE_CONN_ID_BYTES);
		if (v->head_len == QP_WIRE_CONN_ID_BYTES) {
			v->step = v->udp ? STEP_RECORD : STEP_HEADER;
			v->head_len = 0;
		}
		return n;
	case STEP_RECORD:
		n = gather(v, data, len, QP_WIRE_RECORD_HEADER_BYTES);
		if (v->head_len == QP_WIRE_RECORD_HEADER_BYTES) {
			v->record_left = qp_get_u32(v->head);
			v->step = STEP_HEADER;
			v->head_len = 0;
		}
		return n;
	case STEP_HEADER:
		n = gather(v, data, len, QPB_REQUEST_BYTES);
		if (v->head_len == QPB_REQUEST_BYTES)
			header(v);
		return n;
	case STEP_PAYLOAD:
		return payload(v, data, len);
	case STEP_ANSWER:
		wrong(v); /* users send one request at a time */
		return len;
	default:
		return len;
	}
}

void
qpb_service_data(struct qpb_service *v, const uint8_t *data, size_t len, bool fin)
{
	v->held += len;
	while (len > 0) {
		size_t n = take(v, data, len);

		data += n;
		len -= n;
	}
	give_credit(v);
	if (!fin || v->step == STEP_BROKEN)
		return;
	v->fin = true;
	/* An endless answer ends with the user's part. */
	if (v->tx_end == QPB_ENDLESS)
		v->tx_end = v->tx;
	end_if_done(v);
}

void
qpb_service_broken(struct qpb_service *v)
{
	v->step = STEP_BROKEN;
	v->tx_end = v->tx;
	qpb_pump_remove(v->c->w, &v->pump);
	give_credit(v);
	qp_quic_stream_abort(v->s, QP_STREAM_RESET);
}

void
qpb_service_closed(struct qpb_service *v)
{
	/* The stream's part is gone with it. */
	if (v->held > 0)
		qp_quic_conn_consumed(v->c->conn, v->held);
	service_free(v);
}
