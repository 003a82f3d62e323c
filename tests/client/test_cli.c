/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The program `quicport` as a user meets it: what it prints, where, and its
 * exit status. QP_TESTED names it. Servers run in the test's own loop.
 */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <fcntl.h>
#include <pty.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/client/world.h"
#include "tests/common/support.h"

#define PRIVATE "mBJ3XsDyuJxqU2bk0XEa+rUH+XD1lYwMlx9xH8ZTMUg="
#define PUBLIC "IexqQqW8ngM33aoJWqheXfW+11hL6A3h6kpO8uNl9Ws="

struct program {
	pid_t pid;
	int out;           /* its standard output and error, or its terminal */
	char text[16384];  /* what it has printed */
	size_t len;
	int status;        /* exit status once it has ended, else -1 */
};

static struct program p;

static void
become(const char *line)
{
	static char copy[1024];
	char *argv[40], *save = NULL;
	int argc = 0;

	argv[argc++] = "quicport";
	snprintf(copy, sizeof(copy), "%s", line);
	for (char *word = strtok_r(copy, " ", &save); word != NULL; word = strtok_r(NULL, " ", &save))
		argv[argc++] = word;
	argv[argc] = NULL;
	execv(getenv("QP_TESTED"), argv);
	_exit(126);
}

/* `input`: its standard input; NULL: empty. */
static void
start(const char *line, const char *input)
{
	int out[2], in[2];

	cr_assert_eq(pipe(out) | pipe(in), 0);
	p = (struct program) {.out = out[0], .status = -1};
	if (input != NULL)
		cr_assert_eq(write(in[1], input, strlen(input)), (ssize_t)strlen(input));
	close(in[1]);
	p.pid = fork();
	if (p.pid == 0) {
		dup2(in[0], 0);
		dup2(out[1], 1);
		dup2(out[1], 2);
		for (int fd = 3; fd < 64; fd++)
			close(fd);
		become(line);
	}
	close(in[0]);
	close(out[1]);
	fcntl(p.out, F_SETFL, O_NONBLOCK);
}

static void
start_on_terminal(const char *line)
{
	p = (struct program) {.status = -1};
	p.pid = forkpty(&p.out, NULL, NULL, NULL);
	if (p.pid == 0) {
		for (int fd = 3; fd < 64; fd++)
			close(fd);
		become(line);
	}
	fcntl(p.out, F_SETFL, O_NONBLOCK);
}

static void
look(void)
{
	ssize_t n;
	int status;

	while (p.len < sizeof(p.text) - 1 &&
		(n = read(p.out, p.text + p.len, sizeof(p.text) - 1 - p.len)) > 0)
		p.len += (size_t)n;
	p.text[p.len] = '\0';
	if (p.status < 0 && waitpid(p.pid, &status, WNOHANG) == p.pid) {
		p.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
		look();
	}
}

static bool
has_ended(void *arg)
{
	look();
	return p.status >= 0;
}

static bool
has_printed(void *arg)
{
	look();
	return strstr(p.text, arg) != NULL || p.status >= 0;
}

static void
await_text(const char *text)
{
	world_until(has_printed, (void *)text, text);
	cr_assert_not_null(strstr(p.text, text), "ended without printing %s:\n%s", text, p.text);
}

static int
run(const char *line, const char *input)
{
	start(line, input);
	world_until(has_ended, NULL, "the program ends");
	close(p.out);
	return p.status;
}

/* A home of its own, so that no test sees another's known_hosts. */
static void
setup(void)
{
	world_init();
	setenv("HOME", scratch_path("home"), 1);
	mkdir(getenv("HOME"), 0700);
}

TestSuite(cli, .init = setup, .fini = world_fini, .timeout = 60);

static const char *
client_line(const char *more)
{
	static char line[512];

	if (w.server == NULL) {
		w.server = test_server_new(&w.loop, &w.server_cfg);
		cr_assert_not_null(w.server);
	}
	snprintf(line, sizeof(line), "client -s 127.0.0.1:%u -r 1 -l %u %s",
		test_server_port(w.server), qp_sockaddr_port(&w.dest.sa), more);
	return line;
}

Test(cli, keygen_prints_a_private_key_that_pubkey_takes)
{
	char key[64];

	cr_assert_eq(run("keygen", NULL), 0);
	cr_assert_eq(p.len, 45);
	memcpy(key, p.text, p.len + 1);
	cr_assert_eq(run("pubkey", key), 0);
	cr_assert_eq(p.len, 45);
	cr_assert_str_neq(p.text, key);
	cr_assert_eq(run("pubkey", PRIVATE "\n"), 0);
	cr_assert_str_eq(p.text, PUBLIC "\n");
}

