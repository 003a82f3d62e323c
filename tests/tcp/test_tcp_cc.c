/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Congestion control: HyStart++, the filters and gains by hand-made ACKs, and
 * whole transfers over a virtual bottleneck.
 */
#include <criterion/criterion.h>
#include <string.h>

#include <rte_mempool.h>

#include "tests/tcp/eal.h"
#include "tests/tcp/simnet.h"

#define PORT 7000
#define FLOWS_MAX 4

static struct rte_mempool *pool, *indirect;

static void
start(void)
{
	test_eal_init();
	pool = test_pool("cc_payload", 16383, RTE_PKTMBUF_HEADROOM + 2048);
	indirect = test_pool("cc_clones", 16383, 0);
}

TestSuite(tcp_cc, .init = start);

/* HyStart++ by its own steps. */

static struct qp_tcp_hystart h;

/* A round of `n` ACKs of 1,000 bytes with this round trip; returns the growth. */
static uint32_t
hystart_round(uint32_t n, uint32_t rtt_us, bool *left)
{
	static uint32_t una;
	uint32_t grown = 0, end;
	bool leave;

	una = h.window_end - n * 1000;
	end = h.window_end;
	*left = false;
	for (uint32_t i = 0; i < n; i++) {
		una += 1000;
		grown += qp_tcp_hystart_grow(&h, 1000, rtt_us, una, end + n * 2000, &leave);
		*left |= leave;
	}
	return grown;
}

Test(tcp_cc, hystart_steady_round_trip_grows_in_full)
{
	bool left;

	qp_tcp_hystart_begin(&h, 100000);
	for (int i = 0; i < 20; i++) {
		cr_expect(hystart_round(10, 40000, &left) == 10000);
		cr_expect(!left && h.phase == QP_HYSTART_SS);
	}
}

Test(tcp_cc, hystart_longer_round_trip_grows_by_a_quarter_for_five_rounds_then_leaves)
{
	uint32_t grown;
	bool left;

	qp_tcp_hystart_begin(&h, 100000);
	hystart_round(10, 40000, &left);
	/* RttThresh = 40 ms / 8 = 5 ms: 44.9 ms is not enough. */
	hystart_round(10, 44900, &left);
	cr_expect(h.phase == QP_HYSTART_SS);
	qp_tcp_hystart_begin(&h, 100000);
	hystart_round(10, 40000, &left);
	grown = hystart_round(10, 45000, &left);
	/* The eighth sample tells: three of ten ACKs count a quarter. */
	cr_expect(grown == 7 * 1000 + 3 * 250, "%u", grown);
	cr_expect(h.phase == QP_HYSTART_CSS);
	for (int i = 0; i < 3; i++) {
		cr_expect(hystart_round(10, 45000, &left) == 2500);
		cr_expect(!left);
	}
	hystart_round(10, 45000, &left);
	cr_expect(left && h.phase == QP_HYSTART_DONE);
}

Test(tcp_cc, hystart_round_trip_that_shrinks_again_goes_on)
{
	bool left;

	qp_tcp_hystart_begin(&h, 100000);
	hystart_round(10, 40000, &left);
	hystart_round(10, 50000, &left);
	cr_expect(h.phase == QP_HYSTART_CSS);
	hystart_round(10, 41000, &left);
	cr_expect(h.phase == QP_HYSTART_SS && !left);
}

Test(tcp_cc, hystart_thresholds_are_clamped_to_4_and_16_ms)
{
	bool left;

	qp_tcp_hystart_begin(&h, 100000);
	hystart_round(10, 1000, &left);
	hystart_round(10, 4900, &left);
	cr_expect(h.phase == QP_HYSTART_SS, "3.9 ms more");
	qp_tcp_hystart_begin(&h, 100000);
	hystart_round(10, 400000, &left);
	hystart_round(10, 416000, &left);
	cr_expect(h.phase == QP_HYSTART_CSS, "16 ms more");
}

/* `n` ACKs `gap_us` apart; whether one of them ended slow start. */
static bool
train_of(uint32_t n, uint32_t gap_us, uint32_t *now_us)
{
	bool left = false;

	for (uint32_t i = 0; i < n; i++) {
		left |= qp_tcp_hystart_train(&h, *now_us, 5000);
		*now_us += gap_us;
	}
	return left;
}

