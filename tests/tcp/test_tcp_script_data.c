/* SPDX-License-Identifier: Apache-2.0 */
/* Text in ESTABLISHED: RFC 9293, 3.10.7.4; acknowledgments (3.8.6.3); PAWS (RFC 7323, 5). */
#include "tests/tcp/script_short.h"

TestSuite(tcp_data, .init = script_suite_start);

/* RFC 9293, 3.8.6.3: an acknowledgment rides on data that goes the other way. */
Test(tcp_data, established_acknowledgment_rides_on_data)
{
	ESTABLISHED();
	settle();
	IN("A 1601+100 ack 1 win 512 ts 102/_");
	QUIET();
	script_send(&t, 50);
	OUT("AP 1+50 ack 1701");
	WAIT_MS(500);
	script_ignore(&t); /* the probe for our own tail, no ACK */
	cr_expect(t.c->last_ack_sent == t.c->rcv_nxt);
	CLOSE();
}

/* … but not on a burst, all of which a full queue drops, while an ACK alone may still fit. */
Test(tcp_data, established_acknowledgment_due_at_once_precedes_a_burst)
{
	ESTABLISHED();
	BURST("A 1+100 ack 1 win 512 ts 101/_");
	script_send(&t, 3 * 1448);
	OUT("A 1 ack 101");
	OUT("AP 1+4344 ack 101");
	QUIET();
	IN("A 101 ack 4345 win 512 ts 102/_");
	BURST("A 101+100 ack 4345 win 512 ts 102/_");
	script_send(&t, 2 * 1448);
	OUT("AP 4345+2896 ack 201");
	QUIET();
	CLOSE();
}

/* What cwnd holds back is no burst. */
Test(tcp_data, established_acknowledgment_rides_where_cwnd_is_small)
{
	ESTABLISHED();
	t.c->cwnd = 2 * 1448;
	BURST("A 1+100 ack 1 win 512 ts 101/_");
	script_send(&t, 5 * 1448);
	OUT("A 1+2896 ack 101");
	QUIET();
	CLOSE();
}

/* An acknowledgment that rides on data: its window is the one that holds then. */
Test(tcp_data, established_data_carries_the_window_of_the_moment)
{
	script_config(&t.cfg);
	t.cfg.max_conns = 16;
	t.cfg.rcv_buf_bytes = 10000;
	script_open_cfg(&t);
	t.hold = true;
	script_establish_plain(&t, 10000);
	IN("A 1+1000 ack 1");
	OUT("A 1 ack 1001 win 9000");
	script_send(&t, 10);
	OUT("A 1+10 ack 1001 win 9000");
	script_consume(&t, 1000);
	script_ignore(&t);
	IN("A 1001+2000 ack 11");
	OUT("A 11 ack 3001 win 7000"); /* the edge moves by a segment or not at all */
	script_consume(&t, 1000);
	script_send(&t, 10);
	OUT("A 11+10 ack 3001 win 9000");
	CLOSE();
}

/* 3.8.6.3: a lone segment is acknowledged after 40 ms, well within half a second. */
Test(tcp_data, established_lone_segment_is_acknowledged_after_the_delay)
{
	ESTABLISHED();
	settle();
	IN("A 1601+100 ack 1 win 512 ts 102/_");
	uint32_t ms = script_until_sent(&t, 1000);

	cr_expect(ms >= 40 && ms <= 42, "%u ms", ms);
	OUT("A 1 ack 1701");
	WAIT_MS(1000);
	QUIET();
	CLOSE();
}

/* RFC 5681, 4.2: what fills a gap is acknowledged at once. */
Test(tcp_data, established_gap_filled_is_acknowledged_at_once)
{
	ESTABLISHED();
	settle();
	IN("A 1701+100 ack 1 win 512 ts 102/_");
	OUT("A 1 ack 1601 sack 1701-1801");
	IN("A 1601+50 ack 1 win 512 ts 102/_"); /* part of the gap */
	WAIT_MS(41);
	OUT("A 1 ack 1651 sack 1701-1801");
	IN("A 1651+50 ack 1 win 512 ts 102/_");
	OUT("A 1 ack 1801");
	CLOSE();
}

