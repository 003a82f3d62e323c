/* SPDX-License-Identifier: Apache-2.0 */
/* Path MTU: what ICMP may do (RFC 5927), black holes and the way up again (RFC 4821), the first hop. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "tests/tcp/script.h"

TestSuite(tcp_pmtu, .init = script_suite_start);

static struct script t;

#define ESTABLISHED()                                                                              \
	do {                                                                                       \
		script_open(&t);                                                                   \
		script_establish(&t);                                                              \
	} while (0)
#define CLOSE() script_close(&t)
#define COUNTER(name) (qp_tcp_counters(t.tcp)->name)

static void
ack(uint32_t upto)
{
	char s[64];

	snprintf(s, sizeof(s), "A 1 ack %u win 512 ts 102/_", upto);
	IN(s);
}

/* What the port will cut the next frame into. */
static uint16_t
cut_at(void)
{
	return t.out_tail != t.out_head ? t.out[t.out_tail % 256]->tso_segsz : 0;
}

/* 1,448 bytes have gone out and arrived, 1,448 more are in flight: 1,460 with options is proven. */
static void
prove(void)
{
	script_send(&t, 1448);
	OUT("A 1+1448 ack 1");
	WAIT_MS(20);
	ack(1449);
	QUIET();
	script_send(&t, 1448);
	OUT("A 1449+1448 ack 1");
}

/* RFC 5927, 7.2: at the start nobody knows better than the router. */
Test(tcp_pmtu, established_too_big_of_unproven_size_acts_at_once)
{
	ESTABLISHED();
	script_send(&t, 1448);
	OUT("A 1+1448 ack 1");
	script_icmp(&t, 3, 4, 1400, 1);
	cr_expect(cut_at() == 1348);
	OUT("A 1+1448 ack 1");
	cr_expect(COUNTER(icmp_mtu_taken) == 1 && COUNTER(icmp_mtu_pending) == 0);
	cr_expect(t.c->ca == QP_CA_OPEN && t.c->cwnd == 14480, "no congestion (RFC 1191, 6.4)");
	CLOSE();
}

/* RFC 5927, 7.2: a forged claim below what has arrived lasts until the next ACK. */
Test(tcp_pmtu, established_forged_too_big_of_proven_size_is_refuted_by_the_ack)
{
	ESTABLISHED();
	prove();
	script_icmp(&t, 3, 4, 576, 1449);
	QUIET();
	cr_expect(COUNTER(icmp_mtu_pending) == 1 && COUNTER(icmp_mtu_taken) == 0);
	WAIT_MS(20);
	ack(2897);
	cr_expect(COUNTER(icmp_mtu_refuted) == 1);
	script_send(&t, 1448);
	OUT("A 2897+1448 ack 1");
	cr_expect(qp_tcp_mss(t.c) == 1448);
	CLOSE();
}

/* RFC 5927, 7.2: a true one is believed when its segment times out. */
Test(tcp_pmtu, established_too_big_of_proven_size_is_taken_after_the_timeout)
{
	ESTABLISHED();
	prove();
	script_icmp(&t, 3, 4, 1400, 1449);
	QUIET();
	while (COUNTER(rto_fired) == 0) {
		script_ignore(&t);
		WAIT_MS(1);
	}
	OUT("A 1449+1348 ack 1");
	cr_expect(COUNTER(icmp_mtu_taken) == 1 && qp_tcp_mss(t.c) == 1348);
	WAIT_MS(20);
	ack(2797);
	OUT("A 2797+100 ack 1");
	CLOSE();
}

/* A timeout of another segment than the claimed one is no confirmation. */
Test(tcp_pmtu, established_timeout_before_the_claimed_segment_takes_nothing)
{
	ESTABLISHED();
	prove();
	script_send(&t, 1448);
	OUT("A 2897+1448 ack 1");
	script_icmp(&t, 3, 4, 1400, 2897);
	while (COUNTER(rto_fired) == 0) {
		script_ignore(&t);
		WAIT_MS(1);
	}
	OUT("A 1449+1448 ack 1");
	cr_expect(COUNTER(icmp_mtu_taken) == 0 && qp_tcp_mss(t.c) == 1448);
	CLOSE();
}

/* Later full-sized segments that arrive refute it, too. */
Test(tcp_pmtu, established_larger_segment_that_arrives_refutes)
{
	ESTABLISHED();
	prove();
	script_icmp(&t, 3, 4, 1400, 1449);
	WAIT_MS(1);
	script_send(&t, 1448);
	OUT("A 2897+1448 ack 1");
	WAIT_MS(20);
	IN("A 1 ack 1449 win 512 ts 103/_ sack 2897-4345");
	cr_expect(COUNTER(icmp_mtu_refuted) == 1);
	CLOSE();
}

