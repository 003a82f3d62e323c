/* SPDX-License-Identifier: Apache-2.0 */
/* Configuration files: their keys, what they include, their mistakes, and the policy in them. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "controlplane/options.h"
#include "tests/common/support.h"

#define PRIVATE "mBJ3XsDyuJxqU2bk0XEa+rUH+XD1lYwMlx9xH8ZTMUg="
#define PUBLIC "IexqQqW8ngM33aoJWqheXfW+11hL6A3h6kpO8uNl9Ws="
#define OTHER "mBJ3XsDyuJxqU2bk0XEa+rUH+XD1lYwMlx9xH8ZTMUg="
#define KEY "privkey: " PRIVATE "\n"

static char dir[] = "/tmp/qpconfig-XXXXXX";
static struct qp_mistakes mistakes;

static void
start(void)
{
	cr_assert_eq(qp_keys_init(), 0);
	cr_assert_not_null(mkdtemp(dir));
	cr_assert_eq(chdir(dir), 0);
	for (char **e = environ; *e != NULL; e++)
		cr_assert(strncmp(*e, "QUICPORT_", 9) != 0);
}

static void
stop(void)
{
	char command[64];

	snprintf(command, sizeof(command), "rm -r %s", dir);
	cr_assert_eq(chdir("/"), 0);
	cr_assert_eq(system(command), 0);
}

TestSuite(config, .init = start, .fini = stop);

static void
write_file(const char *name, const char *text)
{
	FILE *f = fopen(name, "w");

	cr_assert(f != NULL && fchmod(fileno(f), 0600) == 0);
	cr_assert(fputs(text, f) >= 0 && fclose(f) == 0);
}

static void
write_repeated(const char *before, const char *text, const char *after, unsigned n)
{
	FILE *f = fopen("gateway.yaml", "w");

	cr_assert_not_null(f);
	fputs(before, f);
	while (n-- > 0)
		fputs(text, f);
	cr_assert(fputs(after, f) >= 0 && fclose(f) == 0);
}

static int
read_with(struct qp_options *o, const char *option, const struct qp_options_how *how)
{
	char name[] = "control-plane", config[] = "--config=gateway.yaml", more[64];
	char *argv[] = {name, config, more, NULL};
	struct qp_errmsg msg = {""};

	snprintf(more, sizeof(more), "%s", option != NULL ? option : "");
	return qp_options_read(o, option != NULL ? 3 : 2, argv, how, &msg);
}

static int
read_text(struct qp_options *o, const char *text)
{
	const struct qp_options_how how = {.mistakes = &mistakes};

	write_file("gateway.yaml", text);
	mistakes.n = 0;
	return read_with(o, NULL, &how);
}

/* The only mistake of a file. */
static const char *
mistake_of(const char *text)
{
	struct qp_policy *p;
	struct qp_options o;

	if (read_text(&o, text) == 0) {
		cr_assert_neq(qp_options_policy(&o, NULL, NULL, NULL, NULL, &p, &mistakes), 0,
			"there is no mistake in: %s", text);
		qp_options_free(&o);
	}
	cr_expect_eq(mistakes.n, 1u, "%u mistakes in: %s", mistakes.n, text);
	return mistakes.v[0].text;
}

static struct qp_policy *
policy_of(const char *text)
{
	struct qp_policy *p = NULL;
	struct qp_options o;

	cr_assert_eq(read_text(&o, text), 0, "%s", mistakes.v[0].text);
	cr_assert_eq(qp_options_policy(&o, NULL, NULL, NULL, NULL, &p, &mistakes), 0, "%s",
		mistakes.v[0].text);
	qp_options_free(&o);
	return p;
}

Test(config, options_in_a_file_are_taken)
{
	struct qp_options o;

	cr_assert_eq(read_text(&o,
			     "workers: 3\nquic-idle-timeout: 7\ntcp-pacing: yes\nbusy-poll: off\n"
			     "allow-local-forward: [10.0.0.0/8:443, 192.0.2.7]\n"
			     "reserved-ports: [22/tcp, 1-1023]\ninterface: eth0\n"), 0, "%s",
		mistakes.v[0].text);
	cr_expect_eq(o.workers, 3u);
	cr_expect_eq(o.idle_timeout_s, 7u);
	cr_expect(o.tcp_pacing && !o.busy_poll);
	cr_expect_eq(o.allow.n, 2u);
	cr_expect_eq(o.reserved_ports.n, 2u);
	cr_expect(o.interfaces.n == 1 && strcmp(o.interfaces.v[0], "eth0") == 0);
	cr_expect_eq(o.keep_alive_s, 5u, "a default stays");
	qp_options_free(&o);
}

