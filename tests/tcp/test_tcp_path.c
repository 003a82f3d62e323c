/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the path does to a transfer of two stacks: its MTU falls, with and
 * without ICMP; somebody forges ICMP; a bottleneck marks instead of dropping.
 */
#include <criterion/criterion.h>

#include <rte_mempool.h>

#include "tests/tcp/eal.h"
#include "tests/tcp/simapp.h"

#define PORT 7000

static struct rte_mempool *pool, *indirect;

static void
start(void)
{
	test_eal_init();
	pool = test_pool("payload", 16383, RTE_PKTMBUF_HEADROOM + 2048);
	indirect = test_pool("clones", 16383, 0);
}

TestSuite(tcp_path, .init = start);

struct outcome {
	double seconds;
	struct qp_tcp_counters sent; /* the sender's */
};

/* `bytes` from host 0 to host 1; all of them arrive. */
static struct outcome
transfer(const char *what, const struct sim_line *line, uint64_t bytes, uint8_t ecn,
	const struct sim_change *change, unsigned nchanges)
{
	struct qp_tcp_listener *l;
	struct qp_tcp_config cfg;
	struct outcome out;
	static struct sim sim;
	struct sim_app app[2];
	uint64_t begun;
	bool done;

	qp_tcp_config_default(&cfg);
	cfg.max_conns = 16;
	cfg.ecn = ecn;
	sim_start(&sim, 3, line, &cfg, pool, indirect);
	for (int i = 0; i < 2; i++)
		app[i] = (struct sim_app) {.host = &sim.host[i], .total = i == 0 ? bytes : 0,
			.seed_out = 9 + i, .seed_in = 10 - i, .progress_ns = sim.now_ns};
	struct qp_flow to = sim_flow(&sim, 0, PORT);
	cr_assert(qp_tcp_listen(sim.host[1].tcp, NULL, htons(PORT), &sim_app_ops, &app[1], &l) == 0);
	cr_assert(qp_tcp_connect(sim.host[0].tcp, &to, &sim_app_ops, &app[0], &app[0].c) == 0);
	begun = sim.now_ns;
	sim_play(&sim, change, nchanges);
	done = sim_run(&sim, app, 2, sim.now_ns + 600 * QP_SEC_NS);
	cr_assert(done && sim.broken[0] == '\0' && !app[1].wrong && app[1].received == bytes, "%s: %s", what,
		sim.broken);
	out.seconds = (double)(sim.now_ns - begun) / 1e9;
	out.sent = *qp_tcp_counters(sim.host[0].tcp);
	sim_stop(&sim);
	cr_log_info("%s: %.3f s\n", what, out.seconds);
	return out;
}

/* 5 MB/s, a round trip of 20 ms. */
static struct sim_line
usual(void)
{
	return (struct sim_line) {.mtu = 1500, .max_frame_bytes = 65535, .delay_ns = 10000000,
		.bytes_per_s = 5000000, .queue_ns = 100000000, .icmp = true};
}

static const struct sim_change falls[] = {{100000000, -1, SIM_PATH_MTU, 1300}};

Test(tcp_path, path_mtu_falls_in_mid_flight_costs_a_bounded_time)
{
	struct sim_line line = usual();
	double clean = transfer("clean", &line, 1000000, 0, NULL, 0).seconds;

	for (int no_sack = 0; no_sack < 2; no_sack++) {
		double icmp, hole;

		line.no_sack = no_sack;
		line.icmp = true;
		icmp = transfer("icmp", &line, 1000000, 0, falls, 1).seconds;
		line.icmp = false;
		hole = transfer("black hole", &line, 1000000, 0, falls, 1).seconds;
		/* One timeout; three, the first of them after a loss probe. */
		cr_expect(icmp < clean + 1.5, "%.3f s with ICMP, %.3f s without a change", icmp, clean);
		cr_expect(hole < clean + 4, "%.3f s in a black hole, %.3f s without one", hole, clean);
	}
}

Test(tcp_path, forged_icmp_costs_nothing)
{
	struct sim_line line = usual();
	double clean = transfer("clean", &line, 1000000, 0, NULL, 0).seconds, forged;

	line.forge = 0.2;
	forged = transfer("forged", &line, 1000000, 0, NULL, 0).seconds;
	cr_expect(forged < clean * 1.25, "%.3f s against %.3f s", forged, clean);
}

/* A bottleneck that marks instead of dropping: with ECN nothing is lost, and the queue stays short. */
Test(tcp_path, marking_bottleneck_with_ecn_loses_nothing)
{
	struct sim_line line = usual();
	struct qp_tcp_counters sent;

	line.bytes_per_s = 2500000;
	line.queue_ns = 60000000;
	line.mark_ns = 15000000;
	sent = transfer("nobody asks for ECN", &line, 24000000, 1, NULL, 0).sent;
	cr_expect(sent.retrans_segs > 0 && sent.ecn_reductions == 0);
	sent = transfer("with ECN", &line, 24000000, 2, NULL, 0).sent;
	cr_expect(sent.retrans_segs == 0 && sent.ecn_reductions > 0, "%llu sent again, %llu reductions",
		(unsigned long long)sent.retrans_segs, (unsigned long long)sent.ecn_reductions);
}
