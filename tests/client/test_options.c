/* SPDX-License-Identifier: Apache-2.0 */
#include "client/options.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <stdlib.h>
#include <string.h>

#include "common/opt.h"
#include "tests/common/support.h"

#define KEY "mBJ3XsDyuJxqU2bk0XEa+rUH+XD1lYwMlx9xH8ZTMUg="
#define PUB "IexqQqW8ngM33aoJWqheXfW+11hL6A3h6kpO8uNl9Ws="

static struct qpc_options o;

/* The only forward of the command line. */
static const struct qpc_spec *
only(void)
{
	cr_assert_eq(o.specs.n, 1);
	return &o.specs.v[0];
}
static struct qp_errmsg msg;

/* Words separated by blanks, "client" in front. */
static int
parse(const char *line)
{
	static char copy[1024];
	char *argv[40], *save = NULL;
	int argc = 0;

	snprintf(copy, sizeof(copy), "client %s", line);
	for (char *w = strtok_r(copy, " ", &save); w != NULL; w = strtok_r(NULL, " ", &save))
		argv[argc++] = w;
	argv[argc] = NULL;
	return qpc_options_parse(&o, argc, argv, &msg);
}

static void
setup(void)
{
	cr_assert_eq(qp_keys_init(), 0);
}

static void
teardown(void)
{
	qpc_options_clear(&o);
}

TestSuite(options, .init = setup, .fini = teardown);

Test(options, psk_line_is_understood)
{
	cr_assert_eq(parse("-s gw.example:39000 -r 9022/tcp -l 22 --psk hunter2 --insecure"), 0, "%s",
		msg.text);
	cr_assert_eq(only()->kind, QP_FORWARD_REMOTE);
	cr_assert_str_eq(only()->remote, "9022/tcp");
	cr_assert_str_eq(only()->local, "22");
	cr_assert_str_eq(only()->peer.server, "gw.example:39000");
	cr_assert_str_eq(only()->peer.psk, "hunter2");
	cr_assert(o.set.insecure);
	cr_assert_eq(o.set.keep_alive_s, 5);
	cr_assert_eq(o.set.idle_timeout_s, 90);
}

Test(options, long_names_and_keys_are_understood)
{
	cr_assert_eq(parse("--server [2001:db8::1]:39000 --remote-source 80 --local-destination "
			   "[::1]:8080/tcp --privkey " KEY " --server-pubkey " PUB
			   " --quic-keep-alive 0 --quic-idle-timeout 30"),
		0, "%s", msg.text);
	cr_assert_str_eq(only()->peer.server, "[2001:db8::1]:39000");
	cr_assert_str_eq(only()->local, "[::1]:8080/tcp");
	cr_assert_str_eq(only()->peer.privkey, KEY);
	cr_assert_str_eq(only()->peer.server_pubkey, PUB);
	cr_assert(!o.set.insecure);
	cr_assert_eq(o.set.keep_alive_s, 0);
	cr_assert_eq(o.set.idle_timeout_s, 30);
}

Test(options, variables_stand_in_and_options_win)
{
	setenv("QUICPORT_SERVER", "env.example:1", 1);
	setenv("QUICPORT_REMOTE_SOURCE", "1000", 1);
	setenv("QUICPORT_LOCAL_DESTINATION", "10.0.0.1:2000", 1);
	setenv("QUICPORT_PSK", "from the environment", 1);
	setenv("QUICPORT_INSECURE", "yes", 1);
	cr_assert_eq(parse("-r 1001"), 0, "%s", msg.text);
	cr_assert_str_eq(only()->peer.server, "env.example:1");
	cr_assert_str_eq(only()->remote, "1001");
	cr_assert_str_eq(only()->local, "10.0.0.1:2000");
	cr_assert(o.set.insecure);
	cr_assert_str_eq(only()->peer.psk, "from the environment");
}

Test(options, reconnect_is_on_unless_said_otherwise)
{
	cr_assert_eq(parse("-s h:1 -r 1 -l 1 --psk x"), 0, "%s", msg.text);
	cr_assert(o.set.reconnect && o.set.reconnect_max_attempts == 0 && o.set.reconnect_delay_s == 1);
	cr_assert_eq(parse("-s h:1 -r 1 -l 1 --psk x --reconnect no --reconnect-max-attempts 3"), 0);
	cr_assert(!o.set.reconnect && o.set.reconnect_max_attempts == 3);
}

