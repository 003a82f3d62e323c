/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The conductor: phase after phase, each until all workers have settled or
 * patience is at its end; then the verdict. Main thread.
 */
#include "bench/run.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "bench/worker.h"
#include "common/clock.h"

#define TICK_NS (2ull * 1000 * 1000)
#define S_NS 1000000000ull
#define CALM_NS (200ull * 1000 * 1000) /* after set-up, until the schedule begins */

struct conductor {
	struct qpb *b;
	struct qpb_result *r;
	bool (*tick)(void *ctx);
	void *ctx;
	bool stopped;
};

static void
copy_figures(struct qpb_figures *out, const struct qpb_figures *in)
{
#define X(field, help) out->field = __atomic_load_n(&in->field, __ATOMIC_RELAXED);
	QPB_FIGURES(X)
#undef X
}

void
qpb_sum(const struct qpb *b, bool run, struct qpb_figures *out)
{
	struct qpb_figures f;

	memset(out, 0, sizeof(*out));
	for (unsigned i = 0; i < b->nworkers; i++) {
		copy_figures(&f, run ? &b->worker[i]->run : &b->worker[i]->total);
		qpb_figures_add(out, &f);
	}
}

static void
enter(struct conductor *k, enum qpb_phase phase)
{
	k->r->phase = phase;
	atomic_store_explicit(&k->b->phase, phase, memory_order_release);
}

static bool
all_settled(const struct qpb *b, enum qpb_phase phase)
{
	for (unsigned i = 0; i < b->nworkers; i++)
		if (atomic_load_explicit(&b->worker[i]->settled, memory_order_acquire) != phase)
			return false;
	return true;
}

static void
pause_a_tick(struct conductor *k)
{
	static const struct timespec ts = {.tv_nsec = TICK_NS};

	nanosleep(&ts, NULL);
	if (k->tick != NULL && !k->tick(k->ctx))
		k->stopped = true;
}

/* True: all have settled in time. */
static bool
until_settled(struct conductor *k, enum qpb_phase phase)
{
	uint64_t end = qp_now_ns() + k->b->cfg.patience * S_NS;
	bool may_stop = phase < QPB_LOAD;

	enter(k, phase);
	while (!all_settled(k->b, phase)) {
		if (qp_now_ns() >= end || (may_stop && k->stopped))
			return false;
		pause_a_tick(k);
	}
	return true;
}

static bool
failed(struct conductor *k, const char *why)
{
	k->r->verdict = QPB_FAILED;
	snprintf(k->r->why, sizeof(k->r->why), "%s",
		k->stopped ? "stopped before the load began" : why);
	return false;
}

static bool
set_up(struct conductor *k)
{
	struct qpb *b = k->b;
	struct qpb_figures f;
	bool in_time;

	if (!until_settled(k, QPB_RESOLVE))
		return failed(k,
			"the next hop does not answer ARP or neighbour discovery: check the "
			"link, --ip and --via");
	in_time = until_settled(k, QPB_TUNNELS);
	qpb_sum(b, false, &f);
	if (f.tunnels_opened == 0 && b->cfg.scenario != QPB_HANDSHAKES)
		return failed(k, "no tunnel opened: check --target, the key, and that --first-port "
				 "and those after it are free and allowed");
	if (!in_time)
		return failed(k,
			"not all tunnels opened in time: check the gateway's limits, or give "
			"more --patience");
	if (!until_settled(k, QPB_OPEN))
		return failed(k,
			"not all outside connections opened in time: check --outside, or give "
			"more --patience");
	qpb_sum(b, false, &f);
	if (f.conns_failed > 0 && f.conns_opened == 0)
		return failed(k,
			"no outside connection opened: check --outside and the gateway's limits");
	return true;
}

static void
load(struct conductor *k)
{
	struct qpb *b = k->b;
	struct timespec ts;

	b->load_from_ns = qp_now_ns() + CALM_NS;
	b->run_from_ns = b->load_from_ns + b->cfg.warmup * S_NS;
	b->run_to_ns = b->run_from_ns + b->cfg.seconds * S_NS;
	for (unsigned i = 0; i < b->nworkers; i++)
		qpb_schedule_init(&b->worker[i]->schedule,
			b->cfg.rate == 0 ? QPB_CLOSED : (enum qpb_arrivals)b->cfg.arrivals,
			b->cfg.rate, i, b->nworkers, b->cfg.seed, b->load_from_ns);
	clock_gettime(CLOCK_REALTIME, &ts);
	k->r->started_unix_s = (double)ts.tv_sec + (double)ts.tv_nsec / 1e9 +
			       (double)(b->run_from_ns - qp_now_ns()) / 1e9;
	enter(k, QPB_LOAD);
	while (qp_now_ns() < b->run_to_ns && !k->stopped)
		pause_a_tick(k);
	if (qp_now_ns() < b->run_to_ns)
		b->run_to_ns = qp_now_ns();
	k->r->seconds = b->run_to_ns > b->run_from_ns
				? (double)(b->run_to_ns - b->run_from_ns) / 1e9
				: 0;
}

