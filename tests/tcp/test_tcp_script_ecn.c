/* SPDX-License-Identifier: Apache-2.0 */
/* Explicit congestion notification (RFC 3168), a situation a test. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "tests/tcp/script.h"

TestSuite(tcp_ecn, .init = script_suite_start);

static struct script t;

#define CLOSE() script_close(&t)

static void
open_ecn(uint8_t ecn)
{
	qp_tcp_config_default(&t.cfg);
	t.cfg.max_conns = 256;
	t.cfg.ecn = ecn;
	script_open_cfg(&t);
}

/* The peer asks, we agree. */
static void
established(void)
{
	open_ecn(1);
	IN("SEW 0 win 65535 mss 1460 sackok ts 100/0 ws 7");
	OUT("SAE 0 ack 1 mss 1460 sackok ts 0/100 ws 5 tos 0");
	WAIT_MS(20);
	IN("A 1 ack 1 win 512 ts 101/_");
	script_ignore(&t);
	cr_assert(t.c != NULL);
}

/* --- negotiation: 6.1.1 --- */

Test(tcp_ecn, listen_syn_that_asks_is_answered_with_ece_and_no_ect)
{
	established();
	script_send(&t, 100);
	OUT("AP 1+100 ack 1 tos 2");
	CLOSE();
}

Test(tcp_ecn, listen_syn_that_asks_on_ipv6_is_answered_and_data_is_ect)
{
	t.v6 = true;
	open_ecn(1);
	IN("SEW 0 win 65535 mss 1440");
	OUT("SAE 0 ack 1 mss 1440 tos 0");
	IN("A 1 ack 1");
	script_send(&t, 100);
	OUT("AP 1+100 ack 1 tos 2");
	CLOSE();
}

Test(tcp_ecn, listen_ecn_off_is_answered_without)
{
	open_ecn(0);
	IN("SEW 0 win 65535 mss 1460");
	OUT("SA 0 ack 1 mss 1460");
	IN("A 1 ack 1");
	script_send(&t, 100);
	OUT("AP 1+100 ack 1 tos 0");
	IN("A 1+10 ack 101 tos 3");
	OUT("A 101 ack 11");
	CLOSE();
}

Test(tcp_ecn, listen_syn_with_one_of_the_flags_does_not_ask)
{
	static const char *const syns[] = {"SE 0 win 9000 mss 1460", "SW 0 win 9000 mss 1460"};

	for (unsigned i = 0; i < 2; i++) {
		open_ecn(1);
		IN(syns[i]);
		OUT("SA 0 ack 1 mss 1460");
		CLOSE();
	}
}

Test(tcp_ecn, syn_received_syn_again_without_asking_turns_ect_off_but_marks_are_echoed)
{
	open_ecn(1);
	IN("SEW 0 win 65535 mss 1460");
	OUT("SAE 0 ack 1 mss 1460");
	IN("S 0 win 65535 mss 1460"); /* the peer's fallback */
	OUT("SA 0 ack 1 mss 1460");
	IN("A 1 ack 1");
	script_send(&t, 100);
	OUT("AP 1+100 ack 1 tos 0");
	IN("A 1+10 ack 101 tos 3"); /* it had seen our first answer */
	OUT("AE 101 ack 11");
	CLOSE();
}

Test(tcp_ecn, syn_received_syn_again_that_asks_late_changes_nothing)
{
	open_ecn(1);
	IN("S 0 win 65535 mss 1460");
	OUT("SA 0 ack 1 mss 1460");
	IN("SEW 0 win 65535 mss 1460");
	OUT("SA 0 ack 1 mss 1460");
	IN("A 1 ack 1");
	script_send(&t, 100);
	OUT("AP 1+100 ack 1 tos 0");
	CLOSE();
}

Test(tcp_ecn, syn_sent_asks_only_when_told_to)
{
	open_ecn(1);
	script_connect(&t);
	OUT("S 0 mss 1460 sackok ts 0/0 ws 5");
	CLOSE();
	open_ecn(2);
	script_connect(&t);
	OUT("SEW 0 mss 1460 sackok ts 0/0 ws 5 tos 0");
	IN("SAE 0 ack 1 win 60000 mss 1460");
	OUT("A 1 ack 1 tos 0");
	script_send(&t, 100);
	OUT("AP 1+100 ack 1 tos 2");
	CLOSE();
}

