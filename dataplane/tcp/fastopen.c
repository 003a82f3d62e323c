/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TCP Fast Open, passive side (RFC 7413): cookies, and connections that the
 * application has before the handshake ends. Thread: the owning lcore.
 *
 * Such a connection is in SYN-RECEIVED, but its sequence numbers are those of
 * an established one: snd_una is behind our SYN, whose repetition the
 * retransmission timer cares for. Data that was sent before the handshake's
 * end waits for that, too: a client that lost the SYN-ACK cannot take it.
 */
#include <string.h>

#include "dataplane/tcp/internal.h"

#define KEY_PERIOD_NS (14400 * QP_SEC_NS) /* a cookie is good for four to eight hours */
#define RESET_MEMORY_NS (60 * QP_SEC_NS)  /* a reset connection counts for so long, or twice */

/* 4.1.2: a MAC over both addresses, no port. */
static uint64_t
mac(const uint64_t key[2], const struct qp_flow *f)
{
	const uint64_t words[4] = {f->local.q[0], f->local.q[1], f->remote.q[0], f->remote.q[1]};

	return qp_siphash24(key, words, 4);
}

void
qp_tcp_fastopen_cookie(struct qp_tcp *tcp, const struct qp_flow *flow, struct qp_tcp_options *o)
{
	uint64_t cookie;

	qp_tcp_keyring_turn(&tcp->fastopen_keys, qp_tcp_now(tcp) / KEY_PERIOD_NS);
	cookie = mac(tcp->fastopen_keys.now, flow);
	o->has_fastopen = true;
	o->fastopen_len = sizeof(cookie);
	memcpy(o->fastopen, &cookie, sizeof(cookie));
}

/* Is it ours? One of the last period is, but calls for a fresh one. */
static bool
cookie_valid(struct qp_tcp *tcp, const struct qp_tcp_seg *s, bool *fresh)
{
	const struct qp_flow *f = &s->pkt->flow;
	uint64_t cookie;

	if (s->opt.fastopen_len != sizeof(cookie))
		return false;
	memcpy(&cookie, s->opt.fastopen, sizeof(cookie));
	qp_tcp_keyring_turn(&tcp->fastopen_keys, qp_tcp_now(tcp) / KEY_PERIOD_NS);
	*fresh = cookie == mac(tcp->fastopen_keys.now, f);
	return *fresh || cookie == mac(tcp->fastopen_keys.before, f);
}

/* Two periods' resets: those of this one and of the last. */
static void
turn_resets(struct qp_tcp *tcp)
{
	uint64_t period = qp_tcp_now(tcp) / RESET_MEMORY_NS;

	if (period == tcp->fastopen_reset_period)
		return;
	tcp->fastopen_resets[1] = period == tcp->fastopen_reset_period + 1 ? tcp->fastopen_resets[0] : 0;
	tcp->fastopen_resets[0] = 0;
	tcp->fastopen_reset_period = period;
}

/* 5.1: who sends resets in others' names after each SYN must not make room with them. */
void
qp_tcp_fastopen_reset(struct qp_tcp_conn *c)
{
	if (!(c->fastopen & QP_FO_PENDING))
		return;
	turn_resets(c->tcp);
	c->tcp->fastopen_resets[0]++;
}

void
qp_tcp_fastopen_end(struct qp_tcp_conn *c)
{
	if (!(c->fastopen & QP_FO_PENDING))
		return;
	c->fastopen &= ~QP_FO_PENDING;
	c->tcp->fastopen_pending--;
}

/* PendingFastOpenRequests (5.1), and payload is not for the last mbufs. */
static bool
over_limit(struct qp_tcp *tcp)
{
	turn_resets(tcp);
	return qp_tcp_memory(tcp) == QP_MEM_SCARCE ||
	       (uint64_t)tcp->fastopen_pending + tcp->fastopen_resets[0] + tcp->fastopen_resets[1] >=
		       tcp->cfg.fastopen_backlog;
}

