/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libquicport's client: the object, its loop in the caller's hands or in a
 * thread of its own, and calls from other threads, which that thread carries
 * out between two turns, so that nothing else needs a lock. Calls about forwards
 * are client_forwards.c's.
 */
#include "client/client_impl.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define NS_PER_S 1000000000u

/* Something that the client's thread does for another one, which waits. */
struct qpc_call {
	struct qpc_call *next;
	void (*run)(void *arg);
	void *arg;
	bool done;
};

const char *
qp_version(void)
{
	return QP_VERSION;
}

int
qpc_report(struct qp_error *error, int err, const struct qp_errmsg *msg)
{
	if (error != NULL) {
		error->code = err;
		snprintf(error->text, sizeof(error->text), "%s",
			msg->text[0] != '\0' ? msg->text : qp_strerror(err));
	}
	return err;
}

static void
write_log(void *ctx, enum qp_log_level level, const char *line)
{
	const struct qp_client *c = ctx;

	c->o.callbacks.log(c->o.user, (enum qp_log_severity)level, line);
}

static void
log_nothing(void *ctx, enum qp_log_level level, const char *line)
{
}

static void
set_log(struct qp_client *c)
{
	c->tap = (struct qp_log_tap) {
		.level = (enum qp_log_level)c->o.log_severity,
		.format = c->o.log_form == QP_LOG_FORM_JSON ? QP_LOG_JSON : QP_LOG_CONSOLE,
		.bare = c->o.log_form == QP_LOG_FORM_PLAIN,
		.process = "client",
		.write = c->o.callbacks.log != NULL ? write_log : log_nothing,
		.ctx = c,
	};
}

/* The program's own thread: its signals and its log stay its own. */

static const struct qp_log_tap *
enter(struct qp_client *c)
{
	const struct qp_log_tap *before = qp_log_tap;

	qp_log_tap = &c->tap;
	return before;
}

/* In the caller's loop, one descriptor tells all: the next deadline is a timerfd's. */
static void
set_clock(struct qp_client *c)
{
	uint64_t next = qpc_loop_next_ns(&c->loop);
	struct itimerspec at = {0};

	if (c->threaded || next == c->clock_ns)
		return;
	c->clock_ns = next;
	if (next != UINT64_MAX) {
		at.it_value.tv_sec = (time_t)(next / NS_PER_S);
		at.it_value.tv_nsec = (long)(next % NS_PER_S);
		if (next == 0)
			at.it_value.tv_nsec = 1; /* at once; 0 would disarm it */
	}
	(void)timerfd_settime(c->clock.fd, TFD_TIMER_ABSTIME, &at, NULL);
}

static void
leave(struct qp_client *c, const struct qp_log_tap *before)
{
	set_clock(c);
	qp_log_tap = before;
}

static void
drain(int fd)
{
	uint64_t n;

	if (read(fd, &n, sizeof(n)) < 0)
		return; /* nothing was there: another event of the turn was first */
}

static void
on_clock(struct qpc_source *source, uint32_t events)
{
	QPC_CONTAINER(source, struct qp_client, clock)->clock_ns = UINT64_MAX;
	drain(source->fd);
}

/* Calls from other threads. */

static void
carry_out_calls(struct qp_client *c)
{
	struct qpc_call *call;

	pthread_mutex_lock(&c->lock);
	while ((call = c->calls) != NULL) {
		c->calls = call->next;
		pthread_mutex_unlock(&c->lock);
		call->run(call->arg);
		pthread_mutex_lock(&c->lock);
		call->done = true;
		pthread_cond_broadcast(&c->answered);
	}
	pthread_mutex_unlock(&c->lock);
}

static void
on_wake(struct qpc_source *source, uint32_t events)
{
	drain(source->fd);
	carry_out_calls(QPC_CONTAINER(source, struct qp_client, wake));
}

