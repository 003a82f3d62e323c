/* SPDX-License-Identifier: Apache-2.0 */
/* Neighbour discovery, duplicate addresses, routers and groups. */
#include <criterion/criterion.h>
#include <string.h>

#include "tests/net/world.h"

static struct nw *w;

static void
open_world(void)
{
	w = nw_new(false);
}

static void
close_world(void)
{
	nw_free(w);
}

TestSuite(ndp, .init = open_world, .fini = close_world);

/* Addresses: ours ::1, the neighbour ::9 on 02:00:5e:00:00:10, the router fe80::fe. */
#define OUR_LL  "fe80000000000000 000000fffe000001 "
#define OUR     "20010db800000000 0000000000000001 "
#define PEER    "20010db800000000 0000000000000009 "
#define ROUTER  "fe80000000000000 00000000000000fe "
#define NOBODY  "0000000000000000 0000000000000000 "
#define NODE_1  "ff02000000000000 00000001ff000001 "
#define NODE_9  "ff02000000000000 00000001ff000009 "
#define NODES   "ff02000000000000 0000000000000001 "
#define TO_US   "020000000001 02005e000010 86dd 60000000 0000 3a ff "
#define TO_NODE "3333ff000001 02005e000010 86dd 60000000 0000 3a ff "
#define TO_NODES "333300000001 02005e000010 86dd 60000000 0000 3a ff "

#define NS_FOR_1 TO_NODE PEER NODE_1 "87000000 00000000 " OUR "0101 02005e000010"
#define NA_OF_9(flags) TO_US PEER OUR "88000000 " flags "000000 " PEER "0201 02005e000010"
#define ASK_9                                                                                      \
	"3333ff000009 020000000001 86dd 60000000 0020 3a ff " OUR NODE_9                           \
	"8700 1c19 00000000 " PEER "0101 020000000001"

static void
expect_to(const uint8_t mac[6])
{
	struct rte_mbuf *m = nw_take(w, NULL);

	cr_assert_not_null(m);
	cr_assert_eq(memcmp(rte_pktmbuf_mtod(m, uint8_t *), mac, 6), 0);
	rte_pktmbuf_free(m);
}

/* Frames of one ICMPv6 type among those that were sent; all are taken. */
static unsigned
sent_of_type(unsigned type)
{
	unsigned n = 0;

	while (w->nsent > 0) {
		struct rte_mbuf *m = nw_take(w, NULL);
		const uint8_t *p = rte_pktmbuf_mtod(m, uint8_t *);

		n += p[12] == 0x86 && p[p[20] == 0 ? 62 : 54] == type;
		rte_pktmbuf_free(m);
	}
	return n;
}

Test(ndp, solicitation_answered_and_its_sender_noted)
{
	cr_assert_not(nw_in_icmp6(w, 0, NS_FOR_1));
	nw_expect_hex(w, 0,
		"02005e000010 020000000001 86dd 60000000 0020 3a ff " OUR PEER
		"8800 8a6c 60000000 " OUR "0201 020000000001");
	cr_assert_eq(nw_state(w, "2001:db8::9"), QP_NEIGH_STALE);
}

Test(ndp, probe_of_another_host_answered_to_all)
{
	cr_assert_not(nw_in_icmp6(w, 0, TO_NODE NOBODY NODE_1 "87000000 00000000 " OUR));
	nw_expect_hex(w, 0,
		"333300000001 020000000001 86dd 60000000 0020 3a ff " OUR NODES
		"8800 f92a 20000000 " OUR "0201 020000000001");
	cr_assert_eq(qp_net_counters(w->net)->neighbours, NW_ROUTERS);
}

Test(ndp, wrong_solicitations_dropped)
{
	/* From beyond the link; code; an option of no length; a group as target; a probe with an address. */
	nw_in_icmp6(w, 0, "3333ff000001 02005e000010 86dd 60000000 0000 3a fe " PEER NODE_1
		"87000000 00000000 " OUR "0101 02005e000010");
	nw_in_icmp6(w, 0, TO_NODE PEER NODE_1 "87010000 00000000 " OUR "0101 02005e000010");
	nw_in_icmp6(w, 0, TO_NODE PEER NODE_1 "87000000 00000000 " OUR "0100 02005e000010");
	nw_in_icmp6(w, 0, TO_NODE PEER NODE_1 "87000000 00000000 " NODES "0101 02005e000010");
	nw_in_icmp6(w, 0, TO_NODE NOBODY NODE_1 "87000000 00000000 " OUR "0101 02005e000010");
	/* The checksum: one that nw_in_icmp6 has not set right. */
	nw_in_hex(w, 0, "3333ff000001 02005e000010 86dd 60000000 0020 3a ff " PEER NODE_1
		"87001234 00000000 " OUR "0101 02005e000010");
	cr_assert_eq(qp_net_counters(w->net)->drop_icmp, 6);
	cr_assert_eq(qp_net_counters(w->net)->neighbours, NW_ROUTERS);
	nw_expect_none(w);
}

