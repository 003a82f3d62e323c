/* SPDX-License-Identifier: Apache-2.0 */
/* The table of neighbours under those who would fill it, routes, sources, two lcores, configuration. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "tests/net/world.h"

#define REQUEST 1u
#define REPLY   2u

static struct nw *w;

static void
open_world(void)
{
	w = nw_new(false);
}

static void
open_twins(void)
{
	w = nw_new(true);
}

static void
close_world(void)
{
	nw_free(w);
}

TestSuite(table, .init = open_world, .fini = close_world);
TestSuite(twins, .init = open_twins, .fini = close_world);

/* Address i of a large network on port 0. */
static const char *
nth(unsigned i)
{
	static char text[32];

	snprintf(text, sizeof(text), "10.0.%u.%u", 1 + i / 250, 1 + i % 250);
	return text;
}

static void
large_network(void)
{
	nw_set_addr(w, 3, "10.0.0.1", 8, 0);
	nw_configure(w, false);
}

/* A neighbour that has answered and that frames go to. */
static void
live(const char *addr, const uint8_t mac[6])
{
	nw_out(w, "192.0.2.1", addr, 10, 0);
	nw_arp(w, 0, REPLY, mac, addr, nw_mac[0], "192.0.2.1");
	nw_forget(w);
	cr_assert_eq(nw_state(w, addr), QP_NEIGH_REACHABLE);
}

Test(table, scan_of_the_network_leaves_live_neighbours_and_routers)
{
	large_network();
	live("192.0.2.9", nw_peer);
	live("192.0.2.254", nw_other);
	for (unsigned i = 0; i < 20000; i++) {
		nw_out(w, "192.0.2.1", nth(i), 10, 0);
		if (i % 5 == 0)
			nw_advance_ms(w, 1);
		nw_forget(w);
	}
	cr_assert_eq(nw_state(w, "192.0.2.9"), QP_NEIGH_REACHABLE);
	cr_assert_eq(nw_state(w, "192.0.2.254"), QP_NEIGH_REACHABLE);
	cr_assert_leq(qp_net_counters(w->net)->neighbours, w->cfg.max_neighbours / 4 + NW_ROUTERS + 2);
	/* 200 a second: four seconds and a first burst. */
	cr_assert_leq(qp_net_counters(w->net)->neighbours_made, 1000);
	cr_assert_gt(qp_net_counters(w->net)->neighbours_limited, 18000);
}

Test(table, chatter_of_many_pushes_out_none_but_its_like)
{
	large_network();
	w->net->heard.rate = 0; /* no limit: all get in */
	live("192.0.2.9", nw_peer);
	for (unsigned i = 0; i < 3000; i++) {
		nw_arp(w, 0, REQUEST, nw_other, nth(i), nw_all, "10.0.0.1");
		nw_forget(w);
	}
	cr_assert_eq(qp_net_counters(w->net)->neighbours, w->cfg.max_neighbours / 4 + NW_ROUTERS + 1);
	cr_assert_eq(nw_state(w, "192.0.2.9"), QP_NEIGH_REACHABLE);
	cr_assert_eq(nw_state(w, nth(2999)), QP_NEIGH_STALE);
	cr_assert_eq(nw_state(w, nth(0)), QP_NEIGH_NONE);
}

Test(table, full_of_neighbours_at_work_refuses_newcomers)
{
	large_network();
	w->net->solicits.rate = 0;
	for (unsigned i = 0; i < w->cfg.max_neighbours - NW_ROUTERS; i++)
		live(nth(i), nw_peer);
	nw_out(w, "192.0.2.1", "192.0.2.9", 10, 0);
	nw_expect_none(w);
	cr_assert_eq(qp_net_counters(w->net)->neighbours_limited, 1);
	cr_assert_eq(qp_net_counters(w->net)->drop_no_neighbour, 1);
	/* After a minute without a packet one gives way. */
	nw_advance_ms(w, 61000);
	nw_out(w, "192.0.2.1", "192.0.2.9", 10, 0);
	cr_assert_eq(w->nsent, 1);
	cr_assert_eq(qp_net_counters(w->net)->neighbours_evicted, 1);
}

Test(table, waiting_frames_bounded_in_all)
{
	large_network();
	w->net->solicits.rate = 0;
	for (unsigned i = 0; i < 200; i++) {
		nw_out(w, "192.0.2.1", nth(i), 10, 0);
		nw_out(w, "192.0.2.1", nth(i), 10, 0);
		nw_forget(w);
	}
	cr_assert_eq(qp_net_counters(w->net)->held, w->cfg.max_held);
	cr_assert_eq(qp_net_counters(w->net)->drop_held, 400 - w->cfg.max_held);
	nw_advance_ms(w, 3100);
	cr_assert_eq(qp_net_counters(w->net)->held, 0);
}

