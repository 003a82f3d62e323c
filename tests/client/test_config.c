/* SPDX-License-Identifier: Apache-2.0 */
#include "client/config.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <string.h>

#include "tests/common/support.h"

static struct qpc_options o;
static struct qpc_config c;
static struct qp_errmsg msg;

static void
setup(void)
{
	scratch_make();
	o = (struct qpc_options) {
		.set = {.reconnect = true, .reconnect_delay_s = 1, .keep_alive_s = 5,
			.idle_timeout_s = 90, .udp_idle_timeout_s = 60}};
}

TestSuite(config, .init = setup, .fini = scratch_remove);

static int
load(const char *text)
{
	o.config = scratch_file("client.yml", text, 0600);
	return qpc_config_load(&o, &c, &msg);
}

#define HEAD "server: gw.example:39000\npsk: secret\n"

Test(config, whole_file_becomes_settings_and_forwards)
{
	cr_assert_eq(load(HEAD
		"insecure: yes\n"
		"reconnect: off\n"
		"reconnect-delay: 7\n"
		"reconnect-max-attempts: 3\n"
		"quic-keep-alive: 0\n"
		"quic-idle-timeout: 30\n"
		"udp-idle-timeout: 5\n"
		"memory-budget: 64\n"
		"forwards:\n"
		"  - name: ssh\n"
		"    remote-source: 9022\n"
		"    local-destination: 22\n"
		"  - local-source: 5353/udp\n"
		"    remote-destination: 10.0.0.5:53/udp\n"
		"    server: other.example:1\n"), 0, "%s", msg.text);
	cr_assert(c.set.insecure && !c.set.reconnect);
	cr_assert_eq(c.set.reconnect_delay_s, 7);
	cr_assert_eq(c.set.reconnect_max_attempts, 3);
	cr_assert_eq(c.set.keep_alive_s, 0);
	cr_assert_eq(c.set.idle_timeout_s, 30);
	cr_assert_eq(c.set.udp_idle_timeout_s, 5);
	cr_assert_eq(c.set.memory_budget_mib, 64);
	cr_assert_eq(c.specs.n, 2);
	cr_assert_str_eq(c.specs.v[0].name, "ssh");
	cr_assert_eq(c.specs.v[0].kind, QP_FORWARD_REMOTE);
	cr_assert_str_eq(c.specs.v[0].peer.server, "gw.example:39000");
	cr_assert_str_eq(c.specs.v[0].peer.psk, "secret");
	cr_assert_eq(c.specs.v[1].kind, QP_FORWARD_LOCAL);
	cr_assert_str_eq(c.specs.v[1].peer.server, "other.example:1");
	cr_assert_str_eq(c.specs.v[1].peer.psk, "secret");
	qpc_config_free(&c);
}

Test(config, option_wins_over_the_file)
{
	o.set.reconnect = true;
	o.given.reconnect = true;
	o.peer.server = "mine:1";
	cr_assert_eq(load(HEAD "reconnect: no\nforwards:\n"
		"  - {remote-source: 1, local-destination: 2}\n"), 0, "%s", msg.text);
	cr_assert(c.set.reconnect);
	cr_assert_str_eq(c.specs.v[0].peer.server, "mine:1");
	qpc_config_free(&c);
}

Test(config, forward_with_an_identity_of_its_own_takes_nothing_from_the_common_one)
{
	cr_assert_eq(load(HEAD "forwards:\n"
		"  - remote-source: 1\n    local-destination: 2\n"
		"    privkey-file: k\n    server-pubkey: p\n"), 0, "%s", msg.text);
	cr_assert_null(c.specs.v[0].peer.psk);
	cr_assert_str_eq(c.specs.v[0].peer.privkey_file, "k");
	cr_assert_str_eq(c.specs.v[0].peer.server, "gw.example:39000");
	qpc_config_free(&c);
}

/* A mistake, the line it is in, and what the message must name. */
struct mistake {
	char text[400];
	unsigned line;
	char names[2][80];
};