Test(tcp_ecn, syn_sent_answer_without_ece_or_with_both_is_no_agreement)
{
	static const char *const answers[] = {"SA 0 ack 1 win 60000 mss 1460",
		"SAEW 0 ack 1 win 60000 mss 1460", "SAW 0 ack 1 win 60000 mss 1460"};

	for (unsigned i = 0; i < 3; i++) {
		open_ecn(2);
		script_connect(&t);
		OUT("SEW 0 mss 1460 sackok ts 0/0 ws 5");
		IN(answers[i]);
		OUT("A 1 ack 1");
		script_send(&t, 100);
		OUT("AP 1+100 ack 1 tos 0");
		IN("A 1+10 ack 101 tos 3");
		OUT("A 101 ack 11");
		CLOSE();
	}
}

Test(tcp_ecn, syn_sent_no_answer_falls_back_to_a_syn_without)
{
	open_ecn(2);
	script_connect(&t);
	OUT("SEW 0 mss 1460 sackok ts 0/0 ws 5");
	script_until_sent(&t, 2000);
	OUT("S 0 mss 1460 sackok ts 0/0 ws 5");
	IN("SA 0 ack 1 win 60000 mss 1460");
	OUT("A 1 ack 1");
	script_send(&t, 100);
	OUT("AP 1+100 ack 1 tos 0");
	CLOSE();
}

Test(tcp_ecn, syn_sent_late_agreement_after_the_fallback_echoes_but_sends_no_ect)
{
	open_ecn(2);
	script_connect(&t);
	OUT("SEW 0 mss 1460 sackok ts 0/0 ws 5");
	script_until_sent(&t, 2000);
	OUT("S 0 mss 1460 sackok ts 0/0 ws 5");
	IN("SAE 0 ack 1 win 60000 mss 1460"); /* to the first SYN, late */
	OUT("A 1 ack 1");
	script_send(&t, 100);
	OUT("AP 1+100 ack 1 tos 0");
	IN("A 1+10 ack 101 tos 3");
	OUT("AE 101 ack 11");
	CLOSE();
}

Test(tcp_ecn, syn_sent_simultaneous_open_agrees_when_both_asked)
{
	open_ecn(2);
	script_connect(&t);
	OUT("SEW 0 mss 1460 sackok ts 0/0 ws 5");
	IN("SEW 0 win 60000 mss 1460");
	OUT("SAE 0 ack 1 mss 1460");
	IN("A 1 ack 1 win 60000");
	script_send(&t, 100);
	OUT("AP 1+100 ack 1 tos 2");
	CLOSE();
}

Test(tcp_ecn, syn_sent_simultaneous_open_does_not_agree_to_what_we_did_not_ask)
{
	open_ecn(1);
	script_connect(&t);
	OUT("S 0 mss 1460 sackok ts 0/0 ws 5");
	IN("SEW 0 win 60000 mss 1460");
	OUT("SA 0 ack 1 mss 1460");
	IN("A 1 ack 1 win 60000");
	script_send(&t, 100);
	OUT("AP 1+100 ack 1 tos 0");
	CLOSE();
}

/* --- the receiver: 6.1.3 --- */

Test(tcp_ecn, established_mark_is_echoed_at_once_and_until_cwr)
{
	established();
	for (int i = 0; i < 16; i++) { /* no more quick ACKs */
		char s[64];

		snprintf(s, sizeof(s), "A %d+100 ack 1 win 512 ts 101/_", 1 + 100 * i);
		IN(s);
	}
	script_ignore(&t);
	IN("A 1601+100 ack 1 win 512 ts 101/_ tos 2");
	QUIET();
	IN("A 1701+100 ack 1 win 512 ts 101/_ tos 3");
	OUT("AE 1 ack 1801 tos 0");
	IN("A 1801+1448 ack 1 win 512 ts 101/_ tos 2");
	IN("A 3249+1448 ack 1 win 512 ts 101/_ tos 2");
	OUT("AE 1 ack 4697");
	script_send(&t, 100);
	OUT("APE 1+100 ack 4697 tos 2"); /* on data, too */
	IN("AW 4697+100 ack 101 win 512 ts 101/_ tos 2");
	OUT("A 101 ack 4797");
	cr_expect(qp_tcp_counters(t.tcp)->ecn_marks_in == 1 && !t.wrong);
	CLOSE();
}

