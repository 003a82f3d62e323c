/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A connection's segments as frames: options, the window to offer, headers,
 * payload by reference; ACKs, probes, resets and SYNs. Thread: the owning
 * lcore. What is sent when is left to output.c and timers.c.
 */
#include <string.h>

#include "dataplane/tcp/internal.h"

/* Of options other than SACK blocks. */
static uint32_t
fixed_bytes(const struct qp_tcp_conn *c)
{
	return (c->flags & QP_TF_TS ? 12 : 0) + (c->uto & QP_UTO_SEND ? 4 : 0);
}

/* The blocks that fit beside `used` bytes. */
static uint32_t
sack_max(uint32_t used)
{
	return qp_min((QP_TCP_OPTIONS_MAX - used - 4) / 8, (uint32_t)QP_TCP_SACK_MAX);
}

/* The options of a segment that goes out now; SYNs have their own. */
static void
segment_options(const struct qp_tcp_conn *c, struct qp_tcp_options *o)
{
	memset(o, 0, sizeof(*o));
	if (c->flags & QP_TF_TS) {
		o->has_ts = true;
		o->tsval = qp_tcp_tsval(c);
		o->tsecr = c->ts_recent;
	}
	if (c->uto & QP_UTO_SEND)
		qp_tcp_uto_options(c, o);
	if ((c->flags & QP_TF_SACK) && (c->ooo_head != NULL || (c->flags & QP_TF_DSACK)))
		o->nsack = qp_tcp_sack_blocks(c, o->sack, sack_max(fixed_bytes(c)));
}

static uint32_t
options_bytes(const struct qp_tcp_conn *c)
{
	uint32_t n = fixed_bytes(c);
	uint32_t blocks = c->ooo_ranges + !!(c->flags & QP_TF_DSACK);

	if ((c->flags & QP_TF_SACK) && blocks != 0)
		n += 4 + 8 * qp_min(blocks, sack_max(n));
	return n;
}

uint32_t
qp_tcp_mss(const struct qp_tcp_conn *c)
{
	return qp_min(c->peer_mss, c->path_mss) - options_bytes(c);
}

/* The most payload a frame carries: whole segments, as many as the port takes at once. */
uint32_t
qp_tcp_frame_payload_max(const struct qp_tcp_conn *c, uint32_t mss)
{
	uint32_t headers = (qp_ipaddr_is_v4(&c->tcb.flow.local) ? 20 : 40) + 20 + options_bytes(c);
	uint32_t frame = qp_min(c->tcp->env.max_frame_bytes, UINT16_MAX);

	if (frame < 14 + headers + mss)
		return mss;
	return (frame - 14 - headers) / mss * mss;
}

uint32_t
qp_tcp_rcv_space(const struct qp_tcp_conn *c)
{
	uint32_t buf = qp_tcp_rcv_limit(c);

	if (qp_tcp_memory(c->tcp) != QP_MEM_PLENTY)
		buf = qp_min(buf, QP_TCP_TIGHT_BYTES);
	buf = buf > c->rcv_held ? buf - c->rcv_held : 0;
	return qp_min(buf, UINT32_C(65535) << c->rcv_wscale); /* what the field can say */
}

/*
 * The window field for a segment sent now. Out-of-order bytes lie inside the
 * window, so held bytes alone bound it. The edge moves by a useful step or not
 * at all (RFC 9293, 3.8.6.2.2). A window that is no multiple of the scale is
 * rounded down; rcv_adv keeps what was once offered (RFC 7323, 2.4).
 */
static uint16_t
offer_window(struct qp_tcp_conn *c)
{
	uint32_t step = qp_min(qp_tcp_rcv_limit(c) / 2, c->rcv_seg);
	uint32_t edge = c->rcv_nxt + qp_tcp_rcv_space(c), wnd;

	if (seq_lt(edge, c->rcv_adv + step))
		edge = seq_max(c->rcv_adv, c->rcv_nxt);
	wnd = qp_min((edge - c->rcv_nxt) >> c->rcv_wscale, UINT16_MAX);
	c->rcv_adv = seq_max(c->rcv_adv, c->rcv_nxt + (wnd << c->rcv_wscale));
	return wnd;
}

