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

/* A connection in each state after ESTABLISHED; the peer's next number is 1, or 2 behind its FIN. */
static void
to_fin_wait_1(void)
{
	ESTABLISHED();
	SHUTDOWN();
	OUT("AF 1 ack 1");
	STATE(FIN_WAIT_1);
}

static void
to_fin_wait_2(void)
{
	to_fin_wait_1();
	IN("A 1 ack 2 win 512 ts 101/_");
	STATE(FIN_WAIT_2);
}

static void
to_close_wait(void)
{
	ESTABLISHED();
	IN("AF 1 ack 1 win 512 ts 101/_");
	OUT("A 1 ack 2");
	STATE(CLOSE_WAIT);
}

static void
to_closing(void)
{
	to_fin_wait_1();
	IN("AF 1 ack 1 win 512 ts 101/_");
	OUT("A 2 ack 2");
	STATE(CLOSING);
}

static void
to_last_ack(void)
{
	to_close_wait();
	SHUTDOWN();
	OUT("AF 1 ack 2");
	STATE(LAST_ACK);
}

static const struct {
	const char *name;
	void (*enter)(void);
	unsigned snd, rcv; /* next numbers */
	bool end_seen;
} states[] = {
	{"FIN-WAIT-1", to_fin_wait_1, 2, 1, false},
	{"FIN-WAIT-2", to_fin_wait_2, 2, 1, false},
	{"CLOSE-WAIT", to_close_wait, 1, 2, true},
	{"CLOSING", to_closing, 2, 2, true},
	{"LAST-ACK", to_last_ack, 2, 2, true},
};

#define EACH_STATE(i) for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++)

static void
out_ack(size_t i)
{
	char text[64];

	snprintf(text, sizeof(text), "A %u ack %u", states[i].snd, states[i].rcv);
	OUT(text);
}

/* 3.10.7.4, first: outside the window is answered by an ACK in each of them. */
Test(tcp_close, closing_states_outside_the_window_is_acknowledged)
{
	EACH_STATE(i) {
		states[i].enter();
		IN("A 3000000+10 ack 1 win 512 ts 101/_");
		out_ack(i);
		IN("A 0 ack 1 win 512 ts 101/_");
		out_ack(i);
		IN("S 3000000 win 512 ts 101/_");
		out_ack(i);
		QUIET();
		cr_expect(!t.ended && t.received == 0, "%s", states[i].name);
		CLOSE();
	}
}

/* 3.10.7.4, fifth (RFC 5961, 5.2): so is an ACK of what was never sent, and it changes nothing. */
Test(tcp_close, closing_states_ack_of_unsent_data_is_challenged)
{
	EACH_STATE(i) {
		states[i].enter();
		INF("A %u ack 1000 win 512 ts 101/_", states[i].rcv);
		out_ack(i);
		cr_expect(!t.ended && COUNTER(challenge_acks) == 1, "%s", states[i].name);
		CLOSE();
	}
}

/* Second (RFC 5961, 3.2): a reset with the exact number ends, elsewhere it is challenged or ignored. */
Test(tcp_close, closing_states_reset_by_the_exact_number_only)
{
	EACH_STATE(i) {
		states[i].enter();
		INF("R %u", states[i].rcv + 1);
		out_ack(i);
		INF("R %u", states[i].rcv - 1);
		IN("R 4000000");
		QUIET();
		cr_expect(!t.ended, "%s", states[i].name);
		INF("R %u", states[i].rcv);
		QUIET();
		cr_expect(t.ended && t.why == QP_TCP_END_RESET, "%s", states[i].name);
		script_flush(&t);
		cr_expect(COUNTER(conns) == 0);
		CLOSE();
	}
}

/* Fourth (RFC 5961, 4.2): a SYN changes nothing. */
Test(tcp_close, closing_states_syn_is_challenged)
{
	EACH_STATE(i) {
		states[i].enter();
		INF("S %u win 512 ts 101/_", states[i].rcv + 5);
		out_ack(i);
		cr_expect(!t.ended, "%s", states[i].name);
		CLOSE();
	}
}

/* Seventh and eighth: after its FIN the peer has nothing to say; a FIN again is acknowledged. */
Test(tcp_close, closing_states_text_and_fin_after_the_fin)
{
	EACH_STATE(i) {
		if (!states[i].end_seen)
			continue;
		states[i].enter();
		IN("A 2+50 ack 1 win 512 ts 102/_");
		script_ignore(&t);
		cr_expect(t.received == 0 && !t.ended, "%s", states[i].name);
		IN("AF 1 ack 1 win 512 ts 102/_");
		out_ack(i);
		cr_expect(t.ends == 1, "%s", states[i].name);
		CLOSE();
	}
}

