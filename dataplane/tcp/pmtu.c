/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The path's MTU: what ICMP claims (RFC 1191, 8201), with RFC 5927's defence
 * against forged claims; black holes and the search upwards (RFC 4821, with
 * RFC 8899's timers); the first hop's MTU. Thread: the owning lcore. Sizes are
 * path_mss's kind: without IP and fixed TCP header, options included.
 */
#include "dataplane/tcp/internal.h"

#define BLACK_HOLE_RTOS 3u           /* timeouts in a row (RFC 8899, 5.1.2: MAX_PROBES) */
#define V4_BASE_MSS     1024u        /* RFC 4821, 7.2 */
#define V4_FLOOR_MSS    (552u - 40)  /* as for ICMP's claims: icmp.c */
#define V6_BASE_MSS     (1280u - 60) /* what each IPv6 link takes */
#define PROBES          3u           /* of one size (RFC 8899, 5.1.2: MAX_PROBES) */
#define STEP            8u           /* a finer search does not pay */
#define BEHIND          4u           /* segments that follow a probe, so that SACK tells its loss */
#define RAISE_MS        (600u * 1000) /* RFC 8899, 5.1.1: PMTU_RAISE_TIMER */
#define INCONCLUSIVE_MS 1000u        /* until the next probe when a loss told nothing (RFC 4821, 7.6.4) */

static uint32_t
headers(const struct qp_tcp_conn *c)
{
	return (qp_ipaddr_is_v4(&c->tcb.flow.local) ? 20 : 40) + 20;
}

/* The most that is worth searching: what the peer and the first hop take. */
static uint32_t
limit(const struct qp_tcp_conn *c)
{
	uint32_t link = qp_tcp_link_mtu(c->tcp, &c->tcb.flow) - headers(c);

	return qp_min(link, (uint32_t)c->peer_mss);
}

static uint32_t
option_bytes(const struct qp_tcp_conn *c)
{
	return c->flags & QP_TF_TS ? 12 : 0;
}

/* From `wait_ms` on, sizes up to the limit are tried. */
static void
search(struct qp_tcp_conn *c, uint32_t wait_ms)
{
	c->mtu_fails = 0;
	c->mtu_high = limit(c) > c->path_mss ? (uint16_t)limit(c) : 0;
	c->mtu_next_ms = qp_tcp_now_ms(c->tcp) + wait_ms;
}

static void
forget_probe(struct qp_tcp_conn *c)
{
	c->x->probe = NULL;
	c->x->probe_mss = 0;
	c->x->probe_lost = false;
}

static void
reduce(struct qp_tcp_conn *c, uint32_t mss)
{
	c->path_mss = (uint16_t)mss;
	c->proven_mss = qp_min(c->proven_mss, c->path_mss);
	if (c->x == NULL)
		return;
	c->x->claim_mss = 0;
	forget_probe(c);
	qp_tcp_recovery_mtu(c);
}

static void
take_claim(struct qp_tcp_conn *c, uint32_t mss)
{
	QP_TCP_COUNT(c->tcp, icmp_mtu_taken);
	reduce(c, mss);
	search(c, RAISE_MS);
}

/* About the probe alone: the search need not go further than that. */
static bool
about_probe(struct qp_tcp_conn *c, uint32_t mss, uint32_t seq)
{
	const struct qp_tcp_xmit *x = c->x;

	if (x == NULL || x->probe == NULL || x->probe->seq != seq || mss >= x->probe_mss || mss < c->path_mss)
		return false;
	c->mtu_high = (uint16_t)mss;
	c->mtu_fails = 0;
	return true;
}

/*
 * RFC 5927, 7.2: what is smaller than segments that have arrived waits until
 * the segment it is about times out; an ACK of that segment refutes it. Of
 * several claims the one about the earliest segment waits.
 */
void
qp_tcp_pmtu_claim(struct qp_tcp_conn *c, uint32_t mtu, uint32_t seq)
{
	uint32_t mss = mtu - headers(c);

	if (mss >= qp_min(c->path_mss, c->peer_mss)) {
		if (!about_probe(c, mss, seq))
			QP_TCP_COUNT(c->tcp, icmp_ignored);
		return;
	}
	if (mss >= c->proven_mss || c->x == NULL) {
		take_claim(c, mss);
		return;
	}
	QP_TCP_COUNT(c->tcp, icmp_mtu_pending);
	if (c->x->claim_mss != 0 && seq_lt(c->x->claim_seq, seq))
		return;
	c->x->claim_mss = (uint16_t)mss;
	c->x->claim_seq = seq;
	c->x->claim_ns = qp_tcp_now(c->tcp);
}

/* The next size below a segment of `size` that is tried blindly; 0: none. */
static uint32_t
next_base(const struct qp_tcp_conn *c, uint32_t size)
{
	bool v4 = qp_ipaddr_is_v4(&c->tcb.flow.local);
	uint32_t base = v4 ? V4_BASE_MSS : V6_BASE_MSS, floor = v4 ? V4_FLOOR_MSS : V6_BASE_MSS;

	size = qp_min(size, (uint32_t)c->path_mss);
	if (size > base)
		return base;
	return size > floor ? floor : 0;
}

/* RFC 4821, 7.7: segments that are not small time out again and again, and nobody says why. */
static void
suspect_black_hole(struct qp_tcp_conn *c)
{
	const struct qp_tcp_rec *r = c->x->rec_head;
	uint32_t base = next_base(c, qp_min(r->end - r->seq, (uint32_t)r->mss) + option_bytes(c));

	if (!c->tcp->cfg.mtu_probing || c->backoff < BLACK_HOLE_RTOS || base == 0)
		return;
	QP_TCP_COUNT(c->tcp, mtu_black_holes);
	reduce(c, base);
	c->proven_mss = 0;
	search(c, 0);
}

void
qp_tcp_pmtu_timeout(struct qp_tcp_conn *c)
{
	const struct qp_tcp_rec *head = c->x != NULL ? c->x->rec_head : NULL;

	if (head == NULL)
		return;
	if (c->x->probe_mss != 0) { /* a timeout tells nothing of the probe's size (RFC 4821, 7.6.3) */
		forget_probe(c);
		c->mtu_next_ms = qp_tcp_now_ms(c->tcp) + INCONCLUSIVE_MS;
	}
	if (c->x->claim_mss != 0 && seq_lt(c->x->claim_seq, head->end))
		take_claim(c, c->x->claim_mss);
	else
		suspect_black_hole(c);
}

static void
raise(struct qp_tcp_conn *c)
{
	QP_TCP_COUNT(c->tcp, mtu_raised);
	c->path_mss = c->x->probe_mss;
	c->mtu_fails = 0;
	forget_probe(c);
	if (c->path_mss >= limit(c))
		c->mtu_high = 0;
	else if (c->path_mss + STEP > c->mtu_high)
		search(c, RAISE_MS);
}

void
qp_tcp_pmtu_delivered(struct qp_tcp_conn *c, const struct qp_tcp_rec *r, uint32_t end)
{
	uint32_t size = qp_min(end - r->seq, (uint32_t)r->mss) + option_bytes(c);
	struct qp_tcp_xmit *x = c->x;

	if (size > c->proven_mss)
		c->proven_mss = (uint16_t)size;
	if (x->claim_mss != 0 && ((seq_leq(r->seq, x->claim_seq) && seq_lt(x->claim_seq, end)) ||
					 (size > x->claim_mss && r->xmit_ns > x->claim_ns))) {
		QP_TCP_COUNT(c->tcp, icmp_mtu_refuted);
		x->claim_mss = 0;
	}
	if (r != x->probe)
		return;
	if (end == r->end)
		raise(c);
	else
		forget_probe(c); /* who acknowledges a part of a segment proves nothing */
}

/* The probe's range goes again, or in parts: what arrives tells nothing of its size. */
void
qp_tcp_pmtu_touched(struct qp_tcp_conn *c, const struct qp_tcp_rec *r)
{
	if (r == c->x->probe)
		forget_probe(c);
}

/*
 * RFC 4821, 7.6.1: a probe that alone was lost was too large; it goes again in
 * smaller segments, and the network is not to blame. Among other losses it
 * tells nothing (7.6.4).
 */
void
qp_tcp_pmtu_judge(struct qp_tcp_conn *c)
{
	uint32_t size = c->x->probe_mss;

	if (!c->x->probe_lost)
		return;
	QP_TCP_COUNT(c->tcp, mtu_probes_lost);
	forget_probe(c);
	if (!c->x->excused) {
		c->mtu_next_ms = qp_tcp_now_ms(c->tcp) + INCONCLUSIVE_MS;
		return;
	}
	/* An ICMP error has set a lower goal already, or there are tries left. */
	if (c->mtu_high < size || ++c->mtu_fails < PROBES)
		return;
	c->mtu_fails = 0;
	c->mtu_high = (uint16_t)(size - STEP);
	if (c->mtu_high < c->path_mss + STEP)
		search(c, RAISE_MS);
}

/* The limit first: most often a whole outage was taken for a black hole. Then by halves. */
static uint32_t
next_size(const struct qp_tcp_conn *c)
{
	if (c->mtu_high >= limit(c) || c->mtu_high < c->path_mss + 2 * STEP)
		return qp_min(c->mtu_high, limit(c));
	return (c->path_mss + c->mtu_high + 1u) / 2;
}

/* RFC 4821, 7.4: nothing is amiss, and what follows the probe can tell its loss. */
static bool
may_probe(const struct qp_tcp_conn *c)
{
	const struct qp_tcp_xmit *x = c->x;

	return c->mtu_high != 0 && c->tcp->cfg.mtu_probing && (c->flags & QP_TF_SACK) &&
	       c->ca == QP_CA_OPEN && c->proven_mss != 0 && x != NULL && x->probe_mss == 0 &&
	       x->lost_bytes == 0 && x->sacked_bytes == 0 && !x->tlp_open &&
	       (int32_t)(qp_tcp_now_ms(c->tcp) - c->mtu_next_ms) >= 0;
}

enum qp_tcp_probe
qp_tcp_pmtu_probe(struct qp_tcp_conn *c, uint32_t unsent)
{
	uint32_t mss = qp_tcp_mss(c), edge = c->snd_una + c->snd_wnd, pipe = qp_tcp_pipe(c);
	uint32_t wnd = seq_lt(c->snd_nxt, edge) ? edge - c->snd_nxt : 0, size, len, need;
	uint16_t before = c->path_mss;

	if (!may_probe(c))
		return QP_PROBE_NONE;
	size = next_size(c);
	if (size <= c->path_mss) {
		search(c, RAISE_MS);
		return QP_PROBE_NONE;
	}
	len = size - (qp_min(c->path_mss, c->peer_mss) - mss);
	need = len + BEHIND * mss;
	if (unsent < need || wnd < need || c->cwnd < need)
		return QP_PROBE_NONE;
	if (pipe + len > c->cwnd)
		return QP_PROBE_WAIT;
	c->path_mss = (uint16_t)size; /* for this one segment */
	if (qp_tcp_send_new(c, len) && c->x->rec_tail->end - c->x->rec_tail->seq == len) {
		c->x->probe = c->x->rec_tail;
		c->x->probe_mss = (uint16_t)size;
		QP_TCP_COUNT(c->tcp, mtu_probes);
	}
	c->path_mss = before;
	return c->x->probe != NULL ? QP_PROBE_SENT : QP_PROBE_NONE;
}

/* The flow comes in by another interface, or its MTU was changed. */
void
qp_tcp_pmtu_link(struct qp_tcp_conn *c, const struct qp_l2 *l2)
{
	uint32_t before = limit(c), mss;

	c->tcb.flow.l2 = *l2;
	mss = qp_tcp_link_mtu(c->tcp, &c->tcb.flow) - headers(c);
	if (mss < c->path_mss)
		reduce(c, mss);
	if (limit(c) > before) {
		search(c, 0);
	} else if (c->mtu_high > limit(c)) { /* a probe under way may be larger, too */
		c->mtu_high = limit(c) > c->path_mss ? (uint16_t)limit(c) : 0;
		c->mtu_fails = 0;
		if (c->x != NULL)
			forget_probe(c);
	}
}
