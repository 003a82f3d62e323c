/* SPDX-License-Identifier: Apache-2.0 */
/* The gateway's two HTTP APIs: where they listen, and whom they ask. Loop thread. */
#define QP_LOG_MODULE QP_LOG_M_http
#include <stddef.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "controlplane/fdstore.h"
#include "controlplane/gateway_internal.h"
#include "controlplane/reexec.h"

#define PRIVATE_API_CONNS 256u
#define PRIVATE_API_TIMEOUT_S 30u

static bool
is_serving(void *ctx)
{
	struct qp_gateway *g = ctx;

	return !g->stopping && !qp_supervisor_adopting(g->supervisor) &&
	       qp_supervisor_serving(g->supervisor);
}

/* Why no data plane serves, or will not for long, for /healthcheck. */
static const char *
trouble(void *ctx)
{
	static char text[256];
	struct qp_gateway *g = ctx;
	struct qp_launcher_trouble t;

	if (is_serving(g) && !qp_owner_alive(g->owner))
		return "the port owner is dead: quicport admin replace-port-owner, when tunnels can be "
		       "spared";
	if (is_serving(g))
		return g->owner_end.silent ? "the port owner does not answer: if that stays so, quicport "
					     "admin replace-port-owner, when tunnels can be spared"
					   : NULL;
	if (g->stopping)
		return "the gateway is ending";
	if (qp_supervisor_adopting(g->supervisor))
		return "data planes are being taken over";
	qp_supervisor_trouble(g->supervisor, &t);
	if (t.deaths == 0)
		return g->started ? "no data plane takes clients" : "the gateway is starting";
	if (t.wait_ms == 0)
		snprintf(text, sizeof(text), "the last data plane %s; the next one is starting",
			t.how);
	else
		snprintf(text, sizeof(text),
			"%u data planes in a row ended soon, the last one %s; the next one starts "
			"in %u.%u s",
			t.deaths, t.how, t.wait_ms / 1000, t.wait_ms % 1000 / 100);
	return text;
}

/* Also those that were replayed, and those whose client has not moved a byte yet. */
static void
open_account(void *ctx, struct qp_tunnel *tun)
{
	struct qp_gateway *g = ctx;

	if (tun->state == QP_TUNNEL_AUTHENTICATED)
		qp_usage_opened(g->usage, tun);
}

static void
open_accounts(struct qp_gateway *g)
{
	const struct qp_generation *gen;

	TAILQ_FOREACH (gen, qp_supervisor_generations(g->supervisor), next)
		qp_tunnels_each_of(g->tunnels, gen->server_id, open_account, g);
}

static void
fill_tables(const struct qp_gateway *g, struct qp_metrics *out)
{
	const struct qp_metrics_entries tables[] = {
		{"tunnels", qp_tunnels_count(g->tunnels, QP_TUNNEL_AUTHENTICATED)},
		{"tunnels_waiting", qp_tunnels_count(g->tunnels, QP_TUNNEL_CHALLENGED)},
		{"ports", qp_ports_count(g->ports)},
		{"leases", qp_leases_count(g->leases)},
		{"blocks", qp_blocks_count(g->blocks)},
		{"usage_accounts", qp_usage_count(g->usage)},
		{"queries", qp_queries_count(g->queries)},
	};

	_Static_assert(sizeof(tables) <= sizeof(out->table), "the tables fit");
	memcpy(out->table, tables, sizeof(tables));
	out->ntables = sizeof(tables) / sizeof(tables[0]);
}

static const struct qp_nic *
dedicated_ports(void *ctx)
{
	const struct qp_gateway *g = ctx;

	return g->nicnet != NULL ? qp_nicnet_shared(g->nicnet) : NULL;
}

