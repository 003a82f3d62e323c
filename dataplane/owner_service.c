/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The port owner's side of its socket. What comes in is looked at although the
 * socket is private: a mistake there must not end the memory of all tunnels.
 */
#include "dataplane/owner_service.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "common/ipc.h"
#include "common/log.h"

/* Who connects has its question ready; one that has none must not hold up the next. */
#define QUESTION_PATIENCE_MS 1000

/* A connection with its request; -1: there was none. */
static int
take_request(int listen_fd, struct qp_owner_request *r)
{
	const struct timeval patience = {.tv_usec = QUESTION_PATIENCE_MS * 1000 - 1};
	int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -1;
	n = setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) == 0
		    ? recv(fd, r, sizeof(*r), 0)
		    : -1;
	if (n > 0 && (size_t)n < sizeof(*r))
		memset((char *)r + n, 0, sizeof(*r) - (size_t)n);
	if (n >= (ssize_t)QP_OWNER_REQUEST_MIN && r->magic == QP_OWNER_MAGIC) {
		r->instance[sizeof(r->instance) - 1] = '\0';
		for (unsigned i = 0; i < QP_OWNER_MAX_PORTS; i++)
			r->ports.port[i].devargs[sizeof(r->ports.port[i].devargs) - 1] = '\0';
		return fd;
	}
	close(fd);
	return -1;
}

/* `lifeline` -1: a refusal. */
static bool
reply(int fd, int lifeline, const char *why)
{
	struct qp_owner_reply r = {.magic = QP_OWNER_MAGIC,
		.version = QP_OWNER_VERSION,
		.pid = getpid(),
		.ok = lifeline >= 0};
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct iovec iov = {.iov_base = &r, .iov_len = sizeof(r)};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};

	if (lifeline < 0) {
		snprintf(r.why, sizeof(r.why), "%s", why);
	} else {
		m.msg_control = control.bytes;
		m.msg_controllen = sizeof(control.bytes);
		struct cmsghdr *c = CMSG_FIRSTHDR(&m);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(lifeline));
		memcpy(CMSG_DATA(c), &lifeline, sizeof(lifeline));
	}
	return sendmsg(fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)sizeof(r);
}

static const char *
mistake_in(const struct qp_owner_request *r, const char *own_instance)
{
	if (r->version != QP_OWNER_VERSION)
		return "control plane and port owner are of releases that do not understand each "
		       "other: install both from one, then quicport admin replace-port-owner";
	if (r->instance[0] == '\0' || strspn(r->instance, "abcdefghijklmnopqrstuvwxyz0123456789-") !=
					      strlen(r->instance))
		return "the gateway's name is not one";
	if (own_instance[0] != '\0' && strcmp(own_instance, r->instance) != 0)
		return "this port owner serves another gateway: give each its own "
		       "--port-owner-socket";
	return NULL;
}

int
qp_owner_service_wait(
	struct qp_owner_service *s, int listen_fd, int stop_fd, struct qp_errmsg *msg)
{
	struct pollfd fds[] = {
		{.fd = listen_fd, .events = POLLIN}, {.fd = stop_fd, .events = POLLIN}};
	struct qp_owner_request r;
	const char *mistake;

	*s = (struct qp_owner_service) {.listen_fd = listen_fd, .conn = -1};
	if (fcntl(listen_fd, F_SETFL, O_NONBLOCK) != 0 || pipe2(s->lifeline, O_CLOEXEC) != 0)
		return qp_fail(msg, QP_E_IO, "--listen-fd %d: %s", listen_fd, strerror(errno));
	for (;;) {
		if (poll(fds, 2, -1) < 0 && errno != EINTR)
			return qp_fail(msg, QP_E_IO, "poll: %s", strerror(errno));
		if (fds[1].revents != 0)
			return qp_fail(msg, QP_E_CLOSED, "asked to end");
		s->conn = take_request(listen_fd, &r);
		if (s->conn < 0)
			continue;
		mistake = mistake_in(&r, "");
		if (mistake == NULL)
			break;
		reply(s->conn, -1, mistake);
		close(s->conn);
	}
	memcpy(s->instance, r.instance, sizeof(s->instance));
	s->memory_mib = r.memory_mib;
	s->ports = r.ports;
	return 0;
}

void
qp_owner_service_answer(struct qp_owner_service *s, const char *why)
{
	if (!reply(s->conn, why == NULL ? s->lifeline[1] : -1, why))
		qp_log(QP_LOG_WARN, "the control plane is gone", QP_LOG_ERRNO(errno));
	/* From now on others keep us alive, or nobody. */
	close(s->lifeline[1]);
	s->lifeline[1] = -1;
}

void
qp_owner_service_again(struct qp_owner_service *s)
{
	struct qp_owner_request r;
	int fd = take_request(s->listen_fd, &r), writer;
	const char *mistake;
	char path[32];

	if (fd < 0)
		return;
	mistake = mistake_in(&r, s->instance);
	if (mistake != NULL) {
		reply(fd, -1, mistake);
		close(fd);
		return;
	}
	/* A pipe is opened anew through its other end. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", s->lifeline[0]);
	writer = open(path, O_WRONLY | O_CLOEXEC);
	reply(fd, writer, "the lifeline cannot be opened again");
	if (writer >= 0)
		close(writer);
	if (s->conn >= 0)
		close(s->conn);
	s->conn = fd;
}