Test(table, longest_prefix_leads_and_the_named_port_among_equals)
{
	struct qp_ipaddr far = nw_addr("203.0.113.7"), near = nw_addr("198.51.100.9"), v6 = nw_addr("2001:db9::1");
	const struct qp_net_route *r;

	nw_set_route(w, 1, "203.0.113.0", 24, "198.51.100.126", 1);
	nw_set_route(w, 2, "0.0.0.0", 0, "198.51.100.125", 1);
	nw_configure(w, false);
	r = qp_net_route_find(w->net, &far, 0);
	cr_assert_eq(r->port, 1);
	cr_assert_eq(r->via.b[15], 126);
	cr_assert_eq(qp_net_route_find(w->net, &near, 0)->port, 1);
	cr_assert(qp_ipaddr_is_zero(&qp_net_route_find(w->net, &near, 0)->via));
	far = nw_addr("8.8.8.8");
	cr_assert_eq(qp_net_route_find(w->net, &far, 0)->port, 0);
	cr_assert_eq(qp_net_route_find(w->net, &far, 1)->port, 1);
	cr_assert_null(qp_net_route_find(w->net, &v6, 0));
}

Test(table, v6_default_route_leads_no_v4)
{
	struct qp_ipaddr far = nw_addr("203.0.113.7");

	w->conf.route[0] = w->conf.route[1];
	w->conf.nroutes = 1;
	nw_configure(w, false);
	cr_assert_null(qp_net_route_find(w->net, &far, 0));
	nw_out(w, "192.0.2.1", "203.0.113.7", 10, 0);
	cr_assert_eq(qp_net_counters(w->net)->drop_no_route, 1);
}

Test(table, frames_to_ourselves_and_to_all_not_sent)
{
	nw_out(w, "192.0.2.1", "192.0.2.1", 10, 0);
	nw_out(w, "192.0.2.1", "192.0.2.255", 10, 0);
	nw_out(w, "192.0.2.1", "255.255.255.255", 10, 0);
	nw_out(w, "192.0.2.1", "127.0.0.1", 10, 0);
	nw_out(w, "2001:db8::1", "ff02::1", 10, 0);
	nw_out(w, "2001:db8::1", "::1", 10, 0);
	nw_expect_none(w);
	cr_assert_eq(qp_net_counters(w->net)->drop_no_route, 6);
}

Test(table, too_large_for_the_link_dropped)
{
	live("192.0.2.9", nw_peer);
	nw_out(w, "192.0.2.1", "192.0.2.9", 1472, 0);
	cr_assert_eq(w->nsent, 1);
	nw_out(w, "192.0.2.1", "192.0.2.9", 1473, 0);
	cr_assert_eq(w->nsent, 1);
	cr_assert_eq(qp_net_counters(w->net)->drop_too_big, 1);
}

static void
expect_source(const char *dest, const char *source, unsigned port)
{
	struct qp_ipaddr d = nw_addr(dest), want = nw_addr(source), got;
	unsigned by;

	cr_assert(qp_net_source(w->net, &d, &got, &by), "%s", dest);
	cr_assert(qp_ipaddr_equal(&got, &want), "%s", dest);
	cr_assert_eq(by, port);
}

Test(table, source_by_network_scope_label_and_prefix)
{
	struct qp_ipaddr none = nw_addr("192.0.2.1"), got;
	unsigned port;

	nw_set_addr(w, 3, "10.0.0.1", 8, 0);
	nw_set_addr(w, 4, "fd00:1::1", 64, 0);
	nw_set_addr(w, 5, "2001:db8:1::1", 64, 0);
	nw_configure(w, false);
	expect_source("192.0.2.9", "192.0.2.1", 0);
	expect_source("10.9.9.9", "10.0.0.1", 0);
	expect_source("203.0.113.7", "192.0.2.1", 0); /* the gateway's network */
	expect_source("198.51.100.9", "198.51.100.1", 1);
	expect_source("2001:db8::9", "2001:db8::1", 0);
	expect_source("2001:db8:1:5::9", "2001:db8:1::1", 0);
	expect_source("fd00:9::9", "fd00:1::1", 0);
	expect_source("fe80::9", "fe80::ff:fe00:1", 0);
	cr_assert_not(qp_net_source(w->net, &none, &got, &port), "to ourselves");
}

