/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening: a SYN for a listener (RFC 9293, 3.10.7.2), what its options settle,
 * initial sequence numbers (RFC 6528), SYN cookies when half-open connections
 * are too many (RFC 4987, 3.6). Thread: the owning lcore.
 */
#include "common/error.h"
#include "dataplane/tcp/internal.h"
#include "dataplane/tcp/siphash.h"

#define WSCALE_NONE 15u
#define ECN_SETUP (RTE_TCP_ECE_FLAG | RTE_TCP_CWR_FLAG)

static uint64_t
keyed(const uint64_t key[2], const struct qp_flow *f, uint64_t extra)
{
	uint64_t words[6] = {f->local.q[0], f->local.q[1], f->remote.q[0], f->remote.q[1],
		(uint64_t)f->lport_be << 16 | f->rport_be, extra};

	return qp_siphash24(key, words, 6);
}

/* RFC 6528, 3: a clock of 4 µs plus a keyed hash of the flow. */
uint32_t
qp_tcp_isn(const struct qp_tcp *tcp, const struct qp_flow *flow)
{
	return (uint32_t)(qp_tcp_now(tcp) / 4000) + (uint32_t)keyed(tcp->isn_key, flow, 0);
}

/* The same for each life of a flow: its timestamps go on where they were (RFC 6191, 3). */
uint32_t
qp_tcp_ts_offset(const struct qp_tcp *tcp, const struct qp_flow *flow)
{
	return (uint32_t)keyed(tcp->ts_key, flow, 0);
}

uint8_t
qp_tcp_rcv_wscale(const struct qp_tcp *tcp)
{
	uint8_t shift = 0;

	while (shift < 14 && (UINT32_C(65535) << shift) < tcp->cfg.rcv_buf_bytes)
		shift++;
	return shift;
}

/* `c->flags` holds what we offer; what the peer's SYN lacks is off for good. */
void
qp_tcp_take_syn_options(struct qp_tcp_conn *c, const struct qp_tcp_seg *s)
{
	const struct qp_tcp_options *o = &s->opt;

	if (o->has_mss)
		c->peer_mss = qp_max(o->mss, QP_TCP_MIN_MSS);
	if (!o->sack_permitted)
		c->flags &= ~QP_TF_SACK;
	if (!o->has_ts)
		c->flags &= ~QP_TF_TS;
	if (!o->has_wscale) {
		c->flags &= ~QP_TF_WSCALE;
		c->rcv_wscale = 0;
	} else {
		c->snd_wscale = o->wscale;
	}
	qp_tcp_uto_input(c, o);
	c->ts_recent = o->tsval;
	c->ts_recent_s = (uint32_t)(qp_tcp_now(c->tcp) / QP_SEC_NS);
}

static void
set_iss(struct qp_tcp_conn *c, uint32_t iss)
{
	c->iss = iss;
	c->snd_una = iss;
	c->snd_nxt = iss + 1;
	c->snd_end = iss + 1;
	c->rack_round = iss;
}

/* A half-open connection for a SYN, or for what a cookie remembers of one. */
static struct qp_tcp_conn *
receive_syn(struct qp_tcp_listener *l, const struct qp_tcp_seg *s, uint32_t irs, uint32_t iss)
{
	struct qp_tcp_conn *c;

	if (!qp_tcp_source_take(l->tcp, &s->pkt->flow)) {
		QP_TCP_COUNT(l->tcp, drop_source_limit);
		return NULL;
	}
	c = qp_tcp_conn_new(l->tcp, &s->pkt->flow);
	if (c == NULL) {
		qp_tcp_source_give(l->tcp, &s->pkt->flow);
		QP_TCP_COUNT(l->tcp, drop_backlog);
		return NULL;
	}
	c->flags = QP_TF_PASSIVE | QP_TF_SACK | QP_TF_TS | QP_TF_WSCALE;
	c->rcv_wscale = qp_tcp_rcv_wscale(l->tcp);
	c->irs = irs;
	c->rcv_nxt = irs + 1;
	c->last_ack_sent = c->rcv_nxt;
	c->rcv_adv = c->rcv_nxt + qp_min(l->tcp->cfg.rcv_buf_bytes, UINT16_MAX);
	set_iss(c, iss);
	c->tcb.state = QP_TCP_SYN_RECEIVED;
	qp_tcp_half_open(c, l);
	return c;
}

static const uint16_t cookie_mss[8] = {536, 1220, 1300, 1380, 1440, 1460, 4312, 8960};

#define COOKIE_MAC_BITS 24u
#define COOKIE_MAC_MASK ((1u << COOKIE_MAC_BITS) - 1)
#define COOKIE_LIFE_NS  (64 * QP_SEC_NS) /* one step of its clock; valid for this one and the next */

