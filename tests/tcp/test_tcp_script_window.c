/* SPDX-License-Identifier: Apache-2.0 */
/* Windows, both ways: RFC 9293, 3.8.6; RFC 7323, 2; RFC 1122, 4.2.3.4. */
#include "tests/tcp/script_short.h"

TestSuite(tcp_window, .init = script_suite_start);

static void
open_with(uint32_t rcv_buf, uint32_t user_timeout_s)
{
	script_config(&t.cfg);
	t.cfg.max_conns = 256;
	t.cfg.rcv_buf_bytes = rcv_buf;
	t.cfg.user_timeout_s = user_timeout_s;
	script_open_cfg(&t);
}

/* --- the peer's window --- */

/* RFC 7323, 2.2: the window of a SYN is never scaled, that of what follows is. */
Test(tcp_window, syn_ack_window_is_not_scaled_the_acks_is)
{
	OPEN();
	script_connect(&t);
	OUT("S 0 mss 1460 sackok ts 0/0 ws 5");
	IN("SA 0 ack 1 win 3000 mss 1000 sackok ts 9/_ ws 7");
	OUT("A 1 ack 1");
	cr_expect(t.c->snd_wnd == 3000);
	script_send(&t, 10000);
	OUT("A 1+2964 ack 1"); /* three segments of 988 bytes */
	QUIET();
	IN("A 1 ack 2965 win 24 ts 10/_");
	cr_expect(t.c->snd_wnd == 24 << 7);
	OUT("A 2965+2964 ack 1");
	CLOSE();
}

/* RFC 9293, 3.4: the field is unsigned, its highest bit a number like others. */
Test(tcp_window, established_window_with_its_highest_bit_set_is_used_whole)
{
	PLAIN(40000);
	cr_expect(t.c->snd_wnd == 40000);
	t.c->cwnd = 100000;
	script_send(&t, 60000);
	OUT("A 1+39420 ack 1"); /* 27 whole segments: no silly remainder */
	QUIET();
	IN("A 1 ack 39421 win 65535");
	OUT("A 39421+20580 ack 1");
	CLOSE();
}

/* RFC 9293, 3.8.6: a window that shrank binds new data; what is beyond is not sent. */
Test(tcp_window, established_peer_shrinks_its_window_no_new_data_goes_beyond)
{
	PLAIN(10000);
	script_send(&t, 7300);
	OUT("A 1+7300 ack 1");
	IN("A 1 ack 1461 win 3000"); /* the edge: from 10001 back to 4461 */
	script_send(&t, 5000);
	QUIET();
	IN("A 1 ack 7301 win 3000");
	OUT("A 7301+2920 ack 1");
	CLOSE();
}

/* RFC 9293, 3.8.6 (SHLD-16): what was sent before the window shrank is sent again as ever. */
Test(tcp_window, established_peer_shrinks_its_window_lost_data_is_still_repaired)
{
	PLAIN(10000);
	script_send(&t, 2920);
	OUT("A 1+2920 ack 1");
	IN("A 1 ack 1 win 100");
	cr_expect(script_until_sent(&t, 2000) < 1100);
	OUT("A 1+1460 ack 1");
	CLOSE();
}

/*
 * RFC 9293, 3.8.6.1 (MUST-37): a peer that answers with a closed window is
 * kept, however long: also when it closed it over data that was in flight.
 */
Test(tcp_window, established_window_closed_over_data_in_flight_is_kept_while_answered)
{
	PLAIN(10000);
	script_send(&t, 2920);
	OUT("A 1+2920 ack 1");
	IN("A 1 ack 1 win 0");
	for (int i = 0; i < 60 && !t.ended; i++) {
		WAIT_MS(20000);
		script_ignore(&t);
		if (!t.ended)
			IN("A 1 ack 1 win 0");
	}
	cr_assert(!t.ended, "20 minutes of answers");
	IN("A 1 ack 1 win 10000");
	cr_expect(script_until_sent(&t, 62000) < 61000, "it is tried again");
	script_ignore(&t);
	IN("A 1 ack 2921 win 10000");
	cr_expect(t.acked == 2920);
	CLOSE();
}

