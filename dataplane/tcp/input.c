/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SEGMENT ARRIVES (RFC 9293, 3.10.7), step by step. Thread: the owning lcore.
 * LISTEN is in syn.c, the ACK field in ack.c, text and FIN in reass.c,
 * TIME-WAIT in timewait.c.
 */
#include "dataplane/tcp/internal.h"

/* Consumes `m`. False: the header contradicts itself. */
static bool
decode(struct qp_tcp *tcp, struct rte_mbuf *m, const struct qp_packet *pkt, struct qp_tcp_seg *s)
{
	const struct rte_tcp_hdr *h = rte_pktmbuf_mtod_offset(m, void *, pkt->l4_off);
	uint32_t hlen = h->data_off >> 4 << 2;
	bool ok = hlen >= sizeof(*h) && hlen <= pkt->l4_len && pkt->l4_off + hlen <= m->data_len &&
		  pkt->flow.rport_be != 0 && pkt->flow.lport_be != 0;

	*s = (struct qp_tcp_seg) {.tcp = tcp, .pkt = pkt, .flags = h->tcp_flags};
	ok = ok && qp_tcp_options_parse((const uint8_t *)(h + 1), hlen - sizeof(*h),
			   s->flags & RTE_TCP_SYN_FLAG, &s->opt) == 0;
	if (!ok) {
		QP_TCP_COUNT(tcp, drop_bad_segment);
		rte_pktmbuf_free(m);
		return false;
	}
	s->seq = rte_be_to_cpu_32(h->sent_seq);
	s->ack = rte_be_to_cpu_32(h->recv_ack);
	s->wnd = rte_be_to_cpu_16(h->rx_win);
	s->data_len = pkt->l4_len - hlen;
	s->len = s->data_len + !!(s->flags & RTE_TCP_SYN_FLAG) + !!(s->flags & RTE_TCP_FIN_FLAG);
	s->m = qp_mbuf_trim_front(m, pkt->l4_off + hlen);
	return true;
}

static void
take_text(struct qp_tcp_conn *c, struct qp_tcp_seg *s)
{
	/* As if it had been lost: what is left of the mbufs is for what gives some back. */
	if (s->data_len > 0 && qp_tcp_memory(c->tcp) == QP_MEM_SCARCE) {
		QP_TCP_COUNT(c->tcp, drop_no_memory);
		return;
	}
	qp_tcp_uto_input(c, &s->opt);
	qp_tcp_ecn_text(c, s);
	if (s->len > 0)
		qp_tcp_text_input(c, s);
}

/* The SYN is acknowledged; "if there are other controls or text in the segment, then continue". */
static void
rest_of_syn(struct qp_tcp_conn *c, struct qp_tcp_seg *s)
{
	c->flags |= QP_TF_ACK_NOW;
	s->flags &= ~RTE_TCP_SYN_FLAG;
	s->seq++;
	s->len--;
	take_text(c, s);
}

/*
 * The ACK is of an old connection of these ports, which our reset ends: the SYN
 * that will be answered need not wait for the timeout. Only once, so that
 * nobody buys SYNs with ACKs.
 */
static void
repeat_syn_soon(struct qp_tcp_conn *c, const struct qp_tcp_seg *s)
{
	if ((s->flags & RTE_TCP_RST_FLAG) || (c->flags & (QP_TF_SYN_RTX | QP_TF_SYN_AGAIN)))
		return;
	c->flags |= QP_TF_SYN_AGAIN;
	c->rtx_kind = QP_RTX_SYN;
	qp_tcp_timer_set(c, QP_TMR_RTX, qp_tcp_now(c->tcp) + QP_TCP_SYN_AGAIN_NS);
}

/* 3.10.7.3 */
static void
syn_sent_input(struct qp_tcp_conn *c, struct qp_tcp_seg *s)
{
	bool acks = s->flags & RTE_TCP_ACK_FLAG;

	/* First, check the ACK bit. */
	if (acks && (seq_leq(s->ack, c->iss) || seq_lt(c->snd_nxt, s->ack))) {
		qp_tcp_refuse(c->tcp, s);
		repeat_syn_soon(c, s);
		return;
	}
	/* Second, check the RST bit: believed only with an acceptable ACK. */
	if (s->flags & RTE_TCP_RST_FLAG) {
		if (acks) {
			QP_TCP_COUNT(c->tcp, rst_in);
			qp_tcp_conn_end(c, QP_TCP_END_REFUSED);
		}
		return;
	}
	/* Fourth, check the SYN bit; fifth: neither, drop. */
	if (!(s->flags & RTE_TCP_SYN_FLAG))
		return;
	qp_tcp_pmtu_link(c, &s->pkt->flow.l2);
	c->last_rx_ms = qp_tcp_now_ms(c->tcp);
	c->irs = s->seq;
	c->rcv_nxt = s->seq + 1;
	c->last_ack_sent = c->rcv_nxt;
	c->rcv_adv = c->rcv_nxt + qp_min(c->tcp->cfg.rcv_buf_bytes, UINT16_MAX);
	qp_tcp_take_syn_options(c, s);
	if (acks) {
		qp_tcp_ecn_syn_ack_input(c, s->flags);
		if (qp_tcp_establish(c, s, s->wnd))
			rest_of_syn(c, s);
		return;
	}
	/* Simultaneous open. Text comes again. */
	qp_tcp_ecn_syn_input(c, s->flags);
	c->tcb.state = QP_TCP_SYN_RECEIVED;
	c->snd_max_wnd = s->wnd;
	qp_tcp_send_syn(c);
}

