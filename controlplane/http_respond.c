/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Answers: whole ones, and streams whose bytes come from a source as it has
 * them. A stream without bytes is suspended; our own watch then sees its peer
 * leave, which libmicrohttpd would notice at the next write. Loop thread.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "controlplane/http_internal.h"
#include "controlplane/problem.h"

/* What the kernel holds of a stream that its peer does not read. */
#define STREAM_SNDBUF 65536
#define STREAM_BLOCK 16384u

/* Owner: the loop thread. Life: from the answer until libmicrohttpd frees the response. */
struct qp_http_stream {
	TAILQ_ENTRY(qp_http_stream) next;
	struct qp_http *http;
	struct MHD_Connection *conn;
	struct qp_http_source source;
	struct qp_watch watch; /* while suspended */
	int fd;
	bool suspended;
	bool gone; /* the peer left, or we cut it off */
};

void
qp_http_json(struct qp_http_response *out, unsigned status, const char *text)
{
	out->status = status;
	out->content_type = "application/json";
	out->body = strdup(text);
	out->body_len = strlen(text);
}

void
qp_http_add_header(struct qp_http_response *out, const char *name, const char *value)
{
	assert(out->nheaders < sizeof(out->header) / sizeof(out->header[0]));
	out->header[out->nheaders++] = (struct qp_http_field) {name, value};
}

void
qp_http_not_allowed(struct qp_http_response *out, const char *allow)
{
	qp_problem(out, MHD_HTTP_METHOD_NOT_ALLOWED, "the method must be %s", allow);
	qp_http_add_header(out, MHD_HTTP_HEADER_ALLOW, allow);
}

bool
qp_http_reads(const struct qp_http_request *req, struct qp_http_response *out)
{
	if (strcmp(req->method, "GET") == 0 || strcmp(req->method, "HEAD") == 0)
		return true;
	qp_http_not_allowed(out, "GET, HEAD");
	return false;
}

void
qp_http_healthcheck(const struct qp_http_request *req, bool serving, const char *reason,
	struct qp_http_response *out)
{
	json_t *answer;

	if (!qp_http_reads(req, out))
		return;
	answer = json_pack("{s:s, s:s*}", "status", serving ? "SERVING" : "NOT_SERVING", "reason",
		reason);
	out->status = serving ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE;
	out->content_type = "application/json";
	out->body = json_dumps(answer, JSON_COMPACT);
	out->body_len = out->body != NULL ? strlen(out->body) : 0;
	json_decref(answer);
}

void
qp_http_response_clear(struct qp_http_response *resp)
{
	free(resp->body);
	if (resp->source != NULL)
		resp->source->closed(resp->source->ctx);
	*resp = (struct qp_http_response) {0};
}

/* ---- streams ---- */

static void
resume(struct qp_http_stream *s)
{
	if (!s->suspended)
		return;
	s->suspended = false;
	qp_loop_unwatch(s->http->cfg.loop, &s->watch);
	MHD_resume_connection(s->conn);
	qp_http_kick(s->http);
}

void
qp_http_stream_wake(struct qp_http_stream *s)
{
	resume(s);
}

void
qp_http_stream_abort(struct qp_http_stream *s)
{
	s->gone = true;
	/* It may be stuck in the middle of a write. */
	shutdown(s->fd, SHUT_RDWR);
	resume(s);
}

void
qp_http_end_streams(struct qp_http *h)
{
	struct qp_http_stream *s;

	TAILQ_FOREACH (s, &h->streams, next)
		qp_http_stream_abort(s);
}

static void
on_peer_gone(void *ctx, uint32_t events)
{
	(void)events;
	qp_http_stream_abort(ctx);
}

static ssize_t
stream_read(void *ctx, uint64_t pos, char *buf, size_t max)
{
	struct qp_http_stream *s = ctx;
	ssize_t n = s->gone ? -1 : s->source.read(s->source.ctx, buf, max);

	(void)pos;
	if (n > 0)
		return n;
	if (n < 0)
		return s->gone ? MHD_CONTENT_READER_END_WITH_ERROR
			       : MHD_CONTENT_READER_END_OF_STREAM;
	if (qp_loop_watch(s->http->cfg.loop, &s->watch, s->fd, EPOLLRDHUP, on_peer_gone, s) != 0)
		return MHD_CONTENT_READER_END_WITH_ERROR;
	s->suspended = true;
	MHD_suspend_connection(s->conn);
	return 0;
}