Test(tcp_pmtu, established_too_big_about_nothing_in_flight_is_ignored)
{
	ESTABLISHED();
	prove();
	script_icmp(&t, 3, 4, 1400, 1); /* acknowledged long ago */
	script_icmp(&t, 3, 4, 1400, 99999);
	script_icmp(&t, 3, 4, 1500, 1449); /* no less than what we send */
	t.peer_port = 1; /* nobody's connection */
	script_icmp(&t, 3, 4, 1400, 1449);
	t.peer_port = 40000;
	cr_expect(COUNTER(icmp_ignored) == 4);
	cr_expect(COUNTER(icmp_mtu_taken) + COUNTER(icmp_mtu_pending) == 0);
	CLOSE();
}

/* A SYN in flight has no records: the claim is just noted. */
Test(tcp_pmtu, syn_received_too_big_lowers_the_segment_size)
{
	script_open(&t);
	IN("S 0 win 65535 mss 1460");
	OUT("SA 0 ack 1 mss 1460");
	script_icmp(&t, 3, 4, 1400, 0);
	QUIET();
	IN("A 1 ack 1 win 65535");
	script_send(&t, 2000);
	OUT("A 1+2000 ack 1");
	cr_expect(qp_tcp_mss(t.c) == 1360 && COUNTER(icmp_mtu_taken) == 1);
	CLOSE();
}

/* --- RFC 4821 --- */

/* Until the stack has fallen to a smaller size; how many milliseconds that took. */
static uint32_t
until_black_hole(void)
{
	uint32_t ms = 0;

	while (COUNTER(mtu_black_holes) == 0 && ms < 60000) {
		script_ignore(&t);
		WAIT_MS(1);
		ms++;
	}
	return ms;
}

Test(tcp_pmtu, established_black_hole_falls_to_base_after_three_timeouts)
{
	uint32_t ms;

	ESTABLISHED();
	prove();
	ms = until_black_hole();
	cr_expect(COUNTER(rto_fired) == 3, "%llu timeouts", (unsigned long long)COUNTER(rto_fired));
	cr_expect(ms < 2000, "%u ms: 1, 2 and 4 times an RTO of about 200 ms, a probe before", ms);
	OUT("A 1449+1012 ack 1"); /* 1,024 with the timestamp */
	WAIT_MS(20);
	ack(2461);
	OUT("A 2461+436 ack 1");
	CLOSE();
}

/* The base is too much as well: one more timeout, and the least goes. */
Test(tcp_pmtu, established_black_hole_below_base_falls_to_the_floor)
{
	ESTABLISHED();
	prove();
	until_black_hole();
	script_ignore(&t);
	while (COUNTER(mtu_black_holes) == 1) {
		script_ignore(&t);
		WAIT_MS(1);
	}
	OUT("A 1449+500 ack 1");
	cr_expect(COUNTER(rto_fired) == 4);
	WAIT_MS(100000);
	cr_expect(COUNTER(mtu_black_holes) == 2 && qp_tcp_mss(t.c) == 500, "there is no less");
	script_ignore(&t);
	CLOSE();
}

/* A segment that is no larger than the base may be too large all the same. */
Test(tcp_pmtu, established_black_hole_of_middling_segments_falls_to_the_floor)
{
	ESTABLISHED();
	script_send(&t, 897);
	until_black_hole();
	OUT("A 1+500 ack 1");
	cr_expect(COUNTER(rto_fired) == 3);
	CLOSE();
}

Test(tcp_pmtu, established_small_segments_that_time_out_are_no_black_hole)
{
	ESTABLISHED();
	script_send(&t, 500);
	WAIT_MS(20000);
	script_ignore(&t);
	cr_expect(COUNTER(rto_fired) > 3 && COUNTER(mtu_black_holes) == 0 && qp_tcp_mss(t.c) == 1448);
	CLOSE();
}

Test(tcp_pmtu, established_black_hole_v6_stays_at_1280)
{
	t.v6 = true;
	ESTABLISHED();
	script_send(&t, 1428);
	until_black_hole();
	OUT("A 1+1208 ack 1");
	WAIT_MS(60000);
	cr_expect(COUNTER(mtu_black_holes) == 1 && qp_tcp_mss(t.c) == 1208);
	script_ignore(&t);
	CLOSE();
}

