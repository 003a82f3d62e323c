/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The relay: an outside TCP connection and its QUIC stream, byte for byte, with
 * back-pressure both ways. Outside bytes stay in the mbufs that they came in
 * until the client acknowledges them, and only then TCP's window opens again;
 * tunnel bytes are copied once, into the mbufs that TCP keeps until the outside
 * acknowledges them, and only then the stream gets credit again.
 * Half-close, reset and refusal map as the protocol page says. Runs on the
 * lcore that owns the tunnel.
 */
#include <rte_mbuf.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/shape.h"
#include "dataplane/tunnel_internal.h"

/* Accepted connections that may wait for a stream; beyond: refused. */
#define MAX_WAITING 4096u
#define MIN_SHARE (16u * 1024)

/* Bytes of either direction come into mbufs or, negative, leave them. */
static void
count_held(struct qp_relay *r, int64_t queued, int64_t out)
{
	struct qp_tunnel *t = r->tunnel;
	bool held = r->queued_bytes + r->out_bytes > 0, holds;

	r->queued_bytes += (uint64_t)queued;
	r->out_bytes += (uint64_t)out;
	t->held_bytes += (uint64_t)(queued + out);
	t->all->env.counters->relay_queued_bytes += (uint64_t)queued;
	holds = r->queued_bytes + r->out_bytes > 0;
	if (holds == held)
		return;
	t->nholding += holds ? 1 : UINT32_MAX;
	t->all->nholding += holds ? 1 : UINT32_MAX;
}

void
qp_relay_mark(struct qp_relay *r)
{
	if (r->dirty)
		return;
	r->dirty = true;
	TAILQ_INSERT_TAIL(&r->tunnel->all->dirty, r, dirty_link);
}

void
qp_relay_free(struct qp_relay *r)
{
	struct qp_tunnel *t = r->tunnel;
	struct qp_worker_counters *c = t->all->env.counters;

	if (r->dirty)
		TAILQ_REMOVE(&t->all->dirty, r, dirty_link);
	if (r->waiting) {
		TAILQ_REMOVE(&t->waiting, r, wait_link);
		t->nwaiting--;
	}
	qp_usage_closed(t, &r->use);
	qp_shape_drop(r, QP_WAY_IN);
	qp_shape_drop(r, QP_WAY_OUT);
	if (r->local != NULL)
		qp_local_conn_free(t, r->local);
	rte_pktmbuf_free(r->held);
	rte_pktmbuf_free(r->out);
	count_held(r, -(int64_t)r->queued_bytes, -(int64_t)r->out_bytes);
	c->conns_active--;
	t->nrelays--;
	qp_slots_remove(&t->relay_ids, r->id);
	TAILQ_REMOVE(&t->relays, r, link);
	free(r);
}

void
qp_relay_abort(struct qp_relay *r, uint64_t code)
{
	qp_usage_why(&r->use.why, qp_usage_reason_of(code));
	if (r->tcp != NULL) {
		qp_usage_refused(r->tunnel);
		qp_tcp_abort(r->tcp);
	}
	if (r->stream != NULL) {
		qp_quic_stream_set_ctx(r->stream, NULL);
		qp_quic_stream_abort(r->stream, code);
	}
	qp_relay_free(r);
}

void
qp_relay_kick(struct qp_relay *r)
{
	qp_usage_why(&r->use.why, QP_END_KICKED);
	qp_relay_abort(r, QP_STREAM_CLOSED);
}

void
qp_relay_abort_all(struct qp_tunnel *t)
{
	while (!TAILQ_EMPTY(&t->relays))
		qp_relay_abort(TAILQ_FIRST(&t->relays), QP_STREAM_CLOSED);
}

void
qp_relay_abort_largest(struct qp_tunnel *t)
{
	uint64_t average = t->held_bytes / RTE_MAX(t->nrelays, 1u);
	struct qp_relay *r, *next;

	for (r = TAILQ_FIRST(&t->relays); r != NULL; r = next) {
		next = TAILQ_NEXT(r, link);
		if (r->queued_bytes + r->out_bytes >= average)
			qp_relay_abort(r, QP_STREAM_LIMIT);
	}
}

