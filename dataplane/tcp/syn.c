/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening: a SYN for a listener (RFC 9293, 3.10.7.2), what its options settle,
 * initial sequence numbers (RFC 6528), SYN cookies when half-open connections
 * are too many (RFC 4987, 3.6). Thread: the owning lcore.
 */
#include "dataplane/tcp/internal.h"
#include "dataplane/tcp/siphash.h"

#define WSCALE_NONE 15u
#define ECN_SETUP (RTE_TCP_ECE_FLAG | RTE_TCP_CWR_FLAG)

uint64_t
qp_tcp_keyed(const uint64_t key[2], const struct qp_flow *f, uint64_t extra)
{
	uint64_t words[6] = {f->local.q[0], f->local.q[1], f->remote.q[0], f->remote.q[1],
		(uint64_t)f->lport_be << 16 | f->rport_be, extra};

	return qp_siphash24(key, words, 6);
}

/* RFC 6528, 3: a clock of 4 µs plus a keyed hash of the flow. */
uint32_t
qp_tcp_isn(const struct qp_tcp *tcp, const struct qp_flow *flow)
{
	return (uint32_t)(qp_tcp_now(tcp) / 4000) + (uint32_t)qp_tcp_keyed(tcp->isn_key, flow, 0);
}

/* The same for each life of a flow: its timestamps go on where they were (RFC 6191, 3). */
uint32_t
qp_tcp_ts_offset(const struct qp_tcp *tcp, const struct qp_flow *flow)
{
	return (uint32_t)qp_tcp_keyed(tcp->ts_key, flow, 0);
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

void
qp_tcp_set_iss(struct qp_tcp_conn *c, uint32_t iss)
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
	qp_tcp_set_iss(c, iss);
	c->tcb.state = QP_TCP_SYN_RECEIVED;
	qp_tcp_half_open(c, l);
	return c;
}

static const uint16_t cookie_mss[8] = {536, 1220, 1300, 1380, 1440, 1460, 4312, 8960};

#define COOKIE_MAC_BITS 24u
#define COOKIE_MAC_MASK ((1u << COOKIE_MAC_BITS) - 1)
#define COOKIE_LIFE_NS  (64 * QP_SEC_NS) /* one step of its clock; valid for this one and the next */

/*
 * Time step (5 bits), MSS index (3), MAC over all of it, the flow and the
 * peer's ISN (24). Each step has a key of its own: what somebody learns of one
 * helps for two minutes at most.
 */
static uint32_t
cookie_make(const uint64_t key[2], const struct qp_flow *flow, uint32_t irs, uint64_t step,
	unsigned mss_index)
{
	uint64_t mac = qp_tcp_keyed(key, flow, (uint64_t)irs << 32 | step << 3 | mss_index);

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
	uint32_t bits = (ecn ? 32u : 0) | (o->sack_permitted ? 16u : 0) |
			(o->has_wscale ? o->wscale : WSCALE_NONE);
	uint32_t ts = (now & ~63u) | bits;

	return seq_lt(now, ts) ? ts - 64 : ts;
}