Test(tcp_pmtu, established_black_hole_without_probing_changes_nothing)
{
	qp_tcp_config_default(&t.cfg);
	t.cfg.max_conns = 256;
	t.cfg.mtu_probing = false;
	script_open_cfg(&t);
	script_establish(&t);
	script_send(&t, 1448);
	WAIT_MS(20000);
	script_ignore(&t);
	cr_expect(COUNTER(rto_fired) > 3 && qp_tcp_mss(t.c) == 1448);
	CLOSE();
}

/*
 * The peer of a path that takes `mss` bytes of payload: acknowledges what fits
 * as it comes, with SACK for what follows a hole. Returns when all up to
 * `total` has arrived; the largest payload that did is *largest.
 */
static void
serve(uint32_t mss, uint32_t total, uint32_t *largest)
{
	uint32_t edge = (uint32_t)t.acked + 1, high_start = 0, high_end = 0;
	uint32_t seq, len;

	for (int turn = 0; edge < total && turn < 5000; turn++) {
		bool news = false;
		char s[96];

		while (script_take(&t, &seq, &len)) {
			uint32_t step = qp_tcp_mss(t.c), seg;

			for (uint32_t at = seq; at < seq + len; at += seg) {
				/* A probe is one segment; all else is cut at the effective MSS. */
				seg = t.c->x != NULL && t.c->x->probe != NULL &&
					at == t.c->x->probe->seq - t.iss ? len : RTE_MIN(step, seq + len - at);
				if (seg > mss)
					continue;
				*largest = RTE_MAX(*largest, seg);
				news = true;
				if (at <= edge) {
					edge = RTE_MAX(edge, at + seg);
				} else {
					high_start = high_end == 0 ? at : high_start;
					high_end = RTE_MAX(high_end, at + seg);
				}
			}
		}
		if (high_end != 0 && edge >= high_start) {
			edge = RTE_MAX(edge, high_end);
			high_end = 0;
		}
		WAIT_MS(20);
		if (!news)
			continue;
		if (high_end != 0)
			snprintf(s, sizeof(s), "A 1 ack %u win 300 ts 103/_ sack %u-%u", edge, high_start,
				high_end);
		else
			snprintf(s, sizeof(s), "A 1 ack %u win 300 ts 103/_", edge);
		IN(s);
	}
	cr_expect(edge >= total, "stopped at %u", edge);
}

/* RFC 4821, 7.6.1: lost probes cost no cwnd; the search ends within 8 bytes of what the path takes. */
Test(tcp_pmtu, established_black_hole_search_finds_the_path_without_congestion)
{
	uint32_t largest = 0, recoveries;

	ESTABLISHED();
	prove();
	until_black_hole();
	recoveries = COUNTER(fast_recoveries);
	script_send(&t, 2000000);
	serve(1388, 1449 + 2000000, &largest);
	cr_expect(largest > 1380 && largest <= 1388, "largest %u", largest);
	cr_expect(COUNTER(mtu_probes_lost) >= 3 && COUNTER(mtu_raised) >= 2);
	cr_expect(COUNTER(fast_recoveries) == recoveries && COUNTER(rto_fired) == 3);
	cr_expect(COUNTER(mtu_probes) <= 30, "%llu probes", (unsigned long long)COUNTER(mtu_probes));
	CLOSE();
}

/* A mere outage: the old size is back with the first probe. */
Test(tcp_pmtu, established_outage_is_over_the_first_probe_restores_all)
{
	uint32_t largest = 0;

	ESTABLISHED();
	prove();
	until_black_hole();
	script_send(&t, 100000);
	serve(1448, 1449 + 100000, &largest);
	cr_expect(largest == 1448 && COUNTER(mtu_probes) == 1 && COUNTER(mtu_raised) == 1);
	cr_expect(qp_tcp_mss(t.c) == 1448 && t.c->mtu_high == 0, "nothing left to search");
	CLOSE();
}

/* RFC 1191, 6.3; RFC 8899, 5.1.1: ten minutes after a reduction larger sizes are tried. */
Test(tcp_pmtu, established_ten_minutes_after_icmp_the_path_is_tried_again)
{
	uint32_t largest = 0;

	ESTABLISHED();
	script_send(&t, 1448);
	script_icmp(&t, 3, 4, 1400, 1);
	script_ignore(&t);
	WAIT_MS(20);
	ack(1449);
	script_send(&t, 100000);
	serve(1348, 1449 + 100000, &largest);
	cr_expect(COUNTER(mtu_probes) == 0);
	WAIT_MS(601 * 1000);
	script_ignore(&t);
	script_send(&t, 100000);
	serve(1448, 1449 + 200000, &largest);
	cr_expect(largest == 1448 && COUNTER(mtu_raised) == 1);
	CLOSE();
}

