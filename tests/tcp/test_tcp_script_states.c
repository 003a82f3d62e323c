/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each state against each kind of segment (RFC 9293, 3.10.7.1 to 3.10.7.4; RFC
 * 5961; RFC 1337): a table a state, a row a situation, and the calls of 3.10.1
 * to 3.10.5 in each state. Nobody has options here, so that numbers are all.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "tests/tcp/script.h"

TestSuite(tcp_states, .init = script_suite_start);

static struct script t;

#define CLOSE() script_close(&t)
#define SAME UINT8_MAX /* as the table's own state */

struct row {
	const char *in;
	const char *out;   /* NULL: nothing */
	uint8_t state;     /* afterwards */
	bool ended;
	enum qp_tcp_end why;
	uint16_t received;
};

#define RESET .ended = true, .why = QP_TCP_END_RESET, .state = QP_TCP_CLOSED
#define NORMAL .ended = true, .why = QP_TCP_END_NORMAL
#define STAYS .state = SAME

/* Of the one connection that there is. */
static uint8_t
state_now(void)
{
	for (uint32_t i = 0; i <= t.tcp->bucket_mask; i++) {
		if (t.tcp->buckets[i] != NULL)
			return t.tcp->buckets[i]->state;
	}
	return QP_TCP_CLOSED;
}

static void
run(const struct row *rows, size_t n, void (*reach)(void), uint8_t state)
{
	for (size_t i = 0; i < n; i++) {
		const struct row *r = &rows[i];
		uint8_t want = r->state == SAME ? state : r->state;
		bool over;

		reach();
		cr_assert(state_now() == state, "the state is not reached: %u", state_now());
		over = t.ended;
		t.received = 0;
		IN(r->in);
		if (r->out != NULL)
			script_out(&t, r->out, (int)i + 1);
		cr_expect(t.out_head == t.out_tail, "row %zu (%s): %u segments more", i + 1, r->in,
			t.out_head - t.out_tail);
		cr_expect(state_now() == want, "row %zu (%s): state %u", i + 1, r->in, state_now());
		cr_expect(t.ended == (r->ended || over) && (!r->ended || t.why == r->why),
			"row %zu (%s): ended %d, why %d", i + 1, r->in, t.ended, t.why);
		cr_expect(t.received == r->received && !t.wrong, "row %zu (%s): %u bytes", i + 1, r->in,
			(unsigned)t.received);
		CLOSE();
	}
}

#define RUN(rows, reach, state) run(rows, sizeof(rows) / sizeof((rows)[0]), reach, state)

/* --- the ways there --- */

static void
to_listen(void)
{
	script_open(&t);
}

static void
to_syn_sent(void)
{
	script_open(&t);
	script_connect(&t);
	OUT("S 0 mss 1460 sackok ts 0/0 ws 5");
}

static void
to_syn_received(void)
{
	script_open(&t);
	IN("S 0 win 9000 mss 1460");
	OUT("SA 0 ack 1 mss 1460");
}

static void
to_syn_received_actively(void)
{
	to_syn_sent();
	IN("S 0 win 9000 mss 1460");
	OUT("SA 0 ack 1 mss 1460");
}

static void
to_established(void)
{
	script_open(&t);
	script_establish_plain(&t, 9000);
}

static void
shut(const char *fin)
{
	qp_tcp_shutdown(t.c);
	script_flush(&t);
	OUT(fin);
}

static void
to_fin_wait_1(void)
{
	to_established();
	shut("AF 1 ack 1");
}

static void
to_fin_wait_2(void)
{
	to_fin_wait_1();
	IN("A 1 ack 2 win 9000");
	QUIET();
}

static void
to_close_wait(void)
{
	to_established();
	IN("AF 1 ack 1 win 9000");
	OUT("A 1 ack 2");
}

static void
to_closing(void)
{
	to_fin_wait_1();
	IN("AF 1 ack 1 win 9000");
	OUT("A 2 ack 2");
}

static void
to_last_ack(void)
{
	to_close_wait();
	shut("AF 1 ack 2");
}

static void
to_time_wait(void)
{
	to_fin_wait_2();
	IN("AF 1 ack 2 win 9000");
	OUT("A 2 ack 2");
}

