/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Standard input, the prompt and the runs it asks for. Main thread. While a run
 * is under way the prompt is fed from the run's own tick, so that no second
 * thread looks at anything.
 */
#include "bench/terminal.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "bench/prompt_ops.h"
#include "bench/report.h"
#include "bench/worker.h"
#include "common/clock.h"

#define SIGN "quicport-bench> "
#define IDLE_MS 100

struct terminal {
	struct qpb_prompt_target t; /* first: what the commands see */
	const struct qpb_terminal_config *cfg;
	struct qp_prompt *prompt;
	struct qp_prompt_session *s;
	bool at_end; /* of standard input */
	bool in_file; /* its commands are being done: nobody is listened to */
	uint64_t period_at_ns;
	bool raw;
	struct termios before;
};

static void
to_stdout(void *ctx, const char *bytes, uint32_t len)
{
	while (len > 0) {
		ssize_t n = write(STDOUT_FILENO, bytes, len);

		if (n < 0 && errno != EINTR)
			return;
		if (n > 0) {
			bytes += n;
			len -= (uint32_t)n;
		}
	}
}

/* Line editing is the prompt's. */
static void
make_raw(struct terminal *k)
{
	struct termios now;

	if (tcgetattr(STDIN_FILENO, &k->before) != 0)
		return;
	now = k->before;
	now.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
	k->raw = tcsetattr(STDIN_FILENO, TCSANOW, &now) == 0;
}

/* Takes what was typed, waiting for `wait_ms` at most. */
static void
listen_in(struct terminal *k, int wait_ms)
{
	struct pollfd fd = {.fd = k->at_end ? -1 : STDIN_FILENO, .events = POLLIN};
	char bytes[512];
	ssize_t n;

	if (poll(&fd, 1, wait_ms) <= 0)
		return;
	n = read(STDIN_FILENO, bytes, sizeof(bytes));
	if (n > 0 && !qp_prompt_feed(k->s, bytes, (uint32_t)n))
		k->t.quit = true;
	else if (n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN))
		k->at_end = true;
}

static void
show_period(struct terminal *k)
{
	uint64_t now = qp_now_ns();

	if (k->cfg->stats_period_s == 0 || now < k->period_at_ns)
		return;
	k->period_at_ns = now + k->cfg->stats_period_s * 1000000000ull;
	qp_prompt_show_period(k->s);
}

static bool
tick(void *ctx)
{
	struct terminal *k = ctx;

	if (k->cfg->interactive && !k->in_file)
		listen_in(k, 0);
	show_period(k);
	qpb_prompt_show_frames(&k->t, k->s);
	return !k->t.stop && !k->t.quit && !*k->cfg->interrupted;
}

static void
run(struct terminal *k)
{
	struct qp_errmsg msg;
	int rc;

	k->t.wanted = k->t.stop = false;
	rc = qpb_program_run(k->t.p, tick, k, &msg);
	if (k->t.p->has_last)
		qpb_prompt_show_result(&k->t, k->s);
	if (rc < 0)
		qp_prompt_say(k->s, "%s\n", msg.text);
}

/*
 * Nobody is there to say when a run is over: what follows a `start` waits for its
 * end. A `start` at the end of the file leaves the prompt to who comes then.
 */
static void
do_lines(struct terminal *k, FILE *f)
{
	char line[512];

	while (!k->t.quit && !*k->cfg->interrupted && fgets(line, sizeof(line), f) != NULL) {
		if (k->t.wanted && line[strspn(line, " \t\r\n")] != '\0')
			run(k);
		if (!qp_prompt_feed(k->s, line, (uint32_t)strlen(line)))
			k->t.quit = true;
	}
	/* A last line without its end counts, too. */
	if (!k->t.quit && !qp_prompt_feed(k->s, "\n", 1))
		k->t.quit = true;
}

static int
feed_file(struct terminal *k, struct qp_errmsg *msg)
{
	const struct qp_prompt_session_config quiet = {
		.sign = "", .quiet = true, .owner = true, .write = to_stdout};
	FILE *f = fopen(k->cfg->file, "re");
	int rc = 0;

	if (f == NULL)
		return qp_fail(
			msg, QP_E_IO, "--cmdline-file %s: %s", k->cfg->file, strerror(errno));
	k->s = qp_prompt_open(k->prompt, &quiet);
	if (k->s != NULL) {
		k->in_file = true;
		do_lines(k, f);
		k->in_file = false;
		qp_prompt_close(k->s);
		k->s = NULL;
	} else {
		rc = qp_fail(msg, QP_E_NOMEM, "no memory for the prompt");
	}
	fclose(f);
	return rc;
}

static void
loop(struct terminal *k)
{
	while (!k->t.quit && !*k->cfg->interrupted) {
		if (k->t.wanted)
			run(k);
		else if (!k->cfg->interactive || k->at_end)
			return;
		else
			listen_in(k, IDLE_MS);
	}
}

int
qpb_terminal(struct qpb_program *p, const struct qpb_terminal_config *cfg, struct qp_errmsg *msg)
{
	struct terminal k = {.t.p = p, .cfg = cfg};
	const struct qp_prompt_config prompt = {.ops = &qpb_prompt_ops,
		.ctx = &k.t,
		.extra = qpb_prompt_commands,
		.extra_help = QPB_PROMPT_HELP};
	const struct qp_prompt_session_config session = {.sign = cfg->interactive ? SIGN : "",
		.quiet = !cfg->interactive || !isatty(STDIN_FILENO),
		.owner = true,
		.write = to_stdout};
	int rc = qp_prompt_new(&prompt, &k.prompt, msg);

	qpb_prompt_bind(&k.t);
	if (rc < 0)
		return rc;
	if (cfg->file != NULL)
		rc = feed_file(&k, msg);
	k.t.wanted |= cfg->auto_start;
	if (rc == 0 && cfg->interactive)
		make_raw(&k);
	if (rc == 0 && (k.s = qp_prompt_open(k.prompt, &session)) == NULL)
		rc = qp_fail(msg, QP_E_NOMEM, "no memory for the prompt");
	if (rc == 0) {
		loop(&k);
		qp_prompt_close(k.s);
	}
	if (k.raw)
		(void)tcsetattr(STDIN_FILENO, TCSANOW, &k.before);
	qp_prompt_free(k.prompt);
	return rc;
}
