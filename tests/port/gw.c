/* SPDX-License-Identifier: Apache-2.0 */
/* A small gateway and its clients for tests of host mode; see gw.h. */
#include "tests/port/gw.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <linux/udp.h>
#include <netdb.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "dataplane/port.h"

#define TCP_UNDER_WAY 32768u

struct qp_hostnet_config
gw_config(const struct world *w)
{
	return (struct qp_hostnet_config) {
		.state_dir = w->dir,
		.quic_port = GW_QUIC_PORT,
		.public_port = GW_PUBLIC_PORT,
	};
}

struct qp_hostnet *
gw_hostnet_open(const struct qp_hostnet_config *cfg)
{
	struct qp_hostnet *h;
	struct qp_errmsg msg;

	cr_assert_eq(qp_hostnet_open(cfg, &h, &msg), 0, "%s", msg.text);
	return h;
}

void
gw_add_worker(struct qp_hostnet *h, uint32_t server_id, uint8_t lcore, const struct responder *r)
{
	struct qp_errmsg msg;

	cr_assert_eq(qp_hostnet_worker_add(h, server_id, lcore, r->port->ifindex, r->port->mac,
			     &msg),
		0, "%s", msg.text);
}

void
gw_open(struct gw *g)
{
	struct qp_hostnet_config cfg;
	struct qp_errmsg msg;

	memset(g, 0, sizeof(*g));
	world_open(&g->w);
	g->pool = responder_eal(8191);
	responder_open(&g->r, "qptap0", g->pool);
	cfg = gw_config(&g->w);
	g->h = gw_hostnet_open(&cfg);
	gw_add_worker(g->h, GW_SERVER_ID, 0, &g->r);
	cr_assert_eq(qp_hostnet_set_active(g->h, GW_SERVER_ID, 1), 0);
	cr_assert_eq(qp_hostnet_port_open(g->h, IPPROTO_UDP, GW_ECHO_PORT, NULL,
			     g->r.port->ifindex, &msg),
		0, "%s", msg.text);
	cr_assert_eq(qp_hostnet_port_open(g->h, IPPROTO_TCP, GW_ECHO_PORT, NULL,
			     g->r.port->ifindex, &msg),
		0, "%s", msg.text);
}

void
gw_close(struct gw *g)
{
	cr_expect_eq(atomic_load(&g->r.stats.other), 0, "stray frames on the TAP");
	cr_expect_eq(atomic_load(&g->r.stats.tx_refused), 0);
	cr_expect_eq(g->r.port->counters.tx_dropped, 0);
	cr_expect_eq(g->r.port->counters.rx_errors, 0);
	qp_hostnet_close(g->h);
	responder_close(&g->r);
	world_close(&g->w);
}

uint64_t
gw_counter(const struct gw *g, enum qp_cls_counter which)
{
	uint64_t all[QP_CLS_NCOUNTERS];

	cr_assert_eq(qp_hostnet_counters(g->h, all), 0);
	return all[which];
}

int
gw_connect(const char *addr, uint16_t port, int type)
{
	const struct addrinfo hints = {.ai_flags = AI_NUMERICHOST, .ai_socktype = type};
	const struct timeval patience = {.tv_sec = 5};
	struct addrinfo *ai;
	char service[8];
	int fd;

	snprintf(service, sizeof(service), "%u", port);
	cr_assert_eq(getaddrinfo(addr, service, &hints, &ai), 0, "%s", addr);
	fd = socket(ai->ai_family, type, 0);
	cr_assert_geq(fd, 0);
	cr_assert_eq(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
	cr_assert_eq(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)), 0);
	cr_assert_eq(connect(fd, ai->ai_addr, ai->ai_addrlen), 0, "connect to %s port %u: %s", addr,
		port, strerror(errno));
	freeaddrinfo(ai);
	return fd;
}

static void
fill(uint8_t *buf, size_t n, size_t offset)
{
	for (size_t i = 0; i < n; i++)
		buf[i] = (uint8_t)((offset + i) * 7 + (offset + i) / 251);
}

