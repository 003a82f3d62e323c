/* SPDX-License-Identifier: Apache-2.0 */
/* ARP, and what the state of a neighbour means for frames to it. */
#include <criterion/criterion.h>
#include <string.h>

#include "tests/net/world.h"

#define REQUEST 1u
#define REPLY   2u

#define ASK_9                                                                                      \
	"ffffffffffff 020000000001 0806 0001 0800 06 04 0001 020000000001 c0000201 000000000000 "  \
	"c0000209 000000000000000000000000000000000000"

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

TestSuite(arp, .init = open_world, .fini = close_world);

static void
answer_9(void)
{
	nw_arp(w, 0, REPLY, nw_peer, "192.0.2.9", nw_mac[0], "192.0.2.1");
}

static void
expect_to(const uint8_t mac[6])
{
	unsigned port;
	struct rte_mbuf *m = nw_take(w, &port);

	cr_assert_not_null(m);
	cr_assert_eq(port, 0);
	cr_assert_eq(memcmp(rte_pktmbuf_mtod(m, uint8_t *), mac, 6), 0);
	cr_assert_eq(memcmp(rte_pktmbuf_mtod(m, uint8_t *) + 6, nw_mac[0], 6), 0);
	rte_pktmbuf_free(m);
}

Test(arp, request_for_ours_answered)
{
	cr_assert_not(nw_in_hex(w, 0,
		"ffffffffffff 02005e000010 0806 0001 0800 06 04 0001 02005e000010 c0000209 000000000000 c0000201"));
	nw_expect_hex(w, 0,
		"02005e000010 020000000001 0806 0001 0800 06 04 0002 020000000001 c0000201 02005e000010 "
		"c0000209 000000000000000000000000000000000000");
	cr_assert_eq(nw_state(w, "192.0.2.9"), QP_NEIGH_STALE);
}

Test(arp, request_for_another_or_by_another_port_silent)
{
	nw_arp(w, 0, REQUEST, nw_peer, "192.0.2.9", nw_all, "192.0.2.2");
	nw_arp(w, 0, REQUEST, nw_peer, "192.0.2.9", nw_all, "198.51.100.1");
	nw_expect_none(w);
	cr_assert_eq(qp_net_counters(w->net)->drop_arp, 2);
	cr_assert_eq(qp_net_counters(w->net)->neighbours, NW_ROUTERS); /* nobody was heard */
}

Test(arp, probe_answered_and_not_learned)
{
	nw_arp(w, 0, REQUEST, nw_peer, "0.0.0.0", nw_all, "192.0.2.1");
	expect_to(nw_peer);
	nw_expect_none(w);
	cr_assert_eq(qp_net_counters(w->net)->drop_martian, 0);
}

Test(arp, malformed_counted)
{
	nw_in_hex(w, 0, "ffffffffffff 02005e000010 0806 0001 0800 06 04 0001 02005e000010");
	nw_in_hex(w, 0, /* hardware type */
		"ffffffffffff 02005e000010 0806 0006 0800 06 04 0001 02005e000010 c0000209 000000000000 c0000201");
	nw_in_hex(w, 0, /* sender's MAC is a group's */
		"ffffffffffff 02005e000010 0806 0001 0800 06 04 0001 01005e000010 c0000209 000000000000 c0000201");
	nw_in_hex(w, 0, /* operation */
		"ffffffffffff 02005e000010 0806 0001 0800 06 04 0003 02005e000010 c0000209 000000000000 c0000201");
	cr_assert_eq(qp_net_counters(w->net)->drop_arp, 4);
	nw_expect_none(w);
}