Test(table, address_that_is_gone_takes_its_neighbours_along)
{
	live("192.0.2.9", nw_peer);
	nw_set_addr(w, 0, "192.0.3.1", 24, 0);
	nw_configure(w, false);
	cr_assert_eq(nw_state(w, "192.0.2.9"), QP_NEIGH_NONE);
	cr_assert_eq(qp_net_counters(w->net)->neighbours, NW_ROUTERS);
	nw_out(w, "192.0.3.1", "192.0.3.9", 10, 0);
	cr_assert_eq(w->nsent, 1);
}

Test(table, router_that_is_gone_is_a_neighbour_like_others)
{
	live("192.0.2.254", nw_peer);
	w->conf.nroutes = 0;
	nw_configure(w, false);
	cr_assert_eq(nw_state(w, "192.0.2.254"), QP_NEIGH_REACHABLE);
	cr_assert_eq(qp_net_counters(w->net)->neighbours, 1);
	nw_advance_ms(w, 46000);
	nw_out(w, "192.0.2.1", "192.0.2.254", 10, 0);
	nw_advance_ms(w, 9000);
	cr_assert_eq(qp_net_counters(w->net)->neighbours, 0);
}

/* Where a frame to a far destination goes; NULL: nowhere at once. */
static const uint8_t *
way_out(void)
{
	static uint8_t mac[6];
	struct rte_mbuf *m;

	nw_forget(w);
	nw_out(w, "192.0.2.1", "203.0.113.7", 10, 0);
	m = nw_take(w, NULL);
	if (m == NULL)
		return NULL;
	memcpy(mac, rte_pktmbuf_mtod(m, void *), 6);
	rte_pktmbuf_free(m);
	return mac[0] & 1 ? NULL : mac;
}

Test(table, router_that_does_not_answer_gives_way_until_it_does)
{
	nw_set_route(w, 2, "0.0.0.0", 0, "192.0.2.253", 0);
	nw_configure(w, false);
	live("192.0.2.254", nw_peer);
	live("192.0.2.253", nw_other);
	cr_assert_eq(memcmp(way_out(), nw_peer, 6), 0);
	/* Both in doubt; the first one's probes are not answered. */
	nw_advance_ms(w, 46000);
	cr_assert_eq(memcmp(way_out(), nw_peer, 6), 0);
	nw_advance_ms(w, 5000 + 3100);
	cr_assert_eq(memcmp(way_out(), nw_other, 6), 0);
	/* It is asked again by itself, and taken back. */
	nw_forget(w);
	nw_advance_ms(w, 10100);
	cr_assert_geq(w->nsent, 1);
	nw_arp(w, 0, REPLY, nw_peer, "192.0.2.254", nw_mac[0], "192.0.2.1");
	cr_assert_eq(memcmp(way_out(), nw_peer, 6), 0);
}

Test(table, all_routers_dead_the_first_is_asked)
{
	cr_assert_null(way_out());
	nw_advance_ms(w, 3100);
	cr_assert_null(way_out());
	cr_assert_eq(qp_net_counters(w->net)->held, 1);
	nw_arp(w, 0, REPLY, nw_peer, "192.0.2.254", nw_mac[0], "192.0.2.1");
	cr_assert_eq(w->nsent, 1);
}

Test(table, link_that_is_back_makes_neighbours_doubtful)
{
	live("192.0.2.9", nw_peer);
	qp_net_link_up(w->net, 1);
	cr_assert_eq(nw_state(w, "192.0.2.9"), QP_NEIGH_REACHABLE);
	qp_net_link_up(w->net, 0);
	cr_assert_eq(nw_state(w, "192.0.2.9"), QP_NEIGH_STALE);
	nw_out(w, "192.0.2.1", "192.0.2.9", 10, 0);
	cr_assert_eq(nw_state(w, "192.0.2.9"), QP_NEIGH_DELAY);
}

Test(table, configuration_that_is_being_written_waits)
{
	w->conf.seq++;
	w->conf.naddrs = 0;
	cr_assert_not(qp_net_poll_config(w->net, &w->conf, false));
	cr_assert_eq(w->net->nown, 4);
	w->conf.seq++;
	cr_assert(qp_net_poll_config(w->net, &w->conf, false));
	cr_assert_eq(w->net->nown, 0);
	cr_assert_not(qp_net_poll_config(w->net, &w->conf, false));
}

Test(table, nonsense_in_the_configuration_left_out)
{
	w->conf.naddrs = w->conf.nroutes = w->conf.nlinks = 1000000;
	for (unsigned i = 0; i < QP_NIC_MAX_ADDRS; i++)
		w->conf.addr[i] = (struct qp_nic_addr) {.addr.s6_addr = {0x20, [15] = (uint8_t)i}, .prefix = 200, .port = (uint8_t)i};
	for (unsigned i = 0; i < QP_NIC_MAX_ROUTES; i++)
		w->conf.route[i] = (struct qp_nic_route) {.prefix = (uint8_t)(100 + i), .port = (uint8_t)i};
	w->conf.link[0] = (struct qp_nic_link) {.vlan = 0xffff, .mtu = 65535};
	nw_configure(w, false);
	cr_assert_eq(qp_net_mtu(w->net, 0, true), 1500);
	cr_assert_eq(w->net->nown, 0);
}

