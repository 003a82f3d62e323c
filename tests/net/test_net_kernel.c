/* SPDX-License-Identifier: Apache-2.0 */
/* The host of dedicated ports with this kernel as its neighbour. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "tests/net/wire.h"

static struct wire *w;

static void
open_wire(void)
{
	w = wire_open(1500);
}

static void
open_jumbo(void)
{
	w = wire_open(9000);
}

static void
close_wire(void)
{
	if (w != NULL)
		wire_close(w);
}

TestSuite(kernel, .init = open_wire, .fini = close_wire, .timeout = 60);
TestSuite(kernel_jumbo, .init = open_jumbo, .fini = close_wire, .timeout = 60);

#define COUNT(name) wire_count(w, offsetof(struct qp_net_counters, name))

Test(kernel, finds_and_pings_us)
{
	cr_assert(wire_ping(WIRE_KERNEL4, WIRE_OUR4, 56));
	cr_assert(wire_prints("lladdr " WIRE_MAC, "ip neigh show " WIRE_OUR4));
	cr_assert(wire_ping(WIRE_KERNEL6, WIRE_OUR6, 56));
	cr_assert(wire_prints("lladdr " WIRE_MAC, "ip neigh show " WIRE_OUR6));
	cr_assert_eq(COUNT(echo_replies), 2);
	cr_assert_eq(COUNT(drop_icmp), 0);
}

Test(kernel, pings_our_link_local_address)
{
	wire_wait_for(!wire_prints("tentative", "ip -6 addr show dev wire0"));
	cr_assert(wire_ping("::", WIRE_OUR_LL "%wire0", 1000));
	/* To all nodes, and from whoever answers. */
	cr_assert(wire_ping("::", "ff02::1%wire0", 100));
}

Test(kernel, longest_packets_come_back)
{
	cr_assert(wire_ping(WIRE_KERNEL4, WIRE_OUR4, 1472));
	cr_assert(wire_ping(WIRE_KERNEL6, WIRE_OUR6, 1452));
}

Test(kernel_jumbo, longest_packets_come_back)
{
	cr_assert(wire_ping(WIRE_KERNEL4, WIRE_OUR4, 8972));
	cr_assert(wire_ping(WIRE_KERNEL6, WIRE_OUR6, 8952));
	cr_assert(wire_ping(WIRE_KERNEL4, WIRE_OUR4, 3001));
}

Test(kernel, probes_find_us_reachable)
{
	cr_assert(wire_ping(WIRE_KERNEL4, WIRE_OUR4, 8));
	cr_assert(wire_ping(WIRE_KERNEL6, WIRE_OUR6, 8));
	/* By unicast, as a neighbour that it knows. */
	cr_assert(wire_run("ip neigh change " WIRE_OUR4 " dev wire0 nud probe"));
	cr_assert(wire_run("ip neigh change " WIRE_OUR6 " dev wire0 nud probe"));
	wire_wait_for(wire_prints("REACHABLE", "ip neigh show " WIRE_OUR4));
	wire_wait_for(wire_prints("REACHABLE", "ip neigh show " WIRE_OUR6));
}

/* A connected socket to a port of ours that is closed. */
static int
refused(int family, const void *to, socklen_t len)
{
	int fd = socket(family, SOCK_DGRAM, 0), err;
	char c;

	cr_assert_eq(connect(fd, to, len), 0);
	cr_assert_eq(send(fd, "x", 1, 0), 1);
	err = recv(fd, &c, 1, 0) < 0 ? errno : 0;
	close(fd);
	return err;
}

Test(kernel, closed_port_is_refused)
{
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = htons(9)};
	struct sockaddr_in6 sin6 = {.sin6_family = AF_INET6, .sin6_port = htons(9)};

	inet_pton(AF_INET, WIRE_OUR4, &sin.sin_addr);
	inet_pton(AF_INET6, WIRE_OUR6, &sin6.sin6_addr);
	cr_assert_eq(refused(AF_INET, &sin, sizeof(sin)), ECONNREFUSED);
	cr_assert_eq(refused(AF_INET6, &sin6, sizeof(sin6)), ECONNREFUSED);
}

