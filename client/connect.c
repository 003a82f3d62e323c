/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A connection to the gateway: its name looked up anew, its addresses tried in
 * turn, each given 250 ms before the next one joins in, and the first whose
 * handshake is done wins (RFC 8305). The loop's thread. What the end of it
 * means is forward.c's.
 */
#define QP_LOG_MODULE QP_LOG_M_client
#include "client/client_impl.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define NS_PER_MS UINT64_C(1000000)
#define STAGGER_MS 250u /* Connection Attempt Delay (RFC 8305, 5) */
/* ConnectionClose travels on another stream than the reset that it explains. */
#define REASON_WAIT_MS 20u
#define REASON_WAITS 10u

static void try_next(struct qp_forward *f);

struct qpc_session *
qpc_connect_session(const struct qp_forward *f)
{
	return f->connect.winner != NULL ? f->connect.winner->session : NULL;
}

static void
failed(struct qp_forward *f, int err, const char *text)
{
	f->connect.last = (struct qpc_session_end) {.err = err, .stage = QPC_SESSION_CONNECTING};
	snprintf(f->connect.last.text, sizeof(f->connect.last.text), "%s", text);
}

static bool
any_alive(const struct qpc_connect *c)
{
	for (size_t i = 0; i < c->tried; i++) {
		if (c->attempt[i].session != NULL)
			return true;
	}
	return false;
}

static void
drop_losers(struct qpc_connect *c)
{
	for (size_t i = 0; i < c->tried; i++) {
		struct qpc_attempt *a = &c->attempt[i];

		if (a == c->winner || a->session == NULL)
			continue;
		qpc_session_free(a->session);
		a->session = NULL;
	}
}

/* What the sessions say. */

static bool
trusted_once(const struct qp_client *client, const struct qpc_trust *t, const char *fingerprint)
{
	for (const struct qpc_once *o = client->once; o != NULL; o = o->next) {
		if (strcmp(o->host, t->host) == 0 && strcmp(o->fingerprint, fingerprint) == 0)
			return true;
	}
	return false;
}

/* The handshake of `ctx`'s attempt is done: it is the winner, whatever comes of it. */
static int
on_trust(void *ctx, const struct qpc_cert *cert)
{
	struct qpc_attempt *a = ctx;
	struct qp_forward *f = a->forward;

	f->connect.winner = a;
	qpc_timer_cancel(&f->client->loop.timers, &f->connect.stagger);
	drop_losers(&f->connect);
	qp_log(QP_LOG_DEBUG, "server certificate", QP_LOG_STR("fingerprint", cert->fingerprint));
	f->trust_error.text[0] = '\0';
	if (f->client->inspecting) {
		(void)!qpc_trust_check(&f->trust, cert, &f->trust_error);
		return QP_E_AUTH;
	}
	if (trusted_once(f->client, &f->trust, cert->fingerprint)) {
		f->trust.verdict = QPC_HOST_KNOWN;
		return QP_OK;
	}
	return qpc_trust_check(&f->trust, cert, &f->trust_error);
}

static void
on_ended(void *ctx)
{
	struct qpc_attempt *a = ctx;
	struct qp_forward *f = a->forward;

	f->connect.last = *qpc_session_end(a->session);
	if (f->connect.winner != NULL) {
		qpc_forward_over(f);
		return;
	}
	qpc_session_free(a->session);
	a->session = NULL;
	if (!any_alive(&f->connect))
		try_next(f);
}

static void
on_authenticated(void *ctx, const struct qp_sockaddr *server)
{
	struct qpc_attempt *a = ctx;

	qpc_forward_connected(a->forward, server);
}

static void
on_opened(void *ctx, struct qp_slice message)
{
	qpc_forward_opened(((struct qpc_attempt *)ctx)->forward, message);
}

/* LOCAL: the server allows another stream. */
static void
on_room(void *ctx)
{
	qpc_listener_resume(&((struct qpc_attempt *)ctx)->forward->listener);
}

static void
wait_for_reason(struct qp_forward *f)
{
	f->connect.reason_waits++;
	qpc_timer_arm(&f->client->loop.timers, &f->connect.reason,
		qp_quic_now() + REASON_WAIT_MS * NS_PER_MS);
}

