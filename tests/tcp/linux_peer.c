/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The stack against Linux: whole streams that are echoed are compared, with
 * super-segments and without, at 0, 1 and 5 % loss. Needs root; without it
 * says so and is skipped (77).
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <rte_mbuf.h>

#include "common/clock.h"
#include "tests/tcp/linux_server.h"

#define MANY   1000
#define AT_ONCE 64

/* --- the stack's side --- */

struct echo {
	struct qp_tcp_conn *c;
	struct rte_mbuf *kept, *kept_tail; /* received, no room to send it yet */
	bool ending;
	LIST_ENTRY(echo) link;
};

/* Those that TCP has not ended: a last ACK may be lost, and the stack calls nobody back when freed. */
static LIST_HEAD(, echo) echoes = LIST_HEAD_INITIALIZER(echoes);

static double loss;

/* Either way. */
static bool
passes(struct server *s, struct rte_mbuf *frame)
{
	return loss == 0 || (double)(server_random(s) >> 11) * 0x1p-53 >= loss;
}

static void
push(struct echo *e)
{
	while (e->kept != NULL && e->kept->data_len <= qp_tcp_send_space(e->c)) {
		struct rte_mbuf *m = e->kept;
		uint32_t n = m->data_len;

		e->kept = m->next;
		m->next = NULL;
		m->nb_segs = 1;
		m->pkt_len = n;
		qp_tcp_send(e->c, m);
		qp_tcp_consumed(e->c, n);
	}
	if (e->kept == NULL && e->ending)
		qp_tcp_shutdown(e->c);
}

static int
on_accept(void *listener_ctx, struct qp_tcp_conn *c)
{
	struct echo *e = calloc(1, sizeof(*e));

	if (e == NULL)
		return -1;
	e->c = c;
	LIST_INSERT_HEAD(&echoes, e, link);
	qp_tcp_set_ctx(c, e);
	return 0;
}

static void
on_receive(void *ctx, struct rte_mbuf *chain)
{
	struct echo *e = ctx;

	if (e->kept == NULL)
		e->kept = chain;
	else
		e->kept_tail->next = chain;
	e->kept_tail = rte_pktmbuf_lastseg(chain);
	push(e);
}

static void
on_receive_end(void *ctx)
{
	struct echo *e = ctx;

	e->ending = true;
	push(e);
}

static void
on_acked(void *ctx, uint32_t bytes)
{
	push(ctx);
}

static void
on_ended(void *ctx, enum qp_tcp_end why)
{
	struct echo *e = ctx;

	LIST_REMOVE(e, link);
	while (e->kept != NULL) {
		struct rte_mbuf *m = e->kept;

		e->kept = m->next;
		m->next = NULL;
		m->nb_segs = 1;
		rte_pktmbuf_free_seg(m);
	}
	free(e);
}

static const struct qp_tcp_ops echo_ops = {
	.accept = on_accept,
	.receive = on_receive,
	.receive_end = on_receive_end,
	.acked = on_acked,
	.ended = on_ended,
};

/* --- Linux's side --- */

/* Sends `total` bytes, half-closes, and expects them all back. */
static void
echo_stream(int fd, uint64_t total)
{
	static uint8_t buf[256 * 1024];
	uint64_t sent = 0, got = 0;
	bool open = true;

	fcntl(fd, F_SETFL, O_NONBLOCK);
	while (got < total || open) {
		struct pollfd p = {.fd = fd, .events = POLLIN | (sent < total ? POLLOUT : 0)};
		ssize_t n;

		if (poll(&p, 1, 120000) <= 0)
			errx(1, "stalled: %llu sent, %llu of %llu back", (unsigned long long)sent,
				(unsigned long long)got, (unsigned long long)total);
		if (p.revents & POLLOUT && sent < total) {
			uint64_t want = total - sent < sizeof(buf) ? total - sent : sizeof(buf);

			for (uint64_t i = 0; i < want; i++)
				buf[i] = server_pattern(sent + i);
			n = send(fd, buf, want, MSG_NOSIGNAL);
			if (n < 0 && errno != EAGAIN)
				err(1, "send after %llu bytes", (unsigned long long)sent);
			sent += n > 0 ? (uint64_t)n : 0;
			if (sent == total)
				shutdown(fd, SHUT_WR);
		}
		if (p.revents & (POLLIN | POLLHUP | POLLERR)) {
			n = recv(fd, buf, sizeof(buf), 0);
			if (n < 0 && errno != EAGAIN)
				err(1, "recv after %llu bytes", (unsigned long long)got);
			for (ssize_t i = 0; i < n; i++) {
				if (buf[i] != server_pattern(got + (uint64_t)i))
					errx(1, "byte %llu differs", (unsigned long long)got + i);
			}
			got += n > 0 ? (uint64_t)n : 0;
			open = n != 0;
			if (!open && got != total)
				errx(1, "ended after %llu of %llu bytes", (unsigned long long)got,
					(unsigned long long)total);
		}
	}
	close(fd);
}

