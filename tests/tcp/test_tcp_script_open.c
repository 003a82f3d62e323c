/* SPDX-License-Identifier: Apache-2.0 */
/* Opening, both ways: RFC 9293, 3.5 and 3.10.7.1 to 3.10.7.3; options of SYNs; cookies. */
#include "tests/tcp/script_short.h"

TestSuite(tcp_open, .init = script_suite_start);

static void
open_with_backlog(uint32_t backlog)
{
	qp_tcp_config_default(&t.cfg);
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
