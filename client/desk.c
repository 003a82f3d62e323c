/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A configuration becomes forwards of the library's client. Main thread;
 * callbacks from the client's.
 */
#define QP_LOG_MODULE QP_LOG_M_client
#include "client/desk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "client/commands.h"
#include "client/screen.h"
#include "common/heap.h"
#include "common/log.h"

/* What the library tells; its thread. */

static void
on_log(void *user, enum qp_log_severity severity, const char *line)
{
	qpc_screen_log(severity, line);
}

static void
on_closed(void *user, struct qp_forward *f, const struct qp_error *why, int64_t retry_ms)
{
	struct qpc_desk *d = user;

	if (retry_ms >= 0)
		return;
	pthread_mutex_lock(&d->lock);
	((struct qpc_item *)qp_forward_user(f))->ended = true;
	if (d->first.code == QP_OK)
		d->first = *why;
	pthread_mutex_unlock(&d->lock);
	(void)eventfd_write(d->ended, 1);
}

static enum qp_trust
on_trust(void *user, struct qp_forward *f, const struct qp_certificate *cert)
{
	struct qpc_desk *d = user;

	qpc_screen_clear();
	return qpc_ask_trust(cert, d->leaving) ? QP_TRUST_RECORD : QP_TRUST_NO;
}

/* Forwards come and go. */

/* Whoever reads it is to see its end before ours: so it has one descriptor, and nothing else gets into it. */
static int
take_standard_output(void)
{
	int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
	int fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);

	if (nowhere >= 0)
		(void)dup2(nowhere, STDOUT_FILENO);
	if (nowhere > STDERR_FILENO)
		close(nowhere);
	return fd;
}

static int
add(struct qpc_desk *d, const struct qpc_spec *spec, struct qp_errmsg *msg)
{
	struct qpc_item *item = calloc(1, sizeof(*item));
	const struct qpc_peer *p = &spec->peer;
	const struct qp_identity identity = {.psk = p->psk, .private_key = p->privkey,
		.private_key_file = p->privkey_file, .server_public_key = p->server_pubkey,
		.server_public_key_file = p->server_pubkey_file};
	struct qp_forward_options fo = QP_FORWARD_OPTIONS;
	struct qp_error error;
	int err;

	if (item == NULL)
		return qp_fail(msg, QP_E_NOMEM, "out of memory");
	item->spec = *spec;
	fo.name = spec->name;
	fo.user = item;
	fo.kind = spec->kind;
	fo.remote = spec->remote;
	fo.local = spec->local;
	fo.server = p->server;
	fo.identity = &identity;
	fo.udp_idle_timeout_s = d->config.set.udp_idle_timeout_s;
	fo.fd_in = STDIN_FILENO;
	fo.fd_out = spec->kind == QP_FORWARD_STDIO ? take_standard_output() : -1;
	fo.close_fd_out = true;
	err = qp_client_add(d->client, &fo, &item->forward, &error);
	if (err != QP_OK) {
		free(item);
		return qp_fail(msg, err, "%s", error.text);
	}
	d->item[d->nitems++] = item;
	return QP_OK;
}

static void
set_budget(const struct qpc_settings *set)
{
	qp_heap_set_budget((uint64_t)set->memory_budget_mib << 20);
}

static int
make_client(struct qpc_desk *d, struct qp_errmsg *msg)
{
	const struct qpc_settings *set = &d->config.set;
	const struct qp_log_config *log = &d->o->log;
	struct qp_client_options co = QP_CLIENT_OPTIONS;
	struct qp_error error;
	int err;

	set_budget(set);
	co.insecure = set->insecure;
	co.reconnect = set->reconnect;
	co.reconnect_max_attempts = set->reconnect_max_attempts;
	co.reconnect_delay_ms = set->reconnect_delay_s * 1000;
	co.keep_alive_s = set->keep_alive_s;
	co.idle_timeout_s = set->idle_timeout_s;
	co.log_severity = (enum qp_log_severity)log->level;
	co.log_form = log->format == QP_LOG_JSON ? QP_LOG_FORM_JSON : QP_LOG_FORM_LINE;
	co.callbacks = (struct qp_client_callbacks) {
		.closed = on_closed, .trust = on_trust, .log = on_log};
	co.user = d;
	err = qp_client_new(&co, &d->client, &error);
	return err == QP_OK ? QP_OK : qp_fail(msg, err, "%s", error.text);
}

