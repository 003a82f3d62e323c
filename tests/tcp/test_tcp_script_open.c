/* SPDX-License-Identifier: Apache-2.0 */
/* Opening, both ways: RFC 9293, 3.5 and 3.10.7.1 to 3.10.7.3; options of SYNs; cookies. */
#include "tests/tcp/script_short.h"

TestSuite(tcp_open, .init = script_suite_start);

static void
open_with_backlog(uint32_t backlog)
{
	script_config(&t.cfg);
	t.cfg.max_conns = 256;
	t.cfg.syn_backlog = backlog;
	script_open_cfg(&t);
}

/* RFC 4987, 3.6: the segment that brings the cookie may be overtaken by the next one. */
Test(tcp_open, listen_cookie_text_before_the_first_segment_is_dropped_not_reset)
{
	open_with_backlog(0);
	IN("S 0 win 9000 mss 1460");
	OUT("SA 0 ack 1 mss 1460");
	IN("A 1461+100 ack 1");
	QUIET();
	cr_expect(COUNTER(drop_cookie_early) == 1);
	IN("A 1+1460 ack 1");
	OUT("A 1 ack 1461");
	IN("A 1461+100 ack 1");
	cr_expect(t.accepted == 1 && t.received == 1560 && !t.wrong);
	CLOSE();
}

/* RFC 9293, 3.10.7.2: without cookies there is nothing that such text could belong to. */
Test(tcp_open, listen_text_is_reset)
{
	OPEN();
	IN("A 1461+100 ack 77");
	OUT("R 77");
	CLOSE();
}

/* A SYN that came twice, first to a full backlog: the client may have taken the cookie. */
Test(tcp_open, syn_received_ack_of_an_earlier_cookie_opens)
{
	uint32_t cookie;

	open_with_backlog(1);
	t.peer_port = 1111;
	IN("S 0 win 9000 mss 1460");
	OUT("SA 0 ack 1 mss 1460");
	t.peer_port = 2222;
	IN("S 0 win 9000 mss 1460 sackok ts 500/0 ws 9");
	OUT("SA 0 ack 1 mss 1460 sackok ts 0/500 ws 5");
	cookie = t.iss;
	uint32_t tsval = t.last_tsval;
	t.peer_port = 1111;
	IN("R 1"); /* room in the backlog */
	t.peer_port = 2222;
	WAIT_MS(50);
	IN("S 0 win 9000 mss 1460 sackok ts 500/0 ws 9");
	OUT("SA 0 ack 1 mss 1460 sackok ts 0/500 ws 5");
	cr_assert(t.iss != cookie);
	t.iss = cookie;
	INF("A 1+10 ack 1 win 100 ts 501/%u", tsval);
	OUT("A 1 ack 11 ts 0/501");
	cr_expect(t.accepted == 1 && t.received == 10 && COUNTER(rst_out) == 0);
	cr_expect(COUNTER(conns) == 1 && t.tcp->half_open == 0);
	CLOSE();
}

/* --- LISTEN, SYN-RECEIVED --- */

/* RFC 9293, 3.7.1 (MUST-15, MUST-16): without an MSS option 536 bytes, in IPv6 1,220. */
Test(tcp_open, listen_syn_without_mss_means_536_or_1220)
{
	for (int v6 = 0; v6 < 2; v6++) {
		t.v6 = v6;
		OPEN();
		IN("S 0 win 20000");
		OUT(v6 ? "SA 0 ack 1 mss 1440" : "SA 0 ack 1 mss 1460");
		IN("A 1 ack 1 win 20000");
		cr_assert(t.c != NULL);
		cr_expect(qp_tcp_mss(t.c) == (v6 ? 1220 : 536), "%u", qp_tcp_mss(t.c));
		CLOSE();
	}
}

/* A peer that announces next to nothing does not make us send next to nothing. */
Test(tcp_open, listen_syn_with_a_tiny_mss_is_taken_as_the_least)
{
	OPEN();
	IN("S 0 win 20000 mss 1");
	OUT("SA 0 ack 1 mss 1460");
	IN("A 1 ack 1 win 20000");
	cr_expect(qp_tcp_mss(t.c) == QP_TCP_MIN_MSS);
	script_send(&t, 640);
	OUT("A 1+640 ack 1");
	CLOSE();
}

/* RFC 9293, 3.10.7.2: what is neither SYN, ACK nor RST is dropped. */
Test(tcp_open, listen_segment_without_syn_or_ack_is_dropped)
{
	OPEN();
	IN(". 0+10 win 100");
	IN("F 0 win 100");
	IN("PU 0+10 win 100");
	QUIET();
	cr_expect(COUNTER(conns) == 0);
	CLOSE();
}

/* The land attack: a SYN from the very socket it is for. */
Test(tcp_open, listen_syn_from_itself_is_dropped)
{
	OPEN();
	t.same_ip = true;
	t.peer_port = t.port;
	IN("S 0 win 100 mss 1460");
	QUIET();
	cr_expect(COUNTER(conns) == 0 && COUNTER(drop_bad_segment) == 1);
	CLOSE();
}

