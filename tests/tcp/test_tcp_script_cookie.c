/* SPDX-License-Identifier: Apache-2.0 */
/* SYN cookies (RFC 4987, 3.6): what they keep of a SYN, how long, and what they refuse. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "tests/tcp/script.h"

TestSuite(tcp_cookie, .init = script_suite_start);

static struct script t;

#define CLOSE() script_close(&t)
#define COUNTER(name) (qp_tcp_counters(t.tcp)->name)

static void
open_cookies(void)
{
	bool v6 = t.v6;

	t = (struct script) {.v6 = v6};
	script_config(&t.cfg);
	t.cfg.max_conns = 256;
	t.cfg.syn_backlog = 0;
	script_open_cfg(&t);
}

struct kept {
	const char *syn, *syn_ack, *ack;
	uint32_t flags;
	uint8_t wscale, ecn;
	uint16_t mss;
};

#define ALL (QP_TF_SACK | QP_TF_TS | QP_TF_WSCALE)

static const struct kept kept[] = {
	{"S 0 win 9000 mss 1460 sackok ts 500/0 ws 7", "SA 0 ack 1 mss 1460 sackok ts 0/500 ws 5",
		"A 1 ack 1 win 100 ts 501/_", ALL, 7, 0, 1460},
	{"S 0 win 9000 mss 1400 sackok ts 500/0 ws 14", "SA 0 ack 1 mss 1460 sackok ts 0/500 ws 5",
		"A 1 ack 1 win 100 ts 501/_", ALL, 14, 0, 1380},
	{"S 0 win 9000 mss 9000 sackok ts 500/0 ws 0", "SA 0 ack 1 mss 1460 sackok ts 0/500 ws 5",
		"A 1 ack 1 win 100 ts 501/_", ALL, 0, 0, 8960},
	{"S 0 win 9000 mss 1300 ts 500/0", "SA 0 ack 1 mss 1460 ts 0/500",
		"A 1 ack 1 win 100 ts 501/_", QP_TF_TS, 0, 0, 1300},
	{"S 0 win 9000 mss 1300 sackok ts 500/0", "SA 0 ack 1 mss 1460 sackok ts 0/500",
		"A 1 ack 1 win 100 ts 501/_", QP_TF_TS | QP_TF_SACK, 0, 0, 1300},
	{"S 0 win 9000 mss 1300 ts 500/0 ws 3", "SA 0 ack 1 mss 1460 ts 0/500 ws 5",
		"A 1 ack 1 win 100 ts 501/_", QP_TF_TS | QP_TF_WSCALE, 3, 0, 1300},
	{"SEW 0 win 9000 mss 1460 sackok ts 500/0 ws 7", "SAE 0 ack 1 mss 1460 sackok ts 0/500 ws 5",
		"A 1 ack 1 win 100 ts 501/_", ALL, 7, QP_ECN_SEND | QP_ECN_RECEIVE, 1460},
	/* Nowhere to keep more than the MSS: not offered. */
	{"SEW 0 win 9000 mss 1460 sackok ws 7", "SA 0 ack 1 mss 1460", "A 1 ack 1 win 100", 0, 0, 0, 1460},
	{"S 0 win 9000", "SA 0 ack 1 mss 1460", "A 1 ack 1 win 100", 0, 0, 0, 536},
	{"S 0 win 9000 mss 100", "SA 0 ack 1 mss 1460", "A 1 ack 1 win 100", 0, 0, 0, 536},
};

Test(tcp_cookie, listen_cookie_keeps_what_the_syn_offered)
{
	for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++) {
		const struct kept *k = &kept[i];

		open_cookies();
		IN(k->syn);
		OUT(k->syn_ack);
		cr_expect(COUNTER(conns) == 0, "a cookie keeps no state");
		WAIT_MS(20);
		IN(k->ack);
		cr_assert(t.accepted == 1, "case %zu", i);
		cr_expect((t.c->flags & ALL) == k->flags, "case %zu: flags %x", i, t.c->flags & ALL);
		cr_expect(t.c->snd_wscale == k->wscale && t.c->peer_mss == k->mss && t.c->ecn == k->ecn,
			"case %zu: scale %u, MSS %u, ECN %u", i, t.c->snd_wscale, t.c->peer_mss, t.c->ecn);
		cr_expect(t.c->snd_wnd == 100u << k->wscale);
		cr_expect(t.c->rcv_wscale == (k->flags & QP_TF_WSCALE ? 5 : 0));
		CLOSE();
	}
}

