/* SPDX-License-Identifier: Apache-2.0 */
/* Command lines, environment, defaults, and what a person reads when they are wrong. */
#include "common/opt.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdlib.h>
#include <string.h>

/* Where the options of these tests put their values. */
static struct {
	const char *addr;
	uint32_t idle;
	bool quiet;
	int mode;
	struct qp_secret *psk;
	struct qp_target server;
	struct qp_opt_strings tags;
	struct qp_opt_strings positional;
	bool addr_given;
	struct qp_log_config log;
} v;

static const char *const modes[] = {"host", "nic", "none", NULL};

static const struct qp_opt opts[] = {
	QP_OPT_GROUP("Addresses:"),
	{.name = "data-plane-addr", .arg = "ADDR:PORT", .fallback = "0.0.0.0:39000",
		.help = "where clients reach the gateway", .parse = qp_opt_string, .value = &v.addr,
		.given = &v.addr_given},
	{.name = "server", .letter = 's', .arg = "HOST:PORT", .help = "the gateway",
		.parse = qp_opt_server, .value = &v.server},
	QP_OPT_GROUP("QUIC:"),
	{.name = "quic-idle-timeout", .arg = "SECONDS", .fallback = "90", .min = 1, .max = 86400,
		.help = "end a connection that was silent for so long", .parse = qp_opt_u32,
		.value = &v.idle},
	{.name = "no-public-api", .letter = 'n', .help = "serve no public API",
		.parse = qp_opt_flag, .value = &v.quiet},
	{.name = "mode", .arg = "MODE", .fallback = "host", .choices = modes, .help = "port mode",
		.parse = qp_opt_choice, .value = &v.mode},
	{.name = "psk", .arg = "KEY", .secret = true, .help = "pre-shared key",
		.parse = qp_opt_secret, .value = &v.psk},
	{.name = "tag", .arg = "TAG", .repeat = true, .help = "a tag", .parse = qp_opt_strings,
		.value = &v.tags},
	QP_OPT_LOG(&v.log),
	{0},
};

static const struct qp_opt_command cmd = {
	.name = "quicport test",
	.summary = "Does nothing, for tests of the command line's parser, in a sentence that is "
		   "longer than a line of a terminal.",
	.opts = opts,
};

static void
setup(void)
{
	cr_assert(eq(int, qp_keys_init(), QP_OK));
	clearenv();
	memset(&v, 0, sizeof(v));
}

static void
teardown(void)
{
	qp_secret_free(v.psk);
}

TestSuite(opt, .init = setup, .fini = teardown);

/* Parses words that are writable, as main's are. */
static int
parse(const struct qp_opt_command *c, struct qp_errmsg *msg, const char *line)
{
	static char text[512];
	char *argv[32] = {(char *)(uintptr_t)"ignored"}, *save = NULL;
	int argc = 1;

	snprintf(text, sizeof(text), "%s", line);
	for (char *w = strtok_r(text, " ", &save); w != NULL; w = strtok_r(NULL, " ", &save))
		argv[argc++] = w;
	return qp_opt_parse(c, argc, argv, msg);
}

static void
expect_error(const char *line, const char *error)
{
	struct qp_errmsg msg = {""};

	cr_expect(eq(int, parse(&cmd, &msg, line), QP_E_INVAL), "%s", line);
	cr_expect(eq(str, msg.text, (char *)error));
	cr_expect(eq(ptr, strchr(msg.text, '\n'), NULL));
}

Test(opt, defaults_apply_when_nothing_is_given)
{
	struct qp_errmsg msg;

	cr_assert(eq(int, parse(&cmd, &msg, ""), QP_OK), "%s", msg.text);
	cr_assert(eq(str, (char *)v.addr, "0.0.0.0:39000"));
	cr_assert(eq(u32, v.idle, 90));
	cr_assert(not(v.quiet));
	cr_assert(not(v.addr_given));
	cr_assert(eq(int, v.log.level, QP_LOG_INFO));
	cr_assert(eq(ptr, v.psk, NULL));
}

