/* SPDX-License-Identifier: Apache-2.0 */
/* Echo, and errors: about what, what they quote, and how many. */
#include <criterion/criterion.h>
#include <string.h>

#include "dataplane/cksum.h"
#include "tests/net/world.h"

static struct nw *w;

static void
open_world(void)
{
	w = nw_new(false);
	/* Everybody that is answered is known. */
	nw_arp(w, 0, 1, nw_peer, "192.0.2.9", nw_all, "192.0.2.1");
	nw_in_icmp6(w, 0, "3333ff000001 02005e000010 86dd 60000000 0000 3a ff 20010db8000000000000000000000009"
		"ff0200000000000000000001ff000001 87000000 00000000 20010db8000000000000000000000001 0101 02005e000010");
	nw_forget(w);
}

static void
close_world(void)
{
	nw_free(w);
}

TestSuite(icmp, .init = open_world, .fini = close_world);

#define TO_US   "020000000001 02005e000010 "
#define FROM_US "02005e000010 020000000001 "
#define OUR4    "c0000201 "
#define PEER4   "c0000209 "
#define OUR6    "20010db8000000000000000000000001 "
#define PEER6   "20010db8000000000000000000000009 "
#define ECHO    "0800 4500001e 12340000 4001e4a0 " PEER4 OUR4 "0800 8f93 0001 0002 6869 "

Test(icmp, echo_request_answered)
{
	/* The frame's padding is not sent back. */
	cr_assert_not(nw_in_hex(w, 0, TO_US ECHO "0000 0000 0000 0000 0000 0000 0000 0000"));
	nw_expect_hex(w, 0, FROM_US "0800 4500001e 00004000 4001b6d4 " OUR4 PEER4 "0000 9793 0001 0002 6869");
	cr_assert_eq(qp_net_counters(w->net)->echo_replies, 1);
}

Test(icmp, echo_with_options_answered_without)
{
	nw_in_hex(w, 0, TO_US "0800 46000022 12340000 40014f98 " PEER4 OUR4 "94040000 0800 8f93 0001 0002 6869 ");
	nw_expect_hex(w, 0, FROM_US "0800 4500001e 00004000 4001b6d4 " OUR4 PEER4 "0000 9793 0001 0002 6869");
}

Test(icmp, echo_with_wrong_sum_dropped)
{
	nw_in_hex(w, 0, TO_US "0800 4500001e 12340000 4001e4a0 " PEER4 OUR4 "0800 8f92 0001 0002 6869");
	nw_in_hex(w, 0, TO_US "0800 4500001e 12340000 4001e4a1 " PEER4 OUR4 "0800 8f93 0001 0002 6869");
	nw_expect_none(w);
	cr_assert_eq(qp_net_counters(w->net)->drop_icmp, 2);
}

Test(icmp, jumbo_echo_answered_in_its_chain)
{
	static uint8_t frame[14 + 9000];
	struct rte_mbuf *m;
	unsigned port;

	nw_arp(w, 1, 1, nw_peer, "198.51.100.9", nw_all, "198.51.100.1");
	nw_forget(w);
	/* No payload but zeros: the sums are those of the headers. */
	nw_hex("020000000002 02005e000010 0800 45002328 00000000 40010364 c6336409 c6336401 0800 f7fc 0001 0002",
		frame, sizeof(frame));
	nw_in(w, 1, frame, sizeof(frame));
	m = nw_take(w, &port);
	cr_assert_not_null(m);
	cr_assert_eq(port, 1);
	cr_assert_eq(m->pkt_len, sizeof(frame));
	cr_assert_gt(m->nb_segs, 1);
	rte_pktmbuf_free(m);
}

static unsigned given_back;

static void
give_back(void *addr, void *ctx)
{
	(void)addr;
	(void)ctx;
	given_back++;
}

