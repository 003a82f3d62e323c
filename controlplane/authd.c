/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Authentication: common/auth.h's server on one side, ring messages, the table
 * of tunnels and the policy on the other. Loop thread. One step costs two
 * X25519 operations at most, about 0.1 ms, and one HMAC for each PSK.
 */
#define QP_LOG_MODULE QP_LOG_M_auth
#include "controlplane/authd.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/addr.h"
#include "common/heap.h"
#include "common/log.h"

/* Of a source's failures all these are told, then each that doubles their number. */
#define TOLD_FAILURES 4u
/* Of all sources together: a flood of addresses must not fill a disk. */
#define TOLD_A_SECOND 50u

struct qp_authd {
	struct qp_authd_config cfg;
	struct qp_authd_counters counters;
	struct qp_slowdown *slowdown;
	struct qp_loop_timer timeout; /* of the tunnel that waits longest */
	uint64_t told_at; /* the second, and how many were told in it */
	unsigned told;
};

/* One that is refused: who, from where, and why. */
struct refusal {
	const struct qp_origin *tunnel;
	const uint8_t *addr;
	uint16_t port_be;
	enum qp_auth_method method;
	const char *client; /* whose credential it was; NULL: nobody's */
	enum qp_authd_reason reason;
	const char *why;
};

static uint64_t
system_time(void)
{
	return (uint64_t)time(NULL);
}

static void on_timeout(void *ctx);
static void refuse_now(void *ctx, const struct qp_origin *to);

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
	a->slowdown = qp_slowdown_new(
		&(struct qp_slowdown_config) {.loop = cfg->loop, .refuse = refuse_now, .ctx = a});
	if (a->slowdown == NULL) {
		free(a);
		return NULL;
	}
	return a;
}

void
qp_authd_free(struct qp_authd *a)
{
	if (a == NULL)
		return;
	qp_slowdown_free(a->slowdown);
	qp_loop_timer_cancel(a->cfg.loop, &a->timeout);
	free(a);
}

void
qp_authd_resume(struct qp_authd *a, const struct qp_authd_counters *counters)
{
	a->counters = *counters;
}

const struct qp_authd_counters *
qp_authd_counters(const struct qp_authd *a)
{
	return &a->counters;
}

static void
refuse_now(void *ctx, const struct qp_origin *to)
{
	struct qp_authd *a = ctx;
	struct qp_msg m = {.type = QP_MSG_VERDICT};

	qp_send(&a->cfg.sender, to, &m);
}

/* Counted under the method that the client tried; under one that is on when that is not known. */
static void
count(struct qp_authd *a, enum qp_auth_method method, bool success)
{
	struct qp_authd_counters *c = &a->counters;

	if (method == QP_AUTH_NONE)
		method = a->cfg.private_key == NULL ? QP_AUTH_PSK : QP_AUTH_X25519;
	if (method == QP_AUTH_PSK)
		success ? c->psk_success++ : c->psk_failed++;
	else
		success ? c->x25519_success++ : c->x25519_failed++;
}

/* What one address does over and over must not fill log and audit, nor what a thousand do. */
static bool
is_worth_telling(struct qp_authd *a, unsigned failures)
{
	uint64_t now = a->cfg.unix_time();

	if (failures > TOLD_FAILURES && (failures & (failures - 1)) != 0)
		return false;
	if (now != a->told_at) {
		a->told_at = now;
		a->told = 0;
	}
	return a->told++ < TOLD_A_SECOND;
}

static void
tell(struct qp_authd *a, const struct refusal *r, unsigned failures)
{
	char peer[QP_ADDR_TEXT_BYTES];

	if (!is_worth_telling(a, failures))
		return;
	qp_record_auth_failed(a->cfg.records, r->addr, r->port_be, r->method, r->client, r->why);
	qp_log(QP_LOG_WARN, "authentication failed",
		QP_LOG_STR("peer", qp_addr_format(r->addr, r->port_be, peer)),
		QP_LOG_STR("method", qp_auth_method_name(r->method)),
		QP_LOG_STR("client", r->client), QP_LOG_STR("reason", r->why),
		QP_LOG_U64("failures_from_there", failures));
}