Test(opt, option_wins_over_variable_and_variable_over_default)
{
	struct qp_errmsg msg;

	setenv("QUICPORT_DATA_PLANE_ADDR", "127.0.0.1:1", 1);
	setenv("QUICPORT_QUIC_IDLE_TIMEOUT", "7", 1);
	setenv("QUICPORT_NO_PUBLIC_API", "yes", 1);
	setenv("QUICPORT_MODE", "", 1);
	setenv("QUICPORT_LOG", "trace", 1);
	cr_assert(eq(int, parse(&cmd, &msg, "--quic-idle-timeout=8"), QP_OK), "%s", msg.text);
	cr_assert(eq(str, (char *)v.addr, "127.0.0.1:1"));
	cr_assert(v.addr_given);
	cr_assert(eq(u32, v.idle, 8));
	cr_assert(v.quiet);
	cr_assert(eq(int, v.mode, 0), "an empty variable counts as unset");
	cr_assert(eq(int, v.log.level, QP_LOG_TRACE));
}

Test(opt, every_notation_of_an_option_is_taken)
{
	struct qp_errmsg msg;

	cr_assert(eq(int, parse(&cmd, &msg, "-ns gw:1 --mode nic --quic-idle 5 --tag=a --tag b "
					    "--log-format json"), QP_OK), "%s", msg.text);
	cr_assert(v.quiet);
	cr_assert(eq(str, v.server.host, "gw"));
	cr_assert(eq(int, v.mode, 1));
	cr_assert(eq(u32, v.idle, 5));
	cr_assert(eq(uint, v.tags.n, 2));
	cr_assert(eq(str, (char *)v.tags.v[1], "b"));
	cr_assert(eq(int, v.log.format, QP_LOG_JSON));
}

Test(opt, repeated_variable_is_split_at_commas)
{
	struct qp_errmsg msg;

	setenv("QUICPORT_TAG", "one, two,,three ", 1);
	cr_assert(eq(int, parse(&cmd, &msg, ""), QP_OK), "%s", msg.text);
	cr_assert(eq(uint, v.tags.n, 3));
	cr_assert(eq(str, (char *)v.tags.v[1], "two"));
	cr_assert(eq(str, (char *)v.tags.v[2], "three"));
}

Test(opt, bad_value_names_option_value_and_expectation)
{
	expect_error("--quic-idle-timeout abc",
		"--quic-idle-timeout 'abc': expected a number from 1 to 86400");
	expect_error("--quic-idle-timeout 0",
		"--quic-idle-timeout '0': expected a number from 1 to 86400");
	expect_error("--quic-idle-timeout 99999999999999999999999",
		"--quic-idle-timeout '99999999999999999999999': expected a number from 1 to 86400");
	expect_error("--mode x", "--mode 'x': expected host, nic or none");
	expect_error("-s localhost", "--server 'localhost': expected HOST:PORT, port 1 to 65535, "
				     "such as gateway.example:39000 or [2001:db8::1]:39000");
	expect_error("--log-level loud",
		"--log-level 'loud': expected error, warn, info, debug or trace, or some of them by module: info,auth=debug,http=warn");
	expect_error("--mode nic --mode host", "--mode: given more than once");
}

Test(opt, bad_variable_is_named_as_such)
{
	setenv("QUICPORT_QUIC_IDLE_TIMEOUT", "-1", 1);
	expect_error("", "QUICPORT_QUIC_IDLE_TIMEOUT '-1': expected a number from 1 to 86400");
	setenv("QUICPORT_NO_PUBLIC_API", "maybe", 1);
	expect_error("--quic-idle-timeout 5", "QUICPORT_NO_PUBLIC_API 'maybe': expected 1, true, "
					      "yes or on; or 0, false, no or off");
}

Test(opt, unknown_option_is_one_clear_line)
{
	expect_error("--nonsense", "unknown option '--nonsense' (quicport test --help lists them)");
	expect_error("--nonsense=5", "unknown option '--nonsense' (quicport test --help lists them)");
	expect_error("-x", "unknown option '-x' (quicport test --help lists them)");
	expect_error("-nx", "unknown option '-x' (quicport test --help lists them)");
	expect_error("-nxn", "unknown option '-x' (quicport test --help lists them)");
	expect_error("-x --mode nic", "unknown option '-x' (quicport test --help lists them)");
	expect_error("--mode nic -nxn --tag a",
		"unknown option '-x' (quicport test --help lists them)");
	expect_error("--log x", "option '--log' is short for more than one (quicport test --help "
				"lists them)");
	expect_error("--no-public-api=1", "--no-public-api takes no value");
}

