/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `quicport prompt`: this terminal at a running gateway's prompt, or one command
 * and its answer. Main thread.
 */
#include <glob.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/commands.h"
#include "client/options.h"
#include "common/ipc.h"
#include "common/prompt.h"
#include "common/terminal.h"

#define ANSWER_MS 5000

struct prompt {
	const char *instance;        /* NULL: the only one */
	const char *data_plane;      /* its id; NULL: the ACTIVE one */
	const char *sign;
	uint32_t stats_period_s;
	struct qp_opt_strings words;
	char command[1024];          /* `words` as a line; "": what is typed */
	struct qp_terminal terminal;
	int fd;
	bool in_ended, told_end;
	char in[QP_PROMPT_PACKET - 1], out[QP_PROMPT_PACKET];
	uint32_t in_len, out_len, out_at;
};

static volatile sig_atomic_t interrupted;

static void
on_signal(int number)
{
	interrupted = number;
}

/* Which gateway is meant; its run folder. */
static int
find_folder(const struct prompt *p, char *out, size_t cap, struct qp_errmsg *msg)
{
	const char *fine = QP_RUN_DIR "/*/" QP_PROMPT_ACTIVE;
	glob_t found = {0};
	int err = 0;

	if (p->instance != NULL) {
		snprintf(out, cap, QP_RUN_DIR "/%s", p->instance);
		return strchr(p->instance, '/') == NULL ? 0
			: qp_fail(msg, QP_E_INVAL, "--instance %s: expected a name without /", p->instance);
	}
	if (glob(fine, 0, NULL, &found) != 0 || found.gl_pathc == 0)
		err = qp_fail(msg, QP_E_NOTFOUND, "no gateway with a prompt runs here, or it is not for this user "
			"to see (" QP_RUN_DIR "/NAME/" QP_PROMPT_ACTIVE "): try sudo");
	else if (found.gl_pathc > 1)
		err = qp_fail(msg, QP_E_INVAL, "%zu gateways run here: name one of them with --instance "
			"(the folders in " QP_RUN_DIR ")", found.gl_pathc);
	else
		snprintf(out, cap, "%.*s", (int)(strrchr(found.gl_pathv[0], '/') - found.gl_pathv[0]),
			found.gl_pathv[0]);
	globfree(&found);
	return err;
}

static int
socket_path(const struct prompt *p, char *out, size_t cap, struct qp_errmsg *msg)
{
	unsigned long id;
	char folder[256], name[32] = QP_PROMPT_ACTIVE, *end;
	int err = find_folder(p, folder, sizeof(folder), msg);

	if (err == 0 && p->data_plane != NULL) {
		id = strtoul(p->data_plane, &end, 16);
		if (*p->data_plane == '\0' || *end != '\0' || id == 0 || id > UINT16_MAX)
			err = qp_fail(msg, QP_E_INVAL, "--data-plane %s: expected an id as "
				"`quicport admin list-data-planes` shows it", p->data_plane);
		else
			snprintf(name, sizeof(name), QP_PROMPT_SOCKET, (unsigned)id);
	}
	if (err == 0)
		snprintf(out, cap, "%s/%s", folder, name);
	return err;
}

static int
call(struct prompt *p, struct qp_errmsg *msg)
{
	struct qp_prompt_hello hello = {.magic = QP_PROMPT_MAGIC, .version = QP_PROMPT_VERSION,
		.flags = p->command[0] != '\0' ? QP_PROMPT_QUIET : 0, .stats_period_s = p->stats_period_s};
	struct qp_prompt_told told;
	struct pollfd wait = {.events = POLLIN};
	char path[300];
	int err = socket_path(p, path, sizeof(path), msg);

	snprintf(hello.sign, sizeof(hello.sign), "%s", p->sign);
	if (err == 0)
		err = qp_prompt_call(path, &hello, &p->fd, msg);
	if (err != 0)
		return err;
	wait.fd = p->fd;
	(void)poll(&wait, 1, ANSWER_MS);
	err = qp_prompt_answer(p->fd, &told, msg);
	return err != QP_E_AGAIN ? err : qp_fail(msg, QP_E_TIMEOUT, "%s: the data plane gives no answer", path);
}

static void
fill(struct prompt *p)
{
	int n;

	if (p->in_len > 0 || p->in_ended)
		return;
	if (p->command[0] != '\0') {
		p->in_len = (uint32_t)snprintf(p->in, sizeof(p->in), "%s\n", p->command);
		p->command[0] = '\0';
		p->words.n = 0;
		return;
	}
	n = p->terminal.in < 0 ? 0 : qp_terminal_read(&p->terminal, p->in, sizeof(p->in));
	if (n > 0)
		p->in_len = (uint32_t)n;
	p->in_ended = n == 0;
}

/* To the gateway. */
static void
pass(struct prompt *p)
{
	fill(p);
	while (p->in_len > 0 && qp_prompt_send(p->fd, QP_PROMPT_INPUT, p->in, p->in_len) == QP_OK) {
		p->in_len = 0;
		fill(p);
	}
	if (p->in_len == 0 && p->in_ended && !p->told_end)
		p->told_end = qp_prompt_send(p->fd, QP_PROMPT_EOF, NULL, 0) == QP_OK;
}

