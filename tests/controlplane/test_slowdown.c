/* SPDX-License-Identifier: Apache-2.0 */
/* How long a refusal waits, for whom, and what a flood of addresses costs. */
#include <criterion/criterion.h>
#include <malloc.h>
#include <string.h>

#include "common/addr.h"
#include "common/keys.h"
#include "controlplane/slowdown.h"

static uint64_t now_ns;
static struct qp_loop *loop;
static struct qp_slowdown *s;
static unsigned told;
static uint64_t last_told;

static uint64_t
clock_of_test(void)
{
	return now_ns;
}

static void
refuse(void *ctx, const struct qp_origin *to)
{
	(void)ctx;
	told++;
	last_told = to->id;
}

static void
start(void)
{
	cr_assert_eq(qp_keys_init(), 0);
	loop = qp_loop_new();
	now_ns = 1000000000000;
	s = qp_slowdown_new(&(struct qp_slowdown_config) {
		.loop = loop, .refuse = refuse, .now_ns = clock_of_test});
}

static void
stop(void)
{
	qp_slowdown_free(s);
	qp_loop_free(loop);
}

TestSuite(slowdown, .init = start, .fini = stop);

static struct in6_addr
at(const char *text)
{
	struct in6_addr a;

	cr_assert_eq(qp_ip_parse_text(text, &a, NULL), 0);
	return a;
}

static unsigned
fail(const char *text, uint64_t id)
{
	return qp_slowdown_failed(s, at(text).s6_addr, &(struct qp_origin) {.id = id});
}

static bool
admits(const char *text)
{
	return qp_slowdown_admits(s, at(text).s6_addr);
}

/* Milliseconds, in steps of 50, until the next refusal is told. */
static unsigned
wait_ms(void)
{
	unsigned before = told;

	for (unsigned ms = 50; ms <= 20000; ms += 50) {
		now_ns += 50000000;
		qp_slowdown_run(s);
		if (told > before)
			return ms;
	}
	return 0;
}

Test(slowdown, refusal_waits_twice_as_long_each_time_up_to_eight_seconds)
{
	static const unsigned want[] = {250, 500, 1000, 2000, 4000, 8000, 8000};

	for (unsigned i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
		cr_expect_eq(fail("192.0.2.1", i), i + 1);
		cr_expect_eq(wait_ms(), want[i], "failure %u", i + 1);
		cr_expect_eq(last_told, i);
	}
	cr_expect_eq(qp_slowdown_waiting(s), 0u);
}

Test(slowdown, others_are_not_delayed_by_it)
{
	for (unsigned i = 0; i < 6; i++)
		fail("192.0.2.1", i);
	fail("192.0.2.2", 77);
	cr_expect_eq(wait_ms(), 250u);
	cr_expect(admits("192.0.2.2"));
	cr_expect_not(admits("192.0.2.1"));
	cr_expect(admits("2001:db8::1"));
}

Test(slowdown, ipv6_is_known_by_its_64)
{
	for (unsigned i = 0; i < QP_SLOWDOWN_AT_ONCE; i++)
		cr_expect_eq(fail(i % 2 ? "2001:db8:1:2::1" : "2001:db8:1:2:ffff::9", i), i + 1);
	cr_expect_not(admits("2001:db8:1:2:3::4"));
	cr_expect(admits("2001:db8:1:3::4"));
}

Test(slowdown, success_wipes_the_slate_and_gives_room)
{
	for (unsigned i = 0; i < QP_SLOWDOWN_AT_ONCE; i++)
		fail("192.0.2.1", i);
	cr_expect_not(admits("192.0.2.1"));
	qp_slowdown_succeeded(s, at("192.0.2.1").s6_addr);
	cr_expect(admits("192.0.2.1"), "where somebody is known, others' failures close no door");
	cr_expect_eq(fail("192.0.2.1", 9), 1u);
	now_ns += (QP_SLOWDOWN_FORGET_S + 1) * 1000000000ull;
	cr_expect_not(admits("192.0.2.1"), "the success was long ago, and refusals wait");
}

Test(slowdown, failures_are_forgotten)
{
	fail("192.0.2.1", 1);
	fail("192.0.2.1", 2);
	now_ns += (QP_SLOWDOWN_FORGET_S + 1) * 1000000000ull;
	qp_slowdown_run(s);
	cr_expect_eq(fail("192.0.2.1", 3), 1u);
}

/* A million addresses: nothing grows, every one is refused, the newest still waits its time. */
Test(slowdown, flood_of_addresses_is_bounded)
{
	struct in6_addr a = at("10.0.0.0");
	size_t before = mallinfo2().uordblks;

	for (uint32_t i = 0; i < 1000000; i++) {
		memcpy(a.s6_addr + 12, &i, sizeof(i));
		cr_assert(qp_slowdown_admits(s, a.s6_addr));
		qp_slowdown_failed(s, a.s6_addr, &(struct qp_origin) {.id = i});
		cr_assert_leq(qp_slowdown_waiting(s), QP_SLOWDOWN_WAITING);
	}
	cr_expect_eq(mallinfo2().uordblks, before);
	now_ns += 9000000000ull;
	qp_slowdown_run(s);
	cr_expect_eq(told, 1000000u);
	cr_expect_eq(qp_slowdown_waiting(s), 0u);
	cr_expect(admits("192.0.2.1"));
	fail("192.0.2.1", 1);
	cr_expect_eq(wait_ms(), 250u);
}

Test(slowdown, refusals_come_by_the_loops_timer)
{
	struct qp_slowdown *real = qp_slowdown_new(
		&(struct qp_slowdown_config) {.loop = loop, .refuse = refuse});
	uint64_t began = qp_now_ns();

	qp_slowdown_failed(real, at("192.0.2.1").s6_addr, &(struct qp_origin) {.id = 5});
	cr_expect_eq(told, 0u);
	while (told == 0 && qp_now_ns() - began < 10000000000ull)
		qp_loop_turn(loop, 1000);
	cr_expect_eq(told, 1u);
	cr_expect_geq((qp_now_ns() - began) / 1000000, 250u);
	qp_slowdown_free(real);
}