Test(opt, missing_value_shows_the_form)
{
	expect_error("--mode", "--mode needs a value: --mode MODE");
	expect_error("--tag a --mode", "--mode needs a value: --mode MODE");
	expect_error("-s", "-s needs a value: -s HOST:PORT");
	expect_error("-ns", "-s needs a value: -s HOST:PORT");
}

Test(opt, positional_arguments_are_refused_unless_wanted)
{
	struct qp_opt_command with = cmd;
	struct qp_errmsg msg;

	expect_error("stray", "unexpected argument 'stray' (quicport test --help)");
	with.positional = &v.positional;
	cr_assert(eq(int, parse(&with, &msg, "a --mode nic b -- --mode"), QP_OK), "%s", msg.text);
	cr_assert(eq(uint, v.positional.n, 3));
	cr_assert(eq(str, (char *)v.positional.v[0], "a"));
	cr_assert(eq(str, (char *)v.positional.v[2], "--mode"));
}

Test(opt, secret_is_wiped_from_command_line_and_environment)
{
	char word[] = "--psk=hunter2", *argv[] = {(char *)(uintptr_t)"x", word, NULL};
	struct qp_errmsg msg;
	char *value;

	cr_assert(eq(int, qp_opt_parse(&cmd, 2, argv, &msg), QP_OK));
	cr_assert(eq(sz, v.psk->len, 7));
	cr_assert(eq(int, memcmp(v.psk->bytes, "hunter2", 7), 0));
	cr_assert(eq(str, word, "--psk="));
	setenv("QUICPORT_PSK", "hunter3", 1);
	value = getenv("QUICPORT_PSK");
	cr_assert(eq(int, parse(&cmd, &msg, ""), QP_OK));
	cr_assert(eq(int, memcmp(v.psk->bytes, "hunter3", 7), 0));
	cr_assert(eq(ptr, getenv("QUICPORT_PSK"), NULL));
	cr_assert(eq(chr, value[0], '\0'));
}

static int
refuse_all(const struct qp_opt *opt, const char *text, struct qp_errmsg *msg)
{
	(void)opt;
	(void)text;
	return qp_fail(msg, QP_E_INVAL, "something else");
}

Test(opt, secret_is_never_shown_in_an_error)
{
	const struct qp_opt secret[] = {{.name = "key", .arg = "K", .secret = true,
		.parse = refuse_all}, {0}};
	struct qp_opt_command c = {.name = "x", .opts = secret};
	struct qp_errmsg msg;

	cr_assert(eq(int, parse(&c, &msg, "--key hunter2"), QP_E_INVAL));
	cr_assert(eq(str, msg.text, "--key: expected something else"));
}

Test(opt, help_is_tidy_at_80_columns)
{
	char *page = NULL, *save = NULL;
	size_t len;
	FILE *f = open_memstream(&page, &len);

	qp_opt_help(&cmd, f);
	fclose(f);
	cr_assert(eq(int, strncmp(page, "Usage: quicport test [OPTION...]\n", 33), 0), "%s", page);
	cr_assert(ne(ptr, strstr(page, "\n Addresses:\n"), NULL));
	cr_assert(ne(ptr, strstr(page, "--data-plane-addr=ADDR:PORT"), NULL));
	cr_assert(ne(ptr, strstr(page, "QUICPORT_DATA_PLANE_ADDR]"), NULL));
	cr_assert(ne(ptr, strstr(page, "[default: 0.0.0.0:39000]"), NULL));
	cr_assert(ne(ptr, strstr(page, "-s, --server=HOST:PORT"), NULL));
	cr_assert(ne(ptr, strstr(page, "QUICPORT_LOG]"), NULL));
	cr_assert(ne(ptr, strstr(page, "--help"), NULL));
	cr_assert(eq(ptr, strstr(page, "Mandatory or optional"), NULL));
	for (char *l = strtok_r(page, "\n", &save); l != NULL; l = strtok_r(NULL, "\n", &save))
		cr_assert(le(sz, strlen(l), 80), "%s", l);
	free(page);
}