Test(options, several_forwards_pair_up_by_their_order)
{
	cr_assert_eq(parse("-s h:1 --psk x -r 9022 -r 53/udp -l 22 -l 53/udp -L 5432 -R db:5432 "
			   "-L [::1]:0/udp -R 9/udp"),
		0, "%s", msg.text);
	cr_assert_eq(o.specs.n, 4);
	cr_assert_str_eq(o.specs.v[1].remote, "53/udp");
	cr_assert_str_eq(o.specs.v[1].local, "53/udp");
	cr_assert_eq(o.specs.v[2].kind, QP_FORWARD_LOCAL);
	cr_assert_str_eq(o.specs.v[2].local, "5432");
	cr_assert_str_eq(o.specs.v[3].remote, "9/udp");
}

Test(options, ssh_proxy_wants_one_destination)
{
	static char word[][24] = {"ssh-proxy", "-s", "h:1", "--psk", "x", "-R", "inside:22"};
	char *argv[8] = {NULL};

	for (size_t i = 0; i < 7; i++)
		argv[i] = word[i];
	cr_assert_lt(qpc_options_parse_ssh(&o, 3, argv, &msg), 0);
	cr_assert_not_null(strstr(msg.text, "-R"));
	cr_assert_eq(qpc_options_parse_ssh(&o, 7, argv, &msg), 0, "%s", msg.text);
	cr_assert_eq(only()->kind, QP_FORWARD_STDIO);
	cr_assert_str_eq(only()->remote, "inside:22");
}

struct bad {
	char line[160];
	char named[40]; /* what the error must name */
};

ParameterizedTestParameters(options, bad_line_is_refused_by_name)
{
	static struct bad cases[] = {
		{"-r 1 -l 1 --psk x", "-s HOST:PORT"},
		{"-s h:1 -l 1 --psk x", "-r PORT"},
		{"-s h:1 -r 1 --psk x", "-l [ADDR:]PORT"},
		{"-s h:1 --psk x", "no forward"},
		{"-s h:1 -r 1 -r 2 -l 1 --psk x", "2 -r and 1 -l"},
		{"-s h:1 -L 1 --psk x", "0 -R and 1 -L"},
		{"-s h -r 1 -l 1 --psk x", "'h'"},
		{"-s h:0 -r 1 -l 1 --psk x", "h:0"},
		{"-s h:1 -r 70000 -l 1 --psk x", "70000"},
		{"-s h:1 -r 1 -l 0 --psk x", "'0'"},
		{"-s h:1 -r 1/sctp -l 1 --psk x", "1/sctp"},
		{"-s h:1 -r 1 -l here:there --psk x", "here:there"},
		{"-s h:1 -r 1 -l 1", "--psk"},
		{"-s h:1 -r 1 -l 1 --privkey " KEY, "--server-pubkey"},
		{"-s h:1 -r 1 -l 1 --psk x --privkey " KEY " --server-pubkey " PUB, "--psk and"},
		{"-s h:1 -r 1 -l 1 --privkey " KEY " --privkey-file f", "--privkey-file"},
		{"-s h:1 -r 1 -l 1 --privkey short --server-pubkey " PUB, "--privkey"},
		{"-s h:1 -r 1 -l 1 --privkey " KEY " --server-pubkey short", "short"},
		{"-s h:1 -r 1 -l 1 --psk x --quic-idle-timeout 0", "--quic-idle-timeout"},
		{"-s h:1 -r 1 -l 1 --psk x --frobnicate", "frobnicate"},
		{"-s h:1 -r 1 -l 1 --psk x stray", "stray"},
	};

	return cr_make_param_array(struct bad, cases, sizeof(cases) / sizeof(cases[0]));
}

ParameterizedTest(struct bad *bad, options, bad_line_is_refused_by_name)
{
	cr_assert_lt(parse(bad->line), 0, "accepted: %s", bad->line);
	cr_assert_not_null(strstr(msg.text, bad->named), "%s: does not name %s: %s", bad->line,
		bad->named, msg.text);
	cr_assert_null(strchr(msg.text, '\n'));
	cr_assert_null(strstr(msg.text, KEY), "a secret is repeated");
}