Test(arp, frame_to_unknown_waits_for_the_answer)
{
	nw_out(w, "192.0.2.1", "192.0.2.9", 10, 0);
	nw_expect_hex(w, 0, ASK_9);
	nw_out(w, "192.0.2.1", "192.0.2.9", 11, 0);
	nw_expect_none(w);
	answer_9();
	expect_to(nw_peer);
	expect_to(nw_peer);
	cr_assert_eq(nw_state(w, "192.0.2.9"), QP_NEIGH_REACHABLE);
	nw_out(w, "192.0.2.1", "192.0.2.9", 12, 0);
	expect_to(nw_peer);
}

Test(arp, three_requests_then_frames_dropped)
{
	nw_out(w, "192.0.2.1", "192.0.2.9", 10, 0);
	nw_expect_hex(w, 0, ASK_9);
	nw_advance_ms(w, 1001);
	nw_expect_hex(w, 0, ASK_9);
	nw_advance_ms(w, 1001);
	nw_expect_hex(w, 0, ASK_9);
	cr_assert_eq(qp_net_counters(w->net)->held, 1);
	nw_advance_ms(w, 1001);
	nw_expect_none(w);
	cr_assert_eq(qp_net_counters(w->net)->held, 0);
	cr_assert_eq(qp_net_counters(w->net)->drop_unresolved, 1);
	cr_assert_eq(qp_net_counters(w->net)->neighbours_failed, 1);
	cr_assert_eq(qp_net_counters(w->net)->neighbours, NW_ROUTERS);
}

Test(arp, newest_of_many_waiting_frames_kept)
{
	struct rte_mbuf *m;

	for (unsigned i = 0; i < 5; i++)
		nw_out(w, "192.0.2.1", "192.0.2.9", i, 0);
	nw_expect_hex(w, 0, ASK_9);
	cr_assert_eq(qp_net_counters(w->net)->drop_held, 2);
	answer_9();
	for (unsigned i = 2; i < 5; i++) {
		m = nw_take(w, NULL);
		cr_assert_eq(m->pkt_len, 14 + 20 + 8 + i);
		rte_pktmbuf_free(m);
	}
}

Test(arp, stale_neighbour_probed_by_unicast_while_frames_go_on)
{
	nw_out(w, "192.0.2.1", "192.0.2.9", 10, 0);
	answer_9();
	nw_forget(w);
	nw_advance_ms(w, 46000); /* one and a half times the base */
	nw_out(w, "192.0.2.1", "192.0.2.9", 10, 0);
	expect_to(nw_peer);
	cr_assert_eq(nw_state(w, "192.0.2.9"), QP_NEIGH_DELAY);
	nw_advance_ms(w, 5001);
	expect_to(nw_peer); /* the probe */
	cr_assert_eq(nw_state(w, "192.0.2.9"), QP_NEIGH_PROBE);
	nw_out(w, "192.0.2.1", "192.0.2.9", 10, 0);
	expect_to(nw_peer);
	answer_9();
	cr_assert_eq(nw_state(w, "192.0.2.9"), QP_NEIGH_REACHABLE);
	nw_advance_ms(w, 10000);
	nw_expect_none(w);
}

Test(arp, probes_without_answer_end_it)
{
	nw_out(w, "192.0.2.1", "192.0.2.9", 10, 0);
	answer_9();
	nw_advance_ms(w, 46000);
	nw_out(w, "192.0.2.1", "192.0.2.9", 10, 0);
	nw_advance_ms(w, 5000 + 3010);
	nw_forget(w);
	cr_assert_eq(nw_state(w, "192.0.2.9"), QP_NEIGH_NONE);
	nw_out(w, "192.0.2.1", "192.0.2.9", 10, 0);
	nw_expect_hex(w, 0, ASK_9);
}

Test(arp, gratuitous_moves_a_known_neighbour)
{
	nw_out(w, "192.0.2.1", "192.0.2.9", 10, 0);
	answer_9();
	nw_forget(w);
	nw_arp(w, 0, REQUEST, nw_other, "192.0.2.9", nw_all, "192.0.2.9");
	cr_assert_eq(qp_net_counters(w->net)->neighbours_moved, 1);
	nw_out(w, "192.0.2.1", "192.0.2.9", 10, 0);
	expect_to(nw_other);
	cr_assert_eq(nw_state(w, "192.0.2.9"), QP_NEIGH_DELAY);
}

