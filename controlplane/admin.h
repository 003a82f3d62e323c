/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_ADMIN_H
#define QP_CONTROLPLANE_ADMIN_H

#include <stdbool.h>

#include "controlplane/http.h"
#include "controlplane/metrics.h"
#include "controlplane/supervisor.h"

/*
 * The private API's paths: /healthcheck, /metrics and /api/v1/admin/. Owner:
 * the loop thread.
 */
struct qp_admin {
	struct qp_supervisor *supervisor;
	/* Fills the snapshot that /metrics prints. */
	void (*metrics)(void *ctx, struct qp_metrics *out);
	/* Whether new clients are served. */
	bool (*serving)(void *ctx);
	void *ctx;
	/* The listener is on loopback: who reaches it may change things. */
	bool trusted;
};

/* struct qp_http_config's answer function; ctx is a struct qp_admin. */
void qp_admin_answer(void *admin, const struct qp_http_request *req, struct qp_http_response *out);

#endif
