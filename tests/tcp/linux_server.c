/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/tcp/linux_server.h"

#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <linux/tcp.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <rte_mbuf.h>
#include <rte_mempool.h>

#include "common/clock.h"
#include "dataplane/port.h"
#include "tests/tcp/eal.h"

/* What the tests against Linux share: the worker's loop around a stack, and how it is reached. */

#define BURST 32

bool
server_possible(void)
{
	if (geteuid() == 0 && access("/dev/net/tun", R_OK | W_OK) == 0)
		return true;
	printf("skipped: needs root and /dev/net/tun\n");
	return false;
}

uint64_t
server_random(void *server)
{
	struct server *s = server;

	s->rnd ^= s->rnd << 13;
	s->rnd ^= s->rnd >> 7;
	return s->rnd ^= s->rnd << 17;
}

void
server_shell(const char *command)
{
	if (system(command) != 0)
		errx(1, "failed: %s", command);
}

void
server_open_port(struct server *s)
{
	struct qp_host_port_config pc = {.name = SERVER_TAP, .mtu = 1500};
	struct qp_errmsg msg;

	if (unshare(CLONE_NEWNET) != 0)
		err(1, "no network namespace");
	test_eal_init();
	s->rnd = 0x1234567887654321;
	s->pool = pc.rx_pool = test_pool("linux", 16383, RTE_PKTMBUF_HEADROOM + 2048);
	s->indirect = test_pool("linux_clones", 16383, 0);
	if (qp_host_port_open(&pc, &s->port, &msg) != 0)
		errx(1, "%s", msg.text);
	server_shell("echo 0 >/proc/sys/net/ipv6/conf/" SERVER_TAP "/disable_ipv6");
	server_shell("ip addr add 10.77.0.1/24 dev " SERVER_TAP);
	server_shell("ip -6 addr add fd77::1/64 dev " SERVER_TAP " nodad");
	server_shell("ip neigh replace 10.77.0.2 lladdr 02:00:00:00:00:99 dev " SERVER_TAP " nud permanent");
	server_shell("ip neigh replace fd77::2 lladdr 02:00:00:00:00:99 dev " SERVER_TAP " nud permanent");
}

static void
transmit(void *ctx, struct rte_mbuf *frame)
{
	struct server *s = ctx;

	if ((s->leaves != NULL && !s->leaves(s, frame)) || qp_port_tx(s->port, &frame, 1) == 0)
		rte_pktmbuf_free(frame);
}

void
server_open(struct server *s, const struct qp_tcp_config *cfg, const struct qp_tcp_ops *ops, bool whole)
{
	struct qp_tcp_env env = {.now_ns = &s->now_ns, .pool = s->pool, .indirect_pool = s->indirect,
		.random = server_random, .random_ctx = s, .transmit = transmit, .transmit_ctx = s,
		.own_mac = {2, 0, 0, 0, 0, 0x99}, .mtu = s->port->mtu,
		.max_frame_bytes = whole ? s->port->max_frame_bytes : 0};
	struct qp_tcp_listener *l;

	s->now_ns = qp_now_ns();
	s->wheel = env.wheel = qp_wheel_new(s->now_ns);
	s->tcp = qp_tcp_new(&env, cfg);
	if (s->tcp == NULL || qp_tcp_listen(s->tcp, NULL, htons(SERVER_PORT), ops, NULL, &l) != 0)
		errx(1, "the stack does not start");
}

void
server_close(struct server *s)
{
	qp_tcp_free(s->tcp);
	qp_wheel_free(s->wheel);
}

bool
server_close_port(struct server *s)
{
	unsigned pool, indirect;

	qp_port_close(s->port);
	pool = rte_mempool_in_use_count(s->pool);
	indirect = rte_mempool_in_use_count(s->indirect);
	if (pool != 0 || indirect != 0)
		printf("  mbufs leaked: %u, %u\n", pool, indirect);
	return pool == 0 && indirect == 0;
}

static void
handle(struct server *s, struct rte_mbuf *m)
{
	struct qp_packet pkt;

	if ((s->arrives != NULL && !s->arrives(s, m)) || qp_ip_parse(m, &pkt) != QP_IP_OK ||
		pkt.proto != IPPROTO_TCP)
		rte_pktmbuf_free(m);
	else
		qp_tcp_input(s->tcp, m, &pkt);
}

/* One turn of a worker's loop; sleeps in poll when nothing was there. */
static void
turn(struct server *s)
{
	struct rte_mbuf *frames[BURST];
	uint16_t n = qp_port_rx(s->port, frames, BURST);
	struct pollfd p = {.fd = s->port->wake_fd[0], .events = POLLIN};

	s->now_ns = qp_now_ns();
	for (uint16_t i = 0; i < n; i++)
		handle(s, frames[i]);
	qp_wheel_advance(s->wheel, s->now_ns);
	qp_tcp_flush(s->tcp);
	if (n == 0)
		poll(&p, 1, 1);
}

int
server_run(struct server *s, pid_t client, uint64_t ns)
{
	int status;

	while (waitpid(client, &status, WNOHANG) == 0)
		turn(s);
	for (uint64_t until = qp_now_ns() + ns; qp_now_ns() < until;)
		turn(s);
	return status;
}

uint8_t
server_pattern(uint64_t at)
{
	return (uint8_t)((at * 0x9e3779b97f4a7c15u) >> 56);
}

int
server_dial(bool v6, uint16_t port, bool fast)
{
	struct sockaddr_in a4 = {.sin_family = AF_INET, .sin_port = htons(port)};
	struct sockaddr_in6 a6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	int fd = socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM, 0), on = 1;

	inet_pton(AF_INET, "10.77.0.2", &a4.sin_addr);
	inet_pton(AF_INET6, "fd77::2", &a6.sin6_addr);
	if (fd < 0 ||
		(fast && setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, &on, sizeof(on)) != 0) ||
		connect(fd, v6 ? (void *)&a6 : (void *)&a4, v6 ? sizeof(a6) : sizeof(a4)) != 0) {
		int e = errno;

		if (fd >= 0)
			close(fd);
		errno = e;
		return -1;
	}
	return fd;
}
