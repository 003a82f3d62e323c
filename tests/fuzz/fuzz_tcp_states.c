/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A connection in each state, and then anything: segments near its numbers or
 * far from them, time, calls of the application. The first byte says the
 * state, which an honest peer leads to; what RFC 9293, 3.10.7 and RFC 5961
 * allow to follow is checked after each segment.
 */
#include <string.h>

#include "tests/fuzz/tcp_world.h"

#define BIT(state) (1u << (state))

/* Where a segment may lead to from each state; CLOSED: no connection is left. */
static const uint16_t successors[] = {
	[QP_TCP_CLOSED] = BIT(QP_TCP_CLOSED) | BIT(QP_TCP_SYN_RECEIVED),
	/* The SYN-ACK that establishes it may carry text and FIN (RFC 9293, 3.10.7.3). */
	[QP_TCP_SYN_SENT] = BIT(QP_TCP_SYN_SENT) | BIT(QP_TCP_SYN_RECEIVED) | BIT(QP_TCP_ESTABLISHED) |
		BIT(QP_TCP_FIN_WAIT_1) | BIT(QP_TCP_CLOSE_WAIT) | BIT(QP_TCP_CLOSING) |
		BIT(QP_TCP_LAST_ACK) | BIT(QP_TCP_CLOSED),
	/* The ACK that establishes it may carry text and FIN. */
	[QP_TCP_SYN_RECEIVED] = BIT(QP_TCP_SYN_RECEIVED) | BIT(QP_TCP_ESTABLISHED) |
		BIT(QP_TCP_FIN_WAIT_1) | BIT(QP_TCP_CLOSE_WAIT) | BIT(QP_TCP_CLOSING) |
		BIT(QP_TCP_LAST_ACK) | BIT(QP_TCP_CLOSED),
	/* LAST-ACK: the application closes from within receive_end(). */
	[QP_TCP_ESTABLISHED] = BIT(QP_TCP_ESTABLISHED) | BIT(QP_TCP_CLOSE_WAIT) | BIT(QP_TCP_LAST_ACK) |
		BIT(QP_TCP_CLOSED),
	[QP_TCP_FIN_WAIT_1] = BIT(QP_TCP_FIN_WAIT_1) | BIT(QP_TCP_FIN_WAIT_2) | BIT(QP_TCP_CLOSING) |
		BIT(QP_TCP_TIME_WAIT) | BIT(QP_TCP_CLOSED),
	[QP_TCP_FIN_WAIT_2] = BIT(QP_TCP_FIN_WAIT_2) | BIT(QP_TCP_TIME_WAIT) | BIT(QP_TCP_CLOSED),
	[QP_TCP_CLOSE_WAIT] = BIT(QP_TCP_CLOSE_WAIT) | BIT(QP_TCP_CLOSED),
	[QP_TCP_CLOSING] = BIT(QP_TCP_CLOSING) | BIT(QP_TCP_TIME_WAIT) | BIT(QP_TCP_CLOSED),
	[QP_TCP_LAST_ACK] = BIT(QP_TCP_LAST_ACK) | BIT(QP_TCP_CLOSED),
	[QP_TCP_TIME_WAIT] = BIT(QP_TCP_TIME_WAIT) | BIT(QP_TCP_SYN_RECEIVED),
};

static bool
synchronized(uint8_t state)
{
	return state >= QP_TCP_ESTABLISHED && state != QP_TCP_TIME_WAIT;
}

