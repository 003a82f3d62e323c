/* SPDX-License-Identifier: Apache-2.0 */
/* Ports, lcores and runs of program.h. Main thread. */
#include "bench/program.h"

#include <rte_launch.h>
#include <rte_lcore.h>
#include <stdlib.h>
#include <string.h>

#include "bench/ports.h"
#include "bench/report.h"
#include "bench/worker.h"

static int
count_workers(struct qpb_program *p, struct qp_errmsg *msg)
{
	unsigned lcore, n = 0;

	p->b.nworkers = rte_lcore_count() - 1;
	if (p->b.nworkers < 1 || p->b.nworkers > QPB_MAX_WORKERS)
		return qp_fail(msg, QP_E_INVAL,
			"%u lcores: give 2 to %u, one that sleeps and the workers, as in --lcores 0@0,1@1",
			rte_lcore_count(), QPB_MAX_WORKERS + 1);
	RTE_LCORE_FOREACH_WORKER(lcore)
	p->lcore[n++] = lcore;
	return 0;
}

int
qpb_program_open(struct qpb_program *p, struct qp_errmsg *msg)
{
	int rc = count_workers(p, msg);

	if (rc == 0)
		rc = qpb_options_resolve(&p->o, &p->b, msg);
	if (rc < 0)
		return QP_E_INVAL;
	atomic_store(&p->b.burst, 32);
	for (unsigned i = 0; i < p->b.nworkers; i++) {
		p->b.shown[i] = aligned_alloc(64, sizeof(struct qp_verbose));
		if (p->b.shown[i] == NULL)
			return qp_fail(msg, QP_E_NOMEM, "no memory for worker %u", i);
		memset(p->b.shown[i], 0, sizeof(struct qp_verbose));
	}
	rc = qpb_pools_new(&p->b, p->lcore, msg);
	return rc < 0 ? rc : qpb_ports_open(&p->b, p->o.ports.v, p->o.ports.n, msg);
}

static int
make_workers(struct qpb_program *p, struct qp_errmsg *msg)
{
	struct qpb *b = &p->b;
	int rc = 0;

	b->open = calloc(b->cfg.clients, sizeof(*b->open));
	b->opened_port = calloc(b->cfg.clients, sizeof(*b->opened_port));
	if (b->open == NULL || b->opened_port == NULL)
		return qp_fail(msg, QP_E_NOMEM, "no memory for %u clients", b->cfg.clients);
	for (unsigned i = 0; i < b->nports; i++) {
		/* The gateway may be another one than before. */
		atomic_store(&b->port[i].hop_known, false);
		atomic_store(&b->port[i].hop_busy, false);
	}
	atomic_store(&b->first_taken, false);
	atomic_store(&b->first_said, false);
	b->run_from_ns = 0;
	b->run_to_ns = 0;
	atomic_store(&b->phase, QPB_STANDBY);
	for (unsigned i = 0; rc == 0 && i < b->nworkers; i++)
		rc = qpb_worker_new(b, i, p->lcore[i], &b->worker[i], msg);
	return rc;
}

static void
free_workers(struct qpb_program *p)
{
	struct qpb *b = &p->b;

	for (unsigned i = 0; i < b->nworkers; i++) {
		if (b->worker[i] != NULL)
			qpb_figures_add(&p->past[i], &b->worker[i]->total);
		qpb_worker_free(b->worker[i]);
		b->worker[i] = NULL;
	}
	free(b->open);
	free(b->opened_port);
	b->open = NULL;
	b->opened_port = NULL;
}

static int
write_files(struct qpb_program *p, struct qp_errmsg *msg)
{
	const struct qpb_options *o = &p->o;
	int rc = 0;

	if (o->json != NULL)
		rc = qpb_report_json(&p->b, &p->last, o->json, msg);
	if (rc == 0 && o->hgrm != NULL)
		rc = qpb_report_hgrm(&p->last, o->hgrm, msg);
	if (rc == 0 && o->hlog != NULL)
		rc = qpb_report_hlog(&p->last, o->hlog, msg);
	return rc;
}

int
qpb_program_check(struct qpb_program *p, struct qp_errmsg *msg)
{
	int rc = qpb_options_resolve(&p->o, &p->b, msg);

	for (unsigned i = 0; rc == 0 && i < p->b.nports; i++)
		if (p->b.port[i].stopped)
			rc = qp_fail(msg, QP_E_INVAL, "port %u is stopped: say port start %u first", i, i);
	return rc;
}

int
qpb_program_run(struct qpb_program *p, bool (*tick)(void *ctx), void *ctx, struct qp_errmsg *msg)
{
	struct qpb *b = &p->b;
	int rc = qpb_program_check(p, msg);

	if (rc == 0)
		rc = make_workers(p, msg);
	if (rc < 0) {
		free_workers(p);
		return rc;
	}
	qpb_result_free(&p->last);
	p->running = true;
	for (unsigned i = 0; i < b->nworkers; i++)
		rte_eal_remote_launch(qpb_worker_run, b->worker[i], p->lcore[i]);
	qpb_run(b, &p->last, tick, ctx);
	atomic_store_explicit(&b->phase, QPB_QUIT, memory_order_release);
	rte_eal_mp_wait_lcore();
	p->running = false;
	p->has_last = true;
	memcpy(p->last.lcore_id, p->lcore, sizeof(p->last.lcore_id));
	free_workers(p);
	return write_files(p, msg);
}

void
qpb_program_figures(const struct qpb_program *p, unsigned worker, struct qpb_figures *out)
{
	*out = p->past[worker];
	if (p->b.worker[worker] != NULL)
		qpb_figures_add(out, &p->b.worker[worker]->total);
}

void
qpb_program_close(struct qpb_program *p)
{
	qpb_result_free(&p->last);
	qpb_ports_close(&p->b);
	for (unsigned i = 0; i < p->b.nworkers; i++)
		free(p->b.shown[i]);
}
