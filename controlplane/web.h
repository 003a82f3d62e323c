/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_WEB_H
#define QP_CONTROLPLANE_WEB_H

#include "controlplane/embedded.h"
#include "controlplane/http.h"

/* The private API's own files: the page, and /openapi.json. NULL: no file has this path. */
const struct qp_embedded *qp_web_find(const char *path);
/* GET and HEAD, also conditional ones (RFC 9110, 13.1.2). */
void qp_web_answer(const struct qp_embedded *file, const struct qp_http_request *req,
	struct qp_http_response *out);

#endif