static void
bulk(bool v6, uint64_t total)
{
	uint64_t start = qp_now_ns();
	int fd = server_dial(v6, SERVER_PORT, false);

	if (fd < 0)
		err(1, "connect");
	echo_stream(fd, total);
	printf("  %s: %llu MiB each way, %.0f Mbit/s each\n", v6 ? "IPv6" : "IPv4",
		(unsigned long long)total >> 20,
		(double)total * 8e3 / (double)(qp_now_ns() - start));
}

/* MANY connections, AT_ONCE of them open together. */
static void
many(void)
{
	int fds[AT_ONCE];

	for (int done = 0; done < MANY; done += AT_ONCE) {
		for (int i = 0; i < AT_ONCE; i++) {
			fds[i] = server_dial(i % 2, SERVER_PORT, false);
			if (fds[i] < 0)
				err(1, "connection %d", done + i);
		}
		for (int i = 0; i < AT_ONCE; i++)
			echo_stream(fds[i], (uint64_t)i * 100 + 1);
	}
	printf("  %d connections\n", MANY);
}

static void
client(void)
{
	if (server_dial(false, SERVER_PORT + 1, false) >= 0 || errno != ECONNREFUSED)
		errx(1, "a port that nobody serves does not refuse");
	bulk(false, loss == 0 ? 256 << 20 : 16 << 20);
	bulk(true, loss == 0 ? 256 << 20 : 16 << 20);
	if (loss < 0.05)
		many();
	fflush(stdout);
	_exit(0);
}

static void
print_counters(const struct server *s)
{
	static const char *const names[] = {
#define X(field, help) #field,
		QP_TCP_COUNTERS(X)
#undef X
	};
	const uint64_t *counters = (const uint64_t *)qp_tcp_counters(s->tcp);

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (counters[i] != 0)
			printf("  %s %llu\n", names[i], (unsigned long long)counters[i]);
	}
}

static int
run(void)
{
	struct server s = {.arrives = passes, .leaves = passes};
	struct qp_tcp_config cfg;
	int status;
	pid_t pid;

	server_open_port(&s);
	/* Loss is of wire packets: so let there be wire packets. */
	if (loss > 0)
		server_shell("ethtool -K " SERVER_TAP " tso off gso off gro off >/dev/null");
	qp_tcp_config_default(&cfg);
	server_open(&s, &cfg, &echo_ops, loss == 0);
	printf("%.1f %% loss\n", loss * 100);
	fflush(stdout);
	pid = fork();
	if (pid == 0)
		client();
	status = server_run(&s, pid, 300000000);
	print_counters(&s);
	server_close(&s);
	while (!LIST_EMPTY(&echoes))
		on_ended(LIST_FIRST(&echoes), QP_TCP_END_TIMEOUT);
	return server_close_port(&s) && WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : 1;
}

/* Each loss rate in a process, and so a namespace and an EAL, of its own. */
int
main(int argc, char **argv)
{
	if (!server_possible())
		return 77;
	loss = argc > 1 ? atof(argv[1]) : 0;
	return run();
}
