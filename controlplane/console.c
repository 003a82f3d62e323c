/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two ends that may both be slow: what one has said waits here, one packet at
 * most, until the other takes it. Loop thread.
 */
#define QP_LOG_MODULE QP_LOG_M_process
#include "controlplane/console.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/file.h"
#include "common/log.h"
#include "common/prompt.h"
#include "common/terminal.h"

#define FILE_MOST (1u << 20)

struct qp_console {
	struct qp_console_config cfg;
	struct qp_terminal terminal;
	struct qp_watch in_watch, out_watch, watch; /* the terminal's two, and the session's */
	uint32_t active;             /* whose prompt it is; 0: nobody's */
	int fd;                      /* the session; -1: none */
	bool answered;               /* it has said who it is: */
	bool running;                /* … and whether it serves */
	char *script;                /* the file's lines that were not sent yet; NULL: all were */
	size_t script_len, script_at;
	bool reading_script;         /* this session is the script's */
	bool in_ended;               /* nothing more comes from our side of the session */
	bool told_end;               /* … and the data plane knows */
	char in[QP_PROMPT_PACKET - 1], out[QP_PROMPT_PACKET];
	uint32_t in_len, out_len, out_at;
};

static void pump(struct qp_console *c);

static bool
has_work(const struct qp_console *c)
{
	return c->script != NULL || c->cfg.options.interactive || c->cfg.options.stats_period_s > 0;
}

static void
hang_up(struct qp_console *c)
{
	qp_loop_unwatch(c->cfg.loop, &c->watch);
	qp_loop_unwatch(c->cfg.loop, &c->in_watch);
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
}

static void
note_running(struct qp_console *c, bool running)
{
	if (running != c->running)
		c->cfg.hold(c->cfg.ctx, !running);
	c->running = running;
}

static void
on_session(void *ctx, uint32_t events)
{
	(void)events;
	pump(ctx);
}

static void
call(struct qp_console *c)
{
	struct qp_prompt_hello hello = {.magic = QP_PROMPT_MAGIC, .version = QP_PROMPT_VERSION,
		.flags = QP_PROMPT_OWNER};
	char path[160];
	struct qp_errmsg msg;

	if (c->active == 0 || !has_work(c))
		return;
	c->reading_script = c->script != NULL;
	if (c->reading_script || !c->cfg.options.interactive)
		hello.flags |= QP_PROMPT_QUIET;
	if (!c->reading_script)
		hello.stats_period_s = c->cfg.options.interactive ? 0 : c->cfg.options.stats_period_s;
	snprintf(hello.sign, sizeof(hello.sign), "%s",
		c->cfg.options.sign != NULL ? c->cfg.options.sign : "");
	snprintf(path, sizeof(path), "%s/" QP_PROMPT_SOCKET, c->cfg.dir, c->active);
	if (qp_prompt_call(path, &hello, &c->fd, &msg) != 0) {
		c->fd = -1;
		qp_log(QP_LOG_WARN, "the terminal has no prompt", QP_LOG_STR("reason", msg.text));
		return;
	}
	c->answered = c->in_ended = c->told_end = false;
	if (qp_loop_watch(c->cfg.loop, &c->watch, c->fd, EPOLLIN, on_session, c) != 0)
		hang_up(c);
	else
		pump(c);
}

/* The session has ended in good order: the next one, or the gateway's end. */
static void
on_quit(struct qp_console *c, bool typed)
{
	const bool was_script = c->reading_script;

	hang_up(c);
	if (was_script) {
		qp_file_free(c->script);
		c->script = NULL;
	}
	if (typed || !was_script)
		c->cfg.quit(c->cfg.ctx);
	else
		call(c);
}

static bool
take_answer(struct qp_console *c)
{
	struct qp_prompt_told told;
	struct qp_errmsg msg;
	const int err = qp_prompt_answer(c->fd, &told, &msg);

	if (err == QP_E_AGAIN)
		return false;
	if (err != QP_OK) {
		qp_log(QP_LOG_WARN, "the terminal has no prompt", QP_LOG_STR("reason", msg.text));
		hang_up(c);
		return false;
	}
	c->answered = true;
	note_running(c, told.running);
	return true;
}

/* From the data plane. False: nothing more now. */
static bool
take_packet(struct qp_console *c)
{
	enum qp_prompt_packet kind;
	uint32_t len;
	int err;

	if (c->fd < 0 || c->out_at < c->out_len)
		return false;
	if (!c->answered)
		return take_answer(c);
	err = qp_prompt_receive(c->fd, &kind, c->out, &len);
	if (err != QP_OK) {
		if (err == QP_E_CLOSED)
			hang_up(c); /* it died, or ends: the next one calls */
		return false;
	}
	if (kind == QP_PROMPT_OUTPUT) {
		c->out_at = 0;
		c->out_len = len;
	} else if (kind == QP_PROMPT_STATE && len > 0) {
		note_running(c, c->out[0] != 0);
	} else if (kind == QP_PROMPT_QUIT) {
		on_quit(c, len > 0 && c->out[0] == 1);
	}
	return true;
}

static bool
show(struct qp_console *c)
{
	int n;

	if (c->out_at == c->out_len)
		return false;
	n = qp_terminal_write(&c->terminal, c->out + c->out_at, c->out_len - c->out_at);
	if (n == QP_E_CLOSED)
		c->out_at = c->out_len; /* nobody reads: what is said is not missed */
	else if (n > 0)
		c->out_at += (uint32_t)n;
	return n > 0 || n == QP_E_CLOSED;
}

