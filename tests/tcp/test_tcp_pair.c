/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two stacks against each other over a bad line, thousands of seeds: every
 * byte arrives, in order, once; nothing leaks; what may never be sent is not
 * sent; nothing stands still for longer than a timeout; every run ends.
 * QP_SEEDS=n runs so many, from QP_FIRST on; QP_SEED=n one alone, with
 * QP_TRACE=1 as a packet trace.
 */
#include <criterion/criterion.h>
#include <stdio.h>

#include <rte_mempool.h>

#include "tests/tcp/eal.h"
#include "tests/tcp/simapp.h"

#define PORT        7000
#define CLIENT_PORT 40000
#define PATIENCE_NS (3600 * QP_SEC_NS)
#define CHANGES     8

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

enum kind {
	NORMAL,       /* both ends close in order */
	SIMULTANEOUS, /* both open at once */
	ABORT,        /* one application resets in mid-transfer */
	REFUSED,      /* nobody listens */
	UNLISTEN,     /* the listener goes away early on */
	DEAD,         /* the line breaks for good */
};

struct plan {
	enum kind kind;
	struct sim_line line[2];
	struct qp_tcp_config cfg;
	uint64_t bytes[2];
	bool slow[2];
	uint64_t think_ns[2];
	bool answers;         /* the server sends after the client has closed */
	bool starved;         /* of mbufs: there are fewer than the buffers would like */
	int wraps;            /* 1 … 4: ISN or timestamp, of client or server, passes zero; 0: none */
	uint32_t before_wrap;
	uint64_t event_ns;    /* of ABORT, UNLISTEN, DEAD: when */
	int aborter;
	struct sim_change change[CHANGES];
	unsigned nchanges;
};

static uint64_t
upto(struct sim *s, uint64_t n)
{
	return sim_random(s) % n;
}

static void
plan_line(struct sim *s, struct sim_line *l)
{
	static const double losses[] = {0, 0.001, 0.01, 0.05, 0.15};

	l->loss = losses[upto(s, 5)];
	l->delay_ns = upto(s, 40000000);
	l->jitter_ns = l->delay_ns + 1000000;
	if (upto(s, 2))
		l->reorder = 0.05;
	if (upto(s, 2))
		l->dup = 0.02;
	if (upto(s, 2))
		l->corrupt = 0.01;
	if (upto(s, 2)) {
		l->bytes_per_s = 500000 + upto(s, 20000000);
		l->queue_ns = 20000000 + upto(s, 200000000);
	}
	if (upto(s, 5) == 0) {
		l->burst_enter = 0.01;
		l->burst_leave = 0.1 + 0.1 * (double)upto(s, 5);
		l->burst_loss = 0.9;
	}
}

static void
plan_lines(struct sim *s, struct plan *p)
{
	static const uint16_t mtus[] = {1500, 1280, 576, 9000, 1500};
	struct sim_line *l = &p->line[0];

	plan_line(s, l);
	l->mtu = mtus[upto(s, 5)];
	l->max_frame_bytes = upto(s, 3) ? 65535 : 0;
	l->lro = upto(s, 2);
	l->no_sack = upto(s, 4) == 0;
	l->no_ts = upto(s, 4) == 0;
	l->no_wscale = upto(s, 6) == 0;
	l->icmp = upto(s, 3) != 0; /* else a black hole */
	p->line[1] = *l;
	if (upto(s, 3) == 0)
		plan_line(s, &p->line[1]); /* asymmetric */
	for (int i = 0; i < 2; i++) {
		/* Karn's minute-long timeouts outlast R2. */
		if (l->no_ts && p->line[i].loss > 0.1)
			p->line[i].loss = 0.05;
	}
}

static void
add_change(struct plan *p, uint64_t at_ns, int host, enum sim_what what, uint64_t value)
{
	p->change[p->nchanges++] = (struct sim_change) {at_ns, host, what, value};
}

