/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many connections at once between two stacks, on few ports: each port pair
 * lives again and again, through TIME-WAIT (RFC 6191), through an abort whose
 * reset got lost (RFC 9293, 3.5.1), through SYN cookies where the backlog is
 * small. QP_MANY_SEEDS=n runs so many seeds, QP_SEED=n one alone.
 */
#include <criterion/criterion.h>
#include <stdio.h>

#include <rte_mempool.h>

#include "tests/tcp/eal.h"
#include "tests/tcp/simapp.h"

#define PORT        7000
#define FIRST_PORT  40000
#define SLOTS       50
#define LIVES       4     /* of each port pair */
#define PATIENCE_NS (3600 * QP_SEC_NS)

static struct rte_mempool *pool, *indirect;

static void
start(void)
{
	test_eal_init();
	pool = test_pool("payload", 32767, RTE_PKTMBUF_HEADROOM + 2048);
	indirect = test_pool("clones", 32767, 0);
}

TestSuite(tcp_many, .init = start);

/* A port pair and its two ends' latest lives. */
struct slot {
	struct sim_app client, server;
	unsigned life;        /* begun so far */
	uint32_t iss;         /* the client's, of this life */
	bool accepted;        /* the server's end knows of this life */
	uint64_t began_ns;
	uint64_t next_ns;     /* the next may begin */
	uint64_t server_total, server_think_ns;
	bool server_slow;
};

struct crowd {
	struct sim sim;
	struct qp_tcp_listener *listener;
	struct slot slot[SLOTS];
	unsigned reused;
	char bad[200];
};

static struct crowd w;

static uint64_t
pattern(unsigned slot, unsigned life, int end)
{
	return slot * 1000 + life * 2 + (unsigned)end;
}

static void
fails(unsigned i, const char *what)
{
	if (w.bad[0] == '\0')
		snprintf(w.bad, sizeof(w.bad), "port %u, life %u: %s; client %llu of %llu ended %d, server %llu of %llu ended %d",
			FIRST_PORT + i, w.slot[i].life, what, (unsigned long long)w.slot[i].client.received,
			(unsigned long long)w.slot[i].server.total, w.slot[i].client.why,
			(unsigned long long)w.slot[i].server.received,
			(unsigned long long)w.slot[i].client.total, w.slot[i].server.why);
}

static int
on_accept(void *listener_ctx, struct qp_tcp_conn *c)
{
	unsigned i = ntohs(qp_tcp_flow(c)->rport_be) - FIRST_PORT;
	struct slot *s = &w.slot[i];

	(void)listener_ctx;
	if (c->irs != s->iss) /* a life that the client has aborted meanwhile */
		return -1;
	if (s->accepted)
		fails(i, "accepted twice");
	/*
	 * Whatever the last life has left behind, a SYN that arrives gets through
	 * (RFC 6191): by its timestamp, since a life faster than the ISN's clock of
	 * 4 µs ends above the next one's ISN.
	 */
	if (w.sim.host[0].line.loss == 0 && !w.sim.host[0].line.no_ts && w.sim.now_ns > s->began_ns + 3 * QP_SEC_NS)
		fails(i, "the handshake took too long");
	rte_pktmbuf_free(s->server.kept);
	s->accepted = true;
	s->server = (struct sim_app) {.host = &w.sim.host[1], .total = s->server_total,
		.think_ns = s->server_think_ns, .slow = s->server_slow,
		.seed_out = pattern(i, s->life, 1), .seed_in = pattern(i, s->life, 0)};
	sim_app_accepted(&s->server, c);
	return 0;
}

static uint64_t
upto(uint64_t n)
{
	return sim_random(&w.sim) % n;
}

/* Begins a life, unless the last one is still in TIME-WAIT here. */
static void
open_slot(unsigned i)
{
	struct slot *s = &w.slot[i];
	struct qp_flow f = sim_flow(&w.sim, 0, PORT);
	struct qp_tcp_conn *c;

	f.lport_be = htons((uint16_t)(FIRST_PORT + i));
	rte_pktmbuf_free(s->client.kept);
	s->client = (struct sim_app) {.host = &w.sim.host[0], .total = upto(3) ? upto(40000) : 0,
		.think_ns = upto(3) ? 0 : upto(50) * QP_MS_NS, .slow = upto(6) == 0,
		.seed_out = pattern(i, s->life + 1, 0), .seed_in = pattern(i, s->life + 1, 1)};
	if (qp_tcp_connect(w.sim.host[0].tcp, &f, &sim_app_ops, &s->client, &c) != 0) {
		s->client.over = true;
		s->next_ns = w.sim.now_ns + QP_SEC_NS;
		return;
	}
	s->client.c = c;
	s->iss = c->iss;
	s->began_ns = w.sim.now_ns;
	w.reused += s->life > 0;
	s->life++;
	s->accepted = false;
	s->server_total = upto(3) ? upto(40000) : 0;
	s->server_think_ns = upto(3) ? 0 : upto(50) * QP_MS_NS;
	s->server_slow = upto(6) == 0;
	if (upto(8) == 0)
		s->client.abort_ns = w.sim.now_ns + 1 + upto(400) * QP_MS_NS;
}

