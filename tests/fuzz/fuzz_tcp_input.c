/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Segments to a connection in each state. The input is a little program: how
 * the connection begins, then segments whose numbers count from what the
 * stack expects (so that they get past the first step), time, and calls of the
 * application. After each step the stack's invariants hold; at the end no mbuf
 * is left.
 */
#include <string.h>

#include <rte_mempool.h>

#include "dataplane/tcp/internal.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/input.h"
#include "tests/tcp/check.h"
#include "tests/tcp/eal.h"

static struct rte_mempool *pool, *indirect;
static uint64_t now_ns;
static uint8_t mem_level;
static uint16_t link_mtu;

struct app {
	struct qp_tcp_conn *c;
	uint32_t held;
	bool greedy; /* consumes at once */
	bool over;
};

int LLVMFuzzerInitialize(int *argc, char ***argv);

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
	test_eal_init();
	pool = test_pool("fuzz", 1023, RTE_PKTMBUF_HEADROOM + 2048);
	indirect = test_pool("fuzz_clones", 255, 0);
	return 0;
}

static int
on_accept(void *listener_ctx, struct qp_tcp_conn *c)
{
	struct app *a = listener_ctx;

	if (a->c != NULL || a->over)
		return -1;
	a->c = c;
	qp_tcp_set_ctx(c, a);
	return 0;
}

static void
on_connected(void *ctx)
{
}

static void
on_receive(void *ctx, struct rte_mbuf *chain)
{
	struct app *a = ctx;

	rte_mbuf_sanity_check(chain, 1);
	a->held += chain->pkt_len;
	rte_pktmbuf_free(chain);
	if (a->greedy) {
		qp_tcp_consumed(a->c, a->held);
		a->held = 0;
	}
}

static void
on_receive_end(void *ctx)
{
}

static void
on_acked(void *ctx, uint32_t bytes)
{
}

static void
on_ended(void *ctx, enum qp_tcp_end why)
{
	struct app *a = ctx;

	a->c = NULL;
	a->over = true;
}

static const struct qp_tcp_ops ops = {
	.accept = on_accept,
	.connected = on_connected,
	.receive = on_receive,
	.receive_end = on_receive_end,
	.acked = on_acked,
	.ended = on_ended,
};

static void
transmit(void *ctx, struct rte_mbuf *m)
{
	rte_mbuf_sanity_check(m, 1);
	FUZZ_CHECK(m->l2_len == 14 && m->l4_len >= 20);
	FUZZ_CHECK(m->ol_flags & RTE_MBUF_F_TX_TCP_SEG ? m->tso_segsz > 0 && m->tso_segsz <= 1460
						       : m->pkt_len <= 1514);
	rte_pktmbuf_free(m);
}

static uint64_t
random64(void *ctx)
{
	static uint64_t x;

	return x = x * 6364136223846793005u + 1442695040888963407u;
}

static const struct qp_flow flow = {
	.local = {.w = {0, 0, RTE_BE32(0xffff), RTE_BE32(0x0a000001)}},
	.remote = {.w = {0, 0, RTE_BE32(0xffff), RTE_BE32(0x0a000002)}},
	.lport_be = RTE_BE16(80),
	.rport_be = RTE_BE16(9999),
};

