/* SPDX-License-Identifier: Apache-2.0 */
/* Sockets in front of a prompt's sessions. Main thread; nothing in here waits. */
#define QP_LOG_MODULE QP_LOG_M_process
#include "dataplane/prompt_service.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "dataplane/prompt_conn.h"

#define SLOTS (QP_PROMPT_SESSIONS + 4u) /* those that are refused are told so, and have time to read it */

struct qp_prompt_service {
	struct qp_prompt_service_config cfg;
	struct qp_prompt *prompt;
	char path[108];
	int listen_fd, epoll_fd;
	struct qp_prompt_conn conn[SLOTS];
};

static void
drop(struct qp_prompt_service *s, struct qp_prompt_conn *c)
{
	if (c->session != NULL)
		qp_prompt_close(c->session);
	(void)epoll_ctl(s->epoll_fd, EPOLL_CTL_DEL, c->fd, NULL);
	close(c->fd);
	free(c->out);
	*c = (struct qp_prompt_conn) {.fd = -1};
}

static void
on_connection(struct qp_prompt_service *s)
{
	struct epoll_event ev = {.events = EPOLLIN};
	const int fd = accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0)
		return;
	for (unsigned i = 0; i < SLOTS; i++) {
		if (s->conn[i].fd >= 0)
			continue;
		ev.data.u32 = i;
		if (epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, fd, &ev) != 0)
			break;
		s->conn[i] = (struct qp_prompt_conn) {.fd = fd};
		return;
	}
	close(fd);
}

/* Without those that were told that they are over. */
static unsigned
count_sessions(const struct qp_prompt_service *s)
{
	unsigned n = 0;

	for (unsigned i = 0; i < SLOTS; i++)
		n += s->conn[i].session != NULL && !s->conn[i].done;
	return n;
}

static bool
running(const struct qp_prompt_service *s)
{
	return s->cfg.ops->running(s->cfg.ctx);
}

