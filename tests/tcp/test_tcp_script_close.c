/* SPDX-License-Identifier: Apache-2.0 */
/* Closing: RFC 9293, 3.6, and 3.10.7.4 in the states that come after ESTABLISHED. */
#include "tests/tcp/script_short.h"

TestSuite(tcp_close, .init = script_suite_start);

/* To TIME-WAIT by an active close of a connection that we opened: nobody listens on its port. */
static void
client_to_time_wait(void)
{
	OPEN();
	script_connect(&t);
	script_ignore(&t);
	t.iss = t.c->iss;
	IN("SA 0 ack 1 win 9000 mss 1460");
	OUT("A 1 ack 1");
	SHUTDOWN();
	OUT("AF 1 ack 1");
	IN("AF 1 ack 2 win 9000");
	OUT("A 2 ack 2");
	cr_assert(t.ended && COUNTER(conns) == 1);
}

/* 3.10.7.4, fourth: a SYN reopens only what somebody listens for; else the watch goes on. */
Test(tcp_close, time_wait_syn_for_a_port_without_listener_is_challenged)
{
	client_to_time_wait();
	IN("S 100000 win 9000 mss 1460");
	OUT("A 2 ack 2");
	cr_expect(COUNTER(conns) == 1 && COUNTER(rst_out) == 0);
	CLOSE();
}

Test(tcp_close, time_wait_syn_with_fin_opens_nothing)
{
	PLAIN(9000);
	SHUTDOWN();
	OUT("AF 1 ack 1");
	IN("AF 1 ack 2");
	OUT("A 2 ack 2");
	IN("SF 100000 win 9000 mss 1460");
	OUT("A 2 ack 2");
	cr_expect(COUNTER(conns) == 1 && t.accepted == 1);
	CLOSE();
}
