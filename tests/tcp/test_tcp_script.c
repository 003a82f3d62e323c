/* SPDX-License-Identifier: Apache-2.0 */
/* RFC 9293 and its kin, a situation a test: state_event_outcome. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include <rte_mempool.h>

#include "tests/tcp/script.h"

TestSuite(tcp, .init = script_suite_start);

static struct script t;

#define OPEN() script_open(&t)
#define ESTABLISHED()                                                                              \
	do {                                                                                       \
		script_open(&t);                                                                   \
		script_establish(&t);                                                              \
	} while (0)
#define CLOSE() script_close(&t)

/* Spends the quick ACKs of a new connection: 16 segments of 100 bytes. */
static void
settle(void)
{
	for (int i = 0; i < 16; i++) {
		char s[64];

		snprintf(s, sizeof(s), "A %d+100 ack 1 win 512 ts 101/_", 1 + 100 * i);
		IN(s);
	}
	script_ignore(&t);
	cr_assert(t.received == 1600);
}

/* --- CLOSED: 3.10.7.1 --- */

Test(tcp, closed_syn_is_reset)
{
	OPEN();
	t.port = 81;
	IN("S 0 win 1000 mss 1460");
	OUT("RA 0 ack 1");
	IN("SF 0+10 win 1000");
	OUT("RA 0 ack 12");
	CLOSE();
}

Test(tcp, closed_ack_is_reset_with_its_number)
{
	OPEN();
	t.port = 81;
	IN("A 55+3 ack 777");
	OUT("R 777");
	CLOSE();
}

Test(tcp, closed_rst_is_ignored)
{
	OPEN();
	t.port = 81;
	IN("R 0");
	IN("RA 0 ack 5");
	QUIET();
	CLOSE();
}

/* --- LISTEN: 3.10.7.2 --- */

Test(tcp, listen_rst_is_ignored_ack_is_reset)
{
	OPEN();
	IN("R 0");
	QUIET();
	IN("A 0 ack 999");
	OUT("R 999");
	IN("SA 0 ack 999");
	OUT("R 999");
	cr_expect(t.accepted == 0);
	CLOSE();
}

