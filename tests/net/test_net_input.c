/* SPDX-License-Identifier: Apache-2.0 */
/* Which frames go up, and what for the others are dropped. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <stddef.h>
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

TestSuite(input, .init = open_world, .fini = close_world);

#define TO_US "020000000001 02005e000010 "
#define UDP   "0035 1000 0008 0000"
#define V4(source, dest)  "0800 4500001c 00000000 4011 0000 " source dest UDP
#define V6(source, dest)  "86dd 60000000 0008 11 40 " source dest UDP
#define OUR4  "c0000201 "
#define PEER4 "c0000209 "
#define OUR6  "20010db8000000000000000000000001 "
#define PEER6 "20010db8000000000000000000000009 "

Test(input, udp_to_ours_goes_up)
{
	cr_assert(nw_in_hex(w, 0, TO_US V4(PEER4, OUR4)));
	cr_assert(w->info.v4 && !w->info.fragment);
	cr_assert_eq(w->info.proto, IPPROTO_UDP);
	cr_assert_eq(w->info.l4_off, 34);
	cr_assert_eq(w->info.addr, 0);
	cr_assert_eq(w->info.mtu, 1500);
	cr_assert(nw_in_hex(w, 0, TO_US V6(PEER6, OUR6)));
	cr_assert(!w->info.v4 && !w->info.fragment);
	cr_assert_eq(w->info.l4_off, 54);
	cr_assert_eq(w->info.addr, 1);
	cr_assert_eq(qp_net_counters(w->net)->up, 2);
}

Test(input, other_ports_address_goes_up_too)
{
	cr_assert(nw_in_hex(w, 0, TO_US V4(PEER4, "c6336401 ")));
	cr_assert_eq(w->info.addr, 2);
}

Test(input, options_and_headers_skipped)
{
	/* Router alert and padding. */
	cr_assert(nw_in_hex(w, 0, TO_US "0800 47000024 00000000 4011 0000 " PEER4 OUR4 "94040000 01010100" UDP));
	cr_assert_eq(w->info.l4_off, 42);
	cr_assert(nw_in_hex(w, 0, TO_US "86dd 60000000 0018 00 40 " PEER6 OUR6 "3c00 0104 00000000"
		"1100 0104 00000000" UDP));
	cr_assert_eq(w->info.l4_off, 70);
	cr_assert_eq(w->info.proto, IPPROTO_UDP);
}

Test(input, fragments_go_up_as_such)
{
	cr_assert(nw_in_hex(w, 0, TO_US "0800 4500001c 00012000 4011 0000 " PEER4 OUR4 UDP));
	cr_assert(w->info.fragment);
	cr_assert(nw_in_hex(w, 0, TO_US "0800 4500001c 00010003 4011 0000 " PEER4 OUR4 UDP));
	cr_assert(w->info.fragment);
	cr_assert(nw_in_hex(w, 0, TO_US "86dd 60000000 0010 2c 40 " PEER6 OUR6 "1100 0008 00000001" UDP));
	cr_assert(w->info.fragment && w->info.proto == IPPROTO_UDP);
	/* A whole one in a fragment's clothes (RFC 6946). */
	cr_assert(nw_in_hex(w, 0, TO_US "86dd 60000000 0010 2c 40 " PEER6 OUR6 "1100 0000 00000001" UDP));
	cr_assert(!w->info.fragment);
}

struct wrong {
	char frame[400];
	size_t counter;
};

#define COUNTER(name) offsetof(struct qp_net_counters, name)

