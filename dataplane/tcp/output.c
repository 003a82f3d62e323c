/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a connection sends: lost ranges first, then new data and FIN as far as
 * the peer's window and cwnd allow, then an ACK if one is still owed. Thread:
 * the owning lcore. Which ranges are lost and how big cwnd is, others decide.
 */
#include "dataplane/tcp/internal.h"

static uint32_t
unsent_bytes(const struct qp_tcp_conn *c)
{
	return c->flags & QP_TF_FIN_SENT ? 0 : c->snd_end - c->snd_nxt;
}

static bool
fin_waits(const struct qp_tcp_conn *c)
{
	return (c->flags & (QP_TF_FIN_QUEUED | QP_TF_FIN_SENT)) == QP_TF_FIN_QUEUED &&
	       qp_tcp_synchronized(c);
}

bool
qp_tcp_send_new(struct qp_tcp_conn *c, uint32_t max)
{
	uint32_t mss = qp_tcp_mss(c), len = qp_min(unsent_bytes(c), max);
	struct qp_tcp_rec *r;
	struct rte_mbuf *m;
	uint32_t off;
	int64_t sent;
	bool fin;

	len = qp_min(len, qp_tcp_frame_payload_max(c, mss));
	fin = fin_waits(c) && len == unsent_bytes(c);
	if (len == 0 && !fin)
		return false;
	r = qp_tcp_xmit(c) != NULL ? qp_slab_get(&c->tcp->recs) : NULL;
	if (r == NULL)
		return false;
	qp_tcp_unsent(c, &m, &off);
	sent = qp_tcp_send_payload(c, c->snd_nxt, m, off, len, fin);
	if (sent < 0) {
		qp_slab_put(&c->tcp->recs, r);
		return false;
	}
	fin = fin && sent == len;
	if (c->snd_una == c->snd_nxt)
		c->progress_ms = qp_tcp_now_ms(c->tcp);
	qp_tcp_rec_push(c, r, (uint32_t)sent, fin)->mss = mss;
	if (fin)
		c->flags |= QP_TF_FIN_SENT;
	c->tcp->counters.bytes_out += (uint64_t)sent;
	c->x->prr_out += (uint32_t)sent;
	qp_tcp_pacing_sent(c, (uint32_t)sent);
	return true;
}

bool
qp_tcp_retransmit(struct qp_tcp_conn *c, struct qp_tcp_rec *r, uint32_t max)
{
	uint32_t mss = qp_tcp_mss(c), len, fin;
	int64_t sent;

	qp_tcp_pmtu_touched(c, r);
	max = qp_max(qp_min(max, qp_tcp_frame_payload_max(c, mss)) / mss, 1u) * mss;
	if (r->end - r->seq - !!(r->flags & QP_REC_FIN) > max && !qp_tcp_rec_split(c, r, r->seq + max))
		return false;
	fin = !!(r->flags & QP_REC_FIN);
	len = r->end - r->seq - fin;
	sent = qp_tcp_send_payload(c, r->seq, r->m, r->off, len, fin);
	if (sent < 0)
		return false;
	if (sent < len && !qp_tcp_rec_split(c, r, r->seq + (uint32_t)sent))
		return false;
	if (r->flags & QP_REC_LOST)
		c->x->lost_bytes -= r->end - r->seq;
	r->flags = (r->flags & ~QP_REC_LOST) | QP_REC_RTX;
	r->mss = mss;
	r->xmit_ns = qp_tcp_now(c->tcp);
	qp_tcp_rec_timed_remove(c, r);
	qp_tcp_rec_timed_append(c, r);
	qp_tcp_rate_sent(c, r);
	qp_tcp_pacing_sent(c, len);
	if (c->x->undo == QP_UNDO_ARMED) {
		c->x->undo = QP_UNDO_TIMED;
		c->x->undo_ts = qp_tcp_tsval(c);
	}
	c->x->prr_out += len;
	QP_TCP_COUNT(c->tcp, retrans_segs);
	c->tcp->counters.retrans_bytes += len;
	return true;
}

/* What cwnd still lets into the network; an empty one always takes a segment. */
static uint32_t
cwnd_room(const struct qp_tcp_conn *c)
{
	uint32_t pipe = qp_tcp_pipe(c);

	if (pipe == 0)
		return qp_max(c->cwnd, qp_tcp_mss(c));
	return c->cwnd > pipe ? c->cwnd - pipe : 0;
}

/*
 * The RTO counts from the first segment's latest transmission (RFC 6298, 5),
 * not from an ACK before it whose backed off timeout may still be running.
 */
static void
restart_rto(struct qp_tcp_conn *c)
{
	if (c->rtx_kind == QP_RTX_RTO && c->due[QP_TMR_RTX] != 0)
		qp_tcp_arm_rtx(c, true);
}

