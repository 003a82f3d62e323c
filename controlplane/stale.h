/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_STALE_H
#define QP_CONTROLPLANE_STALE_H

#include "controlplane/proc.h"

/*
 * What a killed gateway leaves: processes, filters and settings of the host,
 * hugepages, EAL's files, its run folder. Before the loop; the caller holds the
 * dead instance's lock. Main thread, before EAL starts others (it may visit
 * another network namespace).
 */

/*
 * Ends its processes and undoes all but the files of `dir` itself. What cannot
 * be undone is logged; the rest is still done.
 */
void qp_stale_undo(const char *dir, const char *name);

/*
 * Whether the instance lives although its control plane does not: its port
 * owner and a data plane run, in this network namespace or another. `ids` gets
 * those that do, `*n` how many: the owner first, then by age.
 */
bool qp_stale_lives(const char *dir, struct qp_proc_id *ids, unsigned *n);

/* Removes a run folder and the files in it. */
void qp_stale_remove_dir(const char *dir);

/* Writes, reads "PID START PROGRAM" lines. Read: how many, at most `max`. */
int qp_stale_write_processes(
	const char *dir, const struct qp_proc_id *ids, unsigned n, struct qp_errmsg *msg);
unsigned qp_stale_read_processes(const char *dir, struct qp_proc_id *ids, unsigned max);

/* Writes down which network namespace the instance lives in, and that one's inode number. */
int qp_stale_write_netns(const char *dir, ino_t netns, struct qp_errmsg *msg);
ino_t qp_netns_inode(void);

#endif
