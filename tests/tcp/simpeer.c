/* SPDX-License-Identifier: Apache-2.0 */
/* Peers of a test's own: frames, and a TCP as simple as can be. */
#include "tests/tcp/simpeer.h"

#include <string.h>

#include <rte_ip.h>

#define SIMPLE_RTO_NS (300 * QP_MS_NS)

/* The line corrupts: what an honest peer does not look at, it must not take. */
static bool
sums_right(const uint8_t *frame, uint32_t len)
{
	uint32_t l3 = frame[12] == 8 ? 20 : 40;
	uint8_t copy[65536 + 64];

	if (len < 14 + l3 + 20 || frame[14 + (l3 == 20 ? 9 : 6)] != IPPROTO_TCP)
		return false;
	memcpy(copy, frame, len);
	sim_line_finish(copy, l3, len - 14 - l3);
	return memcmp(copy, frame, len) == 0;
}

bool
sim_peer_parse(const uint8_t *frame, uint32_t len, struct sim_seg *s)
{
	uint32_t l3 = frame[12] == 8 ? 20 : 40, hlen;
	const struct rte_tcp_hdr *h = (const void *)(frame + 14 + l3);

	memset(s, 0, sizeof(*s));
	if (!sums_right(frame, len))
		return false;
	hlen = (h->data_off >> 4) * 4;
	s->flags = h->tcp_flags;
	s->seq = rte_be_to_cpu_32(h->sent_seq);
	s->ack = rte_be_to_cpu_32(h->recv_ack);
	s->wnd = rte_be_to_cpu_16(h->rx_win);
	s->data = (const uint8_t *)h + hlen;
	s->len = len - 14 - l3 - hlen;
	return qp_tcp_options_parse((const uint8_t *)(h + 1), hlen - 20, s->flags & RTE_TCP_SYN_FLAG,
		       &s->opt) == 0;
}

static void
put_ip(const struct sim_host *h, uint8_t *frame)
{
	const struct sim_host *to = h->peer;

	memcpy(frame, to->mac, 6);
	memcpy(frame + 6, h->mac, 6);
	if (h->sim->v6) {
		frame[12] = 0x86;
		frame[13] = 0xdd;
		frame[14] = 0x60;
		frame[14 + 6] = IPPROTO_TCP;
		frame[14 + 7] = 64;
		memcpy(frame + 14 + 8, &h->addr, 16);
		memcpy(frame + 14 + 24, &to->addr, 16);
	} else {
		frame[12] = 8;
		frame[14] = 0x45;
		frame[14 + 8] = 64;
		frame[14 + 9] = IPPROTO_TCP;
		memcpy(frame + 14 + 12, &h->addr.w[3], 4);
		memcpy(frame + 14 + 16, &to->addr.w[3], 4);
	}
}

void
sim_peer_send(struct sim_host *h, uint16_t from_port, uint16_t to_port, const struct sim_seg *s)
{
	uint8_t frame[14 + 40 + 60 + 9000] = {0}, options[QP_TCP_OPTIONS_MAX];
	uint32_t l3 = h->sim->v6 ? 40 : 20, n;
	struct rte_tcp_hdr *t = (void *)(frame + 14 + l3);

	n = s->junk != NULL ? s->junk_len : qp_tcp_options_write(options, &s->opt);
	put_ip(h, frame);
	*t = (struct rte_tcp_hdr) {
		.src_port = htons(from_port),
		.dst_port = htons(to_port),
		.sent_seq = rte_cpu_to_be_32(s->seq),
		.recv_ack = rte_cpu_to_be_32(s->ack),
		.data_off = (20 + n) / 4 << 4,
		.tcp_flags = s->flags,
		.rx_win = rte_cpu_to_be_16(s->wnd),
		.tcp_urp = rte_cpu_to_be_16(s->urgent),
	};
	memcpy(t + 1, s->junk != NULL ? s->junk : options, n);
	if (s->len != 0)
		memcpy((uint8_t *)(t + 1) + n, s->data, s->len);
	sim_line_finish(frame, l3, 20 + n + s->len);
	if (!h->lawless)
		sim_watch_sent(h, frame, 14 + l3 + 20 + n + s->len, 0);
	if (h->sim->traced)
		sim_trace(h, frame, 14 + l3 + 20 + n + s->len, "");
	sim_line_carry(h, frame, 14 + l3 + 20 + n + s->len, 0);
}

/* --- the simple TCP --- */

