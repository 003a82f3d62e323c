/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ICMP and ICMPv6 about a connection with data in flight. Each message begins
 * as a right one that quotes what is in flight; then the input has its way
 * with it. No message ends a connection that is established, none drives its
 * segments below the least MTU of the IP version or above the link's, and
 * afterwards everything that was queued gets through (RFC 5927, 1191, 8201).
 */
#include <string.h>

#include <rte_mempool.h>

#include "tests/fuzz/tcp_world.h"

#define LINK_MTU 1500u
#define PEER_WND 60000u

struct peer {
	uint8_t got[1 << 18];  /* by position in the stack's stream */
	uint32_t next;         /* the first position not got */
	bool deaf;             /* what the stack sends is lost */
};

static void
on_frame(struct fuzz_world *w, const struct fuzz_frame *f, const struct rte_mbuf *m)
{
	struct peer *p = w->ctx;
	uint32_t at = f->seq - w->iss - 1;

	if (p->deaf)
		return;
	for (uint32_t i = 0; i < f->len && at + i < sizeof(p->got); i++)
		p->got[at + i] = 1;
	while (p->next < sizeof(p->got) && p->got[p->next])
		p->next++;
}

static void
acknowledge(struct fuzz_world *w, uint32_t pos)
{
	struct fuzz_segment s = {.ack = w->iss + 1 + pos, .flags = RTE_TCP_ACK_FLAG, .wnd = PEER_WND};
	struct fuzz_numbers n;

	fuzz_world_numbers(w, &n);
	s.seq = n.rcv_nxt;
	fuzz_world_timestamp(w, &s);
	fuzz_world_input(w, &s);
}

static void
put16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static void
put32(uint8_t *p, uint32_t v)
{
	put16(p, v >> 16);
	put16(p + 2, v);
}

/* The IP header of ours that a router would quote, and the first 8 bytes of TCP. */
static unsigned
quote(const struct fuzz_world *w, uint32_t seq, uint8_t *p)
{
	unsigned hlen = w->setup.v6 ? 40 : 20;

	if (w->setup.v6) {
		p[0] = 0x60;
		put16(p + 4, LINK_MTU - 40);
		p[6] = IPPROTO_TCP;
		memcpy(p + 8, &w->flow.local, 16);
		memcpy(p + 24, &w->flow.remote, 16);
	} else {
		p[0] = 0x45;
		put16(p + 2, LINK_MTU);
		p[6] = 0x40;
		p[9] = IPPROTO_TCP;
		memcpy(p + 12, &w->flow.local.w[3], 4);
		memcpy(p + 16, &w->flow.remote.w[3], 4);
	}
	memcpy(p + hlen, &w->flow.lport_be, 2);
	memcpy(p + hlen + 2, &w->flow.rport_be, 2);
	put32(p + hlen + 4, seq);
	return hlen + 8;
}

/* Kinds that the stack acts upon are likely; any other is possible. */
static void
kind(struct fuzz_input *in, const struct fuzz_world *w, uint8_t *icmp)
{
	uint8_t which = fuzz_get8(in);

	if (which & 0x80) {
		icmp[0] = fuzz_get8(in);
		icmp[1] = fuzz_get8(in);
	} else if (which & 1) { /* unreachable */
		icmp[0] = w->setup.v6 ? 1 : 3;
		icmp[1] = (which >> 1) % 16;
	} else { /* packet too big */
		icmp[0] = w->setup.v6 ? 2 : 3;
		icmp[1] = w->setup.v6 ? 0 : 4;
	}
	put32(icmp + 4, which & 0x40 ? fuzz_get32(in) : fuzz_get16(in) % 2048);
}

static void
deliver(struct fuzz_world *w, const uint8_t *icmp, unsigned len, unsigned first)
{
	struct qp_packet pkt = {.flow = w->flow, .l3_off = 14, .l4_off = w->setup.v6 ? 54 : 34,
		.l4_len = len, .proto = w->setup.v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP};
	struct rte_mbuf *m = fuzz_world_mbuf(), *rest;

	if (m == NULL)
		return;
	/* The parser has the first eight bytes in the first mbuf. */
	first = RTE_MAX(first, 8u);
	first = RTE_MIN(first, len);
	memcpy(rte_pktmbuf_append(m, pkt.l4_off + first) + pkt.l4_off, icmp, first);
	rest = first < len ? fuzz_world_mbuf() : NULL;
	if (rest != NULL) {
		memcpy(rte_pktmbuf_append(rest, len - first), icmp + first, len - first);
		rte_pktmbuf_chain(m, rest);
	}
	pkt.l4_len = m->pkt_len - pkt.l4_off;
	qp_tcp_icmp_input(w->tcp, m, &pkt);
}