/* Some devices receive into memory of their own (mlx5's multi-packet queues): it goes back to them. */
Test(icmp, echo_in_a_devices_buffer_answered_and_the_buffer_given_back)
{
	static uint8_t buffer[2048];
	struct rte_mbuf_ext_shared_info shared = {.free_cb = give_back};
	struct rte_mbuf *m = rte_pktmbuf_alloc(w->pool);
	uint8_t frame[64];
	const unsigned len = nw_hex(TO_US ECHO, frame, sizeof(frame));

	given_back = 0;
	rte_mbuf_ext_refcnt_set(&shared, 1);
	rte_pktmbuf_attach_extbuf(m, buffer, RTE_BAD_IOVA, sizeof(buffer), &shared);
	rte_pktmbuf_reset_headroom(m);
	memcpy(rte_pktmbuf_append(m, (uint16_t)len), frame, len);
	cr_assert_eq(qp_net_input(w->net, 0, m, &w->info), QP_NET_CONSUMED);
	nw_expect_hex(w, 0, FROM_US "0800 4500001e 00004000 4001b6d4 " OUR4 PEER4 "0000 9793 0001 0002 6869");
	cr_assert_eq(given_back, 1);
}

Test(icmp, echoes_beyond_the_rate_unanswered)
{
	unsigned n = 0;

	for (unsigned i = 0; i < 5000; i++) {
		nw_in_hex(w, 0, TO_US ECHO);
		n += w->nsent;
		nw_forget(w);
	}
	cr_assert_eq(n, w->cfg.echo_rate / 5);
	cr_assert_eq(qp_net_counters(w->net)->echo_limited, 5000 - n);
	nw_advance_ms(w, 10);
	nw_in_hex(w, 0, TO_US ECHO);
	cr_assert_eq(w->nsent, 1);
}

Test(icmp, echo_replies_and_router_types_dropped)
{
	nw_in_hex(w, 0, TO_US "0800 4500001e 12340000 4001e4a0 " PEER4 OUR4 "0000 9793 0001 0002 6869");
	nw_in_icmp6(w, 0, TO_US "86dd 60000000 0000 3a ff " PEER6 OUR6 "81000000 00010002");
	nw_in_icmp6(w, 0, TO_US "86dd 60000000 0000 3a ff " PEER6 OUR6 "89000000 00000000 " PEER6 PEER6); /* redirect */
	nw_expect_none(w);
	cr_assert_eq(qp_net_counters(w->net)->drop_icmp, 3);
}

Test(icmp, errors_go_up)
{
	/* Fragmentation needed, 1400 bytes. */
	cr_assert(nw_in_hex(w, 0, TO_US "0800 45000038 00000000 4001f6ba " PEER4 OUR4
		"0304 de0d 00000578 4500001c 00000000 40110000 " OUR4 PEER4 "1000 0035 0008 0000"));
	cr_assert_eq(w->info.proto, IPPROTO_ICMP);
	cr_assert(nw_in_icmp6(w, 0, TO_US "86dd 60000000 0000 3a ff " PEER6 OUR6
		"02000000 00000578 60000000 0008 11 40 " OUR6 PEER6 "1000 0035 0008 0000"));
	cr_assert_eq(w->info.proto, IPPROTO_ICMPV6);
	nw_expect_none(w);
}

static void
closed_port(const char *hex)
{
	uint8_t frame[2048];
	struct rte_mbuf *m = nw_frame(w, frame, nw_hex(hex, frame, sizeof(frame)));

	cr_assert_eq(qp_net_input(w->net, 0, m, &w->info), QP_NET_UP);
	qp_net_port_unreachable(w->net, 0, m);
}

#define UDP4 "0800 4500001d 00000000 4011f6c5 " PEER4 OUR4 "1000 0035 0009 0000 58"
#define UDP6 "86dd 60000000 0009 11 40 " PEER6 OUR6 "1000 0035 0009 3c2b 58"

