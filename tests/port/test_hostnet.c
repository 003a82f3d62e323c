/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Host mode on the real kernel: the classifier, its maps and the host port,
 * reached by ordinary sockets from this host and from another one.
 */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "dataplane/port.h"
#include "tests/port/gw.h"

/* Where a client can be, and what it calls the gateway. */
struct place {
	bool at_peer;
	const char *addr;
};

/* `link_local`: room for the two addresses that are only known now. */
static unsigned
places(const struct gw *g, char link_local[2][80], struct place out[8])
{
	snprintf(link_local[0], 80, "%s%%gw0", g->w.gw_link_local);
	snprintf(link_local[1], 80, "%s%%out0", g->w.gw_link_local);
	memcpy(out,
		(struct place[8]) {{false, "127.0.0.1"}, {false, WORLD_GW4}, {false, "::1"},
			{false, WORLD_GW6}, {false, link_local[0]}, {true, WORLD_GW4},
			{true, WORLD_GW6}, {true, link_local[1]}},
		8 * sizeof(*out));
	return 8;
}

static int
connect_from(const struct gw *g, const struct place *p, uint16_t port, int type)
{
	int fd;

	if (p->at_peer)
		world_enter_peer(&g->w);
	fd = gw_connect(p->addr, port, type);
	world_enter_gw(&g->w);
	return fd;
}

Test(hostnet, udp_datagrams_are_answered_everywhere)
{
	char link_local[2][80];
	struct place at[8];
	struct gw g;

	gw_open(&g);
	for (unsigned i = 0, n = places(&g, link_local, at); i < n; i++) {
		int fd = connect_from(&g, &at[i], GW_ECHO_PORT, SOCK_DGRAM);

		gw_udp_echo(fd, 1, at[i].addr);
		gw_udp_echo(fd, 1200, at[i].addr);
		close(fd);
	}
	cr_expect_eq(atomic_load(&g.r.stats.udp), 16);
	cr_expect_eq(atomic_load(&g.r.stats.unverified), 0);
	gw_close(&g);
}

Test(hostnet, udp_super_segments_stay_whole_both_ways)
{
	char link_local[2][80];
	struct place at[8];
	struct gw g;

	gw_open(&g);
	for (unsigned i = 0, n = places(&g, link_local, at); i < n; i++) {
		int fd = connect_from(&g, &at[i], GW_ECHO_PORT, SOCK_DGRAM);
		uint64_t before = atomic_load(&g.r.stats.super);

		gw_udp_gso_echo(fd, 40, 1200, at[i].addr);
		cr_expect_eq(atomic_load(&g.r.stats.super), before + 1,
			"%s: cut into single packets", at[i].addr);
		close(fd);
	}
	cr_expect_eq(atomic_load(&g.r.stats.udp), 8);
	gw_close(&g);
}

Test(hostnet, tcp_connections_work_everywhere_with_super_segments)
{
	char link_local[2][80];
	struct place at[8];
	struct gw g;

	gw_open(&g);
	for (unsigned i = 0, n = places(&g, link_local, at); i < n; i++) {
		int fd = connect_from(&g, &at[i], GW_ECHO_PORT, SOCK_STREAM);

		gw_tcp_echo(fd, 1, at[i].addr);
		gw_tcp_echo(fd, 300000, at[i].addr);
		close(fd);
	}
	cr_expect_gt(atomic_load(&g.r.stats.super), 8);
	cr_expect_gt(atomic_load(&g.r.stats.largest), 9000);
	cr_expect_eq(atomic_load(&g.r.stats.unverified), 0);
	gw_close(&g);
}

/* Whether a source that asks is answered. */
static bool
is_answered(const struct gw *g, bool at_peer, const char *addr)
{
	const struct place p = {at_peer, addr};
	int fd = connect_from(g, &p, GW_ECHO_PORT, SOCK_DGRAM);
	bool answered = gw_udp_answers(fd, "knock", 5, 200);

	close(fd);
	return answered;
}

/* Whether the peer's datagram arrives at a plain socket of the gateway's host. */
static bool
reaches_the_host(const struct gw *g)
{
	const struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(9999)};
	const struct place p = {true, WORLD_GW4};
	const struct timeval patience = {.tv_sec = 5};
	int s = socket(AF_INET, SOCK_DGRAM, 0), fd;
	char buf[8];
	bool got;

	cr_assert_eq(setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
	cr_assert_eq(bind(s, (const struct sockaddr *)&at, sizeof(at)), 0);
	fd = connect_from(g, &p, 9999, SOCK_DGRAM);
	cr_assert_eq(send(fd, "knock", 5, 0), 5);
	got = recv(s, buf, sizeof(buf), 0) == 5;
	close(fd);
	close(s);
	return got;
}

static struct qp_msg_network
network(const char *text, uint8_t prefix)
{
	struct qp_msg_network n = {.prefix = prefix};

	if (inet_pton(AF_INET6, text, n.addr) == 1)
		return n;
	cr_assert_eq(inet_pton(AF_INET, text, n.addr + 12), 1);
	n.addr[10] = n.addr[11] = 0xff;
	n.prefix = (uint8_t)(96 + prefix);
	return n;
}

static unsigned
blocked(const struct gw *g)
{
	struct qp_msg_network at;
	unsigned n = 0;

	for (bool is = qp_hostnet_blocked_next(g->h, NULL, &at); is;
		is = qp_hostnet_blocked_next(g->h, &at, &at))
		n++;
	return n;
}

