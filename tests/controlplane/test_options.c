/* SPDX-License-Identifier: Apache-2.0 */
/* The command line of `quicport control-plane`, and the credentials behind it. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "controlplane/options.h"
#include "tests/common/support.h"

#define PRIVATE "mBJ3XsDyuJxqU2bk0XEa+rUH+XD1lYwMlx9xH8ZTMUg="
#define PUBLIC "IexqQqW8ngM33aoJWqheXfW+11hL6A3h6kpO8uNl9Ws="

/* Arguments are wiped while they are parsed, and options point into them: a copy that stays. */
static int
parse(struct qp_options *o, struct qp_errmsg *msg, const char *line)
{
	static char copies[16][1024], name[] = "control-plane";
	static unsigned used;
	char *argv[32] = {name}, *save = NULL, *text = copies[used++ % 16];
	int argc = 1;

	snprintf(text, sizeof(copies[0]), "%s", line);
	for (char *t = strtok_r(text, " ", &save); t != NULL; t = strtok_r(NULL, " ", &save))
		argv[argc++] = t;
	return qp_options_parse(o, argc, argv, msg);
}

static void
start(void)
{
	cr_assert_eq(qp_keys_init(), 0);
}

TestSuite(options, .init = start);

Test(options, none_given_are_the_documented_defaults)
{
	struct qp_options o;
	struct qp_errmsg msg;

	cr_assert_eq(parse(&o, &msg, ""), 0, "%s", msg.text);
	cr_expect_eq(qp_sockaddr_port(&o.data_plane_addr.sa), 39000);
	cr_expect(qp_sockaddr_is_any(&o.data_plane_addr.sa));
	cr_expect_eq(qp_sockaddr_port(&o.private_api_listen.sa), 39000);
	cr_expect(qp_sockaddr_is_loopback(&o.private_api_listen.sa));
	cr_expect_eq(qp_options_public_port(&o), 39001);
	cr_expect_eq(o.keep_alive_s, 5u);
	cr_expect_eq(o.idle_timeout_s, 90u);
	cr_expect_eq(o.memory_mib, 0u);
	cr_expect_eq(o.workers, 1u);
	cr_expect(o.tcp_congestion == 0 && o.tcp_ecn == 1 && !o.tcp_pacing && !o.tcp_fast_open);
	cr_expect(o.tcp_buffer_kib == 4096 && o.tcp_max_conns == 65536);
	cr_expect(o.tcp_keepalive_s == 600 && o.tcp_user_timeout_s == 0);
	cr_expect_not(o.no_auto_dataplane);
	cr_expect_not(o.busy_poll);
	cr_expect(!o.allow.any && o.allow.n == 0, "no local forward is allowed");
	cr_expect_eq(o.local_forward_ports, 1024u);
	cr_expect_null(o.psk);
	cr_expect_str_eq(qp_options_private_api_name(&o), "--control-plane-addr");
}

Test(options, variables_count_and_options_win)
{
	struct qp_options o;
	struct qp_errmsg msg;

	setenv("QUICPORT_DATA_PLANE_ADDR", "127.0.0.1:4000", 1);
	setenv("QUICPORT_QUIC_IDLE_TIMEOUT", "7", 1);
	setenv("QUICPORT_PSK", "from the environment", 1);
	cr_assert_eq(parse(&o, &msg, "--quic-idle-timeout 8"), 0, "%s", msg.text);
	cr_expect_eq(qp_sockaddr_port(&o.data_plane_addr.sa), 4000);
	cr_expect_eq(o.idle_timeout_s, 8u);
	cr_expect_str_eq((const char *)o.psk->bytes, "from the environment");
	qp_secret_free(o.psk);
}

Test(options, tcp_options_count_and_bad_ones_name_what_is_meant)
{
	struct qp_options o;
	struct qp_errmsg msg;

	cr_assert_eq(parse(&o, &msg, "--tcp-congestion bbr --tcp-ecn ask --tcp-pacing --tcp-fast-open"), 0);
	cr_expect(o.tcp_congestion == 1 && o.tcp_ecn == 2 && o.tcp_pacing && o.tcp_fast_open);
	cr_assert_eq(parse(&o, &msg, "--tcp-congestion reno"), QP_E_INVAL);
	cr_expect(strstr(msg.text, "reno") != NULL && strstr(msg.text, "cubic or bbr") != NULL, "%s",
		msg.text);
	cr_assert_eq(parse(&o, &msg, "--tcp-buffer 8"), QP_E_INVAL);
	cr_expect(strstr(msg.text, "--tcp-buffer") != NULL, "%s", msg.text);
}

