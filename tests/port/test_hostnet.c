/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Host mode on the real kernel: the classifier, its maps and the host port,
 * reached by ordinary sockets from this host and from another one.
 */
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