ParameterizedTestParameters(config, mistake_is_told_with_line_and_value)
{
	static struct mistake cases[] = {
		{HEAD "forwards:\n  - remote-source: 99999\n    local-destination: 2\n", 4,
			{"remote-source", "'99999'"}},
		{HEAD "forwards:\n  - remote-source: 1\n    local-destination: 2\n"
		      "  - remote-source: 3\n    local-destination: 'nowhere'\n", 7,
			{"local-destination", "'nowhere'"}},
		{HEAD "forwards:\n  - local-source: 1:2:3\n    remote-destination: 2\n", 4,
			{"local-source", "'1:2:3'"}},
		{HEAD "forwards:\n  - remote-source: 1\n", 4, {"local-destination", "remote-source"}},
		{HEAD "forwards:\n  - remote-source: 1\n    local-destination: 2\n    local-source: 3\n",
			4, {"either", "local-source"}},
		{HEAD "forwards:\n  - remote-source: 1\n    local-destination: 2\n    remote-sauce: 3\n",
			6, {"remote-sauce", "Unexpected"}},
		{HEAD "colour: blue\nforwards: []\n", 3, {"colour", "Unexpected"}},
		{HEAD "quic-keep-alive: often\n", 3, {"quic-keep-alive", "'often'"}},
		{HEAD "quic-keep-alive: 3601\nforwards: []\n", 3, {"quic-keep-alive", "3601"}},
		{HEAD "quic-idle-timeout: 0\nforwards: []\n", 3, {"quic-idle-timeout", "0 is not from 1"}},
		{HEAD "reconnect-delay: 61\nforwards: []\n", 3, {"reconnect-delay", "61"}},
		{HEAD "memory-budget: much\nforwards: []\n", 3, {"memory-budget"}},
		{HEAD "udp-idle-timeout: 86401\nforwards: []\n", 3, {"udp-idle-timeout", "86401"}},
		{HEAD "reconnect: maybe\nforwards: []\n", 3, {"reconnect", "'maybe'"}},
		{HEAD "\n\ninsecure: 2\nforwards: []\n", 5, {"insecure", "'2'"}},
		{HEAD "forwards: 7\n", 3, {"forwards", "SEQUENCE"}},
		{HEAD "forwards: [\n", 4, {"libyaml", ""}},
		{HEAD "forwards:\n\t- x\n", 4, {"libyaml", ""}},
	};

	return cr_make_param_array(struct mistake, cases, sizeof(cases) / sizeof(cases[0]));
}

ParameterizedTest(struct mistake *m, config, mistake_is_told_with_line_and_value)
{
	char place[200];

	cr_assert_eq(load(m->text), QP_E_INVAL, "taken:\n%s", m->text);
	snprintf(place, sizeof(place), "%s:%u: ", o.config, m->line);
	cr_expect_eq(strncmp(msg.text, place, strlen(place)), 0, "line %u: %s", m->line, msg.text);
	for (int i = 0; i < 2; i++)
		cr_expect_not_null(strstr(msg.text, m->names[i]), "%s: %s", m->names[i], msg.text);
	cr_expect_null(strchr(msg.text, '\n'));
	cr_expect_eq(c.specs.n, 0);
	cr_expect_null(c.data);
}

Test(config, file_without_a_forward_or_a_key_or_a_gateway_is_refused)
{
	cr_assert_eq(load(HEAD "forwards: []\n"), QP_E_INVAL);
	cr_assert_not_null(strstr(msg.text, "forwards"));
	cr_assert_eq(load(""), QP_E_INVAL);
	cr_assert_eq(load("psk: x\nforwards:\n  - {remote-source: 1, local-destination: 2}\n"),
		QP_E_INVAL);
	cr_assert_not_null(strstr(msg.text, "which gateway"));
	cr_assert_eq(load("server: a:1\nforwards:\n  - {remote-source: 1, local-destination: 2}\n"),
		QP_E_INVAL);
	cr_assert_not_null(strstr(msg.text, "--psk"));
}

Test(config, file_that_is_not_there_is_named)
{
	o.config = "/nonexistent/client.yml";
	cr_assert_eq(qpc_config_load(&o, &c, &msg), QP_E_NOTFOUND);
	cr_assert_not_null(strstr(msg.text, "/nonexistent/client.yml"));
}

Test(config, more_forwards_than_there_may_be_are_refused)
{
	static char text[32000];
	size_t n = (size_t)snprintf(text, sizeof(text), "%s", HEAD "forwards:\n");

	for (unsigned i = 0; i < QPC_MAX_FORWARDS + 1; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n,
			" - {remote-source: %u, local-destination: 2}\n", i + 1);
	cr_assert(load(text) != QP_OK);
	cr_assert_null(c.data);
}

Test(config, specs_that_differ_in_anything_are_not_the_same)
{
	struct qpc_spec a = {.name = "x", .remote = "1", .local = "2", .peer = {.server = "s:1", .psk = "p"}};
	struct qpc_spec b = a;

	cr_assert(qpc_spec_equal(&a, &b));
	b.peer.psk = "q";
	cr_assert(!qpc_spec_equal(&a, &b));
	b = a;
	b.local = "3";
	cr_assert(!qpc_spec_equal(&a, &b));
	b = a;
	b.name = NULL;
	cr_assert(!qpc_spec_equal(&a, &b));
	b = a;
	b.kind = QP_FORWARD_LOCAL;
	cr_assert(!qpc_spec_equal(&a, &b));
}