/* The table full: a SYN is dropped, as if it had been lost, and counted. */
Test(tcp_open, listen_table_full_syn_is_dropped_established_ones_go_on)
{
	script_config(&t.cfg);
	t.cfg.max_conns = 2;
	script_open_cfg(&t);
	script_establish_plain(&t, 1000);
	t.peer_port = 2222;
	IN("S 0 win 100 mss 1460");
	uint32_t iss = t.c->iss;
	script_ignore(&t);
	t.peer_port = 3333;
	IN("S 0 win 100 mss 1460");
	QUIET();
	cr_expect(COUNTER(drop_backlog) == 1);
	t.peer_port = 40000;
	t.iss = iss;
	IN("A 1+10 ack 1");
	OUT("A 1 ack 11");
	CLOSE();
}

/* RFC 9293, 3.10.7.4: the ACK of the handshake may bring text and FIN. */
Test(tcp_open, syn_received_ack_with_text_and_fin)
{
	OPEN();
	IN("S 0 win 9000 mss 1460");
	OUT("SA 0 ack 1 mss 1460");
	IN("AF 1+10 ack 1");
	OUT("A 1 ack 12");
	cr_expect(t.accepted == 1 && t.received == 10 && t.ends == 1);
	STATE(CLOSE_WAIT);
	CLOSE();
}

/* Text that comes before the handshake's ACK is not lost on the way. */
Test(tcp_open, syn_received_later_text_opens_too)
{
	OPEN();
	IN("S 0 win 9000 mss 1460");
	OUT("SA 0 ack 1 mss 1460");
	IN("A 101+100 ack 1"); /* the ACK and the first text are lost or late */
	OUT("A 1 ack 1");
	cr_expect(t.accepted == 1 && t.received == 0);
	IN("A 1+100 ack 1");
	OUT("A 1 ack 201");
	cr_expect(t.received == 200 && !t.wrong);
	CLOSE();
}

/* RFC 5961, 3.2, in SYN-RECEIVED: only the exact number resets. */
Test(tcp_open, syn_received_rst_elsewhere_is_challenged_or_ignored)
{
	OPEN();
	IN("S 0 win 9000 mss 1460");
	OUT("SA 0 ack 1 mss 1460");
	IN("R 100");
	OUT("A 1 ack 1");
	IN("R 0");
	IN("R 200000");
	QUIET();
	IN("A 1 ack 1");
	cr_expect(t.accepted == 1);
	CLOSE();
}

/* 3.10.7.4, fourth: a SYN in the window of a passive SYN-RECEIVED returns to LISTEN. */
Test(tcp_open, syn_received_syn_in_window_returns_to_listen)
{
	OPEN();
	IN("S 0 win 9000 mss 1460");
	OUT("SA 0 ack 1 mss 1460");
	IN("S 5000 win 9000 mss 1460");
	script_ignore(&t);
	cr_expect(COUNTER(conns) == 0 && t.tcp->half_open == 0);
	CLOSE();
}

/* RFC 7323, 3.2: the handshake's ACK without the agreed timestamp opens nothing. */
Test(tcp_open, syn_received_ack_without_the_agreed_timestamp_is_dropped)
{
	OPEN();
	IN("S 0 win 9000 mss 1460 ts 100/0");
	OUT("SA 0 ack 1 mss 1460 ts 0/100");
	IN("A 1 ack 1");
	QUIET();
	cr_expect(t.accepted == 0);
	IN("A 1 ack 1 ts 101/_");
	cr_expect(t.accepted == 1);
	CLOSE();
}

/* RFC 9293, 3.6: the application may close as soon as it is told. */
Test(tcp_open, established_shutdown_at_once_sends_fin)
{
	PLAIN(9000);
	SHUTDOWN();
	OUT("AF 1 ack 1");
	STATE(FIN_WAIT_1);
	CLOSE();
}

/* --- SYN-SENT --- */

/* RFC 6298, 2.1 and 5.5: after one second, then twice as long each time. */
Test(tcp_open, syn_sent_syn_goes_again_with_backoff)
{
	OPEN();
	script_connect(&t);
	OUT("S 0 mss 1460 sackok ts 0/0 ws 5");
	for (uint32_t wait = 1000; wait <= 32000; wait *= 2) {
		uint32_t ms = script_until_sent(&t, 100000);

		cr_expect(ms >= wait && ms <= wait + 2, "%u ms", ms);
		OUT("S 0 mss 1460 sackok ts 0/0 ws 5");
	}
	CLOSE();
}

/* What the application gave before the handshake goes out right after it. */
Test(tcp_open, syn_sent_queued_data_follows_the_handshake)
{
	OPEN();
	script_connect(&t);
	OUT("S 0 mss 1460 sackok ts 0/0 ws 5");
	script_send(&t, 100);
	QUIET();
	IN("SA 0 ack 1 win 9000 mss 1460");
	OUT("A 1+100 ack 1");
	IN("A 1 ack 101");
	cr_expect(t.acked == 100);
	CLOSE();
}