static void
snapshot(void *ctx, struct qp_metrics *out)
{
	struct qp_gateway *g = ctx;
	const struct qp_supervisor_stats *stats = qp_supervisor_stats(g->supervisor);
	struct qp_launcher_trouble trouble;
	bool classified = g->network.ops->counters(g->network.net, g->classifier) == 0;

	qp_supervisor_trouble(g->supervisor, &trouble);
	qp_state_stats(g->state, &g->state_stats);
	open_accounts(g);
	/* What somebody has seen does not go back. */
	qp_gateway_keep_counters(g);
	*out = (struct qp_metrics) {
		.uptime_s = (qp_now_ns() - g->started_ns) / 1000000000u,
		.auth = qp_authd_counters(g->authd),
		.retired = &g->kept.retired,
		.generations = qp_supervisor_generations(g->supervisor),
		.data_plane_starts = stats->starts,
		.data_plane_deaths = stats->deaths,
		.deaths_in_a_row = trouble.deaths,
		.restart_wait_ms = trouble.wait_ms,
		.farewells = qp_gateway_farewells(g),
		.data_plane_hangs = stats->hangs,
		.data_plane_failed_starts = stats->failed_starts,
		.handovers_done = g->handover.done,
		.handovers_failed = g->handover.failed,
		.handovers_refused = g->handover.refused,
		.messages_dropped = stats->messages_dropped,
		.messages_ignored = stats->messages_ignored,
		.classifier = classified ? g->classifier : NULL,
		.usage = g->usage,
		.ports_open = qp_ports_count(g->ports),
		.tunnels_waiting = qp_tunnels_count(g->tunnels, QP_TUNNEL_CHALLENGED),
		.leases = qp_leases_count(g->leases),
		.audit = qp_audit_stats(g->audit),
		.state = &g->state_stats,
		.owner_pid = qp_owner_pid(g->owner),
		.owner_up = qp_owner_alive(g->owner),
		.owner_answers = qp_owner_alive(g->owner) && !g->owner_end.silent,
		.data_plane_heap = (uint64_t)g->o->data_plane_heap_mib << 20,
		.nic = dedicated_ports(g),
	};
	fill_tables(g, out);
	out->nmaps = g->network.ops->map_entries(g->network.net, out->map, QP_METRICS_MAPS);
}

/* A predecessor's, if it listens where we shall: its queue is not lost. */
static bool
take_listener(const char *name, const struct sockaddr *addr, socklen_t len, int *out)
{
	struct sockaddr_storage at;
	socklen_t at_len = sizeof(at);
	int fd;

	if (qp_fdstore_take(name, &fd, 1) == 0)
		return false;
	if (getsockname(fd, (struct sockaddr *)&at, &at_len) == 0 && at_len == len &&
		memcmp(&at, addr, len) == 0) {
		*out = fd;
		return true;
	}
	close(fd);
	return false;
}

static bool
take_unix_listener(const char *path, int *out)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};

	if (strlen(path) >= sizeof(addr.sun_path) || access(path, F_OK) != 0)
		return false;
	memcpy(addr.sun_path, path, strlen(path));
	return take_listener(QP_PASS_API_UNIX, (const struct sockaddr *)&addr,
		(socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path) + 1), out);
}

int
qp_gateway_api_listen(struct qp_gateway *g, struct qp_errmsg *msg)
{
	const struct qp_api_options *o = &g->o->api;
	const struct qp_sockaddr *addr = &g->o->private_api_listen;
	int err;

	TAILQ_INIT(&g->admin.jobs);
	g->admin.access = (struct qp_access) {.loopback = qp_sockaddr_is_loopback(&addr->sa),
		.tls = o->tls_cert != NULL,
		.token_file = o->token_file,
		.socket_path = o->socket};
	err = qp_access_load(&g->admin.access, msg);
	if (err == 0 && o->tls_cert != NULL)
		err = qp_http_tls_new(o->tls_cert, o->tls_key, &g->api_tls, msg);
	if (err == 0 && !take_listener(QP_PASS_API, &addr->sa, addr->len, &g->api_fd))
		err = qp_http_listen(
			&addr->sa, addr->len, qp_options_private_api_name(g->o), &g->api_fd, msg);
	if (err == 0 && o->socket != NULL && !take_unix_listener(o->socket, &g->api_unix_fd))
		err = qp_http_listen_unix(
			o->socket, (mode_t)o->socket_mode, o->socket_group, &g->api_unix_fd, msg);
	return err;
}

/* Takes `*fd` over. */
static int
open_server(struct qp_gateway *g, int *fd, bool unix_socket, struct qp_http **out,
	struct qp_errmsg *msg)
{
	int listen_fd = *fd;

