/* SPDX-License-Identifier: Apache-2.0 */
/* Questions to the port owner and its answers. */
#include "common/owner_link.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/host.h"

/* Another process's start may be before us, and the port owner gives up on one after seconds. */
#define PATIENCE_MS 8000u
/* One that hangs accepts nobody: once its queue is full, connecting would wait for ever. */
#define CONNECT_PATIENCE_S 3

int
qp_owner_link_open(const char *instance, int *out, struct qp_errmsg *msg)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	const struct timeval patience = {.tv_sec = CONNECT_PATIENCE_S};
	char path[PATH_MAX];
	int fd, err = 0;

	qp_host_eal_file(instance, QP_OWNER_LINK_SOCKET, path);
	if (snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path) >= (int)sizeof(addr.sun_path))
		return qp_fail(msg, QP_E_INVAL, "%s: the path is too long for a socket", path);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return qp_fail(msg, QP_E_IO, "cannot make a socket: %s", strerror(errno));
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) != 0)
		err = qp_fail(msg, errno == ECONNREFUSED ? QP_E_CLOSED : qp_err_from_errno(errno),
			"cannot reach the port owner at %s: %s", path,
			errno == EAGAIN ? "it does not answer" : strerror(errno));
	if (err != 0) {
		close(fd);
		return err;
	}
	*out = fd;
	return 0;
}

static int
send_ask(int fd, enum qp_owner_ask_type type, uint32_t server_id, const char *name, uint64_t bytes,
	int node, struct qp_errmsg *msg)
{
	struct qp_owner_ask ask = {.magic = QP_OWNER_LINK_MAGIC,
		.version = QP_OWNER_LINK_VERSION,
		.type = type,
		.server_id = server_id,
		.bytes = bytes,
		.node = (uint32_t)(node + 1)};

	if (name != NULL)
		snprintf(ask.name, sizeof(ask.name), "%s", name);
	if (send(fd, &ask, sizeof(ask), MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)sizeof(ask))
		return 0;
	return qp_fail(msg, QP_E_IO, "cannot ask the port owner: %s", strerror(errno));
}

int
qp_owner_link_send(int fd, enum qp_owner_ask_type type, uint32_t server_id, const char *name,
	uint64_t bytes, struct qp_errmsg *msg)
{
	return send_ask(fd, type, server_id, name, bytes, -1, msg);
}

int
qp_owner_link_receive(
	int fd, unsigned patience_ms, struct qp_owner_told *out, struct qp_errmsg *msg)
{
	struct pollfd pfd = {.fd = fd, .events = POLLIN};
	ssize_t n;
	int ready;

	do
		ready = poll(&pfd, 1, (int)patience_ms);
	while (ready < 0 && errno == EINTR);
	if (ready <= 0)
		return qp_fail(msg, QP_E_AGAIN, "the port owner does not answer: if that stays so, quicport admin "
					      "replace-port-owner");
	memset(out, 0, sizeof(*out));
	n = recv(fd, out, sizeof(*out), MSG_DONTWAIT);
	if (n <= 0)
		return qp_fail(msg, QP_E_CLOSED, "the port owner has ended");
	if (n < (ssize_t)QP_OWNER_TOLD_MIN || out->magic != QP_OWNER_LINK_MAGIC)
		return qp_fail(msg, QP_E_PROTO, "what answers is no port owner");
	if (out->version != QP_OWNER_LINK_VERSION)
		return qp_fail(msg, QP_E_VERSION, "the port owner speaks version %u here, not %u: "
			"replace it (quicport admin replace-port-owner)",
			out->version, QP_OWNER_LINK_VERSION);
	out->why[sizeof(out->why) - 1] = '\0';
	return 0;
}

static int
take_answer(int fd, enum qp_owner_ask_type type, struct qp_owner_told *out, struct qp_errmsg *msg)
{
	int err = qp_owner_link_receive(fd, PATIENCE_MS, out, msg);

	/* What comes now would be taken for the next question's answer, and a zone for another one. */
	if (err == QP_E_AGAIN)
		(void)shutdown(fd, SHUT_RD);
	if (err == 0 && out->type != (uint32_t)type)
		err = qp_fail(msg, QP_E_PROTO, "the port owner answers another question");
	if (err == 0 && out->ok != 1)
		err = qp_fail(msg, QP_E_PERM, "the port owner: %s", out->why);
	return err;
}

int
qp_owner_link_zone(int fd, enum qp_owner_ask_type type, uint32_t server_id, const char *name,
	uint64_t bytes, struct qp_owner_told *out, struct qp_errmsg *msg)
{
	int err = send_ask(fd, type, server_id, name, bytes, -1, msg);

	return err == 0 ? take_answer(fd, type, out, msg) : err;
}

int
qp_owner_link_reserve(int fd, uint32_t server_id, const char *name, uint64_t bytes, int node,
	struct qp_owner_told *out, struct qp_errmsg *msg)
{
	int err = send_ask(fd, QP_OWNER_RESERVE, server_id, name, bytes, node, msg);

	return err == 0 ? take_answer(fd, QP_OWNER_RESERVE, out, msg) : err;
}

int
qp_owner_link_ask(
	int fd, enum qp_owner_ask_type type, struct qp_owner_told *out, struct qp_errmsg *msg)
{
	return qp_owner_link_zone(fd, type, 0, NULL, 0, out, msg);
}
