/* SPDX-License-Identifier: Apache-2.0 */
/* Retransmission: RFC 6298's timer, RFC 5681 and 6582 without SACK, RFC 8985 with it. */
#include "tests/tcp/script_short.h"

TestSuite(tcp_rtx, .init = script_suite_start);

/* SACK, but no timestamps: no sample from what was sent twice. */
static void
establish_sack_only(void)
{
	script_config(&t.cfg);
	t.cfg.max_conns = 64;
	t.cfg.mtu_probing = false; /* timeouts in a row are no black hole here */
	script_open_cfg(&t);
	IN("S 0 win 65535 mss 1460 sackok");
	OUT("SA 0 ack 1 mss 1460 sackok");
	WAIT_MS(20);
	IN("A 1 ack 1");
	script_ignore(&t);
}

/*
 * RFC 6298, 5: the timer runs from the latest transmission of the first
 * segment, with the RTO that holds then: not with one backed off long ago.
 */
Test(tcp_rtx, recovery_head_sent_again_restarts_the_timer_with_todays_rto)
{
	establish_sack_only();
	script_send(&t, 7300);
	WAIT_MS(3500); /* timeouts until the RTO is seconds */
	script_ignore(&t);
	cr_assert(t.c->rto_ns >= 3 * QP_SEC_NS);
	IN("A 1 ack 1461");
	script_ignore(&t);
	WAIT_MS(20);
	IN("A 1 ack 2921");
	script_ignore(&t);
	script_send(&t, 1460);
	script_ignore(&t);
	WAIT_MS(20);
	IN("A 1 ack 4381"); /* retransmissions all: still no sample */
	script_ignore(&t);
	WAIT_MS(20);
	IN("A 1 ack 4381 sack 7301-8761"); /* new data: an RTT of 20 ms, and the head is lost */
	OUT("A 4381+1460 ack 1");
	cr_expect(t.c->rto_ns < QP_SEC_NS);
	script_ignore(&t);
	cr_expect(script_until_sent(&t, 5000) < 500, "it waits for the old timer");
	OUT("A 4381+1460 ack 1");
	CLOSE();
}

/* The same when the sample that ends the backoff comes after the retransmission. */
Test(tcp_rtx, recovery_sample_after_the_retransmission_shortens_the_timer)
{
	establish_sack_only();
	script_send(&t, 7300);
	WAIT_MS(3500);
	script_ignore(&t);
	IN("A 1 ack 1461");
	WAIT_MS(20);
	IN("A 1 ack 2921");
	script_send(&t, 1460);
	WAIT_MS(20);
	IN("A 1 ack 4381"); /* new data goes out */
	script_ignore(&t);
	WAIT_MS(20);
	IN("A 1 ack 4381 sack 5841-7301"); /* sent twice: no sample, but the head is lost */
	OUT("A 4381+1460 ack 1");
	cr_assert(t.c->rto_ns >= 3 * QP_SEC_NS);
	WAIT_MS(1);
	IN("A 1 ack 4381 sack 5841-8761"); /* the new data: a sample */
	QUIET();
	cr_expect(t.c->rto_ns < QP_SEC_NS);
	cr_expect(script_until_sent(&t, 5000) < 500, "it waits for the old timer");
	OUT("A 4381+1460 ack 1");
	CLOSE();
}

/* RFC 6298, 2.4 and our least: 200 ms, whatever the round trip; it grows with it. */
Test(tcp_rtx, established_timeout_follows_the_round_trip)
{
	static const uint32_t rtts[] = {1, 20, 300, 1000};

	for (size_t i = 0; i < sizeof(rtts) / sizeof(rtts[0]); i++) {
		PLAIN(65535);
		for (int n = 0; n < 30; n++) {
			script_send(&t, 100);
			script_ignore(&t);
			WAIT_MS(rtts[i]);
			INF("A 1 ack %d", 101 + 100 * n);
		}
		script_send(&t, 100);
		OUT("A 3001+100 ack 1");
		uint32_t ms = script_until_sent(&t, 10000);

		cr_expect(ms >= 200 && ms >= rtts[i] && ms <= RTE_MAX(203u, 2 * rtts[i]), "%u ms of %u", ms, rtts[i]);
		OUT("A 3001+100 ack 1");
		CLOSE();
	}
}