Test(options, hang_timeout_is_off_or_longer_than_a_sleep)
{
	struct qp_options o;
	struct qp_errmsg msg;

	cr_assert_eq(parse(&o, &msg, ""), 0);
	cr_expect_eq(o.hang_timeout_ms, 800u);
	cr_assert_eq(parse(&o, &msg, "--hang-timeout 0"), 0);
	cr_expect_eq(o.hang_timeout_ms, 0u);
	cr_assert_eq(parse(&o, &msg, "--hang-timeout 400"), 0);
	cr_assert_eq(parse(&o, &msg, "--hang-timeout 399"), QP_E_INVAL);
	cr_expect(strstr(msg.text, "--hang-timeout '399'") != NULL &&
			strstr(msg.text, "0, or at least 400") != NULL,
		"%s", msg.text);
}

Test(options, same_port_for_quic_and_private_api_is_fine)
{
	struct qp_options o;
	struct qp_errmsg msg;

	cr_expect_eq(
		parse(&o, &msg, "--control-plane-addr 127.0.0.1:5 --data-plane-addr 127.0.0.1:5"),
		0, "%s", msg.text);
}

Test(options, private_api_listen_overrides)
{
	struct qp_options o;
	struct qp_errmsg msg;

	cr_assert_eq(parse(&o, &msg,
			     "--private-api-listen [::1]:5000 --interface lo --interface eth0"
			     " --forward-addr 192.0.2.1"),
		0, "%s", msg.text);
	cr_expect_eq(qp_sockaddr_port(&o.private_api_listen.sa), 5000);
	cr_expect_str_eq(qp_options_private_api_name(&o), "--private-api-listen");
	cr_expect_eq(o.interfaces.n, 2u);
	cr_expect_str_eq(o.interfaces.v[1], "eth0");
	cr_expect_eq(o.forward_addr.s6_addr[12], 192);
}

/* Each must be refused by a line that has the given words in it. */
struct mistake {
	char line[192];
	char says[96];
};

ParameterizedTestParameters(options, mistake_is_told)
{
	static struct mistake mistakes[] = {
		{"--data-plane-addr 127.0.0.1", "--data-plane-addr"},
		{"--data-plane-addr example.org:1", "example.org:1"},
		{"--data-plane-addr 127.0.0.1:0", "port 0"},
		{"--control-plane-addr 127.0.0.1:0", "--control-plane-addr"},
		{"--private-api-listen 127.0.0.1:0", "--private-api-listen"},
		{"--data-plane-addr 127.0.0.1:65535", "--no-public-api"},
		{"--control-plane-addr 127.0.0.1:39001", "39001"},
		{"--quic-idle-timeout 0", "--quic-idle-timeout"},
		{"--quic-keep-alive soon", "soon"},
		{"--memory 31", "31"},
		{"--data-plane-heap much", "--data-plane-heap"},
		{"--control-plane-heap 1048577", "1048577"},
		{"--workers 17", "17"},
		{"--workers 0", "--workers"},
		{"--forward-addr nowhere", "nowhere"},
		{"--unknown", "--unknown"},
		{"stray", "stray"},
		{"--psk a --privkey " PRIVATE, "needs --client-pubkeys"},
		{"--psk a --client-pubkeys-file f", "--client-pubkeys-file"},
		{"--privkey " PRIVATE " --privkey-file f", "give one of them"},
		{"--privkey " PRIVATE, "needs --client-pubkeys"},
		{"--privkey-file f", "--privkey-file needs --client-pubkeys"},
		{"--client-pubkeys " PUBLIC, "add --privkey"},
		{"--log-format xml", "xml"},
	};

	return cr_make_param_array(
		struct mistake, mistakes, sizeof(mistakes) / sizeof(mistakes[0]));
}

