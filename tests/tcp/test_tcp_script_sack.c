/* SPDX-License-Identifier: Apache-2.0 */
/* Selective acknowledgment, sent and used: RFC 2018, 2883, 6675, 8985. */
#include "tests/tcp/script_short.h"

TestSuite(tcp_sack, .init = script_suite_start);

/* RFC 2883, 4: what is double in a waiting block is followed by that block. */
Test(tcp_sack, established_text_twice_in_a_waiting_block_is_followed_by_that_block)
{
	ESTABLISHED();
	IN("A 1001+1000 ack 1 win 512 ts 101/_");
	OUT("A 1 ack 1 sack 1001-2001");
	IN("A 3001+500 ack 1 win 512 ts 101/_");
	OUT("A 1 ack 1 sack 3001-3501 sack 1001-2001");
	IN("A 5001+500 ack 1 win 512 ts 101/_");
	OUT("A 1 ack 1 sack 5001-5501 sack 3001-3501 sack 1001-2001");
	IN("A 1201+300 ack 1 win 512 ts 101/_");
	OUT("A 1 ack 1 sack 1201-1501 sack 1001-2001 sack 5001-5501");
	CLOSE();
}

static void
establish_sack_only(void)
{
	OPEN();
	IN("S 0 win 65535 mss 1460 sackok");
	OUT("SA 0 ack 1 mss 1460 sackok");
	WAIT_MS(20);
	IN("A 1 ack 1");
	script_ignore(&t);
}

/* RFC 2018, 3: four blocks fit beside no option, three beside timestamps. */
Test(tcp_sack, established_four_blocks_without_timestamps_three_with)
{
	establish_sack_only();
	for (int i = 1; i <= 6; i++)
		INF("A %d+100 ack 1", 1 + 1000 * i);
	for (int i = 0; i < 5; i++)
		rte_pktmbuf_free(t.out[t.out_tail++ % 256]);
	OUT("A 1 ack 1 sack 6001-6101 sack 5001-5101 sack 4001-4101 sack 3001-3101");
	CLOSE();
	ESTABLISHED();
	for (int i = 1; i <= 6; i++)
		INF("A %d+100 ack 1 win 512 ts 101/_", 1 + 1000 * i);
	for (int i = 0; i < 5; i++)
		rte_pktmbuf_free(t.out[t.out_tail++ % 256]);
	OUT("A 1 ack 1 sack 6001-6101 sack 5001-5101 sack 4001-4101");
	CLOSE();
}

/* RFC 2018, 4: the first block has the segment that caused the ACK, grown or not. */
Test(tcp_sack, established_first_block_has_the_latest_segment)
{
	ESTABLISHED();
	IN("A 1001+100 ack 1 win 512 ts 101/_");
	OUT("A 1 ack 1 sack 1001-1101");
	IN("A 2001+100 ack 1 win 512 ts 101/_");
	OUT("A 1 ack 1 sack 2001-2101 sack 1001-1101");
	IN("A 1101+100 ack 1 win 512 ts 101/_");
	OUT("A 1 ack 1 sack 1001-1201 sack 2001-2101");
	IN("A 1901+100 ack 1 win 512 ts 101/_");
	OUT("A 1 ack 1 sack 1901-2101 sack 1001-1201");
	IN("A 1201+700 ack 1 win 512 ts 101/_"); /* they meet */
	OUT("A 1 ack 1 sack 1001-2101");
	CLOSE();
}

/* RFC 2018, 2: without SACK-permitted in both SYNs none is sent, and none is believed. */
Test(tcp_sack, established_without_permission_none_is_sent_or_believed)
{
	PLAIN(65535);
	IN("A 1001+100 ack 1");
	OUT("A 1 ack 1");
	cr_expect(qp_tcp_mss(t.c) == 1460, "no room is kept for it");
	script_send(&t, 14600);
	script_ignore(&t);
	IN("A 1 ack 1 sack 1461-14601");
	cr_expect(t.c->x->sacked_bytes == 0);
	CLOSE();
}

