/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The stack against Linux: an echo server of ours on a TAP in a network
 * namespace of its own, plain sockets on the kernel's side. Whole streams are
 * compared, with super-segments and without, at 0, 1 and 5 % loss. Needs root;
 * without it says so and is skipped (77). Two processes: the child is the
 * client, the parent turns the stack until it ends.
 */
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <rte_ether.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>

#include "dataplane/port.h"
#include "dataplane/tcp/tcp.h"
#include "tests/tcp/clock.h"
#include "tests/tcp/eal.h"

#define PORT   7
#define MANY   1000
#define AT_ONCE 64

static const char tap_name[] = "qptcp0";

/* --- the stack's side --- */

struct echo {
	struct qp_tcp_conn *c;
	struct rte_mbuf *kept, *kept_tail; /* received, no room to send it yet */
	bool ending;
	LIST_ENTRY(echo) link;
};

/* Those that TCP has not ended: a last ACK may be lost, and the stack calls nobody back when freed. */
static LIST_HEAD(, echo) echoes = LIST_HEAD_INITIALIZER(echoes);

struct server {
	struct qp_port *port;
	struct qp_tcp *tcp;
	struct qp_wheel *wheel;
	struct rte_mempool *pool, *indirect;
	uint64_t now_ns, rnd;
	double loss;
};

static uint64_t
next_random(void *ctx)
{
	struct server *s = ctx;

	s->rnd ^= s->rnd << 13;
	s->rnd ^= s->rnd >> 7;
	return s->rnd ^= s->rnd << 17;
}

static bool
lost(struct server *s)
{
	return s->loss > 0 && (double)(next_random(s) >> 11) * 0x1p-53 < s->loss;
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

static void
transmit(void *ctx, struct rte_mbuf *frame)
{
	struct server *s = ctx;

	if (lost(s) || qp_port_tx(s->port, &frame, 1) == 0)
		rte_pktmbuf_free(frame);
}

static void
handle(struct server *s, struct rte_mbuf *m)
{
	struct qp_packet pkt;

	if (lost(s) || qp_ip_parse(m, &pkt) != QP_IP_OK || pkt.proto != IPPROTO_TCP)
		rte_pktmbuf_free(m);
	else
		qp_tcp_input(s->tcp, m, &pkt);
}

/* One turn of a worker's loop; sleeps in poll when nothing was there. */
static void
turn(struct server *s)
{
	struct rte_mbuf *frames[32];
	uint16_t n = qp_port_rx(s->port, frames, 32);
	struct pollfd p = {.fd = s->port->wake_fd[0], .events = POLLIN};

	s->now_ns = clock_ns();
	for (uint16_t i = 0; i < n; i++)
		handle(s, frames[i]);
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
open_server(struct server *s)
{
	struct qp_host_port_config pc = {.name = tap_name, .mtu = 1500};
	struct qp_tcp_env env = {.random = next_random, .random_ctx = s, .transmit = transmit,
		.transmit_ctx = s, .own_mac = {2, 0, 0, 0, 0, 0x99}};
	struct qp_tcp_listener *l;
	struct qp_tcp_config cfg;
	struct qp_errmsg msg;

	s->rnd = 0x1234567887654321;
	s->pool = pc.rx_pool = test_pool("linux", 16383, RTE_PKTMBUF_HEADROOM + 2048);
	s->indirect = test_pool("linux_clones", 16383, 0);
	if (qp_host_port_open(&pc, &s->port, &msg) != 0)
		errx(1, "%s", msg.text);
	s->now_ns = clock_ns();
	s->wheel = qp_wheel_new(s->now_ns);
	env.now_ns = &s->now_ns;
	env.wheel = s->wheel;
	env.pool = s->pool;
	env.indirect_pool = s->indirect;
	env.mtu = s->port->mtu;
	env.max_frame_bytes = s->loss > 0 ? 0 : s->port->max_frame_bytes;
	qp_tcp_config_default(&cfg);
	s->tcp = qp_tcp_new(&env, &cfg);
	if (s->tcp == NULL || qp_tcp_listen(s->tcp, NULL, htons(PORT), &echo_ops, NULL, &l) != 0)
		errx(1, "the stack does not start");
	shell("echo 0 >/proc/sys/net/ipv6/conf/qptcp0/disable_ipv6");
	shell("ip addr add 10.77.0.1/24 dev qptcp0 && ip -6 addr add fd77::1/64 dev qptcp0 nodad");
	shell("ip neigh replace 10.77.0.2 lladdr 02:00:00:00:00:99 dev qptcp0 nud permanent");
	shell("ip neigh replace fd77::2 lladdr 02:00:00:00:00:99 dev qptcp0 nud permanent");
	/* Loss is of wire packets: so let there be wire packets. */
	if (s->loss > 0)
		shell("ethtool -K qptcp0 tso off gso off gro off >/dev/null");
}

/* --- Linux's side --- */

static int
dial(bool v6, uint16_t port)
{
	struct sockaddr_in a4 = {.sin_family = AF_INET, .sin_port = htons(port)};
	struct sockaddr_in6 a6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	int fd = socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM, 0);

	inet_pton(AF_INET, "10.77.0.2", &a4.sin_addr);
	inet_pton(AF_INET6, "fd77::2", &a6.sin6_addr);
	if (fd < 0 || connect(fd, v6 ? (void *)&a6 : (void *)&a4, v6 ? sizeof(a6) : sizeof(a4)) != 0) {
		int e = errno;

		if (fd >= 0)
			close(fd);
		errno = e;
		return -1;
	}
	return fd;
}

static uint8_t
pattern(uint64_t at)
{
	return (uint8_t)((at * 0x9e3779b97f4a7c15u) >> 56);
}

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
				buf[i] = pattern(sent + i);
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
				if (buf[i] != pattern(got + (uint64_t)i))
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
	uint64_t start = clock_ns();
	int fd = dial(v6, PORT);

	if (fd < 0)
		err(1, "connect");
	echo_stream(fd, total);
	printf("  %s: %llu MiB each way, %.0f Mbit/s each\n", v6 ? "IPv6" : "IPv4",
		(unsigned long long)total >> 20,
		(double)total * 8e3 / (double)(clock_ns() - start));
}