/* From it. 1: goes on; else the exit status, negative: it was cut. */
static int
show(struct prompt *p)
{
	enum qp_prompt_packet kind;
	uint32_t len;
	int err;

	for (;;) {
		while (p->out_at < p->out_len) {
			const int n = qp_terminal_write(&p->terminal, p->out + p->out_at, p->out_len - p->out_at);

			if (n == QP_E_AGAIN)
				return 1;
			if (n < 0)
				return 0; /* nobody reads any more */
			p->out_at += (uint32_t)n;
		}
		err = qp_prompt_receive(p->fd, &kind, p->out, &len);
		p->out_at = p->out_len = 0;
		if (err == QP_E_AGAIN)
			return 1;
		if (err != QP_OK)
			return err;
		if (kind == QP_PROMPT_QUIT)
			return 0;
		p->out_len = kind == QP_PROMPT_OUTPUT ? len : 0;
	}
}

static int
relay(struct prompt *p)
{
	int rc;

	for (;;) {
		struct pollfd fds[3] = {{.fd = p->fd}, {.fd = -1, .events = POLLIN}, {.fd = -1, .events = POLLOUT}};

		pass(p);
		rc = show(p);
		if (rc != 1 || interrupted)
			return interrupted ? 0 : rc;
		fds[0].events = (short)((p->out_at == p->out_len ? POLLIN : 0) |
					(p->in_len > 0 || (p->in_ended && !p->told_end) ? POLLOUT : 0));
		if (p->in_len == 0 && !p->in_ended)
			fds[1].fd = p->terminal.in;
		if (p->out_at < p->out_len)
			fds[2].fd = p->terminal.out;
		(void)poll(fds, 3, -1);
	}
}

static int
join(struct prompt *p, struct qp_errmsg *msg)
{
	size_t at = 0;

	for (unsigned i = 0; i < p->words.n; i++) {
		at += (size_t)snprintf(p->command + at, sizeof(p->command) - at, "%s%s", i == 0 ? "" : " ",
			p->words.v[i]);
		if (at >= sizeof(p->command))
			return qp_fail(msg, QP_E_INVAL, "a command has at most %zu bytes", sizeof(p->command) - 1);
	}
	return 0;
}

static int
run(struct prompt *p)
{
	const bool one = p->words.n > 0;
	const struct sigaction act = {.sa_handler = on_signal};
	struct qp_errmsg msg;
	int rc = join(p, &msg);

	if (rc == 0)
		rc = call(p, &msg);
	if (rc != 0) {
		fprintf(stderr, "quicport prompt: %s\n", msg.text);
		return rc == QP_E_INVAL ? QPC_EXIT_USAGE : QPC_EXIT_FAILED;
	}
	sigaction(SIGINT, &act, NULL);
	sigaction(SIGTERM, &act, NULL);
	sigaction(SIGHUP, &act, NULL);
	signal(SIGPIPE, SIG_IGN);
	qp_terminal_open(&p->terminal, !one);
	if (one)
		p->terminal.in = -1;
	rc = relay(p);
	qp_terminal_close(&p->terminal);
	close(p->fd);
	if (rc == 0)
		return QPC_EXIT_OK;
	fprintf(stderr, "quicport prompt: the data plane has ended\n");
	return QPC_EXIT_FAILED;
}

int
qpc_command_prompt(int argc, char **argv)
{
	static struct prompt p = {.fd = -1};
	const struct qp_opt opts[] = {
		{.name = "instance", .arg = "NAME", .env = "",
			.help = "which gateway, as its folder in " QP_RUN_DIR " is called (default: the only one)",
			.parse = qp_opt_string, .value = &p.instance},
		{.name = "data-plane", .arg = "ID", .env = "",
			.help = "which of its data planes (default: the one that takes new clients)",
			.parse = qp_opt_string, .value = &p.data_plane},
		{.name = "stats-period", .arg = "SECONDS", .env = "", .fallback = "0", .max = QP_PROMPT_MAX_PERIOD,
			.help = "show the ports' statistics so often", .parse = qp_opt_u32,
			.value = &p.stats_period_s},
		{.name = "prompt", .arg = "TEXT", .env = "", .fallback = QP_PROMPT_SIGN,
			.help = "what asks for a command", .parse = qp_opt_string, .value = &p.sign},
		{0},
	};
	const struct qp_opt_command cmd = {
		.name = "quicport prompt",
		.summary = "Opens the prompt of a running gateway, whose commands are those of DPDK's testpmd; "
			   "with a COMMAND, does that one and shows what it says. `quit`, or the end of input, "
			   "leaves the prompt and changes nothing.",
		.args = "[COMMAND...]",
		.epilogue = "Example: quicport prompt show port stats all\n",
		.opts = opts,
		.positional = &p.words,
	};

	qp_opt_parse_or_exit(&cmd, argc, argv);
	return run(&p);
}