/* Time step (5 bits), MSS index (3), MAC over all of it, the flow and the peer's ISN (24). */
static uint32_t
cookie_make(const struct qp_tcp *tcp, const struct qp_flow *flow, uint32_t irs, uint64_t step,
	unsigned mss_index)
{
	uint64_t mac = keyed(tcp->cookie_key, flow, (uint64_t)irs << 32 | step << 3 | mss_index);

	return (uint32_t)(step & 31) << 27 | mss_index << COOKIE_MAC_BITS |
	       (uint32_t)(mac & COOKIE_MAC_MASK);
}

static unsigned
cookie_mss_index(const struct qp_tcp_seg *s)
{
	uint16_t mss = s->opt.has_mss ? s->opt.mss : cookie_mss[0];
	unsigned i = 7;

	while (i > 0 && cookie_mss[i] > mss)
		i--;
	return i;
}

/*
 * What a cookie has no room for rides in the low six bits of our timestamp,
 * which must not run ahead of its clock (PAWS at the peer).
 */
static uint32_t
cookie_tsval(uint32_t now, const struct qp_tcp_options *o, bool ecn)
{
	uint32_t bits = (ecn ? 32u : 0) | (o->sack_permitted ? 16u : 0) | (o->has_wscale ? o->wscale : WSCALE_NONE);
	uint32_t ts = (now & ~63u) | bits;

	return seq_lt(now, ts) ? ts - 64 : ts;
}

static void
send_cookie(struct qp_tcp *tcp, const struct qp_tcp_seg *s)
{
	uint64_t now = qp_tcp_now(tcp);
	uint32_t mtu_mss = qp_tcp_link_mtu(tcp, &s->pkt->flow) - (qp_ipaddr_is_v4(&s->pkt->flow.local) ? 40 : 60);
	struct qp_tcp_reply r = {
		.flow = &s->pkt->flow,
		.seq = cookie_make(tcp, &s->pkt->flow, s->seq, now / COOKIE_LIFE_NS, cookie_mss_index(s)),
		.ack = s->seq + 1,
		.flags = RTE_TCP_SYN_FLAG | RTE_TCP_ACK_FLAG,
		.wnd = qp_min(tcp->cfg.rcv_buf_bytes, UINT16_MAX),
		.opt = {.has_mss = true, .mss = qp_min(mtu_mss, UINT16_MAX)},
	};

	if (s->opt.has_ts) {
		bool ecn = tcp->cfg.ecn != 0 && (s->flags & ECN_SETUP) == ECN_SETUP;
		uint32_t clock = (uint32_t)(now / QP_MS_NS) + qp_tcp_ts_offset(tcp, &s->pkt->flow);

		r.opt.has_ts = true;
		r.opt.tsval = cookie_tsval(clock, &s->opt, ecn);
		r.flags |= ecn ? RTE_TCP_ECE_FLAG : 0;
		r.opt.tsecr = s->opt.tsval;
		r.opt.sack_permitted = s->opt.sack_permitted;
		r.opt.has_wscale = s->opt.has_wscale;
		r.opt.wscale = qp_tcp_rcv_wscale(tcp);
	}
	tcp->cookies_until_ns = now + 2 * COOKIE_LIFE_NS;
	QP_TCP_COUNT(tcp, syn_cookies_sent);
	qp_tcp_send_reply(tcp, &r);
}

/* The SYN's options and ECN flags, as far as a valid cookie tells them; false when it is none of ours. */
static bool
cookie_check(const struct qp_tcp *tcp, struct qp_tcp_seg *s, uint8_t *syn_flags)
{
	uint64_t step = qp_tcp_now(tcp) / COOKIE_LIFE_NS;
	uint32_t cookie = s->ack - 1;
	unsigned index = cookie >> COOKIE_MAC_BITS & 7;

	if (qp_tcp_now(tcp) >= tcp->cookies_until_ns)
		return false;
	if (cookie_make(tcp, &s->pkt->flow, s->seq - 1, step, index) != cookie &&
		(step == 0 ||
			cookie_make(tcp, &s->pkt->flow, s->seq - 1, step - 1, index) != cookie))
		return false;
	s->opt.has_mss = true;
	s->opt.mss = cookie_mss[index];
	if (s->opt.has_ts) {
		uint32_t bits = s->opt.tsecr & 63;

		s->opt.sack_permitted = bits & 16;
		s->opt.has_wscale = (bits & 15) != WSCALE_NONE;
		s->opt.wscale = bits & 15;
		*syn_flags = bits & 32 ? ECN_SETUP : 0;
	}
	return true;
}

/* An ACK for a listener: the third of a handshake whose first is forgotten, or nobody's. */
static void
take_cookie(struct qp_tcp_listener *l, struct qp_tcp_seg *s)
{
	struct qp_tcp_conn *c;
	uint8_t syn_flags = 0;

	if ((s->flags & RTE_TCP_SYN_FLAG) || !cookie_check(l->tcp, s, &syn_flags)) {
		qp_tcp_refuse(l->tcp, s);
		return;
	}
	c = receive_syn(l, s, s->seq - 1, s->ack - 1);
	if (c == NULL)
		return;
	qp_tcp_take_syn_options(c, s);
	qp_tcp_ecn_syn_input(c, syn_flags);
	c->flags |= QP_TF_COOKIE;
	QP_TCP_COUNT(l->tcp, syn_cookies_ok);
	qp_tcp_segment_arrives(c, s);
}

