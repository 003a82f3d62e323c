/* SPDX-License-Identifier: Apache-2.0 */
/* Retransmission: RFC 6298's timer, RFC 5681 and 6582 without SACK, RFC 8985 with it. */
#include "tests/tcp/script_short.h"

TestSuite(tcp_rtx, .init = script_suite_start);

/* SACK, but no timestamps: no sample from what was sent twice. */
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