/* RFC 6298, 3 (Karn): what was sent twice is no sample, and the backoff stays. */
Test(tcp_rtx, established_ack_of_a_retransmission_is_no_sample)
{
	uint64_t srtt;

	PLAIN(65535);
	srtt = t.c->srtt_ns;
	script_send(&t, 100);
	WAIT_MS(700); /* two timeouts */
	script_ignore(&t);
	IN("A 1 ack 101");
	cr_expect(t.c->srtt_ns == srtt);
	cr_expect(t.c->rto_ns >= 800 * QP_MS_NS);
	script_send(&t, 100);
	script_ignore(&t);
	WAIT_MS(20);
	IN("A 1 ack 201"); /* a sample ends the backoff */
	cr_expect(t.c->rto_ns < 300 * QP_MS_NS);
	CLOSE();
}

/* RFC 7323, 4.1: with timestamps it is one. */
Test(tcp_rtx, established_ack_of_a_retransmission_with_timestamp_is_a_sample)
{
	ESTABLISHED();
	script_send(&t, 100);
	OUT("A 1+100 ack 1");
	for (int i = 0; i < 4; i++) {
		script_until_sent(&t, 10000);
		OUT("A 1+100 ack 1");
	}
	cr_assert(t.c->backoff > 0 && t.c->rto_ns >= QP_SEC_NS);
	IN("A 1 ack 101 win 512 ts 102/_");
	cr_expect(t.c->rto_ns < QP_SEC_NS && t.c->backoff == 0);
	CLOSE();
}

/* RFC 6298, 5.2 and 5.3: an ACK of all stops the timer, of a part restarts it. */
Test(tcp_rtx, established_partial_ack_restarts_the_timer)
{
	PLAIN(65535);
	script_send(&t, 4380);
	OUT("A 1+4380 ack 1");
	WAIT_MS(150);
	IN("A 1 ack 1461");
	WAIT_MS(150);
	QUIET(); /* 300 ms since it was sent, 150 since the ACK */
	IN("A 1 ack 4381");
	WAIT_MS(5000);
	QUIET();
	CLOSE();
}

/* An ACK within a segment: the rest of it is what goes again. */
Test(tcp_rtx, established_ack_within_a_segment_leaves_the_rest)
{
	PLAIN(65535);
	script_send(&t, 2920);
	OUT("A 1+2920 ack 1");
	IN("A 1 ack 701");
	cr_expect(t.acked == 700);
	script_until_sent(&t, 3000);
	OUT("A 701+1460 ack 1");
	IN("A 1 ack 2921");
	cr_expect(t.acked == 2920);
	CLOSE();
}

/* RFC 5681, 3.1 and 5: after a timeout one segment, then slow start over all that was in flight. */
Test(tcp_rtx, timeout_without_sack_repeats_all_from_the_first_hole)
{
	PLAIN(65535);
	script_send(&t, 14600);
	OUT("A 1+14600 ack 1");
	script_until_sent(&t, 3000);
	OUT("A 1+1460 ack 1");
	QUIET();
	IN("A 1 ack 1461");
	OUT("A 1461+2920 ack 1");
	QUIET();
	IN("A 1 ack 2921");
	OUT("A 4381+2920 ack 1");
	IN("A 1 ack 14601"); /* the rest had arrived */
	cr_expect(t.c->ca == QP_CA_OPEN && t.acked == 14600 && COUNTER(retrans_bytes) == 7300);
	CLOSE();
}

/* RFC 3042: the first two duplicates let new data go, not old. */
Test(tcp_rtx, established_two_duplicates_send_new_data)
{
	PLAIN(65535);
	script_send(&t, 29200);
	OUT("A 1+14600 ack 1");
	IN("A 1 ack 1");
	OUT("A 14601+1460 ack 1");
	IN("A 1 ack 1");
	OUT("A 16061+1460 ack 1");
	QUIET();
	cr_expect(COUNTER(retrans_segs) == 0);
	CLOSE();
}

/* RFC 5681, 2: text, and an ACK while nothing is in flight, are no duplicates. */
Test(tcp_rtx, established_text_and_idle_acks_are_no_duplicates)
{
	PLAIN(65535);
	for (int i = 0; i < 5; i++)
		IN("A 1 ack 1");
	script_send(&t, 14600);
	OUT("A 1+14600 ack 1");
	for (int i = 0; i < 5; i++)
		INF("A %d+10 ack 1", 1 + 10 * i);
	script_ignore(&t);
	cr_expect(COUNTER(fast_recoveries) == 0 && COUNTER(retrans_segs) == 0);
	CLOSE();
}

