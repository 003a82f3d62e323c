/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The stack, its application and its wire for fuzz targets. One thread. What
 * the peer does is the target's; what a frame of ours may look like is here.
 */
#include "tests/fuzz/tcp_world.h"

#include <string.h>

#include <rte_mempool.h>

#include "tests/tcp/check.h"
#include "tests/tcp/eal.h"

#define MTU 1500u

static struct rte_mempool *pool, *indirect;
static uint64_t now_ns;

static void
begin_life(struct fuzz_world *w, struct qp_tcp_conn *c)
{
	w->c = c;
	w->rcv_seq = c->irs + 1;
	w->held = 0;
	w->queued = 0;
	w->fin = false;
	w->lives++;
}

static int
on_accept(void *listener_ctx, struct qp_tcp_conn *c)
{
	struct fuzz_world *w = listener_ctx;

	FUZZ_CHECK(w->c == NULL);
	begin_life(w, c);
	qp_tcp_set_ctx(c, w);
	return 0;
}

static void
on_connected(void *ctx)
{
	struct fuzz_world *w = ctx;

	w->rcv_seq = w->c->irs + 1;
}

static void
compare_text(struct fuzz_world *w, const struct rte_mbuf *m)
{
	uint32_t seq = w->rcv_seq;

	for (; m != NULL; m = m->next) {
		const uint8_t *p = rte_pktmbuf_mtod(m, const uint8_t *);

		for (uint32_t i = 0; i < m->data_len; i++)
			FUZZ_CHECK(p[i] == fuzz_pattern(seq++));
	}
}

static void
on_receive(void *ctx, struct rte_mbuf *chain)
{
	struct fuzz_world *w = ctx;
	uint32_t len = chain->pkt_len;

	FUZZ_CHECK(w->c != NULL && !w->fin && len > 0);
	rte_mbuf_sanity_check(chain, 1);
	if (w->on_text != NULL)
		w->on_text(w, chain);
	else
		compare_text(w, chain);
	w->rcv_seq += len;
	w->held += len;
	rte_pktmbuf_free(chain);
	if (w->abort_on_text) {
		qp_tcp_abort(w->c);
		w->c = NULL;
	} else if (w->greedy) {
		fuzz_world_consume(w, w->held);
	}
}

static void
on_receive_end(void *ctx)
{
	struct fuzz_world *w = ctx;

	FUZZ_CHECK(w->c != NULL && !w->fin);
	w->fin = true;
	if (w->close_on_fin)
		qp_tcp_shutdown(w->c);
}

static void
on_acked(void *ctx, uint32_t bytes)
{
	struct fuzz_world *w = ctx;

	FUZZ_CHECK(w->c != NULL && bytes > 0 && bytes <= w->queued);
}

static void
on_ended(void *ctx, enum qp_tcp_end why)
{
	struct fuzz_world *w = ctx;

	FUZZ_CHECK(w->c != NULL);
	w->c = NULL;
	w->why = why;
	w->ends++;
}

static const struct qp_tcp_ops ops = {
	.accept = on_accept,
	.connected = on_connected,
	.receive = on_receive,
	.receive_end = on_receive_end,
	.acked = on_acked,
	.ended = on_ended,
};

static struct qp_tcp_conn *
conn_of(struct fuzz_world *w)
{
	struct qp_tcp_tcb *b = qp_tcp_lookup(w->tcp, &w->flow);

	return b != NULL && b->state != QP_TCP_TIME_WAIT ? (struct qp_tcp_conn *)b : NULL;
}

