/* SPDX-License-Identifier: Apache-2.0 */
/* What a hostile peer tries, a way a test: docs/tcp.md, "Limits", has the list. */
#include <criterion/criterion.h>
#include <criterion/logging.h>
#include <stdio.h>
#include <time.h>

#include <rte_mempool.h>

#include "common/error.h"
#include "tests/tcp/script.h"

TestSuite(tcp_abuse, .init = script_suite_start);

static struct script t;

#define CLOSE() script_close(&t)
#define COUNTER(name) (qp_tcp_counters(t.tcp)->name)

static void
established(void)
{
	script_open(&t);
	script_establish(&t);
}

static double
cpu_seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static unsigned
mbufs_used(void)
{
	script_ignore(&t);
	return rte_mempool_in_use_count(t.tcp->env.pool);
}

/* --- zero windows and slow readers --- */

/* For `s` seconds the peer answers whatever comes with `segment`. */
static void
answer_for(uint32_t s, const char *segment)
{
	uint32_t seq, len;

	for (uint32_t i = 0; i < s && t.c != NULL; i++) {
		bool asked = false;

		WAIT_MS(1000);
		while (script_take(&t, &seq, &len))
			asked = true;
		if (asked && t.c != NULL)
			IN(segment);
	}
}

/* RFC 6429: a peer that answers each probe, and never opens its window. */
Test(tcp_abuse, zero_window_kept_closed_is_reset_after_the_limit)
{
	established();
	t.tcp->cfg.zero_window_s = 300;
	script_send(&t, 5000);
	script_ignore(&t);
	IN("A 1 ack 5001 win 0 ts 102/_");
	script_send(&t, 5000);
	answer_for(290, "A 1 ack 5001 win 0 ts 103/_");
	cr_expect(t.c != NULL && COUNTER(zero_windows_ended) == 0, "not before");
	answer_for(120, "A 1 ack 5001 win 0 ts 103/_");
	cr_expect(t.ended && t.why == QP_TCP_END_TIMEOUT && COUNTER(zero_windows_ended) == 1);
	CLOSE();
}

Test(tcp_abuse, zero_window_that_opens_in_time_lives_on)
{
	established();
	t.tcp->cfg.zero_window_s = 100;
	t.c->cwnd = 100000;
	IN("A 1 ack 1 win 0 ts 102/_");
	script_send(&t, 100000);
	for (int i = 0; i < 4; i++) {
		char s[80];

		snprintf(s, sizeof(s), "A 1 ack %u win 0 ts 103/_", (unsigned)t.acked + 1);
		answer_for(80, s);
		cr_assert(t.c != NULL);
		snprintf(s, sizeof(s), "A 1 ack %u win 140 ts 104/_", (unsigned)t.acked + 1);
		IN(s);
		script_ignore(&t);
		snprintf(s, sizeof(s), "A 1 ack %u win 0 ts 104/_", (unsigned)(t.c->snd_nxt - t.iss));
		IN(s);
	}
	cr_expect(t.acked >= 4 * QP_TCP_STALL_BYTES && COUNTER(zero_windows_ended) == 0);
	script_ignore(&t);
	CLOSE();
}

struct holder {
	struct qp_tcp_conn *c;
	uint32_t iss;
	uint16_t port;
};

/* A connection whose peer leaves `bytes` waiting. */
static struct holder
hold(uint16_t port, uint32_t bytes)
{
	struct holder h = {.port = port};

	t.peer_port = port;
	script_establish(&t);
	h.c = t.c;
	h.iss = t.iss;
	IN("A 1 ack 1 win 0 ts 102/_");
	script_send(&t, bytes);
	script_ignore(&t);
	return h;
}

static void
as(const struct holder *h)
{
	t.peer_port = h->port;
	t.iss = h->iss;
	t.c = h->c;
}

static bool
lives(const struct holder *h)
{
	return h->c->tcb.state == QP_TCP_ESTABLISHED && h->c->tcb.flow.rport_be == rte_cpu_to_be_16(h->port);
}

