/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The handshake with a data plane over a Unix socket: three fixed-size
 * messages, and descriptors beside two of them. What a message says is checked
 * here; what follows from it is the supervisor's.
 */
#include "controlplane/rendezvous.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/ipc_version.h"

int
qp_rendezvous_listen(const char *dir, int *out_fd, struct qp_errmsg *msg)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd;

	if (snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/control.sock", dir) >=
		(int)sizeof(addr.sun_path))
		return qp_fail(msg, QP_E_INVAL, "the path %s/control.sock is too long", dir);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return qp_fail(msg, QP_E_IO, "cannot make a socket: %s", strerror(errno));
	unlink(addr.sun_path);
	if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) != 0 ||
		chmod(addr.sun_path, 0600) != 0 || listen(fd, 8) != 0) {
		qp_fail(msg, QP_E_IO, "cannot listen on %s: %s", addr.sun_path, strerror(errno));
		close(fd);
		return QP_E_IO;
	}
	*out_fd = fd;
	return 0;
}

int
qp_rendezvous_accept(int listen_fd, int *out_fd, pid_t *pid)
{
	struct ucred cred = {0};
	socklen_t len = sizeof(cred);
	static int spare = -1;
	int fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	const int err = errno;

	/* Without a descriptor for it, its call would wake us for ever: it is refused, and comes again. */
	if (fd < 0 && err == EMFILE && spare >= 0) {
		close(spare);
		fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd >= 0)
			close(fd);
		spare = fd = -1;
	}
	if (spare < 0)
		spare = open("/", O_PATH | O_CLOEXEC);
	if (fd < 0)
		return qp_err_from_errno(err);
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) != 0) {
		close(fd);
		return QP_E_IO;
	}
	*out_fd = fd;
	*pid = cred.pid;
	return 0;
}

/* Receives one message; descriptors beyond `max` are closed by the kernel. Returns its length. */
static ssize_t
receive(int fd, void *buf, size_t cap, int *fds, unsigned max, unsigned *nfds)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int) * QP_RENDEZVOUS_FDS)];
	} control;
	struct iovec iov = {.iov_base = buf, .iov_len = cap};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
	ssize_t n;

	if (max > 0) {
		m.msg_control = control.bytes;
		m.msg_controllen = CMSG_SPACE(sizeof(int) * max);
	}
	n = recvmsg(fd, &m, MSG_CMSG_CLOEXEC);
	*nfds = 0;
	for (struct cmsghdr *c = n < 0 ? NULL : CMSG_FIRSTHDR(&m); c != NULL;
		c = CMSG_NXTHDR(&m, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		*nfds = (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		memcpy(fds, CMSG_DATA(c), *nfds * sizeof(int));
	}
	return n;
}

static int
receive_error(ssize_t n)
{
	if (n == 0)
		return QP_E_CLOSED;
	return qp_err_from_errno(errno);
}

int
qp_rendezvous_receive(int fd, struct qp_attach *out, uint32_t *version,
	int fds[QP_RENDEZVOUS_FDS], struct qp_errmsg *msg)
{
	struct qp_attach req;
	unsigned nfds = 0;
	ssize_t n = receive(fd, &req, sizeof(req), fds, QP_RENDEZVOUS_FDS, &nfds);
	int err;

	*version = qp_ipc_own.newest;
	if (n <= 0)
		return receive_error(n);
	err = qp_attach_read(&req, (size_t)n, nfds, out, version, msg);
	for (unsigned i = 0; err != 0 && i < nfds; i++)
		close(fds[i]);
	return err;
}

int
qp_rendezvous_reply(int fd, uint32_t version, uint32_t server_id, const char *why, int doorbell,
	int lifeline)
{
	struct qp_attach_reply r;
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int) * 2)];
	} control = {0};
	struct iovec iov = {.iov_base = &r, .iov_len = sizeof(r)};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
	const int fds[2] = {doorbell, lifeline};

	qp_attach_answer(&r, version, server_id, why);
	if (server_id != 0) {
		m.msg_control = control.bytes;
		m.msg_controllen = sizeof(control.bytes);
		struct cmsghdr *c = CMSG_FIRSTHDR(&m);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(fds));
		memcpy(CMSG_DATA(c), fds, sizeof(fds));
	}
	return sendmsg(fd, &m, MSG_NOSIGNAL) == (ssize_t)sizeof(r) ? 0 : qp_err_from_errno(errno);
}

int
qp_rendezvous_ready(int fd, struct qp_errmsg *msg)
{
	struct qp_attach_ready r;
	unsigned nfds;
	ssize_t n = receive(fd, &r, sizeof(r), NULL, 0, &nfds);

	if (n <= 0)
		return receive_error(n) == QP_E_AGAIN
			       ? QP_E_AGAIN
			       : qp_fail(msg, QP_E_CLOSED, "the data plane went away");
	if (n != (ssize_t)sizeof(r) || r.magic != QP_ATTACH_MAGIC)
		return qp_fail(msg, QP_E_PROTO, "the data plane sent something unexpected");
	r.why[sizeof(r.why) - 1] = '\0';
	if (r.ok != 1)
		return qp_fail(msg, QP_E_IO, "the data plane cannot start: %s", r.why);
	return 0;
}