Test(tcp_cc, hystart_acks_back_to_back_for_half_a_round_trip_leave)
{
	uint32_t now = 1000000;

	qp_tcp_hystart_begin(&h, 100000);
	cr_expect(!train_of(11, 500, &now), "5 ms are not more than half of 10 ms");
	cr_expect(train_of(1, 500, &now));
	cr_expect(h.phase == QP_HYSTART_DONE);
}

Test(tcp_cc, hystart_acks_with_a_gap_are_two_trains)
{
	uint32_t now = 1000000;

	qp_tcp_hystart_begin(&h, 100000);
	for (int i = 0; i < 10; i++) {
		cr_expect(!train_of(8, 500, &now));
		now += 2000;
	}
	cr_expect(h.phase == QP_HYSTART_SS);
}

/* Whole transfers. */

struct flow {
	struct sim *sim;
	struct qp_tcp_conn *c;      /* the sender's end */
	struct qp_tcp_conn *sink;
	uint64_t received;
};

static struct flow flow[FLOWS_MAX];
static struct sim sim;
static unsigned nflows, naccepted;

static void
feed(struct flow *f)
{
	while (f->c != NULL && qp_tcp_send_space(f->c) >= 1400 * 4 &&
		rte_mempool_avail_count(pool) > 4096) {
		struct rte_mbuf *m = rte_pktmbuf_alloc(pool);

		memset(rte_pktmbuf_append(m, 1400), 0x55, 1400);
		qp_tcp_send(f->c, m);
	}
}

static void
on_connected(void *ctx)
{
	feed(ctx);
}

static void
on_acked(void *ctx, uint32_t bytes)
{
	feed(ctx);
}

static void
on_ended(void *ctx, enum qp_tcp_end why)
{
	((struct flow *)ctx)->c = NULL;
}

static int
on_accept(void *listener_ctx, struct qp_tcp_conn *c)
{
	struct flow *f = &flow[naccepted++];

	f->sink = c;
	qp_tcp_set_ctx(c, f);
	return 0;
}

static void
on_receive(void *ctx, struct rte_mbuf *chain)
{
	struct flow *f = ctx;

	f->received += chain->pkt_len;
	qp_tcp_consumed(f->sink, chain->pkt_len);
	rte_pktmbuf_free(chain);
}

static void
nothing(void *ctx)
{
}

static void
nobody(void *ctx, enum qp_tcp_end why)
{
}

static const struct qp_tcp_ops source_ops = {
	.connected = on_connected, .receive = on_receive, .receive_end = nothing, .acked = on_acked,
	.ended = on_ended};
static void
ignore_acked(void *ctx, uint32_t bytes)
{
}
static const struct qp_tcp_ops sink_ops = {
	.accept = on_accept, .receive = on_receive, .receive_end = nothing, .acked = ignore_acked,
	.ended = nobody};

static void
open_flow(void)
{
	struct flow *f = &flow[nflows++];
	struct qp_flow to = sim_flow(&sim, 0, PORT);

	f->sim = &sim;
	to.lport_be = 0;
	cr_assert(qp_tcp_connect(sim.host[0].tcp, &to, &source_ops, f, &f->c) == 0);
}

static void
run_for(uint64_t ns)
{
	uint64_t until = sim.now_ns + ns;

	while (sim.now_ns < until && sim_step(&sim, until - sim.now_ns)) {
		for (unsigned i = 0; i < nflows; i++)
			feed(&flow[i]);
	}
	cr_assert(sim.broken[0] == '\0', "%s", sim.broken);
}

static uint64_t seed = 7; /* of the line that opens next */

static void
open_line(enum qp_tcp_cc_kind kind, bool pacing, const struct sim_line *line)
{
	struct qp_tcp_listener *l;
	struct qp_tcp_config cfg;

	qp_tcp_config_default(&cfg);
	cfg.max_conns = 16;
	cfg.rcv_buf_bytes = cfg.snd_buf_bytes = 4 << 20;
	cfg.congestion = kind;
	cfg.pacing = pacing;
	memset(flow, 0, sizeof(flow));
	nflows = naccepted = 0;
	sim_start(&sim, seed, line, &cfg, pool, indirect);
	sim.unchecked = true;
	cr_assert(qp_tcp_listen(sim.host[1].tcp, NULL, htons(PORT), &sink_ops, NULL, &l) == 0);
}

