/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_COMMON_GENMEM_H
#define QP_COMMON_GENMEM_H

#include <stdbool.h>
#include <stdint.h>

/*
 * A generation's memory among DPDK's memzones: all whose name has "_SERVERID" in
 * it, followed by "_" or the end, so that what a data plane of an earlier
 * release made piece by piece is found as well. All of these take shared locks
 * and belong to the port owner; a control plane uses them itself only when the
 * port owner is of a release that cannot be asked. Threads: EAL's locks.
 */

/* Where a zone is; NULL: there is none. */
void *qp_genmem_find(const char *name, uint64_t *bytes);

/* Whether it is a name of that generation's. */
bool qp_genmem_named(const char *name, uint32_t server_id);

/* Bytes that it has, and that are free for others. Approximate: these may lie in pieces. */
void qp_genmem_usage(uint32_t server_id, uint64_t *used, uint64_t *left);

/* Frees it, and the rings, mempools and stacks in it that are listed. How many zones. */
unsigned qp_genmem_reclaim(uint32_t server_id);

/* The ids of generations whose shared blocks are there, 16 at most; how many. */
unsigned qp_genmem_list(uint32_t server_id[16]);

#endif