/* Outages, some longer than the longest timeout; a path that gets slower, farther, narrower. */
static void
plan_changes(struct sim *s, struct plan *p, bool v6)
{
	static const uint64_t outages_ms[] = {100, 1000, 5000, 20000, 70000, 130000};
	uint64_t at = upto(s, 300) * QP_MS_NS, outage;
	int host = (int)upto(s, 3) - 1;
	uint16_t low = p->line[0].mtu > 1280 ? 1280 : p->line[0].mtu > 560 && !v6 ? 560 : 0;

	switch (upto(s, 8)) {
	case 0:
		outage = outages_ms[upto(s, 6)];
		add_change(p, at, host, SIM_DOWN, 1);
		add_change(p, at + outage * QP_MS_NS, host, SIM_DOWN, 0);
		/* Then R2 leaves time for a few tries only: they must not all be lost. */
		for (int i = 0; i < 2 && outage > 60000; i++) {
			p->line[i].loss = RTE_MIN(p->line[i].loss, 0.01);
			p->line[i].burst_enter = 0;
		}
		break;
	case 1:
		add_change(p, at, host, SIM_RATE, 100000 + upto(s, 1000000));
		add_change(p, at + upto(s, 2000) * QP_MS_NS, host, SIM_RATE, 10000000);
		break;
	case 2:
		add_change(p, at, host, SIM_DELAY, upto(s, 400) * QP_MS_NS);
		add_change(p, at + upto(s, 2000) * QP_MS_NS, host, SIM_DELAY, upto(s, 20) * QP_MS_NS);
		break;
	case 3:
		add_change(p, at, host, SIM_PATH_MTU, low);
		break;
	}
}

/* Bottlenecks that mark instead of dropping; somebody who forges ICMP. */
static void
plan_marks(struct sim *s, struct plan *p)
{
	bool marks = upto(s, 2), early = upto(s, 2), forged = upto(s, 8) == 0;

	for (int i = 0; i < 2; i++) {
		p->line[i].ce = marks ? 0.02 : 0;
		p->line[i].mark_ns = early ? p->line[i].queue_ns / 4 : 0;
		p->line[i].forge = forged ? 0.05 : 0;
	}
}

static enum kind
kind_of(uint64_t n)
{
	static const enum kind rare[] = {SIMULTANEOUS, SIMULTANEOUS, ABORT, ABORT, ABORT, REFUSED, UNLISTEN, DEAD};

	return n < 8 ? rare[n] : NORMAL;
}

static struct plan
plan_of(uint64_t seed)
{
	struct sim s = {.rnd = seed * 77 + 5};
	struct plan p = {.kind = kind_of(upto(&s, 40))};

	qp_tcp_config_default(&p.cfg);
	p.cfg.max_conns = 16;
	p.cfg.time_wait_s = 600; /* longer than the other end repeats its FIN */
	plan_lines(&s, &p);
	plan_changes(&s, &p, seed % 3 == 2); /* as sim_start has it */
	if (upto(&s, 3) == 0) {
		p.cfg.rcv_buf_bytes = 1000 + upto(&s, 30000);
		p.cfg.snd_buf_bytes = 2048 + upto(&s, 30000);
	}
	p.answers = upto(&s, 6) == 0;
	p.starved = upto(&s, 8) == 0;
	for (int i = 0; i < 2; i++) {
		p.bytes[i] = upto(&s, 8) == 0 ? 0 : upto(&s, p.starved ? 75000 : 300000) / (1 + 9 * upto(&s, 2));
		p.slow[i] = upto(&s, 4) == 0;
		p.think_ns[i] = upto(&s, 4) == 0 ? upto(&s, 300) * QP_MS_NS : 0;
	}
	p.wraps = upto(&s, 3) == 0 ? 1 + (int)upto(&s, 4) : 0;
	p.before_wrap = p.wraps > 2 ? (uint32_t)upto(&s, 3000) : (uint32_t)upto(&s, 100000);
	p.cfg.congestion = upto(&s, 3) == 0 ? QP_TCP_CC_BBR : QP_TCP_CC_CUBIC;
	p.cfg.pacing = upto(&s, 3) == 0;
	p.cfg.ecn = (uint8_t)upto(&s, 3);
	p.cfg.user_timeout_option = upto(&s, 4) == 0;
	plan_marks(&s, &p);
	p.event_ns = 1 + upto(&s, 400) * QP_MS_NS;
	p.aborter = (int)upto(&s, 2);
	if (p.kind == REFUSED || p.kind == UNLISTEN || p.kind == DEAD)
		p.nchanges = 0;
	if (p.kind == DEAD) {
		add_change(&p, p.event_ns, -1, SIM_DOWN, 1);
	}
	return p;
}