/* Sizes as DPDK's ports want them, and as the path takes them; then the header. */
static void
decode(struct fuzz_world *w, const struct rte_mbuf *m, struct fuzz_frame *f)
{
	uint32_t l4 = m->l2_len + m->l3_len;
	const struct rte_tcp_hdr *h = rte_pktmbuf_mtod_offset(m, void *, l4);

	rte_mbuf_sanity_check(m, 1);
	FUZZ_CHECK(m->l2_len == 14 && m->l3_len == (w->setup.v6 ? 40 : 20));
	FUZZ_CHECK(m->l4_len == h->data_off >> 4 << 2 && m->l4_len >= sizeof(*h));
	FUZZ_CHECK(m->data_len >= l4 + m->l4_len);
	*f = (struct fuzz_frame) {
		.seq = rte_be_to_cpu_32(h->sent_seq),
		.ack = rte_be_to_cpu_32(h->recv_ack),
		.len = m->pkt_len - l4 - m->l4_len,
		.wnd = rte_be_to_cpu_16(h->rx_win),
		.flags = h->tcp_flags,
	};
	f->segsz = m->ol_flags & RTE_MBUF_F_TX_TCP_SEG ? m->tso_segsz : f->len;
	FUZZ_CHECK(f->len == 0 || f->segsz > 0);
	FUZZ_CHECK(m->l3_len + m->l4_len + f->segsz <= MTU && m->pkt_len <= UINT16_MAX);
	FUZZ_CHECK(qp_tcp_options_parse((const uint8_t *)(h + 1), m->l4_len - sizeof(*h),
			   f->flags & RTE_TCP_SYN_FLAG, &f->opt) == 0);
}

static void
check_payload(const struct fuzz_world *w, const struct rte_mbuf *m, const struct fuzz_frame *f)
{
	uint32_t skip = m->l2_len + m->l3_len + m->l4_len, pos = f->seq - w->iss - 1;

	FUZZ_CHECK(f->len == 0 || (pos <= w->queued && f->len <= w->queued - pos));
	FUZZ_CHECK(f->len == 0 || seq_leq(f->seq + f->len, w->peer_edge));
	for (; m != NULL; skip = 0, m = m->next) {
		const uint8_t *p = rte_pktmbuf_mtod(m, const uint8_t *);

		for (uint32_t i = skip; i < m->data_len; i++)
			FUZZ_CHECK(p[i] == fuzz_pattern(pos++));
	}
}

/*
 * An acknowledgment never goes back, and neither does the right edge, beyond
 * what a scaled window rounds off (RFC 7323, 2.4).
 */
static void
check_window(struct fuzz_world *w, struct fuzz_frame *f)
{
	const struct qp_tcp_conn *c = conn_of(w);
	uint32_t scale = c == NULL || (f->flags & RTE_TCP_SYN_FLAG) ? 0 : c->rcv_wscale;

	f->edge = f->ack + (f->wnd << scale);
	/* Without a connection it is a reset, a cookie or TIME-WAIT's. */
	if (c == NULL || !(f->flags & RTE_TCP_ACK_FLAG) || (f->flags & RTE_TCP_RST_FLAG))
		return;
	if (!w->acking || (f->flags & RTE_TCP_SYN_FLAG)) {
		w->acking = true;
		w->acked = f->ack;
		w->edge = f->edge;
		return;
	}
	FUZZ_CHECK(seq_leq(w->acked, f->ack));
	FUZZ_CHECK(seq_leq(w->edge, f->edge + (1u << scale) - 1));
	w->acked = f->ack;
	w->edge = seq_max(w->edge, f->edge);
}

static void
transmit(void *ctx, struct rte_mbuf *m)
{
	struct fuzz_world *w = ctx;
	struct fuzz_frame f;
	uint32_t end;

	decode(w, m, &f);
	if (f.flags & RTE_TCP_SYN_FLAG) {
		w->iss = w->seen = f.seq;
		w->offered = false;
	}
	check_payload(w, m, &f);
	check_window(w, &f);
	end = f.seq + f.len + !!(f.flags & (RTE_TCP_SYN_FLAG | RTE_TCP_FIN_FLAG));
	if (!(f.flags & RTE_TCP_RST_FLAG))
		w->seen = seq_max(w->seen, end);
	if (f.opt.has_ts)
		w->tsval = f.opt.tsval;
	w->frames++;
	w->resets += !!(f.flags & RTE_TCP_RST_FLAG);
	if (w->on_frame != NULL)
		w->on_frame(w, &f, m);
	rte_pktmbuf_free(m);
}