ParameterizedTestParameters(input, wrong_ones_dropped_for_a_reason)
{
	static struct wrong wrongs[] = {
		{"020000000001 02005e", COUNTER(drop_header)},
		{TO_US "0800 45", COUNTER(drop_header)},
		{TO_US "0800 5500001c 00000000 40110000 " PEER4 OUR4 UDP, COUNTER(drop_header)},
		{TO_US "0800 4400001c 00000000 40110000 " PEER4 OUR4 UDP, COUNTER(drop_header)},
		{TO_US "0800 4500001d 00000000 40110000 " PEER4 OUR4 UDP, COUNTER(drop_header)},
		{TO_US "0800 4f00001c 00000000 40110000 " PEER4 OUR4 UDP, COUNTER(drop_header)},
		{TO_US "86dd 60000000 0009 11 40 " PEER6 OUR6 UDP, COUNTER(drop_header)},
		{TO_US "86dd 60000000 0008 00 40 " PEER6 OUR6 "1101 0000 00000000", COUNTER(drop_options)},
		{"020000000099 02005e000010 " V4(PEER4, OUR4), COUNTER(drop_mac)},
		{"020000000001 020000000001 " V4(PEER4, OUR4), COUNTER(drop_spoofed)},
		{"020000000001 01005e000010 " V4(PEER4, OUR4), COUNTER(drop_spoofed)},
		{"ffffffffffff 02005e000010 " V4(PEER4, OUR4), COUNTER(drop_many)},
		{"ffffffffffff 02005e000010 " V4(PEER4, "c00002ff "), COUNTER(drop_many)},
		{"01005e000001 02005e000010 " V4(PEER4, "e0000001 "), COUNTER(drop_many)},
		{"3333000000fb 02005e000010 " V6(PEER6, "ff0200000000000000000000000000fb "), COUNTER(drop_many)},
		{"333300000001 02005e000010 " V6(PEER6, "ff020000000000000000000000000001 "), COUNTER(drop_many)},
		{TO_US V4(PEER4, "c0000202 "), COUNTER(drop_not_local)},
		{TO_US V4(PEER4, "7f000001 "), COUNTER(drop_not_local)},
		{TO_US V6(PEER6, "20010db8000000000000000000000002 "), COUNTER(drop_not_local)},
		{TO_US V4("00000001 ", OUR4), COUNTER(drop_martian)},
		{TO_US V4("7f000001 ", OUR4), COUNTER(drop_martian)},
		{TO_US V4("e0000001 ", OUR4), COUNTER(drop_martian)},
		{TO_US V4("f0000001 ", OUR4), COUNTER(drop_martian)},
		{TO_US V4("ffffffff ", OUR4), COUNTER(drop_martian)},
		{TO_US V4("c00002ff ", OUR4), COUNTER(drop_martian)},
		{TO_US V4("c633647f ", OUR4), COUNTER(drop_martian)}, /* a /25's */
		{TO_US V6("00000000000000000000000000000000 ", OUR6), COUNTER(drop_martian)},
		{TO_US V6("00000000000000000000000000000001 ", OUR6), COUNTER(drop_martian)},
		{TO_US V6("ff020000000000000000000000000001 ", OUR6), COUNTER(drop_martian)},
		{TO_US V4(OUR4, OUR4), COUNTER(drop_spoofed)},
		{TO_US V4("c6336401 ", OUR4), COUNTER(drop_spoofed)},
		{TO_US V6(OUR6, OUR6), COUNTER(drop_spoofed)},
		{TO_US "0800 47000024 00000000 4011 0000 " PEER4 OUR4 "8307 04 01020304 00" UDP, COUNTER(drop_options)},
		{TO_US "0800 46000020 00000000 4011 0000 " PEER4 OUR4 "07010000" UDP, COUNTER(drop_options)},
		{TO_US "88cc 0207040102030405", COUNTER(drop_ethertype)},
		{TO_US "0026 4242030000000000", COUNTER(drop_ethertype)},
		{TO_US "88a8 0001 0800 45", COUNTER(drop_ethertype)},
		{TO_US "8100 0007 " V4(PEER4, OUR4), COUNTER(drop_vlan)},
		{TO_US "8100 00", COUNTER(drop_header)},
		{TO_US "0800 4500001c 00002000 4001 0000 " PEER4 OUR4 UDP, COUNTER(drop_icmp)},
	};

	return cr_make_param_array(struct wrong, wrongs, sizeof(wrongs) / sizeof(wrongs[0]));
}

ParameterizedTest(struct wrong *p, input, wrong_ones_dropped_for_a_reason)
{
	const struct qp_net_counters *c = qp_net_counters(w->net);

	cr_assert_not(nw_in_hex(w, 0, p->frame), "%s went up", p->frame);
	cr_assert_eq(*(const uint64_t *)(const void *)((const char *)c + p->counter), 1, "%s", p->frame);
	cr_assert_eq(c->up, 0);
	nw_expect_none(w);
}

