/* SPDX-License-Identifier: Apache-2.0 */
/* Asking a port owner that somebody else started: one question, one answer. Loop thread. */
#include "controlplane/owner_socket.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/ipc.h"

int
qp_owner_socket_ask(const char *path, const char *instance, unsigned memory_mib,
	const struct qp_owner_ports *ports, int *out, struct qp_errmsg *msg)
{
	struct qp_owner_request request = {.magic = QP_OWNER_MAGIC,
		.version = QP_OWNER_VERSION,
		.memory_mib = memory_mib};
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd, err = 0;

	if (ports != NULL)
		request.ports = *ports;
	snprintf(request.instance, sizeof(request.instance), "%s", instance);
	if (snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path) >=
		(int)sizeof(addr.sun_path))
		return qp_fail(msg, QP_E_INVAL, "--port-owner-socket: the path %s is too long", path);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return qp_fail(msg, QP_E_IO, "cannot make a socket: %s", strerror(errno));
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) != 0)
		err = qp_fail(msg, qp_err_from_errno(errno),
			"cannot reach the port owner at %s: %s: systemctl start the "
			"quicport-port-owner.socket, or leave out --port-owner-socket",
			path, strerror(errno));
	else if (send(fd, &request, sizeof(request), MSG_NOSIGNAL) != (ssize_t)sizeof(request))
		err = qp_fail(msg, QP_E_IO, "cannot ask the port owner: %s", strerror(errno));
	if (err != 0) {
		close(fd);
		return err;
	}
	*out = fd;
	return 0;
}

static int
descriptor_of(struct msghdr *m)
{
	struct cmsghdr *c = CMSG_FIRSTHDR(m);
	int fd = -1;

	if (c != NULL && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS &&
		c->cmsg_len == CMSG_LEN(sizeof(fd)))
		memcpy(&fd, CMSG_DATA(c), sizeof(fd));
	return fd;
}

int
qp_owner_socket_answer(int fd, pid_t *pid, int *lifeline, struct qp_errmsg *msg)
{
	struct qp_owner_reply reply = {0};
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct iovec iov = {.iov_base = &reply, .iov_len = sizeof(reply)};
	struct msghdr m = {.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes)};
	ssize_t n = recvmsg(fd, &m, MSG_CMSG_CLOEXEC);
	int err = 0;

	if (n < 0 && errno == EAGAIN)
		return QP_E_AGAIN;
	if (n <= 0)
		return qp_fail(msg, QP_E_CLOSED, "the port owner ended before it was ready");
	*lifeline = descriptor_of(&m);
	reply.why[sizeof(reply.why) - 1] = '\0';
	if (n < (ssize_t)QP_OWNER_REPLY_MIN || reply.magic != QP_OWNER_MAGIC)
		err = qp_fail(msg, QP_E_PROTO, "who listens at --port-owner-socket is no port owner");
	else if (reply.version != QP_OWNER_VERSION)
		err = qp_fail(msg, QP_E_VERSION,
			"the port owner speaks version %u of its protocol, the control plane %u: "
			"install both from one release, then quicport admin replace-port-owner",
			reply.version, QP_OWNER_VERSION);
	else if (reply.ok != 1)
		err = qp_fail(msg, QP_E_IO, "%s", reply.why);
	else if (*lifeline < 0 || reply.pid <= 1)
		err = qp_fail(msg, QP_E_PROTO, "the port owner sent no lifeline");
	if (err != 0 && *lifeline >= 0)
		close(*lifeline);
	if (err != 0)
		*lifeline = -1;
	*pid = reply.pid;
	return err;
}
