/* SPDX-License-Identifier: Apache-2.0 */
/* Blocked sources: in force, in order, over their time, and over a restart. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "controlplane/apitext.h"
#include "controlplane/blocks.h"
#include "controlplane/policy.h"

static char dir[64];
static struct qp_loop *loop;
static struct qp_state *state;
static struct qp_blocks *blocks;
static uint64_t now = 1000000;
static unsigned in_force, over;
static int refusal;

static int
block(void *ctx, const struct qp_msg_network *n, struct qp_errmsg *msg)
{
	if (refusal != 0)
		return qp_fail(msg, refusal, "the host refuses");
	in_force++;
	return 0;
}

static void
unblock(void *ctx, const struct qp_msg_network *n)
{
	in_force--;
}

static void
expired(void *ctx, const struct qp_block *b)
{
	over++;
}

static int64_t set_by; /* how much of `now` never passed */

static uint64_t
time_that_passed(void)
{
	return now - (uint64_t)set_by;
}

static uint64_t
fake_time(void)
{
	return now;
}

static void
open_all(void)
{
	struct qp_errmsg msg;

	cr_assert_eq(
		qp_state_open(&(struct qp_state_config) {.dir = dir, .name = "x"}, &state, &msg),
		0);
	cr_assert_eq(qp_blocks_new(&(struct qp_blocks_config) {.loop = loop,
					   .state = state,
					   .block = block,
					   .unblock = unblock,
					   .expired = expired,
					   .unix_time = fake_time,
					   .up_time = time_that_passed},
			     &blocks, &msg),
		0);
}

static void
close_all(void)
{
	qp_blocks_free(blocks);
	qp_state_close(state);
}

static void
enter(void)
{
	strcpy(dir, "/tmp/qp-blocks-XXXXXX");
	cr_assert_not_null(mkdtemp(dir));
	loop = qp_loop_new();
	open_all();
}

static void
leave(void)
{
	char command[128];

	close_all();
	qp_loop_free(loop);
	snprintf(command, sizeof(command), "rm -r %s", dir);
	cr_assert_eq(system(command), 0);
}

TestSuite(blocks, .init = enter, .fini = leave, .timeout = 30);

static struct qp_msg_network
net(const char *text)
{
	struct qp_msg_network n;

	cr_assert_eq(qp_network_parse(text, &n, NULL), 0, "%s", text);
	return n;
}

static int
add(const char *text, uint64_t seconds)
{
	struct qp_msg_network n = net(text);
	const struct qp_block *b;

	return qp_blocks_add(blocks, &n, seconds, "a test", &b, NULL);
}

static const char *
at(unsigned i)
{
	static char text[QP_NETWORK_BYTES];

	return qp_network_format(&qp_blocks_at(blocks, i)->network, text);
}

Test(blocks, added_twice_is_one_with_the_new_time)
{
	cr_expect_eq(add("198.51.100.0/24", 10), 0);
	cr_expect_eq(add("198.51.100.0/24", 0), 0);
	cr_expect_eq(qp_blocks_count(blocks), 1u);
	cr_expect_eq(qp_blocks_at(blocks, 0)->expires_at, 0u);
	cr_expect_eq(in_force, 1u);
}

Test(blocks, order_is_that_of_networks_and_paging_goes_on_where_it_ended)
{
	struct qp_msg_network n;

	add("2001:db8::/32", 0);
	add("198.51.100.0/24", 0);
	add("198.51.100.7", 0);
	add("10.0.0.0/8", 0);
	cr_expect_str_eq(at(0), "10.0.0.0/8");
	cr_expect_str_eq(at(1), "198.51.100.0/24");
	cr_expect_str_eq(at(2), "198.51.100.7/32");
	cr_expect_str_eq(at(3), "2001:db8::/32");
	n = net("198.51.100.0/24");
	cr_expect_eq(qp_blocks_after(blocks, &n), 2u);
	cr_expect_eq(qp_blocks_remove(blocks, &n), 0);
	cr_expect_eq(qp_blocks_remove(blocks, &n), QP_E_NOTFOUND);
	cr_expect_eq(qp_blocks_after(blocks, &n), 1u, "its place is known without it");
	cr_expect_eq(in_force, 3u);
}