static void
segment(struct qp_tcp *tcp, uint32_t seq, uint32_t ack, uint8_t flags, uint16_t wnd,
	const uint8_t *options, unsigned noptions, unsigned len, uint16_t segsz)
{
	static const uint8_t tos_of_len[4] = {0, QP_TOS_ECT, 0, QP_TOS_CE};
	uint8_t tos = tos_of_len[len % 4];
	struct rte_mbuf *m = rte_pktmbuf_alloc(pool), *tail = m;
	struct qp_packet pkt = {.flow = flow, .l3_off = 14, .l4_off = 34, .proto = IPPROTO_TCP};
	struct rte_tcp_hdr *h;

	if (m == NULL)
		return;
	pkt.flow.l2.mtu = link_mtu;
	noptions = (noptions > 40 ? 40 : noptions) / 4 * 4;
	h = (void *)(rte_pktmbuf_append(m, 34 + sizeof(*h) + noptions) + 34);
	*h = (struct rte_tcp_hdr) {
		.src_port = flow.rport_be,
		.dst_port = flow.lport_be,
		.sent_seq = rte_cpu_to_be_32(seq),
		.recv_ack = rte_cpu_to_be_32(ack),
		.data_off = (sizeof(*h) + noptions) / 4 << 4,
		.tcp_flags = flags,
		.rx_win = rte_cpu_to_be_16(wnd),
	};
	memcpy(h + 1, options, noptions);
	pkt.l4_len = sizeof(*h) + noptions + len;
	pkt.segsz = segsz;
	pkt.tos = tos;
	while (len > 0) {
		uint16_t n = (uint16_t)RTE_MIN(len, (unsigned)rte_pktmbuf_tailroom(tail));

		if (n == 0) {
			tail = rte_pktmbuf_alloc(pool);
			if (tail == NULL) {
				rte_pktmbuf_free(m);
				return;
			}
			rte_pktmbuf_chain(m, tail);
			continue;
		}
		memset(rte_pktmbuf_mtod_offset(tail, void *, tail->data_len), 0x5a, n);
		tail->data_len += n;
		m->pkt_len += n;
		len -= n;
	}
	qp_tcp_input(tcp, m, &pkt);
}

static struct qp_tcp_conn *
conn_of(struct qp_tcp *tcp)
{
	struct qp_tcp_tcb *b = qp_tcp_lookup(tcp, &flow);

	return b != NULL && b->state != QP_TCP_TIME_WAIT ? (struct qp_tcp_conn *)b : NULL;
}

/* The peer's next numbers as an honest one would have them. */
static void
expected(struct qp_tcp *tcp, uint32_t *seq, uint32_t *ack)
{
	struct qp_tcp_tcb *b = qp_tcp_lookup(tcp, &flow);

	*seq = 1000;
	*ack = 0;
	if (b != NULL && b->state == QP_TCP_TIME_WAIT) {
		*seq = ((struct qp_tcp_tw *)b)->rcv_nxt;
		*ack = ((struct qp_tcp_tw *)b)->snd_nxt;
	} else if (b != NULL) {
		*seq = ((struct qp_tcp_conn *)b)->rcv_nxt;
		*ack = ((struct qp_tcp_conn *)b)->snd_nxt;
	}
}

/* SACK blocks and timestamps are only reached by numbers near the real ones. */
static unsigned
make_options(struct fuzz_input *in, struct qp_tcp *tcp, uint32_t ack, uint8_t bytes[64])
{
	struct qp_tcp_conn *c = conn_of(tcp);
	struct qp_tcp_options o = {0};
	uint8_t kinds = fuzz_get8(in);
	unsigned n;

	if (kinds & 0x80) { /* raw */
		n = kinds % 41;
		for (unsigned i = 0; i < n; i++)
			bytes[i] = fuzz_get8(in);
		return n;
	}
	o.has_mss = kinds & 1;
	o.mss = o.has_mss ? fuzz_get16(in) : 0;
	o.has_wscale = kinds & 2;
	o.wscale = o.has_wscale ? fuzz_get8(in) : 0;
	o.sack_permitted = kinds & 4;
	if (c != NULL && (c->flags & QP_TF_TS))
		kinds ^= 8;
	o.has_ts = kinds & 8;
	if (o.has_ts) {
		o.tsval = (c != NULL ? c->ts_recent : 0) + fuzz_get8(in);
		o.tsecr = (c != NULL ? qp_tcp_tsval(c) : 0) - fuzz_get8(in);
	}
	if (!o.has_mss)
		o.nsack = kinds >> 4 & 3;
	for (unsigned i = 0; i < o.nsack; i++) {
		o.sack[i].start = ack - fuzz_get16(in);
		o.sack[i].end = o.sack[i].start + fuzz_get16(in);
	}
	return qp_tcp_options_write(bytes, &o);
}

