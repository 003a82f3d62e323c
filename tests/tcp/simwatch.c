/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The wiretap: what each connection has shown on the line, and what a stack
 * may therefore not send. It knows nothing of the stack's own variables but
 * whether an arriving segment is in the window.
 */
#include "tests/tcp/simwatch.h"

#include <string.h>

#include <rte_ip.h>

#include "tests/tcp/simnet.h"

struct wire_seg {
	const struct rte_tcp_hdr *h;
	uint32_t seq, ack, data, end;
	uint32_t option_bytes;
	uint8_t flags;
	struct qp_tcp_options opt;
};

static bool
decode(const uint8_t *frame, uint32_t len, struct wire_seg *s)
{
	uint32_t l3 = frame[12] == 8 ? 20 : 40;
	uint32_t hlen;

	if (frame[14 + (l3 == 20 ? 9 : 6)] != IPPROTO_TCP)
		return false;
	memset(s, 0, sizeof(*s));
	s->h = (const void *)(frame + 14 + l3);
	hlen = (s->h->data_off >> 4) * 4;
	s->flags = s->h->tcp_flags;
	s->seq = rte_be_to_cpu_32(s->h->sent_seq);
	s->ack = rte_be_to_cpu_32(s->h->recv_ack);
	s->data = len - 14 - l3 - hlen;
	s->end = s->seq + s->data + !!(s->flags & RTE_TCP_SYN_FLAG) + !!(s->flags & RTE_TCP_FIN_FLAG);
	s->option_bytes = hlen - 20;
	return qp_tcp_options_parse((const uint8_t *)(s->h + 1), hlen - 20, s->flags & RTE_TCP_SYN_FLAG,
		       &s->opt) == 0;
}

static struct sim_watch *
watch_of(struct sim *sim, int from, const struct wire_seg *s)
{
	struct sim_watch *free_one = NULL;

	for (unsigned i = 0; i < SIM_WATCHES; i++) {
		struct sim_watch *w = &sim->watch[i];

		if (w->used && w->port_be[from] == s->h->src_port && w->port_be[1 - from] == s->h->dst_port)
			return w;
		if (!w->used && free_one == NULL)
			free_one = w;
	}
	if (free_one == NULL)
		return NULL;
	*free_one = (struct sim_watch) {.used = true};
	free_one->port_be[from] = s->h->src_port;
	free_one->port_be[1 - from] = s->h->dst_port;
	return free_one;
}

static void
syn_sent(struct sim_watch *w, int from, const struct wire_seg *s, const struct sim_line *l, bool v6)
{
	struct sim_way *x = &w->way[from];

	if (x->seen && x->iss == s->seq)
		return;
	if (!(s->flags & RTE_TCP_ACK_FLAG)) {
		w->unsure = false;
		if (x->seen) /* the port pair's next life */
			memset(w->way, 0, sizeof(w->way));
	} else if (x->seen) {
		w->unsure = true;
	}
	*x = (struct sim_way) {
		.seen = true,
		.iss = s->seq,
		.sent_end = s->end,
		.scales = s->opt.has_wscale && !l->no_wscale,
		.wscale = s->opt.wscale,
		/* RFC 9293, 3.7.1: what holds for a SYN without; ours takes none below QP_TCP_MIN_MSS. */
		.mss = s->opt.has_mss ? RTE_MAX(s->opt.mss, QP_TCP_MIN_MSS) : v6 ? 1220 : 536,
		.ts = s->opt.has_ts && !l->no_ts,
		.sack = s->opt.sack_permitted && !l->no_sack,
	};
}

/* How far the window of `x`'s segments is to be shifted. */
static uint8_t
scale_of(const struct sim_way *x, const struct sim_way *peer, const struct wire_seg *s)
{
	return (s->flags & RTE_TCP_SYN_FLAG) || !peer->seen || !peer->scales || !x->scales ? 0 : x->wscale;
}

/* RFC 2018, 3 and 4; RFC 2883, 4: the first block may report a duplicate. */
static void
check_sack(struct sim *sim, const struct sim_way *peer, const struct wire_seg *s, bool lawless)
{
	for (unsigned i = 0; i < s->opt.nsack; i++) {
		struct qp_tcp_sack b = s->opt.sack[i];
		bool within = s->opt.nsack > 1 && seq_leq(s->opt.sack[1].start, b.start) &&
			      seq_leq(b.end, s->opt.sack[1].end);
		bool dsack = i == 0 && (seq_leq(b.end, s->ack) || within);

		if (!seq_lt(b.start, b.end))
			sim_breaks(sim, "an empty SACK block", b.start - peer->iss, b.end - peer->iss);
		if (!lawless && seq_lt(peer->arrived_end, b.end))
			sim_breaks(sim, "a SACK block of what has not arrived", b.end - peer->iss,
				peer->arrived_end - peer->iss);
		if (!dsack && !seq_lt(s->ack, b.start))
			sim_breaks(sim, "a SACK block at or below the ACK", b.start - peer->iss,
				s->ack - peer->iss);
		for (unsigned j = dsack ? i + 2 : i + 1; j < s->opt.nsack; j++) {
			if (!dsack && seq_leq(s->opt.sack[j].start, b.end) && seq_leq(b.start, s->opt.sack[j].end))
				sim_breaks(sim, "SACK blocks that touch", b.start - peer->iss, b.end - peer->iss);
		}
	}
}

