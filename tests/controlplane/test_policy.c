/* SPDX-License-Identifier: Apache-2.0 */
/* Who is in a policy and who cannot be; what grants say; their words, hostile ones too. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <sodium.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/addr.h"
#include "controlplane/policy.h"

static struct qp_policy *p;
static struct qp_errmsg msg;
static const struct qp_grants anything = {.any_port = true};

static void
start(void)
{
	cr_assert_eq(qp_keys_init(), 0);
	p = qp_policy_new();
	cr_assert_not_null(p);
	msg.text[0] = '\0';
}

static void
stop(void)
{
	qp_policy_free(p);
}

TestSuite(policy, .init = start, .fini = stop);

static void
key_of(unsigned i, uint8_t key[QP_KEY_BYTES])
{
	crypto_generichash(key, QP_KEY_BYTES, (const uint8_t *)&i, sizeof(i), NULL, 0);
}

static void
add(const char *name, unsigned i)
{
	uint8_t key[QP_KEY_BYTES];

	key_of(i, key);
	cr_assert_eq(qp_policy_add_key(p, name, NULL, "gw.yaml:7", key, &anything, &msg), 0, "%s",
		msg.text);
}

static int
add_psk(const char *name, const char *secret)
{
	return qp_policy_add_psk(p, name, NULL, "gw.yaml:9", qp_secret_new(secret, strlen(secret)),
		&anything, &msg);
}

Test(policy, client_is_found_by_key_name_and_id)
{
	const struct qp_policy_client *c;
	uint8_t key[QP_KEY_BYTES];

	add("alice", 1);
	add("bob", 2);
	key_of(1, key);
	c = qp_policy_by_key(p, key);
	cr_assert_not_null(c);
	cr_expect_str_eq(c->name, "alice");
	cr_expect_str_eq(c->origin, "gw.yaml:7");
	cr_expect_eq(c->kind, QP_CLIENT_KEY);
	cr_expect_eq(qp_policy_by_name(p, "alice"), c);
	cr_expect_eq(qp_policy_by_id(p, c->id), c);
	cr_expect_null(qp_policy_by_name(p, "alic"));
	key[31] ^= 1;
	cr_expect_null(qp_policy_by_key(p, key));
}

Test(policy, grants_are_a_copy)
{
	struct qp_port_range range = {.protocol = 1, .first = 80, .last = 80};
	struct qp_msg_network net = {.prefix = 96};
	struct qp_allow *locals = calloc(1, sizeof(*locals));
	const struct qp_grants *g;
	uint8_t key[QP_KEY_BYTES];

	cr_assert_eq(qp_allow_add(locals, "10.0.0.0/8:443", NULL), 0);
	key_of(1, key);
	cr_assert_eq(qp_policy_add_key(p, "a", "homes", NULL, key,
			     &(struct qp_grants) {.nports = 1,
				     .ports = &range,
				     .locals = locals,
				     .nsources = 1,
				     .sources = &net,
				     .limits = {.tunnels = 4},
				     .expires_at = 77},
			     &msg), 0);
	range.first = range.last = 81;
	net.prefix = 0;
	free(locals);
	g = &qp_policy_by_name(p, "a")->grants;
	cr_expect(qp_grants_allow_port(g, 1, 80));
	cr_expect_eq(g->sources[0].prefix, 96);
	cr_expect_eq(g->locals->rule[0].first, 443);
	cr_expect_eq(g->limits.tunnels, 4u);
	cr_expect_str_eq(qp_policy_by_name(p, "a")->group, "homes");
}

Test(policy, client_without_name_is_called_by_its_key)
{
	char text[QP_KEY_TEXT_BYTES], name[9];
	uint8_t key[QP_KEY_BYTES];
	const struct qp_policy_client *c;

	add(NULL, 1);
	key_of(1, key);
	qp_key_format(key, text);
	snprintf(name, sizeof(name), "%.8s", text);
	cr_expect_str_eq(qp_policy_by_key(p, key)->name, name);
	/* Another key that begins alike gets a longer name. */
	key[31] ^= 1;
	cr_assert_eq(qp_policy_add_key(p, NULL, NULL, NULL, key, &anything, &msg), 0);
	c = qp_policy_by_key(p, key);
	cr_expect_eq(strlen(c->name), 9u);
	cr_expect_eq(strncmp(c->name, text, 9), 0);
}

static void
expect_refused(int err, const char *first, const char *second)
{
	cr_expect_eq(err, QP_E_INVAL);
	cr_expect_not_null(strstr(msg.text, first), "“%s” does not name %s", msg.text, first);
	cr_expect_not_null(strstr(msg.text, second), "“%s” does not name %s", msg.text, second);
}