/* RFC 6582, 3.2, step 1: what repeats the ACK that ended a recovery begins no new one. */
Test(tcp_rtx, recovery_ended_late_duplicates_begin_none)
{
	PLAIN(65535);
	script_send(&t, 100);
	IN("A 1 ack 101");
	script_ignore(&t);
	script_send(&t, 29200);
	script_ignore(&t);
	for (int i = 0; i < 9; i++)
		IN("A 1 ack 101");
	cr_assert(COUNTER(fast_recoveries) == 1);
	script_ignore(&t);
	cr_assert(seq_lt(t.c->x->recover, t.c->snd_nxt), "new data went out meanwhile");
	INF("A 1 ack %u", t.c->x->recover - t.iss);
	cr_assert(t.c->ca == QP_CA_OPEN && t.c->x != NULL);
	for (int i = 0; i < 4; i++)
		INF("A 1 ack %u", t.c->snd_una - t.iss);
	cr_expect(COUNTER(fast_recoveries) == 1, "begun again at once");
	CLOSE();
}

/* RFC 6937: recovery ends at ssthresh, and not below two segments. */
Test(tcp_rtx, recovery_ends_with_cwnd_at_ssthresh)
{
	PLAIN(65535);
	script_send(&t, 100);
	IN("A 1 ack 101");
	script_ignore(&t);
	script_send(&t, 14600);
	script_ignore(&t);
	for (int i = 0; i < 9; i++)
		IN("A 1 ack 101");
	script_ignore(&t);
	IN("A 1 ack 14701");
	cr_expect(t.c->ca == QP_CA_OPEN && t.c->cwnd == t.c->ssthresh);
	cr_expect(t.c->cwnd >= 2 * 1460 && t.c->cwnd < 10 * 1460);
	CLOSE();
}

/* RFC 5681, 4.1: after a pause longer than the RTO the window starts anew. */
Test(tcp_rtx, established_after_a_pause_the_window_restarts)
{
	PLAIN(65535);
	for (int i = 0; i < 4; i++) {
		script_send(&t, 20000);
		script_ignore(&t);
		INF("A 1 ack %u", t.c->snd_nxt - t.iss);
		script_ignore(&t);
		INF("A 1 ack %u", t.c->snd_nxt - t.iss);
		script_ignore(&t);
	}
	cr_assert(t.c->cwnd > 20 * 1460);
	WAIT_MS(2000);
	script_send(&t, 60000);
	cr_expect(t.c->snd_nxt - t.c->snd_una == 14600, "%u at once", t.c->snd_nxt - t.c->snd_una);
	CLOSE();
}

/* FIN is retransmitted with the text before it. */
Test(tcp_rtx, fin_wait_1_text_and_fin_lost_go_again_together)
{
	PLAIN(65535);
	script_send(&t, 100);
	SHUTDOWN();
	OUT("A 1+100 ack 1");
	OUT("AF 101 ack 1");
	script_until_sent(&t, 2000);
	OUT("A 1+100 ack 1");
	IN("A 1 ack 101");
	OUT("AF 101 ack 1");
	IN("A 1 ack 102");
	STATE(FIN_WAIT_2);
	CLOSE();
}

/* --- RACK-TLP, RFC 8985 --- */

/* 7.2: where the RTO would come before the probe, the probe takes its time; the RTO is next. */
Test(tcp_rtx, established_one_probe_then_the_timeout)
{
	ESTABLISHED();
	WAIT_MS(10);
	script_send(&t, 100);
	OUT("A 1+100 ack 1");
	uint32_t ms = script_until_sent(&t, 1000);

	cr_expect(ms >= 200 && ms < 205, "%u ms", ms);
	OUT("A 1+100 ack 1");
	cr_expect(COUNTER(rto_fired) == 0);
	script_until_sent(&t, 2000);
	OUT("A 1+100 ack 1");
	cr_expect(COUNTER(rto_fired) == 1);
	CLOSE();
}

/* 7.3: new data is the better probe. */
Test(tcp_rtx, established_probe_prefers_new_data)
{
	ESTABLISHED();
	WAIT_MS(10);
	script_send(&t, 14480);
	OUT("A 1+14480 ack 1");
	script_send(&t, 1448); /* cwnd is full */
	QUIET();
	script_until_sent(&t, 1000);
	OUT("A 14481+1448 ack 1");
	cr_expect(COUNTER(retrans_segs) == 0);
	CLOSE();
}