Test(arp, gratuitous_of_an_unknown_one_not_entered)
{
	nw_arp(w, 0, REQUEST, nw_other, "192.0.2.9", nw_all, "192.0.2.9");
	nw_arp(w, 0, REPLY, nw_other, "192.0.2.8", nw_mac[0], "192.0.2.1");
	cr_assert_eq(qp_net_counters(w->net)->neighbours, NW_ROUTERS);
}

Test(arp, claim_of_our_address_is_a_conflict)
{
	nw_arp(w, 0, REQUEST, nw_other, "192.0.2.1", nw_all, "192.0.2.1");
	cr_assert_eq(qp_net_counters(w->net)->conflicts, 1);
	cr_assert_eq(qp_net_counters(w->net)->neighbours, NW_ROUTERS);
}

Test(arp, sender_off_the_link_answered_not_entered)
{
	nw_arp(w, 0, REQUEST, nw_other, "203.0.113.7", nw_all, "192.0.2.1");
	cr_assert_eq(w->nsent, 1);
	cr_assert_eq(qp_net_counters(w->net)->neighbours, NW_ROUTERS);
}

Test(arp, far_destination_goes_by_the_gateway)
{
	nw_out(w, "192.0.2.1", "203.0.113.7", 10, 0);
	nw_expect_hex(w, 0,
		"ffffffffffff 020000000001 0806 0001 0800 06 04 0001 020000000001 c0000201 000000000000 "
		"c00002fe 000000000000000000000000000000000000");
	nw_arp(w, 0, REPLY, nw_other, "192.0.2.254", nw_mac[0], "192.0.2.1");
	expect_to(nw_other);
	nw_out(w, "192.0.2.1", "203.0.113.8", 10, 0);
	expect_to(nw_other);
}

Test(arp, lost_gateway_stays_and_is_asked_for_again)
{
	for (unsigned i = 0; i < 2; i++) {
		nw_out(w, "192.0.2.1", "203.0.113.7", 10, 0);
		cr_assert_eq(w->nsent, 1);
		nw_advance_ms(w, 3010);
		cr_assert_eq(w->nsent, 3);
		nw_forget(w);
	}
	cr_assert_eq(qp_net_counters(w->net)->drop_unresolved, 2);
	cr_assert_eq(qp_net_counters(w->net)->neighbours, NW_ROUTERS);
}

Test(arp, announced_twice_after_a_probe)
{
	/* IPv6's are another test's. */
	w->conf.addr[1] = w->conf.addr[2];
	w->conf.naddrs = 2;
	nw_configure(w, false);
	qp_net_announce(w->net);
	nw_expect_hex(w, 0,
		"ffffffffffff 020000000001 0806 0001 0800 06 04 0001 020000000001 00000000 000000000000 "
		"c0000201 000000000000000000000000000000000000");
	nw_expect_hex(w, 1,
		"ffffffffffff 020000000002 0806 0001 0800 06 04 0001 020000000002 00000000 000000000000 "
		"c6336401 000000000000000000000000000000000000");
	for (unsigned i = 0; i < 2; i++) {
		nw_expect_hex(w, 0,
			"ffffffffffff 020000000001 0806 0001 0800 06 04 0001 020000000001 c0000201 000000000000 "
			"c0000201 000000000000000000000000000000000000");
		nw_expect_hex(w, 1,
			"ffffffffffff 020000000002 0806 0001 0800 06 04 0001 020000000002 c6336401 000000000000 "
			"c6336401 000000000000000000000000000000000000");
		nw_expect_none(w);
		nw_advance_ms(w, 2100);
	}
	nw_advance_ms(w, 10000);
	nw_expect_none(w);
}