Test(policy, what_is_there_already_is_refused_by_both_places)
{
	uint8_t key[QP_KEY_BYTES];

	add("alice", 1);
	key_of(2, key);
	expect_refused(qp_policy_add_key(p, "alice", NULL, "other.yaml:3", key, &anything, &msg),
		"gw.yaml:7", "other.yaml:3");
	key_of(1, key);
	expect_refused(qp_policy_add_key(p, "bob", NULL, "other.yaml:4", key, &anything, &msg),
		"gw.yaml:7", "other.yaml:4");
	expect_refused(qp_policy_add_another_key(p, "alice", "other.yaml:5", key, &msg),
		"gw.yaml:7", "other.yaml:5");
	expect_refused(qp_policy_add_psk(p, "alice", NULL, "other.yaml:6", qp_secret_new("x", 1),
			       &anything, &msg),
		"gw.yaml:7", "other.yaml:6");
	cr_expect_eq(qp_policy_count(p), 1u);
	cr_expect_eq(qp_policy_npsks(p), 0u);
}

Test(policy, keys_roll_over)
{
	uint8_t key[QP_KEY_BYTES];

	add("alice", 1);
	key_of(2, key);
	cr_assert_eq(qp_policy_add_another_key(p, "alice", NULL, key, &msg), 0);
	cr_expect_eq(qp_policy_by_key(p, key), qp_policy_by_name(p, "alice"));
	cr_expect_eq(qp_policy_count(p), 1u);
	key_of(3, key);
	cr_expect_eq(qp_policy_add_another_key(p, "bob", NULL, key, &msg), QP_E_INVAL);
}

Test(policy, names_that_would_harm_a_log_or_a_label_are_refused)
{
	static const char *const bad[] = {"", "a b", "a\n", "a\"", "caf\xc3\xa9", "a/b", "{}", "a,b"};
	char longest[QP_POLICY_NAME_BYTES + 1];
	uint8_t key[QP_KEY_BYTES];

	key_of(1, key);
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		cr_expect_eq(qp_policy_add_key(p, bad[i], NULL, NULL, key, &anything, &msg),
			QP_E_INVAL, "“%s” is taken", bad[i]);
	memset(longest, 'a', sizeof(longest));
	longest[QP_POLICY_NAME_BYTES] = '\0';
	cr_expect_eq(
		qp_policy_add_key(p, longest, NULL, NULL, key, &anything, &msg), QP_E_INVAL);
	longest[QP_POLICY_NAME_BYTES - 1] = '\0';
	cr_expect_eq(qp_policy_add_key(p, longest, NULL, NULL, key, &anything, &msg), 0);
}

Test(policy, psks_are_told_by_their_number)
{
	const struct qp_secret *secret;

	cr_assert_eq(add_psk("shop", "one"), 0);
	cr_assert_eq(add_psk("home", "two"), 0);
	cr_assert_eq(qp_policy_npsks(p), 2u);
	cr_expect_str_eq(qp_policy_psk(p, 1, &secret)->name, "home");
	cr_expect_eq(memcmp(secret->bytes, "two", 3), 0);
	cr_expect_eq(qp_policy_psk(p, 0, &secret)->kind, QP_CLIENT_PSK);
	expect_refused(add_psk("third", "one"), "shop", "third");
	cr_expect_null(strstr(msg.text, "one"), "a secret is shown");
	cr_expect_eq(add_psk("empty", ""), QP_E_INVAL);
}

Test(policy, psks_are_bounded)
{
	char name[16];

	for (unsigned i = 0; i < QP_POLICY_PSKS; i++) {
		snprintf(name, sizeof(name), "psk%u", i);
		cr_assert_eq(add_psk(name, name), 0);
	}
	cr_expect_eq(add_psk("more", "more"), QP_E_FULL);
	cr_expect_eq(qp_policy_count(p), QP_POLICY_PSKS);
}

Test(policy, id_follows_from_the_name)
{
	struct qp_policy *later = qp_policy_new();
	uint8_t key[QP_KEY_BYTES];

	add("alice", 1);
	add("bob", 2);
	key_of(9, key);
	cr_assert_eq(qp_policy_add_key(later, "bob", NULL, NULL, key, &anything, &msg), 0);
	cr_expect_eq(qp_policy_by_name(later, "bob")->id, qp_policy_by_name(p, "bob")->id);
	cr_expect_neq(qp_policy_by_name(p, "alice")->id, qp_policy_by_name(p, "bob")->id);
	qp_policy_free(later);
}

