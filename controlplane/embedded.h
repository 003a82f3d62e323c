/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_EMBEDDED_H
#define QP_CONTROLPLANE_EMBEDDED_H

#include <stddef.h>

/*
 * Files that are part of the program (scripts/embed.py): the private API's page
 * and its OpenAPI document. Constant; any thread.
 */
struct qp_embedded {
	const char *path; /* of the private API */
	const char *content_type;
	const char *etag; /* quoted, of the content */
	const unsigned char *bytes;
	size_t len;
};

extern const struct qp_embedded qp_embedded_files[];
extern const size_t qp_embedded_count;

#endif
