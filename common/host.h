/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_COMMON_HOST_H
#define QP_COMMON_HOST_H

#include <limits.h>
#include <stdint.h>

#include <sys/types.h>

#include "common/error.h"

/*
 * What the host offers to DPDK's processes, looked at before EAL does (its own
 * messages mislead), and what EAL leaves behind. No DPDK in here. Any thread.
 */
#define QP_MAX_CPUS 1024u

struct qp_hugepages {
	char dir[PATH_MAX]; /* where hugetlbfs is mounted */
	uint64_t page_bytes;
	uint64_t free_bytes; /* at the time of the look */
};

/*
 * The hugetlbfs mount with the smallest pages of which `want_bytes` are free, among
 * those that this process can write to, if there are any.
 * QP_E_NOTFOUND: none is mounted; QP_E_NOMEM: too few pages are free; QP_E_PERM:
 * the mount cannot be written to. `msg` tells what to do.
 */
int qp_host_hugepages(uint64_t want_bytes, struct qp_hugepages *out, struct qp_errmsg *msg);

/*
 * Removes what EAL processes of `prefix` (--file-prefix) leave: hugepage files
 * in every hugetlbfs mount, and the runtime folder. Its processes are dead, or
 * need neither any more. Nothing there is success.
 */
void qp_host_eal_cleanup(const char *prefix);

/*
 * Before EAL's primary of `prefix` starts, until after qp_host_eal_cleanup: one
 * that nobody waits for any more would remove the files of the next. Waits for it,
 * so long. A descriptor for qp_host_eal_unlock; QP_E_INUSE, QP_E_IO.
 */
int qp_host_eal_lock(const char *prefix, unsigned patience_ms, struct qp_errmsg *msg);
void qp_host_eal_unlock(const char *prefix, int fd);

/* The path of a file in EAL's runtime folder of `prefix`. */
void qp_host_eal_file(const char *prefix, const char *file, char path[PATH_MAX]);

/*
 * Removes from that folder what EAL made for a process that is dead: sockets
 * and shadows of the page tables, which EAL itself leaves there for ever.
 */
void qp_host_eal_forget(const char *prefix, pid_t pid);

/* The CPUs that this process may run on, ascending; returns how many, at least 1. */
unsigned qp_host_cpus(unsigned cpus[QP_MAX_CPUS]);

/*
 * The calling thread gets three times the processor time of others that want
 * one as much, and where the kernel groups processes by session (autogroup),
 * this process's session does, unless somebody has given it a rank. Without the
 * right to do so (CAP_SYS_NICE) all stays as it is.
 */
void qp_host_go_first(void);

/*
 * "LCORE@(0,1,…)" for EAL's --lcores: a thread with an lcore id of its own that
 * may run on all allowed CPUs. Returns `out`.
 */
#define QP_LCORES_TEXT_BYTES (QP_MAX_CPUS * 5u + 16u)
const char *qp_host_eal_lcores(unsigned lcore, char out[QP_LCORES_TEXT_BYTES]);

#endif
