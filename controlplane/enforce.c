/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The policy in force. What a policy says of one tunnel is enforce_rules.c's;
 * here is when it is asked, and how tunnels and data planes are told. Loop
 * thread. Messages of our own are sent while a ring has room for many, so that
 * the end of ten thousand tunnels does not take the answers' place.
 */
#define QP_LOG_MODULE QP_LOG_M_policy
#include "controlplane/enforce.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/addr.h"
#include "common/log.h"
#include "common/wire.h"
#include "controlplane/enforce_impl.h"

#define RETRY_MS 1u
/* The clock that expiry means may be set: looked at so often while anybody's time is limited. */
#define CLOCK_MS 5000u

static uint64_t
system_time(void)
{
	return (uint64_t)time(NULL);
}

static void on_retry(void *ctx);
static void on_clock(void *ctx);

struct qp_enforce *
qp_enforce_new(const struct qp_enforce_config *cfg, struct qp_policy *first)
{
	struct qp_enforce *e = calloc(1, sizeof(*e));

	if (e != NULL)
		e->members = qp_members_new();
	if (e == NULL || e->members == NULL) {
		free(e);
		qp_policy_free(first);
		return NULL;
	}
	e->cfg = *cfg;
	if (e->cfg.unix_time == NULL)
		e->cfg.unix_time = system_time;
	e->policy = first;
	TAILQ_INIT(&e->ending);
	e->retry = (struct qp_loop_timer) {.fire = on_retry, .ctx = e};
	e->clock = (struct qp_loop_timer) {.fire = on_clock, .ctx = e};
	return e;
}

void
qp_enforce_free(struct qp_enforce *e)
{
	if (e == NULL)
		return;
	qp_loop_timer_cancel(e->cfg.loop, &e->retry);
	qp_loop_timer_cancel(e->cfg.loop, &e->clock);
	qp_members_free(e->members);
	qp_policy_free(e->policy);
	free(e);
}

const struct qp_policy *
qp_enforce_policy(const struct qp_enforce *e)
{
	return e->policy;
}

static bool
has_room(const struct qp_enforce *e, const struct qp_origin *to)
{
	return e->cfg.has_room == NULL || e->cfg.has_room(e->cfg.room_ctx, to);
}

/* A worker's part; nobody's limit becomes none. */
static uint64_t
share(uint64_t limit, unsigned workers)
{
	uint64_t part = limit / workers;

	return limit != 0 && part == 0 ? 1 : part;
}

static void
send_sources(struct qp_enforce *e, const struct qp_origin *to, uint32_t id,
	const struct qp_grants *g)
{
	for (unsigned first = 0; first < g->nsources; first += QP_MSG_NETWORKS) {
		struct qp_msg m = {.type = QP_MSG_CLIENT_SOURCES};
		struct qp_msg_client_sources *s = &m.client_sources;
		unsigned n = g->nsources - first;

		s->client_id = id;
		s->first = (uint16_t)first;
		s->n = (uint16_t)(n < QP_MSG_NETWORKS ? n : QP_MSG_NETWORKS);
		memcpy(s->network, g->sources + first, s->n * sizeof(s->network[0]));
		qp_send(&e->cfg.sender, to, &m);
	}
}

/* What its worker keeps the client to. A client that is gone from the policy: as before. */
static void
send_limits(struct qp_enforce *e, struct qp_seat *seat)
{
	const struct qp_policy_client *c = qp_policy_by_name(e->policy, seat->member->name);
	const struct qp_origin to = {.server_id = seat->server_id, .worker = seat->worker};
	unsigned n = e->cfg.workers == NULL ? 1
					    : e->cfg.workers(e->cfg.workers_ctx, seat->server_id);
	struct qp_msg m = {.type = QP_MSG_CLIENT_LIMITS};
	const struct qp_policy_limits *l;

	qp_members_settled(e->members, seat);
	if (c == NULL || n == 0)
		return;
	l = &c->grants.limits;
	m.client_limits = (struct qp_msg_client_limits) {
		.client_id = seat->member->id,
		.max_conns = (uint32_t)share(l->conns, n),
		.conns_per_s = (uint32_t)share(l->conns_per_s, n),
		.nsources = c->grants.nsources,
		.in_bytes_per_s = share(l->in_bytes_per_s, n),
		.out_bytes_per_s = share(l->out_bytes_per_s, n),
	};
	qp_send(&e->cfg.sender, &to, &m);
	send_sources(e, &to, seat->member->id, &c->grants);
}