/* Text, an ACK or a FIN was taken: the segment must have been one that the rules let in. */
static void
check_taken(const struct fuzz_segment *s, const struct fuzz_numbers *b, const struct fuzz_numbers *a)
{
	uint32_t end = s->seq + s->len + !!(s->flags & (RTE_TCP_SYN_FLAG | RTE_TCP_FIN_FLAG));

	FUZZ_CHECK(seq_leq(b->rcv_nxt, a->rcv_nxt) && seq_leq(b->snd_una, a->snd_una));
	FUZZ_CHECK(seq_leq(b->rcv_adv, a->rcv_adv) && seq_leq(a->rcv_nxt, a->rcv_adv));
	if (a->rcv_nxt != b->rcv_nxt) {
		FUZZ_CHECK(seq_leq(s->seq, b->rcv_nxt) && seq_lt(b->rcv_nxt, end));
		FUZZ_CHECK(!(s->flags & (RTE_TCP_SYN_FLAG | RTE_TCP_RST_FLAG)));
	}
	if (a->rcv_nxt != b->rcv_nxt || a->snd_una != b->snd_una) {
		/* RFC 5961, 5.2 */
		FUZZ_CHECK(s->flags & RTE_TCP_ACK_FLAG);
		FUZZ_CHECK(seq_leq(b->snd_una - b->snd_max_wnd, s->ack) && seq_leq(s->ack, b->snd_nxt));
	}
	if (a->snd_una != b->snd_una)
		FUZZ_CHECK(a->snd_una == s->ack);
}

/* What may end a synchronized connection: an exact reset, its last ACK or FIN, the application. */
static void
check_end(const struct fuzz_world *w, const struct fuzz_segment *s, const struct fuzz_numbers *b,
	unsigned ends)
{
	if (s->flags & RTE_TCP_RST_FLAG) {
		FUZZ_CHECK(s->seq == b->rcv_nxt); /* RFC 5961, 3.2 */
		FUZZ_CHECK(w->ends == ends + 1 && w->why == QP_TCP_END_RESET);
	} else if (w->ends == ends) {
		FUZZ_CHECK(w->abort_on_text && s->len > 0);
	} else {
		FUZZ_CHECK(b->state == QP_TCP_LAST_ACK && w->why == QP_TCP_END_NORMAL);
		FUZZ_CHECK(s->ack == b->snd_nxt && !(s->flags & RTE_TCP_SYN_FLAG));
	}
}

static void
check_answer(const struct fuzz_segment *s, const struct fuzz_numbers *b, unsigned frames, unsigned resets)
{
	if (s->flags & RTE_TCP_RST_FLAG) { /* RFC 9293, 3.5.2; at most a challenge ACK */
		FUZZ_CHECK(frames <= 1 && resets == 0);
		FUZZ_CHECK(frames == 0 || (synchronized(b->state) || b->state == QP_TCP_SYN_RECEIVED));
	}
	FUZZ_CHECK(resets <= 1);
}

static void
arrive(struct fuzz_world *w, const struct fuzz_segment *s)
{
	unsigned frames = w->frames, resets = w->resets, ends = w->ends;
	struct fuzz_numbers before, after;
	uint32_t cookies = 0;

	fuzz_world_numbers(w, &before);
	if (!fuzz_world_input(w, s))
		return;
	fuzz_world_numbers(w, &after);
	/* A cookie's ACK is handshake and text at once. */
	if (before.state == QP_TCP_CLOSED && w->setup.syn_backlog == 0)
		cookies = successors[QP_TCP_SYN_RECEIVED];
	/* … and no connection follows a TIME-WAIT whose new SYN was answered by a cookie. */
	if (before.state == QP_TCP_TIME_WAIT && w->setup.syn_backlog == 0)
		cookies = BIT(QP_TCP_CLOSED);
	FUZZ_CHECK((successors[before.state] | cookies) & BIT(after.state));
	check_answer(s, &before, w->frames - frames, w->resets - resets);
	if (!synchronized(before.state))
		return;
	if (synchronized(after.state))
		check_taken(s, &before, &after);
	else if (after.state == QP_TCP_CLOSED)
		check_end(w, s, &before, ends);
}