Test(tcp, listen_syn_answers_with_the_options_that_were_offered)
{
	static const struct {
		const char *syn, *synack;
	} cases[] = {
		{"S 0 win 9000", "SA 0 ack 1 win 65535 mss 1460"},
		{"S 0 win 9000 mss 1200", "SA 0 ack 1 win 65535 mss 1460"},
		{"S 0 win 9000 mss 1200 ws 3", "SA 0 ack 1 win 65535 mss 1460 ws 5"},
		{"S 0 win 9000 mss 1200 sackok", "SA 0 ack 1 win 65535 mss 1460 sackok"},
		{"S 0 win 9000 mss 1200 ts 77/0", "SA 0 ack 1 win 65535 mss 1460 ts 0/77"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		OPEN();
		IN(cases[i].syn);
		OUT(cases[i].synack);
		QUIET();
		CLOSE();
	}
}

Test(tcp, listen_syn_v6_announces_1440)
{
	t.v6 = true;
	OPEN();
	IN("S 0 win 9000 mss 1440");
	OUT("SA 0 ack 1 mss 1440");
	CLOSE();
}

Test(tcp, listen_syn_with_fin_is_dropped)
{
	OPEN();
	IN("SF 0 win 9000 mss 1460");
	QUIET();
	cr_expect(qp_tcp_counters(t.tcp)->drop_bad_segment == 1);
	CLOSE();
}

Test(tcp, listen_syn_with_text_acknowledges_the_syn_alone)
{
	OPEN();
	IN("S 0+100 win 9000 mss 1460");
	OUT("SA 0 ack 1 mss 1460");
	IN("A 1+100 ack 1 win 9000");
	OUT("A 1 ack 101");
	cr_expect(t.received == 100 && !t.wrong);
	CLOSE();
}

Test(tcp, listen_backlog_full_answers_with_a_cookie_that_opens)
{
	script_config(&t.cfg);
	t.cfg.max_conns = 256;
	t.cfg.syn_backlog = 1;
	script_open_cfg(&t);
	t.peer_port = 1111;
	IN("S 0 win 9000 mss 1460");
	OUT("SA 0 ack 1 mss 1460");
	t.peer_port = 2222;
	IN("S 0 win 9000 mss 1380 sackok ts 500/0 ws 9");
	OUT("SA 0 ack 1 mss 1460 sackok ts 0/500 ws 5");
	cr_expect(qp_tcp_counters(t.tcp)->syn_cookies_sent == 1);
	cr_expect(qp_tcp_counters(t.tcp)->conns == 1, "a cookie keeps no state");
	IN("A 1+10 ack 1 win 100 ts 501/_");
	OUT("A 1 ack 11 ts 0/501");
	cr_expect(t.accepted == 1 && t.received == 10);
	cr_expect(qp_tcp_counters(t.tcp)->syn_cookies_ok == 1);
	cr_expect((t.c->flags & (QP_TF_SACK | QP_TF_TS | QP_TF_WSCALE)) ==
		  (QP_TF_SACK | QP_TF_TS | QP_TF_WSCALE));
	cr_expect(t.c->snd_wscale == 9 && t.c->peer_mss == 1380);
	CLOSE();
}

Test(tcp, listen_cookie_wrong_or_old_is_reset)
{
	script_config(&t.cfg);
	t.cfg.max_conns = 256;
	t.cfg.syn_backlog = 0;
	script_open_cfg(&t);
	IN("S 0 win 9000 mss 1460");
	OUT("SA 0 ack 1 mss 1460");
	IN("A 1 ack 2 win 100"); /* one more than the cookie */
	OUT("R 2");
	IN("A 2 ack 1 win 100"); /* not the ISN that the cookie was made for */
	OUT("R 1");
	WAIT_MS(129 * 1000);
	IN("A 1 ack 1 win 100");
	OUT("R 1");
	cr_expect(t.accepted == 0);
	CLOSE();
}

Test(tcp, listen_unlisten_resets_the_half_open_only)
{
	ESTABLISHED();
	t.peer_port = 2222;
	IN("S 0 win 9000 mss 1460");
	uint32_t iss = t.iss;
	OUT("SA 0 ack 1 mss 1460");
	qp_tcp_unlisten(t.listener);
	OUT("RA 1 ack 1");
	t.iss = iss;
	t.peer_port = 40000;
	IN("A 1+10 ack 1 win 512 ts 102/_");
	OUT("A 1 ack 11");
	CLOSE();
}

/* Whoever has the port by the third segment of the handshake gets the connection. */
Test(tcp, listen_given_to_another_keeps_the_half_open)
{
	struct script other = {0};

	OPEN();
	IN("S 0 win 9000 mss 1460");
	OUT("SA 0 ack 1 mss 1460");
	qp_tcp_listener_give(t.listener, NULL, &other);
	QUIET();
	IN("A 1 ack 1");
	cr_expect_eq(t.accepted, 0);
	cr_expect_eq(other.accepted, 1);
	CLOSE();
}

/* Elsewhere is a listener now: no SYN is refused that comes here late. */
Test(tcp, listen_left_syns_are_not_answered_for_a_while)
{
	OPEN();
	IN("S 0 win 9000 mss 1460");
	OUT("SA 0 ack 1 mss 1460");
	qp_tcp_listener_leave(t.listener);
	OUT("RA 1 ack 1");
	t.peer_port = 2222;
	t.iss = 0;
	IN("S 0 win 9000 mss 1460");
	QUIET();
	cr_expect_eq(qp_tcp_counters(t.tcp)->drop_port_moved, 1);
	IN("A 5 ack 7"); /* of a connection that was here */
	OUT("R 7");
	WAIT_MS(2100);
	IN("S 0 win 9000 mss 1460");
	OUT("RA 0 ack 1");
	CLOSE();
}

Test(tcp, listen_left_may_be_listened_on_again)
{
	static const struct qp_tcp_ops none;
	struct qp_tcp_listener *again;

	OPEN();
	qp_tcp_listener_leave(t.listener);
	cr_expect_eq(qp_tcp_listen(t.tcp, NULL, htons(80), &none, NULL, &again), 0);
	IN("S 0 win 9000 mss 1460");
	OUT("SA 0 ack 1 mss 1460");
	WAIT_MS(2100);
	cr_expect_eq(qp_tcp_counters(t.tcp)->drop_port_moved, 0);
	script_ignore(&t);
	qp_tcp_unlisten(again);
	script_ignore(&t);
	CLOSE();
}

Test(tcp, listen_two_addresses_each_has_its_own)
{
	struct qp_ipaddr mine = qp_ipaddr_v4(htonl(0xc0000201)), other = qp_ipaddr_v4(htonl(0x7f000001));
	struct qp_tcp_listener *a, *b;
	static const struct qp_tcp_ops none;

	OPEN();
	cr_expect(qp_tcp_listen(t.tcp, NULL, htons(80), &none, NULL, &a) == -8);
	cr_expect(qp_tcp_listen(t.tcp, &other, htons(80), &none, NULL, &a) == 0);
	cr_expect(qp_tcp_listen(t.tcp, &mine, htons(81), &none, NULL, &b) == 0);
	cr_expect(qp_tcp_listen(t.tcp, &mine, htons(81), &none, NULL, &b) == -8);
	/* Ours is not the other's: the listener for any takes it. */
	IN("S 0 win 9000 mss 1460");
	OUT("SA 0 ack 1 mss 1460");
	IN("A 1 ack 1");
	cr_expect(t.accepted == 1);
	CLOSE();
}

/* --- SYN-RECEIVED --- */

Test(tcp, syn_received_syn_again_repeats_the_syn_ack)
{
	OPEN();
	IN("S 0 win 9000 mss 1460");
	OUT("SA 0 ack 1 mss 1460");
	uint32_t iss = t.iss;
	IN("S 0 win 9000 mss 1460");
	OUT("SA 0 ack 1 mss 1460");
	cr_expect(t.iss == iss);
	CLOSE();
}

Test(tcp, syn_received_rst_returns_to_listen)
{
	OPEN();
	IN("S 0 win 9000 mss 1460");
	OUT("SA 0 ack 1 mss 1460");
	IN("R 1");
	QUIET();
	cr_expect(qp_tcp_counters(t.tcp)->conns == 0 && t.accepted == 0);
	CLOSE();
}

Test(tcp, syn_received_wrong_ack_is_reset_and_the_right_one_still_opens)
{
	OPEN();
	IN("S 0 win 9000 mss 1460");
	OUT("SA 0 ack 1 mss 1460");
	IN("A 1 ack 2");
	OUT("R 2");
	IN("A 1 ack 0");
	OUT("R 0");
	IN("A 1 ack 1");
	cr_expect(t.accepted == 1);
	CLOSE();
}

Test(tcp, syn_received_no_answer_repeats_with_backoff_and_gives_up)
{
	OPEN();
	IN("S 0 win 9000 mss 1460");
	OUT("SA 0 ack 1 mss 1460");
	for (uint32_t wait = 1000; wait <= 16000; wait *= 2) {
		uint32_t ms = script_until_sent(&t, 60000);

		cr_expect(ms >= wait && ms <= wait + 2, "%u ms", ms);
		OUT("SA 0 ack 1 mss 1460");
	}
	WAIT_MS(33000);
	QUIET();
	cr_expect(qp_tcp_counters(t.tcp)->conns == 0 && t.accepted == 0);
	CLOSE();
}

Test(tcp, listen_application_forbids_syn_meets_a_closed_port_and_nothing_is_kept)
{
	OPEN();
	t.forbid = true;
	IN("S 0 win 9000 mss 1460");
	OUT("RA 0 ack 1");
	QUIET();
	cr_expect_eq(qp_tcp_counters(t.tcp)->conns, 0u);
	cr_expect_eq(t.asked, 1u);
	t.forbid = false;
	IN("S 0 win 9000 mss 1460");
	OUT("SA 0 ack 1 mss 1460");
	t.forbid = true; /* who is let in stays */
	IN("A 1 ack 1 win 9000");
	cr_expect_eq(t.accepted, 1u);
	CLOSE();
}

Test(tcp, syn_received_application_refuses_peer_is_reset)
{
	OPEN();
	t.refuse = true;
	IN("S 0 win 9000 mss 1460");
	OUT("SA 0 ack 1 mss 1460");
	IN("A 1+5 ack 1");
	OUT("RA 1 ack 1");
	QUIET();
	cr_expect(qp_tcp_counters(t.tcp)->conns == 0 && !t.ended);
	CLOSE();
}

/* --- SYN-SENT: 3.10.7.3 --- */

Test(tcp, syn_sent_syn_ack_establishes)
{
	OPEN();
	script_connect(&t);
	OUT("S 0 mss 1460 sackok ts 0/0 ws 5");
	IN("SA 0 ack 1 win 1000 mss 1400 sackok ts 9/_ ws 2");
	OUT("A 1 ack 1 ts 0/9");
	cr_expect(t.connected == 1);
	script_send(&t, 10);
	OUT("A 1+10 ack 1");
	CLOSE();
}

Test(tcp, syn_sent_wrong_ack_is_reset_and_goes_on)
{
	OPEN();
	script_connect(&t);
	OUT("S 0 mss 1460 sackok ts 0/0 ws 5");
	IN("SA 0 ack 5 win 1000");
	OUT("R 5");
	IN("RA 0 ack 5");
	QUIET();
	IN("SA 0 ack 1 win 1000");
	OUT("A 1 ack 1");
	CLOSE();
}

Test(tcp, syn_sent_rst_refuses_only_with_our_number)
{
	OPEN();
	script_connect(&t);
	OUT("S 0 mss 1460 sackok ts 0/0 ws 5");
	IN("R 0");
	cr_expect(!t.ended);
	IN("RA 0 ack 1");
	QUIET();
	cr_expect(t.ended && t.why == QP_TCP_END_REFUSED);
	CLOSE();
}

Test(tcp, syn_sent_port_unreachable_ends_host_unreachable_does_not)
{
	OPEN();
	script_connect(&t);
	OUT("S 0 mss 1460 sackok ts 0/0 ws 5");
	script_icmp(&t, 3, 1, 0, 0);
	cr_expect(!t.ended);
	script_icmp(&t, 3, 3, 0, 77); /* not in flight: forged */
	cr_expect(!t.ended);
	script_icmp(&t, 3, 3, 0, 0);
	cr_expect(t.ended && t.why == QP_TCP_END_UNREACHABLE);
	CLOSE();
}

Test(tcp, syn_sent_no_answer_times_out_after_three_minutes)
{
	OPEN();
	script_connect(&t);
	WAIT_MS(179000);
	cr_expect(!t.ended);
	script_ignore(&t);
	WAIT_MS(80000);
	cr_expect(t.ended && t.why == QP_TCP_END_TIMEOUT);
	CLOSE();
}

Test(tcp, syn_sent_syn_opens_simultaneously)
{
	OPEN();
	script_connect(&t);
	OUT("S 0 mss 1460 sackok ts 0/0 ws 5");
	IN("S 0 win 1000 mss 1460");
	OUT("SA 0 ack 1 mss 1460");
	IN("SA 0 ack 1 win 1000 mss 1460"); /* old by its number: answered by an ACK */
	OUT("A 1 ack 1");
	IN("A 1 ack 1 win 1000");
	cr_expect(t.connected == 1 && t.c->tcb.state == QP_TCP_ESTABLISHED);
	CLOSE();
}

/* --- ESTABLISHED: sequence numbers, RST, SYN (RFC 5961) --- */

Test(tcp, established_rst_at_rcv_nxt_ends)
{
	ESTABLISHED();
	IN("R 1");
	QUIET();
	cr_expect(t.ended && t.why == QP_TCP_END_RESET);
	CLOSE();
}

Test(tcp, established_rst_elsewhere_in_window_is_challenged)
{
	ESTABLISHED();
	IN("R 2");
	OUT("A 1 ack 1");
	cr_expect(!t.ended && qp_tcp_counters(t.tcp)->challenge_acks == 1);
	CLOSE();
}

Test(tcp, established_rst_out_of_window_is_ignored)
{
	ESTABLISHED();
	IN("R 0");
	IN("R 3000000");
	QUIET();
	cr_expect(!t.ended);
	CLOSE();
}

Test(tcp, established_syn_is_challenged)
{
	ESTABLISHED();
	IN("S 5 win 100 ts 101/_");
	OUT("A 1 ack 1");
	IN("SA 5 ack 1 win 100 ts 101/_");
	OUT("A 1 ack 1");
	IN("S 0 win 100 ts 101/_"); /* old: by the first step */
	OUT("A 1 ack 1");
	cr_expect(!t.ended);
	CLOSE();
}

Test(tcp, established_ack_of_unsent_data_is_challenged)
{
	ESTABLISHED();
	IN("A 1+5 ack 100 win 512 ts 101/_");
	OUT("A 1 ack 1");
	cr_expect(t.received == 0);
	CLOSE();
}

Test(tcp, established_many_challenges_are_limited)
{
	ESTABLISHED();
	for (int i = 0; i < 50; i++)
		IN("S 5 win 100 ts 101/_");
	cr_expect(t.out_head - t.out_tail == QP_TCP_CHALLENGES);
	script_ignore(&t);
	WAIT_MS(1000);
	IN("S 5 win 100 ts 101/_");
	OUT("A 1 ack 1");
	CLOSE();
}

Test(tcp, established_old_timestamp_is_refused)
{
	ESTABLISHED();
	IN("A 1+10 ack 1 win 512 ts 200/_");
	OUT("A 1 ack 11 ts 0/200");
	IN("A 11+10 ack 1 win 512 ts 199/_");
	OUT("A 1 ack 11 ts 0/200");
	cr_expect(t.received == 10 && qp_tcp_counters(t.tcp)->drop_paws == 1);
	/* Older than 24 days the memory is void. */
	t.now_ns += UINT64_C(25) * 86400 * QP_SEC_NS;
	IN("A 11+10 ack 1 win 512 ts 199/_");
	cr_expect(t.received == 20);
	CLOSE();
}

Test(tcp, established_segment_without_timestamp_is_dropped_a_rst_is_not)
{
	ESTABLISHED();
	IN("A 1+10 ack 1 win 512");
	QUIET();
	cr_expect(t.received == 0);
	IN("R 1");
	cr_expect(t.ended);
	CLOSE();
}

Test(tcp, established_without_ack_bit_is_dropped)
{
	ESTABLISHED();
	IN(". 1+10 win 512 ts 101/_");
	QUIET();
	cr_expect(t.received == 0);
	CLOSE();
}

/* --- ESTABLISHED: text --- */

Test(tcp, established_text_is_delivered_and_acknowledged_late)
{
	ESTABLISHED();
	settle();
	IN("A 1601+100 ack 1 win 512 ts 101/_");
	QUIET();
	cr_expect(t.received == 1700 && !t.wrong);
	WAIT_MS(38);
	QUIET();
	WAIT_MS(4);
	OUT("A 1 ack 1701");
	CLOSE();
}

Test(tcp, established_second_full_segment_is_acknowledged_at_once)
{
	ESTABLISHED();
	settle();
	IN("A 1601+1448 ack 1 win 512 ts 101/_");
	IN("A 3049+1448 ack 1 win 512 ts 101/_");
	OUT("A 1 ack 4497");
	QUIET();
	CLOSE();
}

Test(tcp, established_burst_is_acknowledged_once)
{
	ESTABLISHED();
	settle();
	for (int i = 0; i < 10; i++) {
		char s[64];

		snprintf(s, sizeof(s), "A %d+1448 ack 1 win 512 ts 101/_", 1601 + 1448 * i);
		BURST(s);
	}
	script_flush(&t);
	OUT("A 1 ack 16081");
	QUIET();
	CLOSE();
}

Test(tcp, established_super_segment_is_one_delivery_and_one_ack)
{
	ESTABLISHED();
	script_in_lro(&t, "A 1+43440 ack 1 win 512 ts 101/_", 1448);
	OUT("A 1 ack 43441");
	QUIET();
	cr_expect(t.received == 43440 && !t.wrong);
	cr_expect(t.c->rcv_seg == 1448);
	CLOSE();
}

Test(tcp, established_text_out_of_order_is_sacked_at_once_and_delivered_in_order)
{
	ESTABLISHED();
	settle();
	BURST("A 1701+100 ack 1 win 512 ts 101/_");
	OUT("A 1 ack 1601 sack 1701-1801");
	BURST("A 1901+100 ack 1 win 512 ts 101/_");
	OUT("A 1 ack 1601 sack 1901-2001 sack 1701-1801");
	BURST("A 2101+100 ack 1 win 512 ts 101/_");
	OUT("A 1 ack 1601 sack 2101-2201 sack 1901-2001 sack 1701-1801");
	BURST("A 1801+100 ack 1 win 512 ts 101/_");
	OUT("A 1 ack 1601 sack 1701-2001 sack 2101-2201");
	cr_expect(t.received == 1600);
	IN("A 1601+100 ack 1 win 512 ts 101/_");
	OUT("A 1 ack 2001 sack 2101-2201");
	IN("A 2001+100 ack 1 win 512 ts 101/_");
	OUT("A 1 ack 2201");
	cr_expect(t.received == 2200 && !t.wrong);
	CLOSE();
}

/* RFC 5681, 4.2: a sender in recovery has nothing else to go by. */
Test(tcp, established_text_that_fills_a_part_of_a_gap_is_acknowledged_at_once)
{
	ESTABLISHED();
	settle();
	BURST("A 1801+100 ack 1 win 512 ts 101/_");
	OUT("A 1 ack 1601 sack 1801-1901");
	IN("A 1601+100 ack 1 win 512 ts 101/_");
	OUT("A 1 ack 1701 sack 1801-1901");
	QUIET();
	CLOSE();
}

Test(tcp, established_text_twice_is_reported_as_dsack)
{
	ESTABLISHED();
	settle();
	IN("A 1501+100 ack 1 win 512 ts 101/_");
	OUT("A 1 ack 1601 sack 1501-1601");
	BURST("A 1701+100 ack 1 win 512 ts 101/_");
	script_ignore(&t);
	BURST("A 1701+100 ack 1 win 512 ts 101/_");
	OUT("A 1 ack 1601 sack 1701-1801 sack 1701-1801");
	cr_expect(t.received == 1600);
	CLOSE();
}

Test(tcp, established_overlaps_of_any_kind_deliver_each_byte_once)
{
	static const char *const order[][6] = {
		{"1651+100", "1601+300", "1801+300", "2101+100"},
		{"1801+50", "1751+200", "1701+400", "1601+600"},
		{"1701+100", "1901+100", "1651+500", "1601+20", "1611+200", "2151+50"},
		{"2001+200", "1601+10", "1600+2", "1605+100", "1650+400"},
		{"1901+300", "1801+250", "1701+350", "1601+150", "1601+600"},
	};

	for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
		ESTABLISHED();
		settle();
		for (int k = 0; k < 6 && order[i][k] != NULL; k++) {
			char s[64];

			snprintf(s, sizeof(s), "A %s ack 1 win 512 ts 101/_", order[i][k]);
			IN(s);
		}
		cr_expect(t.received == 2200 && !t.wrong, "case %zu: %u bytes", i,
			(unsigned)t.received);
		cr_expect(t.c->ooo_ranges == 0 && t.tcp->ooo_segs == 0);
		CLOSE();
	}
}