Test(tcp_cookie, listen_cookie_on_ipv6_opens)
{
	t.v6 = true;
	open_cookies();
	IN("S 0 win 9000 mss 1440 sackok ts 500/0 ws 7");
	OUT("SA 0 ack 1 mss 1440 sackok ts 0/500 ws 5");
	IN("A 1+10 ack 1 win 100 ts 501/_");
	OUT("A 1 ack 11");
	cr_expect(t.accepted == 1 && t.c->peer_mss == 1440);
	CLOSE();
}

/* Scale, SACK and timestamps not only remembered: the connection goes by them. */
Test(tcp_cookie, established_by_cookie_transfers_both_ways)
{
	open_cookies();
	IN("SEW 0 win 65535 mss 1460 sackok ts 500/0 ws 7");
	OUT("SAE 0 ack 1 mss 1460 sackok ts 0/500 ws 5");
	uint32_t clock = t.last_tsval;
	WAIT_MS(20);
	IN("A 1+1448 ack 1 win 512 ts 501/_");
	OUT("A 1 ack 1449 ts 0/501");
	cr_expect(seq_leq(clock, t.last_tsval), "our timestamps do not go back");
	cr_expect(t.received == 1448 && !t.wrong);
	cr_expect(t.c->srtt_ns == 0, "when the SYN-ACK went out nobody knows");
	/* The peer's window is 65,536: more than unscaled could be said. */
	script_send(&t, 100000);
	OUT("A 1+14480 ack 1449 tos 2");
	IN("A 1449 ack 14481 win 512 ts 520/_");
	OUT("A 14481+28960 ack 1449");
	IN("A 1449 ack 14481 win 512 ts 521/_ sack 15929-43441");
	OUT("A 14481+1448 ack 1449 tos 0");
	IN("A 1449 ack 43441 win 512 ts 530/_");
	script_ignore(&t);
	/* Our window, too, is beyond 64 KiB. */
	script_wide(&t);
	cr_expect(t.c->rcv_adv - t.c->rcv_nxt > 65535);
	/* Old timestamps are refused. */
	IN("A 1449+10 ack 43441 win 512 ts 400/_");
	cr_expect(COUNTER(drop_paws) == 1 && t.received == 1448);
	CLOSE();
}

Test(tcp_cookie, listen_cookie_timestamp_does_not_run_ahead)
{
	for (int i = 0; i < 70; i++) {
		uint32_t before, now;

		open_cookies();
		WAIT_MS(i);
		IN("SEW 0 win 9000 mss 1460 sackok ts 500/0 ws 14");
		OUT("SAE 0 ack 1 mss 1460 sackok ts 0/500 ws 5");
		before = t.last_tsval;
		IN("A 1+10 ack 1 win 100 ts 501/_");
		OUT("A 1 ack 11");
		now = t.last_tsval;
		cr_expect(seq_leq(before, now) && now - before < 128, "%d: %u", i, now - before);
		CLOSE();
	}
}

Test(tcp_cookie, listen_cookie_of_the_last_step_opens_an_older_one_does_not)
{
	open_cookies();
	t.now_ns = 64 * 10 * QP_SEC_NS; /* a step begins */
	IN("S 0 win 9000 mss 1460");
	OUT("SA 0 ack 1 mss 1460");
	t.now_ns += 127 * QP_SEC_NS;
	IN("A 1 ack 1 win 100");
	cr_expect(t.accepted == 1);
	CLOSE();
	open_cookies();
	t.now_ns = 64 * 10 * QP_SEC_NS;
	IN("S 0 win 9000 mss 1460");
	OUT("SA 0 ack 1 mss 1460");
	t.now_ns += 127 * QP_SEC_NS;
	uint32_t iss = t.iss;
	t.peer_port++;
	IN("S 0 win 9000 mss 1460"); /* cookies go on being given out */
	script_ignore(&t);
	t.peer_port--;
	t.iss = iss;
	t.now_ns += QP_SEC_NS;
	IN("A 1 ack 1 win 100");
	OUT("R 1");
	cr_expect(t.accepted == 0);
	CLOSE();
}