static struct rte_mbuf *
start_frame(struct qp_tcp_conn *c, uint32_t seq, uint8_t flags, uint16_t wnd,
	const struct qp_tcp_options *opt)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(c->tcp->env.pool);
	uint8_t bytes[QP_TCP_OPTIONS_MAX];
	unsigned n = qp_tcp_options_write(bytes, opt);
	struct rte_tcp_hdr *h;

	if (m == NULL) {
		QP_TCP_COUNT(c->tcp, drop_no_memory);
		return NULL;
	}
	/* RFC 3168, 6.1.3 */
	if ((c->ecn & QP_ECN_ECHO) && !(flags & (RTE_TCP_SYN_FLAG | RTE_TCP_RST_FLAG)))
		flags |= RTE_TCP_ECE_FLAG;
	h = (void *)rte_pktmbuf_append(m, sizeof(*h) + n);
	*h = (struct rte_tcp_hdr) {
		.src_port = c->tcb.flow.lport_be,
		.dst_port = c->tcb.flow.rport_be,
		.sent_seq = rte_cpu_to_be_32(seq),
		.recv_ack = rte_cpu_to_be_32(flags & RTE_TCP_ACK_FLAG ? c->rcv_nxt : 0),
		.data_off = (sizeof(*h) + n) / 4 << 4,
		.tcp_flags = flags,
		.rx_win = rte_cpu_to_be_16(wnd),
	};
	memcpy(h + 1, bytes, n);
	m->l4_len = sizeof(*h) + n;
	return m;
}

static void
emit(struct qp_tcp_conn *c, struct rte_mbuf *m, bool acks, uint8_t tos)
{
	struct qp_tcp *tcp = c->tcp;

	if (acks) {
		c->last_ack_sent = c->rcv_nxt;
		c->flags &= ~(QP_TF_ACK_NOW | QP_TF_DSACK);
		qp_tcp_timer_clear(c, QP_TMR_ACK);
	}
	qp_ip_encap(m, &c->tcb.flow, IPPROTO_TCP, tos, tcp->env.own_mac);
	QP_TCP_COUNT(tcp, segs_out);
	tcp->env.transmit(tcp->env.transmit_ctx, m);
}

/* A frame of payload [seq, seq + len) from (m, off); returns the bytes sent, -1 for no mbuf. */
int64_t
qp_tcp_send_payload(struct qp_tcp_conn *c, uint32_t seq, struct rte_mbuf *m, uint32_t off, uint32_t len,
	bool fin)
{
	bool push;
	struct qp_tcp_options opt;
	struct rte_mbuf *frame;
	uint32_t mss = qp_tcp_mss(c), done;
	/* RFC 3168, 6.1.5: nothing is ECT that is sent again. */
	bool ect = (c->ecn & QP_ECN_SEND) && seq == c->snd_nxt && len != 0;
	bool cwr = ect && (c->ecn & QP_ECN_CWR);

	/* CWR is for one segment; ports differ in what they make of a super-segment's. */
	if (cwr && len > mss) {
		len = mss;
		fin = false;
	}
	segment_options(c, &opt);
	frame = start_frame(c, seq, RTE_TCP_ACK_FLAG | (cwr ? RTE_TCP_CWR_FLAG : 0),
		offer_window(c), &opt);
	if (frame == NULL)
		return -1;
	push = seq + len == c->snd_end;
	done = qp_tcp_clone_payload(c->tcp, frame, m, off, len);
	if (done == 0 && len != 0) {
		rte_pktmbuf_free(frame);
		return -1;
	}
	if (done == len && (push || fin)) {
		struct rte_tcp_hdr *h = rte_pktmbuf_mtod(frame, struct rte_tcp_hdr *);

		h->tcp_flags |= (push && len != 0 ? RTE_TCP_PSH_FLAG : 0) | (fin ? RTE_TCP_FIN_FLAG : 0);
	}
	if (done > mss) {
		frame->ol_flags |= RTE_MBUF_F_TX_TCP_SEG;
		frame->tso_segsz = mss;
	}
	if (cwr)
		c->ecn &= ~QP_ECN_CWR;
	c->uto &= ~QP_UTO_SEND;
	c->last_tx_ns = qp_tcp_now(c->tcp);
	emit(c, frame, true, ect ? QP_TOS_ECT : 0);
	return done;
}

static bool
send_empty(struct qp_tcp_conn *c, uint32_t seq, uint8_t flags)
{
	struct qp_tcp_options opt;
	struct rte_mbuf *m;

	segment_options(c, &opt);
	m = start_frame(c, seq, flags, offer_window(c), &opt);
	if (m == NULL)
		return false;
	if (seq == c->snd_nxt) /* a probe's options are not looked at */
		c->uto &= ~QP_UTO_SEND;
	emit(c, m, true, 0);
	return true;
}

void
qp_tcp_retry_later(struct qp_tcp_conn *c)
{
	qp_tcp_timer_set(c, QP_TMR_RETRY, qp_tcp_now(c->tcp) + QP_TCP_RETRY_NS);
}

