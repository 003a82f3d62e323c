/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Trust on first use. Main thread, between two connections: a person may take
 * all the time to compare a fingerprint, no server waits meanwhile. Leaves the
 * file to known_hosts.c.
 */
#include "client/trust.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int
qpc_trust_init(struct qpc_trust *t, const struct qp_target *server, bool insecure,
	struct qp_errmsg *msg)
{
	*t = (struct qpc_trust) {.insecure = insecure};
	qp_target_format(server, false, t->host, sizeof(t->host));
	if (insecure)
		return QP_OK;
	return qpc_known_hosts_path(t->path, sizeof(t->path), msg);
}

int
qpc_trust_check(struct qpc_trust *t, const struct qpc_cert *cert, struct qp_errmsg *msg)
{
	int err;

	t->cert = *cert;
	if (t->insecure)
		return QP_OK;
	err = qpc_known_hosts_lookup(t->path, t->host, cert->fingerprint, &t->verdict, t->recorded,
		msg);
	if (err != QP_OK)
		return err;
	return t->verdict == QPC_HOST_KNOWN ? QP_OK : QP_E_AUTH;
}

bool
qpc_trust_can_ask(void)
{
	return isatty(STDIN_FILENO) == 1;
}

static void
show(const struct qpc_trust *t, int fd)
{
	if (t->verdict == QPC_HOST_CHANGED)
		dprintf(fd,
			"\n"
			"*** WARNING: THE CERTIFICATE OF %s HAS CHANGED ***\n"
			"Either the gateway was set up anew, or somebody is between you and it.\n"
			"On file: %s\n\n",
			t->host, t->recorded);
	else
		dprintf(fd, "\nThe gateway %s is not known yet. Its certificate:\n", t->host);
	dprintf(fd,
		"  SHA-256  %s\n"
		"  subject  %s\n"
		"  issuer   %s\n"
		"  valid    %s to %s\n",
		t->cert.fingerprint, t->cert.subject, t->cert.issuer, t->cert.not_before,
		t->cert.not_after);
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

int
qpc_trust_ask(struct qpc_trust *t, int interrupt_fd, struct qp_errmsg *msg)
{
	int tty = open("/dev/tty", O_RDWR | O_CLOEXEC);
	char answer;

	show(t, tty >= 0 ? tty : STDERR_FILENO);
	answer = read_answer(tty >= 0 ? tty : STDIN_FILENO, interrupt_fd);
	if (tty >= 0)
		close(tty);
	if (answer != 'y' && answer != 'Y')
		return qp_fail(msg, QP_E_AUTH, "the certificate of %s was not trusted", t->host);
	return qpc_known_hosts_record(t->path, t->host, t->cert.fingerprint, msg);
}

void
qpc_trust_explain(const struct qpc_trust *t, struct qp_errmsg *msg)
{
	bool changed = t->verdict == QPC_HOST_CHANGED;

	(void)qp_fail(msg, QP_E_AUTH,
		"%s %s %s: %s; run this on a terminal once and answer y, or add '%s %.95s' to %.100s, "
		"or use --insecure",
		changed ? "THE CERTIFICATE OF" : "the certificate of", t->host,
		changed ? "HAS CHANGED" : "is not known",
		changed ? "set up anew, or an attack" : "refused", t->host,
		t->cert.fingerprint, t->path);
}