/* 7.4: a probe that repaired a loss nobody else saw counts as congestion. */
Test(tcp_rtx, probe_that_repaired_a_loss_lowers_cwnd)
{
	uint32_t cwnd;

	ESTABLISHED();
	WAIT_MS(10);
	script_send(&t, 2896);
	OUT("A 1+2896 ack 1");
	WAIT_MS(20);
	IN("A 1 ack 1449 win 512 ts 110/_");
	cwnd = t.c->cwnd;
	script_until_sent(&t, 1000);
	OUT("A 1449+1448 ack 1");
	script_send(&t, 100);
	OUT("A 2897+100 ack 1");
	WAIT_MS(20);
	IN("A 1 ack 2997 win 512 ts 400/_");
	cr_expect(t.c->cwnd < cwnd && COUNTER(rto_fired) == 0);
	CLOSE();
}

/* … and one whose original arrived too does not. */
Test(tcp_rtx, probe_that_was_needless_changes_nothing)
{
	uint32_t cwnd;

	ESTABLISHED();
	WAIT_MS(10);
	script_send(&t, 1448);
	OUT("A 1+1448 ack 1");
	cwnd = t.c->cwnd;
	script_until_sent(&t, 1000);
	OUT("A 1+1448 ack 1");
	IN("A 1 ack 1449 win 512 ts 400/_");
	IN("A 1 ack 1449 win 512 ts 401/_ sack 1-1449"); /* a D-SACK */
	cr_expect(t.c->cwnd >= cwnd && COUNTER(fast_recoveries) == 0);
	CLOSE();
}

/* 6.2: a little reordering, below a quarter of the round trip, is no loss. */
Test(tcp_rtx, established_reordering_within_the_window_is_no_loss)
{
	ESTABLISHED();
	WAIT_MS(10);
	script_send(&t, 2896);
	OUT("A 1+2896 ack 1");
	WAIT_MS(20);
	IN("A 1 ack 1 win 512 ts 110/_ sack 1449-2897");
	QUIET();
	WAIT_MS(2);
	IN("A 1 ack 2897 win 512 ts 111/_");
	QUIET();
	cr_expect(COUNTER(fast_recoveries) == 0 && COUNTER(retrans_segs) == 0 && t.acked == 2896);
	CLOSE();
}

/* … and what exceeds it is, without three duplicates. */
Test(tcp_rtx, established_one_sack_and_the_reordering_window_repair_a_loss)
{
	ESTABLISHED();
	WAIT_MS(10);
	script_send(&t, 2896);
	OUT("A 1+2896 ack 1");
	WAIT_MS(20);
	IN("A 1 ack 1 win 512 ts 110/_ sack 1449-2897");
	QUIET();
	uint32_t ms = script_until_sent(&t, 1000);

	cr_expect(ms <= 10, "a quarter of 20 ms: %u", ms);
	OUT("A 1+1448 ack 1");
	cr_expect(COUNTER(fast_recoveries) == 1 && COUNTER(rto_fired) == 0);
	CLOSE();
}

/* 6.2, step 4: a duplicate that the peer reports widens the reordering window. */
Test(tcp_rtx, dsack_widens_the_reordering_window)
{
	ESTABLISHED();
	WAIT_MS(10);
	script_send(&t, 14480);
	OUT("A 1+14480 ack 1");
	WAIT_MS(20);
	IN("A 1 ack 1 win 512 ts 110/_ sack 1449-5793");
	OUT("A 1+1448 ack 1");
	IN("A 1 ack 14481 win 512 ts 111/_");
	IN("A 1 ack 14481 win 512 ts 112/_ sack 1-1449");
	cr_expect(t.c->reo_mult == 2);
	CLOSE();
}

/*
 * 6.2, step 2: a SACK of what lies behind a hole echoes the timestamp of what
 * came before the hole (RFC 7323, 4.3): that says nothing of the probe's age.
 */
Test(tcp_rtx, probe_sacked_with_an_old_echo_repairs_the_tail_without_a_timeout)
{
	uint32_t before;

	ESTABLISHED();
	WAIT_MS(10);
	script_send(&t, 1448);
	OUT("A 1+1448 ack 1");
	before = t.last_tsval;
	WAIT_MS(20);
	IN("A 1 ack 1449 win 512 ts 110/_");
	WAIT_MS(10);
	script_send(&t, 4344);
	OUT("A 1449+4344 ack 1"); /* all of it is lost */
	script_until_sent(&t, 1000);
	OUT("A 4345+1448 ack 1");
	WAIT_MS(20);
	INF("A 1 ack 1449 win 512 ts 400/%u sack 4345-5793", before);
	cr_expect(script_until_sent(&t, 1000) <= 10, "it waits for the timeout");
	OUT("A 1449+1448 ack 1");
	cr_expect(COUNTER(rto_fired) == 0 && COUNTER(fast_recoveries) == 1);
	CLOSE();
}
