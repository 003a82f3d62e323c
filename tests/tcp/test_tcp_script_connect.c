/* SPDX-License-Identifier: Apache-2.0 */
/* Active opens: the choice of a local port (RFC 6056), ends in use, TIME-WAITs taken over (RFC 6191), at either end. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "common/error.h"
#include "tests/tcp/script.h"

TestSuite(tcp_connect, .init = script_suite_start);

static struct script t;

#define CLOSE() script_close(&t)

static const struct qp_tcp_ops silent;

static void
open_many(uint32_t max_conns)
{
	t = (struct script) {0};
	script_config(&t.cfg);
	t.cfg.max_conns = max_conns;
	script_open_cfg(&t);
}

/* The local port, 0 for what was refused with QP_E_INUSE. */
static uint16_t
connect_to(uint32_t addr, uint16_t port)
{
	struct qp_flow f = {.local = qp_ipaddr_v4(htonl(0xc0000201)), .remote = qp_ipaddr_v4(htonl(addr)),
		.rport_be = htons(port)};
	struct qp_tcp_conn *c;
	int rc = qp_tcp_connect(t.tcp, &f, &silent, NULL, &c);

	script_ignore(&t);
	cr_assert(rc == 0 || rc == QP_E_INUSE, "%d", rc);
	return rc == 0 ? ntohs(qp_tcp_flow(c)->lport_be) : 0;
}

Test(tcp_connect, closed_ports_to_one_remote_end_follow_each_other)
{
	uint16_t first, next;

	open_many(64);
	first = connect_to(0x0a000001, 443);
	next = connect_to(0x0a000001, 443);
	cr_expect(first >= QP_TCP_FIRST_PORT && next >= QP_TCP_FIRST_PORT);
	cr_expect((uint32_t)(next - first + QP_TCP_PORTS) % QP_TCP_PORTS == 1, "%u, then %u", first, next);
	CLOSE();
}

/* Who sees the ports to one remote end cannot tell those to another. */
Test(tcp_connect, closed_ports_to_other_remote_ends_begin_elsewhere)
{
	unsigned near = 0;
	uint16_t first;

	open_many(256);
	first = connect_to(0x0a000001, 443);
	for (uint32_t i = 1; i <= 100; i++) {
		uint16_t by_addr = connect_to(0x0a000001 + i, 443), by_port = connect_to(0x0a000001, 443 + i);

		near += abs(by_addr - first) < 300;
		near += abs(by_port - first) < 300;
	}
	cr_expect(near < 20, "%u of 200 within 300 ports", near); /* four are to be expected */
	CLOSE();
}

Test(tcp_connect, closed_two_stacks_choose_differently)
{
	uint16_t a, b;

	open_many(64);
	a = connect_to(0x0a000001, 443);
	CLOSE();
	open_many(64);
	b = connect_to(0x0a000001, 443);
	CLOSE();
	cr_expect(a != b, "the key is each stack's own");
}

Test(tcp_connect, closed_range_wraps_and_ports_in_use_are_avoided)
{
	static bool seen[65536];
	unsigned wraps = 0;
	uint16_t last = 0;

	memset(seen, 0, sizeof(seen));
	open_many(QP_TCP_PORTS + 64);
	for (uint32_t i = 0; i < QP_TCP_PORTS; i++) {
		uint16_t p = connect_to(0x0a000001, 443);

		cr_assert(p >= QP_TCP_FIRST_PORT && !seen[p], "%u after %u opens", p, i);
		seen[p] = true;
		wraps += p < last;
		last = p;
	}
	cr_expect(wraps == 1);
	/* All are taken, for this remote end alone. */
	cr_expect(connect_to(0x0a000001, 443) == 0);
	cr_expect(qp_tcp_counters(t.tcp)->drop_no_port == 1);
	cr_expect(connect_to(0x0a000001, 444) != 0 && connect_to(0x0a000002, 443) != 0);
	cr_expect(qp_tcp_counters(t.tcp)->drop_no_port == 1);
	CLOSE();
}

Test(tcp_connect, closed_ports_are_of_the_given_range)
{
	bool seen[4] = {false};

	open_many(64);
	qp_tcp_set_ports(t.tcp, 65532, 4);
	for (unsigned i = 0; i < 4; i++) {
		uint16_t p = connect_to(0x0a000001, 443);

		cr_assert(p >= 65532 && !seen[p - 65532], "%u after %u opens", p, i);
		seen[p - 65532] = true;
	}
	cr_expect(connect_to(0x0a000001, 443) == 0);
	cr_expect(qp_tcp_counters(t.tcp)->drop_no_port == 1);
	CLOSE();
}