/* --- 3.10.7.2 --- */

static const struct row listen_rows[] = {
	{"R 0", NULL, STAYS},
	{"RA 0 ack 7", NULL, STAYS},
	{"A 0 ack 7", "R 7", STAYS},
	{"A 0+10 ack 7", "R 7", STAYS},
	{"AF 0 ack 7", "R 7", STAYS},
	{"SA 0 ack 7", "R 7", STAYS},
	{"F 0", NULL, STAYS},
	{". 0+10", NULL, STAYS},
	{"SF 0 mss 1460", NULL, STAYS},
	{"SR 0 mss 1460", NULL, STAYS},
	{"S 0 mss 1460", "SA 0 ack 1 mss 1460", QP_TCP_SYN_RECEIVED},
	{"S 0+10 mss 1460", "SA 0 ack 1 mss 1460", QP_TCP_SYN_RECEIVED},
};

Test(tcp_states, listen_any_segment)
{
	RUN(listen_rows, to_listen, QP_TCP_CLOSED);
}

/* --- 3.10.7.3 --- */

static const struct row syn_sent_rows[] = {
	/* First, the ACK bit. */
	{"A 0 ack 0", "R 0", STAYS},
	{"A 0 ack 2", "R 2", STAYS},
	{"A 0+10 ack 2", "R 2", STAYS},
	{"SA 0 ack 0 mss 1460", "R 0", STAYS},
	{"SA 0 ack 2 mss 1460", "R 2", STAYS},
	{"RA 0 ack 0", NULL, STAYS},
	{"RA 0 ack 2", NULL, STAYS},
	/* Second, RST. */
	{"R 0", NULL, STAYS},
	{"SR 0", NULL, STAYS},
	{"RA 0 ack 1", NULL, .state = QP_TCP_CLOSED, .ended = true, .why = QP_TCP_END_REFUSED},
	{"RA 4000000 ack 1", NULL, .state = QP_TCP_CLOSED, .ended = true, .why = QP_TCP_END_REFUSED},
	/* Fourth, SYN. */
	{"SA 0 ack 1 win 9000 mss 1460", "A 1 ack 1", QP_TCP_ESTABLISHED},
	{"SA 0+10 ack 1 win 9000 mss 1460", "A 1 ack 11", QP_TCP_ESTABLISHED, .received = 10},
	{"SAF 0+10 ack 1 win 9000 mss 1460", "A 1 ack 12", QP_TCP_CLOSE_WAIT, .received = 10},
	{"SAF 0 ack 1 win 9000 mss 1460", "A 1 ack 2", QP_TCP_CLOSE_WAIT},
	{"S 0 win 9000 mss 1460", "SA 0 ack 1 mss 1460", QP_TCP_SYN_RECEIVED},
	{"S 0+10 win 9000 mss 1460", "SA 0 ack 1 mss 1460", QP_TCP_SYN_RECEIVED},
	/* Fifth, neither. */
	{"A 0 ack 1", NULL, STAYS},
	{"A 0+10 ack 1", NULL, STAYS},
	{"AF 0 ack 1", NULL, STAYS},
	{". 0+10", NULL, STAYS},
	{"F 0", NULL, STAYS},
};

Test(tcp_states, syn_sent_any_segment)
{
	RUN(syn_sent_rows, to_syn_sent, QP_TCP_SYN_SENT);
}

/* --- 3.10.7.4 --- */

