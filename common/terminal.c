/* SPDX-License-Identifier: Apache-2.0 */
/* Standard input and output, without waiting for them. One thread. */
#include "common/terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/error.h"

static bool
is_file(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
}

static bool
is_socket(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode);
}

/* O_NONBLOCK belongs to the open file, which the shell shares: so it is opened once more. */
static void
open_out(struct qp_terminal *t)
{
	int fd;

	t->out = STDOUT_FILENO;
	t->out_socket = is_socket(t->out);
	t->out_polls = !is_file(t->out);
	if (!t->out_polls || t->out_socket)
		return;
	fd = open("/proc/self/fd/1", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0)
		return;
	t->out = fd;
	t->out_own = true;
}

void
qp_terminal_open(struct qp_terminal *t, bool keys)
{
	struct termios now;

	*t = (struct qp_terminal) {.in = STDIN_FILENO};
	t->in_polls = !is_file(t->in);
	open_out(t);
	if (!keys || tcgetattr(t->in, &t->before) != 0)
		return;
	now = t->before;
	now.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
	t->raw = tcsetattr(t->in, TCSANOW, &now) == 0;
}

static bool
ready(int fd, short what)
{
	struct pollfd p = {.fd = fd, .events = what};

	return poll(&p, 1, 0) > 0;
}

int
qp_terminal_read(struct qp_terminal *t, char *bytes, uint32_t most)
{
	ssize_t n;

	if (t->in_polls && !ready(t->in, POLLIN))
		return QP_E_AGAIN;
	n = read(t->in, bytes, most);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? QP_E_AGAIN : 0;
	return (int)n;
}

int
qp_terminal_write(struct qp_terminal *t, const char *bytes, uint32_t len)
{
	ssize_t n;

	if (t->out_polls && !ready(t->out, POLLOUT))
		return QP_E_AGAIN;
	n = t->out_socket ? send(t->out, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL) : write(t->out, bytes, len);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? QP_E_AGAIN : QP_E_CLOSED;
	return (int)n;
}

void
qp_terminal_close(struct qp_terminal *t)
{
	if (t->raw)
		(void)tcsetattr(t->in, TCSANOW, &t->before);
	if (t->out_own)
		close(t->out);
	*t = (struct qp_terminal) {.in = -1, .out = -1};
}