/* Data that carries blocks is shorter by them: no packet above the MTU. */
Test(tcp_sack, established_blocks_beside_data_shorten_it)
{
	ESTABLISHED();
	IN("A 1001+100 ack 1 win 512 ts 101/_");
	script_ignore(&t);
	cr_expect(qp_tcp_mss(t.c) == 1460 - 12 - 12);
	script_send(&t, 1440);
	OUT("A 1+1440 ack 1 sack 1001-1101"); /* as a super-segment of 1436 and 4 */
	CLOSE();
}

/* RFC 2883, 4.1: wholly below the ACK. */
Test(tcp_sack, established_old_segment_is_reported_below_the_ack)
{
	ESTABLISHED();
	IN("A 1+1000 ack 1 win 512 ts 101/_");
	OUT("A 1 ack 1001");
	IN("A 501+500 ack 1 win 512 ts 101/_");
	OUT("A 1 ack 1001 sack 501-1001");
	IN("A 1001+10 ack 1 win 512 ts 101/_"); /* once */
	OUT("A 1 ack 1011");
	cr_expect(t.out_head == t.out_tail);
	CLOSE();
}

/* A FIN that waits behind a hole is part of its block. */
Test(tcp_sack, established_fin_behind_a_hole_is_part_of_its_block)
{
	ESTABLISHED();
	IN("AF 1001+100 ack 1 win 512 ts 101/_");
	OUT("A 1 ack 1 sack 1001-1102");
	CLOSE();
}

/* --- the scoreboard --- */

/* Holes go again in order, first to last; what is SACKed does not. */
Test(tcp_sack, recovery_holes_go_again_in_order_and_no_more)
{
	ESTABLISHED();
	WAIT_MS(10);
	script_send(&t, 14480);
	script_ignore(&t);
	WAIT_MS(20);
	IN("A 1 ack 1 win 512 ts 110/_ sack 1449-2897 sack 4345-5793 sack 8689-14481");
	OUT("A 1+1448 ack 1");
	WAIT_MS(20);
	IN("A 1 ack 2897 win 512 ts 130/_ sack 4345-5793 sack 8689-14481");
	OUT("A 2897+1448 ack 1");
	WAIT_MS(20);
	IN("A 1 ack 5793 win 512 ts 150/_ sack 8689-14481");
	OUT("A 5793+2896 ack 1");
	WAIT_MS(20);
	IN("A 1 ack 14481 win 512 ts 170/_");
	cr_expect(t.acked == 14480 && COUNTER(retrans_bytes) == 4 * 1448);
	cr_expect(t.c->ca == QP_CA_OPEN && COUNTER(rto_fired) == 0);
	CLOSE();
}

/* The same block again, and a smaller one within it, add nothing. */
Test(tcp_sack, established_block_again_and_within_adds_nothing)
{
	ESTABLISHED();
	script_send(&t, 14480);
	script_ignore(&t);
	IN("A 1 ack 1 win 512 ts 102/_ sack 5793-8689");
	cr_expect(t.c->x->sacked_bytes == 2896);
	IN("A 1 ack 1 win 512 ts 102/_ sack 5793-8689");
	IN("A 1 ack 1 win 512 ts 102/_ sack 7241-8689");
	cr_expect(t.c->x->sacked_bytes == 2896);
	IN("A 1 ack 1 win 512 ts 102/_ sack 4345-10137"); /* grown on both sides */
	cr_expect(t.c->x->sacked_bytes == 5792);
	CLOSE();
}

