/* SPDX-License-Identifier: Apache-2.0 */
/* TCP Fast Open, passive side (RFC 7413), a situation a test. */
#include <criterion/criterion.h>
#include <string.h>

#include "tests/tcp/script.h"

TestSuite(tcp_fastopen, .init = script_suite_start);

static struct script t;

#define CLOSE() script_close(&t)
#define COUNTER(name) (qp_tcp_counters(t.tcp)->name)

static void
open_fast(uint32_t backlog)
{
	qp_tcp_config_default(&t.cfg);
	t.cfg.max_conns = 256;
	t.cfg.fastopen = true;
	t.cfg.fastopen_backlog = backlog;
	script_open_cfg(&t);
}

/* A first, ordinary connection brings the cookie; then it is reset. */
static void
get_cookie(void)
{
	IN("S 0 win 65535 mss 1460 sackok ts 100/0 ws 7 tfo ask");
	OUT("SA 0 ack 1 mss 1460 sackok ts 0/100 ws 5 tfo good");
	cr_assert(COUNTER(fastopen_cookies) == 1);
	IN("R 1");
	cr_assert(COUNTER(conns) == 0 && t.accepted == 0);
}

static void
opened(uint32_t backlog)
{
	open_fast(backlog);
	get_cookie();
	t.peer_port++;
	IN("S 0+100 win 20000 mss 1460 sackok ts 100/0 ws 7 tfo good");
}

/* --- cookies: 4.1 --- */

Test(tcp_fastopen, listen_off_ignores_requests_and_cookies)
{
	script_open(&t);
	IN("S 0 win 9000 mss 1460 tfo ask");
	OUT("SA 0 ack 1 mss 1460");
	t.peer_port++;
	IN("S 0+100 win 9000 mss 1460 tfo good");
	OUT("SA 0 ack 1 mss 1460");
	cr_expect(t.accepted == 0);
	CLOSE();
}

Test(tcp_fastopen, listen_request_gets_a_cookie_and_the_usual_handshake)
{
	open_fast(8);
	IN("S 0+100 win 9000 mss 1460 tfo ask"); /* text without a cookie comes again */
	OUT("SA 0 ack 1 mss 1460 tfo good");
	cr_expect(t.accepted == 0 && t.received == 0);
	IN("A 1+100 ack 1 win 9000");
	OUT("A 1 ack 101");
	cr_expect(t.accepted == 1 && t.received == 100 && !t.wrong);
	CLOSE();
}

Test(tcp_fastopen, listen_no_option_gets_no_cookie)
{
	open_fast(8);
	IN("S 0 win 9000 mss 1460");
	OUT("SA 0 ack 1 mss 1460");
	cr_expect(COUNTER(fastopen_cookies) == 0);
	CLOSE();
}

Test(tcp_fastopen, listen_invalid_cookie_gets_a_fresh_one_and_the_usual_handshake)
{
	open_fast(8);
	get_cookie();
	t.peer_port++;
	IN("S 0+100 win 9000 mss 1460 tfo bad");
	OUT("SA 0 ack 1 mss 1460 tfo good");
	cr_expect(t.accepted == 0 && t.received == 0 && COUNTER(fastopen_invalid) == 1);
	IN("A 1+100 ack 1 win 9000");
	OUT("A 1 ack 101");
	cr_expect(t.received == 100 && !t.wrong);
	CLOSE();
}

Test(tcp_fastopen, listen_cookie_of_the_last_key_opens_and_brings_a_fresh_one)
{
	uint8_t first[8];

	open_fast(8);
	get_cookie();
	memcpy(first, t.cookie, 8);
	t.now_ns += 4 * 3600 * QP_SEC_NS;
	t.peer_port++;
	IN("S 0+100 win 9000 mss 1460 tfo good");
	OUT("SA 0 ack 101 mss 1460 tfo good");
	cr_expect(t.received == 100 && memcmp(first, t.cookie, 8) != 0);
	memcpy(t.cookie, first, 8);
	t.now_ns += 4 * 3600 * QP_SEC_NS;
	t.peer_port++;
	IN("S 0+100 win 9000 mss 1460 tfo good"); /* by now it is too old */
	OUT("SA 0 ack 1 mss 1460 tfo good");
	cr_expect(COUNTER(fastopen_invalid) == 1 && COUNTER(fastopen_ok) == 1);
	CLOSE();
}

