/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A forward's life: connecting, open, lost, tried again, over. The loop's
 * thread. How a connection is made is connect.c's, what happens on it the
 * session's.
 */
#define QP_LOG_MODULE QP_LOG_M_client
#include "client/client_impl.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NS_PER_MS UINT64_C(1000000)
#define MAX_DELAY_MS 60000u
/*
 * What trying again does not mend by itself, a wrong key or a denied port, may
 * be mended at the gateway meanwhile: so often in a row, and then no more.
 */
#define MAX_DENIALS 5u

const struct qpc_identity *
qpc_forward_identity(const struct qp_forward *f)
{
	return f->own.method != QP_AUTH_NONE ? &f->own : &f->client->identity;
}

static void
drop_connection(struct qp_forward *f)
{
	const struct qpc_session *s = qpc_connect_session(f);

	qpc_listener_pause(&f->listener);
	if (s != NULL) {
		const struct qpc_relay_counters now = qpc_session_counters(s);

		qpc_counters_add(&f->before, &now);
		f->migrations += qpc_session_migrations(s);
	}
	qpc_connect_drop(f);
}

static void
tell_closed(struct qp_forward *f, int err, const struct qp_errmsg *msg, int64_t retry_ms)
{
	const struct qp_client *c = f->client;
	struct qp_error why = {.code = err};

	snprintf(why.text, sizeof(why.text), "%s", msg->text);
	if (c->o.callbacks.closed != NULL && !f->removed)
		c->o.callbacks.closed(c->o.user, f, &why, retry_ms);
}

/* Over for good. A removed forward is gone after this. */
static void
end(struct qp_forward *f, int err, const struct qp_errmsg *msg)
{
	f->state = QP_FORWARD_ENDED;
	f->error = err;
	if (err != QP_OK)
		qp_log(QP_LOG_ERROR, msg->text, QP_LOG_STR("forward", f->name));
	else
		qp_log(QP_LOG_INFO, "stopped", QP_LOG_STR("forward", f->name),
			QP_LOG_U64("connections", f->before.opened),
			QP_LOG_U64("bytes_in", f->before.bytes_to_local),
			QP_LOG_U64("bytes_out", f->before.bytes_from_local));
	tell_closed(f, err, msg, -1);
	if (f->removed)
		qpc_forward_free(f);
}

/*
 * Doubled each time, a quarter more or less, so that a crowd does not come back as one. Who
 * has just been told by the server that it starts anew need not wait for it.
 */
static uint64_t
retry_delay_ms(const struct qp_forward *f)
{
	uint64_t delay = f->client->o.reconnect_delay_ms;

	if (f->attempts == 1 && f->was_open && f->forgotten)
		return randombytes_uniform((uint32_t)(delay / 2 + 1));
	if (f->attempts == 1 && f->was_open && f->sent_away)
		return randombytes_uniform((uint32_t)(delay / 10 + 1));
	/* That try was one more than otherwise: the next waits as the first. */
	for (uint32_t i = 1 + f->sent_away; i < f->attempts && delay < MAX_DELAY_MS; i++)
		delay *= 2;
	if (delay > MAX_DELAY_MS)
		delay = MAX_DELAY_MS;
	return delay * 3 / 4 + randombytes_uniform((uint32_t)(delay / 2 + 1));
}

static void
on_timer(struct qpc_timer *timer)
{
	qpc_forward_begin(QPC_CONTAINER(timer, struct qp_forward, timer));
}

static void
try_later(struct qp_forward *f, int err, const struct qpc_session_end *last,
	const struct qp_errmsg *msg)
{
	uint64_t delay = retry_delay_ms(f);

	f->state = QP_FORWARD_WAITING;
	f->error = err;
	/* A gateway that says so is being restarted: nothing is wrong with anybody. */
	qp_log(last->going_down ? QP_LOG_INFO : QP_LOG_WARN, msg->text,
		QP_LOG_STR("forward", f->name), QP_LOG_U64("retry_ms", delay));
	qpc_timer_arm(&f->client->loop.timers, &f->timer, qp_quic_now() + delay * NS_PER_MS);
	tell_closed(f, err, msg, (int64_t)delay);
}