static void
stream_free(void *ctx)
{
	struct qp_http_stream *s = ctx;

	qp_loop_unwatch(s->http->cfg.loop, &s->watch);
	TAILQ_REMOVE(&s->http->streams, s, next);
	s->http->nstreams--;
	s->source.closed(s->source.ctx);
	free(s);
}

static struct MHD_Response *
make_stream(struct qp_http *h, struct MHD_Connection *conn, struct qp_http_response *r)
{
	struct qp_http_stream *s = calloc(1, sizeof(*s));
	struct MHD_Response *resp;
	int size = STREAM_SNDBUF;

	if (s == NULL)
		return NULL;
	*s = (struct qp_http_stream) {.http = h,
		.conn = conn,
		.source = *r->source,
		.watch = QP_WATCH_NONE,
		.fd = qp_http_conn_of(conn)->fd};
	resp = MHD_create_response_from_callback(
		MHD_SIZE_UNKNOWN, STREAM_BLOCK, stream_read, s, stream_free);
	if (resp == NULL) {
		free(s);
		return NULL;
	}
	TAILQ_INSERT_TAIL(&h->streams, s, next);
	h->nstreams++;
	r->source = NULL; /* stream_free's from here on */
	setsockopt(s->fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	s->source.started(s->source.ctx, s);
	return resp;
}

/* ---- all answers ---- */

static struct MHD_Response *
make_response(struct qp_http *h, struct MHD_Connection *conn, struct qp_http_response *r)
{
	struct MHD_Response *resp;

	if (r->source != NULL)
		return make_stream(h, conn, r);
	if (r->constant != NULL)
		return MHD_create_response_from_buffer(
			r->body_len, (void *)(uintptr_t)r->constant, MHD_RESPMEM_PERSISTENT);
	if (r->body == NULL)
		return MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
	resp = MHD_create_response_from_buffer(r->body_len, r->body, MHD_RESPMEM_MUST_FREE);
	if (resp != NULL)
		r->body = NULL;
	return resp;
}

static void
add_headers(const struct qp_http *h, struct MHD_Response *resp, const struct qp_http_response *r)
{
	if (r->content_type != NULL)
		MHD_add_response_header(resp, MHD_HTTP_HEADER_CONTENT_TYPE, r->content_type);
	for (unsigned i = 0; i < r->nheaders; i++)
		MHD_add_response_header(resp, r->header[i].name, r->header[i].value);
	if (MHD_get_response_header(resp, MHD_HTTP_HEADER_CACHE_CONTROL) == NULL)
		MHD_add_response_header(resp, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
	MHD_add_response_header(resp, "X-Content-Type-Options", "nosniff");
	if (h->cfg.close_each)
		MHD_add_response_header(resp, MHD_HTTP_HEADER_CONNECTION, "close");
}

enum MHD_Result
qp_http_respond(struct qp_http *h, struct MHD_Connection *conn, struct qp_http_response *r)
{
	struct conn *c = qp_http_conn_of(conn);
	struct MHD_Response *resp;
	enum MHD_Result result;
	bool stream;

	if (r->status == 0 || (r->content_type != NULL && r->body == NULL && r->constant == NULL &&
				      r->source == NULL)) {
		qp_http_response_clear(r);
		qp_problem_failed(r);
	}
	stream = r->source != NULL;
	resp = make_response(h, conn, r);
	if (resp == NULL) {
		qp_http_response_clear(r);
		return MHD_NO;
	}
	add_headers(h, resp, r);
	result = MHD_queue_response(conn, r->status, resp);
	MHD_destroy_response(resp);
	qp_http_conn_set_phase(h, c, stream ? CONN_FREE_OF_TIME : CONN_ANSWERING);
	*r = (struct qp_http_response) {0};
	return result;
}
