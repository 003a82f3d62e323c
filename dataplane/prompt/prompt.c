/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sessions: what is typed goes through rte_cmdline's editor, what is read from a
 * file goes to its parser line by line. Commands are in files of their own. The
 * thread that opened them.
 */
#include "dataplane/prompt/prompt_impl.h"

#include <cmdline.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ECHO_BYTES (1u << 20) /* what rte_cmdline may say at once: a completion's list, at most */

static struct qp_prompt_session *speaking;

struct qp_prompt_session *
qp_prompt_speaking(void)
{
	return speaking;
}

struct qp_prompt *
qp_prompt_current(void)
{
	return speaking->prompt;
}

/* What rte_cmdline has said by itself comes first. */
static void
pass_echo(struct qp_prompt_session *s)
{
	char bytes[4096];
	ssize_t n;

	if (s->echo[0] < 0)
		return;
	while ((n = read(s->echo[0], bytes, sizeof(bytes))) > 0) {
		if (!s->ended)
			s->cfg.write(s->cfg.ctx, bytes, (uint32_t)n);
	}
}

void
qp_prompt_say(struct qp_prompt_session *s, const char *fmt, ...)
{
	char text[1024];
	va_list ap;
	int n;

	pass_echo(s);
	va_start(ap, fmt);
	n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (n > 0)
		s->cfg.write(s->cfg.ctx, text,
			(uint32_t)n < sizeof(text) ? (uint32_t)n : (uint32_t)sizeof(text) - 1);
}

void
qp_prompt_lacks(struct qp_prompt_session *s, const char *what)
{
	qp_prompt_say(s, "%s: this program has none\n", what);
}

unsigned
qp_prompt_nports(const struct qp_prompt *p)
{
	unsigned n = p->cfg.ops->nports(p->cfg.ctx);

	return n < QP_PROMPT_MAX_PORTS ? n : QP_PROMPT_MAX_PORTS;
}

bool
qp_prompt_port_ok(struct qp_prompt_session *s, unsigned port)
{
	if (port < qp_prompt_nports(s->prompt))
		return true;
	qp_prompt_say(s, "Invalid port %u\n", port);
	return false;
}

/* Help and the end. */

static const char help_text[] =
	"\n"
	"    show port (info|stats|xstats) (PORT|all)   what a port is, and what it counts\n"
	"    show fwd stats all                         what the streams have carried\n"
	"    show lcore cycles                          busy and idle cycles; cycles a packet and a byte\n"
	"    show config [rxtx|cores|fwd]               ports, lcores, streams\n"
	"    show tunnels                               the clients' tunnels\n"
	"    show neighbours                            the neighbour cache\n"
	"    clear port (stats|xstats) (PORT|all)\n"
	"    clear fwd stats all\n"
	"    start, stop                                packets are served, or wait\n"
	"    port (start|stop) (PORT|all)\n"
	"    set burst N                                packets taken and given at once, 1 to 512\n"
	"    set verbose N                              1: shows received packets, 2: sent ones, 3: both\n"
	"    set fwd ENGINE                             %s\n"
	"    set promisc (PORT|all) (on|off)\n"
	"    help, quit\n";

static void
on_help(void *parsed, struct cmdline *cl, void *data)
{
	const struct qp_prompt_config *cfg = &speaking->prompt->cfg;

	(void)parsed, (void)cl, (void)data;
	qp_prompt_say(speaking, help_text,
		cfg->ops->fwd_engines != NULL ? cfg->ops->fwd_engines : "the only one is in use");
	if (cfg->extra_help != NULL)
		qp_prompt_say(speaking, "%s", cfg->extra_help);
	qp_prompt_say(speaking, "\n");
}

static void
on_quit(void *parsed, struct cmdline *cl, void *data)
{
	struct qp_prompt *p = speaking->prompt;

	(void)parsed, (void)cl, (void)data;
	if (!speaking->cfg.owner)
		qp_prompt_say(speaking, "Leaving the prompt: the gateway runs on.\n");
	else
		qp_prompt_say(speaking, "\nBye...\n");
	speaking->ended = true;
	if (speaking->cfg.owner && p->cfg.ops->quit != NULL)
		p->cfg.ops->quit(p->cfg.ctx);
}

QP_PROMPT_WORD(word_help, 0, "help");
QP_PROMPT_WORD(word_quit, 0, "quit");

static cmdline_parse_inst_t help_command = {
	.f = on_help,
	.help_str = "help",
	.tokens = {(void *)&word_help, NULL},
};

static cmdline_parse_inst_t quit_command = {
	.f = on_quit,
	.help_str = "quit",
	.tokens = {(void *)&word_quit, NULL},
};

static cmdline_parse_inst_t *const own_commands[] = {&help_command, &quit_command, NULL};

/* All commands in one list. */

