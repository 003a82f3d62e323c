/* SPDX-License-Identifier: Apache-2.0 */
/* The terminal's and the data plane's side of a prompt's socket: packets. Any thread. */
#include "common/prompt.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

int
qp_prompt_send(int fd, enum qp_prompt_packet kind, const void *bytes, uint32_t len)
{
	char first = (char)kind;
	struct iovec iov[2] = {{&first, 1}, {(void *)(uintptr_t)bytes, len}};
	struct msghdr m = {.msg_iov = iov, .msg_iovlen = 2};

	if (sendmsg(fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
		return QP_OK;
	return errno == EAGAIN || errno == ENOBUFS || errno == EINTR ? QP_E_AGAIN : QP_E_CLOSED;
}

int
qp_prompt_receive(int fd, enum qp_prompt_packet *kind, char bytes[QP_PROMPT_PACKET], uint32_t *len)
{
	char first;
	struct iovec iov[2] = {{&first, 1}, {bytes, QP_PROMPT_PACKET}};
	struct msghdr m = {.msg_iov = iov, .msg_iovlen = 2};
	const ssize_t n = recvmsg(fd, &m, MSG_DONTWAIT);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? QP_E_AGAIN : QP_E_CLOSED;
	if (n == 0)
		return QP_E_CLOSED;
	*kind = (enum qp_prompt_packet)first;
	*len = (uint32_t)n - 1;
	return QP_OK;
}

int
qp_prompt_answer(int fd, struct qp_prompt_told *told, struct qp_errmsg *msg)
{
	ssize_t n;

	memset(told, 0, sizeof(*told));
	n = recv(fd, told, sizeof(*told), MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return QP_E_AGAIN;
	if (n < (ssize_t)QP_PROMPT_TOLD_MIN)
		return qp_fail(msg, QP_E_CLOSED, "the data plane's prompt gives no answer");
	if (told->magic != QP_PROMPT_MAGIC || told->version != QP_PROMPT_VERSION)
		return qp_fail(msg, QP_E_VERSION,
			"the data plane's prompt is of another release: use its quicport");
	told->why[sizeof(told->why) - 1] = '\0';
	return told->ok == 1 ? QP_OK : qp_fail(msg, QP_E_FULL, "%s", told->why);
}

int
qp_prompt_call(
	const char *path, const struct qp_prompt_hello *hello, int *out, struct qp_errmsg *msg)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	int fd;

	if (strlen(path) >= sizeof(sun.sun_path))
		return qp_fail(msg, QP_E_INVAL, "%s: too long for a socket's name", path);
	memcpy(sun.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return qp_fail(msg, QP_E_IO, "socket: %s", strerror(errno));
	if (connect(fd, (struct sockaddr *)&sun, sizeof(sun)) != 0 ||
		send(fd, hello, sizeof(*hello), MSG_NOSIGNAL) != (ssize_t)sizeof(*hello)) {
		const int why = errno;

		close(fd);
		return qp_fail(msg, why == EACCES || why == EPERM ? QP_E_PERM : QP_E_NOTFOUND,
			"%s: %s", path, strerror(why));
	}
	*out = fd;
	return QP_OK;
}