Test(tcp_ecn, established_cwr_and_a_new_mark_in_one_segment_go_on_echoing)
{
	established();
	IN("A 1+100 ack 1 win 512 ts 101/_ tos 3");
	OUT("AE 1 ack 101");
	IN("AW 101+100 ack 1 win 512 ts 101/_ tos 3");
	OUT("AE 1 ack 201");
	CLOSE();
}

Test(tcp_ecn, established_marked_super_segment_is_echoed)
{
	established();
	script_in_lro(&t, "A 1+14480 ack 1 win 512 ts 101/_ tos 3", 1448);
	OUT("AE 1 ack 14481");
	script_in_lro(&t, "AW 14481+14480 ack 1 win 512 ts 101/_ tos 2", 1448);
	OUT("A 1 ack 28961");
	CLOSE();
}

Test(tcp_ecn, established_marks_on_pure_acks_old_text_and_beyond_the_window_are_ignored)
{
	established();
	IN("A 1+100 ack 1 win 512 ts 101/_ tos 2");
	OUT("A 1 ack 101");
	IN("A 101 ack 1 win 512 ts 101/_ tos 3");
	QUIET();
	IN("A 1+100 ack 1 win 512 ts 101/_ tos 3"); /* sent before: not in the window (6.1.5) */
	OUT("A 1 ack 101");
	IN("A 3000000+100 ack 1 win 512 ts 101/_ tos 3");
	OUT("A 1 ack 101");
	cr_expect(qp_tcp_counters(t.tcp)->ecn_marks_in == 0);
	CLOSE();
}

Test(tcp_ecn, established_mark_on_out_of_order_text_is_echoed)
{
	established();
	IN("A 101+100 ack 1 win 512 ts 101/_ tos 3");
	OUT("AE 1 ack 1 sack 101-201");
	CLOSE();
}

/* --- the sender: 6.1.2 --- */

Test(tcp_ecn, established_echo_reduces_cwnd_once_a_window_and_says_cwr_alone)
{
	uint32_t cwnd;

	established();
	script_send(&t, 14480);
	OUT("AP 1+14480 ack 1 tos 2");
	cwnd = t.c->cwnd;
	WAIT_MS(20);
	IN("AE 1 ack 2897 win 512 ts 110/_");
	cr_expect(t.c->cwnd < cwnd && t.c->cwnd == t.c->ssthresh, "%u", t.c->cwnd);
	cr_expect(qp_tcp_counters(t.tcp)->ecn_reductions == 1);
	cr_expect(qp_tcp_counters(t.tcp)->retrans_segs == 0 && t.c->ca == QP_CA_OPEN);
	cwnd = t.c->cwnd;
	IN("AE 1 ack 5793 win 512 ts 110/_");
	IN("AE 1 ack 14481 win 512 ts 110/_"); /* all of that window: still the same news */
	cr_expect(t.c->cwnd == cwnd && qp_tcp_counters(t.tcp)->ecn_reductions == 1);
	QUIET();
	script_send(&t, 8000);
	OUT("AW 14481+1448 ack 1 tos 2"); /* no super-segment */
	OUT("AP 15929+6552 ack 1 tos 2");
	WAIT_MS(20);
	IN("A 1 ack 22481 win 512 ts 120/_");
	script_send(&t, 3000);
	OUT("AP 22481+3000 ack 1 tos 2");
	IN("AE 1 ack 25481 win 512 ts 130/_"); /* a new window, a new mark */
	cr_expect(qp_tcp_counters(t.tcp)->ecn_reductions == 2);
	CLOSE();
}