/* Mbit/s over the next `seconds`. */
static double
goodput(double seconds)
{
	uint64_t before = 0, after = 0;

	for (unsigned i = 0; i < nflows; i++)
		before += flow[i].received;
	run_for((uint64_t)(seconds * 1e9));
	for (unsigned i = 0; i < nflows; i++)
		after += flow[i].received;
	return (double)(after - before) * 8 / 1e6 / seconds;
}

/* `mbit` a second, `rtt_ms` round trip, a queue of `queue_ms`. */
static struct sim_line
bottleneck(double mbit, double rtt_ms, double queue_ms)
{
	return (struct sim_line) {.delay_ns = (uint64_t)(rtt_ms * 5e5),
		.bytes_per_s = (uint64_t)(mbit * 125000), .queue_ns = (uint64_t)(queue_ms * 1e6),
		.mtu = 1500, .max_frame_bytes = 65535};
}

/* Share of the line that payload can have: 1,448 of 1,514 bytes. */
#define PAYLOAD_SHARE (1448.0 / 1514.0)

static void
expect_fills(enum qp_tcp_cc_kind kind, bool pacing)
{
	struct sim_line line = bottleneck(100, 40, 40);
	double got;

	open_line(kind, pacing, &line);
	open_flow();
	run_for(3 * QP_SEC_NS);
	got = goodput(10);
	cr_expect(got > 0.93 * 100 * PAYLOAD_SHARE, "%.1f Mbit/s", got);
	sim_stop(&sim);
}

Test(tcp_cc, cubic_fills_a_clean_line, .timeout = 120)
{
	expect_fills(QP_TCP_CC_CUBIC, false);
}

Test(tcp_cc, cubic_paced_fills_a_clean_line, .timeout = 120)
{
	expect_fills(QP_TCP_CC_CUBIC, true);
}

Test(tcp_cc, bbr_fills_a_clean_line, .timeout = 120)
{
	expect_fills(QP_TCP_CC_BBR, false);
}

Test(tcp_cc, cubic_leaves_slow_start_before_a_deep_queue_overflows, .timeout = 120)
{
	struct sim_line line = bottleneck(20, 80, 1000);

	open_line(QP_TCP_CC_CUBIC, false, &line);
	open_flow();
	run_for(4 * QP_SEC_NS);
	cr_expect(sim.host[0].dropped == 0, "%lu packets", (unsigned long)sim.host[0].dropped);
	cr_expect(flow[0].c->ssthresh < UINT32_MAX / 2, "slow start goes on: cwnd %u, window %u", flow[0].c->cwnd, flow[0].c->snd_wnd);
	cr_expect(goodput(2) > 0.9 * 20 * PAYLOAD_SHARE);
	sim_stop(&sim);
}

struct start {
	unsigned lost;   /* packets in the first half second, the end of slow start included */
	double filled;   /* of the line, in the second after it */
};

static struct start
slow_start_over(const struct sim_line *line)
{
	struct start got;

	open_line(QP_TCP_CC_CUBIC, false, line);
	open_flow();
	run_for(QP_SEC_NS / 2);
	got.lost = (unsigned)sim.host[0].dropped;
	cr_expect(flow[0].c->ssthresh < UINT32_MAX / 2, "slow start goes on");
	got.filled = goodput(1) / (PAYLOAD_SHARE * (double)line->bytes_per_s / 125000);
	sim_stop(&sim);
	return got;
}

Test(tcp_cc, cubic_leaves_slow_start_before_a_queue_of_one_round_trip_overflows, .timeout = 120)
{
	struct sim_line line = bottleneck(50, 20, 20);
	struct start got = slow_start_over(&line);

	cr_expect(got.lost < 20, "%u packets", got.lost);
	cr_expect(got.filled > 0.9, "%.2f", got.filled);
}

/*
 * A late packet's recovery ended the slow start, and undoing it went back to
 * it. Not watched from there on it loses 98 packets in the mean.
 */
Test(tcp_cc, cubic_watches_a_slow_start_that_an_undone_recovery_goes_back_to, .timeout = 120)
{
	struct sim_line line = bottleneck(50, 20, 20);
	unsigned lost = 0;
	double filled = 0;

	line.reorder = 0.05;
	line.jitter_ns = 12 * QP_MS_NS;
	for (seed = 1; seed <= 20; seed++) {
		struct start got = slow_start_over(&line);

		lost += got.lost;
		filled += got.filled;
	}
	cr_expect(lost < 20 * 20, "%.1f packets", lost / 20.0);
	cr_expect(filled > 0.9 * 20, "%.2f", filled / 20);
}