/* Whether another try may help, and is wanted. */
static bool
worth_retrying(struct qp_forward *f, int err, const struct qpc_session_end *last)
{
	const struct qp_client_options *o = &f->client->o;
	bool denied = err == QP_E_AUTH || (last->refused && last->status == QP_WIRE_PERMISSION_DENIED);

	f->attempts++;
	f->denials = denied ? f->denials + 1 : 0;
	if (!o->reconnect || f->denials >= MAX_DENIALS)
		return false;
	/* A name that never was is a typing error; later it is the network's. */
	if (err == QP_E_NOTFOUND && last->unresolved && !f->was_open)
		return false;
	return o->reconnect_max_attempts == 0 || f->attempts <= o->reconnect_max_attempts;
}

/* Trust. */

static bool
was_distrusted(const struct qp_forward *f, const struct qpc_session_end *last)
{
	return last->stage == QPC_SESSION_CONNECTING && f->connect.winner != NULL &&
		!f->trust.insecure && f->trust.cert.fingerprint[0] != '\0' &&
		(f->trust.verdict != QPC_HOST_KNOWN || f->client->inspecting);
}

static enum qp_trust
ask(struct qp_forward *f)
{
	const struct qp_client *c = f->client;
	const struct qpc_trust *t = &f->trust;
	const struct qp_certificate cert = {
		.host = t->host,
		.fingerprint = t->cert.fingerprint,
		.recorded = t->verdict == QPC_HOST_CHANGED ? t->recorded : NULL,
		.subject = t->cert.subject,
		.issuer = t->cert.issuer,
		.not_before = t->cert.not_before,
		.not_after = t->cert.not_after,
	};

	return c->o.callbacks.trust != NULL ? c->o.callbacks.trust(c->o.user, f, &cert) : QP_TRUST_NO;
}

static int
trust_once(struct qp_forward *f, struct qp_errmsg *msg)
{
	struct qpc_once *o = calloc(1, sizeof(*o));

	if (o == NULL)
		return qp_fail(msg, QP_E_NOMEM, "out of memory");
	snprintf(o->host, sizeof(o->host), "%s", f->trust.host);
	memcpy(o->fingerprint, f->trust.cert.fingerprint, sizeof(o->fingerprint));
	o->next = f->client->once;
	f->client->once = o;
	return QP_OK;
}

/* QP_OK: connect again. */
static int
settle_trust(struct qp_forward *f, struct qp_errmsg *msg)
{
	if (f->trust_error.text[0] != '\0') {
		*msg = f->trust_error;
		return QP_E_AUTH;
	}
	switch (ask(f)) {
	case QP_TRUST_RECORD:
		return qpc_known_hosts_record(f->trust.path, f->trust.host, f->trust.cert.fingerprint,
			msg);
	case QP_TRUST_ONCE:
		return trust_once(f, msg);
	case QP_TRUST_NO:
		break;
	}
	qpc_trust_explain(&f->trust, msg);
	return QP_E_AUTH;
}

/* The connection, or the try to get one, is over: what now? */
static void
judge(struct qpc_task *task)
{
	struct qp_forward *f = QPC_CONTAINER(task, struct qp_forward, over);
	struct qpc_session_end last = f->connect.last;
	bool distrusted = was_distrusted(f, &last);
	struct qp_errmsg msg = {""};
	int err, piped_end = QP_OK;

	if (f->piped && qpc_connect_session(f) != NULL)
		piped_end = qpc_forward_pipe_end(f, &msg);
	drop_connection(f);
	if (f->removed || f->client->stopping) {
		end(f, QP_OK, &msg);
		return;
	}
	if (f->piped) {
		end(f, piped_end, &msg);
		return;
	}
	if (distrusted) {
		err = settle_trust(f, &msg);
		if (err == QP_OK && !f->removed && !f->client->stopping && !f->client->inspecting)
			qpc_forward_begin(f);
		else
			end(f, f->removed || f->client->stopping ? QP_OK : err, &msg);
		return;
	}
	err = qpc_explain(f, &last, &msg);
	f->forgotten = last.forgotten;
	if (f->attempts == 0)
		f->sent_away = last.going_down;
	if (worth_retrying(f, err, &last))
		try_later(f, err, &last, &msg);
	else
		end(f, err, &msg);
}

void
qpc_forward_over(struct qp_forward *f)
{
	f->over.run = judge;
	qpc_loop_queue(&f->client->loop, &f->over);
}