Test(ndp, frame_to_unknown_waits_for_the_advertisement)
{
	nw_out(w, "2001:db8::1", "2001:db8::9", 10, 0);
	nw_expect_hex(w, 0, ASK_9);
	nw_in_icmp6(w, 0, NA_OF_9("60"));
	expect_to(nw_peer);
	cr_assert_eq(nw_state(w, "2001:db8::9"), QP_NEIGH_REACHABLE);
}

Test(ndp, advertisement_not_asked_for_enters_nothing)
{
	nw_in_icmp6(w, 0, NA_OF_9("60"));
	cr_assert_eq(qp_net_counters(w->net)->neighbours, NW_ROUTERS);
	nw_in_icmp6(w, 0, TO_NODES PEER NODES "88000000 60000000 " PEER "0201 02005e000010");
	cr_assert_eq(qp_net_counters(w->net)->drop_icmp, 1); /* S to all (RFC 4861, 7.1.2) */
}

Test(ndp, advertisement_without_override_makes_doubtful)
{
	nw_out(w, "2001:db8::1", "2001:db8::9", 10, 0);
	nw_in_icmp6(w, 0, NA_OF_9("60"));
	nw_forget(w);
	nw_in_icmp6(w, 0, TO_US PEER OUR "88000000 40000000 " PEER "0201 02005e000020");
	cr_assert_eq(nw_state(w, "2001:db8::9"), QP_NEIGH_STALE);
	nw_out(w, "2001:db8::1", "2001:db8::9", 10, 0);
	expect_to(nw_peer);
	nw_in_icmp6(w, 0, TO_US PEER OUR "88000000 20000000 " PEER "0201 02005e000020");
	nw_out(w, "2001:db8::1", "2001:db8::9", 10, 0);
	expect_to(nw_other);
}

static void
fresh_address(void)
{
	nw_set_addr(w, 3, "2001:db8::2", 64, 0);
	nw_configure(w, true);
	qp_net_announce(w->net);
}

Test(ndp, fresh_address_silent_for_a_second_then_announced)
{
	fresh_address();
	cr_assert_eq(sent_of_type(135), 1); /* its probe; what was there is advertised at once */
	nw_in_icmp6(w, 0, "3333ff000002 02005e000010 86dd 60000000 0000 3a ff " PEER
		"ff02000000000000 00000001ff000002 87000000 00000000 20010db8000000000000000000000002");
	nw_expect_none(w);
	nw_advance_ms(w, 1100);
	nw_forget(w);
	nw_in_icmp6(w, 0, "3333ff000002 02005e000010 86dd 60000000 0000 3a ff " PEER
		"ff02000000000000 00000001ff000002 87000000 00000000 20010db8000000000000000000000002");
	cr_assert_eq(sent_of_type(136), 1);
	cr_assert_eq(qp_net_counters(w->net)->duplicates, 0);
}

Test(ndp, address_that_another_has_is_not_used)
{
	struct qp_ipaddr two = nw_addr("2001:db8::2");

	fresh_address();
	nw_forget(w);
	nw_in_icmp6(w, 0, TO_NODES "20010db8000000000000000000000002" NODES
		"88000000 20000000 20010db8000000000000000000000002 0201 02005e000010");
	nw_advance_ms(w, 3000);
	cr_assert_eq(qp_net_counters(w->net)->duplicates, 1);
	cr_assert_eq(qp_net_counters(w->net)->conflicts, 1);
	cr_assert_null(qp_net_own_valid(w->net, &two));
	/* It stays so when something else is changed, and goes with it. */
	nw_configure(w, true);
	cr_assert_null(qp_net_own_valid(w->net, &two));
	w->conf.naddrs = 3;
	nw_configure(w, true);
	cr_assert_eq(qp_net_counters(w->net)->duplicates, 0);
}