/* The memory is there: nobody is ended. It is not: who holds most of it goes first, then the others. */
Test(tcp_abuse, slow_readers_while_memory_is_tight_are_ended_largest_first)
{
	struct holder h[3];

	script_open(&t);
	h[0] = hold(1001, 2000);
	h[1] = hold(1002, 60000);
	h[2] = hold(1003, 30000);
	WAIT_MS(QP_TCP_STALL_TIGHT_MS + 1000);
	cr_expect(COUNTER(slow_peers_ended) == 0);
	script_ignore(&t);
	t.mem_level = QP_MEM_TIGHT;
	qp_tcp_flush(t.tcp);
	cr_expect(COUNTER(slow_peers_ended) == 1 && lives(&h[0]) && !lives(&h[1]) && lives(&h[2]));
	qp_tcp_flush(t.tcp);
	cr_expect(COUNTER(slow_peers_ended) == 2 && lives(&h[0]) && !lives(&h[2]));
	t.mem_level = QP_MEM_PLENTY;
	WAIT_MS(1000);
	cr_expect(COUNTER(slow_peers_ended) == 2 && lives(&h[0]), "enough is free again");
	script_ignore(&t);
	CLOSE();
}

/* Scarce: what comes in is dropped for want of room, so the patience is short. */
Test(tcp_abuse, slow_reader_while_memory_is_scarce_is_ended_soon)
{
	struct holder h;

	script_open(&t);
	h = hold(1001, 30000);
	t.mem_level = QP_MEM_SCARCE;
	WAIT_MS(QP_TCP_STALL_SCARCE_MS - 500);
	cr_expect(lives(&h));
	WAIT_MS(1000);
	cr_expect(COUNTER(slow_peers_ended) == 1 && t.ended && t.why == QP_TCP_END_TIMEOUT);
	script_ignore(&t);
	CLOSE();
}

/* Takes 128 bytes in three seconds of 60,000; one that takes all it gets, however little, is no such reader. */
Test(tcp_abuse, slow_reader_by_drips_is_ended_an_interactive_one_is_not)
{
	struct holder slow, honest;
	uint32_t honest_acked = 0;

	script_open(&t);
	slow = hold(1001, 60000);
	t.peer_port = 1002;
	script_establish(&t);
	honest = (struct holder) {.c = t.c, .iss = t.iss, .port = 1002};
	t.mem_level = QP_MEM_TIGHT;
	for (uint32_t i = 0; i < 200 && COUNTER(slow_peers_ended) == 0; i++) {
		char s[80];

		WAIT_MS(3000);
		script_ignore(&t);
		as(&honest);
		script_send(&t, 50);
		script_ignore(&t);
		honest_acked += 50;
		snprintf(s, sizeof(s), "A 1 ack %u win 512 ts 103/_", honest_acked + 1);
		IN(s);
		if (!lives(&slow))
			break;
		as(&slow);
		snprintf(s, sizeof(s), "A 1 ack %u win 1 ts 103/_", (unsigned)(slow.c->snd_nxt - slow.iss));
		IN(s);
	}
	cr_expect(COUNTER(slow_peers_ended) == 1 && !lives(&slow) && lives(&honest));
	cr_expect(honest_acked >= 40 * 50);
	script_ignore(&t);
	CLOSE();
}

/* --- tiny and overlapping segments, out-of-order memory --- */

static void
text(uint32_t seq, uint32_t len)
{
	char s[64];

	snprintf(s, sizeof(s), "A %u+%u ack 1 win 512 ts 102/_", seq, len);
	BURST(s);
	script_ignore(&t);
}

Test(tcp_abuse, tiny_segments_in_order_cost_no_memory)
{
	double before;

	established();
	before = cpu_seconds();
	for (uint32_t i = 0; i < 100000; i++) {
		text(1 + i, 1);
		if (i % 32 == 31)
			script_flush(&t);
	}
	script_flush(&t);
	cr_log_info("100,000 segments of a byte: %.3f s\n", cpu_seconds() - before);
	cr_expect(t.received == 100000 && !t.wrong && COUNTER(tiny_segs) == 100000);
	cr_expect(mbufs_used() == 0);
	CLOSE();
}

