/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_ADMIN_API_H
#define QP_ADMIN_API_H

#include <curl/curl.h>
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "admin/options.h"
#include "common/error.h"

/*
 * The private API over HTTP. What answers is not trusted: it may be another
 * program, or a gateway whose clients chose the names in it. Owner: main thread.
 */
struct qpa_api;

/* An answer longer than this is not one of ours. */
#define QPA_ANSWER_BYTES (16u << 20)

/* QP_E_INVAL: an address or a token file makes no sense; QP_E_NOTFOUND, QP_E_PERM: the token file. */
int qpa_api_open(const struct qpa_options *o, struct qpa_api **out, struct qp_errmsg *msg)
	__attribute__((warn_unused_result));
/* NULL is allowed. */
void qpa_api_close(struct qpa_api *api);

/*
 * POST /api/v1/admin/NAME. `args` (an object, or NULL: an empty one) stays the
 * caller's. 0: `*answer` is an object, the caller's. Else a line for a person is
 * in msg: QP_E_CLOSED nobody there, QP_E_TIMEOUT, QP_E_AUTH, QP_E_NOTFOUND, QP_E_REFUSED
 * (the gateway said no), QP_E_PROTO (what answered is not a gateway).
 */
int qpa_api_call(struct qpa_api *api, const char *name, const json_t *args, json_t **answer,
	struct qp_errmsg *msg) __attribute__((warn_unused_result));

/*
 * The same in two steps, for a caller that waits for more than the answer: the
 * handle goes into the caller's curl_multi, and out of it before qpa_call_end.
 */
struct qpa_call;
struct qpa_call *qpa_call_begin(struct qpa_api *api, const char *name, const json_t *args);
CURL *qpa_call_handle(struct qpa_call *c);
/* Frees the call. */
int qpa_call_end(struct qpa_call *c, CURLcode code, json_t **answer, struct qp_errmsg *msg)
	__attribute__((warn_unused_result));

/*
 * GET `path`, which answers for as long as it likes. `take` gets the bytes as they
 * come, and false from it ends the call. 0: the other side ended, or `take` did.
 * `after`: the id of the last event that is known, "" for none.
 */
int qpa_api_stream(struct qpa_api *api, const char *path, const char *after,
	bool (*take)(void *ctx, const char *bytes, size_t len), void *ctx, struct qp_errmsg *msg)
	__attribute__((warn_unused_result));

/* The same in two steps, as of a call. */
struct qpa_stream;
struct qpa_stream *qpa_stream_begin(struct qpa_api *api, const char *path, const char *after,
	bool (*take)(void *ctx, const char *bytes, size_t len), void *ctx);
CURL *qpa_stream_handle(struct qpa_stream *s);
/* Frees the stream. */
int qpa_stream_end(struct qpa_stream *s, CURLcode code, struct qp_errmsg *msg)
	__attribute__((warn_unused_result));

#endif
