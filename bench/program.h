/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_BENCH_PROGRAM_H
#define QP_BENCH_PROGRAM_H

#include "bench/options.h"
#include "bench/run.h"

/*
 * The program: ports and lcores that stay, and runs on them, one after the
 * other. Owner: the main thread; EAL is up. All zero but for `o` and the plain
 * numbers of `b.cfg`: not opened.
 */
struct qpb_program {
	struct qpb b;
	struct qpb_options o;
	unsigned lcore[QPB_MAX_WORKERS];          /* EAL's, by worker */
	struct qpb_figures past[QPB_MAX_WORKERS]; /* of all runs before, by worker */
	bool running;
	struct qpb_result last;                   /* of the last run, if there was one */
	bool has_last;
};

/* Counts lcores, makes pools, opens ports. QP_E_INVAL: what the options say does not fit together. */
int qpb_program_open(struct qpb_program *p, struct qp_errmsg *msg);
/* Whether a run could begin now: what the options say together, and ports. */
int qpb_program_check(struct qpb_program *p, struct qp_errmsg *msg);
/*
 * One run, with workers of its own, and its files; p->last says how it went. An
 * error: it did not begin, or a file could not be written. For `tick` see qpb_run.
 */
int qpb_program_run(struct qpb_program *p, bool (*tick)(void *ctx), void *ctx, struct qp_errmsg *msg);
/* All that a worker has counted, in all runs. */
void qpb_program_figures(const struct qpb_program *p, unsigned worker, struct qpb_figures *out);
void qpb_program_close(struct qpb_program *p);

#endif