static void
send_close(struct qp_enforce *e, struct qp_tunnel *tun)
{
	struct qp_msg m = {.type = QP_MSG_TUNNEL_CLOSE, .tunnel_close = {.code = QP_APP_REFUSED}};

	_Static_assert(sizeof(m.tunnel_close.phrase) == sizeof(tun->why), "phrases fit");
	memcpy(m.tunnel_close.phrase, tun->why, sizeof(tun->why));
	TAILQ_REMOVE(&e->ending, tun, in_ending);
	tun->told = true;
	qp_send(&e->cfg.sender, &tun->origin, &m);
}

/* As much as the rings take; the rest soon. Each worker's ring fills by itself. */
static void
tell_data_planes(struct qp_enforce *e)
{
	struct qp_tunnel *tun, *next;
	struct qp_seat *seat, *next_seat;
	bool left = false;

	for (tun = TAILQ_FIRST(&e->ending); tun != NULL; tun = next) {
		next = TAILQ_NEXT(tun, in_ending);
		if (has_room(e, &tun->origin))
			send_close(e, tun);
		else
			left = true;
	}
	for (seat = qp_members_owed(e->members); seat != NULL; seat = next_seat) {
		next_seat = TAILQ_NEXT(seat, in_owed);
		if (has_room(e, &(struct qp_origin) {seat->server_id, seat->worker, 0}))
			send_limits(e, seat);
		else
			left = true;
	}
	if (left)
		qp_loop_timer_set(e->cfg.loop, &e->retry, RETRY_MS);
}

static void
on_retry(void *ctx)
{
	tell_data_planes(ctx);
}

/* Does not tell the data plane yet. */
static bool
end_tunnel(struct qp_enforce *e, struct qp_tunnel *tun, const char *phrase)
{
	char peer[QP_ADDR_TEXT_BYTES];

	if (tun->ending)
		return false;
	tun->ending = true;
	snprintf(tun->why, sizeof(tun->why), "%s", phrase);
	/* While challenged it is refused when it answers. */
	if (tun->state != QP_TUNNEL_AUTHENTICATED)
		return true;
	TAILQ_INSERT_TAIL(&e->ending, tun, in_ending);
	qp_log(QP_LOG_INFO, "a tunnel must end", QP_LOG_STR("client", tun->identity.name),
		QP_LOG_STR("peer", qp_addr_format(tun->peer_addr, tun->peer_port_be, peer)),
		QP_LOG_STR("reason", tun->why));
	return true;
}

bool
qp_enforce_end(struct qp_enforce *e, struct qp_tunnel *tun, const char *phrase)
{
	bool ends = end_tunnel(e, tun, phrase);

	tell_data_planes(e);
	return ends;
}

/* One look at all that a client has, by a policy: `was` is the one before, or NULL. */
struct look {
	struct qp_enforce *e;
	const struct qp_policy *was;
	unsigned ended;
};

static bool
limits_differ(const struct qp_policy *was, const struct qp_policy *is, const char *name)
{
	const struct qp_policy_client *a = qp_policy_by_name(was, name);
	const struct qp_policy_client *b = qp_policy_by_name(is, name);
	const struct qp_policy_limits *x, *y;

	if (a == NULL || b == NULL)
		return b != NULL;
	x = &a->grants.limits;
	y = &b->grants.limits;
	if (x->conns != y->conns || x->conns_per_s != y->conns_per_s ||
		x->in_bytes_per_s != y->in_bytes_per_s ||
		x->out_bytes_per_s != y->out_bytes_per_s ||
		a->grants.nsources != b->grants.nsources)
		return true;
	return a->grants.nsources > 0 && memcmp(a->grants.sources, b->grants.sources,
			a->grants.nsources * sizeof(*a->grants.sources)) != 0;
}

static void
look_at(void *ctx, struct qp_member *m)
{
	struct look *look = ctx;
	struct qp_enforce *e = look->e;
	unsigned kept = 0, forwards = 0;
	struct qp_tunnel *tun;
	struct qp_seat *seat;
	char why[QP_ENFORCE_WHY_BYTES];

	/* Oldest first: where fewer are allowed, those that came last go. */
	TAILQ_FOREACH (tun, &m->tunnels, of_member) {
		if (tun->ending)
			continue;
		if (!qp_enforce_may_stay(e, look->was, tun, kept, forwards, why)) {
			look->ended += end_tunnel(e, tun, why);
			continue;
		}
		kept++;
		forwards += qp_enforce_forwards(tun);
	}
	if (look->was == NULL || !limits_differ(look->was, e->policy, m->name))
		return;
	LIST_FOREACH (seat, &m->seats, of_member)
		qp_members_owe(e->members, seat);
}