struct run {
	struct sim sim;
	struct sim_app app[2];
	struct qp_tcp_listener *listener;
	const struct plan *plan;
	struct rte_mempool *mp, *ip;
};

static struct qp_flow
flow_of(struct run *r, int from)
{
	struct qp_flow f = sim_flow(&r->sim, from, from == 0 ? PORT : CLIENT_PORT);

	f.lport_be = htons(from == 0 ? CLIENT_PORT : PORT);
	return f;
}

static void
begin(struct run *r, uint64_t seed)
{
	const struct plan *p = r->plan;

	sim_start(&r->sim, seed, &p->line[0], &p->cfg, r->mp, r->ip);
	if (p->wraps != 0) {
		int host = (p->wraps - 1) % 2;
		struct qp_flow f = flow_of(r, host);
		uint64_t at = sim_wrap_ns(&r->sim, host, &f, p->wraps > 2, p->before_wrap);

		sim_stop(&r->sim);
		sim_start_at(&r->sim, seed, at, &p->line[0], &p->cfg, r->mp, r->ip);
	}
	r->sim.host[1].line = p->line[1];
	for (int i = 0; i < 2; i++) {
		r->app[i] = (struct sim_app) {.host = &r->sim.host[i], .total = p->bytes[i],
			.slow = p->slow[i], .think_ns = p->think_ns[i],
			.answers = p->answers && i == 1,
			.seed_out = seed + i, .seed_in = seed + 1 - i, .progress_ns = r->sim.now_ns};
	}
}

static void
open_both(struct run *r)
{
	for (int i = 0; i < 2; i++) {
		struct qp_flow f = flow_of(r, i);

		if (i == 1 && r->plan->kind != SIMULTANEOUS) {
			if (r->plan->kind != REFUSED)
				cr_assert(qp_tcp_listen(r->sim.host[1].tcp, NULL, htons(PORT), &sim_app_ops,
						  &r->app[1], &r->listener) == 0);
			break;
		}
		cr_assert(qp_tcp_connect(r->sim.host[i].tcp, &f, &sim_app_ops, &r->app[i], &r->app[i].c) == 0);
	}
	r->app[1].over = r->plan->kind == REFUSED;
}

/* The listener goes; whoever is not through the handshake is reset. */
static void
unlisten(struct run *r)
{
	uint64_t at = r->sim.now_ns + r->plan->event_ns / 4;

	while (r->sim.now_ns < at && sim_step(&r->sim, at - r->sim.now_ns))
		continue;
	sim_watch_resets(&r->sim.host[1]);
	qp_tcp_unlisten(r->listener);
	sim_watch_quiet(&r->sim.host[1]);
	if (r->app[1].c == NULL)
		r->app[1].over = true;
	/* The clock may have passed the time that one of them waits for. */
	for (unsigned i = 0; i < 2; i++)
		sim_app_turn(&r->app[i]);
}

static bool
play_to_the_end(struct run *r)
{
	const struct plan *p = r->plan;
	uint64_t until = r->sim.now_ns + PATIENCE_NS;

	if (p->kind == UNLISTEN)
		unlisten(r);
	/* The line changes once both know of the connection: an outage during the handshake may end it. */
	while (p->kind != REFUSED && p->kind != UNLISTEN && r->sim.now_ns < until && r->sim.broken[0] == '\0' &&
		!(r->app[0].connected && r->app[1].connected)) {
		if (!sim_step(&r->sim, UINT64_MAX))
			return false;
	}
	if (p->kind == ABORT)
		r->app[p->aborter].abort_ns = r->sim.now_ns + p->event_ns;
	sim_play(&r->sim, p->change, p->nchanges);
	return sim_run(&r->sim, r->app, 2, until);
}

