/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The library by its header alone, against the tests' server, which runs in
 * this thread's loop.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "include/quicport.h"
#include "tests/client/world.h"
#include "tests/common/support.h"

static struct qp_client *client;
static struct qp_forward *forward;
static struct qp_error error;
static struct qp_client_options o;
static struct qp_forward_options f;

/* Written by the client's thread, where it has one. */
static _Atomic unsigned connects, opens, closes, lines, last_retry_ms;
static _Atomic int last_code;
static char last_text[384];
static enum qp_trust answer;
static char shown[200], recorded[200];

static void
on_connected(void *user, struct qp_forward *fw, const char *address)
{
	cr_assert_eq(user, (void *)&o);
	connects++;
}

static void
on_open(void *user, struct qp_forward *fw, const char *message)
{
	opens++;
}

static void
on_closed(void *user, struct qp_forward *fw, const struct qp_error *why, int64_t retry_ms)
{
	snprintf(last_text, sizeof(last_text), "%s", why->text);
	last_retry_ms = retry_ms >= 0 ? (unsigned)retry_ms : UINT32_MAX;
	last_code = why->code;
	closes++;
}

static enum qp_trust
on_trust(void *user, struct qp_forward *fw, const struct qp_certificate *cert)
{
	snprintf(shown, sizeof(shown), "%s", cert->fingerprint);
	snprintf(recorded, sizeof(recorded), "%s", cert->recorded != NULL ? cert->recorded : "");
	return answer;
}

static void
on_log(void *user, enum qp_log_severity severity, const char *line)
{
	lines++;
}

static void
setup(void)
{
	static char server[64], local[64], known[200];

	world_init();
	w.server = test_server_new(&w.loop, &w.server_cfg);
	cr_assert_not_null(w.server);
	snprintf(server, sizeof(server), "127.0.0.1:%u", test_server_port(w.server));
	snprintf(local, sizeof(local), "%u", qp_sockaddr_port(&w.dest.sa));
	snprintf(known, sizeof(known), "%s", scratch_path("known_hosts"));
	o = (struct qp_client_options) QP_CLIENT_OPTIONS;
	o.server = server;
	o.identity.psk = "secret";
	o.insecure = true;
	o.known_hosts = known;
	o.reconnect_delay_ms = 20;
	o.callbacks = (struct qp_client_callbacks) {.connected = on_connected,
		.forward_open = on_open, .closed = on_closed, .trust = on_trust, .log = on_log};
	o.user = &o;
	f = (struct qp_forward_options) QP_FORWARD_OPTIONS;
	f.remote = "0";
	f.local = local;
	f.user = &f;
}

static void
teardown(void)
{
	qp_client_free(client);
	client = NULL;
	world_fini();
}

TestSuite(library, .init = setup, .fini = teardown, .timeout = 60);

static void
begin(void)
{
	cr_assert_eq(qp_client_new(&o, &client, &error), 0, "%s", error.text);
	cr_assert_eq(qp_client_add(client, &f, &forward, &error), 0, "%s", error.text);
}

/* One turn of the client's, as a program's own loop would do it. */
static void
process(void)
{
	struct pollfd fd = {.fd = qp_client_fd(client), .events = POLLIN};

	if (poll(&fd, 1, 0) > 0)
		cr_assert_eq(qp_client_process(client), 0);
}

static bool
is_open(void *arg)
{
	if (arg != NULL)
		process();
	return opens > 0;
}

static bool
has_closed(void *arg)
{
	process();
	return closes > 0;
}

static bool
is_done(void *arg)
{
	if (arg != NULL)
		process();
	return qp_client_done(client);
}

static struct qp_forward_stats
stats(void)
{
	struct qp_forward_stats s = {.size = sizeof(s)};

	qp_forward_get_stats(client, forward, &s);
	return s;
}

static bool
got_five(struct end *a, struct end *b)
{
	process();
	return a->received == b->to_send && b->received == a->to_send;
}

