/* SPDX-License-Identifier: Apache-2.0 */
#include "loop.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "net.h"

/* What a tool's loop is made of; what its connections do is the tool's own. */

enum {
	MAX_EVENTS = 256,
};

volatile sig_atomic_t told_to_end;

static void
on_signal(int signum)
{
	told_to_end = 1;
}

void
end_by_signals(void)
{
	sigaction(SIGTERM, &(struct sigaction) {.sa_handler = on_signal}, NULL);
	sigaction(SIGINT, &(struct sigaction) {.sa_handler = on_signal}, NULL);
}

void
accept_all(int listener, void (*accepted)(int fd))
{
	for (;;) {
		int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd >= 0)
			accepted(fd);
		else if (errno == EAGAIN)
			return;
		else if (errno != ECONNABORTED)
			die("accept");
	}
}

void
loop_turn(const struct loop *l, int timeout_ms)
{
	struct epoll_event events[MAX_EVENTS];
	int n = epoll_wait(l->epoll, events, MAX_EVENTS, timeout_ms);

	for (int i = 0; i < n; i++) {
		if (events[i].data.ptr == NULL)
			accept_all(l->listener, l->accepted);
		else
			l->ready(events[i].data.ptr, events[i].events);
	}
}

void
loop_listen(struct loop *l, const char *host, const char *port)
{
	struct addrinfo *at = resolve(host, port);
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = NULL};

	l->listener = listen_at(at);
	if (epoll_ctl(l->epoll, EPOLL_CTL_ADD, l->listener, &ev) != 0)
		die("epoll_ctl");
	printf("{\"listening\": \"%s:%s\"}\n", host, port);
	fflush(stdout);
	freeaddrinfo(at);
}

void
print_errors(const uint64_t counts[ERRNOS])
{
	const char *separator = "";

	printf(", \"errors\": {");
	for (int i = 1; i < ERRNOS; i++) {
		if (counts[i] == 0)
			continue;
		printf("%s\"%s\": %lu", separator, strerrorname_np(i), counts[i]);
		separator = ", ";
	}
	printf("}}\n");
	fflush(stdout);
}