Test(tcp_connect, closed_ports_that_we_listen_on_are_avoided)
{
	struct qp_tcp_listener *l;
	uint16_t p, next;

	open_many(64);
	p = connect_to(0x0a000001, 443);
	next = (uint16_t)(QP_TCP_FIRST_PORT + (p + 1 - QP_TCP_FIRST_PORT) % QP_TCP_PORTS);
	cr_assert(qp_tcp_listen(t.tcp, NULL, htons(next), &silent, NULL, &l) == 0);
	cr_expect(connect_to(0x0a000001, 443) == QP_TCP_FIRST_PORT + (p + 2 - QP_TCP_FIRST_PORT) % QP_TCP_PORTS);
	CLOSE();
}

Test(tcp_connect, closed_given_port_in_use_is_refused)
{
	struct qp_flow f = {.local = qp_ipaddr_v4(htonl(0xc0000201)), .remote = qp_ipaddr_v4(htonl(0x0a000001)),
		.rport_be = htons(443), .lport_be = htons(1000)};
	struct qp_tcp_conn *c;

	open_many(64);
	cr_expect(qp_tcp_connect(t.tcp, &f, &silent, NULL, &c) == 0);
	cr_expect(qp_tcp_connect(t.tcp, &f, &silent, NULL, &c) == QP_E_INUSE);
	f.rport_be = htons(444);
	cr_expect(qp_tcp_connect(t.tcp, &f, &silent, NULL, &c) == 0);
	script_ignore(&t);
	CLOSE();
}

Test(tcp_connect, closed_table_full_is_refused)
{
	struct qp_flow f = {.local = qp_ipaddr_v4(htonl(0xc0000201)), .remote = qp_ipaddr_v4(htonl(0x0a000001)),
		.rport_be = htons(443)};
	struct qp_tcp_conn *c;

	open_many(1);
	cr_expect(qp_tcp_connect(t.tcp, &f, &silent, NULL, &c) == 0);
	cr_expect(qp_tcp_connect(t.tcp, &f, &silent, NULL, &c) == QP_E_NOMEM);
	script_ignore(&t);
	CLOSE();
}

/* Ours, from port 30000, ends in TIME-WAIT. */
static void
to_time_wait(const char *syn_ack, const char *fin)
{
	script_config(&t.cfg);
	t.cfg.max_conns = 256;
	script_open_cfg(&t);
	script_connect(&t);
	OUT("S 0 mss 1460 sackok ts 0/0 ws 5");
	IN(syn_ack);
	OUT("A 1 ack 1");
	qp_tcp_shutdown(t.c);
	script_flush(&t);
	OUT("AF 1 ack 1");
	IN(fin);
	OUT("A 2 ack 2");
	cr_assert(t.ended && t.why == QP_TCP_END_NORMAL);
}

static int
connect_again(void)
{
	struct qp_flow f = {.local = qp_ipaddr_v4(htonl(0xc0000201)), .remote = qp_ipaddr_v4(htonl(0xc0000202)),
		.lport_be = htons(30000), .rport_be = htons(40000)};
	struct qp_tcp_conn *c;

	return qp_tcp_connect(t.tcp, &f, &silent, NULL, &c);
}

Test(tcp_connect, time_wait_with_timestamps_is_taken_over_after_a_second)
{
	uint32_t iss;

	to_time_wait("SA 0 ack 1 win 9000 mss 1460 ts 100/_", "AF 1 ack 2 ts 101/_");
	iss = t.iss;
	cr_expect(connect_again() == QP_E_INUSE, "the same millisecond's timestamp tells nothing");
	WAIT_MS(1000);
	uint32_t ts = t.last_tsval;
	cr_assert(connect_again() == 0);
	OUT("S 0 mss 1460 sackok ts 0/0 ws 5");
	cr_expect(seq_lt(iss + 2, t.iss) && seq_lt(ts, t.last_tsval), "later numbers, later timestamps");
	cr_expect(qp_tcp_counters(t.tcp)->conns == 1, "the TIME-WAIT is gone");
	CLOSE();
}

Test(tcp_connect, time_wait_without_timestamps_is_not_taken_over)
{
	to_time_wait("SA 0 ack 1 win 9000 mss 1460", "AF 1 ack 2");
	WAIT_MS(50000);
	cr_expect(connect_again() == QP_E_INUSE);
	WAIT_MS(11000);
	cr_expect(connect_again() == 0);
	script_ignore(&t);
	CLOSE();
}

/* --- the peer still has an old connection of the ports --- */

#define SYN "S 0 mss 1460 sackok ts 0/0 ws 5"

static void
dial(void)
{
	script_open(&t);
	script_connect(&t);
	OUT(SYN);
}

/* How long until our SYN goes again. */
static uint32_t
syn_after_ms(void)
{
	uint32_t ms = script_until_sent(&t, 5000);

	OUT(SYN);
	QUIET();
	return ms;
}

