/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_CRASH_REPORT_H
#define QP_CONTROLPLANE_CRASH_REPORT_H

#include <limits.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/crash.h"
#include "common/error.h"
#include "common/shared.h"

/*
 * Crash reports: a text file each in STATE_DIR/crash, of data planes that died
 * without being told to. Who, how, its last words, what its threads did, its
 * counters: no payload, no key, no address of a client. The newest are kept.
 * Owner: the loop thread.
 */
#define QP_CRASH_REPORTS_KEPT 20u

struct qp_crash_reports {
	char dir[PATH_MAX];
	char instance[32];
};

/* Of one that died. NULL: not known. All borrowed for the call. */
struct qp_crash_report {
	uint32_t server_id;
	int32_t pid;
	const char *state;   /* "ACTIVE", … */
	uint64_t started_at; /* Unix time, seconds; 0: not known */
	const char *how;     /* "was killed by signal 11 (Segmentation fault)" */
	const char *hung;    /* "worker 1 gave no sign of life for 812 ms"; "": it did not hang */
	const char *threads; /* what they did then: qp_threads_text */
	const struct qp_gen_shared *shared;
	const struct qp_shared_view *view; /* its counters; with `shared` */
	const struct qp_last_words *words;
	uint64_t now_ns;     /* CLOCK_MONOTONIC, which heartbeats are in */
};

/* The folder is made (0700) when it is missing. */
int qp_crash_reports_open(struct qp_crash_reports *r, const char *state_dir, const char *instance,
	struct qp_errmsg *msg);
/* Writes one, whose path goes to `path`, and removes the oldest beyond QP_CRASH_REPORTS_KEPT. */
int qp_crash_report_write(const struct qp_crash_reports *r, const struct qp_crash_report *report,
	char path[PATH_MAX], struct qp_errmsg *msg);
/* Where this process's own handler may write. */
void qp_crash_report_own_path(const struct qp_crash_reports *r, char path[PATH_MAX]);

/*
 * A line for each thread of a living process: name, state, CPU time, where in the
 * kernel it waits; its kernel stack where that may be read. From malloc; NULL: none.
 */
char *qp_threads_text(pid_t pid);

#endif