#define MANY 40
#define EPILOGUE "Files:\n  one   is a file\nSignals: there are some\n"

/* Options whose names and texts have all lengths. */
static void
make_many(struct qp_opt many[MANY + 1], char names[MANY][48], char help[MANY][128])
{
	static uint32_t value;

	for (int i = 0; i < MANY; i++) {
		int n = snprintf(names[i], sizeof(names[i]), "option-%c%c%.*s", 'a' + i / 26,
			'a' + i % 26, i % 17, "-with-a-long-name");

		for (int k = 0; k < (i * 7) % 100; k++)
			help[i][k] = k % 6 == 5 ? ' ' : 'x';
		many[i] = (struct qp_opt) {.name = names[i], .arg = i % 3 == 0 ? NULL : "SECONDS",
			.help = help[i], .parse = qp_opt_u32, .value = &value};
		cr_assert(lt(int, n, 48));
	}
}

static void
check_page(char *page, struct qp_opt many[MANY + 1])
{
	bool in_options = false, after_empty = false;
	char *next;
	int found = 0;

	for (char *l = page; l != NULL; l = next) {
		next = strchr(l, '\n');
		if (next != NULL)
			*next++ = '\0';
		if (strncmp(l, "      --", 8) == 0 && found < MANY &&
			strncmp(l + 8, many[found].name, strlen(many[found].name)) == 0)
			found++;
		in_options |= strncmp(l, "      --", 8) == 0;
		in_options &= !(after_empty && l[0] != '\0' && l[0] != ' ');
		cr_assert(le(sz, strlen(l), 80), "%s", l);
		cr_assert(not(in_options && l[0] != '\0' && l[0] != ' ' ), "%s", l);
		after_empty = l[0] == '\0';
	}
	cr_assert(not(in_options), "the epilogue is missing");
	cr_assert(eq(int, found, MANY), "%s is not where it should be", many[found].name);
}

Test(opt, help_is_tidy_however_long_what_goes_before_is)
{
	static char names[MANY][48], help[MANY][128];
	struct qp_opt many[MANY + 1] = {0};
	char summary[401], *page = NULL;
	size_t len;
	FILE *f;

	make_many(many, names, help);
	for (size_t n = 0; n < sizeof(summary) - 1; n++) {
		const struct qp_opt_command c = {.name = "quicport test", .summary = summary,
			.epilogue = EPILOGUE, .opts = many};

		summary[n] = n % 9 == 8 ? ' ' : 'y';
		summary[n + 1] = '\0';
		f = open_memstream(&page, &len);
		qp_opt_help(&c, f);
		fclose(f);
		cr_assert(ne(ptr, strstr(page, "\n\n" EPILOGUE), NULL), "%s", page);
		check_page(page, many);
		free(page);
	}
}

Test(opt, numbers_reach_their_bounds_and_no_further)
{
	uint64_t big = 0;
	uint32_t small = 0;
	const struct qp_opt o[] = {
		{.name = "big", .arg = "N", .parse = qp_opt_u64, .value = &big},
		{.name = "small", .arg = "N", .parse = qp_opt_u32, .value = &small}, {0}};
	struct qp_opt_command c = {.name = "x", .opts = o};
	struct qp_errmsg msg;

	cr_assert(eq(int, parse(&c, &msg, "--big 18446744073709551615 --small 4294967295"), QP_OK));
	cr_assert(eq(u64, big, UINT64_MAX));
	cr_assert(eq(u32, small, UINT32_MAX));
	cr_assert(eq(int, parse(&c, &msg, "--big 18446744073709551616"), QP_E_INVAL));
	cr_assert(eq(int, parse(&c, &msg, "--small 4294967296"), QP_E_INVAL));
}

