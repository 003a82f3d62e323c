/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An end of test connections on the kernel's sockets, with congestion control CC.
 *
 *   linux_end CC serve PORT                    until SIGTERM
 *   linux_end CC dial ADDR PORT N              the same, but opens N connections itself
 *   linux_end CC drive ADDR PORT UP DOWN N     N connections at once, UP and DOWN bytes on each
 *   linux_end CC await PORT UP DOWN N          the same, but is called
 *
 * At its end prints one line of JSON: how many connections went well and what
 * the kernel says of them (what `ss -ti` shows), summed up.
 */
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "tests/tcp/linux/talk.h"

#define CHUNK  65536
#define EVENTS 64
#define GIVE_UP_MS 120000
#define SWEEP_MS 5

struct conn {
	int fd;
	bool open;       /* the handshake is done */
	bool shut;
	uint64_t start_ns;
	struct talk talk;
	struct conn *next; /* on `closing` */
};

/* Of all connections that have ended. */
struct sums {
	uint64_t ok, failed;
	uint64_t bytes_in, bytes_out, retrans_bytes, retrans_segs, dsack_dups, reord_seen;
	uint64_t rtt_us, min_rtt_us, delivery_bps;
	uint64_t first_ns, last_ns;
};

static struct sums sums;
static struct conn *closing; /* servers' ends: their last bytes are still under way */
static int epfd;
static bool drives;
static const char *cc;
static uint64_t up, down;
static volatile sig_atomic_t stop;

static void
on_signal(int sig)
{
	stop = 1;
}

/* Adds what the kernel knows of a connection. */
static void
account(const struct conn *c)
{
	struct tcp_info i = {0};
	socklen_t len = sizeof(i);

	if (getsockopt(c->fd, IPPROTO_TCP, TCP_INFO, &i, &len) != 0)
		return;
	sums.retrans_bytes += i.tcpi_bytes_retrans;
	sums.retrans_segs += i.tcpi_total_retrans;
	sums.dsack_dups += i.tcpi_dsack_dups;
	sums.reord_seen += i.tcpi_reord_seen;
	sums.bytes_in += i.tcpi_bytes_received;
	sums.bytes_out += i.tcpi_bytes_sent - i.tcpi_bytes_retrans;
	sums.rtt_us = i.tcpi_rtt;
	sums.min_rtt_us = i.tcpi_min_rtt;
	sums.delivery_bps = i.tcpi_delivery_rate * 8;
}

/* A failure is made known to the other end, by a reset. */
static void
finish(struct conn *c, const char *why)
{
	const struct linger at_once = {1, 0};

	account(c);
	sums.last_ns = qp_now_ns();
	if (sums.first_ns == 0 || c->start_ns < sums.first_ns)
		sums.first_ns = c->start_ns;
	if (why == NULL) {
		sums.ok++;
	} else {
		sums.failed++;
		setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
		fprintf(stderr, "linux_end: %s after %llu bytes in, %llu out: %s\n", why,
			(unsigned long long)c->talk.in, (unsigned long long)c->talk.out, strerror(errno));
	}
	close(c->fd);
	free(c);
}

static void
watch(struct conn *c, uint32_t events, int op)
{
	struct epoll_event e = {.events = events, .data.ptr = c};

	if (epoll_ctl(epfd, op, c->fd, &e) != 0)
		err(1, "epoll_ctl");
}

static struct conn *
adopt(int fd, bool open)
{
	struct conn *c = calloc(1, sizeof(*c));

	if (c == NULL)
		err(1, "connection");
	c->fd = fd;
	c->open = open;
	c->start_ns = qp_now_ns();
	if (drives)
		talk_drive(&c->talk, up, down);
	else
		talk_serve(&c->talk);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	watch(c, EPOLLIN | EPOLLOUT, EPOLL_CTL_ADD);
	return c;
}