	if (listen_fd < 0)
		return 0;
	*fd = -1;
	return qp_http_new(&(struct qp_http_config) {.loop = g->loop,
				   .listen_fd = listen_fd,
				   .unix_socket = unix_socket,
				   .tls = unix_socket ? NULL : g->api_tls,
				   .max_connections = PRIVATE_API_CONNS,
				   .timeout_s = PRIVATE_API_TIMEOUT_S,
				   .answer = qp_admin_answer,
				   .ctx = &g->admin},
		out, msg);
}

static void
end_tunnel(void *ctx, struct qp_tunnel *tun, const char *phrase)
{
	struct qp_gateway *g = ctx;

	qp_enforce_end(g->enforce, tun, phrase);
}

static const struct qp_policy *
policy(void *ctx)
{
	struct qp_gateway *g = ctx;

	return qp_enforce_policy(g->enforce);
}

static int
reload(void *ctx, const char *actor, struct qp_reload_result *out, struct qp_errmsg *msg)
{
	return qp_gateway_reload(ctx, actor, out, msg);
}

static int
open_private_api(struct qp_gateway *g, struct qp_errmsg *msg)
{
	struct qp_admin *a = &g->admin;
	int err;

	a->supervisor = g->supervisor;
	a->tunnels = g->tunnels;
	a->queries = g->queries;
	a->ports = g->ports;
	a->state = g->state;
	a->events = g->events;
	a->records = &g->records;
	a->options = g->o;
	a->reload = reload;
	a->hand_over = qp_gateway_hand_over;
	a->handover_error = qp_gateway_handover_error;
	a->replace_owner = qp_gateway_replace_owner;
	a->metrics = snapshot;
	a->nics = dedicated_ports;
	a->serving = is_serving;
	a->trouble = trouble;
	a->end_tunnel = end_tunnel;
	a->policy = policy;
	a->clients = g->api_clients;
	a->write_client = qp_gateway_write_client;
	a->sender = (struct qp_sender) {.send = qp_supervisor_send, .ctx = g->supervisor};
	a->ctx = g;
	a->stream = qp_event_stream_new(&(struct qp_event_stream_config) {
		.loop = g->loop, .events = g->events, .stats = qp_admin_stats, .ctx = a});
	if (a->stream == NULL)
		return qp_fail(msg, QP_E_NOMEM, "out of memory");
	err = open_server(g, &g->api_fd, false, &g->private_api, msg);
	if (err == 0)
		err = open_server(g, &g->api_unix_fd, true, &g->private_api_unix, msg);
	return err;
}

static int
open_public_api(struct qp_gateway *g, struct qp_errmsg *msg)
{
	if (g->o->no_public_api)
		return 0;
	return qp_public_api_new(
		&(struct qp_public_api_config) {
			.loop = g->loop,
			.sender = {.send = qp_supervisor_send, .ctx = g->supervisor},
			.has_room = qp_supervisor_has_room,
			.room_ctx = g->supervisor,
			.serving = is_serving,
			.serving_ctx = g,
		},
		&g->public_api, msg);
}

int
qp_gateway_api_open(struct qp_gateway *g, struct qp_errmsg *msg)
{
	int err = open_private_api(g, msg);

	return err != 0 ? err : open_public_api(g, msg);
}

int
qp_gateway_api_reload(struct qp_gateway *g, struct qp_errmsg *msg)
{
	struct qp_access fresh = g->admin.access;
	int err;

	/* Both or neither: the token is only read here, until the certificate is good, too. */
	fresh.token = NULL;
	err = qp_access_load(&fresh, msg);
	if (err == 0 && g->api_tls != NULL)
		err = qp_http_tls_reload(g->api_tls, msg);
	if (err != 0) {
		qp_access_clear(&fresh);
		return err;
	}
	qp_access_clear(&g->admin.access);
	g->admin.access = fresh;
	return 0;
}

void
qp_gateway_api_close(struct qp_gateway *g)
{
	qp_gateway_close_writes(g);
	if (g->admin.ctx != NULL)
		qp_admin_end_jobs(&g->admin);
	qp_http_free(g->private_api);
	qp_http_free(g->private_api_unix);
	qp_public_api_free(g->public_api);
	qp_event_stream_free(g->admin.stream);
	qp_http_tls_free(g->api_tls);
	qp_access_clear(&g->admin.access);
	if (g->api_fd >= 0)
		close(g->api_fd);
	if (g->api_unix_fd >= 0)
		close(g->api_unix_fd);
	if (g->private_api_unix != NULL && !g->leaving)
		unlink(g->o->api.socket);
}