Test(tcp_fastopen, listen_cookie_of_another_lcore_with_the_same_key_opens)
{
	for (int i = 0; i < 2; i++) {
		qp_tcp_config_default(&t.cfg);
		t.cfg.max_conns = 256;
		t.cfg.fastopen = true;
		t.cfg.fastopen_key[0] = 1234;
		script_open_cfg(&t);
		if (i == 0) {
			get_cookie();
		} else {
			IN("S 0+100 win 9000 mss 1460 tfo good");
			OUT("SA 0 ack 101 mss 1460");
		}
		CLOSE();
	}
	cr_expect(t.received == 100);
}

Test(tcp_fastopen, listen_cookie_of_another_address_is_invalid)
{
	open_fast(8);
	get_cookie();
	t.v6 = true;
	IN("S 0+100 win 9000 mss 1440 tfo good");
	OUT("SA 0 ack 1 mss 1440 tfo good");
	cr_expect(COUNTER(fastopen_invalid) == 1);
	t.v6 = false;
	CLOSE();
}

Test(tcp_fastopen, any_option_of_a_wrong_length_or_without_syn_is_ignored)
{
	struct qp_tcp_options o;
	static const uint8_t three[8] = {34, 5, 1, 2, 3, 1, 1, 1}, two[4] = {34, 4, 1, 2},
		eight[12] = {34, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1, 1},
		big[20] = {34, 20};

	cr_expect(qp_tcp_options_parse(three, 8, true, &o) == 0 && !o.has_fastopen);
	cr_expect(qp_tcp_options_parse(two, 4, true, &o) == 0 && !o.has_fastopen);
	cr_expect(qp_tcp_options_parse(big, 20, true, &o) == 0 && !o.has_fastopen);
	cr_expect(qp_tcp_options_parse(eight, 12, false, &o) == 0 && !o.has_fastopen);
	cr_expect(qp_tcp_options_parse(eight, 12, true, &o) == 0 && o.fastopen_len == 8);
}

/* --- data in the SYN: 4.2.2 --- */

Test(tcp_fastopen, listen_good_cookie_delivers_the_syns_text_at_once)
{
	opened(8);
	OUT("SA 0 ack 101 mss 1460 sackok ts 0/100 ws 5");
	QUIET();
	cr_expect(t.accepted == 1 && t.received == 100 && !t.wrong && COUNTER(fastopen_ok) == 1);
	cr_expect(t.c->tcb.state == QP_TCP_SYN_RECEIVED && COUNTER(established) == 0);
	WAIT_MS(20);
	IN("A 101 ack 1 win 512 ts 101/_");
	cr_expect(t.accepted == 1 && t.c->tcb.state == QP_TCP_ESTABLISHED && COUNTER(established) == 1);
	cr_expect(t.c->srtt_ns == 20 * QP_MS_NS, "the SYN-ACK's round trip");
	cr_expect(t.tcp->fastopen_pending == 0);
	OUT("A 1 ack 101"); /* the window, now that it can be scaled */
	IN("A 101+100 ack 1 win 512 ts 102/_");
	OUT("A 1 ack 201");
	cr_expect(t.received == 200 && !t.wrong);
	CLOSE();
}

Test(tcp_fastopen, listen_good_cookie_without_text_is_accepted_too)
{
	open_fast(8);
	get_cookie();
	t.peer_port++;
	IN("S 0 win 9000 mss 1460 tfo good");
	OUT("SA 0 ack 1 mss 1460");
	cr_expect(t.accepted == 1);
	CLOSE();
}

Test(tcp_fastopen, syn_received_server_sends_up_to_the_initial_window_before_the_third_ack)
{
	opened(8);
	OUT("SA 0 ack 101 mss 1460 sackok ts 0/100 ws 5");
	script_send(&t, 30000);
	OUT("A 1+14480 ack 101"); /* ten segments */
	QUIET();
	WAIT_MS(20);
	IN("A 101 ack 14481 win 512 ts 101/_");
	cr_expect(t.acked == 14480 && t.c->tcb.state == QP_TCP_ESTABLISHED);
	OUT("AP 14481+15520 ack 101");
	IN("A 101 ack 30001 win 512 ts 102/_");
	cr_expect(t.acked == 30000);
	CLOSE();
}