/*
 * RFC 7323, 5.3, R1, and 3.2: on a connection with timestamps each segment has
 * one. But a SYN's sender may know nothing of the connection, and is to be
 * answered in any case (RFC 5961, 4.2): its reset makes way for its next SYN.
 */
static bool
timestamp_ok(struct qp_tcp_conn *c, const struct qp_tcp_seg *s)
{
	if (!(c->flags & QP_TF_TS) || (s->flags & RTE_TCP_RST_FLAG))
		return true;
	if ((s->flags & RTE_TCP_SYN_FLAG) && !s->opt.has_ts && qp_tcp_synchronized(c))
		return true;
	if (s->opt.has_ts && !qp_tcp_paws_old(s->opt.tsval, c->ts_recent, c->ts_recent_s,
				     qp_tcp_now(c->tcp)))
		return true;
	QP_TCP_COUNT(c->tcp, drop_paws);
	if (s->opt.has_ts)
		qp_tcp_limited_ack(c);
	return false;
}

/*
 * The table of 3.10.7.4, first, with what was once offered as the window's
 * right edge. An empty segment right on the edge is taken: so arrive the ACKs
 * of a peer that has filled the window.
 */
static bool
in_window(const struct qp_tcp_conn *c, const struct qp_tcp_seg *s)
{
	if (s->flags & RTE_TCP_RST_FLAG)
		return s->seq == c->rcv_nxt || (seq_lt(c->rcv_nxt, s->seq) && seq_lt(s->seq, c->rcv_adv));
	if (s->len == 0)
		return seq_leq(c->rcv_nxt, s->seq) && seq_leq(s->seq, c->rcv_adv);
	return seq_lt(s->seq, c->rcv_adv) && seq_lt(c->rcv_nxt, s->seq + s->len);
}

/* In SYN-RECEIVED, the SYN that led there; text of it may reach into the window. */
static bool
same_syn(const struct qp_tcp_conn *c, const struct qp_tcp_seg *s)
{
	return c->tcb.state == QP_TCP_SYN_RECEIVED && s->seq == c->irs &&
	       (s->flags & (RTE_TCP_SYN_FLAG | RTE_TCP_ACK_FLAG)) == RTE_TCP_SYN_FLAG;
}

static void
repeat_syn_ack(struct qp_tcp_conn *c, const struct qp_tcp_seg *s)
{
	c->flags |= QP_TF_SYN_RTX; /* our SYN-ACK was lost, or is late */
	qp_tcp_ecn_syn_input(c, s->flags);
	if (qp_tcp_may_answer(c))
		qp_tcp_send_syn(c);
}

/* "If an incoming segment is not acceptable, an acknowledgment should be sent in reply." */
static void
answer_unacceptable(struct qp_tcp_conn *c, struct qp_tcp_seg *s)
{
	QP_TCP_COUNT(c->tcp, drop_out_of_window);
	if (s->flags & RTE_TCP_RST_FLAG) {
		QP_TCP_COUNT(c->tcp, rst_blind);
		return;
	}
	if (same_syn(c, s)) {
		repeat_syn_ack(c, s);
		return;
	}
	if (s->flags & RTE_TCP_SYN_FLAG)
		QP_TCP_COUNT(c->tcp, syn_blind);
	if (s->data_len == 0) {
		qp_tcp_limited_ack(c);
		return;
	}
	/* Old text: its sender missed an ACK. It learns what was double (RFC 2883). */
	if (seq_leq(s->seq + s->data_len, c->rcv_nxt)) {
		QP_TCP_COUNT(c->tcp, dup_segs);
		c->tcp->counters.dup_bytes += s->data_len;
		c->flags |= QP_TF_DSACK;
		c->dsack_start = s->seq;
		c->dsack_end = s->seq + s->data_len;
	}
	c->flags |= QP_TF_ACK_NOW;
	qp_tcp_work(c);
}

/* First, check the sequence number. */
static bool
check_sequence(struct qp_tcp_conn *c, struct qp_tcp_seg *s)
{
	if (!timestamp_ok(c, s))
		return false;
	if (!in_window(c, s)) {
		/* "If the RCV.WND is zero … special allowance should be made to accept valid ACKs." */
		if (s->seq != c->rcv_nxt || (s->flags & (RTE_TCP_SYN_FLAG | RTE_TCP_RST_FLAG))) {
			answer_unacceptable(c, s);
			return false;
		}
		s->len = s->data_len = 0;
		s->flags &= ~RTE_TCP_FIN_FLAG;
		c->flags |= QP_TF_ACK_NOW;
		qp_tcp_work(c);
	}
	return true;
}