/* False: the connection is finished. */
static bool
send_some(struct conn *c)
{
	static uint8_t buf[CHUNK];
	size_t n = talk_peek(&c->talk, buf, sizeof(buf));
	ssize_t sent;

	if (n > 0) {
		sent = send(c->fd, buf, n, MSG_NOSIGNAL);
		if (sent < 0 && errno != EAGAIN) {
			finish(c, "send");
			return false;
		}
		talk_sent(&c->talk, sent > 0 ? (size_t)sent : 0);
	}
	if (talk_may_end(&c->talk) && !c->shut) {
		c->shut = true;
		shutdown(c->fd, SHUT_WR);
	}
	if (!c->shut || !c->talk.in_ended)
		return true;
	if (c->talk.drives) {
		finish(c, NULL); /* the server's end was the receipt for ours */
		return false;
	}
	epoll_ctl(epfd, EPOLL_CTL_DEL, c->fd, NULL);
	c->next = closing;
	closing = c;
	return false;
}

/* Those of `closing` whose last byte is acknowledged are done. */
static void
sweep(void)
{
	struct conn **at = &closing, *c;

	while ((c = *at) != NULL) {
		struct tcp_info i = {0};
		socklen_t len = sizeof(i);

		if (getsockopt(c->fd, IPPROTO_TCP, TCP_INFO, &i, &len) == 0 && i.tcpi_state != BPF_TCP_CLOSE) {
			at = &c->next;
			continue;
		}
		*at = c->next;
		finish(c, NULL);
	}
}

/* False: the connection is finished. */
static bool
receive_some(struct conn *c)
{
	static uint8_t buf[CHUNK];
	ssize_t n = recv(c->fd, buf, sizeof(buf), 0);

	if (n < 0 && errno == EAGAIN)
		return true;
	if (n < 0) {
		finish(c, "recv");
		return false;
	}
	if (n == 0 ? !c->talk.in_ended && !talk_take_end(&c->talk) : !talk_take(&c->talk, buf, (size_t)n)) {
		errno = EBADMSG;
		finish(c, n == 0 ? "the other end ended too early" : "wrong bytes");
		return false;
	}
	return true;
}

static void
serve_event(struct conn *c, uint32_t events)
{
	bool wants_out;

	if (!c->open && (events & EPOLLOUT)) {
		c->open = true;
		c->start_ns = qp_now_ns();
	}
	if ((events & (EPOLLIN | EPOLLERR | EPOLLHUP)) && !receive_some(c))
		return;
	if (!send_some(c))
		return;
	wants_out = !c->shut && talk_peek(&c->talk, (uint8_t[1]) {0}, 1) > 0;
	watch(c, (c->talk.in_ended ? 0 : EPOLLIN) | (wants_out ? EPOLLOUT : 0), EPOLL_CTL_MOD);
}

/* By socket: a namespace's default is restricted to what the host's allows. */
static int
new_socket(int family)
{
	int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK, 0);

	if (fd < 0 || setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, cc, (socklen_t)strlen(cc)) != 0)
		err(1, "a socket with %s", cc);
	return fd;
}

static int
listen_at(const char *port)
{
	struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)atoi(port))};
	int fd = new_socket(AF_INET6), one = 1;
	struct epoll_event e = {.events = EPOLLIN, .data.ptr = NULL};

	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) != 0 ||
		bind(fd, (struct sockaddr *)&a, sizeof(a)) != 0 || listen(fd, 1024) != 0)
		err(1, "port %s", port);
	epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &e);
	return fd;
}

static void
dial(const char *addr, const char *port)
{
	struct sockaddr_in a4 = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
	struct sockaddr_in6 a6 = {.sin6_family = AF_INET6, .sin6_port = a4.sin_port};
	bool v6 = inet_pton(AF_INET6, addr, &a6.sin6_addr) == 1;
	int fd = new_socket(v6 ? AF_INET6 : AF_INET);

	if (!v6 && inet_pton(AF_INET, addr, &a4.sin_addr) != 1)
		errx(2, "not an address: %s", addr);
	if (connect(fd, v6 ? (void *)&a6 : (void *)&a4, v6 ? sizeof(a6) : sizeof(a4)) != 0 &&
		errno != EINPROGRESS)
		err(1, "connect to %s", addr);
	adopt(fd, false);
}

