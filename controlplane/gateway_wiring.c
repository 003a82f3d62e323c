/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who tells whom while the gateway runs: a data plane's life and messages on
 * one side, host, tunnels, ports and public API on the other. Loop thread.
 */
#include <arpa/inet.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <systemd/sd-daemon.h>

#include "common/file.h"
#include "controlplane/admin_calls.h"
#include "controlplane/eal.h"
#include "controlplane/gateway_internal.h"
#include "controlplane/guard.h"
#include "controlplane/memory.h"
#include "controlplane/reexec.h"

/* EAL's start takes a fifth of a second, several on a machine that does much else. */
#define ATTACH_PATIENCE_S 9u

bool
qp_gateway_worker(
	const struct qp_gateway *g, const struct qp_origin *at, struct qp_network_worker *out)
{
	const struct qp_generation *gen = qp_supervisor_find(g->supervisor, at->server_id);

	if (gen == NULL)
		return false;
	*out = (struct qp_network_worker) {.server_id = gen->server_id,
		.ifindex = gen->worker[at->worker].ifindex,
		.worker = (uint8_t)at->worker};
	memcpy(out->mac, gen->worker[at->worker].mac, sizeof(out->mac));
	return true;
}

int
qp_gateway_port_open(void *ctx, int protocol, uint16_t port, const struct in6_addr *addr,
	const struct qp_origin *worker, struct qp_errmsg *msg)
{
	struct qp_gateway *g = ctx;
	const struct qp_network_ops *ops = g->network.ops;
	struct qp_network_worker w;

	if (!qp_gateway_worker(g, worker, &w))
		return qp_fail(msg, QP_E_CLOSED, "the data plane is gone");
	return (g->restoring ? ops->port_adopt : ops->port_open)(
		g->network.net, protocol, port, addr, &w, msg);
}

void
qp_gateway_port_close(void *ctx, int protocol, uint16_t port)
{
	struct qp_gateway *g = ctx;

	if (!g->leaving)
		g->network.ops->port_close(g->network.net, protocol, port);
}

int
qp_gateway_route(void *ctx, const struct in6_addr *dest, struct qp_hostnet_route *out,
	struct qp_errmsg *msg)
{
	const struct qp_gateway *g = ctx;

	return g->network.ops->route(g->network.net, dest, out, msg);
}

/*
 * The key of stateless reset tokens outlives generations and restarts, so that
 * a client of a dead one is told at once. From the certificate's key, and apart
 * for each gateway that shares it (RFC 9000, 21.11).
 */
static void
derive_reset_key(const struct qp_gateway *g, uint8_t out[32])
{
	char *pem = NULL;
	size_t len = 0;

	if (qp_file_read(g->cred->key_path, 65536, &pem, &len, NULL, NULL) != 0) {
		randombytes_buf(out, 32);
		return;
	}
	crypto_generichash_state h;
	crypto_generichash_init(&h, (const uint8_t *)"quicport stateless reset", 24, 32);
	crypto_generichash_update(&h, (const uint8_t *)g->instance.name, strlen(g->instance.name));
	crypto_generichash_update(&h, (const uint8_t *)pem, len);
	crypto_generichash_final(&h, out, 32);
	sodium_memzero(&h, sizeof(h));
	qp_file_free(pem);
}

/* Workers share nothing: each gets its part of the limit. */
static uint32_t
udp_share(const struct qp_options *o)
{
	uint32_t share = o->udp_max_flows / (o->workers > 0 ? o->workers : 1);

	return share > 0 ? share : 1;
}