Test(config, option_before_variable_before_file_before_default)
{
	struct qp_options o;

	write_file("gateway.yaml", "workers: 3\nmemory: 300\nquic-keep-alive: 33\n");
	setenv("QUICPORT_WORKERS", "4", 1);
	setenv("QUICPORT_MEMORY", "400", 1);
	cr_assert_eq(read_with(&o, "--workers=5", &(struct qp_options_how) {0}), 0);
	cr_expect_eq(o.workers, 5u, "option");
	cr_expect_eq(o.memory_mib, 400u, "variable");
	cr_expect_eq(o.keep_alive_s, 33u, "file");
	cr_expect_eq(o.idle_timeout_s, 90u, "default");
	qp_options_free(&o);
	unsetenv("QUICPORT_WORKERS");
	unsetenv("QUICPORT_MEMORY");
}

Test(config, mistakes_name_file_line_key_and_what_was_expected)
{
	static const struct {
		const char *text, *mistake;
	} cases[] = {
		{"\nworkers: 99\n", "gateway.yaml:2: workers '99': expected a number from 1 to "},
		{"wrokers: 2\n", "gateway.yaml:1: wrokers: unknown key: expected an option's name"},
		{"config: x\n", "gateway.yaml:1: config: unknown key"},
		{"workers: 1\nworkers: 2\n", "gateway.yaml:2: workers: expected once, but gateway.yaml:1"},
		{"workers:\n", "gateway.yaml:1: workers: expected a value"},
		{"workers: {a: 1}\n", "gateway.yaml:1: workers: expected a value"},
		{"- 1\n", "gateway.yaml:1: expected keys with values"},
		{"a: [\n", "gateway.yaml:2: not YAML: "},
		{"data-plane-addr: 0.0.0.0:0\n", "gateway.yaml:1: data-plane-addr: port 0"},
		{KEY "clients: [{name: a, public-key: x}]\n",
			"gateway.yaml:2: public-key: a key has 44"},
		{KEY "clients: [{public-key: " PUBLIC "}]\n", "gateway.yaml:2: clients: expected a name"},
		{KEY "clients: [{name: a}]\n", "gateway.yaml:2: clients: expected a public-key"},
		{KEY "clients: [{name: a, public-key: " PUBLIC ", group: g}]\n",
			"gateway.yaml:2: group: expected a group that is under `groups`"},
		{KEY "clients:\n - {name: a, public-key: " PUBLIC "}\n - {name: b, public-key: "
			PUBLIC "}\n", "gateway.yaml:4: "},
		{KEY "clients:\n - {name: a, public-key: " PUBLIC ", ports: [1, 70000]}\n",
			"gateway.yaml:3: ports '70000': expected ports such as"},
		{"psks: [{name: a, secret: x, secret-file: y}]\n",
			"gateway.yaml:1: psks: expected either a secret or a secret-file"},
		{"psks: [{name: a, secret-file: nofile}]\n", "gateway.yaml:1: secret-file: "},
		{"psks: [{name: a, secret: x, expires: tomorrow}]\n",
			"gateway.yaml:1: expires 'tomorrow': expected a time in UTC"},
		{"psks: [{name: a, secret: x, bandwidth-in: 1T}]\n",
			"gateway.yaml:1: bandwidth-in '1T': expected bits a second"},
		{"psks: [{name: a, secret: x, bandwidth-in: '1 '}]\n",
			"gateway.yaml:1: bandwidth-in '1 ': expected bits a second"},
		{"psks: [{name: a, secret: x, tunnels: -1}]\n",
			"gateway.yaml:1: tunnels '-1': expected a number"},
		{"psks: [{name: a, secret: x, prots: any}]\n", "gateway.yaml:1: prots: unknown key"},
		{"defaults: {tunnels: 1}\ndefaults: {tunnels: 2}\n",
			"gateway.yaml:2: defaults: expected them once, but gateway.yaml:1"},
		{"groups: [{name: a}, {name: a}]\n", "gateway.yaml:1: groups: expected each name once"},
		{"include: nothere.yaml\n",
			"gateway.yaml:1: include: expected a file, but there is no nothere.yaml"},
		{"clients: [{name: a, public-key: " PUBLIC "}]\n",
			"gateway.yaml: clients: expected the server's own key"},
		{"include: gateway.yaml\n", "gateway.yaml:1: include: expected each file once"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const char *got = mistake_of(cases[i].text);

		cr_expect(strncmp(got, cases[i].mistake, strlen(cases[i].mistake)) == 0,
			"\n%s: %s\nexpected: %s", cases[i].text, got, cases[i].mistake);
	}
}

Test(config, no_mistake_shows_a_secret)
{
	static const char *const texts[] = {
		"psk: [topsecret, topsecret]\n",
		"privkey: topsecret\nclients: []\nwrong: 1\n",
		"psks: [{name: a, secret: topsecret, ports: x}]\n",
		"psks: [{name: a, secret: topsecret}, {name: b, secret: topsecret}]\n",
		"psks: [{name: a, secrte: topsecret}]\n",
		"pks: topsecret\n",
		"psk: {topsecret: 1}\n",
		KEY "clients: [{name: a, public-key: topsecret}]\n",
	};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct qp_policy *p = NULL;
		struct qp_options o;

		if (read_text(&o, texts[i]) == 0) {
			cr_expect_neq(qp_options_policy(&o, NULL, NULL, NULL, NULL, &p, &mistakes), 0, "%s",
				texts[i]);
			qp_options_free(&o);
		}
		cr_expect_geq(mistakes.n, 1u, "%s", texts[i]);
		for (unsigned k = 0; k < mistakes.n; k++)
			cr_expect_null(strstr(mistakes.v[k].text, "topsecret"), "%s",
				mistakes.v[k].text);
	}
}

