/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request, as libmicrohttpd gives it: first its head, then its body in
 * pieces, at last the call that wants an answer, and the same once more for an
 * answer that came later. Loop thread.
 */
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "controlplane/http_internal.h"
#include "controlplane/problem.h"

/* What a chunked body may bring beyond the bound until its end, where it can be answered. */
#define SWALLOWED_BYTES (8u * QP_HTTP_BODY_BYTES)

const char *
qp_http_header(const struct qp_http_request *req, const char *name)
{
	for (unsigned i = 0; i < req->nheaders; i++) {
		if (strcasecmp(req->header[i].name, name) == 0)
			return req->header[i].value;
	}
	return NULL;
}

struct qp_http_later *
qp_http_defer(const struct qp_http_request *req)
{
	if (req->later != NULL)
		req->later->deferred = true;
	return req->later;
}

void
qp_http_finish(struct qp_http_later *later, struct qp_http_response *resp)
{
	later->finish(later, resp);
}

static void
finish(struct qp_http_later *later, struct qp_http_response *resp)
{
	struct upload *up = (struct upload *)(void *)later;

	up->resp = *resp;
	up->finished = true;
	if (!up->suspended)
		return; /* inside the answer function still */
	up->suspended = false;
	MHD_resume_connection(up->conn);
	qp_http_kick(up->http);
}

struct gathering {
	struct qp_http_field *field;
	unsigned n;
	size_t bytes;
	bool bad; /* a NUL in it */
	bool too_many;
};

static enum MHD_Result
gather(void *ctx, enum MHD_ValueKind kind, const char *name, size_t name_len, const char *value,
	size_t value_len)
{
	struct gathering *g = ctx;

	(void)kind;
	g->bytes += name_len + value_len + 4; /* ": " and CR LF */
	if (strlen(name) != name_len || (value != NULL && strlen(value) != value_len))
		g->bad = true;
	if (g->n == QP_HTTP_FIELDS) {
		g->too_many = true;
		return MHD_NO;
	}
	g->field[g->n++] = (struct qp_http_field) {name, value != NULL ? value : ""};
	return MHD_YES;
}

/* How often, and the last value. */
static unsigned
count_header(const struct upload *up, const char *name, const char **value)
{
	unsigned n = 0;

	for (unsigned i = 0; i < up->nheaders; i++) {
		if (strcasecmp(up->header[i].name, name) == 0) {
			*value = up->header[i].value;
			n++;
		}
	}
	return n;
}

/* Two servers on the way that read such a head apart are a hole (RFC 9112, 6.3, 11.2). */
static bool
check_framing(const struct upload *up, bool http10, struct qp_http_response *out)
{
	const char *length = NULL, *coding = NULL, *host = NULL;
	unsigned lengths = count_header(up, MHD_HTTP_HEADER_CONTENT_LENGTH, &length);
	unsigned codings = count_header(up, MHD_HTTP_HEADER_TRANSFER_ENCODING, &coding);
	unsigned hosts = count_header(up, MHD_HTTP_HEADER_HOST, &host);

	if (lengths > 1 || codings > 1 || (lengths > 0 && codings > 0))
		qp_problem(out, 400, "the length of the body is given in two ways");
	else if (lengths == 1 &&
		 (length[0] == '\0' || length[strspn(length, "0123456789")] != '\0'))
		qp_problem(out, 400, "Content-Length is not a number");
	else if (codings == 1 && (http10 || strcasecmp(coding, "chunked") != 0))
		qp_problem(out, 501, "Transfer-Encoding: only chunked is known here");
	else if (hosts > 1 || (hosts == 0 && !http10))
		qp_problem(out, 400, "one Host header is needed");
	else if (lengths == 1 &&
		 (strlen(length) > 9 || strtoul(length, NULL, 10) > QP_HTTP_BODY_BYTES))
		qp_problem(out, 413, "the body is longer than %u bytes", QP_HTTP_BODY_BYTES);
	else
		return true;
	return false;
}

/* False: `out` is the answer. */
static bool
take_head(struct upload *up, const char *url, bool http10, struct qp_http_response *out)
{
	struct gathering headers = {.field = up->header}, queries = {.field = up->query};

	MHD_get_connection_values_n(up->conn, MHD_HEADER_KIND, gather, &headers);
	MHD_get_connection_values_n(up->conn, MHD_GET_ARGUMENT_KIND, gather, &queries);
	up->nheaders = headers.n;
	up->nqueries = queries.n;
	if (headers.too_many || queries.too_many ||
		headers.bytes + queries.bytes + strlen(url) > QP_HTTP_HEAD_BYTES) {
		qp_problem(out, 431,
			"request line and headers are longer than %u bytes, or more than %u",
			QP_HTTP_HEAD_BYTES, QP_HTTP_FIELDS);
		return false;
	}
	if (headers.bad || queries.bad) {
		qp_problem(out, 400, "there is a NUL in the request's head");
		return false;
	}
	return check_framing(up, http10, out);
}