static uint32_t
near(struct fuzz_input *in, uint8_t how, uint32_t low, uint32_t high, uint32_t first)
{
	switch (how & 7) {
	case 0:
	case 1:
		return low;
	case 2:
		return high;
	case 3:
		return low + (uint32_t)(int8_t)fuzz_get8(in);
	case 4:
		return high + (uint32_t)(int8_t)fuzz_get8(in);
	case 5:
		return low + (uint32_t)(int16_t)fuzz_get16(in);
	case 6:
		return first + (uint32_t)(int8_t)fuzz_get8(in);
	default:
		return fuzz_get32(in);
	}
}

static void
make_options(struct fuzz_input *in, const struct fuzz_numbers *n, struct fuzz_segment *s)
{
	uint8_t kinds = fuzz_get8(in);
	struct qp_tcp_options o = {0};

	if (kinds & 0x80) { /* any bytes */
		s->noptions = kinds % 11 * 4;
		for (unsigned i = 0; i < s->noptions; i++)
			s->options[i] = fuzz_get8(in);
		return;
	}
	o.has_ts = n->ts != !!(kinds & 1);
	o.tsval = n->ts_recent + (kinds & 2 ? (uint32_t)(int8_t)fuzz_get8(in) : 0);
	o.tsecr = n->tsval - (kinds & 4 ? fuzz_get8(in) : 0);
	if (s->flags & RTE_TCP_SYN_FLAG) {
		o.has_mss = kinds & 8;
		o.mss = o.has_mss ? fuzz_get16(in) : 0;
		o.has_wscale = kinds & 16;
		o.wscale = o.has_wscale ? fuzz_get8(in) % 16 : 0;
		o.sack_permitted = kinds & 32;
	} else {
		o.nsack = RTE_MIN(kinds >> 3 & 7, o.has_ts ? 3 : 4);
	}
	for (unsigned i = 0; i < o.nsack; i++) {
		o.sack[i].start = n->snd_una + fuzz_get16(in);
		o.sack[i].end = o.sack[i].start + fuzz_get16(in);
	}
	fuzz_world_options(s, &o);
}

static void
step_segment(struct fuzz_input *in, struct fuzz_world *w)
{
	struct fuzz_segment s = {.flags = fuzz_get8(in)};
	uint8_t how = fuzz_get8(in), more = fuzz_get8(in);
	struct fuzz_numbers n;

	fuzz_world_numbers(w, &n);
	s.seq = near(in, how, n.rcv_nxt, n.rcv_adv, n.irs);
	s.ack = near(in, how >> 3, n.snd_nxt, n.snd_una, n.iss);
	s.wnd = how & 0x40 ? fuzz_get16(in) : 1000;
	if (how & 0x80)
		make_options(in, &n, &s);
	else
		fuzz_world_timestamp(w, &s);
	s.len = more & 1 ? fuzz_get8(in) : more & 2 ? fuzz_get16(in) % 6000 : 0;
	s.segsz = more & 4 ? 1448 : 0;
	s.each = more & 8 ? 1 + (more >> 4) * 40 : 0;
	arrive(w, &s);
}

static void
step_app(struct fuzz_input *in, struct fuzz_world *w)
{
	uint8_t what = fuzz_get8(in);

	if (w->c == NULL)
		return;
	switch (what % 8) {
	case 0:
		qp_tcp_shutdown(w->c);
		break;
	case 1:
		if (what == 0x41) { /* rarely: little can follow */
			qp_tcp_abort(w->c);
			w->c = NULL;
		}
		break;
	case 2:
		qp_tcp_set_rcv_buf(w->c, fuzz_get16(in));
		break;
	case 3:
		fuzz_world_consume(w, fuzz_get16(in));
		break;
	default:
		fuzz_world_send(w, fuzz_get8(in) * 8);
		break;
	}
}

static void
step(struct fuzz_input *in, struct fuzz_world *w)
{
	uint8_t op = fuzz_get8(in);

	switch (op % 8) {
	case 0:
	case 1:
	case 2:
		step_segment(in, w);
		break;
	case 3: {
		uint8_t how = fuzz_get8(in);

		fuzz_world_honest(w, how & 1 ? RTE_TCP_FIN_FLAG : 0, how >> 1, 1000);
		break;
	}
	case 4:
	case 5:
		step_app(in, w);
		break;
	case 6:
		fuzz_world_wait(w, fuzz_get8(in));
		break;
	case 7:
		fuzz_world_wait(w, fuzz_get16(in) * (op & 0x40 ? 10u : 1u));
		break;
	}
	if (!(op & 0x80)) /* or several segments in a burst */
		fuzz_world_flush(w);
}

