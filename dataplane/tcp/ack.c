/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RFC 9293, 3.10.7.4, fifth: check the ACK field. Thread: the owning lcore.
 * What an acknowledgment means for loss and cwnd is left to recovery.c.
 */
#include "dataplane/tcp/recovery.h"

/*
 * SND.WND's update: by segments newer than the last that did it, and by any
 * that moves snd_una, since the window counts from there: a retransmission's
 * older SEG.SEQ must not leave the larger window of an earlier ACK in force.
 */
static void
update_window(struct qp_tcp_conn *c, const struct qp_tcp_seg *s)
{
	uint32_t wnd = s->wnd << c->snd_wscale, before = c->snd_wnd;

	if (!seq_lt(c->snd_una, s->ack) && !seq_lt(c->snd_wl1, s->seq) &&
		!(c->snd_wl1 == s->seq && seq_leq(c->snd_wl2, s->ack)))
		return;
	c->snd_wnd = wnd;
	c->snd_wl1 = s->seq;
	c->snd_wl2 = s->ack;
	c->snd_max_wnd = qp_max(c->snd_max_wnd, wnd);
	/* Probes that were answered say nothing of the path: data begins without their backoff. */
	if (wnd > before && c->rtx_kind == QP_RTX_PERSIST && c->due[QP_TMR_RTX] != 0)
		qp_tcp_rto_reset(c);
	if (wnd != before)
		qp_tcp_work(c);
}

/* RFC 5681, 2: a duplicate acknowledgment. */
static bool
is_duplicate(const struct qp_tcp_conn *c, const struct qp_tcp_seg *s)
{
	return s->ack == c->snd_una && s->len == 0 && c->snd_una != c->snd_nxt &&
	       s->wnd << c->snd_wscale == c->snd_wnd;
}

bool
qp_tcp_establish(struct qp_tcp_conn *c, const struct qp_tcp_seg *s, uint32_t wnd)
{
	struct qp_tcp *tcp = c->tcp;
	struct qp_tcp_listener *l = NULL;

	if (c->fastopen & QP_FO_PENDING) {
		qp_tcp_fastopen_established(c, s, wnd);
		return true;
	}
	if (c->flags & QP_TF_HALF_OPEN) {
		l = qp_tcp_half_listener(c);
		qp_tcp_half_close(c);
	}
	if (!(c->flags & (QP_TF_SYN_RTX | QP_TF_SYN_AGAIN | QP_TF_COOKIE))) {
		uint64_t rtt = qp_tcp_now(tcp) - c->last_tx_ns;

		qp_tcp_rtt_sample(c, rtt);
		c->syn_rtt_us = (uint32_t)qp_min(rtt / 1000, UINT32_MAX);
	}
	c->snd_una = s->ack;
	c->snd_wnd = wnd;
	c->snd_wl1 = s->seq;
	c->snd_wl2 = s->ack;
	c->snd_max_wnd = qp_max(c->snd_max_wnd, wnd);
	qp_tcp_conn_established(c);
	if (l != NULL) {
		c->ops = l->ops;
		if (l->ops->accept(l->ctx, c) != 0) {
			qp_tcp_send_rst(c, QP_TCP_RST_REFUSED);
			qp_tcp_conn_drop(c);
			return false;
		}
		QP_TCP_COUNT(tcp, passive_opens);
		c->flags |= QP_TF_APP;
	} else {
		c->ops->connected(c->ctx);
	}
	if (c->tcb.state == QP_TCP_ESTABLISHED && (c->flags & QP_TF_FIN_QUEUED))
		c->tcb.state = QP_TCP_FIN_WAIT_1;
	qp_tcp_work(c);
	return c->tcb.state != QP_TCP_CLOSED;
}

/* Our FIN is acknowledged: what follows from it. False: the connection is gone. */
static bool
fin_acknowledged(struct qp_tcp_conn *c)
{
	switch (c->tcb.state) {
	case QP_TCP_FIN_WAIT_1:
		c->tcb.state = QP_TCP_FIN_WAIT_2;
		return true;
	case QP_TCP_CLOSING:
		qp_tcp_time_wait(c);
		return false;
	case QP_TCP_LAST_ACK:
		qp_tcp_conn_end(c, QP_TCP_END_NORMAL);
		return false;
	default:
		return true;
	}
}

/*
 * RFC 7323, 4.3: only a segment that spans the last ACK is echoed. Not before
 * the ACK field is checked: a forged timestamp would shut the peer out by PAWS.
 */
static void
take_timestamp(struct qp_tcp_conn *c, const struct qp_tcp_seg *s)
{
	if (!s->opt.has_ts || seq_lt(c->last_ack_sent, s->seq))
		return;
	c->ts_recent = s->opt.tsval;
	c->ts_recent_s = (uint32_t)(qp_tcp_now(c->tcp) / QP_SEC_NS);
}

bool
qp_tcp_ack_input(struct qp_tcp_conn *c, struct qp_tcp_seg *s)
{
	struct qp_tcp_ack_news news = {0};

	if (!(s->flags & RTE_TCP_ACK_FLAG))
		return false;
	if (c->tcb.state == QP_TCP_SYN_RECEIVED) {
		if (!seq_lt(c->iss, s->ack) || !seq_leq(s->ack, c->snd_nxt)) {
			qp_tcp_wrong_syn_ack(c, s);
			return false;
		}
		if (!qp_tcp_establish(c, s, s->wnd << c->snd_wscale))
			return false;
	}
	/* RFC 5961, 5.2 */
	if (seq_lt(s->ack, c->snd_una - c->snd_max_wnd) || seq_lt(c->snd_nxt, s->ack)) {
		QP_TCP_COUNT(c->tcp, drop_out_of_window);
		if (seq_lt(c->snd_nxt, s->ack))
			QP_TCP_COUNT(c->tcp, ack_unsent);
		qp_tcp_challenge_ack(c);
		return false;
	}
	take_timestamp(c, s);
	c->keep_probes = 0;
	/* A probe's answer counts as life, and so does a closed window over what is in flight. */
	if (c->snd_una == c->snd_nxt || s->wnd == 0)
		c->progress_ms = qp_tcp_now_ms(c->tcp);
	if (seq_leq(c->snd_una, s->ack)) {
		news.dup = is_duplicate(c, s);
		update_window(c, s);
		qp_tcp_recovery_ack(c, s, &news);
		qp_tcp_stall_acked(c);
		if (news.acked_data > 0 && (c->flags & QP_TF_APP))
			c->ops->acked(c->ctx, news.acked_data);
		if (c->tcb.state == QP_TCP_CLOSED)
			return false;
		if (qp_tcp_fin_acked(c) && !fin_acknowledged(c))
			return false;
	}
	return true;
}
