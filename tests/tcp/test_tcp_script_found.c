/* SPDX-License-Identifier: Apache-2.0 */
/* What the fuzz targets found, as a situation a test: state_event_outcome. */
#include <criterion/criterion.h>

#include "tests/tcp/script.h"

TestSuite(tcp, .init = script_suite_start);

static struct script t;

/* RFC 1191 while nothing but our SYN is in flight: what follows it is smaller. */
Test(tcp, syn_received_packet_too_big_lowers_the_segment_size)
{
	script_open(&t);
	IN("S 0 win 1000 mss 1460");
	OUT("SA 0 ack 1 mss 1460");
	script_icmp(&t, 3, 4, 1200, 0);
	QUIET();
	IN("A 1 ack 1 win 60000");
	cr_assert(t.accepted == 1);
	cr_expect(qp_tcp_mss(t.c) == 1200 - 40);
	script_close(&t);
}

/* No SYN of ours is so big. */
Test(tcp, syn_sent_packet_too_big_does_no_harm)
{
	script_open(&t);
	script_connect(&t);
	OUT("S 0 mss 1460 sackok ts 0/0 ws 5");
	script_icmp(&t, 3, 4, 1200, 0);
	QUIET();
	IN("SA 0 ack 1 win 60000 mss 1460");
	cr_expect(t.connected == 1);
	script_close(&t);
}

/* RFC 2883, 4: behind a duplicate comes the block that it lies in, whatever came later. */
Test(tcp, established_duplicate_behind_a_gap_is_reported_with_its_run)
{
	script_open(&t);
	script_establish(&t);
	BURST("A 101+100 ack 1 win 512 ts 101/_");
	OUT("A 1 ack 1 sack 101-201");
	BURST("A 301+100 ack 1 win 512 ts 101/_");
	OUT("A 1 ack 1 sack 301-401 sack 101-201");
	BURST("A 121+20 ack 1 win 512 ts 101/_");
	OUT("A 1 ack 1 sack 121-141 sack 101-201 sack 301-401");
	BURST("A 251+100 ack 1 win 512 ts 101/_");
	OUT("A 1 ack 1 sack 301-351 sack 251-401 sack 101-201");
	script_close(&t);
}

static void
to_time_wait(void)
{
	qp_tcp_shutdown(t.c);
	script_flush(&t);
	script_ignore(&t);
	IN("AF 1 ack 2 win 512 ts 102/_");
	OUT("A 2 ack 2");
}

/* RFC 6191, 2: only what opens a new life ends the watch over the old one. */
Test(tcp, time_wait_syn_that_opens_nothing_leaves_it)
{
	script_open(&t);
	script_establish(&t);
	to_time_wait();
	IN("SF 0 win 9000 mss 1460 ts 110/0");
	OUT("A 2 ack 2");
	qp_tcp_unlisten(t.listener);
	IN("S 0 win 9000 mss 1460 ts 110/0");
	OUT("A 2 ack 2");
	cr_expect(qp_tcp_counters(t.tcp)->conns == 1);
	script_close(&t);
}

/* 3.10.7.4, first: on a closed window no octet is acceptable, new ones behind old ones neither. */
Test(tcp, established_old_text_on_a_closed_window_delivers_nothing)
{
	script_config(&t.cfg);
	t.cfg.rcv_buf_bytes = 1000;
	script_open_cfg(&t);
	script_establish_plain(&t, 9000);
	t.hold = true;
	IN("A 1+1000 ack 1 win 9000");
	OUT("A 1 ack 1001 win 0");
	IN("A 501+1000 ack 1 win 9000");
	OUT("A 1 ack 1001 win 0");
	cr_expect(t.received == 1000 && !t.wrong);
	script_close(&t);
}