Test(tcp, established_text_beyond_the_window_is_cut)
{
	script_config(&t.cfg);
	t.cfg.max_conns = 256;
	t.cfg.rcv_buf_bytes = 2000;
	script_open_cfg(&t);
	script_establish_plain(&t, 65535);
	t.hold = true;
	IN("A 1+3000 ack 1");
	OUT("A 1 ack 2001 win 0");
	cr_expect(t.received == 2000 && !t.wrong);
	CLOSE();
}

Test(tcp, established_zero_window_takes_acks_and_refuses_text)
{
	script_config(&t.cfg);
	t.cfg.max_conns = 256;
	t.cfg.rcv_buf_bytes = 2000;
	script_open_cfg(&t);
	script_establish_plain(&t, 65535);
	t.hold = true;
	script_send(&t, 100);
	OUT("A 1+100 ack 1 win 2000");
	IN("A 1+2000 ack 1");
	OUT("A 101 ack 2001 win 0");
	IN("A 2001+1 ack 101"); /* a window probe with text */
	OUT("A 101 ack 2001 win 0");
	cr_expect(t.acked == 100 && t.received == 2000);
	script_consume(&t, 10); /* silly: too little to tell */
	QUIET();
	script_consume(&t, 1990);
	OUT("A 101 ack 2001 win 2000");
	CLOSE();
}

