/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a Linux client and the stack agree on, and live by: ECN with marks both
 * ways, Fast Open, SYN cookies. An echo server of ours on a TAP in a network
 * namespace of its own; the client is a forked process with plain sockets.
 * Needs root; without it says so and is skipped (77).
 */
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <linux/tcp.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <rte_mbuf.h>
#include <rte_mempool.h>

#include "dataplane/port.h"
#include "dataplane/tcp/internal.h"
#include "tests/tcp/clock.h"
#include "tests/tcp/eal.h"

#define PORT 7
#define BULK (8u << 20)

struct server {
	struct qp_port *port;
	struct qp_tcp *tcp;
	struct qp_wheel *wheel;
	struct rte_mempool *pool, *indirect;
	uint64_t now_ns, rnd;
	uint64_t marked_in, marked_out; /* frames */
};

static uint64_t
next_random(void *ctx)
{
	struct server *s = ctx;

	s->rnd ^= s->rnd << 13;
	s->rnd ^= s->rnd >> 7;
	return s->rnd ^= s->rnd << 17;
}

/* One in ten of the IPv6 frames that may be marked is: there is no header checksum to care for. */
static void
mark(struct server *s, struct rte_mbuf *m, uint64_t *count)
{
	uint8_t *frame = rte_pktmbuf_mtod(m, uint8_t *);

	if (m->data_len < 54 || frame[12] != 0x86 || (frame[15] >> 4 & QP_TOS_ECN) != QP_TOS_ECT ||
		next_random(s) % 10 != 0)
		return;
	frame[15] |= QP_TOS_CE << 4;
	(*count)++;
}

/* --- the echo: what is not sent back yet is not consumed --- */

struct echo {
	struct qp_tcp_conn *c;
};

static int
on_accept(void *listener_ctx, struct qp_tcp_conn *c)
{
	struct echo *e = calloc(1, sizeof(*e));

	if (e == NULL)
		return -1;
	e->c = c;
	qp_tcp_set_ctx(c, e);
	return 0;
}

static void
on_receive(void *ctx, struct rte_mbuf *chain)
{
	struct echo *e = ctx;

	/* The client reads as it writes; the send buffer takes a window and more. */
	qp_tcp_send(e->c, chain);
}

static void
on_acked(void *ctx, uint32_t bytes)
{
	qp_tcp_consumed(((struct echo *)ctx)->c, bytes);
}

static void
on_receive_end(void *ctx)
{
	qp_tcp_shutdown(((struct echo *)ctx)->c);
}

static void
on_ended(void *ctx, enum qp_tcp_end why)
{
	free(ctx);
}

static const struct qp_tcp_ops echo_ops = {
	.accept = on_accept,
	.receive = on_receive,
	.receive_end = on_receive_end,
	.acked = on_acked,
	.ended = on_ended,
};

static void
transmit(void *ctx, struct rte_mbuf *frame)
{
	struct server *s = ctx;

	mark(s, frame, &s->marked_out);
	if (qp_port_tx(s->port, &frame, 1) == 0)
		rte_pktmbuf_free(frame);
}

static void
turn(struct server *s)
{
	struct rte_mbuf *frames[32];
	uint16_t n = qp_port_rx(s->port, frames, 32);
	struct pollfd p = {.fd = s->port->wake_fd[0], .events = POLLIN};

	s->now_ns = clock_ns();
	for (uint16_t i = 0; i < n; i++) {
		struct qp_packet pkt;

		mark(s, frames[i], &s->marked_in);
		if (qp_ip_parse(frames[i], &pkt) != QP_IP_OK || pkt.proto != IPPROTO_TCP)
			rte_pktmbuf_free(frames[i]);
		else
			qp_tcp_input(s->tcp, frames[i], &pkt);
	}
	qp_wheel_advance(s->wheel, s->now_ns);
	qp_tcp_flush(s->tcp);
	if (n == 0)
		poll(&p, 1, 1);
}

static void
shell(const char *command)
{
	if (system(command) != 0)
		errx(1, "failed: %s", command);
}