bool
gw_udp_answers(int fd, const void *data, size_t bytes, unsigned timeout_ms)
{
	struct pollfd pfd = {.fd = fd, .events = POLLIN};
	char buf[65536];

	cr_assert_eq(send(fd, data, bytes, 0), (ssize_t)bytes, "send: %s", strerror(errno));
	return poll(&pfd, 1, (int)timeout_ms) == 1 && recv(fd, buf, sizeof(buf), 0) >= 0;
}

void
gw_udp_echo(int fd, size_t bytes, const char *what)
{
	static uint8_t sent[65536], got[65536];
	ssize_t n;

	fill(sent, bytes, 1);
	cr_assert_eq(send(fd, sent, bytes, 0), (ssize_t)bytes, "%s: %s", what, strerror(errno));
	n = recv(fd, got, sizeof(got), 0);
	cr_assert_eq(n, (ssize_t)bytes, "%s: %zd bytes of %zu: %s", what, n, bytes,
		strerror(errno));
	cr_assert_eq(memcmp(sent, got, bytes), 0, "%s: content differs", what);
}

void
gw_udp_gso_echo(int fd, unsigned segs, unsigned bytes, const char *what)
{
	static uint8_t sent[65536], got[65536];
	int segsz = (int)bytes, off = 0;

	fill(sent, segs * bytes, 3);
	cr_assert_eq(setsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &segsz, sizeof(segsz)), 0);
	cr_assert_eq(send(fd, sent, segs * bytes, 0), (ssize_t)(segs * bytes), "%s: %s", what,
		strerror(errno));
	cr_assert_eq(setsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &off, sizeof(off)), 0);
	for (unsigned i = 0; i < segs; i++) {
		ssize_t n = recv(fd, got, sizeof(got), 0);

		cr_assert_eq(n, (ssize_t)bytes, "%s: datagram %u: %zd bytes: %s", what, i, n,
			strerror(errno));
		cr_assert_eq(memcmp(sent + i * bytes, got, bytes), 0, "%s: datagram %u differs",
			what, i);
	}
}

void
gw_tcp_echo(int fd, size_t bytes, const char *what)
{
	static uint8_t buf[65536], want[65536];
	size_t sent = 0, got = 0;

	while (got < bytes) {
		/* The responder knows no window: never more under way than the smallest takes. */
		const size_t room = TCP_UNDER_WAY - (sent - got);
		const bool may_send = sent < bytes && room > 0;
		struct pollfd pfd = {.fd = fd, .events = (short)(POLLIN | (may_send ? POLLOUT : 0))};
		ssize_t n;

		cr_assert_eq(poll(&pfd, 1, 5000), 1, "%s: stuck after %zu bytes", what, got);
		if (pfd.revents & POLLIN) {
			n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);
			cr_assert_gt(n, 0, "%s: after %zu bytes: %s", what, got,
				strerror(errno));
			fill(want, (size_t)n, got);
			cr_assert_eq(memcmp(buf, want, (size_t)n), 0, "%s: differs after %zu",
				what, got);
			got += (size_t)n;
		} else {
			size_t chunk = bytes - sent < room ? bytes - sent : room;

			fill(buf, chunk, sent);
			n = send(fd, buf, chunk, MSG_DONTWAIT | MSG_NOSIGNAL);
			cr_assert_gt(n, 0, "%s: %s", what, strerror(errno));
			sent += (size_t)n;
		}
	}
}

char *
gw_snapshot(void)
{
	return world_output(
		"tc qdisc show; for d in $(ls /sys/class/net 2>/dev/null; ip -o link | "
		"sed 's/^[0-9]*: \\([^:@]*\\).*/\\1/'); do echo \"== $d\"; "
		"tc filter show dev $d ingress 2>/dev/null; tc filter show dev $d egress "
		"2>/dev/null; done | sed 's/ id [0-9]*.*//'; "
		"sysctl -a 2>/dev/null | grep 'net.ipv4.conf\\|net.ipv6.conf'");
}
