/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_BENCH_TERMINAL_H
#define QP_BENCH_TERMINAL_H

#include <signal.h>

#include "bench/program.h"

/*
 * The prompt in testpmd's manner (dataplane/prompt) over the program's ports,
 * lcores and runs, at standard input. `start` begins a run, `stop` ends it before
 * its time, `set fwd NAME` chooses the scenario, `set load NAME VALUE` any other
 * option of the load. Owner: the main thread.
 */

/*
 * The commands of `file` (NULL: none) first, what follows a `start` in it when
 * that run has ended; then, if `interactive`, those of
 * standard input until `quit` or its end; `auto_start`: as if `start` came
 * between. `*interrupted`: a signal came. Returns when all runs are done, or an
 * error: the file cannot be read.
 */
struct qpb_terminal_config {
	const char *file;
	bool interactive, auto_start;
	uint32_t stats_period_s;
	const volatile sig_atomic_t *interrupted;
};
int qpb_terminal(struct qpb_program *p, const struct qpb_terminal_config *cfg, struct qp_errmsg *msg);

#endif