Test(config, a_file_without_a_size_is_read_to_its_end)
{
	struct qp_options o;

	mistakes.n = 0;
	unlink("gateway.yaml");
	cr_assert_eq(symlink("/proc/self/status", "gateway.yaml"), 0);
	cr_expect_neq(read_with(&o, NULL, &(struct qp_options_how) {.mistakes = &mistakes}), 0);
	cr_expect(strncmp(mistakes.v[0].text, "gateway.yaml:", 13) == 0, "%s", mistakes.v[0].text);
}

Test(config, all_mistakes_are_told_at_once)
{
	struct qp_options o;

	cr_expect_neq(read_text(&o, "workers: 99\ntcp-ecn: maybe\nnokey: 1\n"
				    "groups: [{name: a, ports: 99999}]\n"), 0);
	cr_expect_eq(mistakes.n, 4u);
}

Test(config, includes_are_relative_to_their_file_and_may_be_globs)
{
	struct qp_options o;

	cr_assert_eq(mkdir("[a]*", 0700), 0);
	cr_assert_eq(mkdir("[a]*/conf.d", 0700), 0);
	write_file("[a]*/first.yaml", "include: [conf.d/*.yaml, conf.d/*.none]\nworkers: 2\n");
	write_file("[a]*/conf.d/x.yaml", "memory: 64\n");
	write_file("[a]*/conf.d/y.yaml", "# nothing\n");
	cr_assert_eq(read_text(&o, "include: \"\\\\[a]*/first.yaml\"\n"), 0, "%s",
		mistakes.v[0].text);
	cr_expect_eq(o.workers, 2u);
	cr_expect_eq(o.memory_mib, 64u);
	cr_expect_eq(qp_config_count(o.file).files, 4u);
	cr_expect_null(qp_config_file(o.file, 4));
	cr_expect_str_eq(qp_config_folder(o.file, 0), "", "the wildcard of gateway.yaml");
	cr_expect_str_eq(qp_config_folder(o.file, 1), "[a]*/conf.d/");
	cr_expect_null(qp_config_folder(o.file, 2));
	qp_options_free(&o);
}

Test(config, includes_that_go_round_or_too_deep_end)
{
	char name[32], text[64];

	write_file("a.yaml", "include: b.yaml\n");
	write_file("b.yaml", "include: a.yaml\n");
	cr_expect_not_null(strstr(mistake_of("include: a.yaml\n"),
		"b.yaml:1: include: expected each file once"));
	for (int i = 1; i < 10; i++) {
		snprintf(name, sizeof(name), "%d.yaml", i);
		snprintf(text, sizeof(text), "include: %d.yaml\n", i + 1);
		write_file(name, text);
	}
	cr_expect_not_null(strstr(mistake_of("include: 1.yaml\n"), "files 8 deep at most"));
}