/* Until `count` connections have ended (0: for ever) or SIGTERM. */
static void
run(int listener, uint64_t count)
{
	struct epoll_event events[EVENTS];

	while (!stop && (count == 0 || sums.ok + sums.failed < count)) {
		int ms = closing != NULL ? SWEEP_MS : count > 0 ? GIVE_UP_MS : 1000;
		int n = epoll_wait(epfd, events, EVENTS, ms);

		sweep();
		if (n == 0 && ms == GIVE_UP_MS)
			errx(1, "stalled: %llu connections of %llu have ended",
				(unsigned long long)(sums.ok + sums.failed), (unsigned long long)count);
		for (int i = 0; i < n; i++) {
			int fd;

			if (events[i].data.ptr != NULL) {
				serve_event(events[i].data.ptr, events[i].events);
				continue;
			}
			while ((fd = accept(listener, NULL, NULL)) >= 0)
				adopt(fd, true);
		}
	}
}

/* What the driver took for a receipt is one, even if its last acknowledgement was lost. */
static void
finish_closing(void)
{
	while (closing != NULL) {
		struct conn *c = closing;

		closing = c->next;
		finish(c, NULL);
	}
}

static int
report(uint64_t count)
{
	printf("{\"ok\": %llu, \"failed\": %llu, \"seconds\": %.6f, \"bytes_in\": %llu, "
	       "\"bytes_out\": %llu, \"retrans_bytes\": %llu, \"retrans_segs\": %llu, "
	       "\"dsack_dups\": %llu, \"reord_seen\": %llu, \"rtt_us\": %llu, \"min_rtt_us\": %llu, "
	       "\"delivery_bps\": %llu}\n",
		(unsigned long long)sums.ok, (unsigned long long)sums.failed,
		(double)(sums.last_ns - sums.first_ns) * 1e-9, (unsigned long long)sums.bytes_in,
		(unsigned long long)sums.bytes_out, (unsigned long long)sums.retrans_bytes,
		(unsigned long long)sums.retrans_segs, (unsigned long long)sums.dsack_dups,
		(unsigned long long)sums.reord_seen, (unsigned long long)sums.rtt_us,
		(unsigned long long)sums.min_rtt_us, (unsigned long long)sums.delivery_bps);
	return sums.failed != 0 || sums.ok < count;
}

int
main(int argc, char **argv)
{
	const char *mode = argc > 2 ? argv[2] : "";
	struct sigaction sa = {.sa_handler = on_signal};
	uint64_t count = 0;
	int listener = -1;

	cc = argv[1];
	epfd = epoll_create1(0);
	sigaction(SIGTERM, &sa, NULL);
	drives = (strcmp(mode, "drive") == 0 && argc == 8) || (strcmp(mode, "await") == 0 && argc == 7);
	if (drives) {
		up = strtoull(argv[argc - 3], NULL, 10);
		down = strtoull(argv[argc - 2], NULL, 10);
		count = strtoull(argv[argc - 1], NULL, 10);
	}
	if ((strcmp(mode, "serve") == 0 && argc == 4) || (drives && strcmp(mode, "await") == 0)) {
		listener = listen_at(argv[3]);
		puts("ready");
		fflush(stdout);
	} else if (drives || (strcmp(mode, "dial") == 0 && argc == 6)) {
		count = strtoull(argv[argc - 1], NULL, 10);
		for (uint64_t i = 0; i < count; i++)
			dial(argv[3], argv[4]);
	} else {
		errx(2, "usage: linux_end CC serve PORT | dial ADDR PORT N | drive ADDR PORT UP DOWN N | "
			"await PORT UP DOWN N");
	}
	run(listener, count);
	finish_closing();
	return report(count);
}
