/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_KEPT_H
#define QP_CONTROLPLANE_KEPT_H

#include "controlplane/authd.h"
#include "controlplane/metrics.h"
#include "controlplane/supervisor.h"
#include "controlplane/usage.h"

/*
 * What the control plane has counted, in the file "counters" of the run folder, so
 * that counters go on after it was killed or replaced: of data planes that have
 * ended, of authentications, of clients' tunnels that have ended. Written whole
 * under another name, so that a kill leaves the one before. A release that counts
 * other things takes what it knows. Owner: the loop thread.
 */
#define QP_KEPT_RETIRED 16u

/* A later release appends. */
struct qp_kept_more {
	uint64_t handovers_done, handovers_failed, handovers_refused;
	uint64_t farewells;
};

struct qp_kept {
	struct qp_totals retired; /* of data planes that have ended */
	uint32_t nretired;
	uint32_t retired_id[QP_KEPT_RETIRED]; /* the last ones of them, a ring: they are not added again */
	struct qp_authd_counters auth;
	struct qp_supervisor_stats stats;
	struct qp_kept_more more;
};

/* A generation has ended: its counters go to `retired`, once. False: they are there. */
bool qp_kept_retire(struct qp_kept *k, const struct qp_generation *g);
/* The same of one that died while nobody looked, by its block. */
bool qp_kept_retire_block(struct qp_kept *k, uint32_t server_id, const void *block, size_t len);

/* `usage` NULL: without. A failure is logged once a minute at most. */
void qp_kept_save(const struct qp_kept *k, struct qp_usage *usage, const char *dir);
/* All zero when there is no file, or one that makes no sense. */
void qp_kept_load(struct qp_kept *k, struct qp_usage *usage, const char *dir);

#endif
