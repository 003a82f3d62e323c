/* SPDX-License-Identifier: Apache-2.0 */
/* Who gets which port back, and for how long. */
#include <criterion/criterion.h>
#include <dirent.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "controlplane/leases.h"

#define WEEK 604800u

static char dir[64];
static struct qp_state *state;
static struct qp_leases *leases;
static uint64_t now = 1000000;
static int64_t set_by; /* how much of `now` never passed */

static uint64_t
clock_of_test(void)
{
	return now;
}

static uint64_t
time_that_passed(void)
{
	return now - (uint64_t)set_by;
}

static void
set_clock(int64_t by)
{
	now += (uint64_t)by;
	set_by += by;
}

static void
start_with(uint32_t lease_time_s, unsigned max_per_client, unsigned max)
{
	cr_assert_eq(qp_state_open(&(struct qp_state_config) {dir, "gateway"}, &state, NULL), 0);
	cr_assert_eq(qp_leases_new(&(struct qp_leases_config) {.state = state,
					   .lease_time_s = lease_time_s,
					   .max_per_client = max_per_client,
					   .max = max,
					   .unix_time = clock_of_test,
					   .up_time = time_that_passed},
			     &leases, NULL), 0);
}

static void
stop(void)
{
	qp_leases_free(leases);
	qp_state_close(state);
	leases = NULL;
	state = NULL;
}

static void
restart(void)
{
	stop();
	start_with(WEEK, 0, 0);
}

static void
enter(void)
{
	strcpy(dir, "/tmp/qp-leases-XXXXXX");
	cr_assert_not_null(mkdtemp(dir));
	start_with(WEEK, 0, 0);
}

static void
leave(void)
{
	char file[512];
	DIR *d = opendir(dir);
	struct dirent *e;

	stop();
	while (d != NULL && (e = readdir(d)) != NULL) {
		snprintf(file, sizeof(file), "%s/%s", dir, e->d_name);
		unlink(file);
	}
	closedir(d);
	rmdir(dir);
}

TestSuite(leases, .init = enter, .fini = leave);

static const struct qp_lessee alice = {"alice", "127.0.0.1:22", "192.0.2.1"};
static const struct qp_lessee alice_web = {"alice", "127.0.0.1:80", "192.0.2.1"};
static const struct qp_lessee alice_away = {"alice", "127.0.0.1:22", "192.0.2.99"};
static const struct qp_lessee bob = {"bob", "127.0.0.1:22", "192.0.2.1"};

/* Took it and gave it back, a second later. */
static void
had(uint16_t port, const struct qp_lessee *who)
{
	qp_leases_take(leases, IPPROTO_TCP, port, who);
	now++;
	qp_leases_release(leases, IPPROTO_TCP, port);
}

/* All that `who` would get back, in order; 0 ends the list. */
static void
expect_found(const struct qp_lessee *who, const uint16_t *want)
{
	uint16_t got[64];
	unsigned n = qp_leases_find(leases, IPPROTO_TCP, who, got, 64), wanted = 0;

	while (want[wanted] != 0)
		wanted++;
	cr_assert_eq(n, wanted, "%u ports, not %u", n, wanted);
	for (unsigned i = 0; i < n; i++)
		cr_expect_eq(got[i], want[i], "%u. is %u, not %u", i, got[i], want[i]);
}

Test(leases, port_comes_back_to_its_client_and_service_only)
{
	had(40000, &alice);
	expect_found(&alice, (uint16_t[]) {40000, 0});
	expect_found(&alice_away, (uint16_t[]) {40000, 0});
	expect_found(&alice_web, (uint16_t[]) {0});
	expect_found(&bob, (uint16_t[]) {0});
	cr_expect_eq(qp_leases_find(leases, IPPROTO_UDP, &alice, (uint16_t[1]) {0}, 1), 0u);
	cr_expect_str_eq(qp_leases_client(leases, IPPROTO_TCP, 40000), "alice");
	cr_expect_null(qp_leases_client(leases, IPPROTO_UDP, 40000));
	cr_expect_null(qp_leases_client(leases, IPPROTO_TCP, 40001));
}

Test(leases, port_in_use_is_not_found)
{
	qp_leases_take(leases, IPPROTO_TCP, 40000, &alice);
	expect_found(&alice, (uint16_t[]) {0});
	qp_leases_release(leases, IPPROTO_TCP, 40000);
	expect_found(&alice, (uint16_t[]) {40000, 0});
	qp_leases_release(leases, IPPROTO_TCP, 40000); /* again: nothing */
}

Test(leases, same_machine_comes_before_last_use)
{
	had(40000, &alice_away);
	had(40001, &alice);
	had(40002, &alice);
	had(40003, &alice_away);
	expect_found(&alice, (uint16_t[]) {40002, 40001, 40003, 40000, 0});
	expect_found(&alice_away, (uint16_t[]) {40003, 40000, 40002, 40001, 0});
	uint16_t best = 0;
	cr_expect_eq(qp_leases_find(leases, IPPROTO_TCP, &alice, &best, 1), 1u);
	cr_expect_eq(best, 40002);
}

Test(leases, another_client_takes_a_lease_over)
{
	had(40000, &alice);
	had(40000, &bob);
	expect_found(&alice, (uint16_t[]) {0});
	expect_found(&bob, (uint16_t[]) {40000, 0});
	cr_expect_eq(qp_leases_count(leases), 1u);
}