/* From inside TCP's callbacks: at the flush. */
static void
abort_later(struct qp_relay *r)
{
	r->kill = true;
	qp_relay_mark(r);
}

/*
 * Bytes that one connection may have waiting in each direction: those of a
 * tunnel share a quarter of the mbufs, those of the lcore a half, so that
 * neither a client that reads nothing nor a crowd takes them all.
 */
static uint32_t
share_among(const struct qp_tunnel *t, uint32_t in_tunnel, uint32_t in_all)
{
	const struct qp_tunnels_env *env = &t->all->env;
	uint64_t of_tunnel = env->pool_bytes / 4 / RTE_MAX(in_tunnel, 1u);
	uint64_t of_all = env->pool_bytes / 2 / RTE_MAX(in_all, 1u);
	uint64_t share = RTE_MIN(of_tunnel, of_all);

	share = RTE_MAX(share, MIN_SHARE);
	return (uint32_t)RTE_MIN(share, env->max_stream_window);
}

/* What a new connection gets, in case that all the others wake up. */
uint32_t
qp_relay_first_share(const struct qp_tunnel *t)
{
	return share_among(t, t->nrelays, (uint32_t)t->all->env.counters->conns_active);
}

/* What one that is busy gets: those that hold nothing need nothing now. */
static uint32_t
fair_share(const struct qp_tunnel *t)
{
	return share_among(t, t->nholding, t->all->nholding);
}

/*
 * The stream's window follows what client and outside pass in a round trip of
 * the whole way, as a TCP receiver's does: taken whole in two of them, the
 * window is what holds the stream up.
 */
static void
follow_path(struct qp_relay *r, uint32_t bytes)
{
	const struct qp_tunnels_env *env = &r->tunnel->all->env;
	uint64_t rtt_ns = qp_quic_conn_rtt(r->tunnel->conn) + qp_tcp_rtt(r->tcp);

	r->round_bytes += bytes;
	if (r->round_bytes < r->window)
		return;
	if (*env->now_ns - r->round_ns <= 2 * rtt_ns && *env->mem_level == QP_MEM_PLENTY)
		r->window = RTE_MIN(2 * r->window, env->max_stream_window);
	r->round_bytes = 0;
	r->round_ns = *env->now_ns;
}

/*
 * Credit up to the stream's window, in portions worth a frame. None while TCP
 * has as much queued as it has use for: the outside is what holds the stream up.
 */
static void
give_stream_credit(struct qp_relay *r)
{
	uint32_t window = qp_shape_cap(
		r->tunnel, QP_WAY_OUT, RTE_MIN(r->window, fair_share(r->tunnel)));

	if (r->stream == NULL || r->credit_bytes + window / 4 > window ||
		r->out_bytes >= qp_tcp_send_buffer(r->tcp))
		return;
	qp_quic_stream_consumed(r->stream, window - r->credit_bytes);
	r->credit_bytes = window;
}

/* Opens the stream and gives it what has come in the meantime. */
static int
open_stream(struct qp_relay *r)
{
	uint8_t prefix[QP_WIRE_CONN_ID_BYTES];
	int rc = qp_quic_stream_open(r->tunnel->conn, r, &r->stream);

	if (rc < 0)
		return rc;
	give_stream_credit(r);
	qp_wire_put_conn_id(prefix, r->id);
	r->prefix_left = sizeof(prefix);
	rc = qp_quic_stream_write_bytes(r->stream, prefix, sizeof(prefix));
	if (rc < 0)
		return rc;
	if (r->held != NULL && !qp_shape_must_wait(r, QP_WAY_IN, (uint32_t)r->queued_bytes)) {
		qp_quic_stream_write(r->stream, r->held);
		r->held = NULL;
		r->held_end = &r->held;
	}
	if (r->outside_fin && r->held == NULL)
		qp_quic_stream_fin(r->stream);
	qp_tunnel_announce(r->tunnel, r->id);
	return 0;
}

