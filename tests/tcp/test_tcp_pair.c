/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two stacks against each other over a bad line, hundreds of seeds: every byte
 * arrives, in order, once; nothing leaks; what may never be sent is not sent.
 * A failing seed is printed; QP_SEED=n runs that one alone.
 */
#include <criterion/criterion.h>
#include <criterion/logging.h>
#include <stdio.h>
#include <stdlib.h>

#include <rte_mempool.h>

#include "tests/tcp/eal.h"
#include "tests/tcp/simnet.h"

#define PORT 7000
#define PATIENCE_NS (3600 * QP_SEC_NS)

static struct rte_mempool *pool, *indirect;
static struct rte_mempool *small_pool, *small_indirect;

static void
start(void)
{
	test_eal_init();
	pool = test_pool("payload", 16383, RTE_PKTMBUF_HEADROOM + 2048);
	indirect = test_pool("clones", 16383, 0);
	small_pool = test_pool("few", 127, RTE_PKTMBUF_HEADROOM + 2048);
	small_indirect = test_pool("few_clones", 31, 0);
}

TestSuite(tcp_pair, .init = start);

/* One end's application: sends `total` bytes of a pattern, checks what comes. */
struct end {
	struct sim *sim;
	struct qp_tcp_conn *c;
	uint64_t seed_out, seed_in;
	uint64_t total, queued, acked, received;
	uint64_t held;
	struct rte_mempool *pool;
	bool slow;           /* consumes late and in bits */
	bool finished, got_end, over;
	bool wrong;
	enum qp_tcp_end why;
	struct rte_mbuf *kept; /* the slow reader's latest */
};

static void
give(struct end *e)
{
	while (e->c != NULL && e->queued < e->total) {
		uint32_t space = qp_tcp_send_space(e->c);
		uint32_t n = (uint32_t)RTE_MIN(e->total - e->queued, 1 + sim_random(e->sim) % 2048);
		struct rte_mbuf *m;
		uint8_t *p;

		/* An application leaves some mbufs for what arrives. */
		if (n > space || rte_mempool_avail_count(e->pool) < 64)
			return;
		m = rte_pktmbuf_alloc(e->pool);
		p = (uint8_t *)rte_pktmbuf_append(m, n);
		for (uint32_t i = 0; i < n; i++)
			p[i] = sim_byte(e->seed_out, e->queued + i);
		e->queued += n;
		qp_tcp_send(e->c, m);
	}
	if (e->c != NULL && e->queued == e->total && !e->finished) {
		e->finished = true;
		qp_tcp_shutdown(e->c);
	}
}

static void
on_connected(void *ctx)
{
	give(ctx);
}

static void
on_receive(void *ctx, struct rte_mbuf *chain)
{
	struct end *e = ctx;

	e->held += chain->pkt_len;
	for (const struct rte_mbuf *m = chain; m != NULL; m = m->next) {
		const uint8_t *p = rte_pktmbuf_mtod(m, const uint8_t *);

		for (uint32_t i = 0; i < m->data_len; i++)
			e->wrong |= p[i] != sim_byte(e->seed_in, e->received++);
	}
	if (e->slow) {
		rte_pktmbuf_free(e->kept);
		e->kept = chain;
		return;
	}
	rte_pktmbuf_free(chain);
	qp_tcp_consumed(e->c, (uint32_t)e->held);
	e->held = 0;
}

static void
on_receive_end(void *ctx)
{
	((struct end *)ctx)->got_end = true;
}

static void
on_acked(void *ctx, uint32_t bytes)
{
	struct end *e = ctx;

	e->acked += bytes;
	give(e);
}

static void
on_ended(void *ctx, enum qp_tcp_end why)
{
	struct end *e = ctx;

	e->over = true;
	e->why = why;
	e->c = NULL;
}

static int
on_accept(void *listener_ctx, struct qp_tcp_conn *c)
{
	struct end *e = listener_ctx;

	if (e->c != NULL || e->over)
		return -1;
	e->c = c;
	qp_tcp_set_ctx(c, e);
	give(e);
	return 0;
}

static const struct qp_tcp_ops ops = {
	.accept = on_accept,
	.connected = on_connected,
	.receive = on_receive,
	.receive_end = on_receive_end,
	.acked = on_acked,
	.ended = on_ended,
};