Test(blocks, time_that_is_over_lets_in)
{
	add("198.51.100.0/24", 1);
	add("203.0.113.0/24", 100);
	add("192.0.2.0/24", 0);
	now += 1;
	for (uint64_t end = qp_now_ns() + 10000000000u; over == 0 && qp_now_ns() < end;)
		qp_loop_turn(loop, 100);
	cr_expect_eq(over, 1u);
	cr_expect_eq(in_force, 2u);
	cr_expect_str_eq(at(0), "192.0.2.0/24");
	cr_expect_str_eq(at(1), "203.0.113.0/24");
}

static void
turn_until(unsigned wanted)
{
	for (uint64_t end = qp_now_ns() + 10000000000u; over < wanted && qp_now_ns() < end;)
		qp_loop_turn(loop, 100);
}

Test(blocks, clock_that_is_set_moves_the_end_of_blocks_along)
{
	const int64_t year = 31536000;

	now = 2u * (uint64_t)year;
	for (int i = 0; i < 2; i++) {
		const int64_t by = i == 0 ? year : -year;

		over = 0;
		add("198.51.100.0/24", 1000);
		add("192.0.2.0/24", 0);
		now += (uint64_t)by;
		set_by += by;
		add("203.0.113.0/24", 1); /* looks at the clock */
		cr_expect_eq(qp_blocks_at(blocks, 1)->expires_at, now + 1000);
		now += 2;
		turn_until(1);
		cr_expect_eq(qp_blocks_count(blocks), 2u);
		now += 1000;
		add("203.0.113.0/24", 1);
		now += 2;
		turn_until(3);
		cr_expect_eq(qp_blocks_count(blocks), 1u, "one is for ever");
	}
}

Test(blocks, restart_brings_them_back_with_what_is_left_of_their_time)
{
	add("198.51.100.0/24", 50);
	add("192.0.2.0/24", 0);
	close_all();
	in_force = 0;
	now += 20;
	open_all();
	cr_expect_eq(in_force, 2u);
	cr_expect_eq(qp_blocks_count(blocks), 2u);
	cr_expect_eq(qp_blocks_at(blocks, 1)->expires_at, now + 30);
	cr_expect_str_eq(qp_blocks_at(blocks, 1)->reason, "a test");
}

Test(blocks, host_that_refuses_leaves_nothing_behind)
{
	refusal = QP_E_FULL;
	cr_expect_eq(add("198.51.100.0/24", 0), QP_E_FULL);
	cr_expect_eq(qp_blocks_count(blocks), 0u);
	close_all();
	refusal = 0;
	open_all();
	cr_expect_eq(qp_blocks_count(blocks), 0u);
}

Test(blocks, number_is_bounded)
{
	struct qp_errmsg msg;
	const struct qp_block *b;
	char text[32];

	for (unsigned i = 0; i < QP_BLOCKS_MAX; i++) {
		snprintf(text, sizeof(text), "10.%u.%u.0/24", i / 256, i % 256);
		cr_assert_eq(add(text, 0), 0);
	}
	struct qp_msg_network n = net("192.0.2.0/24");
	cr_expect_eq(qp_blocks_add(blocks, &n, 0, NULL, &b, &msg), QP_E_FULL);
	cr_expect_not_null(strstr(msg.text, "4096"));
}

Test(apitext, ids_are_written_in_one_way)
{
	static const char *const bad[] = {"", "3039-0", "3039-0-", "3039-0-1f ", "3039-00-1f",
		"3039-0-01f", "3039-0-1F", "+039-0-1f", "3039-0-0x1f", "39-0-1f",
		"3039-0-11111111111111111", "3039--1-1f", " 3039-0-1f"};
	char text[QP_TUNNEL_ID_BYTES];
	struct qp_origin o;

	cr_assert(qp_tunnel_id_parse("3039-0-1f", &o));
	cr_expect(o.server_id == 0x3039 && o.worker == 0 && o.id == 0x1f);
	cr_expect_str_eq(qp_tunnel_id_format(&o, text), "3039-0-1f");
	cr_expect(qp_tunnel_id_parse("0001-15-ffffffffffffffff", &o));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		cr_expect_not(qp_tunnel_id_parse(bad[i], &o), "%s", bad[i]);
}

Test(apitext, networks_contain_their_addresses_alone)
{
	struct qp_msg_network n = net("198.51.100.128/25"), a;

	a = net("198.51.100.200");
	cr_expect(qp_network_contains(&n, a.addr));
	a = net("198.51.100.127");
	cr_expect_not(qp_network_contains(&n, a.addr));
	a = net("2001:db8::1");
	cr_expect_not(qp_network_contains(&n, a.addr));
	n = net("2001:db8::1");
	cr_expect(qp_network_contains(&n, a.addr));
}
