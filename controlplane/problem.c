/* SPDX-License-Identifier: Apache-2.0 */
#include "controlplane/problem.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/text.h"

#define PROBLEM_TYPE "application/problem+json"
#define DETAIL_BYTES 768u

static const char *
title(unsigned status)
{
	static const struct {
		unsigned status;
		const char *title;
	} titles[] = {{400, "Bad Request"}, {401, "Unauthorized"}, {403, "Forbidden"},
		{404, "Not Found"}, {405, "Method Not Allowed"}, {409, "Conflict"},
		{413, "Content Too Large"}, {415, "Unsupported Media Type"},
		{431, "Request Header Fields Too Large"}, {500, "Internal Server Error"},
		{501, "Not Implemented"}, {503, "Service Unavailable"}};

	for (size_t i = 0; i < sizeof(titles) / sizeof(titles[0]); i++) {
		if (titles[i].status == status)
			return titles[i].title;
	}
	return "Error";
}

void
qp_problem_failed(struct qp_http_response *out)
{
	static const char text[] = "{\"type\":\"about:blank\",\"title\":\"Internal Server Error\","
				   "\"status\":500}";

	qp_http_response_clear(out);
	out->status = 500;
	out->content_type = PROBLEM_TYPE;
	out->constant = text;
	out->body_len = sizeof(text) - 1;
}

void
qp_problem_with(struct qp_http_response *out, unsigned status, json_t *more, const char *detail)
{
	char printable[DETAIL_BYTES];
	json_t *body;
	char *text = NULL;

	/* A peer's bytes may be no UTF-8, or cut in the middle of a character. */
	if (!qp_utf8_valid(detail, strlen(detail))) {
		qp_slice_printable(qp_slice_of(detail), printable, sizeof(printable));
		detail = printable;
	}
	body = json_pack("{s:s, s:s, s:i, s:s}", "type", "about:blank", "title", title(status),
		"status", (int)status, "detail", detail);
	if (body != NULL && (more == NULL || json_object_update_missing(body, more) == 0))
		text = json_dumps(body, JSON_COMPACT);
	json_decref(body);
	json_decref(more);
	qp_http_response_clear(out);
	if (text == NULL) {
		qp_problem_failed(out);
		return;
	}
	out->status = status;
	out->content_type = PROBLEM_TYPE;
	out->body = text;
	out->body_len = strlen(text);
}

void
qp_problem(struct qp_http_response *out, unsigned status, const char *detail, ...)
{
	char text[DETAIL_BYTES];
	va_list ap;

	va_start(ap, detail);
	vsnprintf(text, sizeof(text), detail, ap);
	va_end(ap);
	qp_problem_with(out, status, NULL, text);
}

void
qp_problem_field(struct qp_http_response *out, const char *field, const char *expected,
	const char *detail, ...)
{
	char text[DETAIL_BYTES], name[256];
	va_list ap;

	va_start(ap, detail);
	vsnprintf(text, sizeof(text), detail, ap);
	va_end(ap);
	qp_slice_printable(qp_slice_of(field), name, sizeof(name));
	qp_problem_with(
		out, 400, json_pack("{s:s, s:s}", "field", name, "expected", expected), text);
}
