/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_ACCESS_H
#define QP_CONTROLPLANE_ACCESS_H

#include <stdbool.h>

#include "common/error.h"
#include "common/keys.h"
#include "controlplane/http.h"

/*
 * Who may ask the private API. On loopback everybody on the host, unless there
 * is a token, but no web page from elsewhere; on a Unix socket root, the
 * gateway's own user, and whom the socket's mode lets in; elsewhere who has the
 * token. Owner: the loop thread.
 */
struct qp_access {
	bool loopback; /* TCP listens there: the Host header must say so too */
	bool tls;
	const char *token_file; /* NULL: no token; borrowed */
	struct qp_secret *token; /* read from it */
	const char *socket_path; /* borrowed; NULL: none */
};

#define QP_ACCESS_TOKEN_MIN 16u
#define QP_ACTOR_BYTES 96u

/* Reads the token, again after SIGHUP; a failure changes nothing. Nothing to do without a file. */
int qp_access_load(struct qp_access *a, struct qp_errmsg *msg);
void qp_access_clear(struct qp_access *a);

/*
 * Whether the request is let in; else it is answered. `open`: its path tells
 * nothing that needs a token. `actor` gets who asks, for the audit log:
 * "api uid 1000", "api 127.0.0.1:50000".
 */
bool qp_access_check(const struct qp_access *a, const struct qp_http_request *req, bool open,
	char actor[QP_ACTOR_BYTES], struct qp_http_response *out);

#endif