void
qp_relay_open_waiting(struct qp_tunnel *t)
{
	struct qp_relay *r;
	int rc;

	if (t->state != QP_TUNNEL_OPEN)
		return;
	while ((r = TAILQ_FIRST(&t->waiting)) != NULL) {
		rc = open_stream(r);
		if (rc == QP_E_AGAIN)
			return;
		TAILQ_REMOVE(&t->waiting, r, wait_link);
		t->nwaiting--;
		r->waiting = false;
		if (rc < 0)
			abort_later(r);
	}
}

struct qp_relay *
qp_relay_new(struct qp_tunnel *t, struct qp_tcp_conn *tcp)
{
	struct qp_relay *r = calloc(1, sizeof(*r));
	uint64_t id;

	if (r == NULL)
		return NULL;
	if (qp_slots_add(&t->relay_ids, r, &id) < 0) {
		free(r);
		return NULL;
	}
	r->kind = QP_STREAM_RELAY;
	r->id = (uint32_t)id;
	r->tunnel = t;
	r->tcp = tcp;
	r->credit_bytes = QP_QUIC_FIRST_CREDIT;
	r->held_end = &r->held;
	TAILQ_INSERT_TAIL(&t->relays, r, link);
	t->all->env.counters->conns_total++;
	t->all->env.counters->conns_active++;
	t->nrelays++;
	qp_usage_opened(t, &r->use, r->id, tcp != NULL ? qp_tcp_flow(tcp) : NULL);
	r->window = RTE_MIN(qp_relay_first_share(t), t->all->env.stream_window);
	return r;
}

/* What TCP calls. */

/* Nothing is kept of a SYN that would be refused later. */
static bool
may_connect(void *listener_ctx, const struct qp_flow *flow)
{
	struct qp_tunnel *t = listener_ctx;

	if (qp_client_may_connect(t, &flow->remote))
		return true;
	qp_usage_refused(t);
	return false;
}

static int
accept_outside(void *listener_ctx, struct qp_tcp_conn *c)
{
	struct qp_tunnel *t = listener_ctx;
	struct qp_relay *r;
	int rc;

	if (t->state > QP_TUNNEL_OPEN || t->nwaiting >= MAX_WAITING ||
		*t->all->env.mem_level == QP_MEM_SCARCE || !qp_client_admit(t) ||
		(r = qp_relay_new(t, c)) == NULL) {
		qp_usage_refused(t);
		return QP_E_FULL;
	}
	/* Before it is granted, a client that is taking a port over knows of nothing yet. */
	rc = t->state == QP_TUNNEL_OPEN ? open_stream(r) : QP_E_AGAIN;
	if (rc == QP_E_AGAIN) {
		r->waiting = true;
		t->nwaiting++;
		TAILQ_INSERT_TAIL(&t->waiting, r, wait_link);
	} else if (rc < 0) {
		r->tcp = NULL; /* TCP refuses it by our answer */
		qp_relay_abort(r, QP_STREAM_LIMIT);
		qp_usage_refused(t);
		return rc;
	}
	qp_tcp_set_ctx(c, r);
	qp_tcp_set_rcv_buf(c, qp_shape_cap(t, QP_WAY_IN, qp_relay_first_share(t)));
	return 0;
}

static void
outside_connected(void *ctx)
{
	qp_local_connected(ctx);
	give_stream_credit(ctx);
}

static void
hold(struct qp_relay *r, struct rte_mbuf *chain)
{
	*r->held_end = chain;
	r->held_end = &rte_pktmbuf_lastseg(chain)->next;
}

static void
outside_data(void *ctx, struct rte_mbuf *chain)
{
	struct qp_relay *r = ctx;
	uint32_t bytes = chain->pkt_len;
	struct qp_worker_counters *c = r->tunnel->all->env.counters;

	c->relay_bytes_in += bytes;
	qp_usage_in(r->tunnel, &r->use, bytes);
	if (r->stream == NULL && r->waiting) {
		count_held(r, bytes, 0);
		hold(r, chain);
		return;
	}
	if (r->stream == NULL || r->stopped) {
		/*
		 * Nobody reads any more. While the answer is still on its way the
		 * rest is swallowed; after it, it gets what a closed socket gives: RST.
		 */
		rte_pktmbuf_free(chain);
		if (r->tunnel_fin || r->stream_done)
			abort_later(r);
		else
			qp_tcp_consumed(r->tcp, bytes);
		return;
	}
	count_held(r, bytes, 0);
	if (qp_shape_must_wait(r, QP_WAY_IN, bytes))
		hold(r, chain);
	else
		qp_quic_stream_write(r->stream, chain);
}