Test(tcp, established_single_bytes_do_not_pin_an_mbuf_each)
{
	struct rte_mempool *mp;

	ESTABLISHED();
	mp = t.tcp->env.pool;
	settle();
	script_ignore(&t);
	for (int i = 0; i < 400; i++) {
		char s[64];

		snprintf(s, sizeof(s), "A %d+1 ack 1 win 512 ts 101/_", 1700 + i);
		BURST(s);
		script_ignore(&t);
	}
	cr_expect(rte_mempool_in_use_count(mp) <= 2, "%u mbufs for 400 bytes",
		rte_mempool_in_use_count(mp));
	CLOSE();
}

Test(tcp, established_single_bytes_with_holes_filled_later_share_mbufs)
{
	ESTABLISHED();
	settle();
	for (int round = 0; round < 4; round++) {
		for (int i = 0; i < 400; i++) {
			int at = 1700 + 400 * round + (i < 200 ? 2 * i : 2 * (i - 200) + 1);
			char s[64];

			snprintf(s, sizeof(s), "A %d+1 ack 1 win 512 ts 101/_", at);
			BURST(s);
			script_ignore(&t);
		}
	}
	cr_expect(t.c->ooo_ranges == 1 && t.tcp->ooo_segs <= 8, "%u mbufs for 1,600 bytes",
		t.tcp->ooo_segs);
	IN("A 1601+99 ack 1 win 512 ts 101/_");
	cr_expect(t.received == 3299 && !t.wrong);
	CLOSE();
}