static void
send_cookie(struct qp_tcp *tcp, const struct qp_tcp_seg *s)
{
	uint64_t now = qp_tcp_now(tcp), step = now / COOKIE_LIFE_NS;
	uint32_t mtu_mss = qp_tcp_link_mtu(tcp, &s->pkt->flow) - (qp_ipaddr_is_v4(&s->pkt->flow.local) ? 40 : 60);
	struct qp_tcp_reply r;

	qp_tcp_keyring_turn(&tcp->cookie_keys, step);
	r = (struct qp_tcp_reply) {
		.flow = &s->pkt->flow,
		.seq = cookie_make(tcp->cookie_keys.now, &s->pkt->flow, s->seq, step, cookie_mss_index(s)),
		.ack = s->seq + 1,
		.flags = RTE_TCP_SYN_FLAG | RTE_TCP_ACK_FLAG,
		.wnd = qp_min(tcp->cfg.rcv_buf_bytes, UINT16_MAX),
		.opt = {.has_mss = true, .mss = qp_min(mtu_mss, UINT16_MAX)},
	};
	/* Without timestamps the MSS is all that comes back. */
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

/* The SYN's options and ECN flags, as far as a valid cookie tells; false when it is none of ours. */
static bool
cookie_check(struct qp_tcp *tcp, struct qp_tcp_seg *s, uint8_t *syn_flags)
{
	uint64_t step = qp_tcp_now(tcp) / COOKIE_LIFE_NS;
	uint32_t cookie = s->ack - 1;
	unsigned index = cookie >> COOKIE_MAC_BITS & 7;

	if (qp_tcp_now(tcp) >= tcp->cookies_until_ns)
		return false;
	qp_tcp_keyring_turn(&tcp->cookie_keys, step);
	if (cookie_make(tcp->cookie_keys.now, &s->pkt->flow, s->seq - 1, step, index) != cookie &&
		cookie_make(tcp->cookie_keys.before, &s->pkt->flow, s->seq - 1, step - 1, index) != cookie)
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

/*
 * Text from behind the segment that brings a cookie, while there are some: a
 * reset would kill a connection whose segments are merely out of order. It
 * comes again, after the first.
 */
static bool
may_be_early(const struct qp_tcp *tcp, const struct qp_tcp_seg *s)
{
	return s->len > 0 && !(s->flags & RTE_TCP_SYN_FLAG) && qp_tcp_now(tcp) < tcp->cookies_until_ns;
}

/* The application's word on who may come at all; a no is answered. */
static bool
may_connect(struct qp_tcp_listener *l, const struct qp_tcp_seg *s)
{
	if (l->ops->may_connect == NULL || l->ops->may_connect(l->ctx, &s->pkt->flow))
		return true;
	qp_tcp_refuse(l->tcp, s);
	return false;
}

/* An ACK for a listener: the third of a handshake whose first is forgotten, or nobody's. */
static void
take_cookie(struct qp_tcp_listener *l, struct qp_tcp_seg *s)
{
	struct qp_tcp_conn *c;
	uint8_t syn_flags = 0;

	if ((s->flags & RTE_TCP_SYN_FLAG) || !cookie_check(l->tcp, s, &syn_flags)) {
		if (may_be_early(l->tcp, s))
			QP_TCP_COUNT(l->tcp, drop_cookie_early);
		else
			qp_tcp_refuse(l->tcp, s);
		return;
	}
	if (!may_connect(l, s))
		return;
	c = receive_syn(l, s, s->seq - 1, s->ack - 1);
	if (c == NULL)
		return;
	qp_tcp_take_syn_options(c, s);
	qp_tcp_ecn_syn_input(c, syn_flags);
	c->flags |= QP_TF_COOKIE;
	QP_TCP_COUNT(l->tcp, syn_cookies_ok);
	qp_tcp_segment_arrives(c, s);
}

uint32_t
qp_tcp_later_iss(uint32_t iss, uint32_t last)
{
	return seq_lt(last + UINT16_MAX, iss) ? iss : last + UINT16_MAX + 2;
}

/*
 * An ACK that is not for our SYN-ACK: for a cookie, if a SYN came twice and the
 * backlog was full the first time; the client has taken the one it got first.
 * `c` is gone, or lives on and the peer is reset.
 */
void
qp_tcp_wrong_syn_ack(struct qp_tcp_conn *c, struct qp_tcp_seg *s)
{
	struct qp_tcp_listener *l;
	uint8_t syn_flags;

	if (!(c->flags & QP_TF_HALF_OPEN) || !cookie_check(c->tcp, s, &syn_flags)) {
		qp_tcp_refuse(c->tcp, s);
		return;
	}
	l = qp_tcp_half_listener(c);
	qp_tcp_conn_drop(c);
	take_cookie(l, s);
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
	if (!may_connect(l, s))
		return;
	if (tcp->half_open >= tcp->cfg.syn_backlog) {
		send_cookie(tcp, s);
		return;
	}
	iss = qp_tcp_isn(tcp, &s->pkt->flow);
	if (iss_floor != NULL)
		iss = qp_tcp_later_iss(iss, *iss_floor);
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
	qp_tcp_syn_again(c);
}

void
qp_tcp_syn_again(struct qp_tcp_conn *c)
{
	c->rtx_kind = QP_RTX_RTO;
	QP_TCP_COUNT(c->tcp, retrans_segs);
	qp_tcp_send_syn(c);
	qp_tcp_timer_set(c, QP_TMR_RTX, qp_tcp_now(c->tcp) + c->rto_ns);
}
