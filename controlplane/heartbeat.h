/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_HEARTBEAT_H
#define QP_CONTROLPLANE_HEARTBEAT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * Whether a data plane's thread hangs, or only gets no CPU. Its sign of life is
 * a time in shared memory that it writes at each turn of its loop; how much of
 * its silence is its own fault is judged by what the kernel says of the thread.
 * Pure but for qp_thread_look. Embedded in its owner; all zero: nothing seen yet.
 */

/* A thread that sleeps says so at least this often: silence that is shorter is none. */
#define QP_HEARTBEAT_QUIET_MS 300u
/* Between two looks. When they are further apart, we were late ourselves: the rest is not counted. */
#define QP_HEARTBEAT_EVERY_MS 100u
#define QP_HEARTBEAT_LATEST_MS 200u

struct qp_thread_sample {
	char state;      /* as in /proc/PID/stat: R, S, D, T, t, … */
	uint64_t ran_ns; /* CPU time that it has had since its start; steps of 10 ms */
};

struct qp_heartbeat {
	uint64_t beat_ns;    /* the last one seen */
	uint64_t looked_ns;  /* when we looked last */
	uint64_t quiet_ns;   /* since then, up to QP_HEARTBEAT_QUIET_MS */
	uint64_t stuck_ns;   /* after that: it waited for something, or was stopped */
	uint64_t ready_ns;   /* after that: it ran, or waited for a CPU */
	uint64_t ran_ns;     /* its CPU time at the first sample */
	bool sampled;
};

/* False: no such thread, or not to be seen from here. */
bool qp_thread_look(pid_t pid, pid_t tid, struct qp_thread_sample *out);

/*
 * To be called every QP_HEARTBEAT_EVERY_MS. True: it has been quiet for so long
 * that the thread must be looked at, too; *passed_ns since the last look are to
 * be accounted for.
 */
bool qp_heartbeat_quiet(
	struct qp_heartbeat *h, uint64_t beat_ns, uint64_t now_ns, uint64_t *passed_ns);
/*
 * Then: for how long it has hung. Time in which it waited for a CPU counts only
 * as far as it ran as well: for one that had a quarter of a CPU or more, all of it.
 */
uint64_t qp_heartbeat_silence_ns(
	struct qp_heartbeat *h, const struct qp_thread_sample *s, uint64_t passed_ns);

#endif
