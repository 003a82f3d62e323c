/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The terminal as a screen, by the sequences that every terminal since the VT100
 * knows. What the signal handlers touch is set before they are installed. Main thread.
 */
#include "admin/term.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

/* The other page, no cursor, no line wrap; and back. */
#define ENTER "\x1b[?1049h\x1b[?25l\x1b[?7l"
#define LEAVE "\x1b[?7h\x1b[?25h\x1b[?1049l\x1b[0m"

static struct termios before;
static volatile sig_atomic_t entered, changed;

static const int deadly[] = {
	SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL, SIGPIPE, SIGALRM};

/* Async-signal-safe, as all that the handlers call. */
static void
put(const char *text)
{
	if (write(STDOUT_FILENO, text, strlen(text)) < 0)
		return; /* a terminal that is gone */
}

static void
set_raw(void)
{
	struct termios raw = before;

	raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO); /* Ctrl-C and Ctrl-Z stay signals */
	raw.c_cc[VMIN] = 0;
	raw.c_cc[VTIME] = 0;
	(void)tcsetattr(STDIN_FILENO, TCSADRAIN, &raw);
	put(ENTER);
}

void
qpa_term_leave(void)
{
	if (!entered)
		return;
	entered = 0;
	put(LEAVE);
	(void)tcsetattr(STDIN_FILENO, TCSADRAIN, &before);
}

static void
die(int number)
{
	qpa_term_leave();
	(void)signal(number, SIG_DFL);
	(void)raise(number);
}

static void
suspend(int number)
{
	sigset_t one;
	int saved = errno;

	qpa_term_leave();
	(void)signal(number, SIG_DFL);
	(void)raise(number);
	(void)sigemptyset(&one);
	(void)sigaddset(&one, number);
	(void)sigprocmask(SIG_UNBLOCK, &one, NULL); /* stops here */
	(void)signal(number, suspend);
	set_raw();
	entered = 1;
	changed = 1;
	errno = saved;
}

static void
resized(int number)
{
	(void)number;
	changed = 1;
}

static void
catch (int number, void (*handler)(int))
{
	struct sigaction act = {.sa_handler = handler};

	sigfillset(&act.sa_mask);
	(void)sigaction(number, &act, NULL);
}

int
qpa_term_enter(struct qp_errmsg *msg)
{
	const char *term = getenv("TERM");

	if (isatty(STDIN_FILENO) != 1 || isatty(STDOUT_FILENO) != 1 || term == NULL ||
		strcmp(term, "dumb") == 0 || tcgetattr(STDIN_FILENO, &before) != 0)
		return qp_fail(msg, QP_E_UNSUPPORTED,
			"this is no terminal that has a screen: --once prints it one time");
	(void)atexit(qpa_term_leave);
	entered = 1;
	for (size_t i = 0; i < sizeof(deadly) / sizeof(deadly[0]); i++)
		catch (deadly[i], die);
	catch (SIGTSTP, suspend);
	catch (SIGWINCH, resized);
	set_raw();
	return QP_OK;
}

static int
next_byte(int wait_ms)
{
	struct pollfd p = {.fd = STDIN_FILENO, .events = POLLIN};
	unsigned char byte;
	ssize_t n;

	if (poll(&p, 1, wait_ms) <= 0)
		return QPA_KEY_NONE;
	n = read(STDIN_FILENO, &byte, 1);
	if (n == 1)
		return byte;
	return n == 0 || errno == EIO ? QPA_KEY_GONE : QPA_KEY_NONE;
}

static int
meaning_of(const char *sequence)
{
	static const struct {
		const char *sequence;
		int key;
	} known[] = {
		{"[A", QPA_KEY_UP}, {"OA", QPA_KEY_UP}, {"[B", QPA_KEY_DOWN}, {"OB", QPA_KEY_DOWN},
		{"[5~", QPA_KEY_PAGE_UP}, {"[6~", QPA_KEY_PAGE_DOWN}, {"[H", QPA_KEY_HOME},
		{"[1~", QPA_KEY_HOME}, {"OH", QPA_KEY_HOME}, {"[F", QPA_KEY_END}, {"[4~", QPA_KEY_END},
		{"OF", QPA_KEY_END},
	};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (strcmp(sequence, known[i].sequence) == 0)
			return known[i].key;
	}
	return QPA_KEY_OTHER;
}

int
qpa_term_key(void)
{
	int byte = next_byte(0);
	char sequence[16] = "";
	size_t n = 0;

	if (byte != 0x1b)
		return byte;
	/* The rest of a sequence comes along, or it was the key Esc. */
	while (n < sizeof(sequence) - 1 && (byte = next_byte(n == 0 ? 25 : 5)) >= 0) {
		sequence[n++] = (char)byte;
		sequence[n] = '\0';
		if (n > 1 && byte >= 0x40 && byte <= 0x7e)
			break;
	}
	return n == 0 ? 0x1b : meaning_of(sequence);
}

void
qpa_term_size(unsigned *columns, unsigned *rows)
{
	struct winsize size = {0};

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0 || size.ws_row == 0)
		size = (struct winsize) {.ws_col = 80, .ws_row = 24};
	*columns = size.ws_col < 20 ? 20 : size.ws_col;
	*rows = size.ws_row < 5 ? 5 : size.ws_row;
}

bool
qpa_term_changed(void)
{
	bool was = changed;

	changed = 0;
	return was;
}
