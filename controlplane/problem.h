/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_PROBLEM_H
#define QP_CONTROLPLANE_PROBLEM_H

#include <jansson.h>

#include "controlplane/http.h"

/*
 * Errors of the HTTP API: application/problem+json (RFC 9457). `detail` says
 * what was wrong with which value; text of a peer in it is made harmless by
 * JSON. Any of them replaces what `out` has. Pure; any thread.
 */
void qp_problem(struct qp_http_response *out, unsigned status, const char *detail, ...)
	__attribute__((format(printf, 3, 4)));
/* 400, and which field was expected to be what. */
void qp_problem_field(struct qp_http_response *out, const char *field, const char *expected,
	const char *detail, ...) __attribute__((format(printf, 4, 5)));
/* Takes `more` over: further members, such as "file" and "line". NULL is allowed. */
void qp_problem_with(
	struct qp_http_response *out, unsigned status, json_t *more, const char *detail);
/* 500 without a word, and without memory: a constant. */
void qp_problem_failed(struct qp_http_response *out);

#endif
