/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a Linux client and the stack agree on, and live by: ECN with marks both
 * ways, Fast Open, SYN cookies. Needs root; without it says so and is skipped
 * (77).
 */
#include <err.h>
#include <linux/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <rte_mbuf.h>

#include "dataplane/tcp/internal.h"
#include "tests/tcp/linux_server.h"

#define BULK (8u << 20)

static uint64_t marked_in, marked_out; /* frames */

/* One in ten of the IPv6 frames that may be marked is: there is no header checksum to care for. */
static void
mark(struct server *s, struct rte_mbuf *m, uint64_t *count)
{
	uint8_t *frame = rte_pktmbuf_mtod(m, uint8_t *);

	if (m->data_len < 54 || frame[12] != 0x86 || (frame[15] >> 4 & QP_TOS_ECN) != QP_TOS_ECT ||
		server_random(s) % 10 != 0)
		return;
	frame[15] |= QP_TOS_CE << 4;
	(*count)++;
}

static bool
arrives(struct server *s, struct rte_mbuf *m)
{
	mark(s, m, &marked_in);
	return true;
}

static bool
leaves(struct server *s, struct rte_mbuf *m)
{
	mark(s, m, &marked_out);
	return true;
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

/* --- Linux's side --- */

static int
dial(bool v6, bool fast)
{
	int fd = server_dial(v6, SERVER_PORT, fast);

	if (fd < 0)
		err(1, "connect");
	return fd;
}

static void
write_all(int fd, uint64_t at, uint32_t n)
{
	static uint8_t buf[65536];

	for (uint32_t i = 0; i < n; i++)
		buf[i] = server_pattern(at + i);
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
		if (buf[i] != server_pattern(at + i))
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

	server_open(s, cfg, &echo_ops, true);
	marked_in = marked_out = 0;
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		alarm(120);
		client();
		_exit(0);
	}
	status = server_run(s, pid, 100000000);
	*seen = *qp_tcp_counters(s->tcp);
	server_close(s);
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		errx(1, "%s: the client failed", what);
	printf("%s: %llu marks in, %llu out; heard %llu, reduced %llu times; %llu retransmissions\n", what,
		(unsigned long long)marked_in, (unsigned long long)marked_out,
		(unsigned long long)seen->ecn_marks_in, (unsigned long long)seen->ecn_reductions,
		(unsigned long long)seen->retrans_segs);
}

int
main(void)
{
	struct qp_tcp_counters n;
	struct qp_tcp_config cfg;
	struct server s = {.arrives = arrives, .leaves = leaves};

	if (!server_possible())
		return 77;
	server_open_port(&s);
	server_shell("echo 1 >/proc/sys/net/ipv4/tcp_ecn; echo 1 >/proc/sys/net/ipv4/tcp_fastopen");
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
	return server_close_port(&s) ? 0 : 1;
}