static const struct row syn_received_rows[] = {
	{"R 1", NULL, QP_TCP_CLOSED}, /* return to LISTEN */
	{"R 2", "A 1 ack 1", STAYS},
	{"R 0", NULL, STAYS},
	{"R 65536", NULL, STAYS}, /* the window's right edge is outside */
	{"S 0 mss 1460", "SA 0 ack 1 mss 1460", STAYS},
	{"S 0+10 mss 1460", "SA 0 ack 1 mss 1460", STAYS},
	{"S 5 mss 1460", NULL, QP_TCP_CLOSED}, /* return to LISTEN */
	{"S 3000000 mss 1460", "A 1 ack 1", STAYS},
	{"SA 0 ack 1", "A 1 ack 1", STAYS},
	{". 1+10", NULL, STAYS},
	{"F 1", NULL, STAYS},
	{"A 1 ack 0", "R 0", STAYS},
	{"A 1 ack 2", "R 2", STAYS},
	{"A 1 ack 4000000000", "R 4000000000", STAYS},
	{"A 3000000 ack 1", "A 1 ack 1", STAYS},
	{"A 0 ack 1", "A 1 ack 1", STAYS},
	{"A 1 ack 1 win 9000", NULL, QP_TCP_ESTABLISHED},
	{"A 1 ack 1 win 0", NULL, QP_TCP_ESTABLISHED},
	{"A 1+10 ack 1 win 9000", "A 1 ack 11", QP_TCP_ESTABLISHED, .received = 10},
	{"AF 1+10 ack 1 win 9000", "A 1 ack 12", QP_TCP_CLOSE_WAIT, .received = 10},
	{"AF 1 ack 1 win 9000", "A 1 ack 2", QP_TCP_CLOSE_WAIT},
	{"A 11+10 ack 1 win 9000", "A 1 ack 1", QP_TCP_ESTABLISHED},
};

Test(tcp_states, syn_received_any_segment)
{
	RUN(syn_received_rows, to_syn_received, QP_TCP_SYN_RECEIVED);
}

static const struct row syn_received_actively_rows[] = {
	{"R 1", NULL, .state = QP_TCP_CLOSED, .ended = true, .why = QP_TCP_END_REFUSED},
	{"R 2", "A 1 ack 1", STAYS},
	{"R 0", NULL, STAYS},
	{"S 0 mss 1460", "SA 0 ack 1 mss 1460", STAYS},
	{"S 5 mss 1460", "A 1 ack 1", STAYS},
	{"SA 5 ack 1 mss 1460", "A 1 ack 1", STAYS},
	{"SA 0 ack 1 win 9000 mss 1460", "A 1 ack 1", QP_TCP_ESTABLISHED}, /* figure 8 */
	{"SA 0+10 ack 1 win 9000 mss 1460", "A 1 ack 11", QP_TCP_ESTABLISHED, .received = 10},
	{"SA 0 ack 2 mss 1460", "A 1 ack 1", STAYS},
	{"A 1 ack 0", "R 0", STAYS},
	{"A 1 ack 2", "R 2", STAYS},
	{"A 1 ack 1 win 9000", NULL, QP_TCP_ESTABLISHED},
	{"AF 1+10 ack 1 win 9000", "A 1 ack 12", QP_TCP_CLOSE_WAIT, .received = 10},
};

Test(tcp_states, syn_received_by_simultaneous_open_any_segment)
{
	RUN(syn_received_actively_rows, to_syn_received_actively, QP_TCP_SYN_RECEIVED);
}

static const struct row established_rows[] = {
	{"R 1", NULL, RESET},
	{"RA 1 ack 1", NULL, RESET},
	{"RA 1 ack 77777", NULL, RESET}, /* the number is what counts (RFC 5961, 3.2) */
	{"R 2", "A 1 ack 1", STAYS},
	{"R 65535", "A 1 ack 1", STAYS},
	{"R 65536", NULL, STAYS},
	{"R 0", NULL, STAYS},
	{"R 3000000", NULL, STAYS},
	{"S 0", "A 1 ack 1", STAYS},
	{"S 1", "A 1 ack 1", STAYS},
	{"S 5", "A 1 ack 1", STAYS},
	{"S 3000000", "A 1 ack 1", STAYS},
	{"SA 0 ack 1", "A 1 ack 1", STAYS},
	{"SA 5 ack 1", "A 1 ack 1", STAYS},
	{". 1+10", NULL, STAYS},
	{"F 1", NULL, STAYS},
	{"A 1 ack 1 win 9000", NULL, STAYS},
	{"A 1 ack 0 win 9000", NULL, STAYS}, /* a duplicate */
	{"A 1+10 ack 0 win 9000", "A 1 ack 11", STAYS, .received = 10},
	{"A 1+10 ack 4294957297", "A 1 ack 1", STAYS}, /* older than the window ever was (RFC 5961, 5.2) */
	{"A 1 ack 2", "A 1 ack 1", STAYS},
	{"A 1+10 ack 2", "A 1 ack 1", STAYS},
	{"A 1+10 ack 1", "A 1 ack 11", STAYS, .received = 10},
	{"A 11+10 ack 1", "A 1 ack 1", STAYS},
	{"A 0+1 ack 1", "A 1 ack 1", STAYS}, /* a keep-alive with a byte */
	{"A 0 ack 1", "A 1 ack 1", STAYS},
	{"A 65536 ack 1", NULL, STAYS}, /* so arrive ACKs from who has filled the window */
	{"A 65537 ack 1", "A 1 ack 1", STAYS},
	{"A 65536+10 ack 1", "A 1 ack 1", STAYS},
	{"A 3000000+10 ack 1", "A 1 ack 1", STAYS},
	{"AF 1 ack 1", "A 1 ack 2", QP_TCP_CLOSE_WAIT},
	{"AF 1+10 ack 1", "A 1 ack 12", QP_TCP_CLOSE_WAIT, .received = 10},
	{"AF 11 ack 1", "A 1 ack 1", STAYS},
	{"AF 3000000 ack 1", "A 1 ack 1", STAYS},
	{"AF 1 ack 2", "A 1 ack 1", STAYS},
	{"A 1 ack 1 win 0", NULL, STAYS},
};