/* Second, check the RST bit; RFC 5961, 3.2: only the exact next number resets. */
static void
on_reset(struct qp_tcp_conn *c, const struct qp_tcp_seg *s)
{
	if (s->seq != c->rcv_nxt) {
		QP_TCP_COUNT(c->tcp, rst_blind);
		qp_tcp_challenge_ack(c);
		return;
	}
	QP_TCP_COUNT(c->tcp, rst_in);
	qp_tcp_fastopen_reset(c);
	if (c->tcb.state == QP_TCP_SYN_RECEIVED && !(c->flags & QP_TF_PASSIVE))
		qp_tcp_conn_end(c, QP_TCP_END_REFUSED);
	else
		qp_tcp_conn_end(c, QP_TCP_END_RESET);
}

/* Fourth, check the SYN bit; RFC 5961, 4.2: it changes nothing on a synchronized connection. */
static void
on_syn(struct qp_tcp_conn *c, const struct qp_tcp_seg *s)
{
	if (same_syn(c, s)) {
		repeat_syn_ack(c, s);
		return;
	}
	if (c->flags & QP_TF_HALF_OPEN) {
		qp_tcp_conn_drop(c); /* return to LISTEN */
		return;
	}
	QP_TCP_COUNT(c->tcp, syn_blind);
	qp_tcp_challenge_ack(c);
}

/*
 * Simultaneous open (RFC 9293, figure 8): the peer's SYN-ACK is the SYN that
 * we know, and the ACK that we wait for; its window is not scaled.
 */
static bool
crossed_syn_ack(struct qp_tcp_conn *c, struct qp_tcp_seg *s)
{
	const uint8_t both = RTE_TCP_SYN_FLAG | RTE_TCP_ACK_FLAG;

	if (c->tcb.state != QP_TCP_SYN_RECEIVED || (c->flags & QP_TF_PASSIVE) || s->seq != c->irs ||
		(s->flags & (both | RTE_TCP_RST_FLAG)) != both || s->ack != c->snd_nxt)
		return false;
	if (timestamp_ok(c, s) && qp_tcp_establish(c, s, s->wnd))
		rest_of_syn(c, s);
	return true;
}

/* 3.10.7.4. Third, security: none here. Sixth, the URG bit: text is text (RFC 6093, 3.4). */
void
qp_tcp_segment_arrives(struct qp_tcp_conn *c, struct qp_tcp_seg *s)
{
	if (crossed_syn_ack(c, s) || !check_sequence(c, s))
		return;
	if (s->flags & RTE_TCP_RST_FLAG) {
		on_reset(c, s);
		return;
	}
	if (s->flags & RTE_TCP_SYN_FLAG) {
		on_syn(c, s);
		return;
	}
	if (!qp_tcp_ack_input(c, s))
		return;
	c->last_rx_ms = qp_tcp_now_ms(c->tcp);
	if (s->pkt->flow.l2.mtu != c->tcb.flow.l2.mtu)
		qp_tcp_pmtu_link(c, &s->pkt->flow.l2);
	c->tcb.flow.l2 = s->pkt->flow.l2;
	take_text(c, s);
}

/* No connection: a listener's business, or nobody's (3.10.7.1). */
static void
unconnected_input(struct qp_tcp *tcp, struct qp_tcp_seg *s, const uint32_t *iss_floor)
{
	struct qp_tcp_listener *l = qp_tcp_find_listener(tcp, &s->pkt->flow);

	if (l != NULL && !l->left) {
		qp_tcp_listen_input(l, s, iss_floor);
		return;
	}
	if (l != NULL && (s->flags & (RTE_TCP_SYN_FLAG | RTE_TCP_ACK_FLAG)) == RTE_TCP_SYN_FLAG) {
		QP_TCP_COUNT(tcp, drop_port_moved);
		return;
	}
	QP_TCP_COUNT(tcp, drop_no_listener);
	qp_tcp_refuse(tcp, s);
}

void
qp_tcp_input(struct qp_tcp *tcp, struct rte_mbuf *m, const struct qp_packet *pkt)
{
	struct qp_tcp_tcb *tcb;
	struct qp_tcp_seg s;
	uint32_t floor;

	QP_TCP_COUNT(tcp, segs_in);
	if (!decode(tcp, m, pkt, &s))
		return;
	tcb = qp_tcp_lookup(tcp, &pkt->flow);
	if (tcb == NULL) {
		unconnected_input(tcp, &s, NULL);
	} else if (tcb->state == QP_TCP_TIME_WAIT) {
		if (qp_tcp_tw_input(tcp, (struct qp_tcp_tw *)tcb, &s, &floor))
			unconnected_input(tcp, &s, &floor);
	} else if (tcb->state == QP_TCP_SYN_SENT) {
		syn_sent_input((struct qp_tcp_conn *)tcb, &s);
	} else {
		qp_tcp_segment_arrives((struct qp_tcp_conn *)tcb, &s);
	}
	rte_pktmbuf_free(s.m);
}

void
qp_tcp_count_joined(struct qp_tcp *tcp, uint16_t n)
{
	tcp->counters.segs_in += n;
	tcp->counters.segs_joined += n;
}
