/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Authentication: common/auth.h's server on one side, ring messages and the
 * table of tunnels on the other. Loop thread. One step costs two X25519
 * operations at most, about 0.1 ms.
 */
#define QP_LOG_MODULE QP_LOG_M_auth
#include "controlplane/authd.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/addr.h"
#include "common/log.h"

struct qp_authd {
	struct qp_authd_config cfg;
	struct qp_authd_counters counters;
	struct qp_loop_timer timeout; /* of the tunnel that waits longest */
};

static uint64_t
system_time(void)
{
	return (uint64_t)time(NULL);
}

static void on_timeout(void *ctx);

struct qp_authd *
qp_authd_new(const struct qp_authd_config *cfg)
{
	struct qp_authd *a = calloc(1, sizeof(*a));

	if (a == NULL)
		return NULL;
	a->cfg = *cfg;
	if (a->cfg.unix_time == NULL)
		a->cfg.unix_time = system_time;
	a->timeout.fire = on_timeout;
	a->timeout.ctx = a;
	return a;
}

void
qp_authd_free(struct qp_authd *a)
{
	if (a == NULL)
		return;
	qp_loop_timer_cancel(a->cfg.loop, &a->timeout);
	free(a);
}

const struct qp_authd_counters *
qp_authd_counters(const struct qp_authd *a)
{
	return &a->counters;
}

static void
send_verdict(struct qp_authd *a, const struct qp_origin *to, bool accepted)
{
	struct qp_msg m = {.type = QP_MSG_VERDICT, .verdict = {.accepted = accepted}};
	const struct qp_tunnel *tun = accepted ? qp_tunnels_find(a->cfg.tunnels, to) : NULL;

	if (tun != NULL)
		m.verdict.identity = tun->identity;
	qp_send(&a->cfg.sender, to, &m);
}

/* Counted under the method that the client tried; under one that is on when that is not known. */
static void
count(struct qp_authd *a, enum qp_auth_method method, bool success)
{
	struct qp_authd_counters *c = &a->counters;

	if (method == QP_AUTH_NONE)
		method = a->cfg.policy->npsks > 0 ? QP_AUTH_PSK : QP_AUTH_X25519;
	if (method == QP_AUTH_PSK)
		success ? c->psk_success++ : c->psk_failed++;
	else
		success ? c->x25519_success++ : c->x25519_failed++;
}

static void
tell_refusal(struct qp_authd *a, const uint8_t addr[16], uint16_t port_be,
	enum qp_auth_method method, const char *why, int err)
{
	char text[QP_ADDR_TEXT_BYTES];

	qp_record_auth_failed(a->cfg.records, addr, port_be, method, NULL,
		why != NULL ? why : qp_strerror(err));
	qp_log(QP_LOG_WARN, "authentication failed",
		QP_LOG_STR("peer", qp_addr_format(addr, port_be, text)),
		QP_LOG_STR("reason", why != NULL ? why : qp_strerror(err)));
}

/* The timer stands at the oldest waiting tunnel's deadline, or is off. */
static void
arm_timeout(struct qp_authd *a)
{
	struct qp_tunnel *oldest = qp_tunnels_oldest_waiting(a->cfg.tunnels);
	uint64_t waited_ms;

	if (oldest == NULL) {
		qp_loop_timer_cancel(a->cfg.loop, &a->timeout);
		return;
	}
	waited_ms = (qp_now_ns() - oldest->challenged_at_ns) / 1000000u;
	qp_loop_timer_set(a->cfg.loop, &a->timeout,
		waited_ms >= QP_AUTHD_TIMEOUT_MS ? 1 : (unsigned)(QP_AUTHD_TIMEOUT_MS - waited_ms));
}

static void
on_timeout(void *ctx)
{
	struct qp_authd *a = ctx;
	uint64_t now = qp_now_ns();
	struct qp_tunnel *tun;

	while ((tun = qp_tunnels_oldest_waiting(a->cfg.tunnels)) != NULL &&
		now - tun->challenged_at_ns >= QP_AUTHD_TIMEOUT_MS * 1000000ull) {
		count(a, tun->auth.method, false);
		tell_refusal(a, tun->peer_addr, tun->peer_port_be, tun->auth.method,
			"the client did not answer in time", QP_E_TIMEOUT);
		send_verdict(a, &tun->origin, false);
		qp_tunnels_remove(a->cfg.tunnels, tun);
	}
	arm_timeout(a);
}

/* A tunnel for a client that got a challenge; NULL, said why, when there can be none. */
static struct qp_tunnel *
add_tunnel(struct qp_authd *a, const struct qp_origin *from, const struct qp_msg_auth_begin *b,
	enum qp_auth_method method)
{
	struct qp_tunnel *tun;