static void
check_path(const struct fuzz_world *w)
{
	unsigned headers = w->setup.v6 ? 60 : 40;

	if (w->c == NULL)
		return;
	FUZZ_CHECK(w->c->path_mss + headers >= (w->setup.v6 ? 1280u : 552u));
	FUZZ_CHECK(w->c->path_mss + headers <= LINK_MTU);
}

static void
step_icmp(struct fuzz_input *in, struct fuzz_world *w)
{
	uint8_t icmp[256] = {0}, how = fuzz_get8(in);
	struct fuzz_numbers before, after;
	unsigned len;
	uint32_t seq;

	fuzz_world_numbers(w, &before);
	seq = before.snd_una;
	if (how & 1)
		seq += fuzz_get16(in);
	else if (how & 2)
		seq -= fuzz_get8(in);
	kind(in, w, icmp);
	len = 8 + quote(w, seq, icmp + 8) + (how >> 2 & 3) * 20;
	for (unsigned edits = how >> 6; edits > 0; edits--) {
		uint8_t at = fuzz_get8(in);

		icmp[at] ^= fuzz_get8(in);
	}
	if (how & 0x10)
		len = 8 + fuzz_get8(in) % (len - 7);
	deliver(w, icmp, len, how & 0x20 ? fuzz_get8(in) : len);
	fuzz_world_numbers(w, &after);
	/* Only an active open that nobody has answered yet ends (RFC 1122, 4.2.3.9). */
	FUZZ_CHECK(after.state == before.state ||
		   (before.state == QP_TCP_SYN_SENT && w->why == QP_TCP_END_UNREACHABLE));
	FUZZ_CHECK(after.snd_una == before.snd_una || after.state == QP_TCP_CLOSED);
	check_path(w);
}

static void
step(struct fuzz_input *in, struct fuzz_world *w)
{
	struct peer *p = w->ctx;
	uint8_t op = fuzz_get8(in);

	switch (op % 8) {
	case 0:
	case 1:
	case 2:
		step_icmp(in, w);
		break;
	case 3:
		if (w->queued < 100000)
			fuzz_world_send(w, 1 + fuzz_get8(in) * 8);
		break;
	case 4:
		fuzz_world_wait(w, fuzz_get8(in) * 8);
		break;
	case 5: /* all that has come, or a part of what is new */
		if (w->c != NULL && qp_tcp_synchronized(w->c) && seq_lt(w->c->snd_una, w->iss + 1 + p->next))
			acknowledge(w, op & 0x80 ? p->next : w->c->snd_una - w->iss);
		break;
	case 6:
		p->deaf = op & 0x80;
		break;
	case 7:
		if (op & 0x80)
			fuzz_world_flush(w);
		else if (w->c != NULL)
			qp_tcp_shutdown(w->c);
		break;
	}
	if (op & 0x40)
		fuzz_world_flush(w);
	check_path(w);
}

/* An honest network again: everything comes through, in the end. */
static void
finish(struct fuzz_world *w)
{
	struct peer *p = w->ctx;

	p->deaf = false;
	for (unsigned turn = 0; w->c != NULL && p->next < w->queued; turn++) {
		FUZZ_CHECK(turn < 4000);
		fuzz_world_wait(w, 50);
		if (w->c != NULL)
			acknowledge(w, p->next);
		fuzz_world_flush(w);
	}
	FUZZ_CHECK(w->c != NULL || w->why == QP_TCP_END_TIMEOUT);
}

static void
open_world(struct fuzz_world *w, uint8_t how)
{
	switch (how >> 4 & 7) {
	case 0:
		fuzz_world_connect(w);
		break;
	case 1:
		fuzz_world_syn(w, 0, PEER_WND);
		break;
	case 2:
		fuzz_world_establish(w, true, PEER_WND);
		break;
	default:
		fuzz_world_establish(w, false, PEER_WND);
		/* Full segments are in flight. */
		for (unsigned i = 0; i < 8; i++)
			fuzz_world_send(w, 2000);
		break;
	}
	fuzz_world_flush(w);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct peer p;
	struct fuzz_input in = {data, size};
	uint8_t how = fuzz_get8(&in);
	const struct fuzz_setup setup = {.v6 = how & 1, .ts = how & 2, .sack = how & 4,
		.wscale = how & 8, .mss = how & 0x80 ? fuzz_get16(&in) : 0, .rcv_buf_bytes = 1 << 16,
		.syn_backlog = 4};
	struct fuzz_world w;

	memset(&p, 0, sizeof(p));
	fuzz_world_new(&w, &setup);
	w.ctx = &p;
	w.on_frame = on_frame;
	open_world(&w, how);
	while (in.left > 0)
		step(&in, &w);
	fuzz_world_flush(&w);
	if (w.c != NULL && w.c->tcb.state >= QP_TCP_ESTABLISHED)
		finish(&w);
	fuzz_world_free(&w);
	return 0;
}