Test(ndp, address_that_another_has_is_given_up_a_little_later_too)
{
	const char *theirs = "333300000001 02005e000010 86dd 60000000 0000 3a ff 20010db8000000000000000000000002" NODES
		"88000000 20000000 20010db8000000000000000000000002 0201 02005e000010";

	nw_set_addr(w, 3, "2001:db8::2", 64, 0);
	nw_configure(w, true);
	nw_advance_ms(w, 2000);
	qp_net_announce(w->net); /* late: who asks was busy */
	cr_assert_eq(sent_of_type(135), 1);
	nw_in_icmp6(w, 0, theirs);
	cr_assert_eq(qp_net_counters(w->net)->duplicates, 1);
}

Test(ndp, claim_of_an_address_in_use_changes_nothing)
{
	const struct qp_ipaddr ours = nw_addr("2001:db8::1");

	nw_in_icmp6(w, 0, TO_NODES OUR NODES "88000000 20000000 " OUR "0201 02005e000010");
	cr_assert_eq(qp_net_counters(w->net)->conflicts, 1);
	cr_assert_eq(qp_net_counters(w->net)->duplicates, 0);
	cr_assert_not_null(qp_net_own_valid(w->net, &ours));
}

Test(ndp, two_that_begin_at_once_both_give_it_up)
{
	fresh_address();
	nw_in_icmp6(w, 0, "3333ff000002 02005e000010 86dd 60000000 0000 3a ff " NOBODY
		"ff02000000000000 00000001ff000002 87000000 00000000 20010db8000000000000000000000002");
	cr_assert_eq(qp_net_counters(w->net)->duplicates, 1);
}

Test(ndp, takeover_uses_addresses_at_once)
{
	nw_set_addr(w, 3, "2001:db8::2", 64, 0);
	nw_configure(w, false);
	nw_in_icmp6(w, 0, "3333ff000002 02005e000010 86dd 60000000 0000 3a ff " PEER
		"ff02000000000000 00000001ff000002 87000000 00000000 20010db8000000000000000000000002");
	cr_assert_eq(sent_of_type(136), 1);
}

Test(ndp, groups_reported_when_announced_and_when_asked)
{
	qp_net_announce(w->net);
	cr_assert_eq(sent_of_type(143), 1);
	nw_advance_ms(w, 12000);
	nw_forget(w);
	nw_in_icmp6(w, 0, "333300000001 02005e000010 86dd 60000000 0000 3a 01 " ROUTER NODES
		"82000000 03e80000 " NOBODY "027d0000");
	nw_advance_ms(w, 1001);
	cr_assert_eq(w->nsent, 1);
	/* One group: both addresses end in 00:00:01. */
	nw_expect_hex(w, 0,
		"333300000016 020000000001 86dd 60000000 0024 00 01 " OUR_LL
		"ff02000000000000 0000000000000016 3a 00 0502 0000 0100 "
		"8f00 7207 0000 0001 04 00 0000 " NODE_1);
}

#define RA(lifetime, more)                                                                         \
	TO_NODES ROUTER NODES "86000000 40 00 " lifetime " 00000000 00000000 " more

Test(ndp, advertised_router_ignored_unless_asked_for)
{
	nw_in_icmp6(w, 0, RA("0708", "0101 02005e000020"));
	cr_assert_eq(qp_net_counters(w->net)->routers_ignored, 1);
	cr_assert_eq(qp_net_counters(w->net)->neighbours, NW_ROUTERS);
}

static void
accept_ra(void)
{
	w->conf.link[0].accept_ra = 1;
	w->conf.nroutes = 1; /* IPv4's */
	nw_configure(w, false);
}

Test(ndp, advertised_router_is_the_way_as_long_as_it_says)
{
	accept_ra();
	nw_out(w, "2001:db8::1", "2001:db8:ffff::1", 10, 0);
	cr_assert_eq(qp_net_counters(w->net)->drop_no_route, 1);
	nw_in_icmp6(w, 0, RA("0005", "0101 02005e000020 0501 0000 00000514"));
	nw_out(w, "2001:db8::1", "2001:db8:ffff::1", 10, 0);
	expect_to(nw_other);
	cr_assert_eq(qp_net_mtu(w->net, 0, false), 1300);
	cr_assert_eq(qp_net_mtu(w->net, 0, true), 1500);
	nw_advance_ms(w, 5001);
	nw_forget(w);
	nw_out(w, "2001:db8::1", "2001:db8:ffff::1", 10, 0);
	cr_assert_eq(qp_net_counters(w->net)->drop_no_route, 2);
	nw_expect_none(w);
}