static void
step_segment(struct fuzz_input *in, struct qp_tcp *tcp)
{
	uint32_t seq, ack;
	uint8_t flags = fuzz_get8(in), options[64];
	unsigned n;

	expected(tcp, &seq, &ack);
	n = make_options(in, tcp, ack, options);
	seq += (uint32_t)(int16_t)fuzz_get16(in);
	ack -= fuzz_get16(in);
	segment(tcp, seq, ack, flags, fuzz_get16(in), options, n, fuzz_get16(in) % 6000,
		fuzz_get8(in) & 1 ? 1448 : 0);
}

/* The most common one: next in order, acknowledging all. */
static void
step_honest(struct fuzz_input *in, struct qp_tcp *tcp)
{
	struct qp_tcp_conn *c = conn_of(tcp);
	struct qp_tcp_options o = {0};
	uint8_t options[64];
	uint32_t seq, ack;

	expected(tcp, &seq, &ack);
	if (c != NULL && (c->flags & QP_TF_TS)) {
		o.has_ts = true;
		o.tsval = c->ts_recent;
		o.tsecr = qp_tcp_tsval(c);
	}
	segment(tcp, seq, ack, RTE_TCP_ACK_FLAG | (fuzz_get8(in) & 1 ? RTE_TCP_FIN_FLAG : 0), 500, options,
		qp_tcp_options_write(options, &o), fuzz_get16(in) % 3000, 0);
}

static void
step_send(struct fuzz_input *in, struct app *a)
{
	struct rte_mbuf *m = a->c != NULL ? rte_pktmbuf_alloc(pool) : NULL;

	if (m == NULL)
		return;
	if (rte_pktmbuf_append(m, 1 + fuzz_get16(in) % 2048) == NULL || rte_mempool_avail_count(pool) < 200)
		rte_pktmbuf_free(m);
	else
		qp_tcp_send(a->c, m);
}

/* "Fragmentation needed" about a segment that may be in flight. */
static void
step_icmp(struct fuzz_input *in, struct qp_tcp *tcp)
{
	struct qp_packet pkt = {.flow = flow, .l3_off = 14, .l4_off = 34, .l4_len = 8 + 20 + 8,
		.proto = IPPROTO_ICMP};
	struct rte_mbuf *m = rte_pktmbuf_alloc(pool);
	struct qp_tcp_conn *c = conn_of(tcp);
	uint16_t mtu = fuzz_get16(in);
	uint32_t seq = rte_cpu_to_be_32((c != NULL ? c->snd_una : 0) + fuzz_get16(in));
	uint8_t *p;

	if (m == NULL)
		return;
	p = (uint8_t *)rte_pktmbuf_append(m, 34 + 36);
	memset(p, 0, 34 + 36);
	p += 34;
	p[0] = 3;
	p[1] = 4;
	p[6] = mtu >> 8;
	p[7] = mtu & 0xff;
	p[8] = 0x45;
	p[10] = 5;
	p[8 + 9] = IPPROTO_TCP;
	memcpy(p + 8 + 12, &flow.local.w[3], 4);
	memcpy(p + 8 + 16, &flow.remote.w[3], 4);
	memcpy(p + 28, &flow.lport_be, 2);
	memcpy(p + 30, &flow.rport_be, 2);
	memcpy(p + 32, &seq, 4);
	qp_tcp_icmp_input(tcp, m, &pkt);
}

static void
step_rare(struct fuzz_input *in, struct qp_tcp *tcp, struct app *a)
{
	switch (fuzz_get8(in)) {
	case 1:
		step_icmp(in, tcp);
		break;
	case 2:
		mem_level = fuzz_get8(in) % (QP_MEM_SCARCE + 1);
		break;
	case 3: /* the first hop's MTU, as the classifier marks it */
		link_mtu = fuzz_get16(in) % 1501;
		break;
	case 7:
		if (a->c == NULL)
			break;
		qp_tcp_abort(a->c);
		a->c = NULL;
		a->over = true;
		break;
	}
}

