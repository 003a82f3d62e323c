/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_MEMORY_H
#define QP_CONTROLPLANE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"
#include "controlplane/loop.h"

/*
 * The generations' memory, which the port owner makes and frees: what to ask it,
 * once a process as EAL. Questions wait while another process starts EAL, a
 * fifth of a second. A port owner of an earlier release cannot be asked: then
 * this process does it by itself; one that is dead leaves the memory as it is.
 * One that has not answered within 5 s is not waited for again before it has, or
 * 10 s later: what would be asked meanwhile counts as not answered.
 * Main thread.
 */

/* Before and after EAL's start. */
int qp_memory_begin(const char *instance, struct qp_errmsg *msg);
int qp_memory_attached(struct qp_errmsg *msg);
/* For answers that nobody waits for. NULL: no more. */
void qp_memory_watch(struct qp_loop *loop);

/*
 * Asks whether it answers, and waits for nothing: to be called again and again.
 * How many of these questions in a row are unanswered; 0 too when it cannot be asked.
 */
unsigned qp_memory_look(void);

/* A zone by its name, of a generation that may be dead; NULL: there is none. */
const void *qp_memory_zone(const char *name, size_t *bytes);
/* A generation's zone with its block. */
void *qp_memory_find(uint32_t server_id, size_t *bytes);
/*
 * Bytes that a generation has, and that are free for others. Approximate: these may lie in pieces.
 * False: the port owner does not answer.
 */
bool qp_memory_usage(uint32_t server_id, uint64_t *used, uint64_t *left);
/* A generation is dead, and nobody here reads its memory any more: it is freed, soon. */
void qp_memory_reclaim(uint32_t server_id);
/* Who is told when it is; one at a time. NULL: nobody. */
void qp_memory_on_freed(void (*freed)(void *ctx, uint32_t server_id), void *ctx);
/*
 * The ids of generations that have memory, dead ones included, 16 at most; how
 * many. 0 before this process has attached.
 */
unsigned qp_memory_list(uint32_t server_id[16]);

#endif