static void
on_hello(struct qp_prompt_service *s, struct qp_prompt_conn *c)
{
	struct qp_prompt_told told = {.magic = QP_PROMPT_MAGIC, .version = QP_PROMPT_VERSION,
		.ok = 1, .running = running(s)};
	struct qp_prompt_hello hello = {0};
	const ssize_t n = recv(c->fd, &hello, sizeof(hello), MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	c->lost = true;
	if (n < (ssize_t)QP_PROMPT_HELLO_MIN || hello.magic != QP_PROMPT_MAGIC ||
		hello.version != QP_PROMPT_VERSION)
		return;
	hello.sign[sizeof(hello.sign) - 1] = '\0';
	if (count_sessions(s) >= QP_PROMPT_SESSIONS) {
		told.ok = 0;
		snprintf(told.why, sizeof(told.why),
			"as many prompts are open as there may be at once (%u): leave one of them",
			QP_PROMPT_SESSIONS);
	}
	if (send(c->fd, &told, sizeof(told), MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		return;
	c->lost = false;
	c->done = told.ok == 0;
	if (c->done)
		return;
	c->quiet = (hello.flags & QP_PROMPT_QUIET) != 0;
	c->told_running = told.running;
	c->period_s = hello.stats_period_s < QP_PROMPT_MAX_PERIOD ? hello.stats_period_s : QP_PROMPT_MAX_PERIOD;
	c->next_ns = qp_now_ns() + c->period_s * 1000000000ull;
	c->session = qp_prompt_open(s->prompt, &(struct qp_prompt_session_config) {
		.sign = hello.sign[0] != '\0' ? hello.sign : QP_PROMPT_SIGN,
		.quiet = c->quiet,
		.owner = (hello.flags & QP_PROMPT_OWNER) != 0,
		.write = qp_prompt_conn_say,
		.ctx = c,
	});
	c->lost = c->session == NULL;
}

static void
tell_state(struct qp_prompt_service *s, struct qp_prompt_conn *c)
{
	const uint8_t now = running(s);

	if (c->session == NULL || c->done || c->told_running == now)
		return;
	if (qp_prompt_send(c->fd, QP_PROMPT_STATE, &now, 1) == QP_OK)
		c->told_running = now;
}

/* Sends what there is, and says what it waits for next. */
static void
finish(struct qp_prompt_service *s, unsigned i)
{
	struct qp_prompt_conn *c = &s->conn[i];
	struct epoll_event ev = {.data.u32 = i};

	qp_prompt_conn_work(c);
	qp_prompt_conn_show_period(c);
	tell_state(s, c);
	qp_prompt_conn_flush(c);
	if (c->lost) {
		drop(s, c);
		return;
	}
	/* Who has typed more than is done is called again at once, if he reads. */
	ev.events = (qp_prompt_conn_waiting(c) < QP_PROMPT_OUTPUT_ENOUGH && qp_prompt_conn_typed(c) == 0 ? EPOLLIN : 0) |
		    (qp_prompt_conn_waiting(c) > 0 || qp_prompt_conn_typed(c) > 0 || (c->ending && !c->done) ? EPOLLOUT : 0);
	(void)epoll_ctl(s->epoll_fd, EPOLL_CTL_MOD, c->fd, &ev);
}

void
qp_prompt_service_turn(struct qp_prompt_service *s)
{
	struct epoll_event ev[SLOTS + 1];
	const int n = epoll_wait(s->epoll_fd, ev, SLOTS + 1, 0);

	for (int i = 0; i < n; i++) {
		struct qp_prompt_conn *c;

		if (ev[i].data.u32 == SLOTS) {
			on_connection(s);
			continue;
		}
		c = &s->conn[ev[i].data.u32];
		if ((ev[i].events & EPOLLIN) == 0)
			c->lost |= (ev[i].events & (EPOLLHUP | EPOLLERR)) != 0;
		else if (c->session == NULL && !c->done)
			on_hello(s, c);
		else
			qp_prompt_conn_receive(c);
	}
	for (unsigned i = 0; i < SLOTS; i++) {
		if (s->conn[i].fd >= 0)
			finish(s, i);
	}
}

void
qp_prompt_service_say(struct qp_prompt_service *s, const char *text)
{
	for (unsigned i = 0; i < SLOTS; i++) {
		if (s->conn[i].session != NULL && !s->conn[i].ending && !s->conn[i].quiet &&
			qp_prompt_conn_waiting(&s->conn[i]) < QP_PROMPT_OUTPUT_ENOUGH)
			qp_prompt_say(s->conn[i].session, "%s", text);
	}
}

int
qp_prompt_service_fd(const struct qp_prompt_service *s)
{
	return s->epoll_fd;
}

static int
listen_at(struct qp_prompt_service *s, struct qp_errmsg *msg)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	struct epoll_event ev = {.events = EPOLLIN, .data.u32 = SLOTS};
	const int n = snprintf(sun.sun_path, sizeof(sun.sun_path), "%s/" QP_PROMPT_SOCKET, s->cfg.dir,
		s->cfg.server_id);
	mode_t before;
	int rc;

	if (n < 0 || (size_t)n >= sizeof(sun.sun_path))
		return qp_fail(msg, QP_E_INVAL, "%s: too long for a socket's name", s->cfg.dir);
	memcpy(s->path, sun.sun_path, sizeof(s->path));
	s->listen_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	s->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (s->listen_fd < 0 || s->epoll_fd < 0)
		return qp_fail(msg, QP_E_IO, "prompt: %s", strerror(errno));
	(void)unlink(s->path);
	before = umask(0177);
	rc = bind(s->listen_fd, (struct sockaddr *)&sun, sizeof(sun));
	umask(before);
	if (rc != 0 || listen(s->listen_fd, (int)QP_PROMPT_SESSIONS) != 0 ||
		epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, s->listen_fd, &ev) != 0)
		return qp_fail(msg, QP_E_IO, "%s: %s", s->path, strerror(errno));
	return 0;
}

int
qp_prompt_service_open(const struct qp_prompt_service_config *cfg,
	struct qp_prompt_service **out, struct qp_errmsg *msg)
{
	const struct qp_prompt_config prompt = {.ops = cfg->ops, .ctx = cfg->ctx};
	struct qp_prompt_service *s = calloc(1, sizeof(*s));
	int err;

	if (s == NULL)
		return qp_fail(msg, QP_E_NOMEM, "no memory for a prompt");
	s->cfg = *cfg;
	s->listen_fd = s->epoll_fd = -1;
	for (unsigned i = 0; i < SLOTS; i++)
		s->conn[i].fd = -1;
	err = qp_prompt_new(&prompt, &s->prompt, msg);
	if (err == 0)
		err = listen_at(s, msg);
	if (err != 0) {
		qp_prompt_service_close(s);
		return err;
	}
	*out = s;
	return 0;
}

void
qp_prompt_service_close(struct qp_prompt_service *s)
{
	if (s == NULL)
		return;
	for (unsigned i = 0; i < SLOTS; i++) {
		if (s->conn[i].fd >= 0)
			drop(s, &s->conn[i]);
	}
	if (s->listen_fd >= 0)
		close(s->listen_fd);
	if (s->path[0] != '\0')
		(void)unlink(s->path);
	if (s->epoll_fd >= 0)
		close(s->epoll_fd);
	qp_prompt_free(s->prompt);
	free(s);
}