Test(policy, names_of_one_hash_have_two_ids_that_stay)
{
	/* Found by search: both hash to one number. */
	static const char *const twins[] = {"c1573", "c257437"};
	struct qp_policy *later = qp_policy_new();
	uint32_t id[2];
	uint8_t key[QP_KEY_BYTES];

	add(twins[0], 1);
	add(twins[1], 2);
	for (unsigned i = 0; i < 2; i++)
		id[i] = qp_policy_by_name(p, twins[i])->id;
	cr_assert_eq(id[0] + 1, id[1], "%u and %u: no twins", id[0], id[1]);
	/* In the other order, as a reload may have it. */
	for (unsigned i = 2; i-- > 0;) {
		key_of(i, key);
		cr_assert_eq(qp_policy_add_key(later, twins[i], NULL, NULL, key, &anything, &msg), 0);
	}
	for (unsigned i = 0; i < 2; i++)
		cr_expect_eq(qp_policy_by_name(later, twins[i])->id, id[i]);
	qp_policy_free(later);
}

Test(policy, list_is_sorted_whenever_asked)
{
	add("bob", 1);
	add("carol", 2);
	cr_expect_str_eq(qp_policy_at(p, 0)->name, "bob");
	add("alice", 3);
	for (unsigned i = 0; i < 3; i++)
		cr_expect_str_eq(qp_policy_at(p, i)->name,
			((const char *[]) {"alice", "bob", "carol"})[i]);
}

static double
now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void
add_many(struct qp_policy *to, unsigned n)
{
	char name[16];
	uint8_t key[QP_KEY_BYTES];

	for (unsigned i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "client%u", i);
		key_of(i, key);
		cr_assert_eq(qp_policy_add_key(to, name, NULL, NULL, key, &anything, &msg), 0);
	}
}

#define LOOKUPS 2000u

/* Seconds a lookup; the best of some rounds, so that a busy machine does not count. */
static double
lookup_s(const struct qp_policy *in, unsigned n, bool known)
{
	static uint8_t key[LOOKUPS][QP_KEY_BYTES];
	double best = 1, took;
	unsigned found;

	for (unsigned i = 0; i < LOOKUPS; i++)
		key_of(known ? i * 5 % n : n + i, key[i]);
	for (unsigned round = 0; round < 9; round++) {
		found = 0;
		took = now_s();
		for (unsigned i = 0; i < LOOKUPS; i++)
			found += qp_policy_by_key(in, key[i]) != NULL;
		took = now_s() - took;
		best = took < best ? took : best;
		cr_assert_eq(found, known ? LOOKUPS : 0u);
	}
	return best / LOOKUPS;
}

Test(policy, ten_thousand_clients_cost_no_more_to_look_up_than_a_hundred)
{
	struct qp_policy *small = qp_policy_new();
	double began = now_s(), loaded, few, many, unknown;

	add_many(p, 10000);
	loaded = now_s() - began;
	add_many(small, 100);
	few = lookup_s(small, 100, true);
	many = lookup_s(p, 10000, true);
	unknown = lookup_s(p, 10000, false);
	fprintf(stderr, "made in %.1f ms; a lookup: %.0f ns of 100, %.0f ns of 10,000, unknown %.0f ns\n",
		loaded * 1e3, few * 1e9, many * 1e9, unknown * 1e9);
	cr_expect_eq(qp_policy_count(p), 10000u);
	cr_expect_lt(loaded, 0.5);
	/* Caches are smaller than 10,000 clients; a search through them would be 100 times as long. */
	cr_expect_lt(many, few * 8);
	cr_expect_lt(unknown, few * 8);
	qp_policy_free(small);
}

struct range_row {
	char text[64];
	uint8_t protocol;
	uint16_t port;
	bool yes;
};

ParameterizedTestParameters(ports, words_say)
{
	static struct range_row rows[] = {
		{"9000-9099/tcp", 1, 9000, true},
		{"9000-9099/tcp", 1, 9099, true},
		{"9000-9099/tcp", 1, 9100, false},
		{"9000-9099/tcp", 1, 8999, false},
		{"9000-9099/tcp", 2, 9050, false},
		{"53/udp", 2, 53, true},
		{"53/udp", 1, 53, false},
		{"8080", 1, 8080, true},
		{"8080", 2, 8080, true},
		{"8080", 2, 8081, false},
		{"1-65535", 1, 65535, true},
		{" 80 , 443/TCP ", 1, 443, true},
		{" 80 , 443/TCP ", 2, 443, false},
		{"any", 2, 1, true},
		{"80,any", 2, 1, true},
		{"none", 1, 80, false},
	};

	return cr_make_param_array(struct range_row, rows, sizeof(rows) / sizeof(rows[0]));
}