Test(cli, keygen_file_is_private_and_never_overwritten)
{
	const char *path = scratch_path("key");
	char line[512];
	struct stat st;

	umask(0);
	snprintf(line, sizeof(line), "keygen -o %s", path);
	cr_assert_eq(run(line, NULL), 0);
	cr_assert_eq(p.len, 0);
	cr_assert_eq(stat(path, &st), 0);
	cr_assert_eq(st.st_mode & 0777, 0600);
	cr_assert_eq(st.st_size, 45);
	cr_assert_eq(run(line, NULL), 1);
	cr_assert_not_null(strstr(p.text, path));
}

Test(cli, pubkey_of_no_key_is_refused)
{
	static char long_text[300];

	cr_assert_eq(run("pubkey", NULL), 1);
	cr_assert_eq(run("pubkey", "too short\n"), 1);
	memset(long_text, 'A', sizeof(long_text) - 1);
	cr_assert_eq(run("pubkey", long_text), 1);
	cr_assert_not_null(strstr(p.text, "44 Base64"));
}

Test(cli, version_is_told)
{
	cr_assert_eq(run("version", NULL), 0);
	cr_assert_str_eq(p.text, "quicport " QP_VERSION "\n");
	cr_assert_eq(run("--version", NULL), 0);
	cr_assert_str_eq(p.text, "quicport " QP_VERSION "\n");
}

Test(cli, unknown_command_is_named_with_the_way_out)
{
	cr_assert_eq(run("frobnicate", NULL), 2);
	cr_assert_not_null(strstr(p.text, "'frobnicate'"));
	cr_assert_not_null(strstr(p.text, "quicport help"));
	cr_assert_eq(run("help frobnicate", NULL), 2);
	cr_assert_eq(run("", NULL), 2);
}

Test(cli, sibling_missing_says_what_to_install)
{
	cr_assert_eq(run("data-plane --psk x", NULL), 1);
	cr_assert_not_null(strstr(p.text, "quicport-data-plane"));
	cr_assert_not_null(strstr(p.text, "install quicport-gateway"));
}

struct line {
	char words[40];
};

ParameterizedTestParameters(cli, help_fits_80_columns)
{
	static struct line lines[] = {{"help"}, {"--help"}, {"client --help"}, {"help client"},
		{"keygen --help"}, {"pubkey --help"}, {"version --help"}, {"ssh-proxy --help"},
		{"status --help"}, {"trust --help"}, {"help ssh-proxy"}, {"help trust"}};

	return cr_make_param_array(struct line, lines, sizeof(lines) / sizeof(lines[0]));
}

ParameterizedTest(struct line *line, cli, help_fits_80_columns)
{
	cr_assert_eq(run(line->words, NULL), 0);
	cr_assert_gt(p.len, 40);
	for (char *at = p.text, *end; *at != '\0'; at = end + (*end == '\n')) {
		end = at + strcspn(at, "\n");
		/* argp gives up on an option that is too long, and leaves a hole. */
		cr_assert_neq(strncmp(at + 4, ",  ", 3), 0, "%s: %.*s", line->words, (int)(end - at), at);
		cr_assert_leq(end - at, 80, "%s: %.*s", line->words, (int)(end - at), at);
	}
}

Test(cli, client_bad_usage_is_one_line_and_status_2)
{
	cr_assert_eq(run("client -s h:1 -r 1 -l 1", NULL), 2);
	cr_assert_eq(strchr(p.text, '\n'), p.text + p.len - 1);
	cr_assert_eq(run("client -s h -r 1 -l 1 --psk x", NULL), 2);
	cr_assert_eq(strchr(p.text, '\n'), p.text + p.len - 1);
}

Test(cli, client_unknown_host_is_one_line_and_status_1)
{
	cr_assert_eq(run("client -s no-such-host.invalid:1 -r 1 -l 1 --psk x --insecure", NULL), 1);
	cr_assert_not_null(strstr(p.text, "no-such-host.invalid"));
	cr_assert_eq(strchr(p.text, '\n'), p.text + p.len - 1);
}

static void
expect_open_then_stop(int signum)
{
	uint64_t start;

	await_text("forward open");
	start = qp_quic_now();
	kill(p.pid, signum);
	world_until(has_ended, NULL, "the program ends");
	cr_assert(qp_quic_now() - start < NGTCP2_SECONDS);
	cr_assert_eq(p.status, 0, "%s", p.text);
	cr_assert(test_server_said_goodbye(w.server));
}