Test(hostnet, blocked_source_is_dropped_and_counted_until_it_is_let_in)
{
	const struct qp_msg_network one = network(WORLD_PEER4, 32), around = network(WORLD_PEER4, 24),
				    six = network(WORLD_PEER6, 64), bad = {.prefix = 129};
	struct qp_errmsg msg;
	struct gw g;

	gw_open(&g);
	cr_assert(is_answered(&g, true, WORLD_GW4));
	cr_assert_eq(blocked(&g), 0);
	cr_assert_eq(qp_hostnet_block(g.h, &one, &msg), 0, "%s", msg.text);
	cr_assert_eq(qp_hostnet_block(g.h, &one, &msg), 0);
	cr_assert_eq(blocked(&g), 1);
	cr_assert_not(is_answered(&g, true, WORLD_GW4));
	cr_assert_gt(gw_counter(&g, QP_CLS_blocked_drop), 0);
	cr_assert(is_answered(&g, true, WORLD_GW6));
	cr_assert(reaches_the_host(&g), "what is not the gateway's is the kernel's still");
	cr_assert(is_answered(&g, false, WORLD_GW4));
	cr_assert(is_answered(&g, false, "127.0.0.1"));

	cr_assert_eq(qp_hostnet_block(g.h, &around, &msg), 0);
	cr_assert_eq(qp_hostnet_unblock(g.h, &one), 0);
	cr_assert_eq(qp_hostnet_unblock(g.h, &one), QP_E_NOTFOUND);
	cr_assert_not(is_answered(&g, true, WORLD_GW4));
	cr_assert(is_answered(&g, false, WORLD_GW4));
	cr_assert_eq(qp_hostnet_unblock(g.h, &around), 0);
	cr_assert(is_answered(&g, true, WORLD_GW4));

	cr_assert_eq(qp_hostnet_block(g.h, &six, &msg), 0);
	cr_assert_not(is_answered(&g, true, WORLD_GW6));
	cr_assert(is_answered(&g, true, WORLD_GW4));
	cr_assert_eq(qp_hostnet_block(g.h, &bad, &msg), QP_E_INVAL);
	gw_close(&g);
}

Test(hostnet, many_blocked_networks_are_listed_once_each_and_the_last_is_refused)
{
	struct qp_msg_network n = network("100.64.0.0", 32);
	struct qp_errmsg msg;
	struct gw g;

	gw_open(&g);
	for (unsigned i = 0; i < QP_CLS_MAX_BLOCKED; i++) {
		n.addr[14] = (uint8_t)(i >> 8);
		n.addr[15] = (uint8_t)i;
		cr_assert_eq(qp_hostnet_block(g.h, &n, &msg), 0, "%u: %s", i, msg.text);
	}
	cr_assert_eq(blocked(&g), QP_CLS_MAX_BLOCKED);
	n.addr[13]++;
	cr_assert_eq(qp_hostnet_block(g.h, &n, &msg), QP_E_FULL, "%s", msg.text);
	cr_assert(is_answered(&g, true, WORLD_GW4));
	gw_close(&g);
}

Test(hostnet, largest_datagram_of_lo_passes_in_one_frame)
{
	struct gw g;
	int fd;

	gw_open(&g);
	fd = gw_connect("127.0.0.1", GW_ECHO_PORT, SOCK_DGRAM);
	gw_udp_echo(fd, 65507, "127.0.0.1");
	cr_expect_eq(atomic_load(&g.r.stats.largest), 65535 + 14);
	close(fd);
	gw_close(&g);
}

/* Where nobody vouches for checksums, the kernel fills ours in, and the peer verifies them. */
Test(hostnet, checksums_are_right_on_a_wire_without_offloads)
{
	static const char *const addrs[] = {WORLD_GW4, WORLD_GW6};
	const char *off = "tx off tso off gso off gro off tx-udp-segmentation off >/dev/null";
	struct gw g;

	gw_open(&g);
	world_run("ethtool -K gw0 %s", off);
	for (unsigned i = 0; i < 2; i++) {
		const struct place at = {true, addrs[i]};
		int udp = connect_from(&g, &at, GW_ECHO_PORT, SOCK_DGRAM);
		int tcp = connect_from(&g, &at, GW_ECHO_PORT, SOCK_STREAM);

		gw_udp_echo(udp, 1200, addrs[i]);
		gw_udp_gso_echo(udp, 40, 1200, addrs[i]);
		gw_tcp_echo(tcp, 300000, addrs[i]);
		close(udp);
		close(tcp);
	}
	/* Super-segments came in: the port had to send such, too, and the kernel to cut them. */
	cr_expect_gt(atomic_load(&g.r.stats.super), 2);
	gw_close(&g);
}

/* The other way: single packets with real checksums, which the kernel has not looked at. */
Test(hostnet, packets_of_a_peer_without_offloads_are_answered)
{
	const struct place at = {true, WORLD_GW4};
	struct gw g;
	int fd;

	gw_open(&g);
	world_enter_peer(&g.w);
	world_run("ethtool -K out0 tx off tso off gso off tx-udp-segmentation off >/dev/null");
	world_enter_gw(&g.w);
	fd = connect_from(&g, &at, GW_ECHO_PORT, SOCK_DGRAM);
	gw_udp_gso_echo(fd, 10, 1200, "UDP");
	cr_expect_gt(atomic_load(&g.r.stats.unverified), 0, "somebody vouches for them after all");
	close(fd);
	fd = connect_from(&g, &at, GW_ECHO_PORT, SOCK_STREAM);
	gw_tcp_echo(fd, 100000, "TCP");
	close(fd);
	gw_close(&g);
}
