/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ours against the simplest TCPs: stop-and-wait and go-back-N without options,
 * over a bad line. Every byte arrives both ways. QP_SIMPLE_SEEDS=n, QP_SEED=n.
 */
#include <criterion/criterion.h>
#include <stdio.h>

#include <rte_mempool.h>

#include "tests/tcp/eal.h"
#include "tests/tcp/simapp.h"
#include "tests/tcp/simpeer.h"

#define PORT        7000
#define CLIENT_PORT 40000
#define PATIENCE_NS (3600 * QP_SEC_NS)

static struct rte_mempool *pool, *indirect;

static void
start(void)
{
	test_eal_init();
	pool = test_pool("payload", 8191, RTE_PKTMBUF_HEADROOM + 2048);
	indirect = test_pool("clones", 8191, 0);
}

TestSuite(tcp_simple_peer, .init = start);

static void
open_ends(struct sim *sim, struct sim_app *a, struct sim_simple *p)
{
	struct qp_tcp_listener *l;
	struct qp_flow f = sim_flow(sim, 0, p->port);

	if (p->active) {
		cr_assert(qp_tcp_listen(sim->host[0].tcp, NULL, htons(PORT), &sim_app_ops, a, &l) == 0);
	} else {
		f.lport_be = htons(PORT);
		cr_assert(qp_tcp_connect(sim->host[0].tcp, &f, &sim_app_ops, a, &a->c) == 0);
	}
	sim_simple_start(p);
}

static const char *
verdict(const struct sim *sim, const struct sim_app *a, const struct sim_simple *p)
{
	if (sim->broken[0] != '\0')
		return sim->broken;
	if (p->was_reset)
		return "the peer was reset";
	if (!a->over || !sim_simple_done(p))
		return "did not end";
	if (a->wrong || p->wrong)
		return "bytes differ";
	if (a->why != QP_TCP_END_NORMAL)
		return "did not end normally";
	if (a->received != p->total || p->received != a->total || a->acked != a->total)
		return "bytes are missing";
	return NULL;
}

static const char *
run_seed(uint64_t seed)
{
	static const uint16_t mss[] = {536, 1460, 100, 64};
	/* More, and the peer's dropping of all that is out of order lets Karn's backoff outlast R2. */
	static const double losses[] = {0, 0.005, 0.01, 0.02};
	static struct sim sim;
	struct sim rnd = {.rnd = seed * 31 + 7};
	struct sim_line line = {.mtu = 1500, .max_frame_bytes = 65535};
	struct qp_tcp_config cfg;
	const char *bad;

	qp_tcp_config_default(&cfg);
	cfg.max_conns = 16;
	cfg.time_wait_s = 120;
	line.loss = losses[sim_random(&rnd) % 4];
	line.delay_ns = sim_random(&rnd) % 20000000;
	line.jitter_ns = line.delay_ns + 1000000;
	line.reorder = sim_random(&rnd) % 2 ? 0.05 : 0;
	line.dup = sim_random(&rnd) % 2 ? 0.02 : 0;
	line.corrupt = sim_random(&rnd) % 2 ? 0.01 : 0;
	sim_start(&sim, seed, &line, &cfg, pool, indirect);
	struct sim_simple p = {.h = &sim.host[1], .active = sim_random(&rnd) % 2,
		.mss = mss[sim_random(&rnd) % 4], .window = sim_random(&rnd) % 2 ? 1 : 8,
		.seed_out = seed, .seed_in = seed + 1};
	struct sim_app a = {.host = &sim.host[0], .slow = sim_random(&rnd) % 4 == 0, .seed_out = seed + 1,
		.seed_in = seed, .total = sim_random(&rnd) % 60000};

	p.total = sim_random(&rnd) % (p.mss * 100u);
	p.port = p.active ? CLIENT_PORT : PORT + 1;
	p.peer_port = PORT;
	open_ends(&sim, &a, &p);
	sim_run(&sim, &a, 1, sim.now_ns + PATIENCE_NS);
	for (int i = 0; i < 10000 && sim.host[0].tcp->nconns != 0; i++)
		sim_step(&sim, UINT64_MAX);
	bad = verdict(&sim, &a, &p);
	rte_pktmbuf_free(a.kept);
	sim_stop(&sim);
	if (bad == NULL && rte_mempool_in_use_count(pool) + rte_mempool_in_use_count(indirect) != 0)
		return "mbufs leaked";
	return bad;
}

Test(tcp_simple_peer, stop_and_wait_and_go_back_n_any_seed_deliver_every_byte, .timeout = 300)
{
	struct sim_seeds s = sim_seeds("QP_SIMPLE_SEEDS", 500);

	for (uint64_t seed = s.first; seed <= s.last; seed++) {
		const char *bad = run_seed(seed);

		cr_expect(bad == NULL, "seed %llu: %s\n  again: QP_SEED=%llu QP_TRACE=1 test_tcp_simple_peer",
			(unsigned long long)seed, bad, (unsigned long long)seed);
	}
}