int
qpc_desk_open(struct qpc_desk *d, const struct qpc_options *o, struct qp_errmsg *msg)
{
	struct qp_error error;
	int err;

	memset(d, 0, sizeof(*d));
	d->o = o;
	pthread_mutex_init(&d->lock, NULL);
	d->ended = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	d->leaving = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (d->ended < 0 || d->leaving < 0)
		return qp_fail(msg, QP_E_IO, "cannot make an event descriptor: %s", strerror(errno));
	err = qpc_config_load(o, &d->config, msg);
	if (err == QP_OK)
		err = make_client(d, msg);
	for (size_t i = 0; err == QP_OK && i < d->config.specs.n; i++)
		err = add(d, &d->config.specs.v[i], msg);
	if (err == QP_OK && qp_client_start(d->client, &error) != QP_OK)
		err = qp_fail(msg, error.code, "%s", error.text);
	return err;
}

void
qpc_desk_close(struct qpc_desk *d)
{
	qp_client_free(d->client);
	for (size_t i = 0; i < d->nitems; i++)
		free(d->item[i]);
	qpc_config_free(&d->config);
	if (d->ended >= 0)
		close(d->ended);
	if (d->leaving >= 0)
		close(d->leaving);
	pthread_mutex_destroy(&d->lock);
}

bool
qpc_desk_done(struct qpc_desk *d)
{
	bool done = true;

	pthread_mutex_lock(&d->lock);
	for (size_t i = 0; i < d->nitems; i++)
		done = done && d->item[i]->ended;
	pthread_mutex_unlock(&d->lock);
	return done;
}

/* Reload. */

static bool
has_ended(struct qpc_desk *d, const struct qpc_item *item)
{
	bool ended;

	pthread_mutex_lock(&d->lock);
	ended = item->ended;
	pthread_mutex_unlock(&d->lock);
	return ended;
}

/* Takes a running forward that is what `spec` asks for out of `items`. */
static struct qpc_item *
take_same(struct qpc_desk *d, struct qpc_item **items, size_t n, const struct qpc_spec *spec)
{
	for (size_t i = 0; i < n; i++) {
		struct qpc_item *item = items[i];

		if (item == NULL || has_ended(d, item) || !qpc_spec_equal(&item->spec, spec))
			continue;
		items[i] = NULL;
		return item;
	}
	return NULL;
}

static bool
settings_differ(const struct qpc_settings *a, const struct qpc_settings *b)
{
	return a->insecure != b->insecure || a->reconnect != b->reconnect ||
		a->reconnect_max_attempts != b->reconnect_max_attempts ||
		a->reconnect_delay_s != b->reconnect_delay_s || a->keep_alive_s != b->keep_alive_s ||
		a->idle_timeout_s != b->idle_timeout_s;
}

int
qpc_desk_reload(struct qpc_desk *d, struct qp_errmsg *msg)
{
	struct qpc_config next, old = d->config;
	struct qpc_item *before[QPC_MAX_FORWARDS], *item;
	bool wanted[QPC_MAX_FORWARDS];
	size_t n = d->nitems;
	int err = qpc_config_load(d->o, &next, msg);

	if (err != QP_OK)
		return err;
	if (settings_differ(&next.set, &old.set))
		qp_log(QP_LOG_WARN, "insecure, reconnect and QUIC settings count from the next start on");
	old.set.memory_budget_mib = next.set.memory_budget_mib; /* this one counts at once */
	next.set = old.set;
	set_budget(&next.set);
	d->config = next;
	memcpy(before, d->item, n * sizeof(before[0]));
	d->nitems = 0;
	for (size_t i = 0; i < next.specs.n; i++) {
		item = take_same(d, before, n, &next.specs.v[i]);
		wanted[i] = item == NULL;
		if (item == NULL)
			continue;
		item->spec = next.specs.v[i]; /* the old texts go */
		d->item[d->nitems++] = item;
	}
	/* What goes frees its ports before what comes wants them. */
	for (size_t i = 0; i < n; i++) {
		if (before[i] == NULL)
			continue;
		qp_client_remove(d->client, before[i]->forward);
		free(before[i]);
	}
	for (size_t i = 0; i < next.specs.n; i++) {
		struct qp_errmsg why = {""};

		if (wanted[i] && add(d, &next.specs.v[i], &why) != QP_OK)
			qp_log(QP_LOG_ERROR, why.text);
	}
	qpc_config_free(&old);
	return QP_OK;
}
