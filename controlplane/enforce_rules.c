/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the policy in force says of one tunnel: its client, its credential, its
 * ports, its local forward, how many there may be. Nothing is changed here.
 * Loop thread. The words are for the client: no other client is named in them.
 */
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "common/auth.h"
#include "common/wire.h"
#include "controlplane/enforce_impl.h"
#include "controlplane/ports.h"

/* Tunnels beyond a client's limit that may ask for a port: one of them may take an older one's. */
#define WAITING_MAX 2u

/* The same PSK as when it was let in, by whichever control plane. */
static bool
psk_stays(const struct qp_enforce *e, const struct qp_policy *was, const struct qp_tunnel *tun,
	const struct qp_policy_client *now)
{
	const struct qp_policy_client *then =
		was != NULL ? qp_policy_by_name(was, now->name) : NULL;
	const struct qp_secret *a, *b = qp_policy_secret_of(e->policy, now);

	if (then == NULL)
		return !qp_psk_mark_differs(e->cfg.marks, b, tun->identity.key);
	a = qp_policy_secret_of(was, then);
	return a != NULL && b != NULL && a->len == b->len &&
	       sodium_memcmp(a->bytes, b->bytes, a->len) == 0;
}

/* The tunnel's client, if its credential is still that client's; else why not. */
static const struct qp_policy_client *
client_of(const struct qp_enforce *e, const struct qp_policy *was, const struct qp_tunnel *tun,
	const char **why)
{
	const struct qp_policy_client *c = qp_policy_by_name(e->policy, tun->identity.name);
	bool has_key = tun->identity.method == QP_AUTH_X25519;

	*why = "the gateway does not know this client any more";
	if (c == NULL || (c->kind == QP_CLIENT_KEY) != has_key)
		return NULL;
	*why = has_key ? "this client's key was revoked" : "this client's pre-shared key was changed";
	if (has_key ? qp_policy_by_key(e->policy, tun->identity.key) != c : !psk_stays(e, was, tun, c))
		return NULL;
	*why = "this client's time is over";
	return qp_grants_expired(&c->grants, e->cfg.unix_time()) ? NULL : c;
}

void
qp_enforce_mark(const struct qp_enforce *e, struct qp_tunnel *tun)
{
	const struct qp_policy_client *c = qp_policy_by_name(e->policy, tun->identity.name);

	if (c != NULL && tun->identity.method == QP_AUTH_PSK)
		qp_psk_mark(e->cfg.marks, qp_policy_secret_of(e->policy, c), tun->identity.key);
}

unsigned
qp_enforce_forwards(const struct qp_tunnel *tun)
{
	const struct qp_port *port;
	unsigned n = tun->local.open;

	LIST_FOREACH (port, &tun->ports, of_tunnel)
		n++;
	return n;
}

static bool
ports_allowed(const struct qp_grants *g, const struct qp_tunnel *tun, char *why)
{
	const struct qp_port *port;

	LIST_FOREACH (port, &tun->ports, of_tunnel) {
		bool udp = port->protocol == IPPROTO_UDP;

		if (qp_grants_allow_port(g, udp ? QP_WIRE_UDP : QP_WIRE_TCP, port->port))
			continue;
		snprintf(why, QP_ENFORCE_WHY_BYTES,
			"the gateway's policy does not give this client port %u/%s any more",
			port->port, udp ? "udp" : "tcp");
		return false;
	}
	return true;
}

/* All the addresses that were granted: the data plane may use any of them. */
static bool
local_allowed(const struct qp_grants *g, const struct qp_tunnel *tun, char *why)
{
	for (unsigned i = 0; i < tun->local.n; i++) {
		if (g->locals != NULL &&
			qp_allow_check(g->locals, &tun->local.addr[i], tun->local.port))
			continue;
		snprintf(why, QP_ENFORCE_WHY_BYTES,
			"the gateway's policy does not allow this local forward any more");
		return false;
	}
	return true;
}

static bool
beyond(unsigned limit, unsigned n)
{
	return limit != 0 && n > limit;
}