Test(tcp, established_holes_beyond_the_limit_are_refused)
{
	ESTABLISHED();
	settle();
	for (int i = 0; i < 400; i++) {
		char s[64];

		snprintf(s, sizeof(s), "A %d+1 ack 1 win 512 ts 101/_", 1700 + 2 * i);
		BURST(s);
		script_ignore(&t);
	}
	cr_expect(t.c->ooo_ranges == QP_TCP_OOO_RANGES);
	cr_expect(qp_tcp_counters(t.tcp)->drop_ooo_limit == 400 - QP_TCP_OOO_RANGES);
	CLOSE();
}

/* --- ESTABLISHED: sending --- */

Test(tcp, established_send_goes_out_as_one_super_segment)
{
	ESTABLISHED();
	script_send(&t, 10000);
	OUT("AP 1+10000 ack 1");
	QUIET();
	IN("A 1 ack 10001 win 512 ts 102/_");
	cr_expect(t.acked == 10000);
	cr_expect(qp_tcp_send_space(t.c) == qp_tcp_send_buffer(t.c));
	CLOSE();
}

Test(tcp, established_send_stops_at_the_initial_window_and_the_peers)
{
	ESTABLISHED();
	script_send(&t, 30000);
	OUT("A 1+14480 ack 1"); /* ten segments */
	QUIET();
	CLOSE();
	script_open(&t);
	script_establish_plain(&t, 4000);
	script_send(&t, 30000);
	OUT("A 1+2920 ack 1"); /* no silly remainder */
	QUIET();
	CLOSE();
}

Test(tcp, established_no_answer_retransmits_with_backoff)
{
	OPEN();
	script_establish_plain(&t, 65535);
	script_send(&t, 100);
	OUT("A 1+100 ack 1");
	for (uint32_t wait = 200; wait <= 6400; wait *= 2) {
		uint32_t ms = script_until_sent(&t, 60000);

		cr_expect(ms >= wait && ms <= wait + 2, "%u ms", ms);
		OUT("A 1+100 ack 1");
	}
	IN("A 1 ack 101");
	WAIT_MS(20000);
	QUIET();
	CLOSE();
}

Test(tcp, established_no_answer_for_r2_ends)
{
	ESTABLISHED();
	script_send(&t, 100);
	WAIT_MS(301 * 1000);
	cr_expect(!t.ended);
	script_ignore(&t);
	WAIT_MS(60 * 1000);
	cr_expect(t.ended && t.why == QP_TCP_END_TIMEOUT);
	CLOSE();
}

Test(tcp, established_three_duplicate_acks_without_sack_retransmit)
{
	OPEN();
	script_establish_plain(&t, 65535);
	WAIT_MS(1);
	script_send(&t, 14600);
	script_ignore(&t);
	IN("A 1 ack 1461");
	script_ignore(&t);
	IN("A 1 ack 1461");
	IN("A 1 ack 1461");
	QUIET();
	IN("A 1 ack 1461");
	OUT("A 1461+1460 ack 1");
	cr_expect(qp_tcp_counters(t.tcp)->fast_recoveries == 1);
	cr_expect(qp_tcp_counters(t.tcp)->rto_fired == 0);
	/* A partial acknowledgment shows the next hole (RFC 6582). */
	IN("A 1 ack 4381");
	OUT("A 4381+1460 ack 1");
	IN("A 1 ack 14601");
	cr_expect(t.c->ca == QP_CA_OPEN && t.acked == 14600);
	CLOSE();
}