static void
find_soonest(void *ctx, struct qp_member *m)
{
	struct qp_enforce *e = ctx;
	const struct qp_policy_client *c = qp_policy_by_name(e->policy, m->name);
	uint64_t at = c != NULL ? c->grants.expires_at : 0;

	/* Those whose time is over have been looked at: they are ending. */
	if (at > e->cfg.unix_time() && (e->next_expiry == 0 || at < e->next_expiry))
		e->next_expiry = at;
}

static void
arm_clock(struct qp_enforce *e)
{
	uint64_t now = e->cfg.unix_time();
	uint64_t wait_s = e->next_expiry > now ? e->next_expiry - now : 0;

	if (e->next_expiry == 0) {
		qp_loop_timer_cancel(e->cfg.loop, &e->clock);
		return;
	}
	/* The wanted second begins somewhere within the last one. */
	qp_loop_timer_set(e->cfg.loop, &e->clock,
		wait_s > CLOCK_MS / 1000 ? CLOCK_MS : (unsigned)(wait_s > 0 ? 250 : 1));
}

static void
look_again_at_the_clock(struct qp_enforce *e)
{
	e->next_expiry = 0;
	qp_members_each(e->members, find_soonest, e);
	arm_clock(e);
}

static void
on_clock(void *ctx)
{
	struct look look = {.e = ctx};

	if (look.e->next_expiry > look.e->cfg.unix_time()) {
		arm_clock(look.e);
		return;
	}
	qp_members_each(look.e->members, look_at, &look);
	tell_data_planes(look.e);
	look_again_at_the_clock(look.e);
}

static void
look_at_challenged(void *ctx, struct qp_tunnel *tun)
{
	struct look *look = ctx;
	char why[QP_ENFORCE_WHY_BYTES];

	if (!qp_enforce_may_stay(look->e, look->was, tun, 0, 0, why))
		end_tunnel(look->e, tun, why);
}

void
qp_enforce_replace(struct qp_enforce *e, struct qp_policy *fresh, struct qp_enforce_result *out)
{
	struct qp_policy *old = e->policy;
	struct look look = {.e = e, .was = old};

	e->policy = fresh;
	qp_members_each(e->members, look_at, &look);
	qp_tunnels_each_waiting(e->cfg.tunnels, look_at_challenged, &look);
	tell_data_planes(e);
	look_again_at_the_clock(e);
	qp_policy_free(old);
	if (out != NULL)
		*out = (struct qp_enforce_result) {
			.clients = qp_policy_count(fresh), .ended = look.ended};
}

int
qp_enforce_admit(struct qp_enforce *e, struct qp_tunnel *tun)
{
	const struct qp_policy_client *c = qp_policy_by_name(e->policy, tun->identity.name);
	bool first;
	struct qp_seat *seat = qp_members_add(e->members, tun, &first);

	if (seat == NULL)
		return QP_E_NOMEM;
	if (first)
		send_limits(e, seat);
	if (c != NULL && c->grants.expires_at != 0 &&
		(e->next_expiry == 0 || c->grants.expires_at < e->next_expiry)) {
		e->next_expiry = c->grants.expires_at;
		arm_clock(e);
	}
	return 0;
}

void
qp_enforce_admitted(struct qp_enforce *e, struct qp_tunnel *tun)
{
	char why[QP_ENFORCE_WHY_BYTES];

	if (!qp_enforce_may_enter(e, tun, why) && end_tunnel(e, tun, why))
		tell_data_planes(e);
}

void
qp_enforce_adopt(struct qp_enforce *e, struct qp_tunnel *tun)
{
	char why[QP_ENFORCE_WHY_BYTES];

	if (qp_enforce_admit(e, tun) != 0)
		snprintf(why, sizeof(why), "the gateway is out of memory");
	else if (qp_enforce_may_stay(e, NULL, tun, 0, 0, why))
		return;
	if (end_tunnel(e, tun, why))
		tell_data_planes(e);
}

void
qp_enforce_left(struct qp_enforce *e, struct qp_tunnel *tun)
{
	struct qp_msg m = {.type = QP_MSG_CLIENT_FORGET,
		.client_forget = {.client_id = tun->identity.client_id}};

	if (tun->state == QP_TUNNEL_AUTHENTICATED && tun->ending && !tun->told)
		TAILQ_REMOVE(&e->ending, tun, in_ending);
	if (qp_members_remove(e->members, tun))
		qp_send(&e->cfg.sender, &(struct qp_origin) {tun->origin.server_id,
			tun->origin.worker, 0}, &m);
}