ParameterizedTest(struct mistake *m, options, mistake_is_told)
{
	struct qp_errmsg msg = {""};
	struct qp_options o;

	cr_assert_eq(qp_keys_init(), 0);
	cr_expect_eq(parse(&o, &msg, m->line), QP_E_INVAL, "%s was taken", m->line);
	cr_expect_not_null(strstr(msg.text, m->says), "%s: it says: %s", m->line, msg.text);
	cr_expect_null(strchr(msg.text, '\n'));
	cr_expect_null(strstr(msg.text, PRIVATE), "a secret is in the message");
}

/* ---- credentials ---- */

static void
start_with_folder(void)
{
	cr_assert_eq(qp_keys_init(), 0);
	setenv("QUICPORT_CONFIG_DIR", scratch_make(), 1);
}

TestSuite(credentials, .init = start_with_folder, .fini = scratch_remove);

static int
load(struct qp_credentials *c, struct qp_options *o, struct qp_errmsg *msg, const char *line)
{
	cr_assert_eq(parse(o, msg, line), 0, "%s", msg->text);
	return qp_credentials_load(c, o, msg);
}

/* The secret of the only PSK. */
static const struct qp_secret *
only_psk(const struct qp_credentials *c)
{
	const struct qp_secret *secret = NULL;

	cr_assert_eq(qp_policy_npsks(c->policy), 1u);
	cr_expect_str_eq(qp_policy_psk(c->policy, 0, &secret)->name, "psk");
	return secret;
}

Test(credentials, none_given_psk_is_made_and_kept)
{
	struct qp_credentials first, second;
	struct qp_options o;
	struct qp_errmsg msg;
	struct stat st;

	cr_assert_eq(load(&first, &o, &msg, ""), 0, "%s", msg.text);
	cr_expect(first.psk_created);
	cr_expect_null(first.private_key);
	cr_expect_eq(only_psk(&first)->len, 44u);
	cr_expect_eq(stat(first.psk_path, &st), 0);
	cr_expect_eq(st.st_mode & 0777, 0600u);
	cr_expect_eq(stat(first.key_path, &st), 0);
	cr_expect_eq(st.st_mode & 0777, 0600u);

	cr_assert_eq(load(&second, &o, &msg, ""), 0, "%s", msg.text);
	cr_expect_not(second.psk_created);
	cr_expect_eq(only_psk(&second)->len, only_psk(&first)->len);
	cr_expect_arr_eq(only_psk(&second)->bytes, only_psk(&first)->bytes, 44);
	qp_credentials_free(&first);
	qp_credentials_free(&second);
}

Test(credentials, psk_given_is_the_text_itself)
{
	struct qp_credentials c;
	struct qp_options o;
	struct qp_errmsg msg;

	cr_assert_eq(load(&c, &o, &msg, "--psk abc"), 0, "%s", msg.text);
	cr_expect_eq(only_psk(&c)->len, 3u);
	cr_expect_arr_eq(only_psk(&c)->bytes, "abc", 3);
	cr_expect_str_eq(c.psk_path, "");
	cr_expect_null(o.psk, "the option's copy lives on");
	qp_credentials_free(&c);
}

Test(credentials, keys_given_are_parsed)
{
	struct qp_credentials c;
	struct qp_options o;
	struct qp_errmsg msg;
	char text[QP_KEY_TEXT_BYTES];

	cr_assert_eq(load(&c, &o, &msg, "--privkey " PRIVATE " --client-pubkeys " PUBLIC
		" --allow-local-forward 10.0.0.0/8"), 0, "%s", msg.text);
	qp_key_format(c.public_key, text);
	cr_expect_str_eq(text, PUBLIC);
	cr_assert_eq(qp_policy_count(c.policy), 1u);
	cr_expect_eq(strncmp(qp_policy_at(c.policy, 0)->name, PUBLIC, 8), 0);
	cr_expect_eq(strlen(qp_policy_at(c.policy, 0)->name), 8u);
	cr_expect(qp_grants_allow_port(&qp_policy_at(c.policy, 0)->grants, 1, 80));
	cr_expect_eq(qp_policy_at(c.policy, 0)->grants.locals->n, 1u);
	cr_expect_eq(qp_policy_npsks(c.policy), 0u, "nobody asked for a PSK");
	qp_credentials_free(&c);
}

