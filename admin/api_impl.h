/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_ADMIN_API_IMPL_H
#define QP_ADMIN_API_IMPL_H

#include "admin/api.h"

/* Shared by the files of the API alone. */
struct qpa_api {
	const struct qpa_options *o;
	char base[512];           /* "https://host:port", without a slash at its end */
	const char *socket_path;  /* of a Unix socket, or NULL */
	struct curl_slist *headers; /* libcurl wants the token as text in them: wiped at the end */
	struct curl_slist *stream_headers;
};

struct qpa_answer {
	long status; /* HTTP's; 0: none came */
	const char *content_type; /* or NULL */
	const char *body;
	size_t len;
	long os_errno;
	bool too_long;
};

/* A handle for `path`, with what all requests have; NULL when out of memory. */
CURL *qpa_new_handle(struct qpa_api *api, const char *path);
/* False when out of memory. */
bool qpa_add_header(struct curl_slist **list, const char *line);
/* Wipes. */
void qpa_free_headers(struct curl_slist *list);
/* What libcurl knows of the answer, all but its body. */
void qpa_look_at(CURL *curl, struct qpa_answer *a);

/* One line: what went wrong and what to do. Returns the code that goes with it. */
int qpa_explain_curl(const struct qpa_api *api, CURLcode code, const struct qpa_answer *a,
	struct qp_errmsg *msg);
/* Of an answer whose HTTP status is not 200. */
int qpa_explain_status(
	const struct qpa_api *api, const struct qpa_answer *a, struct qp_errmsg *msg);
int qpa_explain_not_ours(
	const struct qpa_api *api, const struct qpa_answer *a, struct qp_errmsg *msg);

#endif
