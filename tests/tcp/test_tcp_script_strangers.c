/* SPDX-License-Identifier: Apache-2.0 */
/* What segments of nobody's connection cost: bounded answers, bounded state. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "tests/tcp/script.h"

TestSuite(tcp_strangers, .init = script_suite_start);

static struct script t;

static const struct qp_tcp_counters *
counted(void)
{
	return qp_tcp_counters(t.tcp);
}

Test(tcp_strangers, closed_flood_of_acks_resets_are_limited)
{
	qp_tcp_config_default(&t.cfg);
	t.cfg.rst_limit = 20;
	script_open_cfg(&t);
	t.port = 81;
	for (unsigned i = 0; i < 100; i++) {
		IN("A 55+3 ack 777");
		script_ignore(&t);
	}
	cr_expect_eq(counted()->rst_out, 20);
	cr_expect_eq(counted()->rst_limited, 80);
	cr_expect_eq(counted()->drop_no_listener, 100);
	WAIT_MS(1000);
	IN("A 55+3 ack 777");
	OUT("R 777");
	script_close(&t);
}

Test(tcp_strangers, listen_flood_of_acks_leaves_connections_their_reset)
{
	qp_tcp_config_default(&t.cfg);
	t.cfg.rst_limit = 1;
	script_open_cfg(&t);
	script_establish(&t);
	t.peer_port++;
	IN("A 0 ack 999");
	OUT("R 999");
	IN("A 0 ack 999");
	QUIET();
	/* What the application ends is told in any case. */
	qp_tcp_abort(t.c);
	script_flush(&t);
	cr_expect_eq(counted()->rst_out, 2);
	script_ignore(&t);
	script_close(&t);
}

Test(tcp_strangers, listen_flood_of_syns_keeps_a_bounded_number_half_open)
{
	qp_tcp_config_default(&t.cfg);
	t.cfg.syn_backlog = 16;
	script_open_cfg(&t);
	for (unsigned i = 0; i < 200; i++) {
		t.peer_port++;
		IN("S 0 win 1000 mss 1460 sackok ts 1/0 ws 7");
		script_ignore(&t);
	}
	cr_expect_eq(counted()->conns, 16);
	cr_expect_eq(counted()->syn_cookies_sent, 184);
	/* Nobody answers: they go by themselves. */
	for (unsigned s = 0; s < 90; s++) {
		WAIT_MS(1000);
		script_ignore(&t);
	}
	cr_expect_eq(counted()->conns, 0);
	script_close(&t);
}