/* Behind a hole, and from the back to the front of each kilobyte: they share mbufs. */
Test(tcp_abuse, tiny_segments_out_of_order_share_mbufs)
{
	double before;

	established();
	script_wide(&t);
	before = cpu_seconds();
	for (uint32_t kb = 0; kb < 98; kb++) {
		for (uint32_t i = 1024; i > 0; i--)
			text(1 + kb * 1024 + i, 1);
		script_flush(&t);
	}
	cr_log_info("100,352 segments of a byte, backwards: %.3f s\n", cpu_seconds() - before);
	cr_expect(mbufs_used() <= 98 * 3, "%u mbufs", mbufs_used());
	text(1, 1);
	script_flush(&t);
	cr_expect(t.received == 98 * 1024 + 1 && !t.wrong && mbufs_used() == 0);
	CLOSE();
}

/* Each second byte: no more runs than the limit says, and what is refused counts. */
Test(tcp_abuse, out_of_order_holes_stop_at_the_limit_of_runs)
{
	established();
	script_wide(&t);
	for (uint32_t i = 0; i < 100000; i++)
		text(2 + 2 * i, 1);
	script_flush(&t);
	cr_expect(t.c->ooo_ranges == QP_TCP_OOO_RANGES);
	cr_expect(COUNTER(drop_ooo_limit) == 100000 - QP_TCP_OOO_RANGES && mbufs_used() <= QP_TCP_OOO_RANGES);
	CLOSE();
}

/* A quarter of all mbufs, for all connections; one that sends in order does not notice. */
Test(tcp_abuse, out_of_order_memory_stops_at_a_quarter_of_the_mbufs)
{
	script_open(&t);
	for (uint16_t port = 1001; port <= 1003; port++) {
		t.peer_port = port;
		script_establish(&t);
		script_wide(&t);
		for (uint32_t i = 0; i < 600; i++)
			text(2 + 1448 * i, 1448);
		script_flush(&t);
	}
	cr_expect(COUNTER(drop_ooo_limit) > 0 && t.tcp->ooo_segs <= t.tcp->ooo_segs_max);
	cr_expect(mbufs_used() <= 1024, "%u mbufs", mbufs_used());
	t.peer_port = 1004;
	script_establish(&t);
	script_wide(&t);
	for (uint32_t i = 0; i < 600; i++)
		text(1 + 1448 * i, 1448);
	cr_expect(t.received == 600 * 1448 && !t.wrong);
	CLOSE();
}

Test(tcp_abuse, overlapping_segments_are_counted_and_delivered_once)
{
	uint32_t x = 12345;

	established();
	for (uint32_t i = 0; i < 20000; i++) {
		x = x * 1664525 + 1013904223;
		text(2 + (x >> 8) % 60000, 1 + (x >> 24) * 5);
		if (i % 64 == 0)
			script_flush(&t);
	}
	cr_expect(COUNTER(dup_bytes) > 1000000, "%llu", (unsigned long long)COUNTER(dup_bytes));
	cr_expect(t.c->ooo_ranges <= QP_TCP_OOO_RANGES && mbufs_used() < 200, "%u mbufs", mbufs_used());
	for (uint32_t at = 1; at < 62000; at += 1000)
		text(at, 1000);
	script_flush(&t);
	cr_expect(t.received >= 60000 && !t.wrong && mbufs_used() == 0);
	CLOSE();
}

/* --- acknowledgments --- */

Test(tcp_abuse, sack_of_what_was_never_sent_is_counted)
{
	established();
	script_send(&t, 14480);
	script_ignore(&t);
	IN("A 1 ack 1 win 512 ts 102/_ sack 20000-30000 sack 5000-4000");
	cr_expect(COUNTER(sack_bad) == 2 && t.c->x->sacked_bytes == 0);
	/* Below the ACK is a report of a duplicate (RFC 2883), or an old block. */
	IN("A 1 ack 1449 win 512 ts 102/_ sack 1-900");
	cr_expect(COUNTER(sack_bad) == 2);
	CLOSE();
}

/*
 * An MSS of 64 and each second segment of a megabyte SACKed: 10,000 holes. The
 * records stop at their limit, and so does the work of an ACK that points
 * all over them.
 */
