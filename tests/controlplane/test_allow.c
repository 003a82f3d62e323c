/* SPDX-License-Identifier: Apache-2.0 */
/* What clients may reach: rules from text, and what they say of an address and a port. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <stdio.h>
#include <string.h>

#include "common/addr.h"
#include "controlplane/allow.h"

static bool
allows(const char *rule, const char *addr, uint16_t port)
{
	struct qp_allow a = {0};
	struct qp_errmsg msg;
	struct in6_addr in6;

	cr_assert_eq(qp_allow_add(&a, rule, &msg), 0, "%s: %s", rule, msg.text);
	cr_assert_eq(qp_ip_parse_text(addr, &in6, &msg), 0, "%s: %s", addr, msg.text);
	return qp_allow_check(&a, &in6, port);
}

struct row {
	char rule[64];
	char addr[48];
	uint16_t port;
	bool yes;
};

ParameterizedTestParameters(allow, rule_says)
{
	static struct row rows[] = {
		{"10.0.0.0/8", "10.255.1.2", 1, true},
		{"10.0.0.0/8", "11.0.0.0", 1, false},
		{"10.0.0.0/9", "10.127.255.255", 65535, true},
		{"10.0.0.0/9", "10.128.0.0", 65535, false},
		{"192.0.2.7", "192.0.2.7", 22, true},
		{"192.0.2.7", "192.0.2.6", 22, false},
		{"192.0.2.7/32:22", "192.0.2.7", 23, false},
		{"192.0.2.7:22", "192.0.2.7", 22, true},
		{"192.0.2.7:80,443,8000-8099", "192.0.2.7", 443, true},
		{"192.0.2.7:80,443,8000-8099", "192.0.2.7", 8000, true},
		{"192.0.2.7:80,443,8000-8099", "192.0.2.7", 8099, true},
		{"192.0.2.7:80,443,8000-8099", "192.0.2.7", 8100, false},
		{"192.0.2.7:80,443,8000-8099", "192.0.2.7", 81, false},
		{"0.0.0.0/0", "203.0.113.9", 1, true},
		{"0.0.0.0/0", "2001:db8::1", 1, false},
		{"::/0", "2001:db8::1", 1, true},
		{"::/0", "203.0.113.9", 1, false},
		{"::ffff:10.0.0.1", "10.0.0.1", 1, true},
		{"2001:db8::/32", "2001:db8:ffff::1", 443, true},
		{"2001:db8::/32", "2001:db9::1", 443, false},
		{"2001:db8::/32:443", "2001:db8::1", 443, true},
		{"2001:db8::/32:443", "2001:db8::1", 80, false},
		{"[2001:db8::]/33:443", "2001:db8:7fff::1", 443, true},
		{"[2001:db8::]/33:443", "2001:db8:8000::1", 443, false},
		{"[::1]:80", "::1", 80, true},
		{"[::1]:80", "127.0.0.1", 80, false},
		{"::1", "::1", 80, true},
	};

	return cr_make_param_array(struct row, rows, sizeof(rows) / sizeof(rows[0]));
}

ParameterizedTest(struct row *r, allow, rule_says)
{
	cr_assert_eq(allows(r->rule, r->addr, r->port), r->yes, "%s, %s port %u", r->rule, r->addr,
		r->port);
}

struct bad {
	char text[48];
};

ParameterizedTestParameters(allow, text_that_is_no_rule_is_refused)
{
	static struct bad rows[] = {{""}, {"/8"}, {":80"}, {"10.0.0.0/"}, {"10.0.0.0/33"},
		{"10.0.0.0/8:"}, {"10.0.0.0/8:0"}, {"10.0.0.0/8:65536"}, {"10.0.0.0/8:90-80"},
		{"10.0.0.0/8:80,"}, {"10.0.0.0/8:80,,81"}, {"10.0.0.0/8:80-"}, {"10.0.0.0/8 "},
		{"10.0.0.1/8"}, {"10.0.0.0/-8"}, {"localhost:80"}, {"[::1"}, {"[]:80"}, {"::1/129"},
		{"fe80::1/10"}, {"10.0.0.0/8:80/tcp"}, {"10.0.0.0/8:http"},
		{"10.0.0.0/99999999999999999999"}};

	return cr_make_param_array(struct bad, rows, sizeof(rows) / sizeof(rows[0]));
}

ParameterizedTest(struct bad *row, allow, text_that_is_no_rule_is_refused)
{
	struct qp_allow a = {0};
	struct qp_errmsg msg = {""};

	cr_assert_eq(qp_allow_add(&a, row->text, &msg), QP_E_INVAL, "%s", row->text);
	cr_assert_neq(msg.text[0], '\0');
}

Test(allow, nothing_given_nothing_is_allowed)
{
	const struct qp_allow a = {0};
	struct in6_addr addr;

	qp_ip_parse_text("127.0.0.1", &addr, NULL);
	cr_assert_not(qp_allow_check(&a, &addr, 80));
}

Test(allow, any_allows_everything)
{
	const struct qp_allow a = {.any = true};
	struct in6_addr addr;

	qp_ip_parse_text("2001:db8::1", &addr, NULL);
	cr_assert(qp_allow_check(&a, &addr, 1));
}

Test(allow, too_many_rules_the_last_is_refused)
{
	struct qp_allow a = {0};
	struct qp_errmsg msg;
	char text[32];

	for (unsigned i = 0; i < QP_ALLOW_RULES; i++) {
		snprintf(text, sizeof(text), "10.0.%u.%u", i / 256, i % 256);
		cr_assert_eq(qp_allow_add(&a, text, &msg), 0);
	}
	cr_assert_eq(qp_allow_add(&a, "10.9.9.9", &msg), QP_E_FULL);
	cr_assert_neq(msg.text[0], '\0');
}