static void
on_reason_wait(struct qpc_timer *timer)
{
	struct qp_forward *f = QPC_CONTAINER(timer, struct qp_forward, connect.reason);
	struct qpc_session *s = qpc_connect_session(f);

	if (s == NULL)
		return;
	if (qpc_session_close_reason(s) == QP_WIRE_NORMAL && f->connect.reason_waits < REASON_WAITS)
		wait_for_reason(f);
	else
		qpc_session_close(s);
}

/* STDIO: with its one connection the session has done its work. */
static void
on_gone(void *ctx)
{
	struct qpc_attempt *a = ctx;

	if (a->forward->kind != QP_FORWARD_STDIO)
		qpc_listener_resume(&a->forward->listener); /* a descriptor is free again */
	else if (qpc_session_counters(a->session).resets > 0 &&
		qpc_session_close_reason(a->session) == QP_WIRE_NORMAL)
		wait_for_reason(a->forward);
	else
		qpc_session_close(a->session);
}

static const struct qpc_session_ops session_ops = {
	.trust = on_trust,
	.connected = on_authenticated,
	.opened = on_opened,
	.room = on_room,
	.gone = on_gone,
	.ended = on_ended,
};

/* The race. */

static int
start(struct qp_forward *f, struct qpc_attempt *a, const struct qp_sockaddr *address)
{
	struct qp_client *client = f->client;
	struct qp_errmsg msg = {""};
	int err;

	*a = (struct qpc_attempt) {.forward = f, .cfg = f->cfg};
	a->cfg.server = *address;
	/* With nothing else to fall back on, an ICMP error may be a passing one. */
	a->cfg.quic.heed_icmp = f->connect.addrs.n > 1 || client->o.reconnect;
	err = qpc_session_start(&client->loop, client->tls, &a->cfg, &session_ops, a, &a->session,
		&msg);
	if (err != QP_OK) {
		a->session = NULL;
		failed(f, err, msg.text);
		return err;
	}
	qp_log(QP_LOG_INFO, "connecting", QP_LOG_STR("forward", f->name),
		QP_LOG_STR("server", f->trust.host), QP_LOG_ADDR("address", &address->sa));
	return QP_OK;
}

static void
try_next(struct qp_forward *f)
{
	struct qpc_connect *c = &f->connect;
	struct qpc_loop *loop = &f->client->loop;

	qpc_timer_cancel(&loop->timers, &c->stagger);
	while (c->tried < c->addrs.n) {
		size_t i = c->tried++;

		if (start(f, &c->attempt[i], &c->addrs.v[i]) != QP_OK)
			continue;
		if (c->tried < c->addrs.n)
			qpc_timer_arm(&loop->timers, &c->stagger,
				qp_quic_now() + STAGGER_MS * NS_PER_MS);
		return;
	}
	if (!any_alive(c))
		qpc_forward_over(f);
}

static void
on_stagger(struct qpc_timer *timer)
{
	try_next(QPC_CONTAINER(timer, struct qp_forward, connect.stagger));
}

static void
on_resolved(struct qpc_resolver *r, int err, const struct qpc_addrs *addrs,
	const struct qp_errmsg *msg)
{
	struct qp_forward *f = QPC_CONTAINER(r, struct qp_forward, connect.resolver);

	if (err != QP_OK) {
		failed(f, err, msg->text);
		f->connect.last.unresolved = true;
		qpc_forward_over(f);
		return;
	}
	f->connect.addrs = *addrs;
	try_next(f);
}

int
qpc_connect_begin(struct qp_forward *f, struct qp_errmsg *msg)
{
	struct qpc_connect *c = &f->connect;

	c->tried = 0;
	c->winner = NULL;
	c->stagger.fire = on_stagger;
	c->reason.fire = on_reason_wait;
	c->reason_waits = 0;
	c->resolver.done = on_resolved;
	return qpc_resolver_ask(&c->resolver, &f->client->loop, &f->server, msg);
}

void
qpc_connect_drop(struct qp_forward *f)
{
	struct qpc_connect *c = &f->connect;

	qpc_resolver_cancel(&c->resolver);
	qpc_timer_cancel(&f->client->loop.timers, &c->stagger);
	qpc_timer_cancel(&f->client->loop.timers, &c->reason);
	if (c->winner != NULL)
		qpc_session_free(c->winner->session);
	if (c->winner != NULL)
		c->winner->session = NULL;
	c->winner = NULL;
	drop_losers(c);
	c->tried = 0;
}