/* What comes next from file or terminal, if the last was taken. */
static void
fill(struct qp_console *c)
{
	int n;

	if (c->in_len > 0 || c->in_ended)
		return;
	if (c->reading_script) {
		c->in_len = (uint32_t)(c->script_len - c->script_at);
		if (c->in_len > sizeof(c->in))
			c->in_len = sizeof(c->in);
		memcpy(c->in, c->script + c->script_at, c->in_len);
		c->script_at += c->in_len;
		c->in_ended = c->in_len == 0;
		return;
	}
	if (!c->cfg.options.interactive)
		return;
	n = qp_terminal_read(&c->terminal, c->in, sizeof(c->in));
	if (n > 0)
		c->in_len = (uint32_t)n;
	else
		c->in_ended = n == 0;
}

/* To the data plane. */
static bool
pass(struct qp_console *c)
{
	int err;

	if (c->fd < 0 || !c->answered || c->told_end)
		return false;
	fill(c);
	if (c->in_len > 0) {
		err = qp_prompt_send(c->fd, QP_PROMPT_INPUT, c->in, c->in_len);
		if (err == QP_OK)
			c->in_len = 0;
		return err == QP_OK;
	}
	if (!c->in_ended)
		return false;
	c->told_end = qp_prompt_send(c->fd, QP_PROMPT_EOF, NULL, 0) == QP_OK;
	return c->told_end;
}

static void
on_terminal(void *ctx, uint32_t events)
{
	(void)events;
	pump(ctx);
}

/* Whom to wait for next. */
static void
watch_ends(struct qp_console *c)
{
	const bool want_in = c->fd >= 0 && !c->reading_script && c->cfg.options.interactive &&
			     c->in_len == 0 && !c->in_ended && c->terminal.in_polls;
	const bool want_out = c->out_at < c->out_len && c->terminal.out_polls;

	if (!want_in)
		qp_loop_unwatch(c->cfg.loop, &c->in_watch);
	else if (c->in_watch.fd < 0 && qp_loop_watch(c->cfg.loop, &c->in_watch, c->terminal.in, EPOLLIN,
						on_terminal, c) != 0)
		c->in_ended = true;
	if (!want_out)
		qp_loop_unwatch(c->cfg.loop, &c->out_watch);
	else if (c->out_watch.fd < 0 && qp_loop_watch(c->cfg.loop, &c->out_watch, c->terminal.out,
						 EPOLLOUT, on_terminal, c) != 0)
		c->out_at = c->out_len;
	if (c->fd >= 0)
		qp_loop_watch_events(c->cfg.loop, &c->watch,
			(c->out_at == c->out_len ? EPOLLIN : 0) |
				(c->in_len > 0 || (c->in_ended && !c->told_end) ? EPOLLOUT : 0));
}

static void
pump(struct qp_console *c)
{
	bool moved = true;

	while (moved) {
		moved = pass(c);
		moved |= show(c);
		moved |= take_packet(c);
	}
	watch_ends(c);
}

/* prompt.sock leads there from now on: whoever calls meanwhile gets the one or the other. */
static void
lead_to(const struct qp_console *c, uint32_t server_id)
{
	char target[32], link[160], fresh[168];

	snprintf(target, sizeof(target), QP_PROMPT_SOCKET, server_id);
	snprintf(link, sizeof(link), "%s/" QP_PROMPT_ACTIVE, c->cfg.dir);
	snprintf(fresh, sizeof(fresh), "%s.new", link);
	(void)unlink(fresh);
	if (symlink(target, fresh) != 0 || rename(fresh, link) != 0)
		qp_log(QP_LOG_WARN, "prompt.sock does not lead to the new data plane",
			QP_LOG_ERRNO(errno));
}

void
qp_console_attach(struct qp_console *c, uint32_t server_id)
{
	lead_to(c, server_id);
	c->active = server_id;
	hang_up(c);
	/* A script that was interrupted goes on behind what was sent. */
	call(c);
}

void
qp_console_gone(struct qp_console *c, uint32_t server_id)
{
	char path[160];

	snprintf(path, sizeof(path), "%s/" QP_PROMPT_SOCKET, c->cfg.dir, server_id);
	(void)unlink(path);
	if (c->active != server_id)
		return;
	hang_up(c);
	c->active = 0;
}

static int
read_script(struct qp_console *c, struct qp_errmsg *msg)
{
	const char *path = c->cfg.options.file;

	if (path == NULL || c->cfg.again)
		return 0;
	return qp_file_read(path, FILE_MOST, &c->script, &c->script_len, NULL, msg);
}

int
qp_console_open(const struct qp_console_config *cfg, struct qp_console **out, struct qp_errmsg *msg)
{
	struct qp_console *c = calloc(1, sizeof(*c));
	int err;

	if (c == NULL)
		return qp_fail(msg, QP_E_NOMEM, "out of memory");
	c->cfg = *cfg;
	c->fd = -1;
	c->in_watch = c->out_watch = c->watch = (struct qp_watch)QP_WATCH_NONE;
	c->running = !cfg->options.interactive || cfg->options.auto_start || cfg->again;
	err = read_script(c, msg);
	if (err != 0) {
		free(c);
		return err;
	}
	if (has_work(c))
		qp_terminal_open(&c->terminal, cfg->options.interactive);
	if (!c->running)
		cfg->hold(cfg->ctx, true);
	*out = c;
	return 0;
}

void
qp_console_close(struct qp_console *c)
{
	if (c == NULL)
		return;
	hang_up(c);
	qp_loop_unwatch(c->cfg.loop, &c->out_watch);
	qp_terminal_close(&c->terminal);
	qp_file_free(c->script);
	free(c);
}