/* The same for a FIN that found the window closed. */
Test(tcp_window, fin_wait_1_fin_into_a_closed_window_is_kept_while_answered)
{
	PLAIN(1000);
	script_send(&t, 1000);
	OUT("A 1+1000 ack 1");
	IN("A 1 ack 1001 win 0");
	SHUTDOWN();
	for (int i = 0; i < 60 && !t.ended; i++) {
		WAIT_MS(20000);
		script_ignore(&t);
		if (!t.ended)
			IN("A 1 ack 1001 win 0");
	}
	cr_assert(!t.ended, "20 minutes of answers");
	IN("A 1 ack 1002 win 0");
	STATE(FIN_WAIT_2);
	CLOSE();
}

/* RFC 9293, 3.8.6.1: the interval between probes grows, up to a limit. */
Test(tcp_window, established_zero_window_probes_back_off)
{
	PLAIN(1000);
	script_send(&t, 2000);
	OUT("A 1+1000 ack 1");
	IN("A 1 ack 1001 win 0");
	for (uint32_t wait = 200; wait < 60000; wait *= 2) {
		uint32_t ms = script_until_sent(&t, 120000);

		cr_expect(ms >= wait && ms <= wait + wait / 8 + 3, "%u ms after the last, not %u", ms, wait);
		OUT("A 1000 ack 1");
		IN("A 1 ack 1001 win 0");
	}
	cr_expect(script_until_sent(&t, 120000) <= 60001);
	CLOSE();
}

/* A probe is answered by a window that opened meanwhile: data goes at once. */
Test(tcp_window, established_lost_window_update_is_found_by_the_probe)
{
	PLAIN(1000);
	script_send(&t, 2000);
	OUT("A 1+1000 ack 1");
	IN("A 1 ack 1001 win 0");
	script_until_sent(&t, 1000); /* the peer's update was lost: only the probe's answer tells */
	OUT("A 1000 ack 1");
	IN("A 1 ack 1001 win 1000");
	OUT("A 1001+1000 ack 1");
	QUIET();
	CLOSE();
}

/* RFC 5482, by configuration: the user timeout ends an unanswered zero window sooner than R2. */
Test(tcp_window, established_zero_window_unanswered_ends_at_the_user_timeout)
{
	open_with(1 << 20, 20);
	script_establish_plain(&t, 1000);
	script_send(&t, 2000);
	IN("A 1 ack 1001 win 0");
	WAIT_MS(19000);
	cr_expect(!t.ended);
	WAIT_MS(32000);
	cr_expect(t.ended && t.why == QP_TCP_END_TIMEOUT);
	CLOSE();
}

Test(tcp_window, established_unanswered_data_ends_at_the_user_timeout)
{
	open_with(1 << 20, 10);
	script_establish_plain(&t, 10000);
	script_send(&t, 100);
	WAIT_MS(9000);
	cr_expect(!t.ended);
	WAIT_MS(10000);
	cr_expect(t.ended && t.why == QP_TCP_END_TIMEOUT);
	CLOSE();
}

/* RFC 9293, 3.8.6.2.1: a window below a segment is used after the override timeout. */
Test(tcp_window, established_window_below_a_segment_is_used_after_a_wait)
{
	PLAIN(10000);
	script_send(&t, 1000);
	OUT("A 1+1000 ack 1");
	IN("A 1 ack 1001 win 100");
	script_send(&t, 3000);
	QUIET();
	cr_expect(script_until_sent(&t, 2000) >= 200);
	OUT("A 1001+100 ack 1");
	CLOSE();
}

/* … but at least half of the largest window ever offered goes at once. */
Test(tcp_window, established_half_of_the_largest_window_goes_at_once)
{
	PLAIN(1000);
	script_send(&t, 1000);
	OUT("A 1+1000 ack 1");
	IN("A 1 ack 1001 win 500");
	script_send(&t, 3000);
	OUT("A 1001+500 ack 1");
	QUIET();
	CLOSE();
}

/* RFC 9293, 3.10.7.4 (SND.WL1, SND.WL2): an older segment's window changes nothing. */
Test(tcp_window, established_older_segment_does_not_change_the_window)
{
	PLAIN(10000);
	IN("A 1+100 ack 1 win 8000");
	script_ignore(&t);
	IN("A 101 ack 1 win 6000");
	cr_expect(t.c->snd_wnd == 6000);
	IN("A 1+100 ack 1 win 9000"); /* again, late */
	script_ignore(&t);
	cr_expect(t.c->snd_wnd == 6000);
	CLOSE();
}