/* … and so are the next 16 segments: a small window after a loss cannot wait for a second one. */
Test(tcp_data, established_after_a_gap_lone_segments_are_acknowledged_at_once)
{
	ESTABLISHED();
	settle();
	IN("A 1701+100 ack 1 win 512 ts 102/_");
	OUT("A 1 ack 1601 sack 1701-1801");
	IN("A 1601+100 ack 1 win 512 ts 102/_");
	OUT("A 1 ack 1801");
	IN("A 1801+100 ack 1 win 512 ts 103/_");
	OUT("A 1 ack 1901");
	for (uint32_t i = 0; i < 14; i++) {
		char in[64], out[32];

		snprintf(in, sizeof(in), "A %u+100 ack 1 win 512 ts 104/_", 1901 + 100 * i);
		snprintf(out, sizeof(out), "A 1 ack %u", 2001 + 100 * i);
		IN(in);
		OUT(out);
	}
	IN("A 3301+100 ack 1 win 512 ts 105/_");
	QUIET();
	CLOSE();
}

/* 3.10.7.4, first: all outside the window is answered by an ACK, except resets. */
Test(tcp_data, established_outside_the_window_is_acknowledged_a_reset_is_not)
{
	static const struct {
		const char *in;
		bool answered;
	} cases[] = {
		{"A 3000000 ack 1 win 512 ts 101/_", true},
		{"A 3000000+100 ack 1 win 512 ts 101/_", true},
		{"AF 3000000 ack 1 win 512 ts 101/_", true},
		{"S 3000000 win 512 ts 101/_", true},
		{"SA 3000000 ack 1 win 512 ts 101/_", true},
		{"A 0 ack 1 win 512 ts 101/_", true},
		{"A 0+1 ack 1 win 512 ts 101/_", true},
		{"R 3000000", false},
		{"RA 3000000 ack 1", false},
		{"R 0", false},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		ESTABLISHED();
		IN(cases[i].in);
		if (cases[i].answered)
			OUT("A 1 ack 1");
		QUIET();
		cr_expect(!t.ended && t.received == 0 && t.ends == 0, "%s", cases[i].in);
		CLOSE();
	}
}

/* Where the window ends, exactly: the last byte in it is taken, the next one is not. */
Test(tcp_data, established_text_at_the_windows_last_byte)
{
	script_config(&t.cfg);
	t.cfg.max_conns = 16;
	t.cfg.rcv_buf_bytes = 10000;
	script_open_cfg(&t);
	script_establish_plain(&t, 10000);
	IN("A 10000+1 ack 1");
	OUT("A 1 ack 1");
	cr_expect(t.c->ooo_ranges == 1);
	IN("A 10001+1 ack 1");
	OUT("A 1 ack 1");
	cr_expect(t.c->ooo_head->end - t.c->ooo_head->seq == 1);
	CLOSE();
}

/* RFC 9293, 3.10.7.4, fifth (5961, 5.2): old ACKs are ignored, their text is taken. */
Test(tcp_data, established_text_with_an_old_ack_is_taken)
{
	PLAIN(60000);
	script_send(&t, 3000);
	script_ignore(&t);
	IN("A 1 ack 3001 win 60000");
	IN("A 1+100 ack 2000 win 60000");
	OUT("A 3001 ack 101");
	cr_expect(t.received == 100 && t.acked == 3000);
	CLOSE();
}