Test(tcp, established_sack_shows_a_hole_which_alone_is_sent_again)
{
	ESTABLISHED();
	WAIT_MS(10);
	script_send(&t, 14480);
	OUT("A 1+14480 ack 1");
	WAIT_MS(20);
	IN("A 1 ack 1449 win 512 ts 110/_ sack 2897-7241");
	OUT("A 1449+1448 ack 1");
	QUIET();
	IN("A 1 ack 1449 win 512 ts 111/_ sack 2897-14481");
	QUIET();
	IN("A 1 ack 14481 win 512 ts 112/_");
	cr_expect(t.acked == 14480 && t.c->ca == QP_CA_OPEN);
	cr_expect(qp_tcp_counters(t.tcp)->retrans_bytes == 1448);
	CLOSE();
}

Test(tcp, established_lost_retransmission_is_noticed_by_rack)
{
	ESTABLISHED();
	WAIT_MS(10);
	script_send(&t, 14480);
	script_ignore(&t);
	WAIT_MS(20);
	IN("A 1 ack 1 win 512 ts 110/_ sack 1449-5793");
	OUT("A 1+1448 ack 1");
	script_send(&t, 14480);
	WAIT_MS(20);
	/* What was sent after the retransmission arrives, the retransmission does not. */
	IN("A 1 ack 1 win 512 ts 130/_ sack 1449-14481");
	script_ignore(&t);
	WAIT_MS(20);
	IN("A 1 ack 1 win 512 ts 150/_ sack 1449-15929");
	WAIT_MS(30);
	OUT("A 1+1448 ack 1");
	cr_expect(qp_tcp_counters(t.tcp)->rto_fired == 0);
	CLOSE();
}

Test(tcp, established_tail_lost_is_probed_before_the_rto)
{
	ESTABLISHED();
	WAIT_MS(10);
	script_send(&t, 5000);
	script_ignore(&t);
	WAIT_MS(20);
	IN("A 1 ack 5001 win 512 ts 110/_"); /* an RTT sample of 20 ms */
	script_ignore(&t);
	script_send(&t, 5000);
	script_ignore(&t);
	WAIT_MS(100);
	OUT("AP 8553+1448 ack 1"); /* the last segment again */
	cr_expect(qp_tcp_counters(t.tcp)->rto_fired == 0);
	/* It arrives: SACK shows the rest, which is repaired without a timeout. */
	IN("A 1 ack 5001 win 512 ts 111/_ sack 8553-10001");
	WAIT_MS(30);
	OUT("A 5001+1448 ack 1");
	IN("A 1 ack 6449 win 512 ts 112/_ sack 8553-10001");
	OUT("A 6449+2104 ack 1");
	IN("A 1 ack 10001 win 512 ts 113/_");
	cr_expect(t.acked == 10000 && qp_tcp_counters(t.tcp)->rto_fired == 0);
	CLOSE();
}

Test(tcp, established_spurious_timeout_is_undone_by_the_timestamp)
{
	uint32_t cwnd;

	ESTABLISHED();
	WAIT_MS(10);
	script_send(&t, 14480);
	OUT("A 1+14480 ack 1");
	uint32_t ts = t.last_tsval;
	cwnd = t.c->cwnd;
	t.c->flags &= ~QP_TF_SACK; /* no probe before the timeout */
	WAIT_MS(1500);
	cr_expect(t.c->ca == QP_CA_LOSS);
	script_ignore(&t);
	/* The ACK echoes the first transmission: nothing had been lost. */
	char s[96];
	snprintf(s, sizeof(s), "A 1 ack 2897 win 512 ts 200/%u", ts);
	IN(s);
	cr_expect(t.c->ca == QP_CA_OPEN && t.c->cwnd >= cwnd && (t.c->x == NULL || t.c->x->lost_bytes == 0));
	CLOSE();
}

Test(tcp, established_sack_of_nonsense_changes_nothing)
{
	ESTABLISHED();
	script_send(&t, 14480);
	script_ignore(&t);
	IN("A 1 ack 1 win 512 ts 102/_ sack 20000-30000");
	IN("A 1 ack 1 win 512 ts 102/_ sack 5000-4000");
	IN("A 1 ack 1449 win 512 ts 102/_ sack 1-900");
	cr_expect((t.c->x == NULL || (t.c->x->sacked_bytes == 0 && t.c->x->lost_bytes == 0)));
	CLOSE();
}

Test(tcp, established_sack_of_single_bytes_keeps_records_few)
{
	ESTABLISHED();
	script_send(&t, 14480);
	script_ignore(&t);
	for (int i = 0; i < 3000; i++) {
		char s[96];

		snprintf(s, sizeof(s), "A 1 ack 1 win 512 ts 102/_ sack %d-%d", 100 + 4 * i, 101 + 4 * i);
		BURST(s);
	}
	script_ignore(&t);
	cr_expect(t.tcp->recs.used <= 11, "%zu records", t.tcp->recs.used);
	CLOSE();
}

Test(tcp, established_peer_closes_its_window_it_is_probed_and_data_follows)
{
	OPEN();
	script_establish_plain(&t, 1000);
	script_send(&t, 2000);
	OUT("A 1+1000 ack 1");
	IN("A 1 ack 1001 win 0");
	QUIET();
	WAIT_MS(210);
	OUT("A 1000 ack 1"); /* an old number: the peer must answer */
	IN("A 1 ack 1001 win 0");
	WAIT_MS(410);
	OUT("A 1000 ack 1");
	cr_expect(qp_tcp_counters(t.tcp)->zero_window_probes == 2);
	IN("A 1 ack 1001 win 5000");
	OUT("AP 1001+1000 ack 1");
	CLOSE();
}

Test(tcp, established_zero_window_answered_lives_on_unanswered_ends)
{
	OPEN();
	script_establish_plain(&t, 1000);
	script_send(&t, 2000);
	IN("A 1 ack 1001 win 0");
	for (int i = 0; i < 60; i++) {
		WAIT_MS(20000);
		script_ignore(&t);
		IN("A 1 ack 1001 win 0");
	}
	cr_expect(!t.ended, "20 minutes of answered probes");
	for (int i = 0; i < 20; i++) {
		WAIT_MS(20000);
		script_ignore(&t);
	}
	cr_expect(t.ended && t.why == QP_TCP_END_TIMEOUT);
	CLOSE();
}