static void
judge(unsigned i)
{
	struct slot *s = &w.slot[i];

	if (s->client.wrong || (s->accepted && s->server.wrong))
		fails(i, "bytes differ");
	if (s->client.aborted)
		return;
	if (!s->accepted || s->client.why != QP_TCP_END_NORMAL || s->server.why != QP_TCP_END_NORMAL)
		fails(i, "did not end normally");
	else if (s->client.received != s->server.total || s->server.received != s->client.total)
		fails(i, "bytes are missing");
}

/* One turn of a port pair; true while there is more to come. */
static bool
turn(unsigned i)
{
	struct slot *s = &w.slot[i];

	sim_app_turn(&s->client);
	sim_app_turn(&s->server);
	/* Whoever aborts does not wait for what becomes of the other end. */
	if (s->life > 0 && s->next_ns == 0 && s->client.over && (s->server.over || s->client.aborted)) {
		judge(i);
		s->next_ns = w.sim.now_ns + 1 + upto(200) * QP_MS_NS;
	}
	if (s->life < LIVES && s->next_ns != 0 && w.sim.now_ns >= s->next_ns) {
		s->next_ns = 0;
		open_slot(i);
	}
	return s->life < LIVES || s->next_ns == 0 || s->server.c != NULL;
}

static uint64_t
wait_ns(void)
{
	uint64_t wait = UINT64_MAX;

	for (unsigned i = 0; i < SLOTS; i++) {
		const struct slot *s = &w.slot[i];

		wait = RTE_MIN(wait, sim_app_wait_ns(&s->client));
		wait = RTE_MIN(wait, sim_app_wait_ns(&s->server));
		if (s->life < LIVES && s->next_ns > w.sim.now_ns)
			wait = RTE_MIN(wait, s->next_ns - w.sim.now_ns);
	}
	return wait;
}

static const char *
run(void)
{
	uint64_t until = w.sim.now_ns + PATIENCE_NS;
	bool more = true;

	while (more && w.bad[0] == '\0' && w.sim.broken[0] == '\0' && w.sim.now_ns < until) {
		more = false;
		for (unsigned i = 0; i < SLOTS; i++)
			more |= turn(i);
		if (more && !sim_step(&w.sim, wait_ns()))
			return "nothing moves any more";
	}
	for (int i = 0; i < 100000 && sim_step(&w.sim, UINT64_MAX); i++)
		continue;
	if (w.bad[0] != '\0')
		return w.bad;
	if (w.sim.broken[0] != '\0')
		return w.sim.broken;
	if (more)
		return "did not end";
	return w.sim.host[0].tcp->nconns + w.sim.host[1].tcp->nconns != 0 ? "connections are left" : NULL;
}

static const char *
run_seed(uint64_t seed)
{
	static const double losses[] = {0, 0.005, 0.03};
	struct sim plan = {.rnd = seed * 1337 + 11};
	struct sim_line line = {.mtu = 1500, .max_frame_bytes = 65535};
	struct qp_tcp_config cfg;
	const char *bad;

	qp_tcp_config_default(&cfg);
	cfg.max_conns = 1024;
	cfg.time_wait_s = 10;
	cfg.keepalive_s = 5;
	cfg.syn_backlog = sim_random(&plan) % 3 ? 4096 : 3; /* few: cookies */
	line.loss = losses[sim_random(&plan) % 3];
	line.delay_ns = sim_random(&plan) % 20000000;
	line.jitter_ns = line.delay_ns + 1000000;
	line.reorder = sim_random(&plan) % 2 ? 0.03 : 0;
	/*
	 * Not with cookies: a SYN-ACK that comes twice makes the client say more
	 * than its one segment with the cookie, and without that it is a stranger.
	 */
	line.dup = cfg.syn_backlog != 3 && sim_random(&plan) % 2 ? 0.02 : 0;
	line.no_ts = sim_random(&plan) % 3 == 0;
	line.lro = sim_random(&plan) % 2;
	memset(&w, 0, sizeof(w));
	sim_start(&w.sim, seed, &line, &cfg, pool, indirect);
	struct qp_tcp_ops ops = sim_app_ops;
	ops.accept = on_accept;
	cr_assert(qp_tcp_listen(w.sim.host[1].tcp, NULL, htons(PORT), &ops, NULL, &w.listener) == 0);
	for (unsigned i = 0; i < SLOTS; i++)
		w.slot[i].next_ns = w.sim.now_ns + 1 + upto(300) * QP_MS_NS;
	bad = run();
	for (unsigned i = 0; i < SLOTS; i++) {
		rte_pktmbuf_free(w.slot[i].client.kept);
		rte_pktmbuf_free(w.slot[i].server.kept);
	}
	sim_stop(&w.sim);
	if (bad == NULL && rte_mempool_in_use_count(pool) + rte_mempool_in_use_count(indirect) != 0)
		return "mbufs leaked";
	if (bad == NULL && w.reused == 0)
		return "a run without reuse";
	return bad;
}

Test(tcp_many, few_ports_many_lives_any_seed_deliver_every_byte, .timeout = 600)
{
	struct sim_seeds s = sim_seeds("QP_MANY_SEEDS", 30);

	for (uint64_t seed = s.first; seed <= s.last; seed++) {
		const char *bad = run_seed(seed);

		cr_expect(bad == NULL, "seed %llu: %s\n  again: QP_SEED=%llu QP_TRACE=1 test_tcp_many",
			(unsigned long long)seed, bad, (unsigned long long)seed);
	}
}