Test(tcp_states, established_any_segment)
{
	RUN(established_rows, to_established, QP_TCP_ESTABLISHED);
}

static const struct row fin_wait_1_rows[] = {
	{"R 1", NULL, RESET},
	{"R 2", "A 2 ack 1", STAYS},
	{"R 0", NULL, STAYS},
	{"R 3000000", NULL, STAYS},
	{"S 5", "A 2 ack 1", STAYS},
	{"SA 0 ack 1", "A 2 ack 1", STAYS},
	{". 1+10", NULL, STAYS},
	{"A 1 ack 1 win 9000", NULL, STAYS},
	{"A 1 ack 0 win 9000", NULL, STAYS},
	{"A 1 ack 3", "A 2 ack 1", STAYS},
	{"A 1 ack 2 win 9000", NULL, QP_TCP_FIN_WAIT_2},
	{"A 1 ack 2 win 0", NULL, QP_TCP_FIN_WAIT_2},
	{"A 1+10 ack 1", "A 2 ack 11", STAYS, .received = 10},
	{"A 1+10 ack 2", "A 2 ack 11", QP_TCP_FIN_WAIT_2, .received = 10},
	{"A 3000000+10 ack 2", "A 2 ack 1", STAYS},
	{"AF 1 ack 1", "A 2 ack 2", QP_TCP_CLOSING},
	{"AF 1+10 ack 1", "A 2 ack 12", QP_TCP_CLOSING, .received = 10},
	{"AF 1 ack 2", "A 2 ack 2", QP_TCP_TIME_WAIT, NORMAL},
	{"AF 1+10 ack 2", "A 2 ack 12", QP_TCP_TIME_WAIT, NORMAL, .received = 10},
	{"AF 11 ack 2", "A 2 ack 1", QP_TCP_FIN_WAIT_2},
};

Test(tcp_states, fin_wait_1_any_segment)
{
	RUN(fin_wait_1_rows, to_fin_wait_1, QP_TCP_FIN_WAIT_1);
}

static const struct row fin_wait_2_rows[] = {
	{"R 1", NULL, RESET},
	{"R 2", "A 2 ack 1", STAYS},
	{"R 0", NULL, STAYS},
	{"S 5", "A 2 ack 1", STAYS},
	{"SA 0 ack 2", "A 2 ack 1", STAYS},
	{". 1+10", NULL, STAYS},
	{"A 1 ack 2 win 9000", NULL, STAYS},
	{"A 1 ack 1 win 9000", NULL, STAYS},
	{"A 1 ack 3", "A 2 ack 1", STAYS},
	{"A 1+10 ack 2", "A 2 ack 11", STAYS, .received = 10},
	{"A 1+10 ack 1", "A 2 ack 11", STAYS, .received = 10},
	{"A 3000000+10 ack 2", "A 2 ack 1", STAYS},
	{"A 0 ack 2", "A 2 ack 1", STAYS},
	{"AF 1 ack 2", "A 2 ack 2", QP_TCP_TIME_WAIT, NORMAL},
	{"AF 1+10 ack 2", "A 2 ack 12", QP_TCP_TIME_WAIT, NORMAL, .received = 10},
	{"AF 1 ack 1", "A 2 ack 2", QP_TCP_TIME_WAIT, NORMAL}, /* an old ACK is still one */
	{"AF 11 ack 2", "A 2 ack 1", STAYS},
	{"A 1 ack 2 win 0", NULL, STAYS},
};