Test(tcp, established_silent_peer_is_probed_and_given_up)
{
	script_config(&t.cfg);
	t.cfg.max_conns = 256;
	t.cfg.keepalive_s = 10;
	script_open_cfg(&t);
	script_establish_plain(&t, 1000);
	WAIT_MS(10010);
	OUT("A 0 ack 1");
	IN("A 1 ack 1 win 1000");
	WAIT_MS(9900);
	QUIET();
	WAIT_MS(200);
	OUT("A 0 ack 1");
	WAIT_MS(100 * 1000);
	cr_expect(t.ended && t.why == QP_TCP_END_TIMEOUT);
	CLOSE();
}

Test(tcp, established_abort_resets)
{
	ESTABLISHED();
	script_send(&t, 10);
	OUT("A 1+10 ack 1");
	qp_tcp_abort(t.c);
	OUT("RA 11 ack 1");
	script_flush(&t);
	cr_expect(!t.ended && qp_tcp_counters(t.tcp)->conns == 0);
	IN("A 1+5 ack 11 win 512 ts 105/_");
	OUT("R 11");
	CLOSE();
}

Test(tcp, established_packet_too_big_lowers_the_segment_size)
{
	ESTABLISHED();
	script_send(&t, 14480);
	OUT("A 1+14480 ack 1");
	script_icmp(&t, 3, 4, 1200, 99999); /* not in flight: forged */
	QUIET();
	script_icmp(&t, 3, 4, 1200, 1);
	cr_expect(qp_tcp_mss(t.c) == 1200 - 40 - 12);
	script_ignore(&t); /* all of it again, in smaller pieces */
	cr_expect((t.c->x == NULL || t.c->x->lost_bytes == 0) && qp_tcp_counters(t.tcp)->retrans_bytes > 13000);
	script_icmp(&t, 3, 4, 68, 1); /* an attack rather than a link */
	cr_expect(qp_tcp_mss(t.c) == 552 - 40 - 12);
	CLOSE();
}

Test(tcp, established_super_segment_is_cut_at_the_effective_mss)
{
	struct rte_mbuf *m;

	OPEN();
	IN("S 0 win 65535 mss 1000 sackok ts 100/0");
	OUT("SA 0 ack 1 mss 1460 sackok ts 0/100");
	IN("A 1 ack 1 win 60000 ts 101/_");
	script_ignore(&t);
	script_send(&t, 5000);
	m = t.out[t.out_tail % 256];
	cr_expect(m->ol_flags & RTE_MBUF_F_TX_TCP_SEG);
	cr_expect(m->tso_segsz == 988 && m->l4_len == 32);
	CLOSE();
}

/* --- closing --- */

Test(tcp, established_shutdown_then_peer_closes_waits)
{
	ESTABLISHED();
	qp_tcp_shutdown(t.c);
	script_flush(&t);
	OUT("AF 1 ack 1");
	cr_expect(t.c->tcb.state == QP_TCP_FIN_WAIT_1);
	IN("A 1 ack 2 win 512 ts 102/_");
	cr_expect(t.c->tcb.state == QP_TCP_FIN_WAIT_2);
	IN("A 1+50 ack 2 win 512 ts 102/_"); /* half-closed: text still comes */
	OUT("A 2 ack 51");
	cr_expect(t.received == 50);
	IN("AF 51 ack 2 win 512 ts 103/_");
	OUT("A 2 ack 52");
	cr_expect(t.ends == 1 && t.ended && t.why == QP_TCP_END_NORMAL);
	cr_expect(qp_tcp_counters(t.tcp)->conns == 1, "TIME-WAIT");
	WAIT_MS(60100);
	cr_expect(qp_tcp_counters(t.tcp)->conns == 0);
	CLOSE();
}

Test(tcp, established_shutdown_sends_queued_data_first)
{
	ESTABLISHED();
	script_send(&t, 20000);
	qp_tcp_shutdown(t.c);
	script_flush(&t);
	OUT("A 1+14480 ack 1");
	QUIET();
	IN("A 1 ack 14481 win 512 ts 102/_");
	OUT("AFP 14481+5520 ack 1");
	IN("A 1 ack 20002 win 512 ts 102/_");
	cr_expect(t.acked == 20000 && t.c->tcb.state == QP_TCP_FIN_WAIT_2);
	CLOSE();
}

Test(tcp, established_peer_closes_half_then_we_close)
{
	ESTABLISHED();
	IN("AF 1+10 ack 1 win 512 ts 102/_");
	OUT("A 1 ack 12");
	cr_expect(t.ends == 1 && t.received == 10 && t.c->tcb.state == QP_TCP_CLOSE_WAIT);
	script_send(&t, 100);
	OUT("A 1+100 ack 12");
	IN("A 12 ack 101 win 512 ts 103/_");
	qp_tcp_shutdown(t.c);
	script_flush(&t);
	OUT("AF 101 ack 12");
	cr_expect(!t.ended);
	IN("A 12 ack 102 win 512 ts 104/_");
	cr_expect(t.ended && t.why == QP_TCP_END_NORMAL);
	script_flush(&t);
	cr_expect(qp_tcp_counters(t.tcp)->conns == 0);
	CLOSE();
}

Test(tcp, fin_wait_1_fin_without_ack_of_ours_is_closing)
{
	ESTABLISHED();
	qp_tcp_shutdown(t.c);
	script_flush(&t);
	OUT("AF 1 ack 1");
	IN("AF 1 ack 1 win 512 ts 102/_");
	OUT("A 2 ack 2");
	cr_expect(t.c->tcb.state == QP_TCP_CLOSING);
	IN("A 2 ack 2 win 512 ts 103/_");
	cr_expect(t.ended && t.why == QP_TCP_END_NORMAL);
	cr_expect(qp_tcp_counters(t.tcp)->conns == 1, "TIME-WAIT");
	CLOSE();
}

Test(tcp, fin_wait_1_fin_with_ack_of_ours_goes_straight_to_time_wait)
{
	ESTABLISHED();
	qp_tcp_shutdown(t.c);
	script_flush(&t);
	OUT("AF 1 ack 1");
	IN("AF 1 ack 2 win 512 ts 102/_");
	OUT("A 2 ack 2");
	cr_expect(t.ended && t.why == QP_TCP_END_NORMAL);
	CLOSE();
}