Test(tcp_abuse, sack_of_scattered_segments_costs_bounded_work)
{
	double before;
	char s[128];

	script_open(&t);
	IN("S 0 win 65535 mss 10 sackok ts 100/0 ws 7");
	OUT("SA 0 ack 1 mss 1460 sackok ts 0/100 ws 5");
	WAIT_MS(20);
	IN("A 1 ack 1 win 65535 ts 101/_");
	cr_assert(qp_tcp_mss(t.c) == QP_TCP_MIN_MSS - 12, "a smaller MSS is taken to mean 64");
	t.c->cwnd = 2 << 20;
	script_send(&t, 1 << 20);
	script_ignore(&t);
	for (uint32_t i = 0; i < 10000; i++) {
		uint32_t at = 1 + 52 + 104 * i;

		snprintf(s, sizeof(s), "A 1 ack 1 win 65535 ts 102/_ sack %u-%u", at, at + 52);
		BURST(s);
	}
	cr_expect(t.c->x->recs <= QP_TCP_RECORDS && t.tcp->recs.used == t.c->x->recs);
	cr_expect(COUNTER(sack_limited) > 0);
	before = cpu_seconds();
	for (uint32_t i = 0; i < 10000; i++) {
		snprintf(s, sizeof(s), "A 1 ack 1 win 65535 ts 102/_ sack %u-%u sack %u-%u sack %u-%u",
			800000 + i, 900000 + i, 100 + i, 152 + i, 700000 + i, 800000 + i);
		BURST(s);
	}
	cr_log_info("an ACK that points all over %u records: %.1f us\n", t.c->x->recs,
		(cpu_seconds() - before) * 100);
	script_ignore(&t);
	CLOSE();
}

/* RFC 2018, 8: SACKed, and thrown away after all. */
Test(tcp_abuse, sack_reneged_is_sent_again_and_counted)
{
	established();
	script_send(&t, 14480);
	script_ignore(&t);
	IN("A 1 ack 1 win 512 ts 102/_ sack 1449-14481");
	script_ignore(&t);
	/* The hole is filled, and what was SACKed is not acknowledged. */
	IN("A 1 ack 1449 win 512 ts 103/_");
	while (COUNTER(rto_fired) == 0)
		WAIT_MS(1);
	cr_expect(COUNTER(sack_reneged) == 1 && t.c->x->sacked_bytes == 0);
	script_ignore(&t);
	CLOSE();
}

/* cwnd after `rounds` full windows, each acknowledged in `pieces` of equal size, each round 20 ms. */
static uint32_t
cwnd_after(unsigned rounds, unsigned pieces, bool slow_start)
{
	uint32_t cwnd;

	established();
	if (!slow_start)
		t.c->ssthresh = t.c->cwnd;
	for (unsigned i = 0; i < rounds; i++) {
		uint32_t una, n;

		if (qp_tcp_queued(t.c) < 400000)
			script_send(&t, 400000);
		una = t.c->snd_una - t.iss;
		n = qp_tcp_flight(t.c);
		WAIT_MS(20);
		for (unsigned k = 1; k <= pieces; k++) {
			char s[64];

			snprintf(s, sizeof(s), "A 1 ack %u win 8000 ts 102/_", una + (uint32_t)((uint64_t)n * k / pieces));
			BURST(s);
		}
		script_flush(&t);
		script_ignore(&t);
	}
	cwnd = t.c->cwnd;
	CLOSE();
	return cwnd;
}

/* RFC 3465; Savage et al.: many small ACKs are worth as much as what they acknowledge. */
Test(tcp_abuse, ack_division_does_not_make_cwnd_grow_faster)
{
	uint32_t whole = cwnd_after(4, 1, true), divided = cwnd_after(4, 1000, true);

	cr_expect(whole > 200000 && divided <= whole, "%u against %u", divided, whole);
	whole = cwnd_after(20, 2, false);
	divided = cwnd_after(20, 2000, false);
	cr_expect(whole > 14480 && divided <= whole + whole / 20, "%u against %u", divided, whole);
}

