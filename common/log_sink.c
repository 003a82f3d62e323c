/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where log lines go: an immutable struct behind an atomic pointer, so that a
 * writer needs no lock. Set up by one thread at a time.
 */
#include "common/log_sink.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct qp_log_sink first_sink = {.format = QP_LOG_CONSOLE, .fd = STDERR_FILENO};

/* Release by publish(), acquire by qp_log_sink(). */
static _Atomic(const struct qp_log_sink *) current = &first_sink;

const struct qp_log_sink *
qp_log_sink(void)
{
	return atomic_load_explicit(&current, memory_order_acquire);
}

static void
publish(struct qp_log_sink *s, const struct qp_log_sink *before)
{
	s->before = before;
	atomic_store_explicit(&current, s, memory_order_release);
}

static bool
wants_colour(int fd)
{
	const char *term = getenv("TERM");

	return isatty(fd) && getenv("NO_COLOR") == NULL && term != NULL && strcmp(term, "dumb") != 0;
}

/* A file that was open before keeps its descriptor's number: a writer in between hits either. */
static int
open_file(const char *path, const struct qp_log_sink *old, struct qp_errmsg *msg)
{
	int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0640);

	if (fd < 0)
		return qp_fail(msg, qp_err_from_errno(errno), "cannot open log file %s: %s", path,
			strerror(errno));
	if (!old->is_file)
		return fd;
	if (dup3(fd, old->fd, O_CLOEXEC) < 0) {
		close(fd);
		return qp_fail(msg, QP_E_IO, "cannot open log file %s: %s", path, strerror(errno));
	}
	close(fd);
	return old->fd;
}

/* Whether standard error leads to the journal: systemd.exec(5), JOURNAL_STREAM. */
static bool
stderr_is_journal(void)
{
	const char *text = getenv("JOURNAL_STREAM");
	unsigned long long dev, ino;
	struct stat st;

	return qp_log_journal_sendv != NULL && text != NULL &&
	       sscanf(text, "%llu:%llu", &dev, &ino) == 2 && fstat(STDERR_FILENO, &st) == 0 &&
	       st.st_dev == dev && st.st_ino == ino;
}

/* Sets fd, is_file, path or journal. */
static int
choose(struct qp_log_sink *s, const char *output, const struct qp_log_sink *old,
	struct qp_errmsg *msg)
{
	s->fd = STDERR_FILENO;
	if (output == NULL) {
		s->journal = stderr_is_journal();
	} else if (strcmp(output, "journald") == 0) {
		if (qp_log_journal_sendv == NULL)
			return qp_fail(msg, QP_E_UNSUPPORTED,
				"this program cannot write to the journal by itself: its standard "
				"error goes there when systemd starts it");
		s->journal = true;
	} else if (strcmp(output, "stdout") == 0) {
		s->fd = STDOUT_FILENO;
	} else if (strcmp(output, "stderr") != 0) {
		if (snprintf(s->path, sizeof(s->path), "%s", output) >= (int)sizeof(s->path))
			return qp_fail(msg, QP_E_INVAL, "the log file's path is too long: %s", output);
		s->fd = open_file(output, old, msg);
		s->is_file = true;
	}
	return s->fd < 0 ? s->fd : 0;
}

int
qp_log_init(const struct qp_log_config *cfg, struct qp_errmsg *msg)
{
	const struct qp_log_sink *old = qp_log_sink();
	struct qp_log_sink *s = calloc(1, sizeof(*s));
	int err;

	if (s == NULL)
		return qp_fail(msg, QP_E_NOMEM, "out of memory");
	err = choose(s, cfg->output, old, msg);
	if (err != 0) {
		free(s);
		return err;
	}
	s->format = cfg->format;
	s->rate = cfg->rate;
	s->generation = old->generation;
	s->colour = s->format == QP_LOG_CONSOLE && !s->journal && wants_colour(s->fd);
	if (cfg->process != NULL)
		snprintf(s->process, sizeof(s->process), "%s", cfg->process);
	publish(s, old);
	qp_log_apply_levels(cfg);
	return QP_OK;
}

int
qp_log_reopen(struct qp_errmsg *msg)
{
	const struct qp_log_sink *s = qp_log_sink();
	int fd = s->is_file ? open_file(s->path, s, msg) : 0;

	return fd < 0 ? fd : 0;
}

void
qp_log_set_generation(uint32_t server_id)
{
	const struct qp_log_sink *old = qp_log_sink();
	struct qp_log_sink *s = malloc(sizeof(*s));

	if (s == NULL)
		return;
	*s = *old;
	s->generation = server_id;
	publish(s, old);
}
