/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_BENCH_REPORT_H
#define QP_BENCH_REPORT_H

#include <stdio.h>

#include "bench/run.h"

/* What a run measured, for people and for scripts. Main thread. */
void qpb_report_text(const struct qpb *b, const struct qpb_result *r, FILE *to);
/* What the load is, NAME=VALUE a line, values as in the JSON; the caller frees it. NULL: no memory. */
char *qpb_report_config(const struct qpb *b);
/* One JSON object (docs/bench.md). 0 or QP_E_IO with the file's name in `msg`; "-": standard output. */
int qpb_report_json(const struct qpb *b, const struct qpb_result *r, const char *path,
	struct qp_errmsg *msg);
/* .hgrm in microseconds, or the interval log in nanoseconds. */
int qpb_report_hgrm(const struct qpb_result *r, const char *path, struct qp_errmsg *msg);
int qpb_report_hlog(const struct qpb_result *r, const char *path, struct qp_errmsg *msg);

#endif