Test(tcp_states, fin_wait_2_any_segment)
{
	RUN(fin_wait_2_rows, to_fin_wait_2, QP_TCP_FIN_WAIT_2);
}

static const struct row close_wait_rows[] = {
	{"R 2", NULL, RESET},
	{"R 3", "A 1 ack 2", STAYS},
	{"R 1", NULL, STAYS},
	{"S 5", "A 1 ack 2", STAYS},
	{"S 0", "A 1 ack 2", STAYS},
	{". 2+10", NULL, STAYS},
	{"A 2 ack 1 win 9000", NULL, STAYS},
	{"A 2 ack 0 win 9000", NULL, STAYS},
	{"A 2 ack 2", "A 1 ack 2", STAYS},
	{"A 2+10 ack 1", NULL, STAYS}, /* "this should not occur": ignored */
	{"A 3000000+10 ack 1", "A 1 ack 2", STAYS},
	{"AF 1 ack 1", "A 1 ack 2", STAYS}, /* its FIN again: our ACK was lost */
	{"AF 2 ack 1", NULL, STAYS},
	{"A 1 ack 1", "A 1 ack 2", STAYS},
	{"A 2 ack 1 win 0", NULL, STAYS},
};

Test(tcp_states, close_wait_any_segment)
{
	RUN(close_wait_rows, to_close_wait, QP_TCP_CLOSE_WAIT);
}

static const struct row closing_rows[] = {
	{"R 2", NULL, RESET},
	{"R 3", "A 2 ack 2", STAYS},
	{"R 1", NULL, STAYS},
	{"S 5", "A 2 ack 2", STAYS},
	{". 2+10", NULL, STAYS},
	{"A 2 ack 1 win 9000", NULL, STAYS},
	{"A 2 ack 3", "A 2 ack 2", STAYS},
	{"A 2+10 ack 1", NULL, STAYS},
	{"A 3000000+10 ack 2", "A 2 ack 2", STAYS},
	{"AF 1 ack 1", "A 2 ack 2", STAYS},
	{"A 2 ack 2 win 9000", NULL, QP_TCP_TIME_WAIT, NORMAL},
	{"A 2 ack 2 win 0", NULL, QP_TCP_TIME_WAIT, NORMAL},
};

Test(tcp_states, closing_any_segment)
{
	RUN(closing_rows, to_closing, QP_TCP_CLOSING);
}

static const struct row last_ack_rows[] = {
	{"R 2", NULL, RESET},
	{"R 3", "A 2 ack 2", STAYS},
	{"R 1", NULL, STAYS},
	{"S 5", "A 2 ack 2", STAYS},
	{". 2+10", NULL, STAYS},
	{"A 2 ack 1 win 9000", NULL, STAYS},
	{"A 2 ack 3", "A 2 ack 2", STAYS},
	{"A 2+10 ack 1", NULL, STAYS},
	{"A 3000000+10 ack 2", "A 2 ack 2", STAYS},
	{"AF 1 ack 1", "A 2 ack 2", STAYS},
	{"A 2 ack 2 win 9000", NULL, QP_TCP_CLOSED, NORMAL},
	{"A 2 ack 2 win 0", NULL, QP_TCP_CLOSED, NORMAL},
};

Test(tcp_states, last_ack_any_segment)
{
	RUN(last_ack_rows, to_last_ack, QP_TCP_LAST_ACK);
}

