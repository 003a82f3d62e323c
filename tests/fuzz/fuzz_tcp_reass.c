/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Segments out of order, double, overlapping and contradicting each other. The
 * application gets each byte once, in order, as some segment had it there, and
 * FIN where one was; what the stack says it holds (SACK) is as RFC 2018 and
 * RFC 2883 want it; the limits hold; and a sender that begins again at the gap
 * gets everything through.
 */
#include <string.h>

#include "tests/fuzz/tcp_world.h"

#define STREAM 32768u /* no segment ends behind it */
#define FIRST  (FUZZ_PEER_ISS + 1)

struct reass {
	uint8_t variants[STREAM];   /* bit v: the byte there was sent XORed with v */
	uint8_t fins[STREAM + 1];   /* a FIN was sent there */
	bool any_fin;               /* text beside a FIN that cannot be right may be dropped */
	uint32_t last_start, last_end; /* the last segment: what its SACK must tell of */
	uint64_t refused;           /* drop_ooo_limit before it */
	unsigned combs;             /* so far: they take time */
	bool last_ooo;              /* it lies behind a gap, in the window */
};

static void
on_text(struct fuzz_world *w, const struct rte_mbuf *m)
{
	const struct reass *r = w->ctx;
	uint32_t at = w->rcv_seq - FIRST;

	for (; m != NULL; m = m->next) {
		const uint8_t *p = rte_pktmbuf_mtod(m, const uint8_t *);

		for (uint32_t i = 0; i < m->data_len; i++, at++) {
			uint8_t v = p[i] ^ fuzz_pattern(FIRST + at);

			FUZZ_CHECK(at < STREAM && v < 8 && (r->variants[at] & 1u << v));
		}
	}
}

static bool
inside(const struct qp_tcp_sack *in, const struct qp_tcp_sack *out)
{
	return seq_leq(out->start, in->start) && seq_leq(in->end, out->end);
}

/* RFC 2883, 4: the first block reports a duplicate when it lies below ACK or in the second. */
static bool
first_is_dsack(const struct fuzz_frame *f)
{
	const struct qp_tcp_sack *b = f->opt.sack;

	return seq_leq(b[0].end, f->ack) || seq_lt(b[0].start, f->ack) ||
	       (f->opt.nsack > 1 && inside(&b[0], &b[1]));
}

static void
check_blocks(const struct fuzz_world *w, const struct fuzz_frame *f, unsigned first)
{
	const struct qp_tcp_sack *b = f->opt.sack;

	for (unsigned i = first; i < f->opt.nsack; i++) {
		FUZZ_CHECK(seq_lt(f->ack, b[i].start) && seq_lt(b[i].start, b[i].end));
		/* A FIN has a number of its own and needs no window. */
		FUZZ_CHECK(seq_leq(b[i].end, w->edge + 1));
		for (unsigned k = first; k < i; k++)
			FUZZ_CHECK(seq_lt(b[k].end, b[i].start) || seq_lt(b[i].end, b[k].start));
	}
}

static void
on_frame(struct fuzz_world *w, const struct fuzz_frame *f, const struct rte_mbuf *m)
{
	struct reass *r = w->ctx;
	struct qp_tcp_sack last = {r->last_start, r->last_end};
	const uint64_t refused = qp_tcp_counters(w->tcp)->drop_ooo_limit;
	unsigned first;

	if (!(f->flags & RTE_TCP_ACK_FLAG) || (f->flags & (RTE_TCP_SYN_FLAG | RTE_TCP_RST_FLAG)))
		return;
	FUZZ_CHECK(w->setup.sack || f->opt.nsack == 0);
	first = f->opt.nsack > 0 && first_is_dsack(f);
	if (first == 1)
		FUZZ_CHECK(seq_lt(f->opt.sack[0].start, f->opt.sack[0].end));
	check_blocks(w, f, first);
	/* RFC 2018, 4: the first block has the segment that triggered this ACK. */
	if (w->setup.sack && r->last_ooo && refused == r->refused) {
		FUZZ_CHECK(f->opt.nsack > first);
		FUZZ_CHECK(inside(&last, &f->opt.sack[first]));
	}
	r->last_ooo = false;
}

/* What the receiver may believe after this segment, whatever it makes of it. */
static void
remember(struct reass *r, const struct fuzz_segment *s)
{
	uint32_t at = s->seq - FIRST;

	for (uint32_t i = 0; i < s->len; i++)
		r->variants[at + i] |= (uint8_t)(1u << s->differ);
	if (s->flags & RTE_TCP_FIN_FLAG) {
		r->fins[at + s->len] = 1;
		r->any_fin = true;
	}
}