/* Port 1 is root's; the tests' server opens any other. */
static const char *
any_port(const char *line)
{
	static char out[512];
	const char *r = strstr(line, "-r 1 ");
	/* One that was free a moment ago. */
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	struct sockaddr_in sa = {.sin_family = AF_INET};
	socklen_t len = sizeof(sa);

	cr_assert_eq(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	cr_assert_eq(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
	close(fd);
	snprintf(out, sizeof(out), "%.*s-r %u %s", (int)(r - line), line, ntohs(sa.sin_port), r + 5);
	return out;
}

Test(cli, client_sigterm_says_goodbye_and_status_0)
{
	start(any_port(client_line("--psk secret --insecure")), NULL);
	expect_open_then_stop(SIGTERM);
}

Test(cli, client_sigint_says_goodbye_and_status_0)
{
	start(any_port(client_line("--psk secret --insecure")), NULL);
	expect_open_then_stop(SIGINT);
}

Test(cli, client_global_options_may_stand_before_the_command)
{
	char line[600];

	snprintf(line, sizeof(line), "--log-format json %s",
		any_port(client_line("--psk secret --insecure")));
	start(line, NULL);
	await_text("\"message\":\"forward open\"");
	kill(p.pid, SIGTERM);
	world_until(has_ended, NULL, "the program ends");
}

Test(cli, client_wrong_psk_is_status_3_and_says_what_to_check)
{
	cr_assert_eq(run(client_line("--psk wrong --insecure --reconnect no"), NULL), 3);
	cr_assert_not_null(strstr(p.text, "--psk"));
	cr_assert_eq(test_server_clients(w.server), 0);
}

Test(cli, client_port_in_use_is_status_4)
{
	w.server_cfg.misbehave = TEST_REFUSE_PORT;
	w.server_cfg.status = QP_WIRE_PORT_IN_USE;
	cr_assert_eq(run(client_line("--psk secret --insecure --reconnect no"), NULL), 4);
	cr_assert_not_null(strstr(p.text, "port in use"));
}

Test(cli, client_server_closes_is_status_1)
{
	w.server_cfg.misbehave = TEST_CLOSE_SESSION;
	cr_assert_eq(run(any_port(client_line("--psk secret --insecure --reconnect no")), NULL), 1);
	cr_assert_not_null(strstr(p.text, "closed the session"));
}

Test(cli, client_unknown_certificate_nobody_to_ask_is_refused)
{
	char print[QP_FINGERPRINT_TEXT_BYTES];
	struct qp_errmsg msg;

	cr_assert_eq(run(client_line("--psk secret"), NULL), 3);
	cr_assert_eq(qp_cert_fingerprint_file(w.cert, print, &msg), 0);
	cr_assert_not_null(strstr(p.text, print));
	cr_assert_not_null(strstr(p.text, "quicport trust"));
	cr_assert_eq(test_server_clients(w.server), 0);
}

static void
answer(const char *text)
{
	await_text("[y/N] ");
	cr_assert_eq(write(p.out, text, strlen(text)), (ssize_t)strlen(text));
}

Test(cli, client_unknown_certificate_asked_yes_is_recorded_once)
{
	const char *line = any_port(client_line("--psk secret"));

	start_on_terminal(line);
	answer("y\n");
	expect_open_then_stop(SIGTERM);
	close(p.out);
	/* The second time nobody needs to be asked. */
	start(line, NULL);
	expect_open_then_stop(SIGTERM);
}

Test(cli, client_unknown_certificate_asked_no_is_refused)
{
	start_on_terminal(client_line("--psk secret"));
	answer("\n");
	world_until(has_ended, NULL, "the program ends");
	cr_assert_eq(p.status, 3);
	cr_assert_eq(test_server_clients(w.server), 0);
	cr_assert_neq(access(scratch_path("home/.local/share/quicport/known_hosts"), F_OK), 0);
}

Test(cli, client_question_is_interrupted_by_ctrl_c)
{
	start_on_terminal(client_line("--psk secret"));
	answer("\x03");
	world_until(has_ended, NULL, "the program ends");
	cr_assert_eq(p.status, 3);
}

Test(cli, client_changed_certificate_is_a_loud_refusal)
{
	char known[256], host[64];

	snprintf(host, sizeof(host), "127.0.0.1:%u", (client_line(""), test_server_port(w.server)));
	snprintf(known, sizeof(known), "%s AA:BB\n", host);
	mkdir(scratch_path("home/.local"), 0700);
	mkdir(scratch_path("home/.local/share"), 0700);
	mkdir(scratch_path("home/.local/share/quicport"), 0700);
	scratch_file("home/.local/share/quicport/known_hosts", known, 0600);
	cr_assert_eq(run(client_line("--psk secret"), NULL), 3);
	cr_assert_not_null(strstr(p.text, "HAS CHANGED"));
	cr_assert_eq(test_server_clients(w.server), 0);
	start_on_terminal(client_line("--psk secret"));
	await_text("*** WARNING");
	answer("n\n");
	world_until(has_ended, NULL, "the program ends");
	cr_assert_eq(p.status, 3);
}