void
qpc_forward_begin(struct qp_forward *f)
{
	struct qp_errmsg msg = {""};
	int err;

	f->timer.fire = on_timer;
	f->state = QP_FORWARD_CONNECTING;
	err = qpc_connect_begin(f, &msg);
	if (err == QP_OK)
		return;
	f->connect.last = (struct qpc_session_end) {.err = err, .unresolved = true};
	snprintf(f->connect.last.text, sizeof(f->connect.last.text), "%s", msg.text);
	qpc_forward_over(f);
}

/*
 * A connection may go on by another path; a forward that waits for its next try need not wait much
 * longer, unless it was the gateway that refused.
 */
void
qpc_forward_network_changed(struct qp_forward *f)
{
	struct qpc_session *s = qpc_connect_session(f);
	uint64_t soon;

	if (s != NULL)
		qpc_session_network_changed(s);
	if (f->state != QP_FORWARD_WAITING || !f->timer.armed || f->denials > 0)
		return;
	soon = qp_quic_now() + f->client->o.reconnect_delay_ms * NS_PER_MS;
	if (soon < f->timer.at_ns)
		qpc_timer_arm(&f->client->loop.timers, &f->timer, soon);
}

void
qpc_forward_connected(struct qp_forward *f, const struct qp_sockaddr *server)
{
	const struct qp_client *c = f->client;
	char address[QP_ADDR_TEXT_BYTES];

	if (c->o.callbacks.connected != NULL && !f->removed)
		c->o.callbacks.connected(c->o.user, f, qp_sockaddr_format(&server->sa, address));
}

/* "Listening on port 9022": for port 0 the message alone tells which it is. */
static uint16_t
port_in(struct qp_slice message)
{
	uint32_t value = 0;
	size_t i = message.len;

	while (i > 0 && message.ptr[i - 1] >= '0' && message.ptr[i - 1] <= '9')
		i--;
	for (; i < message.len && value <= 65535; i++)
		value = value * 10 + (uint32_t)(message.ptr[i] - '0');
	return value <= 65535 ? (uint16_t)value : 0;
}

void
qpc_forward_opened(struct qp_forward *f, struct qp_slice message)
{
	const struct qp_client *c = f->client;
	char text[256];

	f->reconnects += f->was_open;
	f->was_open = true;
	f->attempts = f->denials = 0;
	f->state = QP_FORWARD_OPEN;
	f->error = QP_OK;
	if (f->kind == QP_FORWARD_REMOTE)
		f->port = f->remote.port != 0 ? f->remote.port : port_in(message);
	qp_log(QP_LOG_INFO, "forward open", QP_LOG_STR("forward", f->name),
		QP_LOG_STR("server", f->trust.host), QP_LOG_U64("port", f->port),
		QP_LOG_STR("protocol", f->remote.protocol == QP_WIRE_UDP ? "udp" : "tcp"),
		QP_LOG_STR("destination",
			f->kind == QP_FORWARD_REMOTE ? f->local_text : f->remote_text),
		QP_LOG_SLICE("answer", message));
	qp_slice_printable(message, text, sizeof(text));
	if (c->o.callbacks.forward_open != NULL && !f->removed)
		c->o.callbacks.forward_open(c->o.user, f, text);
	if (f->kind == QP_FORWARD_LOCAL)
		qpc_listener_resume(&f->listener);
	else if (f->kind == QP_FORWARD_STDIO)
		qpc_forward_pipe(f);
}

void
qpc_forward_stop(struct qp_forward *f)
{
	struct qpc_session *s = qpc_connect_session(f);

	if (f->state == QP_FORWARD_ENDED)
		return;
	qpc_timer_cancel(&f->client->loop.timers, &f->timer);
	if (s != NULL && qpc_session_stage(s) < QPC_SESSION_ENDED)
		qpc_session_close(s);
	else
		qpc_forward_over(f);
}

void
qpc_forward_free(struct qp_forward *f)
{
	struct qp_client *c = f->client;

	qpc_loop_unqueue(&c->loop, &f->over);
	qpc_timer_cancel(&c->loop.timers, &f->timer);
	qpc_connect_drop(f);
	qpc_listener_close(&f->listener);
	qpc_pipe_free(f->pipe);
	TAILQ_REMOVE(f->removed ? &c->leaving : &c->forwards, f, link);
	qpc_identity_clear(&f->own);
	free(f);
}
