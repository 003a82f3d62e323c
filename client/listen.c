/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Listening sockets of local forwards. The loop's thread. What becomes of a
 * connection or a datagram is its taker's.
 */
#define QP_LOG_MODULE QP_LOG_M_client
#include "client/listen.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client/timers.h"
#include "common/log.h"
#include "common/quicglue.h"
#include "common/wire.h"

#define BURST 64
#define BACKLOG 1024
#define BREATH_NS 100000000u

static void
stop_reading(struct qpc_listener *l)
{
	if (l->reading)
		l->reading = qpc_loop_change(l->loop, &l->source, 0) != QP_OK;
}

static void
try_again(struct qpc_timer *timer)
{
	qpc_listener_resume(QPC_CONTAINER(timer, struct qpc_listener, again));
}

/* They wait in the backlog. What has the descriptors may be anything, so nobody tells when one is free. */
static void
take_breath(struct qpc_listener *l, int errnum)
{
	if (!l->starved)
		qp_log(QP_LOG_WARN, "cannot accept a connection", QP_LOG_ERRNO(errnum));
	l->starved = true;
	stop_reading(l);
	qpc_timer_arm(&l->loop->timers, &l->again, qp_quic_now() + BREATH_NS);
}

static void
accept_some(struct qpc_listener *l)
{
	for (int i = 0; i < BURST; i++) {
		int fd;

		if (!l->ops->room(l->ctx)) {
			qpc_listener_pause(l);
			return;
		}
		fd = accept4(l->source.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd >= 0) {
			l->starved = false;
			l->ops->accepted(l->ctx, fd);
			continue;
		}
		if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
			take_breath(l, errno);
			return;
		}
		if (errno == EAGAIN)
			return;
	}
}

static void
receive_some(struct qpc_listener *l)
{
	static _Thread_local uint8_t buf[QP_WIRE_MAX_RECORD];

	for (int i = 0; i < BURST; i++) {
		struct qp_sockaddr from = {.len = sizeof(from.ss)};
		ssize_t n = recvfrom(l->source.fd, buf, sizeof(buf), 0, &from.sa, &from.len);

		if (n >= 0)
			l->ops->datagram(l->ctx, l->source.fd, &from, buf, (size_t)n);
		else if (errno == EAGAIN)
			return;
		/* Else: an ICMP error about an answer of ours; its addressee is gone. */
	}
}

static void
on_readable(struct qpc_source *source, uint32_t events)
{
	struct qpc_listener *l = QPC_CONTAINER(source, struct qpc_listener, source);

	if (l->udp)
		receive_some(l);
	else
		accept_some(l);
}

int
qpc_listener_open(struct qpc_listener *l, struct qpc_loop *loop, const struct qp_sockaddr *addr,
	bool udp, const struct qpc_listener_ops *ops, void *ctx, struct qp_errmsg *msg)
{
	int type = (udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_NONBLOCK | SOCK_CLOEXEC, one = 1;
	int fd = socket(addr->sa.sa_family, type, 0);
	struct qp_sockaddr bound = {.len = sizeof(bound.ss)};
	char text[QP_ADDR_TEXT_BYTES];

	*l = (struct qpc_listener) {.source = {-1, on_readable}, .again = {.fire = try_again}, .loop = loop, .ops = ops, .ctx = ctx,
		.udp = udp};
	if (fd >= 0 && !udp)
		(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (fd < 0 || bind(fd, &addr->sa, addr->len) != 0 || (!udp && listen(fd, BACKLOG) != 0) ||
		getsockname(fd, &bound.sa, &bound.len) != 0) {
		int err = errno;

		if (fd >= 0)
			close(fd);
		return qp_fail(msg, qp_err_from_errno(err), "cannot listen on %s %s: %s%s",
			udp ? "UDP" : "TCP", qp_sockaddr_format(&addr->sa, text), strerror(err),
			err == EADDRINUSE ? "; choose another port" : "");
	}
	l->source.fd = fd;
	l->port = qp_sockaddr_port(&bound.sa);
	if (qpc_loop_add(loop, &l->source, 0) != QP_OK) {
		qpc_listener_close(l);
		return qp_fail(msg, QP_E_IO, "epoll refused a listening socket");
	}
	return QP_OK;
}

void
qpc_listener_resume(struct qpc_listener *l)
{
	if (l->source.fd < 0 || l->reading)
		return;
	l->reading = qpc_loop_change(l->loop, &l->source, EPOLLIN) == QP_OK;
}

void
qpc_listener_pause(struct qpc_listener *l)
{
	if (l->source.fd < 0)
		return;
	qpc_timer_cancel(&l->loop->timers, &l->again);
	stop_reading(l);
}

void
qpc_listener_close(struct qpc_listener *l)
{
	if (l->source.fd < 0)
		return;
	qpc_timer_cancel(&l->loop->timers, &l->again);
	qpc_loop_remove(l->loop, &l->source);
	close(l->source.fd);
	l->source.fd = -1;
	l->reading = false;
}