Test(credentials, psk_and_keys_side_by_side)
{
	struct qp_credentials c;
	struct qp_options o;
	struct qp_errmsg msg;

	cr_assert_eq(load(&c, &o, &msg, "--psk abc --privkey " PRIVATE " --client-pubkeys " PUBLIC
		"," PUBLIC), 0, "%s", msg.text);
	cr_expect_not_null(c.private_key);
	cr_expect_eq(only_psk(&c)->len, 3u);
	cr_expect_eq(qp_policy_count(c.policy), 2u, "a key that is there twice is there once");
	cr_expect_null(qp_policy_by_name(c.policy, "psk")->grants.locals);
	qp_credentials_free(&c);
}

Test(credentials, bad_key_keeps_nothing)
{
	struct qp_credentials c;
	struct qp_options o;
	struct qp_errmsg msg;

	cr_expect_neq(load(&c, &o, &msg, "--privkey short --client-pubkeys " PUBLIC), 0);
	cr_expect_not_null(strstr(msg.text, "--privkey"), "%s", msg.text);
	cr_expect_null(c.private_key);
	cr_expect_neq(
		load(&c, &o, &msg, "--privkey-file /nonexistent --client-pubkeys " PUBLIC), 0);
	cr_expect_not_null(strstr(msg.text, "/nonexistent"), "%s", msg.text);
}

Test(credentials, bad_file_gives_no_policy)
{
	const char *file = scratch_file("clients", "# two\n" PUBLIC "\n" PRIVATE "\n", 0600);
	struct qp_policy *fresh = NULL;
	struct qp_credentials c;
	struct qp_options o;
	struct qp_errmsg msg;
	char line[512];

	snprintf(line, sizeof(line), "--privkey " PRIVATE " --client-pubkeys-file %s", file);
	cr_assert_eq(load(&c, &o, &msg, line), 0, "%s", msg.text);
	cr_expect_eq(qp_policy_count(c.policy), 2u);
	scratch_file("clients", "# one\n" PUBLIC "\nnot a key\n", 0600);
	cr_expect_neq(qp_credentials_policy(&c, &o, &fresh, &msg), 0);
	cr_expect_not_null(strstr(msg.text, "clients"), "%s", msg.text);
	cr_expect_null(fresh);
	scratch_file("clients", PUBLIC "\n", 0600);
	cr_expect_eq(qp_credentials_policy(&c, &o, &fresh, &msg), 0, "%s", msg.text);
	cr_expect_eq(qp_policy_count(fresh), 1u);
	qp_policy_free(fresh);
	qp_credentials_free(&c);
}

Test(credentials, folder_too_long_is_told)
{
	struct qp_credentials c;
	struct qp_options o;
	struct qp_errmsg msg;
	char dir[300] = "/";

	memset(dir + 1, 'x', sizeof(dir) - 2);
	dir[sizeof(dir) - 1] = '\0';
	setenv("QUICPORT_CONFIG_DIR", dir, 1);
	cr_expect_eq(load(&c, &o, &msg, ""), QP_E_INVAL);
	cr_expect_not_null(strstr(msg.text, "QUICPORT_CONFIG_DIR"));
}

Test(options, local_forward_rules_add_up)
{
	struct qp_options o;
	struct qp_errmsg msg;

	cr_assert_eq(parse(&o, &msg, "--allow-local-forward 10.0.0.0/8:22,80 "
		"--allow-local-forward [fd00::]/8"), 0, "%s", msg.text);
	cr_expect_eq(o.allow.n, 3u);
	cr_expect_not(o.allow.any);
	cr_assert_eq(parse(&o, &msg, "--allow-local-forward-any"), 0, "%s", msg.text);
	cr_expect(o.allow.any);
	cr_assert_eq(parse(&o, &msg, "--allow-local-forward 10.0.0.1/8"), QP_E_INVAL);
	cr_expect_not_null(strstr(msg.text, "--allow-local-forward"), "%s", msg.text);
	cr_expect_not_null(strstr(msg.text, "10.0.0.1/8"), "%s", msg.text);
}