static const struct row time_wait_rows[] = {
	{"R 2", NULL, STAYS}, /* RFC 1337 */
	{"R 3", NULL, STAYS},
	{"RA 2 ack 2", NULL, STAYS},
	{"S 0", "A 2 ack 2", STAYS},
	{"S 2", "A 2 ack 2", STAYS},
	{"SA 5 ack 2", "A 2 ack 2", STAYS},
	{"S 3 mss 1460", "SA 0 ack 4 mss 1460", QP_TCP_SYN_RECEIVED}, /* a new life */
	{"A 2 ack 2", NULL, STAYS},
	{"A 2 ack 1", "A 2 ack 2", STAYS},
	{"A 2 ack 3", "A 2 ack 2", STAYS},
	{"A 1 ack 2", "A 2 ack 2", STAYS},
	{"A 1+1 ack 2", "A 2 ack 2", STAYS},
	{"A 2+10 ack 2", "A 2 ack 2", STAYS},
	{"A 3000000+10 ack 2", "A 2 ack 2", STAYS},
	{"AF 1 ack 2", "A 2 ack 2", STAYS},
	{"A 2 ack 2 win 0", NULL, STAYS},
};

Test(tcp_states, time_wait_any_segment)
{
	RUN(time_wait_rows, to_time_wait, QP_TCP_TIME_WAIT);
}

/* RFC 1337: none of the three hazards: old data, old ACK, old SYN do not end the watch early. */
Test(tcp_states, time_wait_old_duplicates_do_not_shorten_it)
{
	to_time_wait();
	for (int i = 0; i < 50; i++) {
		WAIT_MS(1000);
		IN("A 1+1 ack 1");
		IN("R 2");
		IN("S 1");
		IN("A 1 ack 2");
		script_ignore(&t);
	}
	cr_expect(state_now() == QP_TCP_TIME_WAIT);
	WAIT_MS(10100);
	cr_expect(state_now() == QP_TCP_CLOSED, "nor do they make it longer");
	CLOSE();
}