/* Too many refusals wait for this address: nothing is looked at, and nothing is told but a number. */
static void
refuse_unseen(struct qp_authd *a, const struct refusal *r)
{
	char peer[QP_ADDR_TEXT_BYTES];

	count(a, r->method, false);
	a->counters.refused[r->reason]++;
	qp_log(QP_LOG_DEBUG, "authentication refused unchecked",
		QP_LOG_STR("peer", qp_addr_format(r->addr, r->port_be, peer)),
		QP_LOG_STR("reason", r->why));
	refuse_now(a, r->tunnel);
}

static void
refuse(struct qp_authd *a, const struct refusal *r)
{
	count(a, r->method, false);
	a->counters.refused[r->reason]++;
	tell(a, r, qp_slowdown_failed(a->slowdown, r->addr, r->tunnel));
}

/* The same for a tunnel that was challenged; it is gone when this returns. */
static void
refuse_tunnel(struct qp_authd *a, struct qp_tunnel *tun, enum qp_auth_method method,
	enum qp_authd_reason reason, const char *why)
{
	const char *name = tun->identity.name;
	const struct qp_origin origin = tun->origin;

	refuse(a, &(struct refusal) {&origin, tun->peer_addr, tun->peer_port_be, method,
			  name[0] != '\0' ? name : NULL, reason, why});
	qp_tunnels_remove(a->cfg.tunnels, tun);
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
		now - tun->challenged_at_ns >= QP_AUTHD_TIMEOUT_MS * 1000000ull)
		refuse_tunnel(a, tun, tun->auth.method, QP_REFUSED_no_answer,
			"the client did not answer in time");
	arm_timeout(a);
}

/* A tunnel for a client that asks; NULL, and `r` says why, when there can be none. */
static struct qp_tunnel *
add_tunnel(struct qp_authd *a, struct refusal *r)
{
	struct qp_tunnel *tun;

	r->reason = QP_REFUSED_other;
	r->why = "the tunnel began twice";
	if (qp_tunnels_find(a->cfg.tunnels, r->tunnel) != NULL)
		return NULL;
	r->reason = QP_REFUSED_slowed;
	r->why = "too many failures from this address";
	if (!qp_slowdown_admits(a->slowdown, r->addr))
		return NULL;
	r->reason = QP_REFUSED_busy;
	r->why = "too many authenticate now, and many of them from this address";
	if (!qp_tunnels_may_wait(a->cfg.tunnels, r->addr))
		return NULL;
	r->why = "the gateway's memory budget is reached";
	if (qp_heap_level() == QP_HEAP_FULL) {
		qp_heap_log_refusal("clients", qp_now_ns());
		return NULL;
	}
	r->why = "too many clients authenticate now";
	tun = qp_tunnels_add(a->cfg.tunnels, r->tunnel, qp_now_ns());
	if (tun == NULL)
		return NULL;
	memcpy(tun->peer_addr, r->addr, sizeof(tun->peer_addr));
	tun->peer_port_be = r->port_be;
	return tun;
}

static struct qp_auth_policy
auth_policy(const struct qp_authd *a)
{
	const struct qp_policy *p = qp_enforce_policy(a->cfg.enforce);
	struct qp_auth_policy out = {
		.private_key = a->cfg.private_key,
		.knows = qp_policy_knows,
		.ctx = p,
		.npsks = qp_policy_npsks(p),
		.psks = qp_policy_secrets(p),
		.random = a->cfg.random,
	};

	if (a->cfg.public_key != NULL)
		memcpy(out.public_key, a->cfg.public_key, sizeof(out.public_key));
	return out;
}

/* Whom the first step names: not proven yet. False: nobody who may come now. */
static bool
identify(const struct qp_authd *a, struct qp_tunnel *tun)
{
	const struct qp_policy *p = qp_enforce_policy(a->cfg.enforce);
	struct qp_msg_identity *i = &tun->identity;
	const struct qp_policy_client *c;
	const struct qp_secret *secret;

	if (tun->auth.method == QP_AUTH_X25519)
		c = qp_policy_by_key(p, tun->auth.client_key);
	else
		c = qp_policy_psk(p, tun->auth.psk, &secret);
	i->client_id = c->id;
	i->method = (uint8_t)tun->auth.method;
	memcpy(i->key, tun->auth.client_key, sizeof(i->key));
	memcpy(i->name, c->name, sizeof(i->name));
	return !qp_grants_expired(&c->grants, a->cfg.unix_time());
}