bool
qp_enforce_may_stay(const struct qp_enforce *e, const struct qp_policy *was,
	const struct qp_tunnel *tun, unsigned kept, unsigned forwards,
	char why[QP_ENFORCE_WHY_BYTES])
{
	const char *text;
	const struct qp_policy_client *c = client_of(e, was, tun, &text);
	const struct qp_policy_limits *l;

	if (c == NULL) {
		snprintf(why, QP_ENFORCE_WHY_BYTES, "%s", text);
		return false;
	}
	if (!ports_allowed(&c->grants, tun, why) || !local_allowed(&c->grants, tun, why))
		return false;
	l = &c->grants.limits;
	if (beyond(l->tunnels, kept + 1)) {
		snprintf(why, QP_ENFORCE_WHY_BYTES, "this client may have %u tunnel%s", l->tunnels,
			l->tunnels == 1 ? "" : "s");
		return false;
	}
	if (beyond(l->forwards, forwards + qp_enforce_forwards(tun))) {
		snprintf(why, QP_ENFORCE_WHY_BYTES, "this client may have %u forward%s",
			l->forwards, l->forwards == 1 ? "" : "s");
		return false;
	}
	return true;
}

/* Tunnels of the same client that go on, beside `tun`: with a forward, and without. */
static void
count_others(const struct qp_tunnel *tun, unsigned *with, unsigned *without, unsigned *forwards)
{
	const struct qp_tunnel *other;

	*with = *without = *forwards = 0;
	TAILQ_FOREACH (other, &tun->member->tunnels, of_member) {
		unsigned n = qp_enforce_forwards(other);

		if (other == tun || other->ending)
			continue;
		*forwards += n;
		n > 0 ? ++*with : ++*without;
	}
}

bool
qp_enforce_may_enter(
	const struct qp_enforce *e, const struct qp_tunnel *tun, char why[QP_ENFORCE_WHY_BYTES])
{
	const struct qp_policy_client *c = qp_policy_by_name(e->policy, tun->identity.name);
	unsigned limit = c != NULL ? c->grants.limits.tunnels : 0;
	unsigned with, without, forwards;

	/* Below the limit nobody has to be counted, however many there are. */
	if (limit == 0 || tun->member->ntunnels <= limit)
		return true;
	count_others(tun, &with, &without, &forwards);
	if (with + without < limit || without < WAITING_MAX)
		return true;
	snprintf(why, QP_ENFORCE_WHY_BYTES, "this client has %u tunnels already, and may have %u",
		with + without, limit);
	return false;
}

const struct qp_policy_client *
qp_enforce_client(const struct qp_enforce *e, const struct qp_tunnel *tun, struct qp_errmsg *msg)
{
	const char *why;
	const struct qp_policy_client *c = client_of(e, NULL, tun, &why);

	if (c == NULL || tun->ending)
		qp_fail(msg, QP_E_PERM, "%s", c == NULL ? why : tun->why);
	return tun->ending ? NULL : c;
}

int
qp_enforce_room(const struct qp_enforce *e, const struct qp_tunnel *tun, struct qp_errmsg *msg)
{
	const struct qp_policy_client *c = qp_enforce_client(e, tun, msg);
	unsigned with, without, forwards;
	const struct qp_policy_limits *l;

	if (c == NULL)
		return QP_E_PERM;
	l = &c->grants.limits;
	/* Below the limit nobody has to be counted, however many there are. */
	if (tun->member == NULL ||
		(l->forwards == 0 && (l->tunnels == 0 || tun->member->ntunnels <= l->tunnels)))
		return 0;
	count_others(tun, &with, &without, &forwards);
	if (l->tunnels != 0 && with >= l->tunnels)
		return qp_fail(msg, QP_E_PERM, "'%s' has %u tunnel%s already, and may have %u",
			c->name, with, with == 1 ? "" : "s", l->tunnels);
	if (l->forwards != 0 && forwards + qp_enforce_forwards(tun) >= l->forwards)
		return qp_fail(msg, QP_E_PERM, "'%s' has %u forward%s already, and may have %u",
			c->name, forwards, forwards == 1 ? "" : "s", l->forwards);
	return 0;
}
