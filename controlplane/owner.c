/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Starts `quicport-port-owner`, waits for its one line, holds its lifeline.
 * Loop thread.
 */
#define QP_LOG_MODULE QP_LOG_M_process
#include "controlplane/owner.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "controlplane/proc.h"

#define PROGRAM "quicport-port-owner"
#define START_PATIENCE_MS 15000u /* zeroing memory takes about 0.2 s a GiB */
#define END_PATIENCE_MS 300u

struct qp_owner {
	struct qp_owner_config cfg;
	struct qp_child child;
	pid_t pid; /* still there when the child's is gone */
	int lifeline; /* -1: let go */
	int ready_fd; /* -1: it has told */
	struct qp_watch ready_watch;
	struct qp_loop_timer patience;
	bool ready;
	size_t line_len;
	char line[512];
};

static void
stop_listening(struct qp_owner *o)
{
	qp_loop_unwatch(o->cfg.loop, &o->ready_watch);
	if (o->ready_fd >= 0)
		close(o->ready_fd);
	o->ready_fd = -1;
}

/* The pipe's end: all that it had to say is here. */
static void
on_told(struct qp_owner *o)
{
	stop_listening(o);
	o->line[o->line_len] = '\0';
	if (strcmp(o->line, "R") == 0) {
		o->ready = true;
		qp_loop_timer_cancel(o->cfg.loop, &o->patience);
		o->cfg.ready(o->cfg.ctx);
	} else if (o->line_len > 0) {
		o->cfg.failed(o->cfg.ctx, o->line);
	}
	/* Nothing said: its end will be told by on_ended. */
}

static void
on_ready_fd(void *ctx, uint32_t events)
{
	struct qp_owner *o = ctx;
	ssize_t n = read(o->ready_fd, o->line + o->line_len, sizeof(o->line) - 1 - o->line_len);

	(void)events;
	if (n > 0)
		o->line_len += (size_t)n;
	else if (n == 0 || errno != EAGAIN)
		on_told(o);
}

static void
on_ended(void *ctx, int status)
{
	struct qp_owner *o = ctx;
	char how[96], why[192];

	qp_loop_timer_cancel(o->cfg.loop, &o->patience);
	qp_instance_remove_process(o->cfg.instance, o->pid);
	qp_proc_status_text(status, how);
	/* Its last words may still be in the pipe. */
	while (o->ready_fd >= 0)
		on_ready_fd(o, 0);
	if (!o->ready && o->line_len == 0) {
		snprintf(why, sizeof(why), "the port owner %s before it was ready", how);
		o->cfg.failed(o->cfg.ctx, why);
	}
	o->cfg.ended(o->cfg.ctx, how);
}

static void
on_patience_over(void *ctx)
{
	struct qp_owner *o = ctx;

	qp_log(QP_LOG_WARN, "the port owner takes too long: it is killed");
	qp_child_signal(&o->child, SIGKILL);
}

static int
spawn(struct qp_owner *o, int ready_write, int lifeline_read, struct qp_errmsg *msg)
{
	char path[PATH_MAX], memory[16], levels[QP_LOG_LEVELS_BYTES];
	const int fds[] = {ready_write, lifeline_read};
	const char *argv[] = {PROGRAM, "--instance", o->cfg.instance->name, "--memory", memory,
		"--ready-fd", "3", "--lifeline-fd", "4", "--log-level",
		qp_log_levels_text(levels), "--log-format",
		qp_log_format_name(o->cfg.log.format),
		o->cfg.log.output != NULL ? "--log-output" : NULL, o->cfg.log.output, NULL};
	int err = qp_proc_sibling(PROGRAM, path, sizeof(path), msg);

	_Static_assert(QP_CHILD_FIRST_FD == 3, "the descriptors' numbers above");
	snprintf(memory, sizeof(memory), "%u", o->cfg.memory_mib);
	if (err == 0)
		err = qp_child_start(o->cfg.loop, &o->child, path, argv, fds, 2, on_ended, o, msg);
	return err;
}

/* One that has ended already has said why: that is read as any other's last words. */
static int
note_process(struct qp_owner *o, struct qp_errmsg *msg)
{
	int err;

	o->pid = o->child.pid;
	err = qp_instance_add_process(o->cfg.instance, o->pid, msg);
	return err == QP_E_NOTFOUND ? 0 : err;
}

int
qp_owner_new(const struct qp_owner_config *cfg, struct qp_owner **out, struct qp_errmsg *msg)
{
	struct qp_owner *o = calloc(1, sizeof(*o));
	int ready[2] = {-1, -1}, lifeline[2] = {-1, -1}, err;

	if (o == NULL)
		return qp_fail(msg, QP_E_NOMEM, "out of memory");
	o->cfg = *cfg;
	o->child = (struct qp_child)QP_CHILD_NONE;
	o->ready_watch.fd = -1;
	o->patience = (struct qp_loop_timer) {.fire = on_patience_over, .ctx = o};
	if (pipe2(ready, O_CLOEXEC) != 0 || pipe2(lifeline, O_CLOEXEC) != 0 ||
		fcntl(ready[0], F_SETFL, O_NONBLOCK) != 0)
		err = qp_fail(msg, QP_E_IO, "cannot make a pipe: %s", strerror(errno));
	else
		err = spawn(o, ready[1], lifeline[0], msg);
	o->ready_fd = ready[0];
	o->lifeline = lifeline[1];
	if (ready[1] >= 0)
		close(ready[1]);
	if (lifeline[0] >= 0)
		close(lifeline[0]);
	if (err == 0 && qp_loop_watch(cfg->loop, &o->ready_watch, o->ready_fd, EPOLLIN, on_ready_fd,
				o) != 0)
		err = qp_fail(msg, QP_E_IO, "cannot watch a pipe: %s", strerror(errno));
	if (err == 0)
		err = note_process(o, msg);
	if (err != 0) {
		qp_child_signal(&o->child, SIGKILL);
		qp_owner_free(o);
		return err;
	}
	qp_loop_timer_set(cfg->loop, &o->patience, START_PATIENCE_MS);
	*out = o;
	return 0;
}

int
qp_owner_lifeline(const struct qp_owner *o)
{
	return o->lifeline;
}

void
qp_owner_release(struct qp_owner *o)
{
	if (o->lifeline >= 0)
		close(o->lifeline);
	o->lifeline = -1;
	if (qp_owner_alive(o))
		qp_loop_timer_set(o->cfg.loop, &o->patience, END_PATIENCE_MS);
}

void
qp_owner_reopen_log(struct qp_owner *o)
{
	/* Before it is ready the signal would end it: it opens the file itself then. */
	if (o->ready)
		qp_child_signal(&o->child, SIGUSR1);
}

bool
qp_owner_alive(const struct qp_owner *o)
{
	return o->child.pid != 0;
}

void
qp_owner_free(struct qp_owner *o)
{
	if (o == NULL)
		return;
	stop_listening(o);
	qp_loop_timer_cancel(o->cfg.loop, &o->patience);
	qp_child_forget(&o->child);
	if (o->lifeline >= 0)
		close(o->lifeline);
	free(o);
}