/* RFC 5961, 7: whoever sends junk gets so many answers a second, in any state. */
Test(tcp_states, any_state_junk_is_answered_ten_times_a_second)
{
	static const struct {
		void (*reach)(void);
		const char *junk;
	} cases[] = {
		{to_syn_received, "R 5"}, {to_syn_received, "S 0 mss 1460"}, {to_syn_received_actively, "SA 5 ack 1"},
		{to_established, "S 5"}, {to_established, "R 5"}, {to_established, "A 1 ack 50"},
		{to_established, "A 3000000 ack 1"}, {to_fin_wait_1, "S 5"}, {to_fin_wait_2, "A 1 ack 50"},
		{to_close_wait, "R 5"}, {to_closing, "S 5"}, {to_last_ack, "A 2 ack 50"}, {to_time_wait, "S 1"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		cases[i].reach();
		for (int k = 0; k < 100; k++)
			IN(cases[i].junk);
		cr_expect(t.out_head - t.out_tail == QP_TCP_CHALLENGES, "case %zu: %u", i,
			t.out_head - t.out_tail);
		script_ignore(&t);
		CLOSE();
	}
}

/* --- the user's calls: 3.10.2, 3.10.4, 3.10.5 --- */

Test(tcp_states, any_state_abort_resets_where_there_is_something_to_reset)
{
	static const struct {
		void (*reach)(void);
		const char *out;
	} cases[] = {
		{to_syn_sent, NULL},
		{to_syn_received_actively, "RA 1 ack 1"},
		{to_established, "RA 1 ack 1"},
		{to_fin_wait_1, "RA 2 ack 1"},
		{to_fin_wait_2, "RA 2 ack 1"},
		{to_close_wait, "RA 1 ack 2"},
		{to_closing, NULL},
		{to_last_ack, NULL},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		cases[i].reach();
		qp_tcp_abort(t.c);
		if (cases[i].out != NULL)
			script_out(&t, cases[i].out, (int)i);
		QUIET();
		script_flush(&t);
		cr_expect(state_now() == QP_TCP_CLOSED && !t.ended, "case %zu", i);
		CLOSE();
	}
}

Test(tcp_states, last_ack_abort_with_data_in_flight_resets)
{
	to_close_wait();
	script_send(&t, 100);
	OUT("AP 1+100 ack 2");
	shut("AF 101 ack 2");
	qp_tcp_abort(t.c);
	OUT("RA 102 ack 2");
	script_flush(&t);
	CLOSE();
}

Test(tcp_states, syn_sent_send_and_shutdown_wait_for_the_handshake)
{
	to_syn_sent();
	script_send(&t, 100);
	qp_tcp_shutdown(t.c);
	script_flush(&t);
	QUIET();
	IN("SA 0 ack 1 win 9000 mss 1460");
	OUT("AFP 1+100 ack 1");
	cr_expect(state_now() == QP_TCP_FIN_WAIT_1);
	IN("A 1 ack 102 win 9000");
	cr_expect(state_now() == QP_TCP_FIN_WAIT_2 && t.acked == 100);
	CLOSE();
}

Test(tcp_states, any_state_send_after_shutdown_sends_nothing)
{
	static void (*const reach[])(void) = {to_fin_wait_1, to_fin_wait_2, to_closing, to_last_ack};

	for (size_t i = 0; i < sizeof(reach) / sizeof(reach[0]); i++) {
		uint8_t state;

		reach[i]();
		state = state_now();
		script_send(&t, 100);
		qp_tcp_shutdown(t.c); /* "connection closing": once is enough */
		script_flush(&t);
		QUIET();
		cr_expect(state_now() == state);
		CLOSE();
	}
}

Test(tcp_states, close_wait_sends_on)
{
	to_close_wait();
	script_send(&t, 100);
	OUT("AP 1+100 ack 2");
	IN("A 2 ack 101 win 9000");
	cr_expect(t.acked == 100);
	CLOSE();
}

/* --- closing, whole --- */

Test(tcp_states, established_simultaneous_close_goes_through_closing_on_both_sides)
{
	to_fin_wait_1();
	IN("AF 1 ack 1 win 9000"); /* crossed ours: 3.6, figure 12 */
	OUT("A 2 ack 2");
	cr_expect(state_now() == QP_TCP_CLOSING && t.ends == 1 && !t.ended);
	IN("A 2 ack 2 win 9000");
	cr_expect(state_now() == QP_TCP_TIME_WAIT && t.ended);
	WAIT_MS(60100);
	cr_expect(state_now() == QP_TCP_CLOSED);
	CLOSE();
}

Test(tcp_states, closing_lost_fin_goes_again)
{
	to_closing();
	script_until_sent(&t, 2000);
	OUT("AF 1 ack 2");
	IN("A 2 ack 2 win 9000");
	cr_expect(state_now() == QP_TCP_TIME_WAIT);
	CLOSE();
}

Test(tcp_states, fin_wait_1_zero_window_fin_follows_when_it_opens)
{
	script_open(&t);
	script_establish_plain(&t, 1000);
	script_send(&t, 1500);
	OUT("A 1+1000 ack 1");
	qp_tcp_shutdown(t.c);
	script_flush(&t);
	IN("A 1 ack 1001 win 0");
	QUIET();
	WAIT_MS(210);
	OUT("A 1000 ack 1");
	IN("AF 1 ack 1001 win 0"); /* the peer has closed, too, and still reads */
	OUT("A 1001 ack 2");
	cr_expect(state_now() == QP_TCP_CLOSING);
	WAIT_MS(500);
	script_ignore(&t);
	IN("A 2 ack 1001 win 9000");
	OUT("AFP 1001+500 ack 2");
	IN("A 2 ack 1502 win 9000");
	cr_expect(state_now() == QP_TCP_TIME_WAIT && t.acked == 1500);
	CLOSE();
}

Test(tcp_states, close_wait_zero_window_is_probed)
{
	script_open(&t);
	script_establish_plain(&t, 0);
	IN("AF 1 ack 1 win 0");
	OUT("A 1 ack 2");
	script_send(&t, 100);
	QUIET();
	WAIT_MS(210);
	OUT("A 0 ack 2");
	IN("A 2 ack 1 win 1000");
	OUT("AP 1+100 ack 2");
	CLOSE();
}

Test(tcp_states, fin_wait_2_our_zero_window_still_takes_the_fin)
{
	script_config(&t.cfg);
	t.cfg.max_conns = 256;
	t.cfg.rcv_buf_bytes = 1000;
	script_open_cfg(&t);
	script_establish_plain(&t, 9000);
	t.hold = true;
	shut("AF 1 ack 1");
	IN("A 1+1000 ack 2 win 9000");
	OUT("A 2 ack 1001 win 0");
	IN("R 1002"); /* beyond a closed window */
	QUIET();
	IN("AF 1001 ack 2 win 9000"); /* no room for it yet */
	OUT("A 2 ack 1001 win 0");
	cr_expect(state_now() == QP_TCP_FIN_WAIT_2);
	script_consume(&t, 1000);
	OUT("A 2 ack 1001 win 1000");
	IN("AF 1001 ack 2 win 9000");
	OUT("A 2 ack 1002");
	cr_expect(state_now() == QP_TCP_TIME_WAIT && t.ends == 1);
	CLOSE();
}

Test(tcp_states, established_rst_at_a_closed_window_ends)
{
	script_config(&t.cfg);
	t.cfg.max_conns = 256;
	t.cfg.rcv_buf_bytes = 1000;
	script_open_cfg(&t);
	script_establish_plain(&t, 9000);
	t.hold = true;
	IN("A 1+1000 ack 1 win 9000");
	OUT("A 1 ack 1001 win 0");
	IN("R 1001"); /* "special allowance" */
	cr_expect(t.ended && t.why == QP_TCP_END_RESET);
	CLOSE();
}

/* --- opening, whole --- */

/* Figure 8: each side's SYN-ACK establishes the other, whichever comes first. */
Test(tcp_states, syn_sent_simultaneous_open_with_options_transfers)
{
	to_syn_sent();
	IN("S 0 win 9000 mss 1460 sackok ts 100/0 ws 7");
	OUT("SA 0 ack 1 mss 1460 sackok ts 0/100 ws 5");
	IN("SA 0 ack 1 win 9000 mss 1460 sackok ts 101/_ ws 7");
	OUT("A 1 ack 1 ts 0/_");
	cr_expect(t.connected == 1 && state_now() == QP_TCP_ESTABLISHED);
	cr_expect(t.c->snd_wnd == 9000, "a SYN's window is not scaled");
	IN("A 1 ack 1 win 512 ts 102/_");
	cr_expect(t.c->snd_wnd == 512 << 7 && t.connected == 1);
	script_send(&t, 5000);
	OUT("AP 1+5000 ack 1");
	IN("A 1+10 ack 5001 win 512 ts 103/_");
	OUT("A 5001 ack 11");
	cr_expect(t.acked == 5000 && t.received == 10);
	CLOSE();
}

Test(tcp_states, syn_received_actively_no_answer_repeats_the_syn_ack)
{
	to_syn_received_actively();
	cr_expect(script_until_sent(&t, 3000) <= 3000);
	OUT("SA 0 ack 1 mss 1460");
	IN("A 1 ack 1 win 9000");
	cr_expect(t.connected == 1);
	CLOSE();
}

Test(tcp_states, syn_sent_old_duplicate_syn_recovers)
{
	to_syn_received(); /* 3.5, figure 9: it was an old SYN */
	IN("R 1");
	cr_expect(state_now() == QP_TCP_CLOSED);
	IN("S 400 win 9000 mss 1460");
	OUT("SA 0 ack 401 mss 1460");
	IN("A 401 ack 1 win 9000");
	cr_expect(t.accepted == 1);
	CLOSE();
}

/* 3.5.1, figure 10: we live, the peer has crashed and opens anew. */
Test(tcp_states, established_peer_restarted_learns_it_and_resets)
{
	to_established();
	IN("S 400 win 9000 mss 1460");
	OUT("A 1 ack 1"); /* which its SYN-SENT answers with a reset */
	IN("R 1");
	cr_expect(t.ended && t.why == QP_TCP_END_RESET);
	script_flush(&t);
	IN("S 400 win 9000 mss 1460");
	OUT("SA 0 ack 401 mss 1460");
	CLOSE();
}

/* figure 11: we have crashed, the peer goes on. */
Test(tcp_states, closed_segment_of_a_forgotten_connection_is_reset)
{
	script_open(&t);
	IN("A 100+10 ack 300");
	OUT("R 300");
	CLOSE();
}
