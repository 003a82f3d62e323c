/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_AUDIT_H
#define QP_CONTROLPLANE_AUDIT_H

#include <jansson.h>
#include <stdint.h>

#include "common/error.h"

/*
 * The audit log: one JSON object a line, appended whole with one write. What a
 * kill in the middle of that leaves is removed by the next start.
 * A row is with the kernel when qp_audit_write returns, so that nothing is lost
 * by a SIGKILL; a thread of its own syncs to the disk, once a second at most.
 * Owner: the loop thread. Lock: none; one gateway a file.
 */
struct qp_audit;

/* How long a row may wait for the disk: what a power cut may take. */
#define QP_AUDIT_SYNC_MS 1000u

struct qp_audit_stats {
	uint64_t rows;   /* written */
	uint64_t failed; /* lost, by the file's fault or for want of memory */
	uint64_t syncs_failed;
};

/*
 * Opens, or makes, the file (0640): a regular one, whose last line is cut off if
 * it has no end, or a character device.
 * QP_E_INUSE when another process has it open as its audit log.
 */
int qp_audit_open(const char *path, struct qp_audit **out, struct qp_errmsg *msg);
/* Syncs. NULL is allowed. */
void qp_audit_close(struct qp_audit *a);
/* SIGUSR1: the file was renamed; a failure keeps the old one open and says so. NULL: 0. */
int qp_audit_reopen(struct qp_audit *a, struct qp_errmsg *msg);
/*
 * Takes `row` over and adds "time" (RFC 3339, UTC, milliseconds) and "event".
 * `a` NULL: no audit log. A write that fails is counted and logged, once a
 * minute; the next one that succeeds is followed by a row "rows_lost".
 */
void qp_audit_write(struct qp_audit *a, const char *event, json_t *row);
/* NULL: none. */
const struct qp_audit_stats *qp_audit_stats(const struct qp_audit *a);

#endif