static void
configure(void *ctx, struct qp_msg_config *out)
{
	struct qp_gateway *g = ctx;
	struct in6_addr addr;

	memset(out, 0, sizeof(*out));
	if (qp_sockaddr_to_in6(&g->o->data_plane_addr.sa, &addr))
		memcpy(out->data_plane_addr, &addr, sizeof(out->data_plane_addr));
	out->data_plane_port_be = htons(qp_sockaddr_port(&g->o->data_plane_addr.sa));
	out->public_port_be = htons(qp_options_public_port(g->o));
	out->keep_alive_s = g->o->keep_alive_s;
	out->tcp = (struct qp_msg_tcp) {
		.congestion = (uint8_t)g->o->tcp_congestion,
		.pacing = g->o->tcp_pacing,
		.ecn = (uint8_t)g->o->tcp_ecn,
		.fast_open = g->o->tcp_fast_open,
		.buffer_kib = g->o->tcp_buffer_kib,
		.max_conns = g->o->tcp_max_conns,
		.keepalive_s = g->o->tcp_keepalive_s,
		.user_timeout_s = g->o->tcp_user_timeout_s,
		.zero_window_s = g->o->tcp_zero_window_s,
		.max_conns_per_source = g->o->tcp_max_per_source,
	};
	out->udp = (struct qp_msg_udp) {
		.idle_timeout_s = g->o->udp_idle_timeout_s,
		.max_flows = udp_share(g->o),
		.max_flows_per_tunnel = g->o->udp_max_flows_per_tunnel,
	};
	out->idle_timeout_s = g->o->idle_timeout_s;
	out->audit_conns = g->o->audit_conns && g->audit != NULL;
	out->orphan_timeout_s = g->o->orphan_timeout_s;
	out->name_hash = g->instance.hash;
	derive_reset_key(g, out->reset_key);
	_Static_assert(sizeof(out->cert_file) == sizeof(g->cred->cert_path), "paths fit");
	memcpy(out->cert_file, g->cred->cert_path, sizeof(out->cert_file));
	memcpy(out->key_file, g->cred->key_path, sizeof(out->key_file));
}

/*
 * EAL's start takes locks in shared memory. What a process was killed with stays taken, unless
 * the port owner frees it: then this start would hang, and say nothing.
 */
static int
attach_guarded(struct qp_gateway *g, struct qp_errmsg *msg)
{
	char what[512], pids[256] = "";
	size_t at = 0;
	int err;

	for (unsigned i = 0; i < g->instance.nprocesses && at < sizeof(pids); i++)
		at += (size_t)snprintf(pids + at, sizeof(pids) - at, " %d",
			(int)g->instance.processes[i].pid);
	snprintf(what, sizeof(what),
		"attaching to the port owner's memory hangs: perhaps a process was killed with one "
		"of its locks; tunnels run on; start again, and if that hangs, too, end what is left "
		"(kill -KILL%s) and start anew", pids);
	qp_guard_begin(ATTACH_PATIENCE_S, what);
	err = qp_eal_attach(g->instance.name, msg);
	qp_guard_end();
	return err;
}

/* A predecessor's port owner has ports, which its data planes use: nobody steers for them here. */
static int
refuse_ports(struct qp_errmsg *msg)
{
	size_t bytes;

	if (qp_memory_zone(QP_NIC_ZONE, &bytes) == NULL)
		return 0;
	return qp_fail(msg, QP_E_INVAL,
		"this gateway was started with --port: give the same options as before, or end it "
		"(SIGTERM) and start it anew");
}

/* The data plane attaches to the memory now, and so do we: one after the other. */
static int
attach_too(void *ctx, struct qp_errmsg *msg)
{
	struct qp_gateway *g = ctx;
	int err;

	if (qp_eal_attached())
		return 0;
	err = attach_guarded(g, msg);
	if (err == 0)
		qp_memory_watch(g->loop);
	if (err == 0 && g->nicnet == NULL && g->instance.adopted)
		err = refuse_ports(msg);
	return err == 0 ? g->network.ops->attached(g->network.net, msg) : err;
}