static enum MHD_Result
take_body(struct upload *up, const char *data, size_t *data_len)
{
	size_t n = *data_len;

	*data_len = 0;
	if (n > QP_HTTP_BODY_BYTES - up->len || up->too_long) {
		up->too_long = true;
		up->cap += n; /* counts on; nothing is kept */
		return up->cap <= SWALLOWED_BYTES ? MHD_YES : MHD_NO;
	}
	if (up->len + n + 1 > up->cap) {
		size_t cap = 2 * (up->len + n + 1);
		char *grown = malloc(cap);

		if (grown == NULL)
			return MHD_NO;
		if (up->len > 0) {
			memcpy(grown, up->body, up->len);
			sodium_memzero(up->body, up->len);
		}
		free(up->body);
		up->body = grown;
		up->cap = cap;
	}
	memcpy(up->body + up->len, data, n);
	up->len += n;
	up->body[up->len] = '\0';
	return MHD_YES;
}

static enum MHD_Result
answer(struct upload *up, const char *url, const char *method, bool http10)
{
	struct qp_http *h = up->http;
	struct qp_http_response resp = {0};
	struct qp_http_request req = {.method = method,
		.path = url,
		.body = up->body != NULL ? up->body : "",
		.body_len = up->len,
		.header = up->header,
		.nheaders = up->nheaders,
		.query = up->query,
		.nqueries = up->nqueries,
		.http10 = http10,
		.unix_socket = h->cfg.unix_socket,
		.uid = up->c->uid,
		.fd = up->c->fd,
		.later = &up->later};
	const char *type = qp_http_header(&req, MHD_HTTP_HEADER_CONTENT_TYPE);

	if (up->too_long) {
		qp_problem(&resp, 413, "the body is longer than %u bytes", QP_HTTP_BODY_BYTES);
		return qp_http_respond(h, up->conn, &resp);
	}
	req.content_type = type != NULL ? type : "";
	qp_http_conn_set_phase(h, up->c, CONN_FREE_OF_TIME);
	h->cfg.answer(h->cfg.ctx, &req, &resp);
	if (!up->later.deferred)
		return qp_http_respond(h, up->conn, &resp);
	if (!up->finished) {
		up->suspended = true;
		MHD_suspend_connection(up->conn);
		return MHD_YES;
	}
	return qp_http_respond(h, up->conn, &up->resp);
}

static enum MHD_Result
begin(struct qp_http *h, struct MHD_Connection *conn, const char *url, bool http10, void **state)
{
	struct qp_http_response resp = {0};
	struct conn *c = qp_http_conn_of(conn);
	struct upload *up = c != NULL ? calloc(1, sizeof(*up)) : NULL;

	*state = up;
	if (up == NULL)
		return MHD_NO;
	up->later.finish = finish;
	up->http = h;
	up->conn = conn;
	up->c = c;
	c->asked = true;
	h->nrequests++;
	return take_head(up, url, http10, &resp) ? MHD_YES : qp_http_respond(h, conn, &resp);
}

enum MHD_Result
qp_http_on_request(void *ctx, struct MHD_Connection *conn, const char *url, const char *method,
	const char *version, const char *data, size_t *data_len, void **state)
{
	struct upload *up = *state;
	bool http10 = strcmp(version, "HTTP/1.0") == 0;

	if (up == NULL)
		return begin(ctx, conn, url, http10, state);
	if (*data_len > 0)
		return take_body(up, data, data_len);
	if (up->finished)
		return qp_http_respond(up->http, conn, &up->resp);
	return answer(up, url, method, http10);
}

void
qp_http_on_request_end(
	void *ctx, struct MHD_Connection *conn, void **state, enum MHD_RequestTerminationCode why)
{
	struct upload *up = *state;

	(void)conn;
	(void)why;
	if (up == NULL)
		return;
	up->http->nrequests--;
	qp_http_conn_set_phase(ctx, up->c, CONN_WAITING);
	qp_http_response_clear(&up->resp);
	/* There may be a secret in it, as in what it grew out of. */
	if (up->body != NULL)
		sodium_memzero(up->body, up->len);
	free(up->body);
	free(up);
	*state = NULL;
}
