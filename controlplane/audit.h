/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_AUDIT_H
#define QP_CONTROLPLANE_AUDIT_H

#include <jansson.h>

#include "common/error.h"

/*
 * The audit log: one JSON object a line, appended whole with one write, so that
 * a killed process leaves no half row behind that others would read as whole.
 * Owner: the loop thread. Lock: none; one gateway a file.
 */
struct qp_audit;

/* Opens, or makes, the file (0640). */
int qp_audit_open(const char *path, struct qp_audit **out, struct qp_errmsg *msg);
/* NULL is allowed. */
void qp_audit_close(struct qp_audit *a);
/* SIGUSR1: the file was renamed; a failure keeps the old one open and says so. */
int qp_audit_reopen(struct qp_audit *a, struct qp_errmsg *msg);
/*
 * Takes `row` over and adds "time" (RFC 3339, UTC, milliseconds) and "event".
 * `a` NULL: no audit log. A write that fails is counted and logged, once a minute.
 */
void qp_audit_write(struct qp_audit *a, const char *event, json_t *row);

#endif