/* … but not those from before MAX.SND.WND, nor of what was never sent. */
Test(tcp_data, established_text_with_an_ack_from_nowhere_is_challenged)
{
	PLAIN(1000);
	IN("A 1+100 ack 4294960000 win 1000");
	OUT("A 1 ack 1");
	IN("A 1+100 ack 2 win 1000");
	OUT("A 1 ack 1");
	cr_expect(t.received == 0 && COUNTER(challenge_acks) == 2);
	CLOSE();
}

/* RFC 9293, 3.8.5; RFC 6093: urgent data is data. */
Test(tcp_data, established_urgent_text_is_delivered_in_line)
{
	ESTABLISHED();
	IN("AU 1+100 ack 1 win 512 ts 101/_");
	OUT("A 1 ack 101");
	IN("AU 101 ack 1 win 512 ts 101/_"); /* a pointer and nothing else */
	cr_expect(t.received == 100 && !t.wrong);
	CLOSE();
}

/* RFC 9293, 3.8.4: a keep-alive has an old number, with or without a byte of garbage. */
Test(tcp_data, established_keep_alive_of_the_peer_is_answered)
{
	ESTABLISHED();
	IN("A 1+10 ack 1 win 512 ts 101/_");
	script_ignore(&t);
	IN("A 10 ack 1 win 512 ts 102/_");
	OUT("A 1 ack 11");
	IN("A 10+1 ack 1 win 512 ts 103/_");
	OUT("A 1 ack 11");
	cr_expect(t.received == 10);
	CLOSE();
}

/* RFC 5961, 7: whatever is asked, the answers a second are few. */
Test(tcp_data, established_flood_of_old_segments_gets_few_answers)
{
	ESTABLISHED();
	for (int i = 0; i < 200; i++)
		IN("A 0 ack 1 win 512 ts 101/_");
	cr_expect(t.out_head - t.out_tail == QP_TCP_CHALLENGES, "%u answers", t.out_head - t.out_tail);
	script_ignore(&t);
	WAIT_MS(1000);
	IN("A 0 ack 1 win 512 ts 101/_");
	OUT("A 1 ack 1");
	CLOSE();
}

/* --- PAWS --- */

/* RFC 7323, 5.3, R1: an older timestamp is answered by an ACK and brings nothing. */
Test(tcp_data, established_older_timestamp_in_order_brings_nothing)
{
	ESTABLISHED();
	IN("A 1+10 ack 1 win 512 ts 200/_");
	OUT("A 1 ack 11 ts 0/200");
	IN("A 11+10 ack 1 win 512 ts 199/_");
	OUT("A 1 ack 11 ts 0/200");
	IN("AF 11 ack 1 win 512 ts 199/_");
	OUT("A 1 ack 11 ts 0/200");
	cr_expect(t.received == 10 && t.ends == 0 && COUNTER(drop_paws) == 2);
	IN("A 11+10 ack 1 win 512 ts 200/_"); /* the same is not older */
	OUT("A 1 ack 21");
	CLOSE();
}

/* 5.2: "older" is modulo 2^32. */
Test(tcp_data, established_timestamp_wraps_and_is_newer)
{
	OPEN();
	IN("S 0 win 65535 mss 1460 ts 4294967290/0");
	OUT("SA 0 ack 1 mss 1460 ts 0/4294967290");
	IN("A 1 ack 1 win 60000 ts 4294967295/_");
	script_ignore(&t);
	IN("A 1+10 ack 1 win 60000 ts 5/_");
	OUT("A 1 ack 11 ts 0/5");
	IN("A 11+10 ack 1 win 60000 ts 4294967295/_");
	OUT("A 1 ack 11 ts 0/5");
	cr_expect(t.received == 10);
	CLOSE();
}