/* `error`: why it could not leave that state; NULL: it has just come to it. */
static void
tell_state(struct qp_gateway *g, const struct qp_generation *gen, enum qp_dp_state state,
	const char *error)
{
	char id[16];

	if (gen->server_id != 0)
		qp_events_emit(g->events, QP_EVENT_DATA_PLANE,
			json_pack("{s:s, s:i, s:s, s:s*}", "dp_id",
				qp_dp_id_format(gen->server_id, id), "pid", (int)gen->pid, "state",
				qp_generation_state_name(state), "error", error));
}

static void
on_starting(void *ctx, const struct qp_generation *gen)
{
	tell_state(ctx, gen, QP_DP_STARTING, NULL);
}

/* Where its inbound rings are, in nic mode. */
static int
on_memory(void *ctx, const struct qp_generation *gen, struct qp_errmsg *msg)
{
	struct qp_gateway *g = ctx;
	const struct qp_gen_shared *s = qp_dp_link_shared(gen->link);
	const struct qp_network_generation of = {.server_id = gen->server_id,
		.nworkers = gen->nworkers,
		.handoff = s->handoff_at != 0 ? (uintptr_t)s + s->handoff_at * UINT64_C(64) : 0,
		.handoff_bytes = s->handoff_bytes};

	return g->network.ops->generation_add(g->network.net, &of, msg);
}

static int
worker_up(void *ctx, const struct qp_generation *gen, unsigned worker, struct qp_errmsg *msg)
{
	struct qp_gateway *g = ctx;
	const struct qp_origin at = {.server_id = gen->server_id, .worker = (uint16_t)worker};
	struct qp_network_worker w;

	if (gen->adopted && gen->nworkers_up == 0)
		tell_state(g, gen, QP_DP_STARTING, NULL);
	if (!qp_gateway_worker(g, &at, &w))
		return qp_fail(msg, QP_E_CLOSED, "the data plane is gone");
	return g->network.ops->worker_add(g->network.net, &w, msg);
}

static int
activate(void *ctx, const struct qp_generation *gen, struct qp_errmsg *msg)
{
	struct qp_gateway *g = ctx;
	int err = g->network.ops->set_active(
		g->network.net, gen->server_id, (uint8_t)gen->nworkers);

	return err == 0 ? 0 : qp_fail(msg, err, "cannot steer clients to it: %s", qp_strerror(err));
}

static void
on_active(void *ctx, const struct qp_generation *gen)
{
	struct qp_gateway *g = ctx;
	char quic[QP_ADDR_TEXT_BYTES], api[QP_ADDR_TEXT_BYTES];

	tell_state(g, gen, QP_DP_ACTIVE, NULL);
	qp_console_attach(g->console, gen->server_id);
	qp_goodbyes_send(g->goodbyes);
	if (g->started) {
		qp_log(QP_LOG_INFO, "a new data plane serves", QP_LOG_HEX("dp_id", gen->server_id));
		return;
	}
	g->started = true;
	if (!g->instance.adopted)
		qp_reexec_settle();
	qp_log(QP_LOG_INFO, "ready",
		QP_LOG_STR("clients", qp_sockaddr_format(&g->o->data_plane_addr.sa, quic)),
		QP_LOG_STR("private_api", qp_sockaddr_format(&g->o->private_api_listen.sa, api)),
		QP_LOG_HEX("dp_id", gen->server_id),
		QP_LOG_U64("start_ms", (qp_now_ns() - g->started_ns) / 1000000u));
	/* The second line is for a program that has started us (libquicport). */
	sd_notifyf(0, "READY=1\nX_QUICPORT_API=%s",
		qp_sockaddr_format(&g->o->private_api_listen.sa, api));
}

static void
on_draining(void *ctx, const struct qp_generation *gen)
{
	struct qp_gateway *g = ctx;

	tell_state(g, gen, QP_DP_DRAINING, NULL);
	qp_log(QP_LOG_INFO, "a data plane drains: it ends with its last tunnel",
		QP_LOG_HEX("dp_id", gen->server_id));
}