/* The five bits of the step come round after half an hour: its key does not. */
Test(tcp_cookie, listen_cookie_of_a_step_with_the_same_number_is_refused)
{
	open_cookies();
	t.now_ns = 64 * 10 * QP_SEC_NS;
	IN("S 0 win 9000 mss 1460");
	OUT("SA 0 ack 1 mss 1460");
	uint32_t iss = t.iss;
	t.now_ns += 32 * 64 * QP_SEC_NS;
	t.peer_port++;
	IN("S 0 win 9000 mss 1460");
	script_ignore(&t);
	t.peer_port--;
	t.iss = iss;
	IN("A 1 ack 1 win 100");
	OUT("R 1");
	CLOSE();
}

Test(tcp_cookie, listen_cookie_of_another_flow_or_mss_is_refused)
{
	open_cookies();
	IN("S 0 win 9000 mss 1460");
	OUT("SA 0 ack 1 mss 1460");
	t.peer_port++;
	IN("A 1 ack 1 win 100");
	OUT("R 1");
	t.peer_port--;
	t.iss ^= 1u << 24; /* another MSS */
	IN("A 1 ack 1 win 100");
	OUT("R 1");
	cr_expect(t.accepted == 0 && COUNTER(syn_cookies_ok) == 0);
	CLOSE();
}

Test(tcp_cookie, listen_ack_when_no_cookie_was_given_for_long_is_reset_unseen)
{
	open_cookies();
	IN("S 0 win 9000 mss 1460");
	OUT("SA 0 ack 1 mss 1460");
	t.now_ns += 129 * QP_SEC_NS;
	IN("A 1 ack 1 win 100");
	OUT("R 1");
	CLOSE();
}

Test(tcp_cookie, listen_lost_third_ack_first_data_opens)
{
	open_cookies();
	IN("S 0 win 9000 mss 1460 sackok ts 500/0 ws 7");
	OUT("SA 0 ack 1 mss 1460 sackok ts 0/500 ws 5");
	IN("A 1+100 ack 1 win 100 ts 600/_"); /* a retransmission carries the same number */
	OUT("A 1 ack 101");
	cr_expect(t.accepted == 1 && t.received == 100);
	CLOSE();
}

Test(tcp_cookie, listen_application_forbids_meanwhile_third_ack_is_reset)
{
	open_cookies();
	IN("S 0 win 9000 mss 1460");
	OUT("SA 0 ack 1 mss 1460");
	t.forbid = true;
	IN("A 1 ack 1 win 9000");
	OUT("R 1");
	cr_expect_eq(t.accepted, 0u);
	cr_expect_eq(COUNTER(conns), 0u);
	CLOSE();
}

Test(tcp_cookie, listen_third_ack_with_fin_closes_half)
{
	open_cookies();
	IN("S 0 win 9000 mss 1460");
	OUT("SA 0 ack 1 mss 1460");
	IN("AF 1+10 ack 1 win 100");
	OUT("A 1 ack 12");
	cr_expect(t.accepted == 1 && t.received == 10 && t.ends == 1);
	CLOSE();
}

Test(tcp_cookie, listen_third_ack_twice_is_one_connection)
{
	open_cookies();
	IN("S 0 win 9000 mss 1460");
	OUT("SA 0 ack 1 mss 1460");
	IN("A 1 ack 1 win 100");
	IN("A 1 ack 1 win 100");
	QUIET();
	cr_expect(t.accepted == 1 && COUNTER(conns) == 1);
	CLOSE();
}

Test(tcp_cookie, listen_table_full_third_ack_is_dropped)
{
	script_config(&t.cfg);
	t.cfg.max_conns = 1;
	t.cfg.syn_backlog = 0;
	script_open_cfg(&t);
	for (int i = 0; i < 2; i++) {
		t.peer_port++;
		IN("S 0 win 9000 mss 1460");
		OUT("SA 0 ack 1 mss 1460");
		IN("A 1 ack 1 win 100");
	}
	cr_expect(t.accepted == 1 && COUNTER(drop_backlog) == 1);
	CLOSE();
}