/* 5.5: after 24 days without a segment a timestamp says nothing any more. */
Test(tcp_data, established_timestamp_is_forgotten_after_24_days)
{
	script_config(&t.cfg);
	t.cfg.max_conns = 16;
	t.cfg.keepalive_s = 0;
	script_open_cfg(&t);
	script_establish(&t);
	IN("A 1+10 ack 1 win 512 ts 2000000000/_");
	script_ignore(&t);
	t.now_ns += UINT64_C(25) * 86400 * QP_SEC_NS;
	qp_wheel_advance(t.wheel, t.now_ns);
	IN("A 11+10 ack 1 win 512 ts 5000/_"); /* its clock has gone round */
	OUT("A 1 ack 21 ts 0/5000");
	cr_expect(t.received == 20);
	CLOSE();
}

/* RFC 7323, 4.3: with an ACK delayed, what is echoed is the earliest segment's timestamp. */
Test(tcp_data, established_delayed_ack_echoes_the_earliest_timestamp)
{
	ESTABLISHED();
	settle();
	IN("A 1601+100 ack 1 win 512 ts 300/_");
	WAIT_MS(10);
	IN("A 1701+100 ack 1 win 512 ts 310/_");
	script_until_sent(&t, 100);
	OUT("A 1 ack 1801 ts 0/300");
	/* A segment out of order is no reason to echo a newer one. */
	IN("A 1901+100 ack 1 win 512 ts 320/_");
	OUT("A 1 ack 1801 ts 0/300");
	CLOSE();
}

/* --- order --- */

/* A window's worth back to front arrives whole; all runs are one in the end. */
Test(tcp_data, established_window_in_reverse_is_delivered_once_complete)
{
	ESTABLISHED();
	for (int i = 99; i > 0; i--)
		INF("A %d+100 ack 1 win 512 ts 101/_", 1 + 100 * i);
	script_ignore(&t);
	cr_expect(t.received == 0 && t.c->ooo_ranges == 1);
	IN("A 1+100 ack 1 win 512 ts 101/_");
	OUT("A 1 ack 10001");
	cr_expect(t.received == 10000 && !t.wrong && t.c->ooo_ranges == 0);
	CLOSE();
}

/* One segment over many holes and runs replaces them all. */
Test(tcp_data, established_segment_over_several_runs_fills_them)
{
	ESTABLISHED();
	IN("A 101+50 ack 1 win 512 ts 101/_");
	IN("A 301+50 ack 1 win 512 ts 101/_");
	IN("A 501+50 ack 1 win 512 ts 101/_");
	script_ignore(&t);
	IN("A 51+600 ack 1 win 512 ts 101/_");
	script_ignore(&t);
	cr_expect(t.c->ooo_ranges == 1);
	IN("A 1+50 ack 1 win 512 ts 101/_");
	OUT("A 1 ack 651");
	cr_expect(t.received == 650 && !t.wrong);
	CLOSE();
}

/* A retransmission cut differently: its front is old, its back is new. */
Test(tcp_data, established_retransmission_of_another_size_brings_its_new_part)
{
	ESTABLISHED();
	IN("A 1+100 ack 1 win 512 ts 101/_");
	OUT("A 1 ack 101");
	IN("A 51+100 ack 1 win 512 ts 101/_");
	OUT("A 1 ack 151 sack 51-101");
	cr_expect(t.received == 150 && !t.wrong);
	CLOSE();
}

/* RFC 1122, 4.2.3.9; RFC 5927: no ICMP error ends an established connection. */
Test(tcp_data, established_unreachable_of_any_kind_is_survived)
{
	ESTABLISHED();
	script_send(&t, 100);
	OUT("A 1+100 ack 1");
	for (uint8_t code = 0; code <= 13; code++) {
		if (code != 4)
			script_icmp(&t, 3, code, 0, 1);
	}
	script_icmp(&t, 11, 0, 0, 1);
	script_icmp(&t, 4, 0, 0, 1); /* source quench: RFC 6633 */
	QUIET();
	cr_expect(!t.ended && t.c->cwnd == 10u * 1448);
	IN("A 1 ack 101 win 512 ts 102/_");
	cr_expect(t.acked == 100);
	CLOSE();
}