ParameterizedTest(struct range_row *row, ports, words_say)
{
	struct qp_port_range *list = NULL;
	struct qp_grants g = {0};

	cr_assert_eq(qp_port_ranges_parse(row->text, &g.any_port, &list, &g.nports, &msg), 0, "%s",
		msg.text);
	g.ports = list;
	cr_expect_eq(qp_grants_allow_port(&g, row->protocol, row->port), row->yes, "%s, %u of %u",
		row->text, row->port, row->protocol);
	free(list);
}

Test(ports, hostile_words_are_refused)
{
	static const char *const bad[] = {"", " ", ",", "80,", ",80", "0", "0-80", "65536", "80-79",
		"80-", "-80", "80--90", "80/", "80/sctp", "80/tcp/udp", "80 81", "+80", "0x50",
		"4294967376", "99999999999999999999999999", "80\x01", "none,80", "80,none", "any/tcp",
		"80;81", "\xff\xfe", "80-90-100", "80/tcpx", "anything"};

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct qp_port_range *list = NULL;
		unsigned n = 0;
		bool any = false;

		cr_expect_eq(qp_port_ranges_parse(bad[i], &any, &list, &n, &msg), QP_E_INVAL,
			"“%s” is taken", bad[i]);
		cr_expect_not(any, "“%s” means any port", bad[i]);
		cr_expect_not_null(strstr(msg.text, "9000-9099/tcp"), "%s", msg.text);
		free(list);
	}
}

Test(ports, number_of_ranges_is_bounded)
{
	struct qp_port_range *list = NULL;
	unsigned n = 0;
	bool any = false;
	char *text = calloc(100000, 2);

	for (unsigned i = 0; i < 100000; i++)
		memcpy(text + 2 * i, i == 99999 ? "1" : "1,", i == 99999 ? 1 : 2);
	cr_expect_eq(qp_port_ranges_parse(text, &any, &list, &n, &msg), QP_E_INVAL);
	cr_expect_lt(n, 2000u);
	free(list);
	free(text);
}

Test(grants, expiry_is_over_at_its_second)
{
	struct qp_grants g = {.expires_at = 100};

	cr_expect_not(qp_grants_expired(&g, 99));
	cr_expect(qp_grants_expired(&g, 100));
	g.expires_at = 0;
	cr_expect_not(qp_grants_expired(&g, UINT64_MAX));
}

struct net_row {
	char text[48];
	char addr[48];
	uint8_t prefix;
};

ParameterizedTestParameters(network, words_say)
{
	static struct net_row rows[] = {
		{"198.51.100.0/24", "198.51.100.0", 120},
		{"0.0.0.0/0", "0.0.0.0", 96},
		{"192.0.2.7", "192.0.2.7", 128},
		{"2001:db8::/32", "2001:db8::", 32},
		{"::/0", "::", 0},
		{"2001:db8::1", "2001:db8::1", 128},
		{"2001:db8::/128", "2001:db8::", 128},
	};

	return cr_make_param_array(struct net_row, rows, sizeof(rows) / sizeof(rows[0]));
}

ParameterizedTest(struct net_row *row, network, words_say)
{
	struct qp_msg_network net;
	struct in6_addr want;

	cr_assert_eq(qp_network_parse(row->text, &net, &msg), 0, "%s: %s", row->text, msg.text);
	cr_assert_eq(qp_ip_parse_text(row->addr, &want, NULL), 0);
	cr_expect_arr_eq(net.addr, want.s6_addr, 16);
	cr_expect_eq(net.prefix, row->prefix);
}

Test(network, hostile_words_are_refused)
{
	static const char *const bad[] = {"", "/", "/24", "198.51.100.0/", "198.51.100.0/33",
		"198.51.100.0/-1", "198.51.100.0/24x", "198.51.100.0/ 24", "198.51.100.1/24",
		"198.51.100/24", "2001:db8::/129", "2001:db8::1/32", "example.com", "any", "*",
		"198.51.100.0/4294967320", "198.51.100.0/24/24",
		"1111:1111:1111:1111:1111:1111:1111:1111:1111:1111:1111:1111:1111", "\xff"};
	struct qp_msg_network net;

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		msg.text[0] = '\0';
		cr_expect_eq(qp_network_parse(bad[i], &net, &msg), QP_E_INVAL, "“%s” is taken",
			bad[i]);
		cr_expect_not_null(strstr(msg.text, "network"), "%s", msg.text);
	}
}