Test(twins, answer_to_one_reaches_the_other)
{
	const struct qp_ipaddr nine = nw_addr("192.0.2.9");
	struct qp_net *first = w->net;

	/* The twin asks; the answer comes to the first. */
	w->net = w->twin;
	nw_out(w, "192.0.2.1", "192.0.2.9", 10, 0);
	w->net = first;
	cr_assert_eq(w->nsent, 1);
	nw_forget(w);
	nw_arp(w, 0, REPLY, nw_peer, "192.0.2.9", nw_mac[0], "192.0.2.1");
	cr_assert_eq(w->nsent, 1);
	cr_assert_eq(memcmp(rte_pktmbuf_mtod(w->sent[0], void *), nw_peer, 6), 0);
	cr_assert_eq(qp_neigh_find(w->twin, 0, &nine)->state, QP_NEIGH_REACHABLE);
	cr_assert_null(qp_neigh_find(w->net, 0, &nine));
	cr_assert_eq(qp_net_counters(w->net)->replicated, 1);
	cr_assert_eq(qp_net_counters(w->twin)->learned, 1);
}

Test(twins, question_answered_once_and_noted_by_both)
{
	const struct qp_ipaddr nine = nw_addr("192.0.2.9"), six = nw_addr("2001:db8::9");

	nw_arp(w, 0, REQUEST, nw_peer, "192.0.2.9", nw_all, "192.0.2.1");
	nw_in_icmp6(w, 0, "3333ff000001 02005e000010 86dd 60000000 0000 3a ff 20010db8000000000000000000000009"
		"ff0200000000000000000001ff000001 87000000 00000000 20010db8000000000000000000000001 0101 02005e000010");
	cr_assert_eq(w->nsent, 2);
	cr_assert_eq(qp_neigh_find(w->twin, 0, &nine)->state, QP_NEIGH_STALE);
	cr_assert_eq(qp_neigh_find(w->twin, 0, &six)->state, QP_NEIGH_STALE);
}

Test(twins, duplicate_known_to_both)
{
	nw_set_addr(w, 3, "2001:db8::2", 64, 0);
	nw_configure(w, true);
	nw_in_icmp6(w, 0, "333300000001 02005e000010 86dd 60000000 0000 3a ff 20010db8000000000000000000000002"
		"ff020000000000000000000000000001 88000000 20000000 20010db8000000000000000000000002 0201 02005e000010");
	cr_assert_eq(qp_net_counters(w->net)->duplicates, 1);
	cr_assert_eq(qp_net_counters(w->twin)->duplicates, 1);
	cr_assert_eq(qp_net_counters(w->twin)->conflicts, 0);
}

Test(twins, advertised_router_known_to_both)
{
	struct qp_ipaddr far = nw_addr("2001:db9::1");

	w->conf.link[0].accept_ra = 1;
	w->conf.nroutes = 0;
	nw_configure(w, false);
	nw_in_icmp6(w, 0, "333300000001 02005e000010 86dd 60000000 0000 3a ff fe8000000000000000000000000000fe"
		"ff020000000000000000000000000001 86000000 40 00 0708 00000000 00000000 0101 02005e000020");
	cr_assert_not_null(qp_net_route_find(w->twin, &far, 0));
}

Test(twins, flood_of_questions_leaves_room_for_answers)
{
	for (unsigned i = 0; i < 5000; i++) {
		nw_arp(w, 0, REQUEST, nw_other, "192.0.2.7", nw_all, "192.0.2.7");
		nw_forget(w);
	}
	cr_assert_eq(qp_net_counters(w->net)->replicated, w->cfg.replicate_rate / 5);
	cr_assert_eq(qp_net_counters(w->net)->replicate_limited, 5000 - w->cfg.replicate_rate / 5);
	nw_arp(w, 0, REPLY, nw_peer, "192.0.2.9", nw_mac[0], "192.0.2.1");
	cr_assert_eq(qp_net_counters(w->net)->replicated, w->cfg.replicate_rate / 5 + 1);
	nw_arp(w, 0, REQUEST, nw_peer, "192.0.2.254", nw_all, "192.0.2.254"); /* the router */
	cr_assert_eq(qp_net_counters(w->net)->replicated, w->cfg.replicate_rate / 5 + 2);
}