static void
simple_segment(struct sim_simple *p, uint64_t at, uint32_t len)
{
	uint8_t data[9000];
	struct sim_seg s = {.seq = p->iss + (uint32_t)at, .wnd = 20000};
	uint64_t fin = 1 + p->total;

	if (p->got_syn) {
		s.flags = RTE_TCP_ACK_FLAG;
		s.ack = p->irs + (uint32_t)p->rcv_nxt;
	}
	if (at == 0) {
		s.flags |= RTE_TCP_SYN_FLAG;
		s.opt.has_mss = true;
		s.opt.mss = p->mss;
	} else if (at == fin && len == 1) {
		s.flags |= RTE_TCP_FIN_FLAG;
	} else {
		s.len = len;
		s.data = data;
		for (uint32_t i = 0; i < len; i++)
			data[i] = sim_byte(p->seed_out, at - 1 + i);
	}
	sim_peer_send(p->h, p->port, p->peer_port, &s);
}

/* Sends what the window lets go; `force`: a byte at least, as a probe. */
static void
simple_push(struct sim_simple *p, bool force)
{
	uint64_t fin = 1 + p->total, limit = p->una + (uint64_t)p->window * p->mss;
	uint64_t offered = RTE_MAX(p->peer_wnd, force ? 1u : 0u);

	if (!p->active && !p->got_syn)
		return;
	limit = RTE_MIN(limit, p->una + offered);
	while (p->nxt <= fin) {
		uint64_t len = 1;

		if (p->nxt != 0 && p->nxt < fin) {
			len = RTE_MIN((uint64_t)p->mss, fin - p->nxt);
			len = RTE_MIN(len, limit > p->nxt ? limit - p->nxt : 0);
		}
		if (p->nxt != 0 && (len == 0 || p->nxt >= limit))
			break;
		simple_segment(p, p->nxt, (uint32_t)len);
		p->nxt += len;
		if (p->nxt == 1) /* nothing before the SYN is acknowledged */
			break;
	}
	if (p->h->wake_ns == UINT64_MAX && p->una < fin + 1)
		p->h->wake_ns = p->h->sim->now_ns + SIMPLE_RTO_NS;
}

static void
simple_wake(void *ctx)
{
	struct sim_simple *p = ctx;

	p->h->wake_ns = UINT64_MAX;
	if (p->una < p->total + 2) {
		p->nxt = p->una; /* all of it again */
		simple_push(p, true);
	}
}

static void
simple_take(struct sim_simple *p, const struct sim_seg *s)
{
	uint32_t rel = s->seq - p->irs, known = (uint32_t)p->rcv_nxt - rel;
	bool fin = s->flags & RTE_TCP_FIN_FLAG;

	if (s->len == 0 && !fin && !(s->flags & RTE_TCP_SYN_FLAG) && known == 0)
		return;
	/* What starts later than expected is not kept; what starts earlier may bring something. */
	if (!(s->flags & RTE_TCP_SYN_FLAG) && (int32_t)known >= 0 && known <= s->len && !p->got_fin) {
		for (uint32_t i = known; i < s->len; i++)
			p->wrong |= s->data[i] != sim_byte(p->seed_in, p->received++);
		p->rcv_nxt += s->len - known;
		p->got_fin = fin;
		p->rcv_nxt += fin;
	}
	simple_segment(p, RTE_MAX(p->nxt, UINT64_C(1)), 0);
}

static void
simple_input(void *ctx, const uint8_t *frame, uint32_t len)
{
	struct sim_simple *p = ctx;
	struct sim_seg s;

	if (!sim_peer_parse(frame, len, &s))
		return;
	if (s.flags & RTE_TCP_RST_FLAG) {
		p->was_reset = true;
		return;
	}
	if ((s.flags & RTE_TCP_SYN_FLAG) && !p->got_syn) {
		p->got_syn = true;
		p->irs = s.seq;
		p->rcv_nxt = 1;
	}
	if (!p->got_syn)
		return;
	if (s.flags & RTE_TCP_ACK_FLAG) {
		uint64_t ack = p->una + (uint32_t)(s.ack - p->iss - (uint32_t)p->una);

		if (ack <= p->una + 100000 && ack <= p->total + 2) {
			if (ack > p->una)
				p->h->wake_ns = UINT64_MAX;
			p->una = RTE_MAX(p->una, ack);
			p->nxt = RTE_MAX(p->nxt, p->una);
			p->peer_wnd = s.wnd;
		}
	}
	if (!(s.flags & RTE_TCP_SYN_FLAG) || p->una > 0)
		simple_take(p, &s);
	simple_push(p, false);
}

void
sim_simple_start(struct sim_simple *p)
{
	sim_take_over(p->h, simple_input, simple_wake, p);
	p->iss = (uint32_t)sim_random(p->h->sim);
	simple_push(p, false);
}

bool
sim_simple_done(const struct sim_simple *p)
{
	return p->got_fin && p->una == p->total + 2;
}