/* RFC 9293, 3.8.6: acknowledgments and the window's right edge never go back. */
static void
check_ack(struct sim_host *h, struct sim_way *x, const struct sim_way *peer, const struct wire_seg *s)
{
	struct sim *sim = h->sim;
	uint8_t scale = scale_of(x, peer, s);
	uint32_t edge = s->ack + ((uint32_t)rte_be_to_cpu_16(s->h->rx_win) << scale);

	if (x->acked && seq_lt(s->ack, x->ack))
		sim_breaks(sim, "an ACK went back", s->ack - peer->iss, x->ack - peer->iss);
	/*
	 * A scaled window may lose less than one unit by rounding (RFC 7323, 2.4);
	 * a SYN-ACK that goes out again has no scale at all.
	 */
	if (x->acked && !(s->flags & RTE_TCP_SYN_FLAG) && seq_lt(edge + (1u << scale) - 1, x->edge))
		sim_breaks(sim, "the window shrank", edge - peer->iss, x->edge - peer->iss);
	if (!h->peer->lawless && (!peer->arrived || seq_lt(peer->arrived_end, s->ack)))
		sim_breaks(sim, "an ACK of what has not arrived", s->ack - peer->iss,
			peer->arrived_end - peer->iss);
	check_sack(sim, peer, s, h->peer->lawless);
	x->edge = x->acked ? seq_max(x->edge, edge) : edge;
	x->ack = s->ack;
	x->acked = true;
}

static void
check_data(struct sim *sim, const struct sim_way *x, const struct sim_way *peer, const struct wire_seg *s,
	uint16_t segsz)
{
	uint32_t size = segsz != 0 ? segsz : s->data;

	if (peer->heard && seq_lt(peer->heard_edge, s->seq + s->data))
		sim_breaks(sim, "data beyond the peer's window", s->seq + s->data - x->iss,
			peer->heard_edge - x->iss);
	if (peer->heard && seq_lt(s->seq, peer->heard_ack))
		sim_breaks(sim, "data again that is acknowledged", s->seq - x->iss,
			peer->heard_ack - x->iss);
	/* RFC 6691: options are subtracted from what the peer announced. */
	if (size + s->option_bytes > peer->mss)
		sim_breaks(sim, "a segment above the peer's MSS", size + s->option_bytes, peer->mss);
}

/* RFC 7323, 3.2 and 5.4: in each segment once agreed on, and never back. */
static void
check_timestamp(struct sim *sim, struct sim_way *x, const struct sim_way *peer, const struct wire_seg *s)
{
	if (!(s->flags & RTE_TCP_SYN_FLAG) && (x->ts && peer->ts) != s->opt.has_ts)
		sim_breaks(sim, "timestamps are not as agreed on", x->ts, peer->ts);
	if (s->opt.nsack != 0 && !(x->sack && peer->sack))
		sim_breaks(sim, "SACK that was not agreed on", x->sack, peer->sack);
	if (s->opt.has_ts && x->ts_known && seq_lt(s->opt.tsval, x->tsval))
		sim_breaks(sim, "a timestamp went back", s->opt.tsval, x->tsval);
	if (s->opt.has_ts) {
		x->tsval = s->opt.tsval;
		x->ts_known = true;
	}
}

/* RFC 3168, 6.1: who may be ECT, and that CWR is where it belongs. */
static void
check_ecn(struct sim *sim, const struct sim_way *x, const struct wire_seg *s, const uint8_t *frame, bool tso)
{
	uint8_t tos = frame[12] == 8 ? frame[15] : (uint8_t)(frame[14] << 4 | frame[15] >> 4);
	bool syn = s->flags & RTE_TCP_SYN_FLAG, rst = s->flags & RTE_TCP_RST_FLAG;
	bool again = x->seen && seq_lt(s->seq, x->sent_end);

	if (tos != 0 && (tos != QP_TOS_ECT || s->data == 0 || again || syn || rst))
		sim_breaks(sim, "ECT where it must not be", tos, s->data);
	if (!syn && (s->flags & RTE_TCP_CWR_FLAG) && (tso || tos != QP_TOS_ECT))
		sim_breaks(sim, "CWR where it must not be", tso, s->data);
	if (rst && (s->flags & (RTE_TCP_CWR_FLAG | RTE_TCP_ECE_FLAG)))
		sim_breaks(sim, "a reset with ECN flags", s->flags, 0);
}