Test(tcp, last_ack_fin_lost_is_sent_again)
{
	ESTABLISHED();
	IN("AF 1 ack 1 win 512 ts 102/_");
	OUT("A 1 ack 2");
	qp_tcp_shutdown(t.c);
	script_flush(&t);
	OUT("AF 1 ack 2");
	WAIT_MS(420);
	OUT("AF 1 ack 2");
	script_ignore(&t);
	IN("A 2 ack 2 win 512 ts 103/_");
	cr_expect(t.ended && t.why == QP_TCP_END_NORMAL);
	CLOSE();
}

Test(tcp, established_fin_out_of_order_waits_for_the_text_before_it)
{
	ESTABLISHED();
	IN("AF 101+50 ack 1 win 512 ts 102/_");
	OUT("A 1 ack 1 sack 101-152");
	cr_expect(t.ends == 0);
	IN("A 1+100 ack 1 win 512 ts 102/_");
	OUT("A 1 ack 152");
	cr_expect(t.ends == 1 && t.received == 150 && !t.wrong);
	CLOSE();
}

Test(tcp, established_bare_fin_out_of_order_waits_too)
{
	ESTABLISHED();
	IN("AF 101 ack 1 win 512 ts 102/_");
	OUT("A 1 ack 1 sack 101-102");
	cr_expect(t.ends == 0);
	IN("A 1+100 ack 1 win 512 ts 102/_");
	OUT("A 1 ack 102");
	cr_expect(t.ends == 1 && t.received == 100);
	CLOSE();
}

Test(tcp, close_wait_text_after_fin_is_ignored)
{
	ESTABLISHED();
	IN("AF 1 ack 1 win 512 ts 102/_");
	OUT("A 1 ack 2");
	IN("A 2+50 ack 1 win 512 ts 102/_");
	cr_expect(t.received == 0 && !t.ended);
	CLOSE();
}

/* --- TIME-WAIT --- */

static void
to_time_wait(void)
{
	ESTABLISHED();
	qp_tcp_shutdown(t.c);
	script_flush(&t);
	OUT("AF 1 ack 1");
	IN("AF 1 ack 2 win 512 ts 102/_");
	OUT("A 2 ack 2");
}

Test(tcp, time_wait_fin_again_is_acknowledged_and_starts_anew)
{
	to_time_wait();
	WAIT_MS(50000);
	IN("AF 1 ack 2 win 512 ts 103/_");
	OUT("A 2 ack 2");
	WAIT_MS(50000);
	cr_expect(qp_tcp_counters(t.tcp)->conns == 1);
	WAIT_MS(10100);
	cr_expect(qp_tcp_counters(t.tcp)->conns == 0);
	CLOSE();
}

Test(tcp, time_wait_rst_is_ignored)
{
	to_time_wait();
	IN("R 2");
	QUIET();
	cr_expect(qp_tcp_counters(t.tcp)->conns == 1);
	CLOSE();
}

Test(tcp, time_wait_new_syn_by_timestamp_opens_anew)
{
	uint32_t iss;

	to_time_wait();
	iss = t.iss;
	t.c = NULL;
	IN("S 0 win 9000 mss 1460 ts 102/0"); /* same time, old number: not new */
	OUT("A 2 ack 2");
	IN("S 0 win 9000 mss 1460 ts 110/0");
	OUT("SA 0 ack 1 mss 1460 ts 0/110");
	cr_expect(seq_lt(iss + 2, t.iss), "the new life's numbers are later");
	IN("A 1 ack 1 win 9000 ts 111/_");
	cr_expect(t.accepted == 2 && t.c != NULL);
	CLOSE();
}

Test(tcp, time_wait_new_syn_by_sequence_number_opens_anew)
{
	OPEN();
	script_establish_plain(&t, 9000);
	qp_tcp_shutdown(t.c);
	script_flush(&t);
	OUT("AF 1 ack 1");
	IN("AF 1 ack 2");
	OUT("A 2 ack 2");
	IN("S 1 win 9000 mss 1460");
	OUT("A 2 ack 2");
	IN("S 100 win 9000 mss 1460");
	OUT("SA 0 ack 101 mss 1460");
	CLOSE();
}

Test(tcp, time_wait_full_table_gives_its_oldest_place)
{
	script_config(&t.cfg);
	t.cfg.max_conns = 16;
	script_open_cfg(&t);
	for (unsigned i = 0; i < 40; i++) {
		t.peer_port = 1000 + i;
		script_establish_plain(&t, 9000);
		qp_tcp_shutdown(t.c);
		script_flush(&t);
		OUT("AF 1 ack 1");
		IN("AF 1 ack 2");
		OUT("A 2 ack 2");
		t.c = NULL;
	}
	cr_expect(qp_tcp_counters(t.tcp)->conns == 16);
	cr_expect(t.accepted == 40);
	CLOSE();
}

/* --- junk --- */

Test(tcp, any_header_that_contradicts_itself_is_dropped)
{
	static const uint8_t bad[][12] = {
		{3, 0, 0, 0},          /* length 0 */
		{8, 11, 0, 0},         /* beyond the header */
		{2, 3, 5, 0},          /* an MSS of 3 bytes */
		{5, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, /* half a SACK block */
		{1, 1, 1, 8},          /* a kind without a length */
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct qp_tcp_options o;
		unsigned len = i == 3 ? 12 : 4;

		cr_expect(qp_tcp_options_parse(bad[i], len, true, &o) != 0, "case %zu", i);
	}
}

Test(tcp, conn_stays_small)
{
	cr_log_info("connection %zu, TIME-WAIT %zu, record %zu, run %zu bytes",
		sizeof(struct qp_tcp_conn), sizeof(struct qp_tcp_tw), sizeof(struct qp_tcp_rec),
		sizeof(struct qp_tcp_ooo));
	cr_expect(sizeof(struct qp_tcp_conn) <= 576);
}