Test(tcp_open, syn_sent_queued_data_of_a_refused_one_is_freed)
{
	OPEN();
	script_connect(&t);
	OUT("S 0 mss 1460 sackok ts 0/0 ws 5");
	script_send(&t, 5000);
	IN("RA 0 ack 1");
	QUIET();
	cr_expect(t.ended && t.why == QP_TCP_END_REFUSED);
	CLOSE(); /* which counts the mbufs */
}

/* Data and FIN that were queued, both. */
Test(tcp_open, syn_sent_shutdown_sends_fin_after_the_data)
{
	OPEN();
	script_connect(&t);
	OUT("S 0 mss 1460 sackok ts 0/0 ws 5");
	script_send(&t, 100);
	SHUTDOWN();
	QUIET();
	IN("SA 0 ack 1 win 9000 mss 1460");
	OUT("AF 1+100 ack 1");
	STATE(FIN_WAIT_1);
	CLOSE();
}

/* RFC 9293, 3.10.5: an aborted SYN-SENT leaves without a word. */
Test(tcp_open, syn_sent_abort_is_silent)
{
	OPEN();
	script_connect(&t);
	OUT("S 0 mss 1460 sackok ts 0/0 ws 5");
	qp_tcp_abort(t.c);
	script_flush(&t);
	QUIET();
	cr_expect(COUNTER(conns) == 0);
	IN("SA 0 ack 1 win 9000 mss 1460");
	OUT("R 1");
	CLOSE();
}

/* 3.10.7.3, fifth: neither SYN nor RST: dropped, also with the right ACK. */
Test(tcp_open, syn_sent_ack_alone_is_dropped)
{
	OPEN();
	script_connect(&t);
	OUT("S 0 mss 1460 sackok ts 0/0 ws 5");
	IN("A 1 ack 1 win 100");
	IN("AF 1+10 ack 1 win 100");
	IN(". 1+10 win 100");
	QUIET();
	cr_expect(t.connected == 0 && !t.ended);
	CLOSE();
}

/* Text in a SYN-ACK is taken (RFC 9293, 3.10.7.3, fourth), and taken once. */
Test(tcp_open, syn_sent_text_in_the_syn_ack_is_taken)
{
	OPEN();
	script_connect(&t);
	OUT("S 0 mss 1460 sackok ts 0/0 ws 5");
	IN("SA 0+50 ack 1 win 9000 mss 1460");
	OUT("A 1 ack 51");
	IN("A 1+50 ack 1");
	OUT("A 1 ack 51");
	cr_expect(t.received == 50);
	CLOSE();
}

/* The SYN-ACK again: our ACK was lost, and is repeated. */
Test(tcp_open, established_syn_ack_again_is_acknowledged)
{
	OPEN();
	script_connect(&t);
	OUT("S 0 mss 1460 sackok ts 0/0 ws 5");
	IN("SA 0 ack 1 win 9000 mss 1460");
	OUT("A 1 ack 1");
	IN("SA 0 ack 1 win 9000 mss 1460");
	OUT("A 1 ack 1");
	cr_expect(!t.ended && t.connected == 1);
	CLOSE();
}

/* 3.5, figure 7: SYNs cross; then the peer refuses after all. */
Test(tcp_open, syn_received_by_crossing_syns_rst_refuses)
{
	OPEN();
	script_connect(&t);
	OUT("S 0 mss 1460 sackok ts 0/0 ws 5");
	IN("S 0 win 1000 mss 1460");
	OUT("SA 0 ack 1 mss 1460");
	IN("R 1");
	cr_expect(t.ended && t.why == QP_TCP_END_REFUSED);
	CLOSE();
}

/* 3.5.1: the other end of what it thinks is half-open: its ACK gets a reset, then the SYN works. */
Test(tcp_open, syn_sent_ack_of_an_old_life_is_reset_and_the_syn_repeated)
{
	OPEN();
	script_connect(&t);
	OUT("S 0 mss 1460 sackok ts 0/0 ws 5");
	IN("A 500 ack 4000 win 100");
	OUT("R 4000");
	cr_expect(!t.ended);
	script_until_sent(&t, 2000);
	OUT("S 0 mss 1460 sackok ts 0/0 ws 5");
	IN("SA 0 ack 1 win 9000 mss 1460");
	OUT("A 1 ack 1");
	CLOSE();
}

/* RFC 1122, 4.2.3.9, in IPv6: prohibited and port end the attempt, no route does not. */
Test(tcp_open, syn_sent_v6_unreachable)
{
	static const struct {
		uint8_t code;
		bool ends;
	} cases[] = {{0, false}, {1, true}, {3, false}, {4, true}};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		t.v6 = true;
		OPEN();
		script_connect(&t);
		OUT("S 0 mss 1440 sackok ts 0/0 ws 5");
		script_icmp(&t, 1, cases[i].code, 0, 0);
		cr_expect(t.ended == cases[i].ends, "code %u", cases[i].code);
		CLOSE();
	}
}