static uint64_t
random64(void *ctx)
{
	uint64_t *x = ctx;

	return *x = *x * 6364136223846793005u + 1442695040888963407u;
}

static struct qp_flow
make_flow(bool v6)
{
	struct qp_flow f = {.lport_be = RTE_BE16(80), .rport_be = RTE_BE16(9999)};

	f.local = qp_ipaddr_v4(RTE_BE32(0x0a000001));
	f.remote = qp_ipaddr_v4(RTE_BE32(0x0a000002));
	if (v6) {
		f.local.w[0] = f.remote.w[0] = RTE_BE32(0x20010db8);
		f.local.w[2] = f.remote.w[2] = 0;
	}
	return f;
}

void
fuzz_world_new(struct fuzz_world *w, const struct fuzz_setup *setup)
{
	static uint64_t seed;
	struct qp_tcp_listener *l;
	struct qp_tcp_config cfg;

	if (pool == NULL) {
		test_eal_init();
		pool = test_pool("fuzz", 2047, RTE_PKTMBUF_HEADROOM + 2048);
		indirect = test_pool("fuzz_clones", 511, 0);
	}
	seed = 0;
	now_ns = 100 * QP_SEC_NS;
	*w = (struct fuzz_world) {.setup = *setup, .flow = make_flow(setup->v6), .greedy = true,
		.wheel = qp_wheel_new(now_ns)};
	const struct qp_tcp_env env = {.now_ns = &now_ns, .wheel = w->wheel, .pool = pool,
		.indirect_pool = indirect, .mtu = MTU, .max_frame_bytes = 65535,
		.transmit = transmit, .transmit_ctx = w, .random = random64, .random_ctx = &seed};
	qp_tcp_config_default(&cfg);
	cfg.max_conns = 16;
	cfg.rcv_buf_bytes = setup->rcv_buf_bytes;
	cfg.syn_backlog = setup->syn_backlog;
	cfg.keepalive_s = 20;
	w->tcp = qp_tcp_new(&env, &cfg);
	FUZZ_CHECK(w->tcp != NULL && qp_tcp_listen(w->tcp, NULL, w->flow.lport_be, &ops, w, &l) == 0);
}

void
fuzz_world_free(struct fuzz_world *w)
{
	qp_tcp_free(w->tcp);
	qp_wheel_free(w->wheel);
	FUZZ_CHECK(rte_mempool_in_use_count(pool) == 0 && rte_mempool_in_use_count(indirect) == 0);
}

void
fuzz_world_numbers(struct fuzz_world *w, struct fuzz_numbers *n)
{
	const struct qp_tcp_tcb *b = qp_tcp_lookup(w->tcp, &w->flow);
	const struct qp_tcp_conn *c = conn_of(w);

	*n = (struct fuzz_numbers) {.rcv_nxt = FUZZ_PEER_ISS, .rcv_adv = FUZZ_PEER_ISS,
		.irs = FUZZ_PEER_ISS};
	if (b == NULL)
		return;
	if (c == NULL) {
		const struct qp_tcp_tw *tw = (const void *)b;

		n->state = b->state;
		n->snd_una = n->snd_nxt = n->iss = tw->snd_nxt;
		n->rcv_nxt = n->rcv_adv = n->irs = tw->rcv_nxt;
		n->ts = tw->ts;
		n->tsval = (uint32_t)(now_ns / QP_MS_NS) + tw->ts_offset;
		n->ts_recent = tw->ts_recent;
		return;
	}
	*n = (struct fuzz_numbers) {.state = b->state, .ts = c->flags & QP_TF_TS, .iss = c->iss,
		.snd_una = c->snd_una, .snd_nxt = c->snd_nxt, .snd_max_wnd = c->snd_max_wnd,
		.irs = c->irs, .rcv_nxt = c->rcv_nxt, .rcv_adv = c->rcv_adv,
		.tsval = qp_tcp_tsval(c), .ts_recent = c->ts_recent};
	if (b->state == QP_TCP_SYN_SENT)
		n->irs = n->rcv_nxt = n->rcv_adv = FUZZ_PEER_ISS;
}