Test(leases, lease_ends_a_lease_time_after_its_last_use)
{
	had(40000, &alice);
	now += WEEK;
	qp_leases_turn(leases);
	expect_found(&alice, (uint16_t[]) {40000, 0});
	now += 1;
	qp_leases_turn(leases);
	expect_found(&alice, (uint16_t[]) {0});
	restart();
	cr_expect_eq(qp_leases_count(leases), 0u);
}

Test(leases, lease_in_use_does_not_age)
{
	qp_leases_take(leases, IPPROTO_TCP, 40000, &alice);
	for (unsigned day = 0; day < 30; day++) {
		now += 86400;
		qp_leases_turn(leases);
	}
	/* Killed: nobody releases it. */
	restart();
	expect_found(&alice, (uint16_t[]) {40000, 0});
}

Test(leases, clock_that_was_ahead_keeps_no_port_for_years)
{
	uint16_t port;

	now += 10 * 365 * 86400;
	had(9000, &alice);
	now -= 10 * 365 * 86400;
	had(9001, &bob);
	/* Beginning when it is noticed, which a restart does not change. */
	qp_leases_turn(leases);
	restart();
	now += WEEK + 1;
	qp_leases_turn(leases);
	cr_expect_eq(qp_leases_find(leases, IPPROTO_TCP, &alice, &port, 1), 0u);
	cr_expect_eq(qp_leases_count(leases), 0u);
}

Test(leases, restart_keeps_them)
{
	had(40000, &alice);
	qp_leases_take(leases, IPPROTO_UDP, 40000, &bob);
	restart();
	expect_found(&alice, (uint16_t[]) {40000, 0});
	cr_expect_str_eq(qp_leases_client(leases, IPPROTO_UDP, 40000), "bob");
	now += WEEK + 10;
	restart();
	cr_expect_eq(qp_leases_count(leases), 0u, "they ended while nobody ran");
}

Test(leases, client_with_too_many_loses_the_one_released_first)
{
	stop();
	start_with(WEEK, 3, 0);
	had(40000, &alice);
	had(40001, &alice_web);
	had(40002, &alice);
	had(50000, &bob);
	had(40003, &alice);
	expect_found(&alice, (uint16_t[]) {40003, 40002, 0});
	expect_found(&alice_web, (uint16_t[]) {40001, 0});
	expect_found(&bob, (uint16_t[]) {50000, 0});
	for (uint16_t port = 40010; port < 40014; port++)
		qp_leases_take(leases, IPPROTO_TCP, port, &alice);
	cr_expect_not_null(qp_leases_client(leases, IPPROTO_TCP, 40012));
	cr_expect_null(qp_leases_client(leases, IPPROTO_TCP, 40013), "all others are in use");
	cr_expect_eq(qp_leases_count(leases), 4u);
	qp_leases_release(leases, IPPROTO_TCP, 40013); /* never leased */
	stop();
	start_with(WEEK, 0, 0);
	cr_expect_eq(qp_leases_count(leases), 4u);
}

Test(leases, all_together_are_bounded)
{
	char name[16];
	struct qp_lessee who = {name, "x", "y"};

	stop();
	start_with(WEEK, 0, 10);
	for (uint16_t i = 0; i < 25; i++) {
		snprintf(name, sizeof(name), "client%u", i);
		had((uint16_t)(40000 + i), &who);
	}
	cr_expect_eq(qp_leases_count(leases), 10u);
	cr_expect_null(qp_leases_client(leases, IPPROTO_TCP, 40014));
	cr_expect_str_eq(qp_leases_client(leases, IPPROTO_TCP, 40015), "client15");
}

Test(leases, lease_time_of_0_keeps_none)
{
	stop();
	start_with(0, 0, 0);
	had(40000, &alice);
	cr_expect_eq(qp_leases_count(leases), 0u);
	expect_found(&alice, (uint16_t[]) {0});
}

Test(leases, row_without_sense_is_left_out)
{
	qp_state_put_lease(state, &(struct qp_lease_row) {
					  .protocol = 99, .port = 40000, .client = "x",
					  .destination = "", .peer = "", .used_at = now});
	qp_state_put_lease(state, &(struct qp_lease_row) {
					  .protocol = IPPROTO_TCP, .port = 0, .client = "x",
					  .destination = "", .peer = "", .used_at = now});
	restart();
	cr_expect_eq(qp_leases_count(leases), 0u);
}

#define YEAR 31536000

Test(leases, clock_that_is_set_ends_no_lease_and_makes_none_last)
{
	for (unsigned i = 0; i < 2; i++) {
		int64_t by = i == 0 ? YEAR : -YEAR;

		now = 2u * YEAR;
		had(40000, &alice);
		set_clock(by);
		qp_leases_turn(leases);
		now += WEEK - 10;
		qp_leases_turn(leases);
		expect_found(&alice, (uint16_t[]) {40000, 0});
		now += 20;
		qp_leases_turn(leases);
		expect_found(&alice, (uint16_t[]) {0});
	}
}

Test(leases, lease_released_right_after_the_clock_was_set_is_whole)
{
	now = 2u * YEAR;
	qp_leases_take(leases, IPPROTO_TCP, 40000, &alice);
	set_clock(-YEAR);
	qp_leases_release(leases, IPPROTO_TCP, 40000);
	qp_leases_turn(leases);
	now += WEEK - 10;
	qp_leases_turn(leases);
	expect_found(&alice, (uint16_t[]) {40000, 0});
	restart();
	expect_found(&alice, (uint16_t[]) {40000, 0});
}