static uint64_t
datagrams_arrived(const struct qpb_config *cfg, const struct qpb_figures *f)
{
	return cfg->echo || cfg->answer.max > 0 ? f->dgrams_back : f->dgrams_arrived;
}

/* Nobody says when the last datagram has come: when all have, or none has for a while. */
static void
await_datagrams(struct conductor *k)
{
	struct qpb_figures f;
	uint64_t last = 0, since = qp_now_ns();

	for (;;) {
		uint64_t now = qp_now_ns(), n;

		qpb_sum(k->b, false, &f);
		n = datagrams_arrived(&k->b->cfg, &f);
		if (n >= f.dgrams_sent || now - since >= S_NS)
			return;
		if (n != last)
			since = now;
		last = n;
		pause_a_tick(k);
	}
}

/* Why the first tunnel did not open, if one did not. */
static void
add_first_why(struct conductor *k)
{
	struct qpb_result *r = k->r;
	size_t len = strlen(r->why);

	if (atomic_load_explicit(&k->b->first_said, memory_order_acquire))
		snprintf(r->why + len, sizeof(r->why) - len, "%sthe first tunnel that failed: %s",
			len > 0 ? "; " : "", k->b->first_why);
}

static void
lost(struct qpb_result *r, uint64_t n, const char *what)
{
	size_t len = strlen(r->why);

	if (n == 0)
		return;
	r->verdict = QPB_LOST;
	snprintf(r->why + len, sizeof(r->why) - len, "%s%llu %s", len > 0 ? ", " : "",
		(unsigned long long)n, what);
}

static uint64_t
missing(uint64_t sent, uint64_t got)
{
	return sent > got ? sent - got : 0;
}

/* By the totals: what is in flight at the ends of the measured time is in them, too. */
static void
judge(struct conductor *k, bool finished)
{
	const struct qpb_config *cfg = &k->b->cfg;
	const struct qpb_figures *t = &k->r->total;
	struct qpb_result *r = k->r;

	lost(r, t->user_wrong + t->service_wrong, "pieces of payload wrong");
	lost(r, t->tunnels_failed, "tunnels failed");
	lost(r, t->tunnels_lost, "tunnels lost");
	lost(r, t->conns_failed, "connections failed");
	lost(r, t->requests_lost, "requests lost");
	if (cfg->scenario == QPB_UDP) {
		lost(r, missing(t->dgrams_sent, datagrams_arrived(cfg, t)), "datagrams lost");
		lost(r, missing(datagrams_arrived(cfg, t), t->dgrams_sent), "datagrams doubled");
	} else {
		lost(r, missing(t->user_tx_bytes, t->service_rx_bytes),
			"bytes lost on the way to services");
		lost(r, missing(t->service_tx_bytes, t->user_rx_bytes),
			"bytes lost on the way to users");
	}
	lost(r, !finished, "scenario that did not end in time");
}

static void
collect(struct conductor *k)
{
	struct qpb *b = k->b;

	qpb_sum(b, true, &k->r->run);
	qpb_sum(b, false, &k->r->total);
	for (unsigned i = 0; i < b->nworkers; i++)
		copy_figures(&k->r->lcore[i], &b->worker[i]->run);
}

/* The histograms rest: after FINISH nothing is recorded. */
static void
collect_latency(struct conductor *k)
{
	k->r->latency = qpb_hist_new();
	for (unsigned i = 0; i < k->b->nworkers && k->r->latency != NULL; i++)
		qpb_hist_add(k->r->latency, k->b->worker[i]->latency);
}

void
qpb_run(struct qpb *b, struct qpb_result *r, bool (*tick)(void *ctx), void *ctx)
{
	struct conductor k = {.b = b, .r = r, .tick = tick, .ctx = ctx};
	uint64_t start = qp_now_ns();
	bool ready, finished = true;

	memset(r, 0, sizeof(*r));
	ready = set_up(&k);
	r->set_up_seconds = (double)(qp_now_ns() - start) / 1e9;
	if (ready) {
		load(&k);
		finished = until_settled(&k, QPB_FINISH);
		if (b->cfg.scenario == QPB_UDP)
			await_datagrams(&k);
	}
	(void)until_settled(&k, QPB_CLOSE);
	collect(&k);
	collect_latency(&k);
	if (ready)
		judge(&k, finished);
	if (r->verdict != QPB_CLEAN)
		add_first_why(&k);
	enter(&k, QPB_STANDBY);
}

void
qpb_result_free(struct qpb_result *r)
{
	qpb_hist_free(r->latency);
	r->latency = NULL;
}