void
fuzz_world_options(struct fuzz_segment *s, const struct qp_tcp_options *o)
{
	s->noptions = qp_tcp_options_write(s->options, o);
}

void
fuzz_world_timestamp(struct fuzz_world *w, struct fuzz_segment *s)
{
	struct qp_tcp_options o = {.has_ts = true};
	struct fuzz_numbers n;

	fuzz_world_numbers(w, &n);
	o.tsval = n.ts_recent;
	o.tsecr = n.tsval;
	if (n.ts)
		fuzz_world_options(s, &o);
}

struct rte_mbuf *
fuzz_world_mbuf(void)
{
	return rte_pktmbuf_alloc(pool);
}

/* The payload behind the headers in `m`, s->each bytes an mbuf, though not in many more than 32. */
static bool
append_payload(struct rte_mbuf *m, const struct fuzz_segment *s)
{
	uint32_t each = s->each != 0 ? RTE_MAX(s->each, s->len / 32 + 1) : UINT16_MAX;
	struct rte_mbuf *tail = m;

	for (uint32_t done = 0; done < s->len; tail = NULL) {
		uint32_t n;
		uint8_t *p;

		if (tail == NULL) {
			tail = rte_pktmbuf_alloc(pool);
			if (tail == NULL || rte_pktmbuf_chain(m, tail) != 0)
				return false;
		}
		n = RTE_MIN(each, s->len - done);
		n = RTE_MIN(n, (uint32_t)rte_pktmbuf_tailroom(tail));
		p = rte_pktmbuf_mtod_offset(tail, uint8_t *, tail->data_len);
		for (uint32_t i = 0; i < n; i++)
			p[i] = fuzz_pattern(s->seq + !!(s->flags & RTE_TCP_SYN_FLAG) + done++) ^ s->differ;
		tail->data_len += n;
		m->pkt_len += n;
	}
	return true;
}

static void
note_offer(struct fuzz_world *w, const struct fuzz_segment *s)
{
	const struct qp_tcp_conn *c = conn_of(w);
	uint32_t edge;

	if (!(s->flags & RTE_TCP_ACK_FLAG))
		return;
	/* The stack takes no window from an ACK that it ignores. */
	if (c != NULL ? !seq_leq(c->snd_una, s->ack) || !seq_leq(s->ack, c->snd_nxt)
		      : s->ack != w->iss + 1)
		return;
	/* A cookie says the scale only to the stack: any. */
	edge = s->ack + ((uint32_t)s->wnd << (c != NULL ? c->snd_wscale : 14));
	w->peer_edge = w->offered ? seq_max(w->peer_edge, edge) : edge;
	w->offered = true;
}

bool
fuzz_world_input(struct fuzz_world *w, const struct fuzz_segment *s)
{
	struct qp_packet pkt = {.flow = w->flow, .l3_off = 14, .l4_off = w->setup.v6 ? 54 : 34,
		.proto = IPPROTO_TCP, .segsz = s->segsz};
	struct rte_mbuf *m = rte_pktmbuf_alloc(pool);
	struct rte_tcp_hdr *h;

	if (m == NULL)
		return false;
	h = (void *)(rte_pktmbuf_append(m, pkt.l4_off + sizeof(*h) + s->noptions) + pkt.l4_off);
	*h = (struct rte_tcp_hdr) {
		.src_port = w->flow.rport_be,
		.dst_port = w->flow.lport_be,
		.sent_seq = rte_cpu_to_be_32(s->seq),
		.recv_ack = rte_cpu_to_be_32(s->ack),
		.data_off = (uint8_t)((sizeof(*h) + s->noptions) / 4 << 4),
		.tcp_flags = s->flags,
		.rx_win = rte_cpu_to_be_16(s->wnd),
	};
	memcpy(h + 1, s->options, s->noptions);
	if (!append_payload(m, s)) {
		rte_pktmbuf_free(m);
		return false;
	}
	pkt.l4_len = m->pkt_len - pkt.l4_off;
	note_offer(w, s);
	qp_tcp_input(w->tcp, m, &pkt);
	return true;
}