Test(opt, typed_parsers_store_what_they_read)
{
	struct qp_sockaddr listen = {0};
	struct qp_target remote = {0}, local = {0};
	struct in6_addr ip;
	const struct qp_opt o[] = {
		{.name = "listen", .arg = "A", .parse = qp_opt_listen, .value = &listen},
		{.name = "remote", .letter = 'r', .arg = "P", .parse = qp_opt_port, .value = &remote},
		{.name = "local", .letter = 'l', .arg = "T", .parse = qp_opt_target, .value = &local},
		{.name = "ip", .arg = "IP", .parse = qp_opt_ip, .value = &ip}, {0}};
	struct qp_opt_command c = {.name = "x", .opts = o};
	struct qp_errmsg msg;

	cr_assert(eq(int, parse(&c, &msg, "--listen [::1]:7 -r 53/udp -l 10.0.0.1:53/udp --ip "
					  "192.0.2.7"), QP_OK), "%s", msg.text);
	cr_assert(eq(int, listen.sa.sa_family, AF_INET6));
	cr_assert(eq(int, (int)remote.protocol, QP_WIRE_UDP));
	cr_assert(eq(u16, remote.port, 53));
	cr_assert(eq(str, local.host, "10.0.0.1"));
	cr_assert(eq(u8, ip.s6_addr[15], 7));
	cr_assert(eq(int, parse(&c, &msg, "-r host:53"), QP_E_INVAL));
	cr_assert(eq(str, msg.text, "--remote 'host:53': expected PORT[/tcp|/udp], port 1 to 65535, "
				    "such as 9000, 9000/tcp or 5353/udp"));
	cr_assert(eq(int, parse(&c, &msg, "--listen localhost:1"), QP_E_INVAL));
	cr_assert(eq(int, parse(&c, &msg, "--ip localhost"), QP_E_INVAL));
	cr_assert(eq(int, parse(&c, &msg, "-l x"), QP_E_INVAL));
}

Test(opt, parse_or_exit_help_exits_with_0, .exit_code = 0)
{
	char *argv[] = {(char *)(uintptr_t)"x", (char *)(uintptr_t)"--help", NULL};

	freopen("/dev/null", "w", stdout);
	qp_opt_parse_or_exit(&cmd, 2, argv);
	exit(1);
}

Test(opt, parse_or_exit_error_exits_with_2, .exit_code = 2)
{
	char *argv[] = {(char *)(uintptr_t)"x", (char *)(uintptr_t)"--nonsense", NULL};

	qp_opt_parse_or_exit(&cmd, 2, argv);
}

/* Options before the command's word. */

static const char *
command_first(unsigned n, const char *const *words, char joined[128])
{
	static const char *const valued[] = {"--api", "--log-level", NULL};
	static const char *const flags[] = {"--json", NULL};
	char *argv[8];
	char *command;

	for (unsigned i = 0; i < n; i++)
		argv[i] = (char *)(uintptr_t)words[i];
	command = qp_opt_command_first((int)n, argv, valued, flags);
	joined[0] = '\0';
	for (unsigned i = 0; i < n; i++)
		snprintf(joined + strlen(joined), 128 - strlen(joined), "%s ", argv[i]);
	return command;
}

Test(opt, command_comes_before_the_options_that_stood_before_it)
{
	static const char *const before[] = {"--api", "URL", "--json", "--log-level=debug", "kick", "7"};
	static const char *const none[] = {"kick", "--api", "URL"};
	static const char *const longer[] = {"--apiary", "kick"};
	static const char *const alone[] = {"--json", "--api", "URL"};
	static const char *const cut[] = {"--api"};
	char joined[128];

	cr_expect(eq(str, (char *)command_first(6, before, joined), "kick"));
	cr_expect(eq(str, joined, "kick --api URL --json --log-level=debug 7 "));
	cr_expect(eq(str, (char *)command_first(3, none, joined), "kick"));
	cr_expect(eq(str, joined, "kick --api URL "));
	cr_expect(eq(str, (char *)command_first(2, longer, joined), "--apiary"));
	cr_expect(eq(ptr, (void *)(uintptr_t)command_first(3, alone, joined), NULL));
	cr_expect(eq(ptr, (void *)(uintptr_t)command_first(1, cut, joined), NULL));
}