Test(library, in_the_callers_loop_everything_comes_by_one_descriptor)
{
	struct end out = {.to_send = 5, .fd = -1}, in = {.to_send = 7, .fd = -1};
	struct qp_forward_stats s;
	int fd;

	begin();
	fd = qp_client_fd(client);
	world_until(is_open, &w, "the forward is open");
	cr_assert_eq(connects, 1);
	cr_assert_eq(qp_forward_user(forward), (void *)&f);
	end_connect(&out);
	while ((in.fd = accept(w.service, NULL, NULL)) < 0) {
		cr_assert_eq(qpc_loop_turn(&w.loop), 0);
		process();
	}
	world_relay(&out, &in, got_five, "both ways");
	s = stats();
	cr_assert_eq(s.state, QP_FORWARD_OPEN);
	cr_assert_eq(s.connections, 1);
	cr_assert_eq(s.connections_active, 1);
	cr_assert_eq(s.bytes_to_local, 5);
	cr_assert_eq(s.bytes_from_local, 7);
	cr_assert_gt(s.rtt_us, 0);
	end_close(&out);
	end_close(&in);
	qp_client_stop(client);
	qp_client_stop(client);
	world_until(is_done, &w, "all has ended");
	cr_assert_eq(closes, 1);
	cr_assert_eq(last_code, QP_OK);
	cr_assert_eq(last_retry_ms, UINT32_MAX);
	cr_assert(test_server_said_goodbye(w.server));
	cr_assert_eq(qp_client_fd(client), fd);
	cr_assert_gt(lines, 0);
}

Test(library, in_a_thread_of_its_own_calls_come_from_any_thread)
{
	begin();
	cr_assert_eq(qp_client_start(client, &error), 0);
	cr_assert_eq(qp_client_start(client, &error), QP_E_INUSE);
	world_until(is_open, NULL, "the forward is open");
	cr_assert_eq(stats().state, QP_FORWARD_OPEN);
	cr_assert(!qp_client_done(client));
	qp_client_remove(client, forward);
	world_until(is_done, NULL, "the forward has gone");
	cr_assert(test_server_said_goodbye(w.server));
	cr_assert_eq(closes, 0, "a removed forward calls nobody");
}

Test(library, freed_while_open_says_nothing_and_leaves_nothing)
{
	begin();
	cr_assert_eq(qp_client_start(client, &error), 0);
	world_until(is_open, NULL, "the forward is open");
	qp_client_free(client);
	client = NULL;
	cr_assert_eq(closes, 0);
}

Test(library, wrong_psk_backs_off_says_why_and_gives_up)
{
	unsigned waited = 0;

	o.identity.psk = "wrong";
	begin();
	for (unsigned tries = 0; !is_done(&w);) {
		cr_assert_eq(qpc_loop_turn(&w.loop), 0);
		if (closes == tries)
			continue;
		tries = closes;
		cr_assert_eq(last_code, QP_E_AUTH);
		cr_assert_not_null(strstr(last_text, "--psk"), "%s", last_text);
		if (last_retry_ms != UINT32_MAX) {
			/* Doubled, a quarter more or less: twice as much at least every second time. */
			cr_assert_geq(last_retry_ms * 2, waited);
			waited = last_retry_ms;
		}
	}
	cr_assert_eq(closes, 5);
	cr_assert_gt(waited, 60);
	cr_assert_eq(stats().error, QP_E_AUTH);
	cr_assert_eq(test_server_clients(w.server), 0);
}

Test(library, attempts_in_a_row_are_limited)
{
	o.server = "127.0.0.1:1";
	o.reconnect_max_attempts = 2;
	begin();
	world_until(is_done, &w, "it gives up");
	cr_assert_eq(closes, 3);
	cr_assert_eq(last_retry_ms, UINT32_MAX);
	cr_assert_not_null(strstr(last_text, "127.0.0.1:1"), "%s", last_text);
}

Test(library, server_closes_reconnects_and_counts)
{
	w.server_cfg.misbehave = TEST_CLOSE_SESSION;
	begin();
	world_until(has_closed, NULL, "it is lost");
	cr_assert_eq(last_code, QP_E_CLOSED);
	w.server_cfg.misbehave = TEST_BEHAVE;
	opens = 0;
	world_until(is_open, &w, "it is open again");
	for (int i = 0; i < 3 && stats().state != QP_FORWARD_OPEN; i++)
		process();
	cr_assert_geq(stats().reconnects, 1);
}

Test(library, unknown_certificate_nobody_asked_is_refused)
{
	o.insecure = false;
	o.callbacks.trust = NULL;
	begin();
	world_until(has_closed, NULL, "it is refused");
	cr_assert_eq(last_code, QP_E_AUTH);
	cr_assert_not_null(strstr(last_text, "quicport trust"), "%s", last_text);
	cr_assert_eq(last_retry_ms, UINT32_MAX);
	cr_assert_eq(test_server_clients(w.server), 0);
}

