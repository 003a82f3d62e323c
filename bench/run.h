/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_BENCH_RUN_H
#define QP_BENCH_RUN_H

#include "bench/bench.h"
#include "bench/hist.h"

/* How a run went; also the program's exit status. */
enum qpb_verdict {
	QPB_CLEAN = 0,
	QPB_LOST = 1,    /* something was lost, wrong or broken */
	QPB_USAGE = 2,
	QPB_FAILED = 3,  /* it could not be measured: no port, no gateway, no tunnel */
};

/* What a run measured. */
struct qpb_result {
	enum qpb_verdict verdict;
	char why[384];             /* of what is not clean; "" otherwise */
	enum qpb_phase phase;      /* the last one that was reached */
	double seconds;            /* measured */
	struct qpb_figures run;    /* of the measured time, all lcores */
	struct qpb_figures total;  /* of everything */
	struct qpb_figures lcore[QPB_MAX_WORKERS]; /* run, by worker */
	unsigned lcore_id[QPB_MAX_WORKERS]; /* EAL's, by worker */
	struct qpb_hist *latency;  /* of what began in the measured time; owned */
	double set_up_seconds;     /* until all tunnels and connections stood */
	double started_unix_s;     /* of the measured time */
};

/*
 * Takes the workers, which run, through all phases. `tick` (NULL: nobody) is
 * called some ten times a second; false ends the run early, as time would.
 */
void qpb_run(struct qpb *b, struct qpb_result *r, bool (*tick)(void *ctx), void *ctx);
/* Sum of all workers' figures now; of the measured time alone if `run`. */
void qpb_sum(const struct qpb *b, bool run, struct qpb_figures *out);
void qpb_result_free(struct qpb_result *r);

#endif