/* 3.5.1: its ACK gets a reset, and the SYN goes again as soon as that has made way. */
Test(tcp_connect, syn_sent_old_life_makes_way_within_milliseconds)
{
	uint32_t ms;

	dial();
	WAIT_MS(20);
	IN("A 500 ack 4000 win 100");
	OUT("R 4000");
	QUIET();
	ms = syn_after_ms();
	cr_expect(ms >= 2 && ms <= 10, "%u ms", ms);
	IN("SA 0 ack 1 win 9000 mss 1460 sackok ts 100/_ ws 7");
	OUT("A 1 ack 1");
	/* No SYN was lost: the initial window and RTO are as always. */
	cr_expect(t.connected == 1 && t.c->cwnd == 10 * 1448, "%u", t.c->cwnd);
	cr_expect(t.c->srtt_ns == 0 && t.c->rto_ns == QP_TCP_RTO_INIT_NS, "which SYN was answered, nobody knows");
	CLOSE();
}

/* With more such ACKs we send no more SYNs than without. */
Test(tcp_connect, syn_sent_old_life_hastens_one_syn)
{
	uint32_t ms;

	dial();
	for (unsigned i = 0; i < 3; i++) {
		IN("A 500 ack 4000 win 100");
		OUT("R 4000");
	}
	ms = syn_after_ms();
	cr_expect(ms <= 10, "%u ms", ms);
	IN("A 500 ack 4000 win 100");
	OUT("R 4000");
	ms = syn_after_ms();
	cr_expect(ms >= 1000 && ms <= 1002, "RFC 6298, 2.1: %u ms", ms);
	ms = syn_after_ms();
	cr_expect(ms >= 2000 && ms <= 2002, "RFC 6298, 5.5: %u ms", ms);
	CLOSE();
}

Test(tcp_connect, syn_sent_old_life_hastens_no_syn_after_a_timeout)
{
	uint32_t ms;

	dial();
	ms = syn_after_ms();
	cr_expect(ms >= 1000 && ms <= 1002, "%u ms", ms);
	IN("SA 500 ack 4000 win 100");
	OUT("R 4000");
	ms = syn_after_ms();
	cr_expect(ms >= 2000 && ms <= 2002, "%u ms", ms);
	CLOSE();
}

/* Nothing of ours makes way for the SYN then. */
Test(tcp_connect, syn_sent_old_lifes_reset_hastens_no_syn)
{
	uint32_t ms;

	dial();
	IN("RA 500 ack 4000");
	QUIET();
	ms = syn_after_ms();
	cr_expect(ms >= 1000 && ms <= 1002, "%u ms", ms);
	CLOSE();
}

/* Figure 8 meanwhile: what goes again is the SYN-ACK. */
Test(tcp_connect, syn_sent_old_life_and_crossing_syn)
{
	uint32_t ms;

	dial();
	IN("A 500 ack 4000 win 100");
	OUT("R 4000");
	IN("S 0 win 9000 mss 1460");
	OUT("SA 0 ack 1 mss 1460");
	ms = script_until_sent(&t, 5000);
	cr_expect(ms <= 10, "%u ms", ms);
	OUT("SA 0 ack 1 mss 1460");
	ms = script_until_sent(&t, 5000);
	cr_expect(ms >= 1000 && ms <= 1002, "%u ms", ms);
	OUT("SA 0 ack 1 mss 1460");
	IN("A 1 ack 1 win 9000");
	cr_expect(t.connected == 1);
	CLOSE();
}

/* A free port comes first; with none left, a TIME-WAIT's. */
Test(tcp_connect, time_wait_ports_are_the_last_choice)
{
	struct qp_tcp_tw *tw;
	struct qp_flow f;
	uint16_t p;

	open_many(QP_TCP_PORTS + 64);
	p = connect_to(0x0a000001, 443);
	f = (struct qp_flow) {.local = qp_ipaddr_v4(htonl(0xc0000201)), .remote = qp_ipaddr_v4(htonl(0x0a000001)),
		.lport_be = htons(p), .rport_be = htons(443)};
	struct qp_tcp_conn *c = (struct qp_tcp_conn *)qp_tcp_lookup(t.tcp, &f);
	c->flags &= ~QP_TF_APP; /* ends without a callback */
	c->flags |= QP_TF_TS;
	qp_tcp_time_wait(c);
	script_flush(&t);
	WAIT_MS(2000);
	script_ignore(&t);
	for (uint32_t i = 1; i < QP_TCP_PORTS; i++)
		cr_assert(connect_to(0x0a000001, 443) != p, "%u", i);
	tw = (struct qp_tcp_tw *)qp_tcp_lookup(t.tcp, &f);
	cr_expect(tw->tcb.state == QP_TCP_TIME_WAIT);
	cr_expect(connect_to(0x0a000001, 443) == p);
	cr_expect(connect_to(0x0a000001, 443) == 0);
	CLOSE();
}