	if (qp_tunnels_find(a->cfg.tunnels, from) != NULL) {
		tell_refusal(a, b->peer_addr, b->peer_port_be, method, "the tunnel began twice", 0);
		return NULL;
	}
	tun = qp_tunnels_add(a->cfg.tunnels, from, qp_now_ns());
	if (tun == NULL) {
		tell_refusal(a, b->peer_addr, b->peer_port_be, method,
			"too many clients authenticate now", 0);
		return NULL;
	}
	memcpy(tun->peer_addr, b->peer_addr, sizeof(tun->peer_addr));
	tun->peer_port_be = b->peer_port_be;
	return tun;
}

void
qp_authd_begin(struct qp_authd *a, const struct qp_origin *from, const struct qp_msg *m)
{
	const struct qp_msg_auth_begin *b = &m->auth_begin;
	struct qp_msg reply = {.type = QP_MSG_AUTH_REPLY};
	size_t len = b->len <= sizeof(b->bytes) ? b->len : 0, reply_len = 0;
	enum qp_auth_method method = qp_auth_step1_method(b->bytes, len);
	struct qp_tunnel *tun = add_tunnel(a, from, b, method);
	const char *why = NULL;
	int err;

	_Static_assert(sizeof(reply.auth_bytes.bytes) >= QP_WIRE_MAX_STEP2_BYTES, "a reply fits");
	if (tun == NULL) {
		count(a, method, false);
		send_verdict(a, from, false);
		return;
	}
	err = qp_auth_server_begin(a->cfg.policy, b->bytes, len, a->cfg.unix_time(), &tun->auth,
		reply.auth_bytes.bytes, &reply_len, &why);
	if (err != 0) {
		count(a, method, false);
		tell_refusal(a, b->peer_addr, b->peer_port_be, method, why, err);
		qp_tunnels_remove(a->cfg.tunnels, tun);
		send_verdict(a, from, false);
		return;
	}
	reply.auth_bytes.len = (uint16_t)reply_len;
	qp_send(&a->cfg.sender, from, &reply);
	if (!a->timeout.armed)
		arm_timeout(a);
}

/* A key without a name is called by its beginning, the PSK without one "psk". */
static void
identify(const struct qp_authd *a, struct qp_tunnel *tun, enum qp_auth_method method)
{
	struct qp_msg_identity *i = &tun->identity;
	char key[QP_KEY_TEXT_BYTES];

	i->method = (uint8_t)method;
	i->since = a->cfg.unix_time();
	strcpy(i->name, "psk");
	if (method != QP_AUTH_X25519)
		return;
	memcpy(i->key, tun->auth.client_key, sizeof(i->key));
	qp_key_format(i->key, key);
	snprintf(i->name, sizeof(i->name), "%.8s", key);
}

void
qp_authd_finish(struct qp_authd *a, const struct qp_origin *from, const struct qp_msg *m)
{
	const struct qp_msg_auth_bytes *f = &m->auth_bytes;
	struct qp_tunnel *tun = qp_tunnels_find(a->cfg.tunnels, from);
	size_t len = f->len <= sizeof(f->bytes) ? f->len : 0;
	char text[QP_ADDR_TEXT_BYTES];
	enum qp_auth_method method;
	const char *why = NULL;
	int err;

	/* Timed out just now, and told so: the verdict was sent. */
	if (tun == NULL || tun->state != QP_TUNNEL_CHALLENGED)
		return;
	method = tun->auth.method;
	err = qp_auth_server_finish(&tun->auth, f->bytes, len, &why);
	count(a, method, err == 0);
	if (err != 0) {
		tell_refusal(a, tun->peer_addr, tun->peer_port_be, method, why, err);
		qp_tunnels_remove(a->cfg.tunnels, tun);
		send_verdict(a, from, false);
		return;
	}
	memcpy(tun->client_key, tun->auth.client_key, sizeof(tun->client_key));
	identify(a, tun, method);
	qp_tunnels_authenticated(a->cfg.tunnels, tun);
	qp_record_tunnel_opened(a->cfg.records, tun);
	qp_addr_format(tun->peer_addr, tun->peer_port_be, text);
	if (method == QP_AUTH_X25519)
		qp_log(QP_LOG_INFO, "client authenticated", QP_LOG_STR("peer", text),
			QP_LOG_KEY("client", tun->client_key));
	else
		qp_log(QP_LOG_INFO, "client authenticated", QP_LOG_STR("peer", text),
			QP_LOG_STR("method", "psk"));
	send_verdict(a, from, true);
}