void
qpc_run_in_client(struct qp_client *c, void (*run)(void *arg), void *arg)
{
	struct qpc_call call = {.run = run, .arg = arg}, **last;

	if (!c->threaded || pthread_equal(pthread_self(), c->thread)) {
		const struct qp_log_tap *before = enter(c);

		run(arg);
		leave(c, before);
		return;
	}
	pthread_mutex_lock(&c->lock);
	for (last = &c->calls; *last != NULL;)
		last = &(*last)->next;
	*last = &call;
	(void)eventfd_write(c->wake.fd, 1);
	while (!call.done)
		pthread_cond_wait(&c->answered, &c->lock);
	pthread_mutex_unlock(&c->lock);
}

/* Making and ending. */

static int
check_options(const struct qp_client_options *o, struct qp_errmsg *msg)
{
	/* As ABI version 1 began with it; whatever is added later comes behind. */
	if (o->size < offsetof(struct qp_client_options, user) + sizeof(o->user))
		return qp_fail(msg, QP_E_VERSION,
			"struct qp_client_options of %zu bytes, at least %zu are needed: start from "
			"QP_CLIENT_OPTIONS", o->size, sizeof(*o));
	if (o->idle_timeout_s == 0)
		return qp_fail(msg, QP_E_INVAL, "idle_timeout_s is 0: give at least 1");
	if (o->known_hosts != NULL && strlen(o->known_hosts) >= sizeof(((struct qp_client *)0)->known_hosts))
		return qp_fail(msg, QP_E_INVAL, "the path of known_hosts is too long");
	return QP_OK;
}

/* The network of this host has changed: each connection looks whether its path still works. */
static void
on_network_changed(struct qpc_watch *watch)
{
	struct qp_client *c = QPC_CONTAINER(watch, struct qp_client, watch);
	struct qp_forward *f;

	TAILQ_FOREACH(f, &c->forwards, link)
		qpc_forward_network_changed(f);
}

static int
open_loop(struct qp_client *c, struct qp_errmsg *msg)
{
	int err = qpc_loop_init(&c->loop, msg);

	if (err != QP_OK)
		return err;
	c->wake = (struct qpc_source) {eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), on_wake};
	c->clock = (struct qpc_source) {
		timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK), on_clock};
	c->clock_ns = UINT64_MAX;
	if (c->wake.fd < 0 || c->clock.fd < 0 ||
		qpc_loop_add(&c->loop, &c->wake, EPOLLIN) != QP_OK ||
		qpc_loop_add(&c->loop, &c->clock, EPOLLIN) != QP_OK)
		return qp_fail(msg, qp_err_from_errno(errno),
			"cannot make the client's descriptors: %s", strerror(errno));
	qpc_watch_open(&c->watch, &c->loop, on_network_changed);
	return QP_OK;
}

static int
fill(struct qp_client *c, const struct qp_client_options *o, struct qp_errmsg *msg)
{
	int err = check_options(o, msg);

	if (err == QP_OK && (qp_keys_init() != QP_OK || qp_quic_init() != QP_OK))
		err = qp_fail(msg, QP_E_CRYPTO, "libsodium or wolfSSL does not start");
	if (err != QP_OK)
		return err;
	c->o = (struct qp_client_options) QP_CLIENT_OPTIONS;
	memcpy(&c->o, o, o->size < sizeof(c->o) ? o->size : sizeof(c->o));
	set_log(c);
	if (o->known_hosts != NULL)
		snprintf(c->known_hosts, sizeof(c->known_hosts), "%s", o->known_hosts);
	if (o->server != NULL)
		err = qp_target_parse(o->server, QP_ADDR_NEED_HOST, &c->server, msg);
	if (err == QP_OK)
		err = qpc_identity_load(&c->identity, &o->identity, msg);
	if (err == QP_OK)
		err = qpc_tls_context(&c->tls, msg);
	return err == QP_OK ? open_loop(c, msg) : err;
}

int
qp_client_new(const struct qp_client_options *options, struct qp_client **out,
	struct qp_error *error)
{
	struct qp_client *c = calloc(1, sizeof(*c));
	struct qp_errmsg msg = {""};
	int err;