Test(config, grants_of_client_over_group_over_defaults)
{
	struct qp_policy *p = policy_of(KEY
		"defaults: {ports: none, tunnels: 1, bandwidth-in: 8M}\n"
		"groups: [{name: homes, ports: [9000-9099/tcp, 53/udp], tunnels: 4, sources: [198.51.100.0/24]}]\n"
		"clients:\n"
		"  - {name: alice, public-keys: [" PUBLIC "], group: homes, tunnels: 0,\n"
		"     expires: 2027-01-01T00:00:00Z, local-forwards: 10.0.0.0/8:443}\n"
		"psks:\n"
		"  - {name: shop, secret: topsecret, connections-per-second: 7, ports: any}\n");
	const struct qp_policy_client *alice = qp_policy_by_name(p, "alice");
	const struct qp_policy_client *shop = qp_policy_by_name(p, "shop");
	const struct qp_secret *secret;
	uint8_t key[QP_KEY_BYTES];

	cr_assert(alice != NULL && shop != NULL && qp_policy_count(p) == 2);
	cr_assert_eq(qp_key_parse(PUBLIC, strlen(PUBLIC), key), 0);
	cr_expect_eq(qp_policy_by_key(p, key), alice);
	cr_expect_str_eq(alice->group, "homes");
	cr_expect_str_eq(alice->origin, "gateway.yaml:5");
	cr_expect(qp_grants_allow_port(&alice->grants, 1, 9099));
	cr_expect_not(qp_grants_allow_port(&alice->grants, 2, 9099));
	cr_expect(qp_grants_allow_port(&alice->grants, 2, 53));
	cr_expect_eq(alice->grants.limits.tunnels, 0u, "its own: no limit");
	cr_expect_eq(alice->grants.limits.in_bytes_per_s, 1000000u, "of defaults");
	cr_expect_eq(alice->grants.nsources, 1u, "of the group");
	cr_expect_eq(alice->grants.expires_at, 1798761600u);
	cr_expect(alice->grants.locals != NULL && alice->grants.locals->n == 1);
	cr_expect_eq(qp_policy_npsks(p), 1u);
	cr_expect_eq(qp_policy_psk(p, 0, &secret), shop);
	cr_expect(secret->len == 9 && memcmp(secret->bytes, "topsecret", 9) == 0);
	cr_expect(shop->grants.any_port && shop->grants.limits.conns_per_s == 7);
	cr_expect_eq(shop->grants.limits.tunnels, 1u);
	cr_expect_null(shop->grants.locals);
	qp_policy_free(p);
}

Test(config, keys_of_options_get_the_defaults)
{
	struct qp_policy *p = policy_of(KEY "defaults: {ports: 80}\nclient-pubkeys: [" PUBLIC "]\n");
	const struct qp_policy_client *c;

	cr_assert_eq(qp_policy_count(p), 1u);
	c = qp_policy_at(p, 0);
	cr_expect_str_eq(c->name, "IexqQqW8");
	cr_expect(qp_grants_allow_port(&c->grants, 1, 80));
	cr_expect_not(qp_grants_allow_port(&c->grants, 1, 81));
	qp_policy_free(p);
}

Test(config, a_key_in_the_file_and_among_the_options_is_the_files)
{
	struct qp_policy *p = policy_of(KEY "client-pubkeys: " PUBLIC "\n"
					    "clients: [{name: alice, public-key: " PUBLIC "}]\n");

	cr_expect_eq(qp_policy_count(p), 1u);
	cr_expect_not_null(qp_policy_by_name(p, "alice"));
	qp_policy_free(p);
}

static void
write_clients(unsigned n)
{
	FILE *f = fopen("gateway.yaml", "w");
	uint8_t key[QP_KEY_BYTES] = {0};
	char text[QP_KEY_TEXT_BYTES];

	cr_assert_not_null(f);
	fputs(KEY "groups:\n  - {name: homes, ports: [9000-9099/tcp], tunnels: 2}\nclients:\n", f);
	for (unsigned i = 0; i < n; i++) {
		memcpy(key, &i, sizeof(i));
		qp_key_format(key, text);
		fprintf(f, "  - name: client-%u\n    public-key: %s\n    group: homes\n"
			   "    ports: [%u/tcp]\n    connections: 100\n    bandwidth-in: 10M\n",
			i, text, 10000 + i % 50000);
	}
	cr_assert_eq(fclose(f), 0);
}

static uint64_t
cpu_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

Test(config, ten_thousand_clients_are_read_in_under_a_second)
{
	uint64_t before, ms;
	struct qp_policy *p = NULL;
	struct qp_options o;

	write_clients(10000);
	before = cpu_ms();
	cr_assert_eq(read_with(&o, NULL, &(struct qp_options_how) {0}), 0);
	cr_assert_eq(qp_options_policy(&o, NULL, NULL, NULL, NULL, &p, &mistakes), 0);
	ms = cpu_ms() - before;
	fprintf(stderr, "10,000 clients: %u ms of CPU time\n", (unsigned)ms);
	cr_expect_eq(qp_policy_count(p), 10000u);
#ifndef __SANITIZE_ADDRESS__
	cr_expect_lt(ms, 1000u, "it took %u ms", (unsigned)ms);
#endif
	qp_options_free(&o);
	qp_policy_free(p);
}