static bool
from_itself(const struct qp_flow *f)
{
	return f->lport_be == f->rport_be && qp_ipaddr_equal(&f->local, &f->remote);
}

void
qp_tcp_listen_input(struct qp_tcp_listener *l, struct qp_tcp_seg *s, const uint32_t *iss_floor)
{
	struct qp_tcp *tcp = l->tcp;
	struct qp_tcp_conn *c;
	uint32_t iss;

	/* First, check for a RST; second, for an ACK. */
	if (s->flags & RTE_TCP_RST_FLAG)
		return;
	if (s->flags & RTE_TCP_ACK_FLAG) {
		take_cookie(l, s);
		return;
	}
	/* Third, check for a SYN: alone, and not from the very socket it is sent to. */
	if ((s->flags & (RTE_TCP_SYN_FLAG | RTE_TCP_FIN_FLAG)) != RTE_TCP_SYN_FLAG ||
		from_itself(&s->pkt->flow)) {
		QP_TCP_COUNT(tcp, drop_bad_segment);
		return;
	}
	if (tcp->half_open >= tcp->cfg.syn_backlog) {
		send_cookie(tcp, s);
		return;
	}
	iss = qp_tcp_isn(tcp, &s->pkt->flow);
	if (iss_floor != NULL && !seq_lt(*iss_floor + UINT16_MAX, iss))
		iss = *iss_floor + UINT16_MAX + 2; /* behind all that the last life may have sent */
	c = receive_syn(l, s, s->seq, iss);
	if (c == NULL)
		return;
	qp_tcp_take_syn_options(c, s);
	qp_tcp_ecn_syn_input(c, s->flags);
	/* Without Fast Open text that a SYN carries is not acknowledged: it comes again. */
	if (!qp_tcp_fastopen_syn(l, c, s))
		return;
	qp_tcp_send_syn(c);
	qp_tcp_timer_set(c, QP_TMR_RTX, qp_tcp_now(tcp) + c->rto_ns);
}

static bool
syn_given_up(const struct qp_tcp_conn *c)
{
	if (c->flags & QP_TF_PASSIVE)
		return c->backoff >= QP_TCP_SYNACK_TRIES;
	return qp_tcp_now_ms(c->tcp) - c->progress_ms >= QP_TCP_R2_SYN_NS / QP_MS_NS;
}

void
qp_tcp_syn_timeout(struct qp_tcp_conn *c)
{
	if (syn_given_up(c)) {
		qp_tcp_conn_end(c, QP_TCP_END_TIMEOUT);
		return;
	}
	c->flags |= QP_TF_SYN_RTX;
	qp_tcp_rto_backoff(c);
	QP_TCP_COUNT(c->tcp, retrans_segs);
	qp_tcp_send_syn(c);
	qp_tcp_timer_set(c, QP_TMR_RTX, qp_tcp_now(c->tcp) + c->rto_ns);
}

/* A local port that this remote end does not know yet (RFC 6056, 3.3.3). */
static bool
choose_port(struct qp_tcp *tcp, struct qp_flow *flow)
{
	const uint32_t first = 32768, count = 65536 - 32768;
	uint32_t offset;

	flow->lport_be = 0;
	offset = (uint32_t)keyed(tcp->isn_key, flow, 1);
	for (uint32_t i = 0; i < count; i++) {
		uint32_t n = offset + tcp->port_counter++;

		flow->lport_be = rte_cpu_to_be_16(first + n % count);
		if (qp_tcp_lookup(tcp, flow) == NULL && qp_tcp_find_listener(tcp, flow) == NULL)
			return true;
	}
	QP_TCP_COUNT(tcp, ports_exhausted);
	return false;
}

int
qp_tcp_connect(struct qp_tcp *tcp, const struct qp_flow *flow, const struct qp_tcp_ops *ops,
	void *ctx, struct qp_tcp_conn **out)
{
	struct qp_flow f = *flow;
	struct qp_tcp_conn *c;

	if (f.lport_be == 0 ? !choose_port(tcp, &f) : qp_tcp_lookup(tcp, &f) != NULL)
		return QP_E_INUSE;
	c = qp_tcp_conn_new(tcp, &f);
	if (c == NULL)
		return QP_E_NOMEM;
	c->ops = ops;
	c->ctx = ctx;
	c->flags = QP_TF_APP | QP_TF_SACK | QP_TF_TS | QP_TF_WSCALE;
	c->rcv_wscale = qp_tcp_rcv_wscale(tcp);
	set_iss(c, qp_tcp_isn(tcp, &f));
	c->tcb.state = QP_TCP_SYN_SENT;
	QP_TCP_COUNT(tcp, active_opens);
	qp_tcp_send_syn(c);
	qp_tcp_timer_set(c, QP_TMR_RTX, qp_tcp_now(tcp) + c->rto_ns);
	*out = c;
	return 0;
}