static void
open_port(struct server *s)
{
	struct qp_host_port_config pc = {.name = "qpfeat0", .mtu = 1500};
	struct qp_errmsg msg;

	s->rnd = 0x1234567887654321;
	s->pool = pc.rx_pool = test_pool("features", 16383, RTE_PKTMBUF_HEADROOM + 2048);
	s->indirect = test_pool("features_clones", 16383, 0);
	if (qp_host_port_open(&pc, &s->port, &msg) != 0)
		errx(1, "%s", msg.text);
	shell("echo 0 >/proc/sys/net/ipv6/conf/qpfeat0/disable_ipv6");
	shell("echo 1 >/proc/sys/net/ipv4/tcp_ecn; echo 1 >/proc/sys/net/ipv4/tcp_fastopen");
	shell("ip addr add 10.78.0.1/24 dev qpfeat0 && ip -6 addr add fd78::1/64 dev qpfeat0 nodad");
	shell("ip neigh replace 10.78.0.2 lladdr 02:00:00:00:00:99 dev qpfeat0 nud permanent");
	shell("ip neigh replace fd78::2 lladdr 02:00:00:00:00:99 dev qpfeat0 nud permanent");
}

static void
open_stack(struct server *s, const struct qp_tcp_config *cfg)
{
	struct qp_tcp_env env = {.now_ns = &s->now_ns, .pool = s->pool, .indirect_pool = s->indirect,
		.random = next_random, .random_ctx = s, .transmit = transmit, .transmit_ctx = s,
		.own_mac = {2, 0, 0, 0, 0, 0x99}, .mtu = s->port->mtu,
		.max_frame_bytes = s->port->max_frame_bytes};
	struct qp_tcp_listener *l;

	s->now_ns = clock_ns();
	s->wheel = env.wheel = qp_wheel_new(s->now_ns);
	s->tcp = qp_tcp_new(&env, cfg);
	if (s->tcp == NULL || qp_tcp_listen(s->tcp, NULL, htons(PORT), &echo_ops, NULL, &l) != 0)
		errx(1, "the stack does not start");
}

/* --- Linux's side --- */

/* `fast`: connect() sends nothing, the first write is in the SYN if there is a cookie. */
static int
dial(bool v6, bool fast)
{
	struct sockaddr_in a4 = {.sin_family = AF_INET, .sin_port = htons(PORT)};
	struct sockaddr_in6 a6 = {.sin6_family = AF_INET6, .sin6_port = htons(PORT)};
	int fd = socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM, 0), on = fast;

	inet_pton(AF_INET, "10.78.0.2", &a4.sin_addr);
	inet_pton(AF_INET6, "fd78::2", &a6.sin6_addr);
	if (fd < 0 || setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, &on, sizeof(on)) != 0 ||
		connect(fd, v6 ? (void *)&a6 : (void *)&a4, v6 ? sizeof(a6) : sizeof(a4)) != 0)
		err(1, "connect");
	return fd;
}

static uint8_t
pattern(uint64_t at)
{
	return (uint8_t)((at * 0x9e3779b97f4a7c15u) >> 56);
}

static void
write_all(int fd, uint64_t at, uint32_t n)
{
	static uint8_t buf[65536];

	for (uint32_t i = 0; i < n; i++)
		buf[i] = pattern(at + i);
	if (send(fd, buf, n, MSG_NOSIGNAL) != (ssize_t)n)
		err(1, "send at %llu", (unsigned long long)at);
}

static void
expect_back(int fd, uint64_t at, uint32_t n)
{
	static uint8_t buf[65536];

	if (recv(fd, buf, n, MSG_WAITALL) != (ssize_t)n)
		err(1, "recv at %llu", (unsigned long long)at);
	for (uint32_t i = 0; i < n; i++) {
		if (buf[i] != pattern(at + i))
			errx(1, "byte %llu differs", (unsigned long long)at + i);
	}
}

/* `total` bytes there and back; what the kernel says of the connection then. */
static struct tcp_info
exchange(int fd, uint32_t total)
{
	uint32_t step = total < 65536 ? total : 65536, ahead = 4;
	struct tcp_info info = {0};
	socklen_t len = sizeof(info);
	uint64_t sent = 0, got = 0;
	char end;

	while (got < total) {
		for (; sent < total && sent - got < (uint64_t)ahead * step; sent += step)
			write_all(fd, sent, step);
		expect_back(fd, got, step);
		got += step;
	}
	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) != 0)
		err(1, "TCP_INFO");
	shutdown(fd, SHUT_WR);
	if (recv(fd, &end, 1, 0) != 0)
		errx(1, "no end after the last byte");
	close(fd);
	return info;
}

