/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `quicport client` and `quicport ssh-proxy`: the library's client in a thread
 * of its own; signals, the terminal and the status socket in this one.
 */
#define QP_LOG_MODULE QP_LOG_M_client
#include "client/commands.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "client/desk.h"
#include "client/screen.h"
#include "client/status.h"

#define SCREEN_MS 1000

struct command {
	struct qpc_desk desk;
	struct qpc_status status;
	int signals; /* a signalfd */
};

/* A connection needs a descriptor: take as many as the system lets us have. */
static void
raise_descriptor_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == limit.rlim_max)
		return;
	limit.rlim_cur = limit.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &limit);
}

static int
catch_signals(struct command *c, struct qp_errmsg *msg)
{
	sigset_t set;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	c->signals = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	if (c->signals < 0)
		return qp_fail(msg, QP_E_IO, "cannot receive signals: %s", strerror(errno));
	return QP_OK;
}

static void
show(struct qpc_desk *d)
{
	struct qpc_screen_state all = {.forwards = (unsigned)d->nitems};

	for (size_t i = 0; i < d->nitems; i++) {
		struct qp_forward_stats s = {.size = sizeof(s)};

		qp_forward_get_stats(d->client, d->item[i]->forward, &s);
		all.open += s.state == QP_FORWARD_OPEN;
		all.connections += s.connections_active;
		all.to_local += s.bytes_to_local;
		all.from_local += s.bytes_from_local;
	}
	qpc_screen_show(&all);
}

/* SIGHUP: with a configuration file it is read again; without, a terminal was hung up. */
static void
on_signal(struct command *c)
{
	struct qp_errmsg msg = {""};
	struct signalfd_siginfo info;

	if (read(c->signals, &info, sizeof(info)) != (ssize_t)sizeof(info))
		return;
	if (info.ssi_signo == SIGHUP && c->desk.o->config != NULL) {
		if (qpc_desk_reload(&c->desk, &msg) == QP_OK)
			qp_log(QP_LOG_INFO, "configuration read again",
				QP_LOG_STR("file", c->desk.o->config),
				QP_LOG_U64("forwards", c->desk.nitems));
		else
			qp_log(QP_LOG_ERROR, "configuration not changed", QP_LOG_STR("why", msg.text));
		return;
	}
	(void)eventfd_write(c->desk.leaving, 1);
	qp_client_stop(c->desk.client);
}

/* Until all forwards have ended; a signal asks for that. */
static void
wait_for_end(struct command *c)
{
	struct pollfd fds[3] = {{.fd = c->signals, .events = POLLIN},
		{.fd = c->desk.ended, .events = POLLIN}, {.fd = c->status.fd, .events = POLLIN}};
	eventfd_t n;

	while (!qpc_desk_done(&c->desk)) {
		if (poll(fds, 3, qpc_screen_has_line() ? SCREEN_MS : -1) < 0)
			continue;
		if (fds[1].revents != 0)
			(void)eventfd_read(c->desk.ended, &n);
		if (fds[2].revents != 0)
			qpc_status_serve(&c->status, &c->desk);
		if (fds[0].revents != 0)
			on_signal(c);
		else if (qpc_screen_has_line())
			show(&c->desk);
	}
	qpc_screen_clear();
}

static enum qpc_exit
exit_status(int err)
{
	switch (err) {
	case QP_OK:
		return QPC_EXIT_OK;
	case QP_E_INVAL:
		return QPC_EXIT_USAGE;
	case QP_E_AUTH:
		return QPC_EXIT_AUTH;
	case QP_E_REFUSED:
		return QPC_EXIT_REFUSED;
	default:
		return QPC_EXIT_FAILED;
	}
}

static enum qpc_exit
run(const struct qpc_options *o, bool with_status)
{
	static struct command c; /* too large for a stack */
	struct qp_errmsg msg = {""};
	enum qpc_exit status;
	int err;

	c = (struct command) {.status.fd = -1, .signals = -1};
	c.desk.ended = c.desk.leaving = -1;
	raise_descriptor_limit();
	err = catch_signals(&c, &msg);
	if (err == QP_OK)
		err = qpc_desk_open(&c.desk, o, &msg);
	if (err == QP_OK) {
		if (with_status)
			qpc_status_open(&c.status);
		wait_for_end(&c);
		err = c.desk.first.code;
	} else {
		qp_log(QP_LOG_ERROR, msg.text);
	}
	status = exit_status(err);
	qpc_status_close(&c.status);
	qpc_desk_close(&c.desk);
	if (c.signals >= 0)
		close(c.signals);
	return status;
}

int
qpc_command_client(int argc, char **argv)
{
	static struct qpc_options o;
	struct qp_errmsg msg = {0};
	int status, err = qpc_options_parse(&o, argc, argv, &msg);

	if (err == QP_OK)
		err = qp_log_init(&o.log, &msg);
	if (err == QP_OK) {
		qpc_screen_init(o.status_line, o.log.output != NULL);
		status = run(&o, true);
	} else if (err == QP_OPT_DONE) {
		status = QPC_EXIT_OK;
	} else {
		fprintf(stderr, "quicport client: %s\n", msg.text);
		status = QPC_EXIT_USAGE;
	}
	qpc_options_clear(&o);
	return status;
}

/* What ssh makes of its ProxyCommand's failure, and of its own. */
#define SSH_FAILED 255

int
qpc_command_ssh_proxy(int argc, char **argv)
{
	static struct qpc_options o;
	struct qp_errmsg msg = {0};
	int status, err = qpc_options_parse_ssh(&o, argc, argv, &msg);

	/* ssh shows what a ProxyCommand says: only what is wrong, unless asked for more. */
	if (err == QP_OK && getenv("QUICPORT_LOG") == NULL && o.log.level == QP_LOG_INFO)
		o.log.level = QP_LOG_WARN;
	if (err == QP_OK)
		err = qp_log_init(&o.log, &msg);
	if (err == QP_OK) {
		o.set.reconnect = false;
		status = run(&o, false) == QPC_EXIT_OK ? 0 : SSH_FAILED;
	} else if (err == QP_OPT_DONE) {
		status = 0;
	} else {
		fprintf(stderr, "quicport ssh-proxy: %s\n", msg.text);
		status = SSH_FAILED;
	}
	qpc_options_clear(&o);
	return status;
}