static bool
file_has(const char *path, const char *text)
{
	char content[1000];
	FILE *file = fopen(path, "r");
	size_t n;

	if (file == NULL)
		return false;
	n = fread(content, 1, sizeof(content) - 1, file);
	content[n] = '\0';
	fclose(file);
	return strstr(content, text) != NULL;
}

Test(library, unknown_certificate_is_recorded_and_trusted_from_then_on)
{
	o.insecure = false;
	answer = QP_TRUST_RECORD;
	begin();
	world_until(is_open, &w, "it is open");
	cr_assert(file_has(o.known_hosts, shown));
	cr_assert_str_eq(recorded, "");
	qp_client_stop(client); /* the tests' server has one client at a time */
	world_until(is_done, &w, "all has ended");
	qp_client_free(client);
	opens = 0;
	shown[0] = '\0';
	answer = QP_TRUST_NO;
	begin();
	world_until(is_open, &w, "it is open without a question");
	cr_assert_str_eq(shown, "");
}

Test(library, certificate_trusted_once_is_not_written)
{
	o.insecure = false;
	answer = QP_TRUST_ONCE;
	begin();
	world_until(is_open, &w, "it is open");
	cr_assert_neq(access(o.known_hosts, F_OK), 0);
}

Test(library, changed_certificate_is_shown_with_the_one_on_file)
{
	char line[200];

	snprintf(line, sizeof(line), "%s AA:BB\n", o.server);
	scratch_file("known_hosts", line, 0600);
	o.insecure = false;
	answer = QP_TRUST_NO;
	begin();
	world_until(has_closed, NULL, "it is refused");
	cr_assert_str_eq(recorded, "AA:BB");
	cr_assert_not_null(strstr(last_text, "CHANGED"), "%s", last_text);
	cr_assert(file_has(o.known_hosts, "AA:BB"));
}

Test(library, options_without_sense_are_refused_with_the_value)
{
	o.server = "no port";
	cr_assert_eq(qp_client_new(&o, &client, &error), QP_E_INVAL);
	cr_assert_not_null(strstr(error.text, "no port"));
	cr_assert_eq(error.code, QP_E_INVAL);
	cr_assert_eq(qp_client_new(&o, &client, NULL), QP_E_INVAL);
	o.server = "h:1";
	o.size = 8;
	cr_assert_eq(qp_client_new(&o, &client, &error), QP_E_VERSION);
	o.size = sizeof(o);
	cr_assert_eq(qp_client_new(&o, &client, &error), 0);
	f.remote = "70000";
	cr_assert_eq(qp_client_add(client, &f, &forward, &error), QP_E_INVAL);
	cr_assert_not_null(strstr(error.text, "70000"));
	f.remote = "1";
	f.kind = QP_FORWARD_STDIO;
	cr_assert_eq(qp_client_add(client, &f, &forward, &error), QP_E_INVAL);
	cr_assert(qp_client_done(client));
}

Test(library, local_port_in_use_is_the_errors_of_the_call)
{
	char local[32];

	begin();
	snprintf(local, sizeof(local), "%u", qp_sockaddr_port(&w.dest.sa));
	f.kind = QP_FORWARD_LOCAL;
	f.local = local;
	f.remote = "22";
	cr_assert_eq(qp_client_add(client, &f, &forward, &error), QP_E_INUSE);
	cr_assert_not_null(strstr(error.text, local), "%s", error.text);
}

/* As a program has it that was built when the struct ended there. */
Test(library, program_of_an_older_header_keeps_working)
{
	f.close_fd_out = true;
	f.size = offsetof(struct qp_forward_options, close_fd_out);
	begin();
	world_until(is_open, &w, "it is open");
	struct qp_forward_stats s = {.size = offsetof(struct qp_forward_stats, error), .error = 77,
		.migrations = 77};

	qp_forward_get_stats(client, forward, &s);
	cr_assert_eq(s.state, QP_FORWARD_OPEN);
	cr_assert_eq(s.error, 77);
	cr_assert_eq(s.migrations, 77);
}

Test(library, words_for_every_code)
{
	for (int code = QP_E_REFUSED; code <= 0; code++)
		cr_assert(strlen(qp_strerror(code)) > 1);
	cr_assert_not_null(qp_strerror(-1000));
	cr_assert_str_eq(qp_version(), QP_VERSION);
}