/* 4.2.2: may the SYN's text go up now? Says with c->fastopen whether a cookie goes back. */
static bool
may_open(struct qp_tcp_conn *c, const struct qp_tcp_seg *s)
{
	struct qp_tcp *tcp = c->tcp;
	bool fresh;

	if (!tcp->cfg.fastopen || !s->opt.has_fastopen)
		return false;
	if (s->opt.fastopen_len == 0 || !cookie_valid(tcp, s, &fresh)) {
		if (s->opt.fastopen_len != 0)
			QP_TCP_COUNT(tcp, fastopen_invalid);
		c->fastopen |= QP_FO_COOKIE;
		QP_TCP_COUNT(tcp, fastopen_cookies);
		return false;
	}
	if (!fresh) {
		c->fastopen |= QP_FO_COOKIE;
		QP_TCP_COUNT(tcp, fastopen_cookies);
	}
	if (over_limit(tcp)) {
		QP_TCP_COUNT(tcp, fastopen_over_limit);
		return false;
	}
	return true;
}

/* Out of the backlog, with the windows that the SYNs tell of. */
static void
begin(struct qp_tcp_conn *c, const struct qp_tcp_seg *s)
{
	qp_tcp_half_close(c);
	c->fastopen |= QP_FO_PENDING;
	c->tcp->fastopen_pending++;
	c->snd_una = c->iss + 1;
	c->snd_wnd = c->snd_max_wnd = s->wnd;
	c->snd_wl1 = s->seq;
	c->snd_wl2 = c->snd_una;
	c->rcv_seg = qp_min(c->path_mss, c->peer_mss);
	c->tcp->cc->init(c);
}

bool
qp_tcp_fastopen_syn(struct qp_tcp_listener *l, struct qp_tcp_conn *c, struct qp_tcp_seg *s)
{
	struct qp_tcp *tcp = c->tcp;

	if (!may_open(c, s))
		return true;
	begin(c, s);
	c->ops = l->ops;
	if (l->ops->accept(l->ctx, c) != 0) {
		qp_tcp_send_rst(c, QP_TCP_RST_REFUSED);
		qp_tcp_conn_drop(c);
		return false;
	}
	QP_TCP_COUNT(tcp, passive_opens);
	QP_TCP_COUNT(tcp, fastopen_ok);
	c->flags |= QP_TF_APP;
	s->seq++; /* behind the SYN */
	s->len = s->data_len;
	s->flags &= ~RTE_TCP_SYN_FLAG;
	if (s->data_len > 0 && c->tcb.state != QP_TCP_CLOSED)
		qp_tcp_text_input(c, s);
	qp_tcp_work(c);
	return c->tcb.state != QP_TCP_CLOSED;
}

/* "Enter ESTABLISHED state": the application has been there before. */
void
qp_tcp_fastopen_established(struct qp_tcp_conn *c, const struct qp_tcp_seg *s, uint32_t wnd)
{
	bool in_flight = c->snd_una != c->snd_nxt;

	qp_tcp_fastopen_end(c);
	if (!in_flight && !(c->flags & QP_TF_SYN_RTX))
		qp_tcp_rtt_sample(c, qp_tcp_now(c->tcp) - c->last_tx_ns);
	c->snd_wnd = wnd;
	c->snd_wl1 = s->seq;
	c->snd_wl2 = s->ack;
	c->snd_max_wnd = qp_max(c->snd_max_wnd, wnd);
	if (!in_flight)
		c->cwnd = 0; /* anew, as the handshake went (RFC 5681, 3.1) */
	qp_tcp_conn_established(c);
	/* The SYN-ACK was lost, and with it all that came after it. */
	if (in_flight && (c->flags & QP_TF_SYN_RTX) && seq_lt(s->ack, c->snd_nxt))
		qp_tcp_recovery_rto(c);
	if (c->flags & QP_TF_FIN_QUEUED)
		c->tcb.state = QP_TCP_FIN_WAIT_1;
	qp_tcp_work(c);
}
