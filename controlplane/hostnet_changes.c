/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When to look at the host again: rtnetlink tells of links and addresses, and
 * of routes. The former are followed at once; routes, which a routing daemon
 * may change thousands of a second, when some time has passed, longer the more
 * there are to read. Loop thread.
 */
#define QP_LOG_MODULE QP_LOG_M_host
#include "controlplane/hostnet_impl.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"

#define ROUTES_WAIT_NS 5000000u
/* For a filter that could not be made: no room to write it down, say. */
#define TRY_AGAIN_NS   1000000000u
/* Reading routes takes one part in so many of the loop's time at most. */
#define ROUTES_SHARE   20u

static bool
watch(struct qp_hostnet *h, int fd)
{
	struct epoll_event ev = {.events = EPOLLIN};

	return epoll_ctl(h->changes_fd, EPOLL_CTL_ADD, fd, &ev) == 0;
}

int
qp_hostnet_watch_open(struct qp_hostnet *h)
{
	h->changes_fd = epoll_create1(EPOLL_CLOEXEC);
	h->route_timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (h->changes_fd < 0 || h->route_timer_fd < 0 || !watch(h, h->route_timer_fd))
		return errno;
	h->monitor = qp_host_monitor_open(RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR);
	if (h->monitor == NULL || !watch(h, mnl_socket_get_fd(h->monitor)))
		return errno;
	h->route_monitor = qp_host_monitor_open(RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE);
	if (h->route_monitor == NULL || !watch(h, mnl_socket_get_fd(h->route_monitor)))
		return errno;
	return 0;
}

void
qp_hostnet_watch_close(struct qp_hostnet *h)
{
	if (h->monitor != NULL)
		mnl_socket_close(h->monitor);
	if (h->route_monitor != NULL)
		mnl_socket_close(h->route_monitor);
	if (h->route_timer_fd >= 0)
		close(h->route_timer_fd);
	if (h->changes_fd >= 0)
		close(h->changes_fd);
}

int
qp_hostnet_fd(const struct qp_hostnet *h)
{
	return h->changes_fd;
}

/* Sets the timer, if it would not fire before anyway. */
static void
look_again(struct qp_hostnet *h, uint64_t wait_ns)
{
	const uint64_t at = qp_now_ns() + wait_ns;
	const struct itimerspec when = {.it_value = {.tv_sec = (time_t)(at / 1000000000u),
						.tv_nsec = (long)(at % 1000000000u)}};

	if (h->look_again_ns != 0 && h->look_again_ns <= at)
		return;
	if (timerfd_settime(h->route_timer_fd, TFD_TIMER_ABSTIME, &when, NULL) == 0)
		h->look_again_ns = at;
}

static void
follow(struct qp_hostnet *h)
{
	struct qp_errmsg msg;

	if (qp_hostnet_sync(h, false, &msg) != 0) {
		qp_log(QP_LOG_WARN, "the classifier does not follow the host's changes",
			QP_LOG_STR("reason", msg.text));
		h->incomplete = true;
	}
	if (h->incomplete)
		look_again(h, TRY_AGAIN_NS);
}

void
qp_hostnet_process(struct qp_hostnet *h)
{
	const uint64_t routes_wait_ns = ROUTES_WAIT_NS + ROUTES_SHARE * h->routes_took_ns;
	uint64_t times;

	if (qp_host_monitor_drain(h->route_monitor))
		look_again(h, routes_wait_ns);
	if (read(h->route_timer_fd, &times, sizeof(times)) == sizeof(times)) {
		h->look_again_ns = 0;
		if (h->incomplete)
			follow(h);
		else if (qp_hostnet_sync_ways(h) != 0)
			look_again(h, routes_wait_ns);
	}
	if (!qp_host_monitor_drain(h->monitor))
		return;
	follow(h);
	/* The kernel takes a link's routes away without a word, after it has told of the link. */
	look_again(h, routes_wait_ns);
}