void
qp_gateway_tell_drain_failed(
	struct qp_gateway *g, const struct qp_generation *gen, const char *why)
{
	qp_log(QP_LOG_ERROR, "no new data plane could be started: nothing drains",
		QP_LOG_HEX("dp_id", gen != NULL ? gen->server_id : 0), QP_LOG_STR("reason", why));
	if (gen != NULL)
		tell_state(g, gen, gen->state, why);
}

static void
on_drain_failed(void *ctx, const struct qp_generation *gen, const char *why)
{
	qp_gateway_tell_drain_failed(ctx, gen, why);
	qp_gateway_handed_over(ctx, why);
}

static void
on_settled(void *ctx, bool handed_over)
{
	if (handed_over)
		qp_gateway_handed_over(ctx, NULL);
	else
		qp_gateway_may_hand_over(ctx);
}

/* Its data plane has ended without a word about it. */
static void
drop_tunnel(void *ctx, struct qp_tunnel *tun)
{
	struct qp_gateway *g = ctx;

	qp_ports_drop_tunnel(g->ports, tun, "data plane ended", NULL);
	if (tun->state == QP_TUNNEL_AUTHENTICATED)
		qp_record_tunnel_closed(&g->records, tun, QP_END_UNKNOWN, NULL);
	qp_enforce_left(g->enforce, tun);
	qp_usage_closed(g->usage, tun, NULL);
	qp_tunnels_remove(g->tunnels, tun);
}

bool
qp_gateway_worker_from(void *ctx, const struct qp_origin *at, struct qp_origin *out)
{
	const struct qp_gateway *g = ctx;
	const struct qp_generation *gen, *best = NULL;

	TAILQ_FOREACH (gen, qp_supervisor_generations(g->supervisor), next) {
		const unsigned first = gen->server_id == at->server_id ? at->worker : 0;

		if (gen->link == NULL || gen->server_id < at->server_id || first >= gen->nworkers ||
			(best != NULL && best->server_id < gen->server_id))
			continue;
		best = gen;
		*out = (struct qp_origin) {.server_id = gen->server_id, .worker = (uint16_t)first};
	}
	return best != NULL;
}

static void
on_generation_ended(void *ctx, const struct qp_generation *gen)
{
	struct qp_gateway *g = ctx;

	tell_state(g, gen, QP_DP_TERMINATED, gen->how[0] != '\0' ? gen->how : NULL);
	qp_console_gone(g->console, gen->server_id);
	if (gen->crashed)
		qp_gateway_report_crash(g, gen);
	qp_queries_generation_ended(g->queries, gen->server_id);
	(void)qp_kept_retire(&g->kept, gen);
	qp_tunnels_each_of(g->tunnels, gen->server_id, drop_tunnel, g);
	/* Before its memory goes: who comes after a kill finds either the one or the other. */
	qp_gateway_keep_counters(g);
	if (g->public_api != NULL)
		qp_public_api_drop_generation(g->public_api, gen->server_id);
	qp_sources_drop_generation(g->sources, gen->server_id);
	for (unsigned w = 0; w < gen->nworkers; w++) {
		if (gen->worker[w].ifindex != 0)
			g->network.ops->worker_remove(
				g->network.net, gen->server_id, (uint8_t)w);
	}
	g->network.ops->generation_remove(g->network.net, gen->server_id);
	qp_gateway_check_owner(g);
}

static void
on_tunnel_closed(struct qp_gateway *g, const struct qp_origin *from, const struct qp_msg *m)
{
	const struct qp_msg_tunnel_closed *c = &m->tunnel_closed;
	struct qp_tunnel *tun = qp_tunnels_find(g->tunnels, from);
	char peer[QP_ADDR_TEXT_BYTES];

	if (tun == NULL)
		return; /* refused, so never in the table */
	qp_ports_drop_tunnel(g->ports, tun, qp_end_reason_name(c->reason), &c->usage);
	if (tun->state == QP_TUNNEL_AUTHENTICATED) {
		qp_record_tunnel_closed(&g->records, tun, c->reason, &c->usage);
		qp_usage_opened(g->usage, tun);
		qp_usage_closed(g->usage, tun, &c->usage);
		qp_log(QP_LOG_INFO, "client left",
			QP_LOG_STR("peer", qp_addr_format(tun->peer_addr, tun->peer_port_be, peer)),
			QP_LOG_STR("client", tun->identity.name),
			QP_LOG_STR("reason", qp_end_reason_name(c->reason)));
	}
	qp_enforce_left(g->enforce, tun);
	qp_tunnels_remove(g->tunnels, tun);
}