static void
outside_end(void *ctx)
{
	struct qp_relay *r = ctx;

	r->outside_fin = true;
	if (r->stream != NULL && r->held == NULL)
		qp_quic_stream_fin(r->stream);
}

static void
outside_acked(void *ctx, uint32_t bytes)
{
	struct qp_relay *r = ctx;
	struct qp_tunnel *t = r->tunnel;
	uint64_t paid = RTE_MIN(t->owed_credit, (uint64_t)bytes);

	count_held(r, 0, -(int64_t)bytes);
	/* Whatever the level: these bytes hold no mbuf any more. */
	t->owed_credit -= paid;
	if (paid > 0)
		qp_quic_conn_consumed(t->conn, paid);
	r->credit_bytes -= bytes;
	follow_path(r, bytes);
	give_stream_credit(r);
}

static enum qp_end_reason
reason_of_tcp(enum qp_tcp_end why)
{
	switch (why) {
	case QP_TCP_END_NORMAL:
		return QP_END_FINISHED;
	case QP_TCP_END_TIMEOUT:
		return QP_END_TIMEOUT;
	case QP_TCP_END_NO_MEMORY:
		return QP_END_NO_MEMORY;
	case QP_TCP_END_REFUSED:
		return QP_END_REFUSED;
	case QP_TCP_END_RESET:
	case QP_TCP_END_UNREACHABLE:
		break;
	}
	return QP_END_OUTSIDE_RESET;
}

static void
outside_ended(void *ctx, enum qp_tcp_end why)
{
	struct qp_relay *r = ctx;

	r->tcp = NULL;
	if (qp_local_is_opening(r)) {
		qp_local_unreached(r, why);
		return;
	}
	if (why != QP_TCP_END_NORMAL)
		qp_usage_why(&r->use.why, reason_of_tcp(why));
	if (why == QP_TCP_END_NORMAL && !r->stream_done)
		return; /* the client still has to acknowledge; the stream's end frees us */
	if (r->stream != NULL) {
		qp_quic_stream_set_ctx(r->stream, NULL);
		qp_quic_stream_abort(r->stream,
			why == QP_TCP_END_TIMEOUT ? QP_STREAM_TIMEOUT : QP_STREAM_RESET);
	}
	qp_relay_free(r);
}

const struct qp_tcp_ops qp_relay_tcp_ops = {
	.may_connect = may_connect,
	.accept = accept_outside,
	.connected = outside_connected,
	.receive = outside_data,
	.receive_end = outside_end,
	.acked = outside_acked,
	.ended = outside_ended,
};

/* What the stream tells. */

/* Copies into the mbufs that TCP will keep: the one copy of this direction. */
static int
copy_out(struct qp_relay *r, const uint8_t *data, size_t len)
{
	while (len > 0) {
		struct rte_mbuf *m = r->out_tail;
		uint16_t room = m != NULL ? rte_pktmbuf_tailroom(m) : 0;
		uint16_t n;

		if (room == 0) {
			m = rte_pktmbuf_alloc(r->tunnel->all->env.pool);
			if (m == NULL)
				return QP_E_NOMEM;
			m->data_off = 0; /* headers come in an mbuf of their own */
			room = rte_pktmbuf_tailroom(m);
			if (r->out == NULL) {
				r->out = m;
			} else {
				r->out_tail->next = m;
				r->out->nb_segs++;
			}
			r->out_tail = m;
		}
		n = (uint16_t)RTE_MIN(len, (size_t)room);
		memcpy(rte_pktmbuf_mtod_offset(m, uint8_t *, m->data_len), data, n);
		m->data_len += n;
		r->out->pkt_len += n;
		data += n;
		len -= n;
	}
	return 0;
}