Test(input, unknown_port_dropped)
{
	cr_assert_not(nw_in_hex(w, 7, TO_US V4(PEER4, OUR4)));
	cr_assert_eq(qp_net_counters(w->net)->drop_header, 1);
}

Test(input, priority_tag_accepted_on_untagged_link)
{
	cr_assert(nw_in_hex(w, 0, TO_US "8100 a000 " V4(PEER4, OUR4)));
	cr_assert_eq(w->info.l4_off, 34);
}

static void
tagged(void)
{
	w->conf.link[0].vlan = 7;
	nw_configure(w, false);
}

Test(input, our_tag_taken_off_others_dropped)
{
	struct rte_mbuf *m;
	uint8_t frame[64];

	tagged();
	cr_assert(nw_in_hex(w, 0, TO_US "8100 0007 " V4(PEER4, OUR4)));
	cr_assert_eq(w->info.l4_off, 34);
	cr_assert_not(nw_in_hex(w, 0, TO_US "8100 0008 " V4(PEER4, OUR4)));
	cr_assert_not(nw_in_hex(w, 0, TO_US V4(PEER4, OUR4)));
	cr_assert_not(nw_in_hex(w, 0, TO_US "8100 2000 " V4(PEER4, OUR4)));
	cr_assert_eq(qp_net_counters(w->net)->drop_vlan, 3);
	/* One that the device has taken off. */
	m = nw_frame(w, frame, nw_hex(TO_US V4(PEER4, OUR4), frame, sizeof(frame)));
	m->ol_flags |= RTE_MBUF_F_RX_VLAN | RTE_MBUF_F_RX_VLAN_STRIPPED;
	m->vlan_tci = 0xe007;
	cr_assert_eq(qp_net_input(w->net, 0, m, &w->info), QP_NET_UP);
	rte_pktmbuf_free(m);
}

/* Another network's outer tag, which the device took off, with ours behind it: no way over to ours. */
Test(input, our_tag_behind_one_that_the_device_took_off_dropped)
{
	struct rte_mbuf *m;
	uint8_t frame[64];

	tagged();
	for (uint16_t outer = 8; outer >= 7; outer--) {
		m = nw_frame(w, frame, nw_hex(TO_US "8100 0007 " V4(PEER4, OUR4), frame, sizeof(frame)));
		m->ol_flags |= RTE_MBUF_F_RX_VLAN | RTE_MBUF_F_RX_VLAN_STRIPPED;
		m->vlan_tci = outer;
		cr_assert_eq(qp_net_input(w->net, 0, m, &w->info), QP_NET_CONSUMED);
	}
	cr_assert_eq(qp_net_counters(w->net)->drop_vlan, 1);
	cr_assert_eq(qp_net_counters(w->net)->drop_ethertype, 1);
}

Test(input, answers_have_the_tag)
{
	tagged();
	nw_in_hex(w, 0, "ffffffffffff 02005e000010 8100 0007 0806 0001 0800 06 04 0001 02005e000010 c0000209"
		"000000000000 c0000201");
	nw_expect_hex(w, 0, "02005e000010 020000000001 8100 0007 0806 0001 0800 06 04 0002 020000000001"
		"c0000201 02005e000010 c0000209 000000000000000000000000000000000000");
}

Test(input, device_inserts_the_tag_where_it_can)
{
	struct rte_mbuf *m;

	w->net->port[0].insert_vlan = true;
	tagged();
	nw_in_hex(w, 0, "ffffffffffff 02005e000010 8100 0007 0806 0001 0800 06 04 0001 02005e000010 c0000209"
		"000000000000 c0000201");
	m = nw_take(w, NULL);
	cr_assert_eq(m->pkt_len, 60);
	cr_assert(m->ol_flags & RTE_MBUF_F_TX_VLAN);
	cr_assert_eq(m->vlan_tci, 7);
	rte_pktmbuf_free(m);
}

Test(input, padding_of_a_short_frame_is_no_harm)
{
	uint8_t frame[60] = {0};

	(void)nw_hex(TO_US V4(PEER4, OUR4), frame, sizeof(frame));
	cr_assert(nw_in(w, 0, frame, sizeof(frame)));
}