/* RFC 9293, 3.8.3: our FIN goes again, with backoff, and the connection ends at R2. */
Test(tcp_close, closing_states_fin_unanswered_goes_again_and_ends)
{
	EACH_STATE(i) {
		if (states[i].snd != 2 || states[i].enter == to_fin_wait_2)
			continue;
		states[i].enter();
		for (int n = 0; n < 3; n++) {
			char text[64];

			snprintf(text, sizeof(text), "AF 1 ack %u", states[i].rcv);
			cr_expect(script_until_sent(&t, 5000) >= 150, "%s", states[i].name);
			OUT(text);
		}
		WAIT_MS(300 * 1000);
		script_ignore(&t);
		WAIT_MS(61 * 1000);
		cr_expect(t.ended && t.why == QP_TCP_END_TIMEOUT, "%s", states[i].name);
		CLOSE();
	}
}

/* Half-closed by us: text still comes, in and out of order, and is acknowledged. */
Test(tcp_close, fin_wait_text_is_taken)
{
	for (int i = 0; i < 2; i++) {
		states[i].enter();
		IN("A 51+50 ack 2 win 512 ts 102/_");
		OUT("A 2 ack 1 sack 51-101");
		IN("A 1+50 ack 2 win 512 ts 102/_");
		OUT("A 2 ack 101");
		cr_expect(t.received == 100 && !t.wrong);
		CLOSE();
	}
}

/* … and text with its FIN ends in TIME-WAIT. */
Test(tcp_close, fin_wait_2_text_with_fin_is_taken_and_time_wait_follows)
{
	to_fin_wait_2();
	IN("AF 1+50 ack 2 win 512 ts 102/_");
	OUT("A 2 ack 52");
	cr_expect(t.received == 50 && t.ends == 1 && t.ended && t.why == QP_TCP_END_NORMAL);
	cr_expect(COUNTER(conns) == 1);
	CLOSE();
}

/* A FIN before its text waits; TIME-WAIT comes with the text. */
Test(tcp_close, fin_wait_2_fin_out_of_order_waits_for_its_text)
{
	to_fin_wait_2();
	IN("AF 51 ack 2 win 512 ts 102/_");
	OUT("A 2 ack 1 sack 51-52");
	cr_expect(t.ends == 0 && !t.ended);
	IN("A 1+50 ack 2 win 512 ts 102/_");
	OUT("A 2 ack 52");
	cr_expect(t.received == 50 && t.ended && COUNTER(conns) == 1);
	CLOSE();
}

/* One segment with the ACK of our FIN, text and FIN: all three count. */
Test(tcp_close, fin_wait_1_ack_text_and_fin_in_one)
{
	to_fin_wait_1();
	IN("AF 1+50 ack 2 win 512 ts 102/_");
	OUT("A 2 ack 52");
	cr_expect(t.received == 50 && t.ended && COUNTER(conns) == 1);
	CLOSE();
}

/* Queued data and FIN: an ACK of the data alone leaves FIN-WAIT-1. */
Test(tcp_close, fin_wait_1_ack_of_data_but_not_of_fin_stays)
{
	ESTABLISHED();
	script_send(&t, 100);
	SHUTDOWN();
	script_ignore(&t);
	IN("A 1 ack 101 win 512 ts 102/_");
	STATE(FIN_WAIT_1);
	cr_expect(t.acked == 100);
	IN("A 1 ack 102 win 512 ts 102/_");
	STATE(FIN_WAIT_2);
	CLOSE();
}

/* A peer that vanished in FIN-WAIT-2 is found by the keep-alive. */
Test(tcp_close, fin_wait_2_silent_peer_ends_by_keep_alive)
{
	script_config(&t.cfg);
	t.cfg.max_conns = 16;
	t.cfg.keepalive_s = 10;
	script_open_cfg(&t);
	script_establish_plain(&t, 1000);
	SHUTDOWN();
	OUT("AF 1 ack 1");
	IN("A 1 ack 2 win 1000");
	WAIT_MS(10010);
	OUT("A 1 ack 1");
	WAIT_MS(110 * 1000);
	cr_expect(t.ended && t.why == QP_TCP_END_TIMEOUT && COUNTER(conns) == 0);
	CLOSE();
}

/* RFC 9293, 3.10.5: an abort resets at once, but not where only our FIN is left to be acknowledged. */
Test(tcp_close, closing_states_abort_resets_and_forgets)
{
	EACH_STATE(i) {
		char text[64];

		states[i].enter();
		qp_tcp_abort(t.c);
		script_flush(&t);
		snprintf(text, sizeof(text), "RA %u ack %u", states[i].snd, states[i].rcv);
		if (strcmp(states[i].name, "CLOSING") != 0 && strcmp(states[i].name, "LAST-ACK") != 0)
			OUT(text);
		QUIET();
		cr_expect(COUNTER(conns) == 0 && !t.ended, "%s", states[i].name);
		CLOSE();
	}
}