/* False: memory ran out. */
static bool
send_lost(struct qp_tcp_conn *c)
{
	struct qp_tcp_rec *r, *next;

	if (c->x == NULL)
		return true;
	for (r = c->x->rec_head; r != NULL && c->x->lost_bytes > 0; r = next) {
		uint32_t room = cwnd_room(c);

		next = r->next;
		if (!(r->flags & QP_REC_LOST))
			continue;
		if (qp_tcp_pacing_holds(c))
			return true;
		room = qp_min(room, qp_tcp_pacing_quantum(c));
		if (room < qp_min(qp_tcp_mss(c), r->end - r->seq)) {
			c->flags |= QP_TF_CWND_LIMITED;
			return true;
		}
		if (!qp_tcp_retransmit(c, r, room))
			return false;
		if (r == c->x->rec_head)
			restart_rto(c);
		next = r->next; /* the rest of a split record is next */
	}
	return true;
}

/*
 * How much new data may go in the next frame; 0: none. The sender's side of
 * silly window avoidance (RFC 9293, 3.8.6.2.1) without Nagle's wait: what is
 * relayed has waited long enough.
 */
static uint32_t
allowed(struct qp_tcp_conn *c, uint32_t unsent)
{
	uint32_t edge = c->snd_una + c->snd_wnd, mss = qp_tcp_mss(c);
	uint32_t wnd = seq_lt(c->snd_nxt, edge) ? edge - c->snd_nxt : 0;
	uint32_t room = cwnd_room(c), len = qp_min(unsent, qp_min(wnd, room));

	if (c->x->recs >= QP_TCP_RECORDS)
		return 0;
	if (len == unsent)
		return len;
	if (room < qp_min(wnd, mss)) {
		c->flags |= QP_TF_CWND_LIMITED;
		return 0;
	}
	if (len >= mss)
		return len - len % mss;
	return len >= c->snd_max_wnd / 2 ? len : 0;
}

static bool
send_fresh(struct qp_tcp_conn *c)
{
	uint32_t unsent;

	while ((unsent = unsent_bytes(c)) > 0) {
		enum qp_tcp_probe probe = qp_tcp_pmtu_probe(c, unsent);
		uint32_t len;

		if (probe == QP_PROBE_SENT)
			continue;
		if (probe == QP_PROBE_WAIT) {
			c->flags |= QP_TF_CWND_LIMITED;
			return true;
		}
		len = allowed(c, unsent);
		if (len == 0 || qp_tcp_pacing_holds(c))
			return true;
		if (!qp_tcp_send_new(c, qp_min(len, qp_tcp_pacing_quantum(c))))
			return false;
	}
	return !fin_waits(c) || qp_tcp_send_new(c, 0);
}

static bool
window_update_due(const struct qp_tcp_conn *c)
{
	uint32_t step = qp_min(qp_tcp_rcv_limit(c) / 2, 2 * c->rcv_seg);

	return !(c->flags & QP_TF_FIN_RCVD) &&
	       seq_leq(c->rcv_adv + step, c->rcv_nxt + qp_tcp_rcv_space(c));
}

/* RFC 9293, 3.8.6.3: at least each second full-sized segment, and within half a second. */
static void
acknowledge(struct qp_tcp_conn *c)
{
	uint32_t owed = c->rcv_nxt - c->last_ack_sent;

	if ((c->flags & QP_TF_ACK_NOW) || owed >= 2 * c->rcv_seg || window_update_due(c))
		qp_tcp_send_ack(c);
	else if (owed != 0 && c->due[QP_TMR_ACK] == 0)
		qp_tcp_timer_set(c, QP_TMR_ACK, qp_tcp_now(c->tcp) + QP_TCP_DELACK_NS);
}

/*
 * An ACK that is due at once goes ahead of a burst: a queue that is full drops
 * all of that, and has room for an ACK alone. Without one the peer, whose
 * handshake or retransmission it was, waits for its timeout.
 */
static void
acknowledge_before_burst(struct qp_tcp_conn *c)
{
	uint32_t burst = QP_TCP_BURST_SEGS * qp_tcp_mss(c);

	if ((c->flags & QP_TF_ACK_NOW) && unsent_bytes(c) > burst && cwnd_room(c) > burst)
		qp_tcp_send_ack(c);
}

void
qp_tcp_output(struct qp_tcp_conn *c)
{
	uint64_t now = qp_tcp_now(c->tcp);

	if (c->flags & QP_TF_DOOMED) {
		qp_tcp_send_rst(c, QP_TCP_RST_NO_MEMORY);
		qp_tcp_conn_end(c, QP_TCP_END_NO_MEMORY);
		return;
	}
	if (!qp_tcp_synchronized(c)) {
		/* RFC 7413, 4.2.2: data, not FIN; the SYN-ACK's timer serves for both. */
		if ((c->fastopen & QP_FO_PENDING) && !send_fresh(c))
			qp_tcp_retry_later(c);
		return;
	}
	if (qp_tcp_flight(c) == 0 && unsent_bytes(c) > 0 && now - c->last_tx_ns > c->rto_ns)
		c->tcp->cc->idle(c);
	c->flags &= ~QP_TF_CWND_LIMITED;
	acknowledge_before_burst(c);
	if (!send_lost(c) || !send_fresh(c))
		qp_tcp_retry_later(c);
	acknowledge(c);
	qp_tcp_arm_rtx(c, false);
	if (c->x != NULL && !c->x->tlp_open)
		qp_tcp_xmit_rest(c);
}
