/* SPDX-License-Identifier: Apache-2.0 */
#include "controlplane/admin_jobs.h"

#include <stdlib.h>

static void
drop(struct qp_admin_job *job)
{
	if (job->clear != NULL)
		job->clear(job);
	free(job);
}

static void
finish(struct qp_admin_job *job, struct qp_http_response *resp)
{
	TAILQ_REMOVE(&job->admin->jobs, job, next);
	qp_http_finish(job->later, resp);
	drop(job);
}

static void
on_done(void *ctx, const struct qp_query_page *page)
{
	struct qp_http_response resp = {0};
	struct qp_admin_job *job = ctx;

	job->answer(job, page, &resp);
	finish(job, &resp);
}

static bool
on_row(void *ctx, const void *row)
{
	struct qp_admin_job *job = ctx;

	return job->keep(job, row);
}

bool
qp_admin_job_start(struct qp_admin_call *c, struct qp_admin_job *job, struct qp_query_ask *ask)
{
	ask->done = on_done;
	ask->keep = job->keep != NULL ? on_row : NULL;
	ask->ctx = job;
	job->admin = c->admin;
	if (c->admin->queries != NULL && c->req->later != NULL)
		job->query = qp_query_start(c->admin->queries, ask);
	if (job->query == NULL) {
		drop(job);
		return false;
	}
	job->later = qp_http_defer(c->req);
	TAILQ_INSERT_TAIL(&c->admin->jobs, job, next);
	return true;
}

void
qp_admin_end_jobs(struct qp_admin *a)
{
	struct qp_admin_job *job;

	while ((job = TAILQ_FIRST(&a->jobs)) != NULL) {
		struct qp_http_response resp = {0};

		qp_query_cancel(job->query);
		qp_problem(&resp, 503, "the gateway ends");
		finish(job, &resp);
	}
}
