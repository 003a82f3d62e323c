/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_ADMIN_JOBS_H
#define QP_CONTROLPLANE_ADMIN_JOBS_H

#include "controlplane/admin_calls.h"
#include "controlplane/queries.h"

/*
 * A call that waits for the data planes. Owner: the loop thread. Life: from
 * qp_admin_job_start until its answer; its first member, so that it is freed as
 * what it is part of.
 */
struct qp_admin_job {
	TAILQ_ENTRY(qp_admin_job) next;
	struct qp_admin *admin;
	struct qp_http_later *later;
	struct qp_query *query;
	/* Fills the answer. Borrowed. */
	void (*answer)(struct qp_admin_job *job, const struct qp_query_page *page,
		struct qp_http_response *out);
	/* Which rows count; NULL: all. */
	bool (*keep)(struct qp_admin_job *job, const void *row);
	/* Frees what it holds, not the job; NULL: nothing. */
	void (*clear)(struct qp_admin_job *job);
};

/*
 * Asks; takes `job` (from calloc) over in any case. `ask` needs conns, of, from
 * and max. False: too many ask at once, or this answer cannot wait; then
 * nothing is answered yet.
 */
bool qp_admin_job_start(
	struct qp_admin_call *c, struct qp_admin_job *job, struct qp_query_ask *ask);

#endif
