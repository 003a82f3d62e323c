/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Takes the HTTP servers' connections. Not libmicrohttpd's own way: out of
 * descriptors, that one tries again without a pause, or waits for one of its own
 * connections to end, which may be a stream that lasts for days. Loop thread.
 */
#define QP_LOG_MODULE QP_LOG_M_http
#include <errno.h>
#include <sys/socket.h>

#include "common/log.h"
#include "controlplane/http_internal.h"

#define BURST     16u
#define BREATH_MS 100u

static void
listen_for(struct qp_http *h, uint32_t events)
{
	if (h->listening.fd >= 0)
		qp_loop_watch_events(h->cfg.loop, &h->listening, events);
}

static void
on_breath(void *ctx)
{
	listen_for(ctx, EPOLLIN);
}

/* Whoever comes waits in the socket's queue, until there is something free again. */
static void
take_breath(struct qp_http *h, int errnum)
{
	if (!h->starved)
		qp_log(QP_LOG_WARN, "connections to the API have to wait",
			QP_LOG_STR("hint", "raise the limit of open files (ulimit -n)"),
			QP_LOG_ERRNO(errnum));
	h->starved = true;
	listen_for(h, 0);
	qp_loop_timer_set(h->cfg.loop, &h->breath, BREATH_MS);
}

static bool
accept_one(struct qp_http *h)
{
	struct sockaddr_storage peer = {0};
	socklen_t len = sizeof(peer);
	int fd = accept4(h->cfg.listen_fd, (struct sockaddr *)&peer, &len,
		SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd < 0) {
		if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
			take_breath(h, errno);
		return errno == EINTR || errno == ECONNABORTED;
	}
	if (h->starved)
		qp_log(QP_LOG_INFO, "connections to the API are taken again");
	h->starved = false;
	(void)qp_http_add(h, fd, (const struct sockaddr *)&peer, len);
	return true;
}

static void
on_listening(void *ctx, uint32_t events)
{
	struct qp_http *h = ctx;

	(void)events;
	for (unsigned i = 0; i < BURST; i++) {
		if (h->nconns >= h->cfg.max_connections) {
			listen_for(h, 0); /* until one ends */
			return;
		}
		if (!accept_one(h))
			return;
	}
}

void
qp_http_accept_again(struct qp_http *h)
{
	if (!h->breath.armed)
		listen_for(h, EPOLLIN);
}

int
qp_http_accept_start(struct qp_http *h)
{
	h->breath = (struct qp_loop_timer) {.fire = on_breath, .ctx = h};
	if (h->cfg.listen_fd < 0)
		return 0;
	return qp_loop_watch(
		h->cfg.loop, &h->listening, h->cfg.listen_fd, EPOLLIN, on_listening, h);
}

void
qp_http_accept_stop(struct qp_http *h)
{
	if (h->listening.fd >= 0)
		qp_loop_unwatch(h->cfg.loop, &h->listening);
	qp_loop_timer_cancel(h->cfg.loop, &h->breath);
}