static size_t
count(cmdline_parse_inst_t *const *list)
{
	size_t n = 0;

	while (list != NULL && list[n] != NULL)
		n++;
	return n;
}

int
qp_prompt_new(const struct qp_prompt_config *cfg, struct qp_prompt **out, struct qp_errmsg *msg)
{
	cmdline_parse_inst_t *const *const lists[] = {own_commands, qp_prompt_port_commands,
		qp_prompt_fwd_commands, qp_prompt_set_commands, cfg->extra};
	const size_t nlists = sizeof(lists) / sizeof(lists[0]);
	struct qp_prompt *p = calloc(1, sizeof(*p));
	size_t n = 1, at = 0;

	for (size_t i = 0; i < nlists; i++)
		n += count(lists[i]);
	if (p != NULL)
		p->commands = calloc(n, sizeof(p->commands[0]));
	if (p == NULL || p->commands == NULL) {
		free(p);
		return qp_fail(msg, QP_E_NOMEM, "no memory for a prompt");
	}
	for (size_t i = 0; i < nlists; i++) {
		for (size_t j = 0; j < count(lists[i]); j++)
			p->commands[at++] = lists[i][j];
	}
	p->cfg = *cfg;
	LIST_INIT(&p->sessions);
	*out = p;
	return 0;
}

void
qp_prompt_free(struct qp_prompt *p)
{
	if (p == NULL)
		return;
	for (unsigned i = 0; i < QP_PROMPT_MAX_PORTS; i++)
		free(p->port[i].xcleared);
	free(p->commands);
	free(p);
}

/* Sessions. */

struct qp_prompt_session *
qp_prompt_open(struct qp_prompt *p, const struct qp_prompt_session_config *cfg)
{
	struct qp_prompt_session *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return NULL;
	s->cfg = *cfg;
	s->prompt = p;
	s->echo[0] = s->echo[1] = -1;
	if (!cfg->quiet && pipe2(s->echo, O_CLOEXEC | O_NONBLOCK) != 0) {
		free(s);
		return NULL;
	}
	if (!cfg->quiet)
		(void)fcntl(s->echo[1], F_SETPIPE_SZ, ECHO_BYTES);
	s->cl = cmdline_new(p->commands, cfg->sign, -1, s->echo[1]);
	LIST_INSERT_HEAD(&p->sessions, s, link);
	if (s->cl == NULL) {
		qp_prompt_close(s);
		return NULL;
	}
	s->cfg.sign = NULL; /* rte_cmdline has copied it */
	pass_echo(s);
	return s;
}

void
qp_prompt_close(struct qp_prompt_session *s)
{
	LIST_REMOVE(s, link);
	if (s->cl != NULL)
		cmdline_free(s->cl);
	if (s->echo[0] >= 0) {
		close(s->echo[0]);
		close(s->echo[1]);
	}
	free(s);
}

static void
do_line(struct qp_prompt_session *s)
{
	int rc;

	s->line[s->line_len] = '\0';
	s->line_len = 0;
	rc = cmdline_parse(s->cl, s->line);
	s->line[strcspn(s->line, "\r\n")] = '\0';
	if (rc == CMDLINE_PARSE_AMBIGUOUS)
		qp_prompt_say(s, "%s: Ambiguous command\n", s->line);
	else if (rc == CMDLINE_PARSE_NOMATCH)
		qp_prompt_say(s, "%s: Command not found\n", s->line);
	else if (rc == CMDLINE_PARSE_BAD_ARGS)
		qp_prompt_say(s, "%s: Bad arguments\n", s->line);
}

/* rte_cmdline wants the end of the line, too. What is longer than a line is cut. */
static void
take_quietly(struct qp_prompt_session *s, char c)
{
	if (s->line_len < sizeof(s->line) - 2 || c == '\n')
		s->line[s->line_len++] = c;
	if (c == '\n')
		do_line(s);
}

bool
qp_prompt_feed(struct qp_prompt_session *s, const char *bytes, uint32_t len)
{
	speaking = s;
	for (uint32_t i = 0; i < len && !s->ended; i++) {
		if (s->cfg.quiet)
			take_quietly(s, bytes[i]);
		else
			(void)cmdline_in(s->cl, bytes + i, 1);
	}
	pass_echo(s);
	speaking = NULL;
	return !s->ended;
}

void
qp_prompt_show_period(struct qp_prompt_session *s)
{
	/* Clears the screen and begins at its top. */
	qp_prompt_say(s, "\x1b[2J\x1b[1;1H\nPort statistics ====================================");
	for (unsigned i = 0; i < qp_prompt_nports(s->prompt); i++)
		qp_prompt_port_stats(s, i);
}

int
qp_prompt_start(struct qp_prompt *p, struct qp_errmsg *msg)
{
	return p->cfg.ops->running(p->cfg.ctx) ? 0 : p->cfg.ops->start(p->cfg.ctx, true, msg);
}