Test(config, mangled_files_are_refused_without_long_thought)
{
	static const struct {
		const char *before, *text, *after, *mistake;
	} cases[] = {
		{"a: ", "[", "", "gateway.yaml:1: not YAML: more than 64 levels deep"},
		{"a: ", "{a: ", "", "gateway.yaml:1: not YAML: more than 64 levels deep"},
		{"psks:\n [{a: 1", ", a: 1", "}]\n", "gateway.yaml:2: psks: expected 32 keys at most"},
		{"interface:\n", " - x\n", "", "gateway.yaml:66: interface 'x': expected at most 64 of it"},
	};
	struct qp_policy *p = NULL;
	struct qp_options o;
	uint64_t before = cpu_ms();

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		write_repeated(cases[i].before, cases[i].text, cases[i].after, 100000);
		mistakes.n = 0;
		if (read_with(&o, NULL, &(struct qp_options_how) {.mistakes = &mistakes}) == 0) {
			cr_expect_neq(qp_options_policy(&o, NULL, NULL, NULL, NULL, &p, &mistakes), 0);
			qp_options_free(&o);
		}
		cr_expect(strncmp(mistakes.v[0].text, cases[i].mistake, strlen(cases[i].mistake)) == 0,
			"%s", mistakes.v[0].text);
	}
#ifndef __SANITIZE_ADDRESS__
	cr_expect_lt(cpu_ms() - before, 2000u);
#endif
}

struct change {
	char name[64], was[64], is[64];
	unsigned n;
};

static void
take_change(void *ctx, const char *name, const char *was, const char *is)
{
	struct change *c = ctx;

	snprintf(c->name, sizeof(c->name), "%s", name);
	snprintf(c->was, sizeof(c->was), "%s", was);
	snprintf(c->is, sizeof(c->is), "%s", is);
	c->n++;
}

Test(config, read_again_tells_what_changed)
{
	struct qp_options before, after;
	struct change c = {.n = 0};

	cr_assert_eq(read_text(&before, "workers: 2\npsk: topsecret\ninterface: [a, b]\n"), 0);
	write_file("gateway.yaml", "workers: 2\npsk: topsecret\ninterface: [a, c]\n");
	cr_assert_eq(read_with(&after, NULL, &(struct qp_options_how) {.before = &before}), 0);
	qp_settings_compare(&before.settings, &after.settings, take_change, &c);
	cr_expect_eq(c.n, 1u);
	cr_expect_str_eq(c.name, "interface");
	cr_expect_str_eq(c.was, "a,b");
	cr_expect_str_eq(c.is, "a,c");
	qp_options_free(&after);
	write_file("gateway.yaml", "workers: 2\npsk: topsecret2\ninterface: [a, b]\n");
	cr_assert_eq(read_with(&after, NULL, &(struct qp_options_how) {.before = &before}), 0);
	qp_settings_compare(&before.settings, &after.settings, take_change, &c);
	cr_expect_eq(c.n, 2u);
	cr_expect_str_eq(c.name, "psk");
	cr_expect_str_eq(c.is, "(secret)");
	qp_options_free(&after);
	qp_options_free(&before);
}

Test(config, a_secret_of_the_command_line_counts_in_a_reload_too)
{
	struct qp_options before, after;
	char name[] = "control-plane", config[] = "--config=gateway.yaml", psk[] = "--psk=onthecommandline";
	char *argv[] = {name, config, psk, NULL};
	struct change c = {.n = 0};
	struct qp_errmsg msg;

	write_file("gateway.yaml", "psk: inthefile\n");
	cr_assert_eq(qp_options_read(&before, 3, argv, &(struct qp_options_how) {0}, &msg), 0);
	cr_assert_not_null(before.psk);
	cr_expect_str_eq((const char *)before.psk->bytes, "onthecommandline");
	cr_assert_eq(qp_options_read(&after, 3, argv, &(struct qp_options_how) {.before = &before},
			     &msg), 0, "%s", msg.text);
	cr_expect_null(after.psk, "it was wiped, and the file's does not count");
	qp_settings_compare(&before.settings, &after.settings, take_change, &c);
	cr_expect_eq(c.n, 0u);
	qp_options_free(&after);
	qp_options_free(&before);
}