Test(tcp_fastopen, syn_received_peers_window_holds)
{
	open_fast(8);
	get_cookie();
	t.peer_port++;
	IN("S 0+100 win 1000 mss 1460 ws 7 tfo good"); /* not scaled in a SYN */
	OUT("SA 0 ack 101 mss 1460 ws 5");
	script_send(&t, 30000);
	OUT("A 1+1000 ack 101");
	QUIET();
	IN("A 101 ack 1001 win 512");
	OUT("A 1001+14600 ack 101");
	CLOSE();
}

Test(tcp_fastopen, syn_received_third_ack_of_the_syn_alone_leaves_data_in_flight)
{
	opened(8);
	OUT("SA 0 ack 101 mss 1460 sackok ts 0/100 ws 5");
	script_send(&t, 1000);
	OUT("AP 1+1000 ack 101");
	IN("A 101 ack 1 win 512 ts 101/_");
	cr_expect(t.c->tcb.state == QP_TCP_ESTABLISHED && t.acked == 0);
	QUIET();
	script_until_sent(&t, 2000);
	OUT("AP 1+1000 ack 101"); /* as any other lost segment */
	IN("A 101 ack 1001 win 512 ts 102/_");
	cr_expect(t.acked == 1000);
	CLOSE();
}

Test(tcp_fastopen, syn_received_lost_syn_ack_goes_again_and_then_the_data)
{
	opened(8);
	OUT("SA 0 ack 101 mss 1460 sackok ts 0/100 ws 5");
	script_send(&t, 3000);
	OUT("AP 1+3000 ack 101");
	cr_expect(script_until_sent(&t, 2000) >= 1000);
	OUT("SA 0 ack 101 mss 1460 sackok ts 0/100 ws 5");
	QUIET(); /* the client could not take data yet */
	IN("A 101 ack 1 win 512 ts 101/_");
	OUT("A 1+1448 ack 101"); /* without another timeout, from one segment on */
	IN("A 101 ack 1449 win 512 ts 102/_");
	OUT("AP 1449+1552 ack 101");
	IN("A 101 ack 3001 win 512 ts 103/_");
	cr_expect(t.acked == 3000 && t.c->ca == QP_CA_OPEN);
	CLOSE();
}

Test(tcp_fastopen, syn_received_same_syn_again_repeats_the_syn_ack_not_the_text)
{
	static const char *const again[] = {
		"S 0+100 win 20000 mss 1460 sackok ts 101/0 ws 7 tfo good",
		"S 0 win 20000 mss 1460 sackok ts 101/0 ws 7",
		"S 0+500 win 20000 mss 1460 sackok ts 101/0 ws 7 tfo good",
	};

	opened(8);
	OUT("SA 0 ack 101 mss 1460 sackok ts 0/100 ws 5");
	for (unsigned i = 0; i < 3; i++) {
		IN(again[i]);
		OUT("SA 0 ack 101 mss 1460 sackok ts 0/_ ws 5");
		QUIET();
	}
	cr_expect(t.accepted == 1 && t.received == 100);
	CLOSE();
}

Test(tcp_fastopen, syn_received_other_syn_is_challenged)
{
	opened(8);
	OUT("SA 0 ack 101 mss 1460 sackok ts 0/100 ws 5");
	IN("S 150 win 20000 mss 1460 ts 101/0");
	OUT("A 1 ack 101");
	cr_expect(!t.ended && t.c != NULL);
	CLOSE();
}

Test(tcp_fastopen, syn_received_text_beyond_the_window_is_cut)
{
	qp_tcp_config_default(&t.cfg);
	t.cfg.max_conns = 256;
	t.cfg.fastopen = true;
	t.cfg.rcv_buf_bytes = 60;
	script_open_cfg(&t);
	IN("S 0 win 9000 mss 1460 tfo ask");
	OUT("SA 0 ack 1 mss 1460 tfo good");
	t.peer_port++;
	t.hold = true;
	IN("S 0+100 win 9000 mss 1460 tfo good");
	OUT("SA 0 ack 61 win 0 mss 1460");
	cr_expect(t.received == 60 && !t.wrong);
	CLOSE();
}