/* MANY connections, AT_ONCE of them open together. */
static void
many(void)
{
	int fds[AT_ONCE];

	for (int done = 0; done < MANY; done += AT_ONCE) {
		for (int i = 0; i < AT_ONCE; i++) {
			fds[i] = dial(i % 2, PORT);
			if (fds[i] < 0)
				err(1, "connection %d", done + i);
		}
		for (int i = 0; i < AT_ONCE; i++)
			echo_stream(fds[i], (uint64_t)i * 100 + 1);
	}
	printf("  %d connections\n", MANY);
}

static void
client(double loss)
{
	if (dial(false, PORT + 1) >= 0 || errno != ECONNREFUSED)
		errx(1, "a port that nobody serves does not refuse");
	bulk(false, loss == 0 ? 256 << 20 : 16 << 20);
	bulk(true, loss == 0 ? 256 << 20 : 16 << 20);
	if (loss < 0.05)
		many();
	fflush(stdout);
	_exit(0);
}

static int
run(double loss)
{
	static const char *const names[] = {
#define X(field, help) #field,
		QP_TCP_COUNTERS(X)
#undef X
	};
	struct server s = {.loss = loss};
	const uint64_t *counters;
	int status;
	pid_t pid;

	if (unshare(CLONE_NEWNET) != 0)
		err(1, "no network namespace");
	test_eal_init();
	open_server(&s);
	printf("%.1f %% loss\n", loss * 100);
	fflush(stdout);
	pid = fork();
	if (pid == 0)
		client(loss);
	while (waitpid(pid, &status, WNOHANG) == 0)
		turn(&s);
	for (uint64_t until = clock_ns() + 300000000; clock_ns() < until;)
		turn(&s);
	counters = (const uint64_t *)qp_tcp_counters(s.tcp);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (counters[i] != 0)
			printf("  %s %llu\n", names[i], (unsigned long long)counters[i]);
	}
	qp_tcp_free(s.tcp);
	while (!LIST_EMPTY(&echoes))
		on_ended(LIST_FIRST(&echoes), QP_TCP_END_TIMEOUT);
	qp_wheel_free(s.wheel);
	qp_port_close(s.port);
	if (rte_mempool_in_use_count(s.pool) != 0 || rte_mempool_in_use_count(s.indirect) != 0) {
		printf("  mbufs leaked: %u, %u\n", rte_mempool_in_use_count(s.pool),
			rte_mempool_in_use_count(s.indirect));
		return 1;
	}
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : 1;
}

/* Each loss rate in a process, and so a namespace and an EAL, of its own. */
int
main(int argc, char **argv)
{
	if (geteuid() != 0 || access("/dev/net/tun", R_OK | W_OK) != 0) {
		printf("skipped: needs root and /dev/net/tun\n");
		return 77;
	}
	return run(argc > 1 ? atof(argv[1]) : 0);
}
