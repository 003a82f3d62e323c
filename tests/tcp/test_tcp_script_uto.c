/* SPDX-License-Identifier: Apache-2.0 */
/* The user timeout and its option (RFC 9293, 3.8.3; RFC 5482), a situation a test. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "tests/tcp/script.h"

TestSuite(tcp_uto, .init = script_suite_start);

static struct script t;

#define CLOSE() script_close(&t)

static void
open_uto(uint32_t ours_s, bool option)
{
	qp_tcp_config_default(&t.cfg);
	t.cfg.max_conns = 256;
	t.cfg.user_timeout_s = ours_s;
	t.cfg.user_timeout_option = option;
	t.ended = false;
	script_open_cfg(&t);
}

/* Sends, hears nothing, and says after how many seconds the connection ended. */
static uint32_t
dies_after_s(uint32_t at_most_s)
{
	uint32_t s = 0;

	script_send(&t, 100);
	for (; !t.ended && s < at_most_s; s++) {
		WAIT_MS(1000);
		script_ignore(&t);
	}
	return t.ended ? s : 0;
}

/* The timer that notices is the retransmission's: up to a minute later. */
#define EXPECT_DEATH(at)                                                                           \
	do {                                                                                       \
		uint32_t s_ = dies_after_s(4000);                                                  \
		cr_expect(s_ >= (at) && s_ <= (at) + 61 && t.why == QP_TCP_END_TIMEOUT, "%u s", s_); \
	} while (0)

static void
established_with(uint32_t ours_s, const char *syn)
{
	char syn_ack[64];

	open_uto(ours_s, true);
	IN(syn);
	snprintf(syn_ack, sizeof(syn_ack), "SA 0 ack 1 mss 1460 uto %u", ours_s != 0 ? ours_s : 300);
	OUT(syn_ack);
	IN("A 1 ack 1");
	script_ignore(&t);
	cr_assert(t.c != NULL);
}

Test(tcp_uto, established_configured_timeout_ends)
{
	open_uto(30, false);
	script_establish_plain(&t, 9000);
	EXPECT_DEATH(30);
	CLOSE();
}

Test(tcp_uto, established_applications_timeout_ends)
{
	open_uto(0, false);
	script_establish_plain(&t, 9000);
	qp_tcp_set_user_timeout(t.c, 20);
	script_flush(&t);
	QUIET(); /* the option is off */
	EXPECT_DEATH(20);
	CLOSE();
}

Test(tcp_uto, established_applications_zero_is_the_configured_one_again)
{
	open_uto(50, false);
	script_establish_plain(&t, 9000);
	qp_tcp_set_user_timeout(t.c, 2000);
	qp_tcp_set_user_timeout(t.c, 0);
	EXPECT_DEATH(50);
	CLOSE();
}

Test(tcp_uto, established_zero_window_unanswered_ends_by_it_too)
{
	open_uto(30, false);
	script_establish_plain(&t, 0);
	EXPECT_DEATH(30);
	CLOSE();
}

Test(tcp_uto, listen_option_off_is_neither_sent_nor_regarded)
{
	open_uto(0, false);
	IN("S 0 win 9000 mss 1460 uto 1000");
	OUT("SA 0 ack 1 mss 1460");
	IN("A 1 ack 1");
	script_ignore(&t);
	EXPECT_DEATH(300);
	CLOSE();
}

Test(tcp_uto, listen_option_on_is_in_the_syn_ack_and_the_first_segment_after)
{
	open_uto(0, true);
	IN("S 0 win 9000 mss 1460");
	OUT("SA 0 ack 1 mss 1460 uto 300");
	IN("A 1+10 ack 1");
	OUT("A 1 ack 11 uto 300");
	IN("A 11+10 ack 1");
	OUT("A 1 ack 21");
	CLOSE();
}

Test(tcp_uto, syn_sent_option_on_is_in_the_syn_and_the_first_segment_after)
{
	open_uto(1234, true);
	script_connect(&t);
	OUT("S 0 mss 1460 sackok ts 0/0 ws 5 uto 1234");
	IN("SA 0 ack 1 win 9000 mss 1460 uto 200");
	OUT("A 1 ack 1 uto 1234");
	cr_expect(qp_tcp_user_timeout_s(t.c) == 1234);
	CLOSE();
}

Test(tcp_uto, established_first_data_with_the_option_fits_the_mtu)
{
	const struct rte_mbuf *m;

	open_uto(0, true);
	IN("S 0 win 65535 mss 1460 sackok ts 100/0");
	OUT("SA 0 ack 1 mss 1460 sackok ts 0/100 uto 300");
	IN("A 1 ack 1 win 60000 ts 101/_");
	script_ignore(&t);
	qp_tcp_set_user_timeout(t.c, 500);
	t.c->flags &= ~QP_TF_ACK_NOW;
	script_send(&t, 10000);
	m = t.out[t.out_tail % 256];
	cr_expect(m->tso_segsz == 1460 - 12 - 4 && m->l4_len == 20 + 12 + 4);
	OUT("AP 1+10000 ack 1 uto 500");
	IN("A 1 ack 10001 win 60000 ts 102/_");
	script_send(&t, 10000);
	m = t.out[t.out_tail % 256];
	cr_expect(m->tso_segsz == 1460 - 12);
	CLOSE();
}