static void
ecn_client(void)
{
	for (int v6 = 0; v6 < 2; v6++) {
		struct tcp_info i = exchange(dial(v6, false), BULK);

		if (!(i.tcpi_options & TCPI_OPT_ECN) || !(i.tcpi_options & TCPI_OPT_ECN_SEEN))
			errx(1, "IPv%d: no ECN, options %x", v6 ? 6 : 4, i.tcpi_options);
	}
}

static void
no_ecn_client(void)
{
	struct tcp_info i = exchange(dial(true, false), 65536);

	if (i.tcpi_options & TCPI_OPT_ECN)
		errx(1, "ECN against our will, options %x", i.tcpi_options);
}

static void
fast_client(void)
{
	for (int round = 0; round < 6; round++) {
		bool v6 = round % 2, again = round >= 2;
		struct tcp_info i = exchange(dial(v6, true), 1000);

		if (!!(i.tcpi_options & TCPI_OPT_SYN_DATA) != again)
			errx(1, "round %d: the SYN's data was%s taken", round, again ? " not" : "");
	}
}

static void
cookie_client(void)
{
	for (int v6 = 0; v6 < 2; v6++) {
		struct tcp_info i = exchange(dial(v6, false), BULK);
		const unsigned all = TCPI_OPT_TIMESTAMPS | TCPI_OPT_SACK | TCPI_OPT_WSCALE | TCPI_OPT_ECN;

		if ((i.tcpi_options & all) != all || i.tcpi_snd_wscale == 0)
			errx(1, "a cookie forgets, options %x", i.tcpi_options);
	}
}

/* --- both --- */

static void
run(struct server *s, const char *what, const struct qp_tcp_config *cfg, void (*client)(void),
	struct qp_tcp_counters *seen)
{
	int status;
	pid_t pid;

	open_stack(s, cfg);
	s->marked_in = s->marked_out = 0;
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		alarm(120);
		client();
		_exit(0);
	}
	while (waitpid(pid, &status, WNOHANG) == 0)
		turn(s);
	for (uint64_t until = clock_ns() + 100000000; clock_ns() < until;)
		turn(s);
	*seen = *qp_tcp_counters(s->tcp);
	qp_tcp_free(s->tcp);
	qp_wheel_free(s->wheel);
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		errx(1, "%s: the client failed", what);
	printf("%s: %llu marks in, %llu out; heard %llu, reduced %llu times; %llu retransmissions\n", what,
		(unsigned long long)s->marked_in, (unsigned long long)s->marked_out,
		(unsigned long long)seen->ecn_marks_in, (unsigned long long)seen->ecn_reductions,
		(unsigned long long)seen->retrans_segs);
}

int
main(void)
{
	struct qp_tcp_counters n;
	struct qp_tcp_config cfg;
	struct server s = {0};

	if (geteuid() != 0 || access("/dev/net/tun", R_OK | W_OK) != 0) {
		printf("skipped: needs root and /dev/net/tun\n");
		return 77;
	}
	if (unshare(CLONE_NEWNET) != 0)
		err(1, "no network namespace");
	test_eal_init();
	open_port(&s);
	qp_tcp_config_default(&cfg);
	run(&s, "ECN", &cfg, ecn_client, &n);
	if (n.ecn_marks_in == 0 || n.ecn_reductions == 0 || n.retrans_segs != 0)
		errx(1, "ECN: marks were not heard, or heard as losses");
	cfg.ecn = 0;
	run(&s, "ECN off", &cfg, no_ecn_client, &n);
	cfg.ecn = 1;
	cfg.fastopen = true;
	run(&s, "Fast Open", &cfg, fast_client, &n);
	if (n.fastopen_ok != 4 || n.fastopen_cookies != 2)
		errx(1, "Fast Open: %llu opened, %llu cookies", (unsigned long long)n.fastopen_ok,
			(unsigned long long)n.fastopen_cookies);
	cfg.syn_backlog = 0;
	run(&s, "SYN cookies", &cfg, cookie_client, &n);
	if (n.syn_cookies_ok != 2)
		errx(1, "SYN cookies: %llu opened", (unsigned long long)n.syn_cookies_ok);
	qp_port_close(s.port);
	if (rte_mempool_in_use_count(s.pool) != 0 || rte_mempool_in_use_count(s.indirect) != 0)
		errx(1, "mbufs leaked: %u, %u", rte_mempool_in_use_count(s.pool),
			rte_mempool_in_use_count(s.indirect));
	return 0;
}
