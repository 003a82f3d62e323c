/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Log lines: where they go, and how they begin and end. Any thread, no lock:
 * each line is made on its writer's stack, the place that it goes to is an
 * immutable struct behind an atomic pointer. The fields' two notations are in
 * log_fields.c.
 */
#include "common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include "common/log_line.h"

#define PROCESS_BYTES 48u

/*
 * Never changed once published, never freed: another thread may hold it. The
 * chain of predecessors is as long as the calls of qp_log_init: a handful.
 */
struct sink {
	const struct sink *before;
	enum qp_log_format format;
	int fd;
	bool is_file; /* fd is ours */
	bool colour;
	char process[PROCESS_BYTES];
};

static const struct sink first_sink = {.format = QP_LOG_CONSOLE, .fd = STDERR_FILENO};

_Atomic int qp_log_threshold = QP_LOG_INFO;
_Thread_local const struct qp_log_tap *qp_log_tap;
/* Release by publish(), acquire by current(): the struct is complete before its address is. */
static _Atomic(const struct sink *) sink = &first_sink;

static const char *const level_names[] = {"error", "warn", "info", "debug", "trace"};
static const char *const level_tags[] = {"ERROR", "WARN ", "INFO ", "DEBUG", "TRACE"};
static const char *const level_colours[] = {"\x1b[31m", "\x1b[33m", "\x1b[32m", "\x1b[36m",
	"\x1b[90m"};
static const char *const format_names[] = {"console", "json"};

static const struct sink *
current(void)
{
	return atomic_load_explicit(&sink, memory_order_acquire);
}

static int
name_index(const char *text, const char *const *names, int n)
{
	for (int i = 0; i < n; i++) {
		if (strcasecmp(text, names[i]) == 0)
			return i;
	}
	return -1;
}

int
qp_log_level_parse(const char *text, enum qp_log_level *level)
{
	int i = name_index(text, level_names, QP_LOG_TRACE + 1);

	if (i < 0)
		return QP_E_INVAL;
	*level = (enum qp_log_level)i;
	return QP_OK;
}

int
qp_log_format_parse(const char *text, enum qp_log_format *format)
{
	int i = name_index(text, format_names, QP_LOG_JSON + 1);

	if (i < 0)
		return QP_E_INVAL;
	*format = (enum qp_log_format)i;
	return QP_OK;
}

const char *
qp_log_level_name(enum qp_log_level level)
{
	return (unsigned)level <= QP_LOG_TRACE ? level_names[level] : "unknown";
}

const char *
qp_log_format_name(enum qp_log_format format)
{
	return (unsigned)format <= QP_LOG_JSON ? format_names[format] : "unknown";
}

static bool
wants_colour(int fd)
{
	const char *term = getenv("TERM");

	return isatty(fd) && getenv("NO_COLOR") == NULL && term != NULL && strcmp(term, "dumb") != 0;
}

/* A file that was open before keeps its descriptor's number: a writer in between hits either. */
static int
open_output(const char *path, const struct sink *old, struct qp_errmsg *msg)
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

static void
publish(struct sink *s, const struct sink *old)
{
	s->before = old;
	atomic_store_explicit(&sink, s, memory_order_release);
}

int
qp_log_init(const struct qp_log_config *cfg, struct qp_errmsg *msg)
{
	const struct sink *old = current();
	struct sink *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return qp_fail(msg, QP_E_NOMEM, "out of memory");
	s->format = cfg->format;
	s->fd = STDERR_FILENO;
	if (cfg->output != NULL) {
		s->fd = open_output(cfg->output, old, msg);
		if (s->fd < 0) {
			int err = s->fd;

			free(s);
			return err;
		}
		s->is_file = true;
	}
	s->colour = s->format == QP_LOG_CONSOLE && wants_colour(s->fd);
	if (cfg->process != NULL)
		snprintf(s->process, sizeof(s->process), "%s", cfg->process);
	publish(s, old);
	qp_log_set_level(cfg->level);
	return QP_OK;
}

void
qp_log_set_process(const char *process)
{
	const struct sink *old = current();
	struct sink *s = malloc(sizeof(*s));

	if (s == NULL)
		return;
	*s = *old;
	snprintf(s->process, sizeof(s->process), "%s", process);
	publish(s, old);
}

void
qp_log_set_level(enum qp_log_level level)
{
	atomic_store_explicit(&qp_log_threshold, (int)level, memory_order_relaxed);
}

/* RFC 3339 in UTC with milliseconds. */
static void
put_time(struct qp_log_line *l)
{
	struct timespec ts;
	struct tm tm;
	char text[96]; /* as much as any int can take, for the compiler's peace */

	clock_gettime(CLOCK_REALTIME, &ts);
	gmtime_r(&ts.tv_sec, &tm);
	snprintf(text, sizeof(text), "%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ", tm.tm_year + 1900,
		tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec,
		ts.tv_nsec / 1000000);
	qp_log_put(l, text);
}

