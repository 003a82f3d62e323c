/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CLIENT_STATUS_H
#define QP_CLIENT_STATUS_H

#include "client/desk.h"

/*
 * How a running client tells of itself: a Unix socket DIR/client-PID.sock that
 * gives whoever connects one JSON object and closes. DIR is
 * $XDG_RUNTIME_DIR/quicport, else /run/quicport-client for root, else
 * /tmp/quicport-UID; mode 0700. Main thread.
 */
#define QPC_STATUS_PATH_BYTES 108u

/* QP_E_NOTFOUND: no place for it. */
int qpc_status_folder(char out[QPC_STATUS_PATH_BYTES], struct qp_errmsg *msg);

struct qpc_status {
	int fd; /* listening; -1: none */
	char path[QPC_STATUS_PATH_BYTES];
};

/* A client that cannot have one works without: the failure is logged. */
void qpc_status_open(struct qpc_status *s);
/* Somebody is there. */
void qpc_status_serve(struct qpc_status *s, struct qpc_desk *d);
void qpc_status_close(struct qpc_status *s);

#endif