/* An ACK that passes a SACKed range takes it off the scoreboard. */
Test(tcp_sack, established_ack_over_and_into_sacked_ranges)
{
	ESTABLISHED();
	WAIT_MS(10);
	script_send(&t, 14480);
	script_ignore(&t);
	IN("A 1 ack 1 win 512 ts 102/_ sack 2897-5793");
	script_ignore(&t);
	IN("A 1 ack 4345 win 512 ts 102/_"); /* into it */
	cr_expect(t.c->x->sacked_bytes == 1448);
	IN("A 1 ack 7241 win 512 ts 102/_"); /* over it */
	cr_expect(t.c->x->sacked_bytes == 0 && t.acked == 7240);
	CLOSE();
}

/* Of a segment of which only a part is SACKed, all goes again. */
Test(tcp_sack, established_part_of_a_segment_does_not_count)
{
	ESTABLISHED();
	script_send(&t, 14480);
	script_ignore(&t);
	IN("A 1 ack 1 win 512 ts 102/_ sack 1500-2000");
	IN("A 1 ack 1 win 512 ts 102/_ sack 1449-2896");
	cr_expect(t.c->x->sacked_bytes == 0);
	IN("A 1 ack 1 win 512 ts 102/_ sack 1400-4400"); /* two whole ones and more */
	cr_expect(t.c->x->sacked_bytes == 2896);
	CLOSE();
}

/* RFC 2018, 8: a timeout with the first range SACKed: the peer has thrown it away. */
Test(tcp_sack, timeout_of_a_peer_that_reneges_sends_all_again)
{
	ESTABLISHED();
	WAIT_MS(10);
	script_send(&t, 5792);
	script_ignore(&t);
	IN("A 1 ack 1 win 512 ts 102/_ sack 1449-5793");
	script_ignore(&t);
	IN("A 1 ack 1449 win 512 ts 103/_"); /* and what it had SACKed is gone */
	script_ignore(&t);
	WAIT_MS(2000);
	cr_expect(COUNTER(rto_fired) >= 1);
	script_ignore(&t);
	for (uint32_t una = 1449; una < 5793; una += 1448) {
		INF("A 1 ack %u win 512 ts 200/_", una + 1448);
		script_ignore(&t);
	}
	cr_expect(t.acked == 5792 && t.c->x == NULL);
	CLOSE();
}

/* RFC 2018, 8: SACKed data is not let go of before the ACK. */
Test(tcp_sack, established_sacked_data_is_kept_until_acknowledged)
{
	ESTABLISHED();
	script_send(&t, 5792);
	script_ignore(&t);
	IN("A 1 ack 1 win 512 ts 102/_ sack 1449-5793");
	cr_expect(t.acked == 0 && t.c->x->sndq.bytes == 5792);
	CLOSE();
}

/* Blocks from before SND.UNA or with ends swapped are no reason to send anything. */
Test(tcp_sack, established_old_and_absurd_blocks_are_ignored)
{
	ESTABLISHED();
	script_send(&t, 14480);
	script_ignore(&t);
	IN("A 1 ack 2897 win 512 ts 102/_");
	script_ignore(&t);
	IN("A 1 ack 2897 win 512 ts 103/_ sack 1-1449");
	IN("A 1 ack 2897 win 512 ts 103/_ sack 8000-7000 sack 9000-9000");
	IN("A 1 ack 2897 win 512 ts 103/_ sack 2897-400000");
	cr_expect(t.c->x->sacked_bytes == 0 && t.c->x->lost_bytes == 0);
	CLOSE();
}

/* The FIN too can be SACKed, and lost text before it goes again alone. */
Test(tcp_sack, fin_wait_1_sacked_fin_is_not_sent_again)
{
	ESTABLISHED();
	WAIT_MS(10);
	script_send(&t, 4344);
	SHUTDOWN();
	script_ignore(&t);
	WAIT_MS(20);
	IN("A 1 ack 1 win 512 ts 110/_ sack 1449-4346");
	script_until_sent(&t, 100);
	OUT("A 1+1448 ack 1");
	QUIET();
	IN("A 1 ack 4346 win 512 ts 130/_");
	STATE(FIN_WAIT_2);
	cr_expect(t.acked == 4344);
	CLOSE();
}