Test(tcp_ecn, established_echo_in_slow_start_does_not_grow_cwnd)
{
	established();
	script_send(&t, 14480);
	script_ignore(&t);
	IN("AE 1 ack 14481 win 512 ts 110/_");
	cr_expect(t.c->cwnd <= 14480 * 7 / 10 + 1, "%u", t.c->cwnd);
	CLOSE();
}

Test(tcp_ecn, established_echo_without_agreement_is_ignored)
{
	uint32_t cwnd;

	open_ecn(1);
	script_establish(&t);
	script_send(&t, 14480);
	OUT("AP 1+14480 ack 1 tos 0");
	cwnd = t.c->cwnd;
	IN("AE 1 ack 2897 win 512 ts 110/_");
	cr_expect(t.c->cwnd >= cwnd && qp_tcp_counters(t.tcp)->ecn_reductions == 0);
	CLOSE();
}

Test(tcp_ecn, established_retransmission_is_not_ect_and_a_loss_says_cwr)
{
	established();
	WAIT_MS(10);
	script_send(&t, 14480);
	OUT("AP 1+14480 ack 1 tos 2");
	WAIT_MS(20);
	IN("A 1 ack 1449 win 512 ts 110/_ sack 2897-14481");
	OUT("A 1449+1448 ack 1 tos 0");
	script_send(&t, 4000);
	script_ignore(&t);
	IN("A 1 ack 14481 win 512 ts 112/_");
	script_ignore(&t);
	cr_expect(!(t.c->ecn & QP_ECN_CWR), "CWR went out with new data");
	CLOSE();
}

Test(tcp_ecn, established_echo_and_loss_of_one_window_reduce_once)
{
	uint32_t ssthresh;

	established();
	WAIT_MS(10);
	script_send(&t, 14480);
	script_ignore(&t);
	WAIT_MS(20);
	IN("AE 1 ack 1449 win 512 ts 110/_");
	ssthresh = t.c->ssthresh;
	IN("AE 1 ack 1449 win 512 ts 110/_ sack 2897-14481");
	cr_expect(t.c->ca == QP_CA_RECOVERY && t.c->ssthresh == ssthresh);
	CLOSE();
}

Test(tcp_ecn, established_echo_in_recovery_forbids_to_take_the_reduction_back)
{
	established();
	WAIT_MS(10);
	script_send(&t, 14480);
	OUT("AP 1+14480 ack 1");
	uint32_t ts = t.last_tsval;
	t.c->flags &= ~QP_TF_SACK;
	WAIT_MS(1500);
	cr_expect(t.c->ca == QP_CA_LOSS);
	script_ignore(&t);
	char s[96];
	snprintf(s, sizeof(s), "AE 1 ack 2897 win 512 ts 200/%u", ts);
	IN(s);
	cr_expect(t.c->ca == QP_CA_LOSS && t.c->cwnd < 14480);
	CLOSE();
}

Test(tcp_ecn, established_probes_fins_and_resets_are_not_ect)
{
	open_ecn(1);
	IN("SEW 0 win 65535 mss 1460");
	OUT("SAE 0 ack 1 mss 1460");
	IN("A 1 ack 1 win 1000");
	script_send(&t, 2000);
	OUT("A 1+1000 ack 1 tos 2");
	IN("A 1 ack 1001 win 0");
	WAIT_MS(210);
	OUT("A 1000 ack 1 tos 0"); /* 6.1.6 */
	IN("A 1 ack 1001 win 5000");
	OUT("AP 1001+1000 ack 1 tos 2");
	IN("A 1 ack 2001 win 5000");
	qp_tcp_shutdown(t.c);
	script_flush(&t);
	OUT("AF 2001 ack 1 tos 0");
	qp_tcp_abort(t.c);
	OUT("RA 2002 ack 1 tos 0");
	script_flush(&t);
	CLOSE();
}

Test(tcp_ecn, established_reset_says_no_ece)
{
	established();
	IN("A 1+100 ack 1 win 512 ts 101/_ tos 3");
	OUT("AE 1 ack 101");
	qp_tcp_abort(t.c);
	OUT("RA 1 ack 101");
	script_flush(&t);
	CLOSE();
}