Test(tcp_pmtu, established_never_reduced_never_probes)
{
	uint32_t largest = 0;

	ESTABLISHED();
	prove();
	script_send(&t, 500000);
	serve(1448, 1449 + 500000, &largest);
	cr_expect(COUNTER(mtu_probes) == 0);
	CLOSE();
}

/* An ICMP error about the probe sets the goal at once, and no congestion follows. */
Test(tcp_pmtu, established_icmp_about_the_probe_sets_the_goal)
{
	uint32_t largest = 0, seq = 0;

	ESTABLISHED();
	prove();
	until_black_hole();
	script_send(&t, 200000);
	/* Up to the probe. */
	for (uint32_t upto = 1449 + 20000; COUNTER(mtu_probes) == 0 && upto < 150000; upto += 1012)
		serve(1012, upto, &largest);
	cr_assert(t.c->x->probe != NULL);
	seq = t.c->x->probe->seq - t.iss;
	script_icmp(&t, 3, 4, 1492, seq);
	cr_expect(t.c->mtu_high == 1452 && t.c->x->claim_mss == 0 && COUNTER(icmp_ignored) == 0);
	script_ignore(&t);
	CLOSE();
}

/* --- the first hop --- */

Test(tcp_pmtu, listen_syn_announces_what_its_interface_takes)
{
	static const struct {
		uint16_t mtu;
		bool v6;
		const char *syn_ack;
	} cases[] = {
		{9000, false, "SA 0 ack 1 mss 8960"},
		{9000, true, "SA 0 ack 1 mss 8940"},
		{1500, false, "SA 0 ack 1 mss 1460"},
		{1400, false, "SA 0 ack 1 mss 1360"},
		{1280, true, "SA 0 ack 1 mss 1220"},
		{1000, true, "SA 0 ack 1 mss 1220"},  /* no IPv6 link: the least */
		{300, false, "SA 0 ack 1 mss 536"},
		{65535, false, "SA 0 ack 1 mss 9176"}, /* lo: as large as a jumbo frame, no more */
		{0, false, "SA 0 ack 1 mss 1460"},    /* the frame does not say */
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		t.v6 = cases[i].v6;
		t.link_mtu = cases[i].mtu;
		script_open(&t);
		IN("S 0 win 65535 mss 60000");
		OUT(cases[i].syn_ack);
		CLOSE();
	}
}

Test(tcp_pmtu, listen_cookie_announces_what_its_interface_takes)
{
	qp_tcp_config_default(&t.cfg);
	t.cfg.max_conns = 256;
	t.cfg.syn_backlog = 0;
	t.link_mtu = 9000;
	script_open_cfg(&t);
	IN("S 0 win 65535 mss 8960");
	OUT("SA 0 ack 1 mss 8960");
	IN("A 1 ack 1 win 65535");
	cr_expect(qp_tcp_mss(t.c) == 8960);
	CLOSE();
}

Test(tcp_pmtu, established_jumbo_segments_go_out_whole)
{
	t.link_mtu = 9000;
	script_open(&t);
	IN("S 0 win 65535 mss 8960");
	OUT("SA 0 ack 1 mss 8960");
	IN("A 1 ack 1 win 65535");
	script_send(&t, 8960);
	OUT("A 1+8960 ack 1");
	CLOSE();
}

/* The caller of an active open knows nothing of the interface; the SYN-ACK's frame does. */
Test(tcp_pmtu, syn_sent_answer_comes_by_a_smaller_interface)
{
	script_open(&t);
	script_connect(&t);
	OUT("S 0 mss 1460 sackok ts 0/0 ws 5");
	t.link_mtu = 1400;
	IN("SA 0 ack 1 win 1000 mss 1460 sackok ts 9/_ ws 2");
	OUT("A 1 ack 1");
	cr_expect(qp_tcp_mss(t.c) == 1348);
	CLOSE();
}

/* The classifier says it with each frame: no packet is too large for the interface for long. */
Test(tcp_pmtu, established_interface_takes_less_segments_shrink_at_once)
{
	t.link_mtu = 1500;
	ESTABLISHED();
	prove();
	t.link_mtu = 1400;
	IN("A 1 ack 1449 win 512 ts 103/_");
	cr_expect(cut_at() == 1348);
	OUT("A 1449+1448 ack 1");
	cr_expect(qp_tcp_mss(t.c) == 1348 && t.c->mtu_high == 0);
	t.link_mtu = 1500;
	IN("A 1 ack 2897 win 512 ts 104/_");
	cr_expect(qp_tcp_mss(t.c) == 1348 && t.c->mtu_high == 1460, "the way up is searched");
	CLOSE();
}