/* We know nobody: the datagram waits until the kernel has answered. */
static void
datagram_arrives(const char *from, const char *to)
{
	struct sockaddr_in6 any = {.sin6_family = AF_INET6, .sin6_port = htons(4000)};
	const struct timeval wait = {.tv_sec = 10};
	int fd = socket(AF_INET6, SOCK_DGRAM, 0);
	char in[32];

	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
	cr_assert_eq(bind(fd, (struct sockaddr *)&any, sizeof(any)), 0);
	wire_send(w, from, to, 4000);
	cr_assert_eq(recv(fd, in, sizeof(in), 0), 9);
	cr_assert_eq(memcmp(in, "from here", 9), 0);
	close(fd);
}

Test(kernel, is_found_by_us)
{
	datagram_arrives(WIRE_OUR4, WIRE_KERNEL4);
	datagram_arrives(WIRE_OUR6, WIRE_KERNEL6);
	cr_assert_eq(COUNT(held), 0);
	cr_assert_eq(COUNT(neighbours), 2);
}

Test(kernel, is_the_router_to_what_is_behind_it)
{
	struct qp_nic_route *r = &w->conf.route[0];

	*r = (struct qp_nic_route) {.prefix = 96, .dest.s6_addr = {[10] = 0xff, 0xff}};
	r->via = r->dest;
	inet_pton(AF_INET, WIRE_KERNEL4, r->via.s6_addr + 12);
	w->conf.nroutes = 1;
	wire_configure(w, false);
	cr_assert(wire_run("ip addr add 203.0.113.1/32 dev lo"));
	cr_assert(wire_ping("203.0.113.1", WIRE_OUR4, 56));
	datagram_arrives(WIRE_OUR4, "203.0.113.1");
}

Test(kernel, learns_from_the_announcement_where_we_are_now)
{
	cr_assert(wire_run("ip neigh replace " WIRE_OUR4 " lladdr 02:00:00:00:0a:77 dev wire0 nud stale"));
	cr_assert(wire_run("ip neigh replace " WIRE_OUR6 " lladdr 02:00:00:00:0a:77 dev wire0 nud stale"));
	wire_announce(w);
	wire_wait_for(wire_prints("lladdr " WIRE_MAC, "ip neigh show " WIRE_OUR4));
	wire_wait_for(wire_prints("lladdr " WIRE_MAC, "ip neigh show " WIRE_OUR6));
}

Test(kernel, gives_up_an_address_of_ours)
{
	cr_assert(wire_run("ip addr add " WIRE_OUR6 "/64 dev wire0"));
	wire_wait_for(wire_prints("dadfailed", "ip -6 addr show dev wire0"));
}

Test(kernel, has_the_address_that_we_wanted)
{
	cr_assert(wire_run("ip addr add 2001:db8::2/64 dev wire0 nodad"));
	w->conf.addr[2] = w->conf.addr[1];
	w->conf.addr[2].addr.s6_addr[15] = 2;
	w->conf.naddrs = 3;
	wire_configure(w, true);
	wire_announce(w);
	wire_wait_for(COUNT(duplicates) == 1);
	/* And one of IPv4's is noticed, though it stays in use. */
	cr_assert(wire_run("ip addr add " WIRE_OUR4 "/24 dev wire0"));
	wire_announce(w);
	wire_wait_for(COUNT(conflicts) >= 2);
}

Test(kernel, speaks_with_us_by_a_tag)
{
	w->conf.link[0].vlan = 7;
	wire_configure(w, false);
	if (!wire_run("ip link add link wire0 name wire0.7 type vlan id 7 2>/dev/null"))
		cr_skip_test("this kernel has no VLANs");
	cr_assert(wire_run("ip addr flush dev wire0 && ip link set wire0.7 up && "
			   "ip addr add " WIRE_KERNEL4 "/24 dev wire0.7"));
	cr_assert(wire_ping(WIRE_KERNEL4, WIRE_OUR4, 1472));
	datagram_arrives(WIRE_OUR4, WIRE_KERNEL4);
}