/*
 * The connection's credit comes back at once, so that one slow reader never
 * holds up the others; short of mbufs it comes back as the outside acknowledges.
 */
static void
give_credit(struct qp_relay *r, size_t len)
{
	struct qp_tunnel *t = r->tunnel;

	if (*t->all->env.mem_level == QP_MEM_PLENTY) {
		qp_quic_conn_consumed(t->conn, len);
		return;
	}
	t->owed_credit += len;
	t->all->owed = true;
}

void
qp_relay_stream_data(struct qp_relay *r, const uint8_t *data, size_t len, bool fin)
{
	give_credit(r, len);
	r->tunnel_fin |= fin;
	if (r->tcp == NULL && !qp_local_is_opening(r))
		return;
	r->tunnel->all->env.counters->relay_bytes_out += len;
	qp_usage_out(r->tunnel, &r->use, len);
	count_held(r, 0, (int64_t)len);
	if (copy_out(r, data, len) < 0) {
		qp_usage_why(&r->use.why, QP_END_NO_MEMORY);
		r->kill = true; /* bytes that QUIC has acknowledged are lost: say so by a reset */
	}
	qp_relay_mark(r);
}

void
qp_relay_stream_acked(struct qp_relay *r, uint64_t bytes)
{
	uint64_t prefix = RTE_MIN((uint64_t)r->prefix_left, bytes);

	r->prefix_left -= (uint8_t)prefix;
	bytes -= prefix;
	count_held(r, -(int64_t)bytes, 0);
	if (r->tcp == NULL || bytes == 0)
		return;
	qp_tcp_set_rcv_buf(r->tcp, qp_shape_cap(r->tunnel, QP_WAY_IN, fair_share(r->tunnel)));
	qp_tcp_consumed(r->tcp, (uint32_t)bytes);
}

void
qp_relay_stream_reset(struct qp_relay *r)
{
	qp_relay_abort(r, QP_STREAM_RESET);
}

void
qp_relay_stream_stopped(struct qp_relay *r)
{
	uint64_t lost = r->queued_bytes;

	r->stopped = true;
	r->prefix_left = 0;
	qp_shape_drop(r, QP_WAY_IN);
	rte_pktmbuf_free(r->held);
	r->held = NULL;
	r->held_end = &r->held;
	count_held(r, -(int64_t)lost, 0);
	if (r->tcp != NULL && lost > 0)
		qp_tcp_consumed(r->tcp, (uint32_t)lost);
}

void
qp_relay_stream_closed(struct qp_relay *r)
{
	r->stream = NULL;
	r->stream_done = true;
	/* A client that stopped reading before it ended; nobody will acknowledge these. */
	if (r->queued_bytes > 0)
		qp_relay_stream_stopped(r);
	if (r->tcp == NULL)
		qp_relay_free(r);
	else if (!r->tunnel_fin)
		qp_relay_abort(r, QP_STREAM_RESET);
	/* else: what was read is on its way out, TCP ends by itself */
}

static void
flush_one(struct qp_relay *r)
{
	if (r->kill) {
		qp_relay_abort(r, QP_STREAM_RESET);
		return;
	}
	if (qp_local_is_opening(r)) {
		qp_local_flush(r);
		return;
	}
	if (r->tcp == NULL)
		return;
	if (r->out != NULL && !qp_shape_must_wait(r, QP_WAY_OUT, r->out->pkt_len)) {
		qp_tcp_send(r->tcp, r->out);
		r->out = r->out_tail = NULL;
	}
	if (r->tunnel_fin && !r->shut && r->out == NULL) {
		r->shut = true;
		qp_tcp_shutdown(r->tcp);
	}
}

void
qp_relay_flush(struct qp_tunnels *ts)
{
	struct qp_relay *r;

	while ((r = TAILQ_FIRST(&ts->dirty)) != NULL) {
		TAILQ_REMOVE(&ts->dirty, r, dirty_link);
		r->dirty = false;
		flush_one(r);
	}
}
