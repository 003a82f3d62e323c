/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files of the private API, as they are in the program. The page may load and
 * ask only where it came from, run no script but its own, and be framed by
 * nobody.
 */
#include "controlplane/web.h"

#include <string.h>

const struct qp_embedded *
qp_web_find(const char *path)
{
	for (size_t i = 0; i < qp_embedded_count; i++) {
		if (strcmp(qp_embedded_files[i].path, path) == 0)
			return &qp_embedded_files[i];
	}
	return NULL;
}

/* If-None-Match: a list, "*", and weak tags, which compare as strong ones do. */
static bool
is_known(const char *tags, const char *etag)
{
	size_t len = strlen(etag);

	if (tags == NULL)
		return false;
	if (strcmp(tags, "*") == 0)
		return true;
	for (const char *at = strstr(tags, etag); at != NULL; at = strstr(at + 1, etag)) {
		if (at[len] == '\0' || at[len] == ',' || at[len] == ' ')
			return true;
	}
	return false;
}

void
qp_web_answer(const struct qp_embedded *file, const struct qp_http_request *req,
	struct qp_http_response *out)
{
	if (!qp_http_reads(req, out))
		return;
	qp_http_add_header(out, "Content-Security-Policy",
		"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
		"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
		"require-trusted-types-for 'script'; trusted-types 'none'");
	qp_http_add_header(out, "Referrer-Policy", "no-referrer");
	qp_http_add_header(out, "Cross-Origin-Opener-Policy", "same-origin");
	qp_http_add_header(out, "Cross-Origin-Resource-Policy", "same-origin");
	qp_http_add_header(out, "X-Frame-Options", "DENY");
	/* Kept, and asked for again each time: an upgrade shows at once. */
	qp_http_add_header(out, "Cache-Control", "no-cache");
	qp_http_add_header(out, "ETag", file->etag);
	if (is_known(qp_http_header(req, "If-None-Match"), file->etag)) {
		out->status = 304;
		return;
	}
	out->status = 200;
	out->content_type = file->content_type;
	out->constant = file->bytes;
	out->body_len = file->len;
}