	if (c == NULL)
		return qpc_report(error, QP_E_NOMEM, &msg);
	c->loop.epfd = c->wake.fd = c->clock.fd = c->watch.source.fd = -1;
	TAILQ_INIT(&c->forwards);
	TAILQ_INIT(&c->leaving);
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->answered, NULL);
	err = fill(c, options, &msg);
	if (err != QP_OK) {
		qp_client_free(c);
		return qpc_report(error, err, &msg);
	}
	*out = c;
	return QP_OK;
}

static void
drop_forwards(struct qpc_forward_list *list)
{
	struct qp_forward *f;

	while ((f = TAILQ_FIRST(list)) != NULL)
		qpc_forward_free(f);
}

static void
ask_to_end(void *arg)
{
	((struct qp_client *)arg)->ending = true;
}

void
qp_client_free(struct qp_client *c)
{
	struct qpc_once *o;

	if (c == NULL)
		return;
	if (c->threaded) {
		qpc_run_in_client(c, ask_to_end, c);
		pthread_join(c->thread, NULL);
		c->threaded = false;
	}
	const struct qp_log_tap *before = enter(c);
	drop_forwards(&c->forwards);
	drop_forwards(&c->leaving);
	qp_log_tap = before;
	while ((o = c->once) != NULL) {
		c->once = o->next;
		free(o);
	}
	qpc_watch_close(&c->watch);
	if (c->wake.fd >= 0)
		close(c->wake.fd);
	if (c->clock.fd >= 0)
		close(c->clock.fd);
	qpc_loop_fini(&c->loop);
	if (c->tls != NULL)
		wolfSSL_CTX_free(c->tls);
	qpc_identity_clear(&c->identity);
	pthread_cond_destroy(&c->answered);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

/* Running. */

int
qp_client_fd(const struct qp_client *c)
{
	return c->loop.epfd;
}

int
qp_client_process(struct qp_client *c)
{
	const struct qp_log_tap *before = enter(c);
	int err = qpc_loop_wait(&c->loop, true);

	if (err == QP_OK)
		qpc_loop_dispatch(&c->loop);
	leave(c, before);
	return err;
}

static void *
thread_main(void *arg)
{
	struct qp_client *c = arg;

	(void)enter(c);
	while (!c->ending) {
		if (qpc_loop_wait(&c->loop, false) != QP_OK)
			break;
		qpc_loop_dispatch(&c->loop);
	}
	/* Whoever still waits for an answer gets it. */
	carry_out_calls(c);
	return NULL;
}

int
qp_client_start(struct qp_client *c, struct qp_error *error)
{
	struct qp_errmsg msg = {""};
	sigset_t all, before;
	int rc;

	if (c->threaded)
		return qpc_report(error, QP_E_INUSE, &msg);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	c->threaded = true;
	rc = pthread_create(&c->thread, NULL, thread_main, c);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (rc == 0)
		return QP_OK;
	c->threaded = false;
	(void)qp_fail(&msg, QP_E_NOMEM, "cannot start a thread: %s", strerror(rc));
	return qpc_report(error, QP_E_NOMEM, &msg);
}

static void
stop(void *arg)
{
	struct qp_client *c = arg;
	struct qp_forward *f;

	c->stopping = true;
	TAILQ_FOREACH(f, &c->forwards, link)
		qpc_forward_stop(f);
}

void
qp_client_stop(struct qp_client *c)
{
	qpc_run_in_client(c, stop, c);
}

struct done_query {
	const struct qp_client *client;
	bool done;
};

static void
look_whether_done(void *arg)
{
	struct done_query *q = arg;
	const struct qp_forward *f;

	q->done = TAILQ_EMPTY(&q->client->leaving);
	TAILQ_FOREACH(f, &q->client->forwards, link)
		q->done = q->done && f->state == QP_FORWARD_ENDED;
}

bool
qp_client_done(const struct qp_client *c)
{
	struct done_query q = {.client = c};

	qpc_run_in_client((struct qp_client *)(uintptr_t)c, look_whether_done, &q);
	return q.done;
}