/* A slow reader takes a bit now and then. */
static void
take_some(struct end *e)
{
	uint32_t n;

	if (e->c == NULL || e->held == 0 || !sim_chance(e->sim, 0.05))
		return;
	n = (uint32_t)RTE_MIN(e->held, 1 + sim_random(e->sim) % 60000);
	e->held -= n;
	qp_tcp_consumed(e->c, n);
	qp_tcp_flush(e->c->tcp);
}

static bool
run(struct sim *sim, struct end e[2], uint64_t until_ns)
{
	while (sim->now_ns < until_ns && !(e[0].over && e[1].over) && sim->broken[0] == '\0') {
		bool reading = e[0].held > 0 || e[1].held > 0;

		if (!sim_step(sim, reading ? 5 * QP_MS_NS : UINT64_MAX))
			break;
		for (int i = 0; i < 2; i++) {
			if (e[i].slow)
				take_some(&e[i]);
			if (e[i].c != NULL)
				give(&e[i]);
		}
	}
	return e[0].over && e[1].over;
}

struct plan {
	struct sim_line line;
	struct qp_tcp_config cfg;
	uint64_t bytes[2];
	bool slow[2];
	bool starved; /* of mbufs: there are fewer than the buffers would like */
};

/* The path's MTU falls in mid-flight, with ICMP or without; somebody forges ICMP. */
static void
draw_path(struct sim *s, struct plan *p, uint64_t seed)
{
	bool v6 = seed % 3 == 2; /* as sim_start decides it */
	uint16_t least = v6 ? 1280 : 576;

	if (sim_random(s) % 3 == 0 && p->line.mtu > least) {
		p->line.path_mtu = (uint16_t)(least + sim_random(s) % (p->line.mtu - least));
		p->line.path_mtu_at_ns = sim_random(s) % 2 ? 0 : sim_random(s) % 500000000;
		p->line.black_hole = sim_random(s) % 2;
	}
	if (sim_random(s) % 4 == 0)
		p->line.forge = 0.05;
}

static struct plan
plan_of(uint64_t seed)
{
	struct sim s = {.rnd = seed * 77 + 5};
	struct plan p = {0};
	static const uint16_t mtus[] = {1500, 1280, 576, 9000, 1500};
	static const double losses[] = {0, 0.001, 0.01, 0.05, 0.15};

	qp_tcp_config_default(&p.cfg);
	p.cfg.max_conns = 16;
	p.cfg.time_wait_s = 600; /* longer than the other end repeats its FIN */
	p.line.mtu = mtus[sim_random(&s) % 5];
	p.line.max_frame_bytes = sim_random(&s) % 3 ? 65535 : 0;
	p.line.lro = sim_random(&s) % 2;
	p.line.loss = losses[sim_random(&s) % 5];
	p.line.delay_ns = sim_random(&s) % 40000000;
	p.line.jitter_ns = p.line.delay_ns + 1000000;
	if (sim_random(&s) % 2)
		p.line.reorder = 0.05;
	if (sim_random(&s) % 2)
		p.line.dup = 0.02;
	if (sim_random(&s) % 2)
		p.line.corrupt = 0.01;
	if (sim_random(&s) % 2) {
		p.line.bytes_per_s = 500000 + sim_random(&s) % 20000000;
		p.line.queue_ns = 20000000 + sim_random(&s) % 200000000;
	}
	if (sim_random(&s) % 3 == 0) {
		p.cfg.rcv_buf_bytes = 1000 + sim_random(&s) % 30000;
		p.cfg.snd_buf_bytes = 2048 + sim_random(&s) % 30000;
	}
	p.bytes[0] = sim_random(&s) % 300000;
	p.bytes[1] = sim_random(&s) % 300000;
	if (sim_random(&s) % 4 == 0)
		p.bytes[sim_random(&s) % 2] = 0;
	p.line.no_sack = sim_random(&s) % 4 == 0;
	p.line.no_ts = sim_random(&s) % 4 == 0;
	p.line.no_wscale = sim_random(&s) % 6 == 0;
	if (p.line.no_ts && p.line.loss > 0.1) /* Karn's minute-long timeouts outlast R2 */
		p.line.loss = 0.05;
	p.cfg.congestion = sim_random(&s) % 3 == 0 ? QP_TCP_CC_BBR : QP_TCP_CC_CUBIC;
	p.cfg.pacing = sim_random(&s) % 3 == 0;
	p.starved = sim_random(&s) % 8 == 0;
	if (p.starved) {
		p.bytes[0] /= 4;
		p.bytes[1] /= 4;
	}
	p.slow[0] = sim_random(&s) % 3 == 0;
	p.slow[1] = sim_random(&s) % 3 == 0;
	p.cfg.ecn = (uint8_t)(sim_random(&s) % 3);
	if (sim_random(&s) % 2)
		p.line.ce = 0.02;
	if (sim_random(&s) % 2)
		p.line.mark_ns = p.line.queue_ns / 4;
	draw_path(&s, &p, seed);
	return p;
}