void
qp_tcp_send_ack(struct qp_tcp_conn *c)
{
	if (!send_empty(c, c->snd_nxt, RTE_TCP_ACK_FLAG)) {
		c->flags |= QP_TF_ACK_NOW;
		qp_tcp_retry_later(c);
	}
}

bool
qp_tcp_may_answer(struct qp_tcp_conn *c)
{
	uint32_t second = (uint32_t)(qp_tcp_now(c->tcp) / QP_SEC_NS);

	/* For each connection by itself: a shared limit would tell others of it (CVE-2016-5696). */
	if (second != c->challenge_s) {
		c->challenge_s = second;
		c->challenges = 0;
	}
	if (c->challenges >= QP_TCP_CHALLENGES)
		return false;
	c->challenges++;
	return true;
}

void
qp_tcp_limited_ack(struct qp_tcp_conn *c)
{
	if (qp_tcp_may_answer(c))
		qp_tcp_send_ack(c);
}

void
qp_tcp_challenge_ack(struct qp_tcp_conn *c)
{
	if (!qp_tcp_may_answer(c))
		return;
	QP_TCP_COUNT(c->tcp, challenge_acks);
	qp_tcp_send_ack(c);
}

void
qp_tcp_send_probe(struct qp_tcp_conn *c)
{
	send_empty(c, c->snd_una - 1, RTE_TCP_ACK_FLAG);
}

void
qp_tcp_count_rst(struct qp_tcp *tcp, enum qp_tcp_rst why)
{
	struct qp_tcp_counters *c = &tcp->counters;
	uint64_t *const causes[] = {
		[QP_TCP_RST_STRAY] = &c->rst_stray,
		[QP_TCP_RST_REFUSED] = &c->rst_refused,
		[QP_TCP_RST_ABORTED] = &c->rst_aborted,
		[QP_TCP_RST_TIMEOUT] = &c->rst_timeout,
		[QP_TCP_RST_NO_MEMORY] = &c->rst_no_memory,
		[QP_TCP_RST_CLOSED] = &c->rst_closed,
	};

	c->rst_out++;
	++*causes[why];
}

void
qp_tcp_send_rst(struct qp_tcp_conn *c, enum qp_tcp_rst why)
{
	/* RFC 9293, 3.10.5: nothing to reset before the peer has answered. */
	if (c->tcb.state == QP_TCP_CLOSED || c->tcb.state == QP_TCP_SYN_SENT)
		return;
	/* Nor when both have closed and our FIN alone is in flight. */
	if ((c->tcb.state == QP_TCP_CLOSING || c->tcb.state == QP_TCP_LAST_ACK) &&
		(c->flags & QP_TF_FIN_SENT) && c->snd_una == c->snd_end)
		return;
	if (send_empty(c, c->snd_nxt, RTE_TCP_RST_FLAG | RTE_TCP_ACK_FLAG))
		qp_tcp_count_rst(c->tcp, why);
}

void
qp_tcp_send_syn(struct qp_tcp_conn *c)
{
	bool answer = c->tcb.state == QP_TCP_SYN_RECEIVED;
	uint16_t wnd = qp_min(c->tcp->cfg.rcv_buf_bytes, UINT16_MAX);
	struct qp_tcp_options opt = {
		.has_mss = true,
		.mss = c->path_mss,
		.has_ts = c->flags & QP_TF_TS,
		.has_wscale = c->flags & QP_TF_WSCALE,
		.wscale = c->rcv_wscale,
		.sack_permitted = c->flags & QP_TF_SACK,
		.tsval = qp_tcp_tsval(c),
		.tsecr = answer ? c->ts_recent : 0,
	};
	struct rte_mbuf *m;
	uint8_t flags;

	wnd -= qp_min(c->rcv_held, (uint32_t)wnd); /* a SYN's text (RFC 7413) */
	if (c->tcp->cfg.user_timeout_option)
		qp_tcp_uto_options(c, &opt);
	if (c->fastopen & QP_FO_COOKIE)
		qp_tcp_fastopen_cookie(c->tcp, &c->tcb.flow, &opt);
	flags = RTE_TCP_SYN_FLAG | (answer ? RTE_TCP_ACK_FLAG : 0) | qp_tcp_ecn_syn_flags(c);
	m = start_frame(c, c->iss, flags, wnd, &opt);
	if (m == NULL) /* as if it had been lost: the timer sends it again */
		return;
	c->last_tx_ns = qp_tcp_now(c->tcp);
	if (answer)
		c->rcv_adv = seq_max(c->rcv_adv, c->rcv_nxt + wnd);
	emit(c, m, answer, 0);
}
