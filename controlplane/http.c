/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libmicrohttpd in external epoll mode: its epoll descriptor is one watch of
 * our loop, its time-outs one timer. Loop thread. What is answered is decided
 * by the caller's function.
 */
#define QP_LOG_MODULE QP_LOG_M_http
#include "controlplane/http.h"

#include <errno.h>
#include <microhttpd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/addr.h"
#include "common/log.h"

#define CONNECTION_MEMORY 16384u

struct qp_http {
	struct qp_http_config cfg;
	struct MHD_Daemon *daemon;
	struct qp_watch watch;
	struct qp_loop_timer timer;
};

/* A request whose body is still coming. */
struct upload {
	size_t len;
	bool too_long;
	char body[QP_HTTP_BODY_BYTES + 1];
};

static void
pump(struct qp_http *h)
{
	MHD_UNSIGNED_LONG_LONG timeout_ms;

	MHD_run(h->daemon);
	if (MHD_get_timeout(h->daemon, &timeout_ms) == MHD_YES)
		qp_loop_timer_set(
			h->cfg.loop, &h->timer, timeout_ms > 60000 ? 60000u : (unsigned)timeout_ms);
	else
		qp_loop_timer_cancel(h->cfg.loop, &h->timer);
}

static void
on_ready(void *ctx, uint32_t events)
{
	(void)events;
	pump(ctx);
}

static void
on_timer(void *ctx)
{
	pump(ctx);
}

void
qp_http_json(struct qp_http_response *out, unsigned status, const char *text)
{
	out->status = status;
	out->content_type = "application/json";
	out->body = strdup(text);
	out->body_len = strlen(text);
}

void
qp_http_not_allowed(struct qp_http_response *out, const char *allow)
{
	qp_http_json(out, MHD_HTTP_METHOD_NOT_ALLOWED, "{\"error\":\"method not allowed\"}\n");
	out->allow = allow;
}

void
qp_http_healthcheck(const struct qp_http_request *req, bool serving, struct qp_http_response *out)
{
	if (strcmp(req->method, "GET") != 0 && strcmp(req->method, "HEAD") != 0)
		qp_http_not_allowed(out, "GET, HEAD");
	else if (serving)
		qp_http_json(out, MHD_HTTP_OK, "{\"status\":\"SERVING\"}");
	else
		qp_http_json(out, MHD_HTTP_SERVICE_UNAVAILABLE, "{\"status\":\"NOT_SERVING\"}");
}

