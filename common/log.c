/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Log lines: how they begin and end, and which are left out. Any thread, no
 * lock: each line is made on its writer's stack. Where it goes is log_sink.c's,
 * the fields' two notations are in log_fields.c.
 */
#include "common/log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/log_sink.h"

_Thread_local const struct qp_log_tap *qp_log_tap;

static const char *const level_tags[] = {"ERROR", "WARN ", "INFO ", "DEBUG", "TRACE"};
static const char *const level_colours[] = {"\x1b[31m", "\x1b[33m", "\x1b[32m", "\x1b[36m",
	"\x1b[90m"};

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

/* Who writes; of a data plane with its generation. */
struct writer {
	const char *process;
	uint32_t generation; /* 0: none */
	bool colour;
};

static void
start_json(struct qp_log_line *l, const struct writer *w, const struct qp_log_event *e)
{
	char generation[40];

	qp_log_put(l, "{\"time\":\"");
	put_time(l);
	qp_log_put(l, "\",\"level\":\"");
	qp_log_put(l, qp_log_level_name(e->level));
	qp_log_put(l, "\",\"process\":");
	qp_log_put_json_string(l, qp_slice_of(w->process));
	if (w->generation != 0) {
		snprintf(generation, sizeof(generation), ",\"generation\":\"0x%04x\"", w->generation);
		qp_log_put(l, generation);
	}
	qp_log_put(l, ",\"module\":\"");
	qp_log_put(l, qp_log_module_name(e->module));
	qp_log_put(l, "\",\"message\":");
	qp_log_put_json_string(l, qp_slice_of(e->message));
}

static void
start_console(struct qp_log_line *l, const struct writer *w, const struct qp_log_event *e)
{
	char generation[16];

	put_time(l);
	qp_log_put(l, " ");
	if (w->colour)
		qp_log_put(l, level_colours[e->level]);
	qp_log_put(l, level_tags[e->level]);
	if (w->colour)
		qp_log_put(l, "\x1b[0m");
	qp_log_put(l, " ");
	qp_log_put_printable(l, qp_slice_of(w->process));
	if (w->generation != 0) {
		snprintf(generation, sizeof(generation), " 0x%04x", w->generation);
		qp_log_put(l, generation);
	}
	qp_log_put(l, ": ");
	qp_log_put_printable(l, qp_slice_of(e->message));
}

static void
put_field(struct qp_log_line *l, enum qp_log_format format, const struct qp_log_field *f)
{
	if (format == QP_LOG_JSON)
		qp_log_put_json_field(l, f);
	else
		qp_log_put_console_field(l, f);
}

/* All fields, or as many as have room and a mark that some are missing. */
static void
put_fields(struct qp_log_line *l, enum qp_log_format format, const struct qp_log_field *fields)
{
	for (; fields->type != QP_LOG_T_END; fields++) {
		size_t mark = l->len;

		put_field(l, format, fields);
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
	const struct qp_log_sink *s = qp_log_sink();
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

/* The whole line, without its end. */
static void
make_line(struct qp_log_line *l, enum qp_log_format format, bool bare, const struct writer *w,
	const struct qp_log_event *e)
{
	line_start(l);
	if (format == QP_LOG_JSON)
		start_json(l, w, e);
	else if (bare)
		qp_log_put_printable(l, qp_slice_of(e->message));
	else
		start_console(l, w, e);
	if (e->left_out != 0)
		put_field(l, format, &QP_LOG_U64("left_out", e->left_out));
	put_fields(l, format, e->fields);
	qp_log_put(l, format == QP_LOG_JSON ? "}" : "");
}

static void
write_to_tap(const struct qp_log_tap *tap, const struct qp_log_event *e)
{
	const struct writer w = {.process = tap->process};
	struct qp_log_line l;

	make_line(&l, tap->format, tap->bare, &w, e);
	l.text[l.len < sizeof(l.text) ? l.len : sizeof(l.text) - 1] = '\0';
	tap->write(tap->ctx, e->level, l.text);
}

/* After a line that fitted again. `l` is for use. */
static void
tell_of_lost(const struct qp_log_sink *s, const struct writer *w, struct qp_log_line *l)
{
	const uint64_t lines = qp_log_file_untold();
	const struct qp_log_event e = {
		.level = QP_LOG_WARN,
		.module = QP_LOG_M_general,
		.message = "log lines were lost: their file could not be written",
		.fields = (const struct qp_log_field[]) {
			QP_LOG_U64("lines", lines), {.type = QP_LOG_T_END}},
	};

	if (lines == 0)
		return;
	make_line(l, s->format, false, w, &e);
	qp_log_put(l, "\n");
	(void)qp_log_file_write(s, l->text, l->len);
}

static void
write_to_sink(const struct qp_log_sink *s, const struct qp_log_event *e)
{
	const struct writer w = {
		.process = s->process[0] != '\0' ? s->process : program_invocation_short_name,
		.generation = s->generation,
		.colour = s->colour,
	};
	struct qp_log_line l;

	_Static_assert(sizeof(l.text) == QP_LOG_LINE_BYTES, "a line is one piece to a pipe");
	if (s->journal) {
		qp_log_to_journal(s, e);
		return;
	}
	make_line(&l, s->format, false, &w, e);
	qp_log_put(&l, "\n");
	if (!s->is_file) {
		write_out(s->fd, l.text, l.len);
		return;
	}
	if (qp_log_file_write(s, l.text, l.len))
		tell_of_lost(s, &w, &l);
}

/* Whether the place may write one more line this second. Who debugs wants them all. */
static bool
admit(struct qp_log_site *site, enum qp_log_level level, unsigned rate, uint32_t *left_out)
{
	struct timespec now;
	uint32_t second;

	*left_out = 0;
	if (rate == 0 || level >= QP_LOG_DEBUG)
		return true;
	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	second = (uint32_t)now.tv_sec;
	if (atomic_exchange_explicit(&site->second, second, memory_order_relaxed) != second)
		atomic_store_explicit(&site->lines, 0, memory_order_relaxed);
	if (atomic_fetch_add_explicit(&site->lines, 1, memory_order_relaxed) >= rate) {
		atomic_fetch_add_explicit(&site->left_out, 1, memory_order_relaxed);
		return false;
	}
	*left_out = atomic_exchange_explicit(&site->left_out, 0, memory_order_relaxed);
	return true;
}

void
qp_log_write(struct qp_log_site *site, enum qp_log_level level, const char *message,
	const struct qp_log_field *fields)
{
	const struct qp_log_sink *s = qp_log_sink();
	struct qp_log_event e = {
		.level = (unsigned)level <= QP_LOG_TRACE ? level : QP_LOG_ERROR,
		.module = site->module,
		.message = message,
		.fields = fields,
	};
	int saved = errno;

	if (qp_log_tap != NULL)
		write_to_tap(qp_log_tap, &e);
	else if (admit(site, e.level, s->rate, &e.left_out))
		write_to_sink(s, &e);
	errno = saved;
}