/* Unread and unsent data do not keep an aborted connection's memory. */
Test(tcp_close, established_abort_with_data_queued_and_out_of_order_frees_all)
{
	ESTABLISHED();
	script_send(&t, 100000);
	script_ignore(&t);
	IN("A 5001+1000 ack 1 win 512 ts 102/_");
	script_ignore(&t);
	qp_tcp_abort(t.c);
	script_flush(&t);
	OUT("RA 14481 ack 1");
	CLOSE(); /* which counts the mbufs */
}

/* CLOSE-WAIT: our half still works: data, window, retransmission. */
Test(tcp_close, close_wait_data_still_goes_out_and_is_repaired)
{
	to_close_wait();
	script_send(&t, 1000);
	OUT("A 1+1000 ack 2");
	script_until_sent(&t, 1000);
	OUT("A 1+1000 ack 2");
	IN("A 2 ack 1001 win 512 ts 102/_");
	cr_expect(t.acked == 1000);
	STATE(CLOSE_WAIT);
	CLOSE();
}

/* CLOSING: an ACK that does not cover our FIN changes nothing, the one that does ends it. */
Test(tcp_close, closing_ack_of_fin_is_time_wait)
{
	to_closing();
	IN("A 2 ack 1 win 512 ts 102/_");
	cr_expect(!t.ended);
	IN("A 2 ack 2 win 512 ts 102/_");
	cr_expect(t.ended && t.why == QP_TCP_END_NORMAL && COUNTER(conns) == 1);
	QUIET();
	CLOSE();
}

/* LAST-ACK ends without TIME-WAIT; what comes later is for nobody. */
Test(tcp_close, last_ack_acknowledged_is_gone)
{
	to_last_ack();
	IN("A 2 ack 1 win 512 ts 102/_");
	cr_expect(!t.ended);
	IN("A 2 ack 2 win 512 ts 102/_");
	cr_expect(t.ended && COUNTER(conns) == 0);
	IN("A 2 ack 2 win 512 ts 102/_");
	OUT("R 2");
	CLOSE();
}

/* --- TIME-WAIT --- */

static void
to_time_wait(void)
{
	to_fin_wait_2();
	IN("AF 1 ack 2 win 512 ts 102/_");
	OUT("A 2 ack 2");
	cr_assert(t.ended && COUNTER(conns) == 1);
}

/* 3.10.7.4, first: whatever is old is acknowledged; RFC 5961: not more than so often. */
Test(tcp_close, time_wait_old_segments_are_acknowledged_with_a_limit)
{
	to_time_wait();
	IN("A 1+50 ack 2 win 512 ts 103/_");
	OUT("A 2 ack 2");
	for (int i = 0; i < 100; i++)
		IN("A 1+50 ack 2 win 512 ts 103/_");
	cr_expect(t.out_head - t.out_tail < QP_TCP_CHALLENGES);
	CLOSE();
}

/* The peer's last ACK gets no answer, or two TIME-WAITs would talk for ever. */
Test(tcp_close, time_wait_plain_ack_gets_no_answer)
{
	to_time_wait();
	IN("A 2 ack 2 win 512 ts 103/_");
	QUIET();
	CLOSE();
}

/* RFC 1337, 2 (a): no reset shortens it, whatever its number. */
Test(tcp_close, time_wait_reset_of_any_number_is_ignored)
{
	to_time_wait();
	IN("R 1");
	IN("R 2");
	IN("RA 2 ack 2");
	IN("R 3");
	QUIET();
	cr_expect(COUNTER(conns) == 1);
	CLOSE();
}

/* Its port pair is not for a new active open meanwhile. */
Test(tcp_close, time_wait_of_ours_keeps_its_port_pair)
{
	client_to_time_wait();
	struct qp_flow f = t.c != NULL ? *qp_tcp_flow(t.c) : (struct qp_flow) {0};
	struct qp_tcp_conn *again = NULL;

	f.local = qp_ipaddr_v4(htonl(0xc0000201));
	f.remote = qp_ipaddr_v4(htonl(0xc0000202));
	f.lport_be = htons(30000);
	f.rport_be = htons(t.peer_port);
	cr_expect(qp_tcp_connect(t.tcp, &f, NULL, NULL, &again) != 0);
	WAIT_MS(61000);
	cr_expect(COUNTER(conns) == 0);
	CLOSE();
}