Test(ndp, router_that_ends_itself_is_left)
{
	accept_ra();
	nw_in_icmp6(w, 0, RA("0708", "0101 02005e000020"));
	nw_in_icmp6(w, 0, RA("0000", "0101 02005e000020"));
	nw_out(w, "2001:db8::1", "2001:db8:ffff::1", 10, 0);
	cr_assert_eq(qp_net_counters(w->net)->drop_no_route, 1);
	/* And one that says it is none (RFC 4861, 7.2.5). */
	nw_in_icmp6(w, 0, RA("0708", "0101 02005e000020"));
	nw_in_icmp6(w, 0, TO_US ROUTER OUR "88000000 60000000 " ROUTER "0201 02005e000020");
	nw_out(w, "2001:db8::1", "2001:db8:ffff::1", 10, 0);
	cr_assert_eq(qp_net_counters(w->net)->drop_no_route, 2);
}

Test(ndp, router_from_afar_or_off_the_link_ignored)
{
	accept_ra();
	nw_in_icmp6(w, 0, "333300000001 02005e000010 86dd 60000000 0000 3a fe " ROUTER NODES
		"86000000 40 00 0708 00000000 00000000");
	nw_in_icmp6(w, 0, TO_NODES PEER NODES "86000000 40 00 0708 00000000 00000000");
	cr_assert_eq(qp_net_counters(w->net)->routers_heard, 0);
	cr_assert_eq(qp_net_counters(w->net)->drop_icmp, 1);
	cr_assert_eq(qp_net_counters(w->net)->routers_ignored, 1);
}

Test(ndp, better_router_goes_first_and_the_configured_one_before_all)
{
	struct qp_ipaddr far = nw_addr("2001:db8:ffff::1"), low = nw_addr("fe80::fe"), high = nw_addr("fe80::fd");
	const struct qp_net_route *r;

	accept_ra();
	nw_in_icmp6(w, 0, RA("0708", "0101 02005e000020"));
	nw_in_icmp6(w, 0, TO_NODES "fe80000000000000 00000000000000fd" NODES
		"86000000 40 08 0708 00000000 00000000 0101 02005e000010");
	r = qp_net_route_find(w->net, &far, QP_NET_NO_PORT);
	cr_assert(qp_ipaddr_equal(&r->via, &high));
	w->conf.nroutes = 2;
	nw_configure(w, false);
	r = qp_net_route_find(w->net, &far, QP_NET_NO_PORT);
	cr_assert_not(qp_ipaddr_equal(&r->via, &high) || qp_ipaddr_equal(&r->via, &low));
}

Test(ndp, routers_asked_for_until_one_is_heard)
{
	accept_ra();
	qp_net_announce(w->net);
	nw_advance_ms(w, 1001);
	cr_assert_eq(sent_of_type(133), 1);
	nw_advance_ms(w, 4100);
	cr_assert_eq(sent_of_type(133), 1);
	nw_in_icmp6(w, 0, RA("0708", "0101 02005e000020"));
	nw_advance_ms(w, 10000);
	cr_assert_eq(sent_of_type(133), 0);
}

Test(ndp, echo_answered_also_to_all_nodes_and_link_locally)
{
	nw_in_icmp6(w, 0, NS_FOR_1);
	nw_forget(w);
	nw_in_icmp6(w, 0, "020000000001 02005e000010 86dd 60000000 0000 3a 40 " PEER OUR "80000000 00010002 6869");
	nw_expect_hex(w, 0,
		"02005e000010 020000000001 86dd 60000000 000a 3a 40 " OUR PEER "8100 bad2 00010002 6869");
	nw_in_icmp6(w, 0, "333300000001 02005e000010 86dd 60000000 0000 3a 40 " PEER NODES "80000000 00010002 6869");
	nw_expect_hex(w, 0,
		"02005e000010 020000000001 86dd 60000000 000a 3a 40 " OUR PEER "8100 bad2 00010002 6869");
	nw_in_icmp6(w, 1, "020000000002 02005e000010 86dd 60000000 0000 3a 40 "
		"fe800000000000000000000000000009 fe80000000000000000000fffe000002 80000000 00010002 6869");
	cr_assert_eq(qp_net_counters(w->net)->drop_not_local, 1); /* port 1 has no IPv6 */
}