Test(tcp_cc, bbr_keeps_its_speed_where_loss_is_no_congestion, .timeout = 240)
{
	struct sim_line line = bottleneck(50, 40, 100);
	double bbr, cubic;

	line.loss = 0.01;
	open_line(QP_TCP_CC_BBR, false, &line);
	open_flow();
	run_for(3 * QP_SEC_NS);
	bbr = goodput(15);
	sim_stop(&sim);
	open_line(QP_TCP_CC_CUBIC, false, &line);
	open_flow();
	run_for(3 * QP_SEC_NS);
	cubic = goodput(15);
	sim_stop(&sim);
	cr_expect(bbr > 0.8 * 50 * PAYLOAD_SHARE, "bbr %.1f Mbit/s", bbr);
	cr_expect(cubic < bbr / 2, "cubic %.1f, bbr %.1f Mbit/s", cubic, bbr);
}

Test(tcp_cc, bbr_keeps_the_queue_short, .timeout = 120)
{
	struct sim_line line = bottleneck(50, 40, 1000);
	uint64_t worst = 0;

	open_line(QP_TCP_CC_BBR, false, &line);
	open_flow();
	run_for(5 * QP_SEC_NS);
	for (int i = 0; i < 500; i++) {
		run_for(10 * QP_MS_NS);
		if (sim.host[0].free_at_ns > sim.now_ns)
			worst = RTE_MAX(worst, sim.host[0].free_at_ns - sim.now_ns);
	}
	cr_expect(worst < 60 * QP_MS_NS, "%.1f ms", (double)worst / 1e6);
	sim_stop(&sim);
}

static void
expect_fair(enum qp_tcp_cc_kind kind)
{
	struct sim_line line = bottleneck(40, 30, 60);
	double sum = 0, squares = 0;

	open_line(kind, false, &line);
	open_flow();
	run_for(2 * QP_SEC_NS);
	open_flow();
	run_for(15 * QP_SEC_NS);
	for (unsigned i = 0; i < 2; i++)
		flow[i].received = 0;
	run_for(30 * QP_SEC_NS);
	for (unsigned i = 0; i < 2; i++) {
		sum += (double)flow[i].received;
		squares += (double)flow[i].received * (double)flow[i].received;
	}
	cr_expect(sum * sum / (2 * squares) > 0.8, "Jain's index %.2f: %.1f and %.1f MB",
		sum * sum / (2 * squares), (double)flow[0].received / 1e6, (double)flow[1].received / 1e6);
	sim_stop(&sim);
}

Test(tcp_cc, cubic_shares_with_a_latecomer, .timeout = 240)
{
	expect_fair(QP_TCP_CC_CUBIC);
}

Test(tcp_cc, bbr_shares_with_a_latecomer, .timeout = 240)
{
	expect_fair(QP_TCP_CC_BBR);
}

/* Bytes that left the sender in each tick of the wheel. */
static uint64_t in_tick, tick, most;

static void
observe(struct sim *s, struct sim_host *from, const uint8_t *frame, uint32_t len)
{
	if (from != &s->host[0])
		return;
	if (s->now_ns / QP_TIMER_TICK_NS != tick) {
		tick = s->now_ns / QP_TIMER_TICK_NS;
		in_tick = 0;
	}
	in_tick += len;
	most = RTE_MAX(most, in_tick);
}

Test(tcp_cc, paced_sender_has_no_burst_beyond_its_quantum, .timeout = 120)
{
	struct sim_line line = bottleneck(100, 40, 100);

	open_line(QP_TCP_CC_BBR, false, &line);
	open_flow();
	run_for(4 * QP_SEC_NS);
	most = 0;
	sim.observe = observe;
	run_for(2 * QP_SEC_NS);
	/* 1 ms at 1.25 × 12.5 MB/s, and the catch-up of a millisecond. */
	cr_expect(most > 0 && most <= 2 * 1.25 * 12500 * 1.1 + 2 * 1514, "%lu bytes", (unsigned long)most);
	sim_stop(&sim);
}