Test(tcp_fastopen, syn_received_shutdown_sends_fin_after_the_handshake)
{
	opened(8);
	OUT("SA 0 ack 101 mss 1460 sackok ts 0/100 ws 5");
	script_send(&t, 10);
	qp_tcp_shutdown(t.c);
	script_flush(&t);
	OUT("AP 1+10 ack 101");
	QUIET();
	IN("A 101 ack 11 win 512 ts 101/_");
	OUT("AF 11 ack 101");
	cr_expect(t.c->tcb.state == QP_TCP_FIN_WAIT_1);
	IN("AF 101 ack 12 win 512 ts 102/_");
	OUT("A 12 ack 102");
	cr_expect(t.ended && t.why == QP_TCP_END_NORMAL);
	CLOSE();
}

Test(tcp_fastopen, syn_received_third_ack_with_text_and_fin)
{
	opened(8);
	OUT("SA 0 ack 101 mss 1460 sackok ts 0/100 ws 5");
	IN("AF 101+50 ack 1 win 512 ts 101/_");
	OUT("A 1 ack 152");
	cr_expect(t.received == 150 && t.ends == 1 && t.c->tcb.state == QP_TCP_CLOSE_WAIT);
	CLOSE();
}

Test(tcp_fastopen, syn_received_wrong_ack_is_reset_and_the_right_one_still_opens)
{
	opened(8);
	OUT("SA 0 ack 101 mss 1460 sackok ts 0/100 ws 5");
	IN("A 101 ack 2 win 512 ts 101/_"); /* nothing was sent behind the SYN */
	OUT("R 2");
	IN("A 101 ack 0 win 512 ts 101/_");
	OUT("R 0");
	IN("A 101 ack 1 win 512 ts 101/_");
	cr_expect(t.c->tcb.state == QP_TCP_ESTABLISHED);
	CLOSE();
}

/* --- handshakes that fail --- */

Test(tcp_fastopen, syn_received_application_refuses_peer_is_reset)
{
	open_fast(8);
	get_cookie();
	t.refuse = true;
	IN("S 0+100 win 9000 mss 1460 tfo good");
	OUT("RA 1 ack 1");
	QUIET();
	cr_expect(COUNTER(conns) == 0 && t.received == 0 && t.tcp->fastopen_pending == 0);
	CLOSE();
}

Test(tcp_fastopen, syn_received_no_answer_ends_with_timeout)
{
	opened(8);
	script_send(&t, 1000);
	for (int i = 0; i < 70; i++) {
		WAIT_MS(1000);
		script_ignore(&t);
	}
	cr_expect(t.ended && t.why == QP_TCP_END_TIMEOUT);
	cr_expect(COUNTER(conns) == 0 && t.tcp->fastopen_pending == 0);
	CLOSE();
}

Test(tcp_fastopen, syn_received_rst_ends_and_counts_for_a_while)
{
	opened(1);
	OUT("SA 0 ack 101 mss 1460 sackok ts 0/100 ws 5");
	IN("R 101");
	cr_expect(t.ended && t.why == QP_TCP_END_RESET && t.tcp->fastopen_pending == 0);
	t.ended = false;
	t.peer_port++;
	IN("S 0+100 win 9000 mss 1460 tfo good"); /* 5.1: its place is not free yet */
	OUT("SA 0 ack 1 mss 1460");
	cr_expect(COUNTER(fastopen_over_limit) == 1);
	t.now_ns += 121 * QP_SEC_NS;
	t.received = 0;
	t.peer_port++;
	IN("S 0+100 win 9000 mss 1460 tfo good");
	OUT("SA 0 ack 101 mss 1460");
	CLOSE();
}

Test(tcp_fastopen, syn_received_rst_elsewhere_in_window_is_challenged)
{
	opened(8);
	OUT("SA 0 ack 101 mss 1460 sackok ts 0/100 ws 5");
	IN("R 102");
	OUT("A 1 ack 101");
	cr_expect(!t.ended);
	CLOSE();
}

Test(tcp_fastopen, syn_received_abort_resets)
{
	opened(8);
	OUT("SA 0 ack 101 mss 1460 sackok ts 0/100 ws 5");
	qp_tcp_abort(t.c);
	OUT("RA 1 ack 101");
	script_flush(&t);
	cr_expect(!t.ended && COUNTER(conns) == 0 && t.tcp->fastopen_pending == 0);
	CLOSE();
}

Test(tcp_fastopen, syn_received_unlisten_leaves_it_alive)
{
	opened(8);
	OUT("SA 0 ack 101 mss 1460 sackok ts 0/100 ws 5");
	qp_tcp_unlisten(t.listener);
	QUIET();
	IN("A 101 ack 1 win 512 ts 101/_");
	cr_expect(t.c->tcb.state == QP_TCP_ESTABLISHED);
	CLOSE();
}

