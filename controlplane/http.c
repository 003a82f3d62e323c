/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libmicrohttpd in external epoll mode: its epoll descriptor is one watch of
 * our loop, its time-outs one timer; connections are accepted by http_accept.c. Its own time-out only sees silence, so a
 * peer that sends a byte now and then is ours to end. Loop thread. What is
 * answered is decided by the caller's function.
 */
#define QP_LOG_MODULE QP_LOG_M_http
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "common/log.h"
#include "controlplane/http_internal.h"

/* Head and answer's head; bodies are elsewhere. */
#define CONNECTION_MEMORY (2u * QP_HTTP_HEAD_BYTES)
/* In which the peer takes an answer. */
#define ANSWER_S 60u
/* TLS 1.2 and newer, of what GnuTLS holds for good. */
#define TLS_PRIORITIES "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"

static void
pump(struct qp_http *h)
{
	MHD_UNSIGNED_LONG_LONG timeout_ms;

	h->kicked = false;
	MHD_run(h->daemon);
	if (h->kicked) /* an answer to one connection is an event for another */
		qp_loop_timer_set(h->cfg.loop, &h->timer, 0);
	else if (MHD_get_timeout(h->daemon, &timeout_ms) == MHD_YES)
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
qp_http_kick(struct qp_http *h)
{
	h->kicked = true;
	qp_loop_timer_set(h->cfg.loop, &h->timer, 0);
}

/* ---- connections and their time ---- */

static void
leave_list(struct qp_http *h, struct conn *c)
{
	if (c->phase == CONN_FREE_OF_TIME)
		return;
	TAILQ_REMOVE(&h->conns[c->phase], c, next);
	h->nwaiting -= c->phase == CONN_WAITING;
	c->phase = CONN_FREE_OF_TIME;
}

/* libmicrohttpd sees the end of the socket and cleans up. */
static void
end_conn(struct qp_http *h, struct conn *c)
{
	leave_list(h, c);
	c->ending = true;
	shutdown(c->fd, SHUT_RDWR);
}

static unsigned
patience_s(const struct qp_http *h, enum conn_phase phase)
{
	return phase == CONN_WAITING ? h->cfg.timeout_s : ANSWER_S;
}

static void
on_patience(void *ctx)
{
	struct qp_http *h = ctx;
	uint64_t now = qp_now_ns();
	bool any = false;

	for (enum conn_phase p = 0; p < CONN_PHASES; p++) {
		struct conn *c;

		while ((c = TAILQ_FIRST(&h->conns[p])) != NULL &&
			now - c->since_ns >= patience_s(h, p) * 1000000000ull)
			end_conn(h, c);
		any = any || c != NULL;
	}
	if (any)
		qp_loop_timer_set(h->cfg.loop, &h->patience, 1000);
}

void
qp_http_conn_set_phase(struct qp_http *h, struct conn *c, enum conn_phase phase)
{
	leave_list(h, c);
	if (c->ending || phase == CONN_FREE_OF_TIME)
		return;
	c->phase = phase;
	c->since_ns = qp_now_ns();
	TAILQ_INSERT_TAIL(&h->conns[phase], c, next);
	h->nwaiting += phase == CONN_WAITING;
	if (!h->patience.armed)
		qp_loop_timer_set(h->cfg.loop, &h->patience, 1000);
}

struct conn *
qp_http_conn_of(struct MHD_Connection *conn)
{
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(
		conn, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

	return info != NULL ? info->socket_context : NULL;
}

static void
conn_started(struct qp_http *h, struct MHD_Connection *conn, void **socket_ctx)
{
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(
		conn, MHD_CONNECTION_INFO_CONNECTION_FD);
	struct conn *c = calloc(1, sizeof(*c));
	struct ucred cred;
	socklen_t len = sizeof(cred);

	h->nconns++;
	*socket_ctx = c;
	if (c == NULL)
		return; /* its requests find none, and are refused */
	c->fd = info->connect_fd;
	c->phase = CONN_FREE_OF_TIME;
	c->uid = (uid_t)-1;
	if (h->cfg.unix_socket && getsockopt(c->fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0)
		c->uid = cred.uid;
	qp_http_conn_set_phase(h, c, CONN_WAITING);
	/* Those that only wait do not keep a newcomer out: the oldest goes. */
	if (h->nwaiting > h->cfg.max_connections / 2)
		end_conn(h, TAILQ_FIRST(&h->conns[CONN_WAITING]));
}

static void
on_connection(void *ctx, struct MHD_Connection *conn, void **socket_ctx,
	enum MHD_ConnectionNotificationCode what)
{
	struct qp_http *h = ctx;

	if (what == MHD_CONNECTION_NOTIFY_STARTED) {
		conn_started(h, conn, socket_ctx);
		return;
	}
	h->nconns--;
	qp_http_accept_again(h);
	if (*socket_ctx != NULL) {
		leave_list(h, *socket_ctx);
		free(*socket_ctx);
		*socket_ctx = NULL;
	}
}

/* ---- start and end ---- */

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

/* A "%00" would cut the text where we compare it: such a one stays escaped, and matches nothing. */
static size_t
unescape(void *ctx, struct MHD_Connection *conn, char *text)
{
	(void)ctx;
	(void)conn;
	return strstr(text, "%00") != NULL ? strlen(text) : MHD_http_unescape(text);
}

static int
start_daemon(struct qp_http *h)
{
	const struct qp_http_config *cfg = &h->cfg;
	unsigned flags = MHD_USE_EPOLL | MHD_USE_ERROR_LOG | MHD_ALLOW_SUSPEND_RESUME |
			 MHD_USE_NO_LISTEN_SOCKET | (cfg->tls != NULL ? MHD_USE_TLS : 0);
	struct MHD_OptionItem options[] = {
		{MHD_OPTION_CONNECTION_LIMIT, cfg->max_connections, NULL},
		{MHD_OPTION_CONNECTION_TIMEOUT, cfg->timeout_s, NULL},
		{MHD_OPTION_CONNECTION_MEMORY_LIMIT, CONNECTION_MEMORY, NULL},
		{MHD_OPTION_STRICT_FOR_CLIENT, 1, NULL},
		{MHD_OPTION_UNESCAPE_CALLBACK, (intptr_t)unescape, h},
		{MHD_OPTION_NOTIFY_COMPLETED, (intptr_t)qp_http_on_request_end, h},
		{MHD_OPTION_NOTIFY_CONNECTION, (intptr_t)on_connection, h},
		{MHD_OPTION_END, 0, NULL},
		{MHD_OPTION_END, 0, NULL},
		{MHD_OPTION_END, 0, NULL},
	};
	unsigned n = 7;

	if (cfg->tls != NULL) {
		options[n++] = (struct MHD_OptionItem) {
			MHD_OPTION_HTTPS_PRIORITIES, 0, (void *)(uintptr_t)TLS_PRIORITIES};
		options[n++] = (struct MHD_OptionItem) {
			MHD_OPTION_HTTPS_CERT_CALLBACK2, 0, qp_http_tls_callback(cfg->tls)};
	}
	h->daemon = MHD_start_daemon(flags, 0, NULL, NULL, qp_http_on_request, h,
		MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL, MHD_OPTION_ARRAY, options,
		MHD_OPTION_END);
	return h->daemon != NULL ? 0 : QP_E_IO;
}

int
qp_http_new(const struct qp_http_config *cfg, struct qp_http **out, struct qp_errmsg *msg)
{
	const union MHD_DaemonInfo *info;
	struct qp_http *h = calloc(1, sizeof(*h));

	if (h == NULL) {
		if (cfg->listen_fd >= 0)
			close(cfg->listen_fd);
		return qp_fail(msg, QP_E_NOMEM, "out of memory");
	}
	h->cfg = *cfg;
	h->watch.fd = h->listening.fd = -1;
	h->timer = (struct qp_loop_timer) {.fire = on_timer, .ctx = h};
	h->patience = (struct qp_loop_timer) {.fire = on_patience, .ctx = h};
	for (enum conn_phase p = 0; p < CONN_PHASES; p++)
		TAILQ_INIT(&h->conns[p]);
	TAILQ_INIT(&h->streams);
	if (start_daemon(h) != 0) {
		if (cfg->listen_fd >= 0)
			close(cfg->listen_fd);
		free(h);
		return qp_fail(msg, QP_E_IO, "the HTTP server does not start: %s", strerror(errno));
	}
	info = MHD_get_daemon_info(h->daemon, MHD_DAEMON_INFO_EPOLL_FD);
	if (info == NULL ||
		qp_loop_watch(cfg->loop, &h->watch, info->epoll_fd, EPOLLIN, on_ready, h) != 0 ||
		qp_http_accept_start(h) != 0) {
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
	qp_http_accept_stop(h);
	if (h->cfg.listen_fd >= 0)
		close(h->cfg.listen_fd);
	h->cfg.listen_fd = -1;
	/* It does not stop while a connection is suspended. */
	qp_http_end_streams(h);
	MHD_run(h->daemon);
	MHD_stop_daemon(h->daemon);
	qp_loop_timer_cancel(h->cfg.loop, &h->timer);
	qp_loop_timer_cancel(h->cfg.loop, &h->patience);
	free(h);
}

int
qp_http_listener(const struct qp_http *h)
{
	return h->cfg.listen_fd;
}

int
qp_http_quiesce(struct qp_http *h)
{
	const int fd = h->cfg.listen_fd;

	/* Those that the kernel has connected already wait in the socket's queue. */
	qp_http_accept_stop(h);
	h->cfg.listen_fd = -1;
	return fd;
}

/* It has not asked yet, or asks already. */
static bool
wants_something(const struct conn *c)
{
	int unread = 0;

	return !c->asked || (ioctl(c->fd, FIONREAD, &unread) == 0 && unread > 0);
}

bool
qp_http_busy(const struct qp_http *h)
{
	const struct conn *c;

	TAILQ_FOREACH (c, &h->conns[CONN_WAITING], next) {
		if (wants_something(c))
			return true;
	}
	return h->nrequests > h->nstreams;
}

int
qp_http_add(struct qp_http *h, int fd, const struct sockaddr *peer, socklen_t len)
{
	/* libmicrohttpd closes `fd` when it refuses it. */
	if (MHD_add_connection(h->daemon, fd, peer, len) != MHD_YES)
		return QP_E_FULL;
	qp_http_kick(h);
	return 0;
}
