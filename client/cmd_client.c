/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `quicport client`: the library's client in a thread of its own, signals and
 * the terminal in this one. Main thread.
 */
#include "client/commands.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "client/options.h"
#include "common/opt.h"
#include "include/quicport.h"

struct command {
	const struct qpc_options *o;
	struct qp_client *client;
	int signals; /* a signalfd */
	int ended;   /* an eventfd: the forward has ended */
	int leaving; /* an eventfd: a signal came, which also ends a question */
	struct qp_error why;
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
	c->ended = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	c->leaving = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (c->signals < 0 || c->ended < 0 || c->leaving < 0)
		return qp_fail(msg, QP_E_IO, "cannot receive signals: %s", strerror(errno));
	return QP_OK;
}

/* The library's news; its thread. */

static void
on_log(void *user, enum qp_log_severity severity, const char *line)
{
	qp_log_pass((enum qp_log_level)severity, line);
}

static void
on_closed(void *user, struct qp_forward *f, const struct qp_error *why, int64_t retry_ms)
{
	struct command *c = user;

	if (retry_ms >= 0)
		return;
	c->why = *why;
	(void)eventfd_write(c->ended, 1);
}

static enum qp_trust
on_trust(void *user, struct qp_forward *f, const struct qp_certificate *cert)
{
	struct command *c = user;

	return qpc_ask_trust(cert, c->leaving) ? QP_TRUST_RECORD : QP_TRUST_NO;
}

static int
start(struct command *c, struct qp_errmsg *msg)
{
	const struct qpc_options *o = c->o;
	struct qp_client_options co = QP_CLIENT_OPTIONS;
	struct qp_forward_options fo = QP_FORWARD_OPTIONS;
	char server[QP_HOST_BYTES + 16], remote[32], local[QP_HOST_BYTES + 16];
	struct qp_error error;
	int err;

	qp_target_format(&o->server, false, server, sizeof(server));
	qp_target_format(&o->remote, true, remote, sizeof(remote));
	qp_target_format(&o->local, true, local, sizeof(local));
	co.server = server;
	co.identity = (struct qp_identity) {
		.psk = o->psk != NULL ? (const char *)o->psk->bytes : NULL,
		.private_key = o->privkey != NULL ? (const char *)o->privkey->bytes : NULL,
		.private_key_file = o->privkey_file,
		.server_public_key = o->server_pubkey,
		.server_public_key_file = o->server_pubkey_file,
	};
	co.insecure = o->insecure;
	co.keep_alive_s = o->keep_alive_s;
	co.idle_timeout_s = o->idle_timeout_s;
	co.reconnect = o->reconnect;
	co.reconnect_max_attempts = o->reconnect_max_attempts;
	co.reconnect_delay_ms = o->reconnect_delay_s * 1000;
	co.log_severity = (enum qp_log_severity)o->log.level;
	co.log_form = o->log.format == QP_LOG_JSON ? QP_LOG_FORM_JSON : QP_LOG_FORM_LINE;
	co.callbacks = (struct qp_client_callbacks) {
		.closed = on_closed, .trust = on_trust, .log = on_log};
	co.user = c;
	fo.remote = remote;
	fo.local = local;
	err = qp_client_new(&co, &c->client, &error);
	if (err == QP_OK)
		err = qp_client_add(c->client, &fo, NULL, &error);
	if (err == QP_OK)
		err = qp_client_start(c->client, &error);
	return err == QP_OK ? QP_OK : qp_fail(msg, err, "%s", error.text);
}

/* Until the forward ends; a signal asks for that. */
static void
wait_for_end(struct command *c)
{
	struct pollfd fds[2] = {{.fd = c->signals, .events = POLLIN}, {.fd = c->ended, .events = POLLIN}};

	while (fds[1].revents == 0) {
		struct signalfd_siginfo info;

		if (poll(fds, 2, -1) < 0)
			continue;
		if (read(c->signals, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
			(void)eventfd_write(c->leaving, 1);
			qp_client_stop(c->client);
		}
	}
}

static enum qpc_exit
exit_status(int err)
{
	switch (err) {
	case QP_OK:
		return QPC_EXIT_OK;
	case QP_E_AUTH:
		return QPC_EXIT_AUTH;
	case QP_E_REFUSED:
		return QPC_EXIT_REFUSED;
	default:
		return QPC_EXIT_FAILED;
	}
}

static enum qpc_exit
run(const struct qpc_options *o)
{
	struct command c = {.o = o, .signals = -1, .ended = -1, .leaving = -1};
	struct qp_errmsg msg = {""};
	enum qpc_exit status;
	int err = catch_signals(&c, &msg);

	raise_descriptor_limit();
	if (err == QP_OK)
		err = start(&c, &msg);
	if (err == QP_OK) {
		wait_for_end(&c);
		status = exit_status(c.why.code);
	} else {
		status = err == QP_E_INVAL ? QPC_EXIT_USAGE : QPC_EXIT_FAILED;
		qp_log(QP_LOG_ERROR, msg.text);
	}
	qp_client_free(c.client);
	if (c.signals >= 0)
		close(c.signals);
	if (c.ended >= 0)
		close(c.ended);
	if (c.leaving >= 0)
		close(c.leaving);
	return status;
}

int
qpc_command_client(int argc, char **argv)
{
	struct qpc_options o;
	struct qp_errmsg msg = {0};
	int status, err = qpc_options_parse(&o, argc, argv, &msg);

	if (err == QP_OK)
		err = qp_log_init(&o.log, &msg);
	if (err == QP_OK) {
		status = run(&o);
	} else if (err == QP_OPT_DONE) {
		status = QPC_EXIT_OK;
	} else {
		fprintf(stderr, "quicport client: %s\n", msg.text);
		status = QPC_EXIT_USAGE;
	}
	qpc_options_clear(&o);
	return status;
}