/* --- limits --- */

Test(tcp_fastopen, listen_limit_reached_falls_back_to_the_usual_handshake)
{
	opened(1);
	OUT("SA 0 ack 101 mss 1460 sackok ts 0/100 ws 5");
	uint32_t iss = t.iss;
	t.peer_port++;
	IN("S 0+100 win 9000 mss 1460 tfo good");
	OUT("SA 0 ack 1 mss 1460");
	cr_expect(t.accepted == 1 && COUNTER(fastopen_over_limit) == 1);
	/* The first is established: there is room again. */
	t.iss = iss;
	t.peer_port--;
	IN("A 101 ack 1 win 512 ts 101/_");
	script_ignore(&t);
	t.peer_port += 2;
	t.received = 0;
	IN("S 0+100 win 9000 mss 1460 tfo good");
	OUT("SA 0 ack 101 mss 1460");
	cr_expect(t.accepted == 2);
	CLOSE();
}

Test(tcp_fastopen, listen_backlog_full_answers_with_a_syn_cookie_alone)
{
	qp_tcp_config_default(&t.cfg);
	t.cfg.max_conns = 256;
	t.cfg.fastopen = true;
	t.cfg.syn_backlog = 1;
	script_open_cfg(&t);
	get_cookie();
	t.peer_port++;
	IN("S 0 win 9000 mss 1460");
	script_ignore(&t);
	t.peer_port++;
	IN("S 0+100 win 9000 mss 1460 tfo good");
	OUT("SA 0 ack 1 mss 1460");
	cr_expect(t.accepted == 0 && COUNTER(syn_cookies_sent) == 1 && COUNTER(fastopen_ok) == 0);
	CLOSE();
}

Test(tcp_fastopen, listen_memory_scarce_falls_back_to_the_usual_handshake)
{
	uint8_t level = QP_MEM_PLENTY;

	open_fast(8);
	t.tcp->env.mem_level = &level;
	get_cookie();
	level = QP_MEM_SCARCE;
	t.peer_port++;
	IN("S 0+100 win 9000 mss 1460 tfo good");
	OUT("SA 0 ack 1 mss 1460");
	cr_expect(t.received == 0);
	CLOSE();
}

/* --- TIME-WAIT: RFC 6191 --- */

Test(tcp_fastopen, time_wait_new_syn_with_a_cookie_opens_at_once_an_old_one_does_not)
{
	open_fast(8);
	get_cookie();
	script_establish(&t);
	qp_tcp_shutdown(t.c);
	script_flush(&t);
	OUT("AF 1 ack 1");
	IN("AF 1 ack 2 win 512 ts 102/_");
	OUT("A 2 ack 2");
	t.c = NULL;
	IN("S 0+100 win 9000 mss 1460 ts 102/0 tfo good"); /* a duplicate of old */
	OUT("A 2 ack 2");
	cr_expect(t.accepted == 1);
	IN("S 0+100 win 9000 mss 1460 ts 110/0 tfo good");
	OUT("SA 0 ack 101 mss 1460 ts 0/110");
	cr_expect(t.accepted == 2 && t.received == 100);
	CLOSE();
}

/* --- without Fast Open --- */

Test(tcp_fastopen, syn_received_syn_with_text_again_repeats_the_syn_ack)
{
	script_open(&t);
	IN("S 0+100 win 9000 mss 1460");
	OUT("SA 0 ack 1 mss 1460");
	uint32_t iss = t.iss;
	IN("S 0+100 win 9000 mss 1460"); /* its text reaches the window, its SYN does not */
	OUT("SA 0 ack 1 mss 1460");
	cr_expect(t.iss == iss && COUNTER(conns) == 1);
	IN("A 1+100 ack 1 win 9000");
	cr_expect(t.accepted == 1 && t.received == 100);
	CLOSE();
}

Test(tcp_fastopen, syn_sent_packet_too_big_changes_nothing_in_flight)
{
	script_open(&t);
	script_connect(&t);
	OUT("S 0 mss 1460 sackok ts 0/0 ws 5");
	script_icmp(&t, 3, 4, 552, 0);
	QUIET();
	IN("SA 0 ack 1 win 1000 mss 1400");
	OUT("A 1 ack 1");
	cr_expect(qp_tcp_mss(t.c) == 552 - 40);
	CLOSE();
}