Test(icmp, closed_port_told_of_with_the_packet)
{
	const uint8_t *p;
	struct rte_mbuf *m;
	uint8_t quote[64];
	unsigned n;

	closed_port(TO_US UDP4);
	m = nw_take(w, NULL);
	cr_assert_not_null(m);
	p = rte_pktmbuf_mtod(m, const uint8_t *);
	cr_assert_eq(m->pkt_len, 14 + 20 + 8 + 29);
	cr_assert(p[23] == 1 && p[34] == 3 && p[35] == 3);
	n = nw_hex(UDP4, quote, sizeof(quote)) - 2;
	cr_assert_eq(memcmp(p + 42, quote + 2, n), 0);
	cr_assert_eq(qp_cksum_chain(m, 34, m->pkt_len - 34), 0xffff);
	rte_pktmbuf_free(m);
	closed_port(TO_US UDP6);
	m = nw_take(w, NULL);
	cr_assert_not_null(m);
	p = rte_pktmbuf_mtod(m, const uint8_t *);
	cr_assert_eq(m->pkt_len, 14 + 40 + 8 + 49);
	cr_assert(p[20] == 58 && p[54] == 1 && p[55] == 4);
	rte_pktmbuf_free(m);
	cr_assert_eq(qp_net_counters(w->net)->errors_sent, 2);
	cr_assert_eq(qp_net_counters(w->net)->drop_no_port, 2);
}

Test(icmp, long_datagram_quoted_in_part)
{
	static uint8_t frame[1514];
	struct rte_mbuf *m;

	/* No checksum (RFC 768); the header's is right. */
	nw_hex(TO_US "0800 450005dc 00000000 4011f106 " PEER4 OUR4 "1000 0035 05c8 0000", frame, sizeof(frame));
	m = nw_frame(w, frame, sizeof(frame));
	cr_assert_eq(qp_net_input(w->net, 0, m, &w->info), QP_NET_UP);
	qp_net_port_unreachable(w->net, 0, m);
	m = nw_take(w, NULL);
	cr_assert_not_null(m);
	cr_assert_eq(m->pkt_len, 14 + 576);
	rte_pktmbuf_free(m);
}

Test(icmp, datagram_with_a_wrong_sum_not_answered)
{
	closed_port(TO_US "86dd 60000000 0009 11 40 " PEER6 OUR6 "1000 0035 0009 3c2c 58");
	nw_expect_none(w);
	cr_assert_eq(qp_net_counters(w->net)->drop_no_port, 1);
}

Test(icmp, errors_beyond_the_rate_not_sent)
{
	unsigned n = 0, second;

	for (unsigned i = 0; i < 1000; i++) {
		closed_port(TO_US UDP4);
		n += w->nsent;
		nw_forget(w);
	}
	/* A burst of a fifth of a second's; each costs up to twice. */
	cr_assert(n <= w->cfg.error_rate / 5 && n >= w->cfg.error_rate / 10);
	cr_assert_eq(qp_net_counters(w->net)->errors_limited, 1000 - n);
	second = 0;
	for (unsigned i = 0; i < 1000; i++) {
		nw_advance_ms(w, 1);
		closed_port(TO_US UDP4);
		second += w->nsent;
		nw_forget(w);
	}
	cr_assert(second <= w->cfg.error_rate && second >= w->cfg.error_rate / 2);
}

Test(icmp, protocol_that_is_not_spoken_told_of)
{
	struct rte_mbuf *m;
	const uint8_t *p;

	cr_assert_not(nw_in_hex(w, 0, TO_US "0800 4500001c 00000000 402ff6a8 " PEER4 OUR4 "00000800 00000000"));
	m = nw_take(w, NULL);
	cr_assert_not_null(m);
	p = rte_pktmbuf_mtod(m, const uint8_t *);
	cr_assert(p[34] == 3 && p[35] == 2);
	rte_pktmbuf_free(m);
	/* Behind destination options: the pointer is at their next header. */
	cr_assert_not(nw_in_hex(w, 0, TO_US "86dd 60000000 0010 3c 40 " PEER6 OUR6 "2f00 0104 00000000 00000800 00000000"));
	m = nw_take(w, NULL);
	cr_assert_not_null(m);
	p = rte_pktmbuf_mtod(m, const uint8_t *);
	cr_assert(p[54] == 4 && p[55] == 1 && p[61] == 40);
	rte_pktmbuf_free(m);
	/* Nothing behind it is no question. */
	cr_assert_not(nw_in_hex(w, 0, TO_US "86dd 60000000 0000 3b 40 " PEER6 OUR6));
	nw_expect_none(w);
	cr_assert_eq(qp_net_counters(w->net)->drop_protocol, 3);
}