static void
step(struct fuzz_input *in, struct qp_tcp *tcp, struct qp_wheel *wheel, struct app *a)
{
	switch (fuzz_get8(in) % 8) {
	case 0:
	case 1:
		step_segment(in, tcp);
		break;
	case 2:
		step_honest(in, tcp);
		break;
	case 3:
		step_send(in, a);
		break;
	case 4:
		now_ns += (uint64_t)fuzz_get16(in) * QP_MS_NS;
		qp_wheel_advance(wheel, now_ns);
		break;
	case 5:
		if (a->c != NULL)
			qp_tcp_consumed(a->c, a->held);
		a->held = 0;
		break;
	case 6:
		if (a->c != NULL)
			qp_tcp_shutdown(a->c);
		break;
	case 7:
		step_rare(in, tcp, a);
		break;
	}
}

static void
begin(struct fuzz_input *in, struct qp_tcp *tcp, struct app *a)
{
	uint8_t how = fuzz_get8(in);
	struct qp_tcp_options o = {.has_mss = true, .mss = 1460, .has_wscale = how & 2, .wscale = 7,
		.has_ts = how & 4, .tsval = 1000, .sack_permitted = how & 8};
	uint8_t bytes[QP_TCP_OPTIONS_MAX];
	struct qp_flow f = flow;

	a->greedy = how & 16;
	if (how & 32) /* the right cookie: nobody guesses it */
		qp_tcp_fastopen_cookie(tcp, &f, &o);
	if (how & 1) {
		FUZZ_CHECK(qp_tcp_connect(tcp, &f, &ops, a, &a->c) == 0);
		return;
	}
	segment(tcp, 1000, 0, RTE_TCP_SYN_FLAG | (how & 64 ? RTE_TCP_ECE_FLAG | RTE_TCP_CWR_FLAG : 0), 60000,
		bytes, qp_tcp_options_write(bytes, &o), how & 128 ? 700 : 0, 0);
	qp_tcp_flush(tcp);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = {data, size};
	struct qp_tcp_listener *l;
	struct qp_tcp_config cfg;
	struct qp_wheel *wheel;
	struct app a = {0};
	struct qp_tcp *tcp;

	if (pool == NULL)
		LLVMFuzzerInitialize(NULL, NULL);
	now_ns = 100 * QP_SEC_NS;
	mem_level = QP_MEM_PLENTY;
	link_mtu = 0;
	wheel = qp_wheel_new(now_ns);
	const struct qp_tcp_env env = {.now_ns = &now_ns, .wheel = wheel, .pool = pool,
		.indirect_pool = indirect, .mtu = 1500, .max_frame_bytes = 65535,
		.transmit = transmit, .mem_level = &mem_level, .random = random64};
	qp_tcp_config_default(&cfg);
	cfg.max_conns = 16;
	cfg.rcv_buf_bytes = 1 << (10 + fuzz_get8(&in) % 11);
	cfg.syn_backlog = fuzz_get8(&in) & 1;
	cfg.keepalive_s = 20;
	cfg.zero_window_s = 100;
	cfg.max_conns_per_source = 2;
	cfg.ecn = 2;
	cfg.fastopen = true;
	cfg.fastopen_backlog = 4;
	tcp = qp_tcp_new(&env, &cfg);
	FUZZ_CHECK(tcp != NULL && qp_tcp_listen(tcp, NULL, flow.lport_be, &ops, &a, &l) == 0);
	begin(&in, tcp, &a);
	while (in.left > 0) {
		const char *bad;

		step(&in, tcp, wheel, &a);
		qp_tcp_flush(tcp);
		bad = tcp_check(tcp);
		if (bad != NULL)
			fprintf(stderr, "does not hold: %s\n", bad);
		FUZZ_CHECK(bad == NULL);
	}
	qp_tcp_free(tcp);
	qp_wheel_free(wheel);
	FUZZ_CHECK(rte_mempool_in_use_count(pool) == 0 && rte_mempool_in_use_count(indirect) == 0);
	return 0;
}