/* 3.8.3: who was silent before has not been waited for. */
Test(tcp, established_zero_window_after_a_long_lull_is_probed_first)
{
	script_config(&t.cfg);
	t.cfg.keepalive_s = 0;
	script_open_cfg(&t);
	script_establish(&t);
	script_send(&t, 100);
	OUT("A 1+100 ack 1");
	IN("A 1 ack 101 win 0 ts 101/_");
	t.now_ns += 400 * QP_SEC_NS;
	WAIT_MS(1);
	QUIET();
	script_send(&t, 100);
	cr_expect(script_until_sent(&t, 2000) < 2000);
	cr_assert(!t.ended);
	OUT("A 100 ack 1");
	IN("A 1 ack 101 win 512 ts 500000/_");
	OUT("A 101+100 ack 1");
	script_close(&t);
}

/* RFC 6298, 5: a peer that had no room is not a path that lost segments. */
Test(tcp, established_window_opened_late_loss_is_repaired_soon)
{
	uint32_t ms;

	script_open(&t);
	script_establish(&t);
	script_send(&t, 100);
	OUT("A 1+100 ack 1");
	IN("A 1 ack 101 win 0 ts 101/_");
	script_send(&t, 3000);
	for (int i = 0; i < 8; i++) {
		cr_assert(script_until_sent(&t, 120000) < 120000);
		OUT("A 100 ack 1");
		IN("A 1 ack 101 win 0 ts 102/_");
	}
	IN("A 1 ack 101 win 512 ts 103/_");
	OUT("A 101+3000 ack 1");
	ms = script_until_sent(&t, 120000);
	cr_expect(ms < 1000, "sent again after %u ms", ms);
	script_ignore(&t);
	script_close(&t);
}

/* RFC 5961, 5: what its ACK shows to be forged must not set TS.Recent, which would shut the peer out. */
Test(tcp, established_text_with_a_wrong_ack_leaves_the_timestamp)
{
	script_open(&t);
	script_establish(&t);
	IN("A 1+10 ack 9000 win 512 ts 900000/_");
	OUT("A 1 ack 1 ts 0/101");
	IN("S 1 win 512 ts 900000/_");
	OUT("A 1 ack 1 ts 0/101");
	IN("A 1+10 ack 1 win 512 ts 102/_");
	cr_expect(t.received == 10);
	OUT("A 1 ack 11 ts 0/102");
	script_close(&t);
}

/* RFC 5961, 4.2: "irrespective of the sequence number", and of a missing timestamp. */
Test(tcp, established_syn_without_timestamp_is_challenged)
{
	script_open(&t);
	script_establish(&t);
	IN("S 700000 win 65535 mss 1460");
	OUT("A 1 ack 1");
	IN("S 5 win 65535 mss 1460");
	OUT("A 1 ack 1");
	IN("R 1");
	cr_expect(t.ended && t.why == QP_TCP_END_RESET);
	script_close(&t);
}

/* RFC 8985, 6.2, step 4, after 2 GiB that no duplicate was told of. */
Test(tcp, established_duplicate_after_2_GiB_widens_the_reordering_window)
{
	script_open(&t);
	script_establish(&t);
	t.c->rack_round = t.c->snd_una - INT32_MAX + 10;
	script_send(&t, 5);
	IN("A 1 ack 6 win 512 ts 101/_");
	script_send(&t, 100);
	IN("A 1 ack 106 win 512 ts 101/_");
	script_ignore(&t);
	IN("A 1 ack 106 win 512 ts 101/_ sack 6-106");
	cr_expect(t.c->reo_mult == 2);
	script_close(&t);
}

/* RFC 6582, 3.2, step 2, in a transfer that has lost nothing for 2 GiB. */
Test(tcp, established_three_duplicates_after_2_GiB_retransmit)
{
	script_open(&t);
	script_establish_plain(&t, 60000);
	script_send(&t, 100);
	OUT("A 1+100 ack 1");
	t.c->x->recover = t.c->snd_una - INT32_MAX + 50;
	script_send(&t, 6000);
	script_ignore(&t);
	IN("A 1 ack 41 win 60000");
	IN("A 1 ack 101 win 60000");
	IN("A 1 ack 101 win 60000");
	IN("A 1 ack 101 win 60000");
	IN("A 1 ack 101 win 60000");
	OUT("A 101+1460 ack 1");
	script_close(&t);
}