/* NULL when all is well, else what is not. */
static const char *
verdict(struct sim *sim, struct end e[2], bool done)
{
	if (sim->broken[0] != '\0')
		return sim->broken;
	if (!done)
		return "did not end";
	for (int i = 0; i < 2; i++) {
		if (e[i].wrong)
			return "bytes differ";
		if (e[i].why != QP_TCP_END_NORMAL)
			return "did not end normally";
		if (e[i].received != e[1 - i].total || !e[i].got_end)
			return "bytes are missing";
		if (e[i].acked != e[i].total)
			return "acknowledged bytes are miscounted";
	}
	return NULL;
}

/* Over all seeds: a plan that never happens proves nothing. */
static uint64_t took_ns; /* by the last run, handshake to the last ACK */
static uint64_t seen_too_big, seen_taken, seen_pending, seen_black_holes, seen_raised;

/* `sent`: NULL, or the sender's counters at the end. */
static const char *
run_seed_counted(uint64_t seed, const struct plan *p, struct qp_tcp_counters *sent)
{
	struct qp_tcp_listener *l;
	struct sim sim;
	struct end e[2];
	const char *bad;
	bool done;

	struct rte_mempool *mp = p->starved ? small_pool : pool;
	struct rte_mempool *ip = p->starved ? small_indirect : indirect;

	sim_start(&sim, seed, &p->line, &p->cfg, mp, ip);
	for (int i = 0; i < 2; i++) {
		e[i] = (struct end) {.sim = &sim, .total = p->bytes[i], .slow = p->slow[i],
			.pool = mp,
			.seed_out = seed + i, .seed_in = seed + 1 - i};
		sim.host[i].watch = true;
	}
	struct qp_flow flow = sim_flow(&sim, 0, PORT);
	cr_assert(qp_tcp_listen(sim.host[1].tcp, NULL, htons(PORT), &ops, &e[1], &l) == 0);
	cr_assert(qp_tcp_connect(sim.host[0].tcp, &flow, &ops, &e[0], &e[0].c) == 0);
	done = run(&sim, e, sim.now_ns + PATIENCE_NS);
	took_ns = sim.now_ns - sim.start_ns;
	bad = verdict(&sim, e, done);
	/* TIME-WAIT passes, and nothing is left. */
	for (int i = 0; bad == NULL && i < 100000 && sim_step(&sim, UINT64_MAX); i++)
		continue;
	for (int i = 0; i < 2; i++) {
		const struct qp_tcp *t = sim.host[i].tcp;

		rte_pktmbuf_free(e[i].kept);
		seen_too_big += sim.host[i].too_big;
		seen_taken += t->counters.icmp_mtu_taken;
		seen_pending += t->counters.icmp_mtu_pending;
		seen_black_holes += t->counters.mtu_black_holes;
		seen_raised += t->counters.mtu_raised;
		if (bad == NULL && (t->nconns != 0 || t->conns.used != 0 || t->xmits.used != 0 || t->recs.used != 0 ||
					   t->ooos.used != 0 || t->tws.used != 0 || t->ooo_segs != 0))
			bad = "something is left in the stack";
	}
	if (bad != NULL) {
		static char text[300];

		snprintf(text, sizeof(text), "%s; %llu of %llu, %llu of %llu bytes; ended %d %d", bad,
			(unsigned long long)e[1].received, (unsigned long long)e[0].total,
			(unsigned long long)e[0].received, (unsigned long long)e[1].total, e[0].why,
			e[1].why);
		bad = text;
	}
	if (sent != NULL)
		*sent = *qp_tcp_counters(sim.host[0].tcp);
	sim_stop(&sim);
	if (rte_mempool_in_use_count(mp) != 0 || rte_mempool_in_use_count(ip) != 0)
		return "mbufs leaked";
	return bad;
}

static const char *
run_seed(uint64_t seed, const struct plan *p)
{
	return run_seed_counted(seed, p, NULL);
}