void
sim_watch_sent(struct sim_host *h, const uint8_t *frame, uint32_t len, uint16_t segsz)
{
	int from = (int)(h - h->sim->host);
	struct sim_way *x, *peer;
	struct sim_watch *w;
	struct wire_seg s;

	if (!decode(frame, len, &s)) {
		sim_breaks(h->sim, "a frame that nobody can read", len, 0);
		return;
	}
	if ((s.flags & RTE_TCP_RST_FLAG) && h->tcp == NULL)
		return;
	if (s.flags & RTE_TCP_RST_FLAG) {
		h->resets_unexplained += !h->reset_called_for;
		return;
	}
	w = watch_of(h->sim, from, &s);
	if (w == NULL)
		return;
	x = &w->way[from];
	peer = &w->way[1 - from];
	/* What an earlier life's SYN still gets says nothing of this one. */
	if ((s.flags & RTE_TCP_SYN_FLAG) && (s.flags & RTE_TCP_ACK_FLAG) && peer->seen && s.ack != peer->iss + 1) {
		w->unsure = h->peer->lawless; /* … or that peer has begun one unseen */
		return;
	}
	if (s.flags & RTE_TCP_SYN_FLAG)
		syn_sent(w, from, &s, &h->line, h->sim->v6);
	if (h->tcp == NULL) { /* a peer of the test's own: only noted */
		x->sent_end = seq_max(x->sent_end, s.end);
		return;
	}
	if (w->unsure || !x->seen) /* TIME-WAIT of an earlier life answers */
		return;
	check_ecn(h->sim, x, &s, frame, segsz != 0);
	if (s.flags & RTE_TCP_ACK_FLAG)
		check_ack(h, x, peer, &s);
	if (s.data > 0)
		check_data(h->sim, x, peer, &s, segsz);
	check_timestamp(h->sim, x, peer, &s);
	x->sent_end = seq_max(x->sent_end, s.end);
}

/* Will the receiver look at the ACK field (RFC 9293, 3.10.7.4, first)? Sure answers only. */
static bool
surely_in_window(const struct qp_tcp_tcb *b, const struct wire_seg *s)
{
	const struct qp_tcp_conn *c = (const void *)b;

	if (b == NULL || b->state < QP_TCP_ESTABLISHED || b->state == QP_TCP_TIME_WAIT ||
		(s->flags & RTE_TCP_SYN_FLAG))
		return false;
	if ((c->flags & QP_TF_TS) && (!s->opt.has_ts || seq_lt(s->opt.tsval, c->ts_recent)))
		return false;
	return seq_leq(c->rcv_nxt, s->seq) && seq_lt(s->seq, c->rcv_adv);
}

void
sim_watch_arrives(struct sim_host *h, const uint8_t *frame, uint32_t len, const struct qp_packet *pkt)
{
	int from = (int)(h->peer - h->sim->host);
	const struct qp_tcp_tcb *b = qp_tcp_lookup(h->tcp, &pkt->flow);
	struct sim_way *x, *own;
	struct sim_watch *w;
	struct wire_seg s;
	uint32_t edge;

	/* 3.10.7.1 to 3.10.7.3 and 3.10.7.4's SYN-RECEIVED answer by RST. */
	h->reset_called_for = b == NULL || b->state <= QP_TCP_SYN_RECEIVED;
	if (!decode(frame, len, &s) || (s.flags & RTE_TCP_RST_FLAG))
		return;
	w = watch_of(h->sim, from, &s);
	if (w == NULL)
		return;
	x = &w->way[from];
	own = &w->way[1 - from];
	/* Of an earlier life? */
	if (!x->seen || (!h->peer->lawless && (seq_lt(s.seq, x->iss) || seq_lt(x->sent_end, s.end))))
		return;
	x->arrived_end = x->arrived ? seq_max(x->arrived_end, s.end) : s.end;
	x->arrived = true;
	if (!(s.flags & RTE_TCP_ACK_FLAG) || !own->seen || seq_lt(own->sent_end, s.ack))
		return;
	edge = s.ack + ((uint32_t)rte_be_to_cpu_16(s.h->rx_win) << scale_of(x, own, &s));
	if (!x->heard)
		x->heard_ack = own->iss;
	x->heard_edge = x->heard ? seq_max(x->heard_edge, edge) : edge;
	x->heard = true;
	if (surely_in_window(b, &s))
		x->heard_ack = seq_max(x->heard_ack, s.ack);
}

void
sim_watch_resets(struct sim_host *h)
{
	h->reset_called_for = true;
}

void
sim_watch_quiet(struct sim_host *h)
{
	h->reset_called_for = false;
}

void
sim_watch_gave_up(struct sim_host *h)
{
	h->resets_unexplained--;
}

void
sim_watch_settle(struct sim_host *h)
{
	if (h->resets_unexplained > 0)
		sim_breaks(h->sim, "a reset that nothing called for", (uint32_t)h->resets_unexplained, 0);
	h->resets_unexplained = 0;
}