static void
send_at(struct fuzz_world *w, uint32_t at, uint32_t len, uint8_t how)
{
	struct reass *r = w->ctx;
	struct fuzz_segment s = {.flags = RTE_TCP_ACK_FLAG, .wnd = 1000};
	struct fuzz_numbers n;

	at %= STREAM;
	s.seq = FIRST + at;
	s.len = RTE_MIN(len, STREAM - at);
	s.flags |= how & 1 ? RTE_TCP_FIN_FLAG : 0;
	s.differ = how & 2 ? how >> 2 & 7 : 0;
	s.each = how & 0x20 ? 1 + (how >> 6) * 100 : 0;
	fuzz_world_numbers(w, &n);
	s.ack = n.snd_nxt;
	if (n.state == QP_TCP_CLOSED)
		return;
	fuzz_world_timestamp(w, &s);
	remember(r, &s);
	r->last_start = s.seq;
	r->last_end = seq_min(s.seq + s.len, n.rcv_adv);
	r->last_ooo = s.len > 0 && seq_lt(n.rcv_nxt, s.seq) && seq_lt(s.seq, n.rcv_adv) && !r->any_fin;
	r->refused = qp_tcp_counters(w->tcp)->drop_ooo_limit;
	fuzz_world_input(w, &s);
	r->last_ooo = false;
}

static void
check_limits(const struct fuzz_world *w)
{
	FUZZ_CHECK(w->c == NULL || w->c->ooo_ranges <= QP_TCP_OOO_RANGES);
	FUZZ_CHECK(w->tcp->ooo_segs <= w->tcp->ooo_segs_max);
	FUZZ_CHECK(!w->fin || ((const struct reass *)w->ctx)->fins[w->rcv_seq - FIRST]);
}

/* A comb: many small runs with gaps between, up to the limit on them. */
static void
step_comb(struct fuzz_input *in, struct fuzz_world *w)
{
	uint32_t at = fuzz_get16(in), tooth = 1 + fuzz_get8(in) % 8, gap = 1 + fuzz_get8(in) % 64;
	unsigned teeth = fuzz_get8(in) * 2;

	if (((struct reass *)w->ctx)->combs++ >= 2)
		return;
	for (; teeth > 0; teeth--, at += tooth + gap)
		send_at(w, w->rcv_seq - FIRST + at, tooth, 0);
}

static void
step(struct fuzz_input *in, struct fuzz_world *w)
{
	uint8_t op = fuzz_get8(in);

	switch (op & 7) {
	case 0:
	case 1: /* somewhere near the next byte, most often behind it */
		send_at(w, w->rcv_seq - FIRST + fuzz_get16(in) % 8192 - 1024, fuzz_get16(in) % 4096,
			fuzz_get8(in) & ~1);
		break;
	case 2: /* small and close: overlaps of all kinds */
		send_at(w, w->rcv_seq - FIRST + fuzz_get8(in) % 64, fuzz_get8(in) % 64,
			fuzz_get8(in) & (op & 8 ? ~0 : ~1));
		break;
	case 3: /* in order */
		send_at(w, w->rcv_seq - FIRST, 1 + fuzz_get8(in) * 8, 0);
		break;
	case 4:
		step_comb(in, w);
		break;
	case 5:
		fuzz_world_consume(w, fuzz_get16(in));
		break;
	case 6:
		fuzz_world_wait(w, fuzz_get8(in) * 4);
		break;
	case 7: /* the window's edge */
		send_at(w, w->edge - FIRST - fuzz_get8(in), fuzz_get8(in) * 2, fuzz_get8(in) & ~1);
		break;
	}
	if (op & 0x80)
		fuzz_world_flush(w);
	check_limits(w);
}

/* Whatever came before: what is sent from the gap on in order gets through. */
static void
finish(struct fuzz_world *w)
{
	w->greedy = true;
	fuzz_world_consume(w, w->held);
	fuzz_world_flush(w);
	for (unsigned turn = 0; w->c != NULL && !w->fin && w->rcv_seq - FIRST < STREAM; turn++) {
		FUZZ_CHECK(turn < 2 * STREAM);
		send_at(w, w->rcv_seq - FIRST, 1400, 0);
		fuzz_world_flush(w);
	}
	check_limits(w);
	FUZZ_CHECK(w->c == NULL || w->c->ooo_head == NULL);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct reass r;
	struct fuzz_input in = {data, size};
	uint8_t how = fuzz_get8(&in);
	const struct fuzz_setup setup = {.ts = how & 1, .sack = how & 2, .wscale = how & 4,
		.rcv_buf_bytes = 1u << (10 + fuzz_get8(&in) % 9), .syn_backlog = 4};
	struct fuzz_world w;

	memset(&r, 0, sizeof(r));
	fuzz_world_new(&w, &setup);
	w.ctx = &r;
	w.on_text = on_text;
	w.on_frame = on_frame;
	w.greedy = how & 8;
	fuzz_world_establish(&w, how & 16, 1000);
	while (in.left > 0 && w.c != NULL)
		step(&in, &w);
	fuzz_world_flush(&w);
	finish(&w);
	fuzz_world_free(&w);
	return 0;
}