static enum MHD_Result
respond(struct qp_http *h, struct MHD_Connection *conn, struct qp_http_response *r)
{
	static char failed[] = "{\"error\":\"internal error\"}\n";
	struct MHD_Response *resp;
	enum MHD_Result result;

	if (r->status == 0 || r->body == NULL) {
		free(r->body);
		*r = (struct qp_http_response) {.status = MHD_HTTP_INTERNAL_SERVER_ERROR,
			.content_type = "application/json"};
		resp = MHD_create_response_from_buffer(
			sizeof(failed) - 1, failed, MHD_RESPMEM_PERSISTENT);
	} else {
		resp = MHD_create_response_from_buffer(r->body_len, r->body, MHD_RESPMEM_MUST_FREE);
	}
	if (resp == NULL) {
		free(r->body);
		return MHD_NO;
	}
	MHD_add_response_header(resp, MHD_HTTP_HEADER_CONTENT_TYPE, r->content_type);
	MHD_add_response_header(resp, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
	MHD_add_response_header(resp, "X-Content-Type-Options", "nosniff");
	if (r->allow != NULL)
		MHD_add_response_header(resp, MHD_HTTP_HEADER_ALLOW, r->allow);
	if (h->cfg.close_each)
		MHD_add_response_header(resp, MHD_HTTP_HEADER_CONNECTION, "close");
	result = MHD_queue_response(conn, r->status, resp);
	MHD_destroy_response(resp);
	return result;
}

static enum MHD_Result
on_request(void *ctx, struct MHD_Connection *conn, const char *url, const char *method,
	const char *version, const char *data, size_t *data_len, void **state)
{
	struct qp_http *h = ctx;
	struct upload *up = *state;
	struct qp_http_response resp = {0};
	const char *type;

	(void)version;
	if (up == NULL) {
		*state = calloc(1, sizeof(*up));
		return *state != NULL ? MHD_YES : MHD_NO;
	}
	if (*data_len > 0) {
		if (*data_len > QP_HTTP_BODY_BYTES - up->len)
			up->too_long = true;
		else
			memcpy(up->body + up->len, data, *data_len);
		up->len += up->too_long ? 0 : *data_len;
		*data_len = 0;
		return MHD_YES;
	}
	if (up->too_long) {
		qp_http_json(&resp, MHD_HTTP_CONTENT_TOO_LARGE, "{\"error\":\"body too large\"}\n");
		return respond(h, conn, &resp);
	}
	type = MHD_lookup_connection_value(conn, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_TYPE);
	h->cfg.answer(h->cfg.ctx,
		&(struct qp_http_request) {.method = method,
			.path = url,
			.content_type = type != NULL ? type : "",
			.body = up->body,
			.body_len = up->len},
		&resp);
	return respond(h, conn, &resp);
}

static void
on_request_end(
	void *ctx, struct MHD_Connection *conn, void **state, enum MHD_RequestTerminationCode why)
{
	(void)ctx;
	(void)conn;
	(void)why;
	free(*state);
	*state = NULL;
}

/* It speaks of peers' broken requests, and of options that a socket pair lacks: for tracing. */
static void
on_log(void *ctx, const char *format, va_list ap)
{
	char text[256];

	(void)ctx;
	vsnprintf(text, sizeof(text), format, ap);
	text[strcspn(text, "\n")] = '\0';
	qp_log(QP_LOG_TRACE, "HTTP", QP_LOG_STR("line", text));
}

int
qp_http_new(const struct qp_http_config *cfg, struct qp_http **out, struct qp_errmsg *msg)
{
	unsigned flags = MHD_USE_EPOLL | MHD_USE_ERROR_LOG;
	const union MHD_DaemonInfo *info;
	struct qp_http *h = calloc(1, sizeof(*h));

	if (h == NULL) {
		if (cfg->listen_fd >= 0)
			close(cfg->listen_fd);
		return qp_fail(msg, QP_E_NOMEM, "out of memory");
	}
	h->cfg = *cfg;
	h->watch.fd = -1;
	h->timer.fire = on_timer;
	h->timer.ctx = h;
	if (cfg->listen_fd < 0)
		flags |= MHD_USE_NO_LISTEN_SOCKET;
	h->daemon = MHD_start_daemon(flags, 0, NULL, NULL, on_request, h,
		MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL, MHD_OPTION_CONNECTION_LIMIT,
		cfg->max_connections, MHD_OPTION_CONNECTION_TIMEOUT, cfg->timeout_s,
		MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY,
		MHD_OPTION_NOTIFY_COMPLETED, on_request_end, NULL,
		cfg->listen_fd < 0 ? MHD_OPTION_END : MHD_OPTION_LISTEN_SOCKET, cfg->listen_fd,
		MHD_OPTION_END);
	if (h->daemon == NULL) {
		if (cfg->listen_fd >= 0)
			close(cfg->listen_fd);
		free(h);
		return qp_fail(msg, QP_E_IO, "the HTTP server does not start: %s", strerror(errno));
	}
	info = MHD_get_daemon_info(h->daemon, MHD_DAEMON_INFO_EPOLL_FD);
	if (info == NULL ||
		qp_loop_watch(cfg->loop, &h->watch, info->epoll_fd, EPOLLIN, on_ready, h) != 0) {
		qp_http_free(h);
		return qp_fail(msg, QP_E_IO, "the HTTP server does not start: no epoll");
	}
	*out = h;
	return 0;
}

void
qp_http_free(struct qp_http *h)
{
	if (h == NULL)
		return;
	qp_loop_unwatch(h->cfg.loop, &h->watch);
	qp_loop_timer_cancel(h->cfg.loop, &h->timer);
	MHD_stop_daemon(h->daemon);
	free(h);
}

int
qp_http_add(struct qp_http *h, int fd, const struct sockaddr *peer, socklen_t len)
{
	/* libmicrohttpd closes `fd` when it refuses it. */
	if (MHD_add_connection(h->daemon, fd, peer, len) != MHD_YES)
		return QP_E_FULL;
	qp_loop_timer_set(h->cfg.loop, &h->timer, 0);
	return 0;
}

int
qp_http_listen(const struct sockaddr *addr, socklen_t len, const char *what, int *out_fd,
	struct qp_errmsg *msg)
{
	char text[QP_ADDR_TEXT_BYTES];
	int one = 1, err;
	int fd = socket(addr->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) == 0 &&
		bind(fd, addr, len) == 0 && listen(fd, 64) == 0) {
		*out_fd = fd;
		return 0;
	}
	err = errno;
	if (fd >= 0)
		close(fd);
	qp_sockaddr_format(addr, text);
	if (err == EADDRINUSE)
		return qp_fail(msg, QP_E_INUSE,
			"TCP %s is in use: end the other program, or choose another address with %s",
			text, what);
	return qp_fail(msg, qp_err_from_errno(err), "cannot listen on TCP %s (%s): %s", text, what,
		strerror(err));
}