/* The handshake took 20 ms: what comes back at once has not been there. */
Test(tcp_abuse, optimistic_acks_do_not_outrun_the_handshakes_round_trip)
{
	uint32_t cwnd;

	established();
	script_send(&t, 1000000);
	for (unsigned i = 0; i < 100; i++) {
		char s[64];

		script_ignore(&t);
		snprintf(s, sizeof(s), "A 1 ack %u win 8000 ts 102/_", (unsigned)(t.c->snd_nxt - t.iss));
		IN(s);
		if (qp_tcp_queued(t.c) < 500000)
			script_send(&t, 500000);
	}
	cwnd = t.c->cwnd;
	cr_expect(cwnd <= 3 * 14480 && COUNTER(ack_early) > 90, "%u after %llu early ACKs", cwnd,
		(unsigned long long)COUNTER(ack_early));
	CLOSE();
}

Test(tcp_abuse, acks_of_what_was_never_sent_are_challenged_and_counted)
{
	established();
	for (unsigned i = 0; i < 1000; i++)
		IN("A 1 ack 70000 win 512 ts 102/_");
	cr_expect(COUNTER(ack_unsent) == 1000 && COUNTER(challenge_acks) == QP_TCP_CHALLENGES);
	CLOSE();
}

/* --- injection --- */

/* RFC 5961, 3: of a million blind resets only the exact number would have hit. */
Test(tcp_abuse, rst_injected_a_million_times_resets_nothing)
{
	uint32_t x = 1;

	established();
	for (uint32_t i = 0; i < 1000000; i++) {
		x = x * 1664525 + 1013904223;
		/* Every second one falls into the window. */
		script_raw(&t, RTE_TCP_RST_FLAG, i & 1 ? 2 + (x >> 8) % 1000000 : 2 + (x & 0x7fffffff), 0);
	}
	script_flush(&t);
	script_ignore(&t);
	cr_expect(!t.ended && COUNTER(rst_blind) == 1000000 && COUNTER(rst_in) == 0);
	cr_expect(COUNTER(challenge_acks) == QP_TCP_CHALLENGES && COUNTER(segs_out) < 20);
	script_raw(&t, RTE_TCP_RST_FLAG, 1, 0);
	cr_expect(t.ended && t.why == QP_TCP_END_RESET, "the exact one does");
	script_flush(&t);
	CLOSE();
}

/* RFC 5961, 4 */
Test(tcp_abuse, syn_injected_many_times_changes_nothing)
{
	established();
	for (uint32_t i = 0; i < 100000; i++)
		script_raw(&t, RTE_TCP_SYN_FLAG, i * 42949, 0);
	script_flush(&t);
	script_ignore(&t);
	cr_expect(!t.ended && COUNTER(challenge_acks) <= QP_TCP_CHALLENGES && COUNTER(segs_out) < 20);
	/* Those without a timestamp fall to PAWS first (RFC 7323, 3.2). */
	cr_expect(COUNTER(syn_blind) + COUNTER(drop_paws) == 100000);
	for (uint32_t i = 0; i < 1000; i++)
		BURST("S 5 win 1000 mss 1460 ts 102/0");
	script_flush(&t);
	cr_expect(COUNTER(syn_blind) >= 1000 && !t.ended);
	WAIT_MS(20);
	IN("A 1+10 ack 1 win 512 ts 102/_");
	cr_expect(t.received == 10);
	script_ignore(&t);
	CLOSE();
}

/* --- exhaustion --- */

Test(tcp_abuse, connections_beyond_the_limit_are_refused_time_wait_gives_way)
{
	script_config(&t.cfg);
	t.cfg.max_conns = 4;
	script_open_cfg(&t);
	for (uint16_t port = 1001; port <= 1004; port++) {
		t.peer_port = port;
		script_establish(&t);
	}
	t.peer_port = 1005;
	IN("S 0 win 65535 mss 1460");
	QUIET();
	cr_expect(COUNTER(drop_backlog) == 1 && COUNTER(conns) == 4);
	/* One closes: its TIME-WAIT makes room. */
	t.peer_port = 1004;
	qp_tcp_shutdown(t.c);
	script_flush(&t);
	OUT("FA 1 ack 1");
	IN("FA 1 ack 2 win 512 ts 103/_");
	script_ignore(&t);
	t.peer_port = 1006;
	IN("S 0 win 65535 mss 1460");
	OUT("SA 0 ack 1 mss 1460");
	cr_expect(COUNTER(time_wait_evicted) == 1 && COUNTER(conns) == 4);
	CLOSE();
}

