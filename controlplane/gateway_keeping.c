/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a gateway keeps beyond its processes' lives: the audit log, the state's
 * database, the port leases in it; and what ports need to know of their
 * tunnels' clients. Loop thread.
 */
#include <stdio.h>
#include <string.h>

#include "controlplane/gateway_internal.h"

/* By the address that clients know it by: "gateway-192.0.2.1-39000". */
static void
state_name(const struct qp_options *o, char *out, size_t cap)
{
	char addr[QP_ADDR_TEXT_BYTES];
	size_t n;

	n = (size_t)snprintf(out, cap, "gateway-%s",
		qp_sockaddr_format(&o->data_plane_addr.sa, addr));
	for (size_t i = 0; i < n && i < cap; i++) {
		if (strchr(":[]%/", out[i]) != NULL && out[i] != '\0')
			out[i] = '-';
	}
}

int
qp_gateway_open_keeping(struct qp_gateway *g, struct qp_errmsg *msg)
{
	char name[QP_ADDR_TEXT_BYTES + 16];
	int err = 0;

	if (g->o->audit_log != NULL)
		err = qp_audit_open(g->o->audit_log, &g->audit, msg);
	if (err != 0)
		return err;
	g->records = (struct qp_records) {.audit = g->audit, .events = g->events};
	state_name(g->o, name, sizeof(name));
	err = qp_state_open(
		&(struct qp_state_config) {.dir = g->o->state_dir, .name = name}, &g->state, msg);
	if (err != 0)
		return err;
	return qp_leases_new(&(struct qp_leases_config) {.state = g->state,
				     .loop = g->loop,
				     .lease_time_s = g->o->lease_time_s},
		&g->leases, msg);
}

/* How much of a second's authentications a kill may take from their counters. */
#define KEEP_EVERY_MS 1000u

uint64_t
qp_gateway_farewells(const struct qp_gateway *g)
{
	return g->farewells_before + qp_goodbyes_sent(g->goodbyes);
}

void
qp_gateway_keep_counters(struct qp_gateway *g)
{
	struct qp_kept *k = &g->kept;
	const struct qp_authd_counters *auth = qp_authd_counters(g->authd);
	const struct qp_supervisor_stats *stats = qp_supervisor_stats(g->supervisor);
	const uint64_t changes = qp_usage_changes(g->usage);
	const struct qp_kept_more more = {.handovers_done = g->handover.done,
		.handovers_failed = g->handover.failed,
		.handovers_refused = g->handover.refused,
		.farewells = qp_gateway_farewells(g)};

	if (memcmp(&k->auth, auth, sizeof(*auth)) == 0 && k->nretired == g->kept_retired &&
		memcmp(&k->stats, stats, sizeof(*stats)) == 0 &&
		memcmp(&k->more, &more, sizeof(more)) == 0 && changes == g->kept_changes)
		return;
	k->auth = *auth;
	k->stats = *stats;
	k->more = more;
	g->kept_retired = k->nretired;
	g->kept_changes = changes;
	qp_kept_save(k, g->usage, g->instance.dir);
}

static void
on_keep(void *ctx)
{
	struct qp_gateway *g = ctx;

	qp_gateway_keep_counters(g);
	qp_loop_timer_set(g->loop, &g->keep, KEEP_EVERY_MS);
}

void
qp_gateway_resume_counters(struct qp_gateway *g)
{
	if (g->instance.adopted) {
		qp_kept_load(&g->kept, g->usage, g->instance.dir);
		qp_authd_resume(g->authd, &g->kept.auth);
		qp_supervisor_resume(g->supervisor, &g->kept.stats);
		g->handover.done = g->kept.more.handovers_done;
		g->handover.failed = g->kept.more.handovers_failed;
		g->handover.refused = g->kept.more.handovers_refused;
		g->farewells_before = g->kept.more.farewells;
		g->kept_retired = g->kept.nretired;
	}
	g->keep = (struct qp_loop_timer) {.fire = on_keep, .ctx = g};
	qp_loop_timer_set(g->loop, &g->keep, KEEP_EVERY_MS);
}

static const char *
stop_reason(const struct qp_gateway *g)
{
	if (g->upgrade.state == QP_UPGRADE_GONE)
		return "replaced by the program on the disk";
	return g->status == 0 ? "ended by a signal" : g->msg->text;
}

void
qp_gateway_close_keeping(struct qp_gateway *g)
{
	if (g->start_recorded)
		qp_record_gateway_stopped(&g->records, stop_reason(g));
	qp_leases_free(g->leases);
	qp_state_close(g->state);
	qp_audit_close(g->audit);
}

int
qp_gateway_port_move(void *ctx, int protocol, uint16_t port, const struct qp_origin *worker)
{
	struct qp_gateway *g = ctx;
	struct qp_network_worker w;

	if (!qp_gateway_worker(g, worker, &w))
		return QP_E_CLOSED;
	return g->network.ops->port_move(g->network.net, protocol, port, &w);
}

bool
qp_gateway_takes_over(void *ctx, const struct qp_origin *worker)
{
	const struct qp_gateway *g = ctx;
	const struct qp_generation *gen = qp_supervisor_find(g->supervisor, worker->server_id);

	return gen != NULL && gen->worker[worker->worker].takes_over;
}

/* A PSK that everybody shares tells nobody apart. */
static bool
is_one_client(const struct qp_tunnel *tun)
{
	return tun->identity.method == QP_AUTH_X25519 || strcmp(tun->identity.name, "psk") != 0;
}

int
qp_gateway_port_rights(void *ctx, const struct qp_tunnel *tun, struct qp_port_rights *out,
	struct qp_errmsg *msg)
{
	const struct qp_gateway *g = ctx;
	const struct qp_policy_client *c;

	*out = (struct qp_port_rights) {.client = tun->identity.name};
	switch (g->o->port_takeover) {
	case QP_TAKEOVER_AUTO:
		out->takeover = is_one_client(tun);
		break;
	case QP_TAKEOVER_ALWAYS:
		out->takeover = true;
		break;
	case QP_TAKEOVER_NEVER:
		break;
	}
	c = qp_enforce_client(g->enforce, tun, msg);
	if (c == NULL)
		return QP_E_PERM;
	out->grants = &c->grants;
	return 0;
}

int
qp_gateway_forward_room(void *ctx, const struct qp_tunnel *tun, struct qp_errmsg *msg)
{
	const struct qp_gateway *g = ctx;

	return qp_enforce_room(g->enforce, tun, msg);
}

const struct qp_allow *
qp_gateway_local_rights(void *ctx, const struct qp_tunnel *tun, struct qp_errmsg *msg)
{
	static const struct qp_allow nothing;
	const struct qp_gateway *g = ctx;
	const struct qp_policy_client *c = qp_enforce_client(g->enforce, tun, msg);

	if (c == NULL)
		return NULL;
	return c->grants.locals != NULL ? c->grants.locals : &nothing;
}

unsigned
qp_gateway_workers(void *ctx, uint32_t server_id)
{
	const struct qp_gateway *g = ctx;
	const struct qp_generation *gen = qp_supervisor_find(g->supervisor, server_id);

	return gen != NULL ? gen->nworkers : 0;
}
