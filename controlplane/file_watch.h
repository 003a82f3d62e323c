/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_FILE_WATCH_H
#define QP_CONTROLPLANE_FILE_WATCH_H

#include "controlplane/loop.h"

/*
 * Tells when files change (inotify). Their folders are watched, because editors
 * and package managers put a new file in an old one's place; a folder that is
 * gone is waited for. Many changes soon after each other are told once.
 * Owner: the loop thread.
 */
struct qp_file_watch;

/* So long nothing else may change before it is told; after five times that it is told anyway. */
#define QP_FILE_WATCH_QUIET_MS 100u
#define QP_FILE_WATCH_PATHS 600u

/* NULL when the system refuses (errno says why). */
struct qp_file_watch *qp_file_watch_new(
	struct qp_loop *loop, void (*changed)(void *ctx), void *ctx);
/* NULL is allowed. */
void qp_file_watch_free(struct qp_file_watch *w);

/*
 * Watches these and no others from now on; names are copied. A name that ends
 * with a slash is a folder: every file in it counts. QP_E_NOMEM; QP_E_FULL beyond
 * QP_FILE_WATCH_PATHS.
 */
int qp_file_watch_set(struct qp_file_watch *w, const char *const *paths, unsigned n)
	__attribute__((warn_unused_result));

#endif