void
qp_authd_begin(struct qp_authd *a, const struct qp_origin *from, const struct qp_msg *m)
{
	const struct qp_msg_auth_begin *b = &m->auth_begin;
	struct qp_msg reply = {.type = QP_MSG_AUTH_REPLY};
	size_t len = b->len <= sizeof(b->bytes) ? b->len : 0, reply_len = 0;
	enum qp_auth_method method = qp_auth_step1_method(b->bytes, len);
	struct refusal r = {from, b->peer_addr, b->peer_port_be, method, NULL, 0, NULL};
	struct qp_tunnel *tun;
	const struct qp_auth_policy policy = auth_policy(a);
	const char *why = NULL;
	int err;

	_Static_assert(sizeof(reply.auth_bytes.bytes) >= QP_WIRE_MAX_STEP2_BYTES, "a reply fits");
	/* Said again around our start: the answer is on its way. */
	if (qp_tunnels_find(a->cfg.tunnels, from) != NULL)
		return;
	tun = add_tunnel(a, &r);
	if (tun == NULL) {
		refuse_unseen(a, &r);
		return;
	}
	err = qp_auth_server_begin(&policy, b->bytes, len, a->cfg.unix_time(), &tun->auth,
		reply.auth_bytes.bytes, &reply_len, &why);
	if (err != 0) {
		refuse_tunnel(a, tun, method, qp_authd_reason_of(why),
			why != NULL ? why : qp_strerror(err));
		return;
	}
	if (!identify(a, tun)) {
		refuse_tunnel(a, tun, method, QP_REFUSED_expired, "the client's time is over");
		return;
	}
	reply.auth_bytes.len = (uint16_t)reply_len;
	qp_send(&a->cfg.sender, from, &reply);
	if (!a->timeout.armed)
		arm_timeout(a);
}

/* Proven: the client is in. */
static void
accept_tunnel(struct qp_authd *a, struct qp_tunnel *tun)
{
	struct qp_msg m = {.type = QP_MSG_VERDICT, .verdict = {.accepted = 1}};
	char text[QP_ADDR_TEXT_BYTES];

	tun->identity.since = a->cfg.unix_time();
	memcpy(tun->client_key, tun->identity.key, sizeof(tun->client_key));
	qp_enforce_mark(a->cfg.enforce, tun);
	if (qp_enforce_admit(a->cfg.enforce, tun) != 0) {
		a->counters.refused[QP_REFUSED_busy]++;
		refuse_now(a, &tun->origin);
		qp_tunnels_remove(a->cfg.tunnels, tun);
		return;
	}
	qp_tunnels_authenticated(a->cfg.tunnels, tun);
	qp_slowdown_succeeded(a->slowdown, tun->peer_addr);
	qp_record_tunnel_opened(a->cfg.records, tun);
	qp_log(QP_LOG_INFO, "client authenticated",
		QP_LOG_STR("peer", qp_addr_format(tun->peer_addr, tun->peer_port_be, text)),
		QP_LOG_STR("client", tun->identity.name),
		QP_LOG_STR("method", qp_auth_method_name(tun->identity.method)));
	m.verdict.identity = tun->identity;
	qp_send(&a->cfg.sender, &tun->origin, &m);
	qp_enforce_admitted(a->cfg.enforce, tun);
}

void
qp_authd_finish(struct qp_authd *a, const struct qp_origin *from, const struct qp_msg *m)
{
	const struct qp_msg_auth_bytes *f = &m->auth_bytes;
	struct qp_tunnel *tun = qp_tunnels_find(a->cfg.tunnels, from);
	size_t len = f->len <= sizeof(f->bytes) ? f->len : 0;
	enum qp_auth_method method;
	const char *why = NULL;
	int err;

	/* Timed out just now, and told so, or soon. */
	if (tun == NULL || tun->state != QP_TUNNEL_CHALLENGED)
		return;
	method = tun->auth.method;
	err = qp_auth_server_finish(&tun->auth, f->bytes, len, &why);
	if (err != 0) {
		refuse_tunnel(a, tun, method, qp_authd_reason_of(why), why);
		return;
	}
	if (tun->ending) {
		refuse_tunnel(a, tun, method, QP_REFUSED_policy_changed, tun->why);
		return;
	}
	count(a, method, true);
	accept_tunnel(a, tun);
}
