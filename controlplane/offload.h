/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_OFFLOAD_H
#define QP_CONTROLPLANE_OFFLOAD_H

#include <stdbool.h>

#include "common/error.h"
#include "controlplane/loop.h"

/*
 * A thread for work that would hold up the loop: one piece at a time, whose end
 * the loop hears by an eventfd. The functions here are the loop thread's.
 */
struct qp_offload;

/* The thread starts with the first work. QP_E_NOMEM. */
int qp_offload_new(struct qp_loop *loop, struct qp_offload **out, struct qp_errmsg *msg);
/* Waits for work that runs; its `done` is not called. NULL is allowed. */
void qp_offload_free(struct qp_offload *o);

/*
 * Calls work(ctx) on the thread, then done(ctx) on the loop. `ctx` is the work's
 * alone until then. None may be under way. QP_E_NOMEM: nothing is called.
 */
int qp_offload_start(struct qp_offload *o, void (*work)(void *ctx), void (*done)(void *ctx),
	void *ctx) __attribute__((warn_unused_result));
/* From qp_offload_start until `done` is called. */
bool qp_offload_busy(const struct qp_offload *o);
/* Waits for work that is under way, whose `done` is not called then. */
void qp_offload_settle(struct qp_offload *o);

#endif
