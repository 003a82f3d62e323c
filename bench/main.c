/* SPDX-License-Identifier: Apache-2.0 */
/*
 * quicport-bench: options, EAL, ports, workers on their lcores, one run, its
 * report. The main thread sleeps while workers work.
 */
#include <limits.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_launch.h>
#include <rte_lcore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/options.h"
#include "bench/pattern.h"
#include "bench/ports.h"
#include "bench/report.h"
#include "bench/worker.h"

static volatile sig_atomic_t interrupted;

struct stats_line {
	struct qpb *b;
	uint32_t period_s;
	uint64_t next_ns, last_ns;
	struct qpb_figures last;
};

static void
on_signal(int number)
{
	interrupted = 1;
}

static int
fail(enum qpb_verdict status, const struct qp_errmsg *msg)
{
	fprintf(stderr, "quicport-bench: %s\n", msg->text);
	return (int)status;
}

/* One line a period, on standard error: standard output may be the JSON. */
static bool
tick(void *ctx)
{
	struct stats_line *s = ctx;
	struct qpb_figures now, d;
	uint64_t at = qpb_clock_ns();
	double seconds;

	if (s->period_s == 0 || at < s->next_ns)
		return !interrupted;
	qpb_sum(s->b, false, &now);
	qpb_figures_diff(&d, &now, &s->last);
	seconds = (double)(at - s->last_ns) / 1e9;
	if (s->last_ns != 0)
		fprintf(stderr,
			"tunnels %llu, connections/s %.0f, requests/s %.0f, Gbit/s in %.3f out %.3f, "
			"datagrams/s %.0f\n",
			(unsigned long long)now.tunnels_opened, (double)d.conns_opened / seconds,
			(double)d.requests_done / seconds, (double)d.service_rx_bytes * 8e-9 / seconds,
			(double)d.user_rx_bytes * 8e-9 / seconds, (double)d.dgrams_sent / seconds);
	s->last = now;
	s->last_ns = at;
	s->next_ns = at + s->period_s * 1000000000ull;
	return !interrupted;
}

static int
start_eal(int own, char **argv, const struct qpb_options *o, struct qp_errmsg *msg)
{
	int n;
	char **words = qpb_eal_words(own, argv, o, &n);

	if (words == NULL)
		return qp_fail(msg, QP_E_NOMEM, "no memory for EAL's options");
	/* EAL keeps pointers to them. */
	if (rte_eal_init(n, words) < 0)
		return qp_fail(msg, QP_E_IO,
			"EAL does not start: %s. Check huge pages, and the lines above",
			rte_strerror(rte_errno));
	return 0;
}

/* In memory it leaves an empty folder; another's is not empty. */
static void
leave_eal(void)
{
	char folder[PATH_MAX];

	snprintf(folder, sizeof(folder), "%s", rte_eal_get_runtime_dir());
	(void)rte_eal_cleanup();
	(void)rmdir(folder);
}

static int
open_workers(struct qpb *b, const struct qpb_options *o, struct qp_errmsg *msg)
{
	unsigned lcore, lcores[QPB_MAX_WORKERS], n = 0;
	int rc;

	RTE_LCORE_FOREACH_WORKER (lcore)
		lcores[n++] = lcore;
	rc = qpb_pools_new(b, lcores, msg);
	if (rc == 0)
		rc = qpb_ports_open(b, o->ports.v, o->ports.n, msg);
	for (unsigned i = 0; rc == 0 && i < n; i++)
		rc = qpb_worker_new(b, i, lcores[i], &b->worker[i], msg);
	return rc;
}

static int
count_workers(struct qpb *b, struct qp_errmsg *msg)
{
	b->nworkers = rte_lcore_count() - 1;
	if (b->nworkers >= 1 && b->nworkers <= QPB_MAX_WORKERS)
		return 0;
	return qp_fail(msg, QP_E_INVAL,
		"%u lcores: give 2 to %u, one that sleeps and the workers, as in --lcores 0@0,1@1",
		rte_lcore_count(), QPB_MAX_WORKERS + 1);
}

static int
report(struct qpb *b, const struct qpb_options *o, const struct qpb_result *r, struct qp_errmsg *msg)
{
	int rc = 0;

	qpb_report_text(b, r, o->json != NULL && strcmp(o->json, "-") == 0 ? stderr : stdout);
	if (o->json != NULL)
		rc = qpb_report_json(b, r, o->json, msg);
	if (rc == 0 && o->hgrm != NULL)
		rc = qpb_report_hgrm(r, o->hgrm, msg);
	if (rc == 0 && o->hlog != NULL)
		rc = qpb_report_hlog(r, o->hlog, msg);
	return rc;
}

static int
run(struct qpb *b, const struct qpb_options *o, struct qp_errmsg *msg)
{
	struct stats_line s = {.b = b, .period_s = o->stats_period};
	struct qpb_result r;
	int rc, status;

	for (unsigned i = 0; i < b->nworkers; i++)
		rte_eal_remote_launch(qpb_worker_run, b->worker[i], b->worker[i]->lcore);
	qpb_run(b, &r, tick, &s);
	atomic_store_explicit(&b->phase, QPB_QUIT, memory_order_release);
	rte_eal_mp_wait_lcore();
	rc = report(b, o, &r, msg);
	status = rc < 0 ? fail(QPB_FAILED, msg) : (int)r.verdict;
	qpb_result_free(&r);
	return status;
}

static int
prepare(struct qpb *b, struct qpb_options *o, struct qp_errmsg *msg)
{
	b->open = calloc(b->cfg.clients, sizeof(*b->open));
	b->opened_port = calloc(b->cfg.clients, sizeof(*b->opened_port));
	if (b->open == NULL || b->opened_port == NULL)
		return qp_fail(msg, QP_E_NOMEM, "no memory for %u clients", b->cfg.clients);
	return open_workers(b, o, msg);
}

/* With EAL up: ports, workers, the run. The exit status. */
static int
measure(struct qpb *b, struct qpb_options *o, struct qp_errmsg *msg)
{
	int status;

	if (count_workers(b, msg) < 0)
		return fail(QPB_USAGE, msg);
	if (qpb_options_resolve(o, b, msg) < 0)
		return fail(QPB_USAGE, msg);
	status = prepare(b, o, msg) < 0 ? fail(QPB_FAILED, msg) : run(b, o, msg);
	for (unsigned i = 0; i < b->nworkers; i++)
		qpb_worker_free(b->worker[i]);
	qpb_ports_close(b);
	free(b->open);
	free(b->opened_port);
	return status;
}

int
main(int argc, char **argv)
{
	static struct qpb b;
	struct qpb_options o = {0};
	struct qp_errmsg msg;
	const struct sigaction sa = {.sa_handler = on_signal};
	int own = qpb_eal_own(argc, argv), status;

	qpb_options_parse(&o, &b.cfg, argc - own, argv + own);
	if (qp_keys_init() < 0)
		return fail(QPB_FAILED, &(struct qp_errmsg) {"libsodium does not start"});
	/* Mistakes before EAL's pages of text; the number of workers is not known yet. */
	b.nworkers = 1;
	if (qpb_options_resolve(&o, &b, &msg) < 0)
		return fail(QPB_USAGE, &msg);
	if (start_eal(own, argv, &o, &msg) < 0)
		return fail(QPB_FAILED, &msg);
	qpb_pattern_init();
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	status = measure(&b, &o, &msg);
	leave_eal();
	qpb_options_free(&o);
	return status;
}
