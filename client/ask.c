/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The question whether to trust a gateway, to a person at the terminal. Any
 * thread; blocks: no server waits meanwhile.
 */
#include "client/commands.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

static void
show(const struct qp_certificate *cert, int fd)
{
	if (cert->recorded != NULL)
		dprintf(fd,
			"\n"
			"*** WARNING: THE CERTIFICATE OF %s HAS CHANGED ***\n"
			"Either the gateway was set up anew, or somebody is between you and it.\n"
			"On file: %s\n\n",
			cert->host, cert->recorded);
	else
		dprintf(fd, "\nThe gateway %s is not known yet. Its certificate:\n", cert->host);
	dprintf(fd,
		"  SHA-256  %s\n"
		"  subject  %s\n"
		"  issuer   %s\n"
		"  valid    %s to %s\n",
		cert->fingerprint, cert->subject, cert->issuer, cert->not_before, cert->not_after);
	dprintf(fd, "Trust it from now on? [y/N] ");
}

/* A line's first letter; 0 when interrupted, at the end of input, or on failure. */
static char
read_answer(int fd, int interrupt_fd)
{
	struct pollfd fds[2] = {{.fd = fd, .events = POLLIN}, {.fd = interrupt_fd, .events = POLLIN}};
	char line[64];
	ssize_t n;

	for (;;) {
		if (poll(fds, 2, -1) < 0 && errno != EINTR)
			return 0;
		if (fds[1].revents != 0)
			return 0;
		if (fds[0].revents != 0)
			break;
	}
	n = read(fd, line, sizeof(line));
	return n > 0 ? line[0] : 0;
}

bool
qpc_ask_trust(const struct qp_certificate *cert, int interrupt_fd)
{
	int tty;
	char answer;

	if (isatty(STDIN_FILENO) != 1)
		return false;
	tty = open("/dev/tty", O_RDWR | O_CLOEXEC);
	show(cert, tty >= 0 ? tty : STDERR_FILENO);
	answer = read_answer(tty >= 0 ? tty : STDIN_FILENO, interrupt_fd);
	if (tty >= 0)
		close(tty);
	return answer == 'y' || answer == 'Y';
}