/* NULL when all is well, else what is not. */
static const char *
in_order(const struct run *r)
{
	for (int i = 0; i < 2; i++) {
		const struct sim_app *a = &r->app[i], *b = &r->app[1 - i];

		if (a->why != QP_TCP_END_NORMAL)
			return "did not end normally";
		if (a->received != b->total || !a->got_end)
			return "bytes are missing";
		if (a->acked != a->total)
			return "acknowledged bytes are miscounted";
	}
	return NULL;
}

static const char *
verdict(const struct run *r, bool done)
{
	const struct sim_app *a = r->app, *other = &r->app[1 - r->plan->aborter];

	if (r->sim.broken[0] != '\0')
		return r->sim.broken;
	if (!done)
		return "did not end";
	if (a[0].wrong || a[1].wrong)
		return "bytes differ";
	switch (r->plan->kind) {
	case REFUSED:
		return a[0].why == QP_TCP_END_REFUSED && !a[0].connected ? NULL : "was not refused";
	case UNLISTEN:
		if (a[1].connected)
			return in_order(r);
		return a[0].why == QP_TCP_END_REFUSED || a[0].why == QP_TCP_END_RESET ? NULL : "was not reset";
	case ABORT:
		if (!r->app[r->plan->aborter].aborted) /* it was over by then */
			return in_order(r);
		return other->why == QP_TCP_END_RESET || other->got_end ? NULL : "was not told of the abort";
	case DEAD:
		for (int i = 0; i < 2; i++) {
			if (a[i].why != QP_TCP_END_TIMEOUT && a[i].why != QP_TCP_END_NORMAL)
				return "a dead line ended in something else than a timeout";
		}
		return NULL;
	default:
		return in_order(r);
	}
}

/* TIME-WAIT passes, and nothing is left. */
static const char *
left_over(struct run *r)
{
	for (int i = 0; i < 100000 && sim_step(&r->sim, UINT64_MAX); i++)
		continue;
	if (r->sim.broken[0] != '\0')
		return r->sim.broken;
	for (int i = 0; i < 2; i++) {
		const struct qp_tcp *t = r->sim.host[i].tcp;

		if (t->nconns != 0 || t->conns.used != 0 || t->xmits.used != 0 || t->recs.used != 0 ||
			t->ooos.used != 0 || t->tws.used != 0 || t->ooo_segs != 0)
			return "something is left in the stack";
	}
	return NULL;
}

static const char *
run_seed(uint64_t seed, const struct plan *p)
{
	static struct run r;
	static char text[300];
	const char *bad;

	r = (struct run) {.plan = p, .mp = p->starved ? small_pool : pool,
		.ip = p->starved ? small_indirect : indirect};
	begin(&r, seed);
	open_both(&r);
	bad = verdict(&r, play_to_the_end(&r));
	if (bad == NULL)
		bad = left_over(&r);
	for (int i = 0; i < 2; i++)
		rte_pktmbuf_free(r.app[i].kept);
	if (bad != NULL) {
		snprintf(text, sizeof(text), "%s; kind %d, %llu of %llu, %llu of %llu bytes; ended %d %d", bad,
			p->kind, (unsigned long long)r.app[1].received, (unsigned long long)r.app[0].total,
			(unsigned long long)r.app[0].received, (unsigned long long)r.app[1].total,
			r.app[0].why, r.app[1].why);
		bad = text;
	}
	sim_stop(&r.sim);
	if (rte_mempool_in_use_count(r.mp) != 0 || rte_mempool_in_use_count(r.ip) != 0)
		return "mbufs leaked";
	return bad;
}

Test(tcp_pair, bad_lines_any_seed_deliver_every_byte, .timeout = 600)
{
	struct sim_seeds s = sim_seeds("QP_SEEDS", 3000);

	for (uint64_t seed = s.first; seed <= s.last; seed++) {
		struct plan p = plan_of(seed);
		const char *bad = run_seed(seed, &p);

		cr_expect(bad == NULL, "seed %llu: %s\n  again: QP_SEED=%llu QP_TRACE=1 test_tcp_pair",
			(unsigned long long)seed, bad, (unsigned long long)seed);
	}
}
