/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The terminal of `quicport client`. A lock keeps log lines and the status line
 * apart: they come from different threads.
 */
#include "client/screen.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"

#define CLEAR "\r\x1b[K"
#define LINE_BYTES 256u

static struct {
	pthread_mutex_t lock;
	bool has_line;
	char line[LINE_BYTES]; /* as shown now; "": none */
	struct qpc_screen_state before;
	uint64_t before_ns;
} screen = {.lock = PTHREAD_MUTEX_INITIALIZER};

void
qpc_screen_init(bool wanted, bool log_elsewhere)
{
	screen.has_line = wanted && !log_elsewhere && isatty(STDERR_FILENO) == 1;
}

bool
qpc_screen_has_line(void)
{
	return screen.has_line;
}

static void
put(const char *text)
{
	if (write(STDERR_FILENO, text, strlen(text)) < 0)
		return; /* a terminal that is gone */
}

void
qpc_screen_log(enum qp_log_severity severity, const char *line)
{
	pthread_mutex_lock(&screen.lock);
	if (screen.line[0] != '\0')
		put(CLEAR);
	qp_log_pass((enum qp_log_level)severity, line);
	put(screen.line);
	pthread_mutex_unlock(&screen.lock);
}

void
qpc_screen_clear(void)
{
	pthread_mutex_lock(&screen.lock);
	if (screen.line[0] != '\0')
		put(CLEAR);
	screen.line[0] = '\0';
	pthread_mutex_unlock(&screen.lock);
}

/* "12.3 MB/s" */
static const char *
rate(uint64_t bytes, double seconds, char out[24])
{
	static const char *const units[] = {"B", "kB", "MB", "GB"};
	double v = seconds > 0 ? (double)bytes / seconds : 0;
	unsigned u = 0;

	while (v >= 999.5 && u < 3) {
		v /= 1000;
		u++;
	}
	snprintf(out, 24, v < 9.95 && u > 0 ? "%.1f %s/s" : "%.0f %s/s", v, units[u]);
	return out;
}

static unsigned
columns(void)
{
	struct winsize size;

	return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

void
qpc_screen_show(const struct qpc_screen_state *s)
{
	uint64_t now = qp_now_ns();
	double seconds = screen.before_ns != 0 ? (double)(now - screen.before_ns) / 1e9 : 0;
	char in[24], out[24], text[LINE_BYTES];
	unsigned width = columns();

	if (!screen.has_line)
		return;
	snprintf(text, sizeof(text), "%u of %u forward%s open, %llu connection%s, in %s, out %s",
		s->open, s->forwards, s->forwards == 1 ? "" : "s", (unsigned long long)s->connections,
		s->connections == 1 ? "" : "s",
		rate(s->to_local - screen.before.to_local, seconds, in),
		rate(s->from_local - screen.before.from_local, seconds, out));
	/* A line that wraps could not be taken away again. */
	if (width < sizeof(text))
		text[width - 1] = '\0';
	screen.before = *s;
	screen.before_ns = now;
	pthread_mutex_lock(&screen.lock);
	snprintf(screen.line, sizeof(screen.line), "%s", text);
	put(CLEAR);
	put(screen.line);
	pthread_mutex_unlock(&screen.lock);
}