/* A window update is no duplicate ACK (RFC 5681, 2). */
Test(tcp_window, established_window_updates_are_no_duplicates)
{
	PLAIN(20000);
	WAIT_MS(1);
	script_send(&t, 7300);
	script_ignore(&t);
	IN("A 1 ack 1 win 20100");
	IN("A 1 ack 1 win 20200");
	IN("A 1 ack 1 win 20300");
	IN("A 1 ack 1 win 20400");
	QUIET();
	cr_expect(COUNTER(fast_recoveries) == 0);
	CLOSE();
}

/* --- ours --- */

/* RFC 9293, 3.8.6.2.2: the edge stands while the application reads little, and jumps when it is worth it. */
Test(tcp_window, established_application_reads_bits_the_window_opens_by_a_segment)
{
	open_with(10000, 0);
	t.hold = true;
	script_establish_plain(&t, 10000);
	for (int i = 0; i < 10; i++)
		INF("A %d+1000 ack 1", 1 + 1000 * i);
	script_ignore(&t);
	cr_assert(t.c->rcv_adv == t.c->rcv_nxt, "closed");
	for (int i = 0; i < 14; i++) {
		script_consume(&t, 100);
		QUIET();
	}
	script_consume(&t, 2000); /* two segments: an update of its own */
	OUT("A 1 ack 10001 win 3400");
	QUIET();
	CLOSE();
}

/* A probe of one octet into our closed window is refused and answered (3.8.6.1). */
Test(tcp_window, established_probe_into_our_closed_window_is_answered)
{
	open_with(3000, 0);
	t.hold = true;
	script_establish_plain(&t, 10000);
	IN("A 1+1460 ack 1");
	IN("A 1461+1460 ack 1");
	IN("A 2921+80 ack 1");
	script_ignore(&t);
	IN("A 3001+1 ack 1");
	OUT("A 1 ack 3001 win 0");
	cr_expect(t.received == 3000);
	IN("A 3000 ack 1"); /* and one with an old number */
	OUT("A 1 ack 3001 win 0");
	script_consume(&t, 3000);
	OUT("A 1 ack 3001 win 3000");
	IN("A 3001+1 ack 1");
	cr_expect(t.received == 3001);
	CLOSE();
}

/* A FIN into our closed window waits until there is room for the text before it. */
Test(tcp_window, established_fin_into_our_closed_window_is_taken_when_it_opens)
{
	open_with(2000, 0);
	t.hold = true;
	script_establish_plain(&t, 10000);
	IN("A 1+1460 ack 1");
	IN("A 1461+540 ack 1");
	script_ignore(&t);
	IN("AF 2001+100 ack 1");
	OUT("A 1 ack 2001 win 0");
	cr_expect(t.ends == 0);
	script_consume(&t, 2000);
	OUT("A 1 ack 2001 win 2000");
	IN("AF 2001+100 ack 1");
	OUT("A 1 ack 2102");
	cr_expect(t.ends == 1 && t.received == 2100);
	CLOSE();
}

/* RFC 9293, 3.8.6: a buffer that is made smaller does not take back what was offered. */
Test(tcp_window, established_smaller_buffer_does_not_shrink_the_window)
{
	open_with(20000, 0);
	t.hold = true;
	script_establish_plain(&t, 10000);
	qp_tcp_set_rcv_buf(t.c, 5000);
	IN("A 1+1000 ack 1");
	OUT("A 1 ack 1001 win 19000");
	for (int i = 1; i < 20; i++)
		INF("A %d+1000 ack 1", 1 + 1000 * i);
	script_ignore(&t);
	cr_expect(t.received == 20000 && COUNTER(drop_out_of_window) == 0);
	script_consume(&t, 20000);
	OUT("A 1 ack 20001 win 5000");
	CLOSE();
}

/* RFC 7323, 2.3: a scale above 14 is taken as 14. */
Test(tcp_window, listen_syn_with_a_scale_above_14_is_taken_as_14)
{
	OPEN();
	IN("S 0 win 1000 mss 1460 ws 15");
	OUT("SA 0 ack 1 mss 1460 ws 5");
	IN("A 1 ack 1 win 2");
	cr_assert(t.c != NULL);
	cr_expect(t.c->snd_wscale == 14 && t.c->snd_wnd == 2u << 14);
	CLOSE();
}