Test(tcp_uto, established_option_beside_sack_blocks_stays_in_forty_bytes)
{
	open_uto(0, true);
	IN("S 0 win 65535 mss 1460 sackok ts 100/0");
	OUT("SA 0 ack 1 mss 1460 sackok ts 0/100 uto 300");
	IN("A 1 ack 1 win 60000 ts 101/_");
	IN("A 101+100 ack 1 ts 101/_");
	IN("A 301+100 ack 1 ts 101/_");
	IN("A 501+100 ack 1 ts 101/_");
	script_ignore(&t);
	qp_tcp_set_user_timeout(t.c, 500);
	script_flush(&t);
	OUT("A 1 ack 1 uto 500 sack 501-601 sack 301-401");
	IN("A 701+100 ack 1 ts 101/_");
	OUT("A 1 ack 1 sack 701-801 sack 501-601 sack 301-401");
	CLOSE();
}

Test(tcp_uto, established_longer_of_both_is_in_force)
{
	established_with(0, "S 0 win 9000 mss 1460 uto 900");
	cr_expect(qp_tcp_user_timeout_s(t.c) == 900);
	IN("A 1+1 ack 1 uto 200"); /* it may change; ours is 300 */
	cr_expect(qp_tcp_user_timeout_s(t.c) == 300);
	script_ignore(&t);
	CLOSE();
	established_with(20, "S 0 win 9000 mss 1460 uto 900");
	EXPECT_DEATH(900);
	CLOSE();
}

Test(tcp_uto, established_peers_option_is_bounded)
{
	established_with(20, "S 0 win 9000 mss 1460 uto 5");
	cr_expect(qp_tcp_user_timeout_s(t.c) == 100, "L_LIMIT");
	CLOSE();
	established_with(20, "S 0 win 9000 mss 1460 uto 90000");
	cr_expect(qp_tcp_user_timeout_s(t.c) == 3600, "U_LIMIT");
	CLOSE();
}

Test(tcp_uto, established_option_outside_the_window_is_ignored)
{
	established_with(0, "S 0 win 9000 mss 1460");
	IN("A 3000000 ack 1 uto 900");
	IN("A 1 ack 5 uto 900");
	cr_expect(qp_tcp_user_timeout_s(t.c) == 300);
	CLOSE();
}

Test(tcp_uto, established_application_overrides_the_peer_and_tells_it)
{
	established_with(0, "S 0 win 9000 mss 1460 uto 900");
	qp_tcp_set_user_timeout(t.c, 40);
	script_flush(&t);
	OUT("A 1 ack 1 uto 40");
	IN("A 1+1 ack 1 uto 2000");
	cr_expect(qp_tcp_user_timeout_s(t.c) == 40);
	script_ignore(&t);
	EXPECT_DEATH(40);
	CLOSE();
}

/* RFC 5482, 4.2 */
Test(tcp_uto, established_keepalive_waits_longer_than_the_adopted_timeout)
{
	established_with(0, "S 0 win 9000 mss 1460 uto 1000");
	cr_expect(t.cfg.keepalive_s == 600);
	WAIT_MS(1000 * 1000);
	QUIET();
	WAIT_MS(2000);
	OUT("A 0 ack 1 uto 300");
	CLOSE();
}

Test(tcp_uto, any_option_value_parses_and_is_written_back)
{
	static const uint8_t seconds[4] = {28, 4, 0x01, 0x2c}, minutes[4] = {28, 4, 0x80, 0x3c},
		zero[4] = {28, 4, 0x80, 0}, bad[4] = {28, 3, 1, 1};
	struct qp_tcp_options o = {.has_uto = true, .uto_s = 100000};
	uint8_t bytes[QP_TCP_OPTIONS_MAX];

	cr_expect(qp_tcp_options_write(bytes, &o) == 4);
	cr_expect(qp_tcp_options_parse(bytes, 4, false, &o) == 0 && o.uto_s == 99960, "whole minutes");
	cr_expect(qp_tcp_options_parse(seconds, 4, false, &o) == 0 && o.has_uto && o.uto_s == 300);
	cr_expect(qp_tcp_options_parse(minutes, 4, true, &o) == 0 && o.has_uto && o.uto_s == 3600);
	cr_expect(qp_tcp_options_parse(zero, 4, true, &o) == 0 && !o.has_uto);
	cr_expect(qp_tcp_options_parse(bad, 4, true, &o) != 0);
}