static void
start_json(struct qp_log_line *l, enum qp_log_level level, const char *process, const char *message)
{
	qp_log_put(l, "{\"time\":\"");
	put_time(l);
	qp_log_put(l, "\",\"level\":\"");
	qp_log_put(l, qp_log_level_name(level));
	qp_log_put(l, "\",\"process\":");
	qp_log_put_json_string(l, qp_slice_of(process));
	qp_log_put(l, ",\"message\":");
	qp_log_put_json_string(l, qp_slice_of(message));
}

static void
start_console(struct qp_log_line *l, bool colour, enum qp_log_level level, const char *process,
	const char *message)
{
	put_time(l);
	qp_log_put(l, " ");
	if (colour)
		qp_log_put(l, level_colours[level]);
	qp_log_put(l, level_tags[level]);
	if (colour)
		qp_log_put(l, "\x1b[0m");
	qp_log_put(l, " ");
	qp_log_put_printable(l, qp_slice_of(process));
	qp_log_put(l, ": ");
	qp_log_put_printable(l, qp_slice_of(message));
}

/* All fields, or as many as have room and a mark that some are missing. */
static void
put_fields(struct qp_log_line *l, enum qp_log_format format, const struct qp_log_field *fields)
{
	for (; fields->type != QP_LOG_T_END; fields++) {
		size_t mark = l->len;

		if (format == QP_LOG_JSON)
			qp_log_put_json_field(l, fields);
		else
			qp_log_put_console_field(l, fields);
		if (l->overflow) {
			l->len = mark;
			l->limit = sizeof(l->text);
			l->overflow = false;
			qp_log_put(l, format == QP_LOG_JSON ? ",\"truncated\":true" :
							      " truncated=true");
			return;
		}
	}
	l->limit = sizeof(l->text);
}

/* A log that can't be written has nobody to be told; the process goes on. */
static void
write_out(int fd, const char *text, size_t len)
{
	ssize_t n;

	do {
		n = write(fd, text, len);
	} while (n < 0 && errno == EINTR);
}

void
qp_log_pass(enum qp_log_level level, const char *line)
{
	const size_t tag_at = sizeof("2026-01-02T03:04:05.678Z ") - 1, tag_len = 5;
	const struct sink *s = current();
	char text[QP_LOG_LINE_BYTES + 32];
	int saved = errno, n;

	if (s->colour && (unsigned)level <= QP_LOG_TRACE && strlen(line) > tag_at + tag_len)
		n = snprintf(text, sizeof(text), "%.*s%s%.*s\x1b[0m%s\n", (int)tag_at, line,
			level_colours[level], (int)tag_len, line + tag_at, line + tag_at + tag_len);
	else
		n = snprintf(text, sizeof(text), "%s\n", line);
	write_out(s->fd, text, n < (int)sizeof(text) ? (size_t)n : sizeof(text) - 1);
	errno = saved;
}

static void
line_start(struct qp_log_line *l)
{
	l->len = 0;
	l->overflow = false;
	l->limit = sizeof(l->text) - QP_LOG_TAIL_BYTES;
}

static void
write_to_tap(const struct qp_log_tap *tap, enum qp_log_level level, const char *message,
	const struct qp_log_field *fields)
{
	struct qp_log_line l;

	line_start(&l);
	if (tap->format == QP_LOG_JSON)
		start_json(&l, level, tap->process, message);
	else if (tap->bare)
		qp_log_put_printable(&l, qp_slice_of(message));
	else
		start_console(&l, false, level, tap->process, message);
	put_fields(&l, tap->format, fields);
	qp_log_put(&l, tap->format == QP_LOG_JSON ? "}" : "");
	l.text[l.len < sizeof(l.text) ? l.len : sizeof(l.text) - 1] = '\0';
	tap->write(tap->ctx, level, l.text);
}

void
qp_log_write(enum qp_log_level level, const char *message, const struct qp_log_field *fields)
{
	const struct sink *s = current();
	const char *process = s->process[0] != '\0' ? s->process : program_invocation_short_name;
	int saved = errno;
	struct qp_log_line l;

	_Static_assert(sizeof(l.text) == QP_LOG_LINE_BYTES, "a line is one piece to a pipe");
	if ((unsigned)level > QP_LOG_TRACE)
		level = QP_LOG_ERROR;
	if (qp_log_tap != NULL) {
		write_to_tap(qp_log_tap, level, message, fields);
		errno = saved;
		return;
	}
	line_start(&l);
	if (s->format == QP_LOG_JSON)
		start_json(&l, level, process, message);
	else
		start_console(&l, s->colour, level, process, message);
	put_fields(&l, s->format, fields);
	qp_log_put(&l, s->format == QP_LOG_JSON ? "}\n" : "\n");
	write_out(s->fd, l.text, l.len);
	errno = saved;
}