static const uint8_t states[] = {QP_TCP_CLOSED, QP_TCP_SYN_SENT, QP_TCP_SYN_RECEIVED,
	QP_TCP_ESTABLISHED, QP_TCP_FIN_WAIT_1, QP_TCP_FIN_WAIT_2, QP_TCP_CLOSE_WAIT, QP_TCP_CLOSING,
	QP_TCP_LAST_ACK, QP_TCP_TIME_WAIT};

static void
open_half(struct fuzz_world *w, uint8_t state, bool active)
{
	if (state == QP_TCP_SYN_SENT || (state == QP_TCP_SYN_RECEIVED && active))
		fuzz_world_connect(w);
	if (state == QP_TCP_SYN_RECEIVED)
		fuzz_world_syn(w, 0, 1000); /* to an active open: a simultaneous one */
	fuzz_world_flush(w);
}

/* ESTABLISHED, and on from there. */
static void
open_whole(struct fuzz_world *w, uint8_t state, bool active)
{
	struct fuzz_segment fin = {.flags = RTE_TCP_ACK_FLAG | RTE_TCP_FIN_FLAG, .wnd = 1000};
	struct fuzz_numbers n;

	fuzz_world_establish(w, active, 1000);
	fuzz_world_numbers(w, &n);
	if (state == QP_TCP_CLOSE_WAIT || state == QP_TCP_LAST_ACK)
		fuzz_world_honest(w, RTE_TCP_FIN_FLAG, 0, 1000);
	if (state != QP_TCP_ESTABLISHED && state != QP_TCP_CLOSE_WAIT)
		qp_tcp_shutdown(w->c);
	fuzz_world_flush(w);
	if (state == QP_TCP_CLOSING) { /* the FINs cross */
		fin.seq = n.rcv_nxt;
		fin.ack = n.snd_nxt;
		fuzz_world_timestamp(w, &fin);
		fuzz_world_input(w, &fin);
	}
	if (state == QP_TCP_FIN_WAIT_2 || state == QP_TCP_TIME_WAIT)
		fuzz_world_honest(w, 0, 0, 1000);
	if (state == QP_TCP_TIME_WAIT)
		fuzz_world_honest(w, RTE_TCP_FIN_FLAG, 0, 1000);
	fuzz_world_flush(w);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = {data, size};
	uint8_t state = states[fuzz_get8(&in) % sizeof(states)], how = fuzz_get8(&in), app = fuzz_get8(&in);
	/* A half-open connection by a SYN needs room in the backlog. */
	const struct fuzz_setup setup = {.v6 = how & 1, .ts = how & 2, .sack = how & 4, .wscale = how & 8,
		.rcv_buf_bytes = 1u << (10 + (how >> 6) * 4),
		.syn_backlog = (how & 16) && state != QP_TCP_SYN_RECEIVED ? 0 : 4};
	struct fuzz_numbers n;
	struct fuzz_world w;

	fuzz_world_new(&w, &setup);
	if (state == QP_TCP_SYN_SENT || state == QP_TCP_SYN_RECEIVED)
		open_half(&w, state, how & 32);
	else if (state != QP_TCP_CLOSED)
		open_whole(&w, state, how & 32);
	fuzz_world_numbers(&w, &n);
	FUZZ_CHECK(n.state == state);
	w.greedy = app & 1;
	w.close_on_fin = app & 2;
	w.abort_on_text = (app & 0xfc) == 0xfc;
	while (in.left > 0)
		step(&in, &w);
	fuzz_world_flush(&w);
	fuzz_world_free(&w);
	return 0;
}