Test(tcp_pair, bad_lines_any_seed_deliver_every_byte, .timeout = 300)
{
	const char *only = getenv("QP_SEED"), *many = getenv("QP_SEEDS");
	uint64_t first = only != NULL ? strtoull(only, NULL, 0) : 1;
	uint64_t last = only != NULL ? first : first + (many != NULL ? strtoull(many, NULL, 0) : 300) - 1;

	for (uint64_t seed = first; seed <= last; seed++) {
		struct plan p = plan_of(seed);
		const char *bad = run_seed(seed, &p);

		cr_expect(bad == NULL, "seed %llu: %s", (unsigned long long)seed, bad);
	}
	cr_expect(only != NULL || (seen_too_big > 0 && seen_taken > 0 && seen_pending > 0 &&
					   seen_black_holes > 0 && seen_raised > 0),
		"too big %llu, taken %llu, pending %llu, black holes %llu, raised %llu",
		(unsigned long long)seen_too_big, (unsigned long long)seen_taken,
		(unsigned long long)seen_pending, (unsigned long long)seen_black_holes,
		(unsigned long long)seen_raised);
}

/* A megabyte over 20 ms of round trip, 5 MB/s; the path's MTU falls to 1,300 under way. */
static double
seconds_with(const char *what, bool falls, bool black_hole, double forge, bool no_sack)
{
	struct plan p = {.bytes = {1000000, 0}, .line = {.mtu = 1500, .max_frame_bytes = 65535,
		.delay_ns = 10000000, .bytes_per_s = 5000000, .queue_ns = 100000000, .no_sack = no_sack,
		.black_hole = black_hole, .forge = forge, .path_mtu = falls ? 1300 : 0,
		.path_mtu_at_ns = 100000000}};
	const char *bad;

	qp_tcp_config_default(&p.cfg);
	p.cfg.max_conns = 16;
	bad = run_seed(3, &p);
	cr_expect(bad == NULL, "%s: %s", what, bad);
	cr_log_info("%s%s: %.3f s\n", what, no_sack ? " without SACK" : "", (double)took_ns / 1e9);
	return (double)took_ns / 1e9;
}

Test(tcp_pair, path_mtu_falls_in_mid_flight_costs_a_bounded_time)
{
	double clean = seconds_with("clean", false, false, 0, false);

	for (int no_sack = 0; no_sack < 2; no_sack++) {
		double icmp = seconds_with("icmp", true, false, 0, no_sack);
		double hole = seconds_with("black hole", true, true, 0, no_sack);

		/* One timeout; three, the first of them after a loss probe. */
		cr_expect(icmp < clean + 1.5, "%.3f s with ICMP, %.3f s without a change", icmp, clean);
		cr_expect(hole < clean + 4, "%.3f s in a black hole, %.3f s without one", hole, clean);
	}
}

Test(tcp_pair, forged_icmp_costs_nothing)
{
	double clean = seconds_with("clean", false, false, 0, false);
	double forged = seconds_with("forged", false, false, 0.2, false);

	cr_expect(forged < clean * 1.25, "%.3f s against %.3f s", forged, clean);
}

/* A bottleneck that marks instead of dropping: with ECN nothing is lost, and the queue stays short. */
Test(tcp_pair, marking_bottleneck_with_ecn_loses_nothing)
{
	for (uint8_t ecn = 1; ecn <= 2; ecn++) {
		struct plan p = {.bytes = {24000000, 0}, .line = {.mtu = 1500, .max_frame_bytes = 65535,
			.delay_ns = 10000000, .bytes_per_s = 2500000, .queue_ns = 60000000,
			.mark_ns = 15000000}};
		struct qp_tcp_counters sent;
		const char *bad;

		qp_tcp_config_default(&p.cfg);
		p.cfg.max_conns = 16;
		p.cfg.ecn = ecn;
		bad = run_seed_counted(1, &p, &sent);
		cr_expect(bad == NULL, "ecn %u: %s", ecn, bad);
		if (ecn == 2)
			cr_expect(sent.retrans_segs == 0 && sent.ecn_reductions > 0,
				"%llu sent again, %llu reductions", (unsigned long long)sent.retrans_segs,
				(unsigned long long)sent.ecn_reductions);
		else
			cr_expect(sent.retrans_segs > 0 && sent.ecn_reductions == 0, "nobody asked for ECN");
	}
}
