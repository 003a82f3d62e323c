/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Changes of the host's network. What they mean for a connection is found out
 * by asking the kernel for a route anew (quic_migrate.c), so the messages
 * themselves are not read. The loop's thread.
 */
#define QP_LOG_MODULE QP_LOG_M_client
#include "client/watch.h"

#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/log.h"
#include "common/quicglue.h"

/* An interface that comes up is a dozen messages: address, routes, again after IPv6's checks. */
#define QUIET_NS (UINT64_C(100) * 1000000)

static void
on_quiet(struct qpc_timer *timer)
{
	struct qpc_watch *w = QPC_CONTAINER(timer, struct qpc_watch, timer);

	w->changed(w);
}

/* A full queue (ENOBUFS) is news, too. */
static void
on_news(struct qpc_source *source, uint32_t events)
{
	struct qpc_watch *w = QPC_CONTAINER(source, struct qpc_watch, source);
	char message[8192];

	while (recv(source->fd, message, sizeof(message), MSG_DONTWAIT) >= 0 || errno == ENOBUFS ||
		errno == EINTR)
		;
	/* Not moved by later ones: changes that never end are told, too. */
	if (!w->timer.armed)
		qpc_timer_arm(&w->loop->timers, &w->timer, qp_quic_now() + QUIET_NS);
}

void
qpc_watch_open(struct qpc_watch *w, struct qpc_loop *loop, void (*changed)(struct qpc_watch *w))
{
	struct sockaddr_nl sa = {.nl_family = AF_NETLINK,
		.nl_groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV4_ROUTE |
			RTMGRP_IPV6_IFADDR | RTMGRP_IPV6_ROUTE};
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);

	*w = (struct qpc_watch) {.source = {fd, on_news}, .loop = loop, .changed = changed,
		.timer.fire = on_quiet};
	if (fd >= 0 && bind(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0 &&
		qpc_loop_add(loop, &w->source, EPOLLIN) == QP_OK)
		return;
	qp_log(QP_LOG_DEBUG, "changes of the network will be noticed by silence only",
		QP_LOG_ERRNO(errno));
	if (fd >= 0)
		close(fd);
	w->source.fd = -1;
}

void
qpc_watch_close(struct qpc_watch *w)
{
	if (w->source.fd < 0)
		return;
	qpc_timer_cancel(&w->loop->timers, &w->timer);
	qpc_loop_remove(w->loop, &w->source);
	close(w->source.fd);
	w->source.fd = -1;
}