/* RFC 6056: 32,768 ports to one remote socket, and not one more. */
Test(tcp_abuse, ports_to_one_remote_end_run_out_and_say_so)
{
	static const struct qp_tcp_ops none;
	struct qp_flow f = {.local = qp_ipaddr_v4(rte_cpu_to_be_32(0xc0000201)),
		.remote = qp_ipaddr_v4(rte_cpu_to_be_32(0xc0000202)), .rport_be = rte_cpu_to_be_16(443)};
	struct qp_tcp_conn *c;

	script_config(&t.cfg);
	script_open_cfg(&t);
	for (unsigned i = 0; i < 32768; i++) {
		cr_assert(qp_tcp_connect(t.tcp, &f, &none, NULL, &c) == 0, "connection %u", i);
		script_ignore(&t);
	}
	cr_expect(qp_tcp_connect(t.tcp, &f, &none, NULL, &c) == QP_E_INUSE);
	cr_expect(COUNTER(drop_no_port) == 1 && COUNTER(conns) == 32768);
	/* Another remote socket has its own. */
	f.rport_be = rte_cpu_to_be_16(444);
	cr_expect(qp_tcp_connect(t.tcp, &f, &none, NULL, &c) == 0);
	CLOSE();
}

Test(tcp_abuse, connections_of_one_source_stop_at_its_limit)
{
	script_config(&t.cfg);
	t.cfg.max_conns = 256;
	t.cfg.max_conns_per_source = 3;
	script_open_cfg(&t);
	for (uint16_t port = 1001; port <= 1003; port++) {
		t.peer_port = port;
		script_establish(&t);
	}
	t.peer_port = 1004;
	IN("S 0 win 65535 mss 1460");
	QUIET();
	cr_expect(COUNTER(drop_source_limit) == 1 && COUNTER(conns) == 3);
	/* Another address has its own. */
	t.peer_host = 9;
	IN("S 0 win 65535 mss 1460");
	OUT("SA 0 ack 1 mss 1460");
	t.peer_host = 0;
	/* One goes, one may come; a half-open one counts. */
	t.peer_port = 1003;
	IN("R 1");
	t.peer_port = 1005;
	IN("S 0 win 65535 mss 1460");
	OUT("SA 0 ack 1 mss 1460");
	t.peer_port = 1006;
	IN("S 0 win 65535 mss 1460");
	QUIET();
	cr_expect(COUNTER(drop_source_limit) == 2);
	CLOSE();
}

/* IPv6: a /64 is one customer's. */
Test(tcp_abuse, connections_of_one_v6_prefix_count_together)
{
	t.v6 = true;
	script_config(&t.cfg);
	t.cfg.max_conns = 256;
	t.cfg.max_conns_per_source = 1;
	script_open_cfg(&t);
	IN("S 0 win 65535 mss 1440");
	OUT("SA 0 ack 1 mss 1440");
	t.peer_host = 9;
	IN("S 0 win 65535 mss 1440");
	QUIET();
	cr_expect(COUNTER(drop_source_limit) == 1);
	CLOSE();
}

/* 192.0.2.2 is the peer's address, c000:202::/64 somebody else's. */
Test(tcp_abuse, connections_of_a_v4_address_are_no_v6_prefixs)
{
	struct qp_flow f = {.remote = {.b = {192, 0, 2, 2}}};

	script_config(&t.cfg);
	t.cfg.max_conns = 256;
	t.cfg.max_conns_per_source = 1;
	script_open_cfg(&t);
	script_establish(&t);
	cr_assert(qp_tcp_source_take(t.tcp, &f));
	qp_tcp_source_give(t.tcp, &f);
	CLOSE();
}