void
fuzz_world_honest(struct fuzz_world *w, uint8_t flags, uint32_t len, uint16_t wnd)
{
	struct fuzz_segment s = {.flags = RTE_TCP_ACK_FLAG | flags, .len = len, .wnd = wnd};
	struct fuzz_numbers n;

	fuzz_world_numbers(w, &n);
	s.seq = n.rcv_nxt;
	s.ack = n.snd_nxt;
	fuzz_world_timestamp(w, &s);
	fuzz_world_input(w, &s);
}

void
fuzz_world_flush(struct fuzz_world *w)
{
	const char *bad;

	qp_tcp_flush(w->tcp);
	bad = tcp_check(w->tcp);
	if (bad != NULL)
		fprintf(stderr, "does not hold: %s\n", bad);
	FUZZ_CHECK(bad == NULL);
}

void
fuzz_world_wait(struct fuzz_world *w, uint32_t ms)
{
	now_ns += ms * QP_MS_NS;
	qp_wheel_advance(w->wheel, now_ns);
	fuzz_world_flush(w);
}

void
fuzz_world_send(struct fuzz_world *w, uint32_t len)
{
	struct rte_mbuf *m = w->c != NULL && len > 0 ? rte_pktmbuf_alloc(pool) : NULL;
	uint8_t *p;

	if (m == NULL)
		return;
	len = RTE_MIN(len, 2048u);
	/* After a FIN nothing is queued, and what the peer sends needs mbufs as well. */
	if ((w->c->flags & QP_TF_FIN_QUEUED) || rte_mempool_avail_count(pool) < 400) {
		rte_pktmbuf_free(m);
		return;
	}
	p = (void *)rte_pktmbuf_append(m, (uint16_t)len);
	for (uint32_t i = 0; i < len; i++)
		p[i] = fuzz_pattern(w->queued++);
	qp_tcp_send(w->c, m);
}

void
fuzz_world_consume(struct fuzz_world *w, uint32_t len)
{
	len = RTE_MIN(len, w->held);
	w->held -= len;
	if (w->c != NULL)
		qp_tcp_consumed(w->c, len);
}

void
fuzz_world_syn(struct fuzz_world *w, uint8_t flags, uint16_t wnd)
{
	const struct qp_tcp_options o = {.has_mss = true, .mss = w->setup.mss != 0 ? w->setup.mss : 1460,
		.has_wscale = w->setup.wscale, .wscale = 7, .sack_permitted = w->setup.sack,
		.has_ts = w->setup.ts, .tsval = 1000};
	struct fuzz_segment s = {.seq = FUZZ_PEER_ISS, .flags = RTE_TCP_SYN_FLAG | flags, .wnd = wnd};
	struct fuzz_numbers n;

	fuzz_world_numbers(w, &n);
	s.ack = flags & RTE_TCP_ACK_FLAG ? n.snd_nxt : 0;
	fuzz_world_options(&s, &o);
	fuzz_world_input(w, &s);
}

void
fuzz_world_connect(struct fuzz_world *w)
{
	FUZZ_CHECK(qp_tcp_connect(w->tcp, &w->flow, &ops, w, &w->c) == 0);
	begin_life(w, w->c);
}

void
fuzz_world_establish(struct fuzz_world *w, bool active, uint16_t wnd)
{
	if (active)
		fuzz_world_connect(w);
	fuzz_world_syn(w, active ? RTE_TCP_ACK_FLAG : 0, wnd);
	if (!active) {
		struct fuzz_segment s = {.seq = FUZZ_PEER_ISS + 1, .ack = w->iss + 1,
			.flags = RTE_TCP_ACK_FLAG, .wnd = wnd};
		/* With a cookie only the wire knows what the stack answered. */
		const struct qp_tcp_options o = {.has_ts = true, .tsval = 1000, .tsecr = w->tsval};

		if (w->setup.ts)
			fuzz_world_options(&s, &o);
		fuzz_world_input(w, &s);
	}
	fuzz_world_flush(w);
	FUZZ_CHECK(w->c != NULL && w->c->tcb.state == QP_TCP_ESTABLISHED);
}