static void
on_conn_closed(struct qp_gateway *g, const struct qp_origin *from, const struct qp_msg *m)
{
	const struct qp_msg_conn_closed *c = &m->conn_closed;
	const struct qp_origin of = {from->server_id, from->worker, c->conn.tunnel_id};

	qp_record_connection(&g->records, &of,
		(struct qp_slice) {c->client, strnlen(c->client, sizeof(c->client))}, &c->conn);
}

static void
on_api_message(struct qp_gateway *g, const struct qp_origin *from, const struct qp_msg *m)
{
	if (g->public_api == NULL)
		return;
	if (m->type == QP_MSG_API_OPEN)
		qp_public_api_open(g->public_api, from, m);
	else if (m->type == QP_MSG_API_DATA)
		qp_public_api_data(g->public_api, from, m);
	else
		qp_public_api_close(g->public_api, from, m);
}

static void
on_message(void *ctx, const struct qp_origin *from, const struct qp_msg *m)
{
	struct qp_gateway *g = ctx;

	if (qp_gateway_waits(g, from, m))
		return;
	switch (m->type) {
	case QP_MSG_AUTH_BEGIN:
		qp_authd_begin(g->authd, from, m);
		break;
	case QP_MSG_AUTH_FINISH:
		qp_authd_finish(g->authd, from, m);
		break;
	case QP_MSG_FORWARD_REQUEST:
		qp_ports_request(g->ports, from, m);
		break;
	case QP_MSG_FORWARD_LISTENS:
		qp_ports_listens(g->ports, from, m);
		break;
	case QP_MSG_FORWARD_CLOSED:
		qp_ports_closed(g->ports, from, m);
		break;
	case QP_MSG_LOCAL_REQUEST:
		qp_locals_request(g->locals, from, m);
		break;
	case QP_MSG_TUNNEL_STATE:
		qp_gateway_tunnel_state(g, from, m);
		break;
	case QP_MSG_TUNNEL_CLOSED:
		qp_gateway_learn_end(g, from, m);
		on_tunnel_closed(g, from, m);
		break;
	case QP_MSG_CONN_CLOSED:
		on_conn_closed(g, from, m);
		break;
	case QP_MSG_TUNNEL_ROWS:
	case QP_MSG_CONN_ROWS:
		qp_queries_message(g->queries, from, m);
		break;
	case QP_MSG_API_OPEN:
	case QP_MSG_API_DATA:
	case QP_MSG_API_CLOSE:
		on_api_message(g, from, m);
		break;
	default:
		qp_log(QP_LOG_WARN, "a data plane sent a message that is unknown here",
			QP_LOG_U64("type", m->type));
	}
}

const struct qp_supervisor_ops qp_gateway_supervisor_ops = {
	.attaching = attach_too,
	.starting = on_starting,
	.configure = configure,
	.memory = on_memory,
	.worker_up = worker_up,
	.activate = activate,
	.active = on_active,
	.draining = on_draining,
	.drain_failed = on_drain_failed,
	.settled = on_settled,
	.message = on_message,
	.lifeline = qp_gateway_lifeline,
	.adopted = qp_gateway_adopted,
	.ended = on_generation_ended,
	.remains = qp_gateway_remains,
	.free_memory = qp_gateway_free_memory,
	.failed = qp_gateway_fail,
	.all_ended = qp_gateway_all_ended,
};
