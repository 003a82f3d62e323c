/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a gateway is made of: each module with what it is told of the others, in the
 * order in which one needs another, and their end the other way round. What
 * is likely to fail comes before the port owner. Loop thread.
 */
#include <stdlib.h>
#include <unistd.h>

#include "common/heap.h"
#include "controlplane/fdstore.h"
#include "controlplane/gateway_internal.h"
#include "controlplane/memory.h"
#include "controlplane/reexec.h"

static int
open_supervisor(struct qp_gateway *g, struct qp_errmsg *msg)
{
	return qp_supervisor_new(
		&(struct qp_supervisor_config) {
			.loop = g->loop,
			.instance = &g->instance,
			.ops = &qp_gateway_supervisor_ops,
			.ctx = g,
			.lifeline_fd = qp_owner_lifeline(g->owner),
			.auto_start = !g->o->no_auto_dataplane,
			.workers = g->o->workers,
			.nic = &g->o->nic,
			.busy_poll = g->o->busy_poll,
			.hang_timeout_ms = g->o->hang_timeout_ms,
			.drain_timeout_s = g->o->drain_timeout_s,
			.drain_grace_s = g->o->drain_grace_s,
			.log = g->o->log,
			.heap_bytes = (uint64_t)g->o->data_plane_heap_mib << 20,
		},
		&g->supervisor, msg);
}

static int
open_owner(struct qp_gateway *g, struct qp_errmsg *msg)
{
	bool few;
	const struct qp_owner_config cfg = {
		.loop = g->loop,
		.instance = &g->instance,
		.memory_mib = qp_options_memory(g->o, &few),
		.nic = &g->o->nic,
		.queues = g->o->workers,
		.socket_path = g->o->port_owner_socket,
		.log = g->o->log,
		.ready = qp_gateway_owner_ready,
		.failed = qp_gateway_fail,
		.ended = qp_gateway_owner_ended,
		.ctx = g,
	};

	int err, lifeline;

	if (few && !g->instance.adopted)
		qp_log(QP_LOG_WARN, "few hugepages are free: there may be no room to change data planes",
			QP_LOG_U64("mib", cfg.memory_mib));
	if (!g->instance.adopted)
		return qp_owner_new(&cfg, &g->owner, msg);
	err = qp_owner_adopt(&cfg, &g->owner, msg);
	if (err == 0 && qp_fdstore_take(QP_PASS_LIFELINE, &lifeline, 1) == 1)
		qp_owner_hold(g->owner, lifeline);
	return err;
}

static void
hold(void *ctx, bool stopped)
{
	struct qp_gateway *g = ctx;

	qp_supervisor_hold(g->supervisor, stopped);
}

/* As a signal would. */
static void
on_quit(void *ctx)
{
	struct qp_gateway *g = ctx;

	if (g->stopping)
		return;
	qp_log(QP_LOG_INFO, "ending: the prompt said so");
	g->owner_end.anew = false;
	qp_reexec_settle();
	qp_gateway_shutdown(g);
}

static int
open_console(struct qp_gateway *g, struct qp_errmsg *msg)
{
	return qp_console_open(&(struct qp_console_config) {.loop = g->loop,
				       .dir = g->instance.dir,
				       .options = g->o->console,
				       .again = qp_reexec_follows(),
				       .hold = hold,
				       .quit = on_quit,
				       .ctx = g},
		&g->console, msg);
}

static int
open_services(struct qp_gateway *g, struct qp_errmsg *msg)
{
	const struct qp_sender sender = {.send = qp_supervisor_send, .ctx = g->supervisor};

	qp_gateway_open_crash_reports(g);
	g->tunnels = qp_tunnels_new();
	if (g->tunnels == NULL)
		return qp_fail(msg, QP_E_NOMEM, "out of memory");
	qp_psk_marks_open(&g->psk_marks, g->instance.dir);
	g->enforce = qp_enforce_new(&(struct qp_enforce_config) {.loop = g->loop,
					    .tunnels = g->tunnels,
					    .sender = sender,
					    .has_room = qp_supervisor_has_room,
					    .room_ctx = g->supervisor,
					    .workers = qp_gateway_workers,
					    .workers_ctx = g,
					    .marks = &g->psk_marks},
		g->cred->policy);
	g->cred->policy = NULL;
	if (g->enforce == NULL)
		return qp_fail(msg, QP_E_NOMEM, "out of memory");
	g->authd = qp_authd_new(&(struct qp_authd_config) {.loop = g->loop,
		.tunnels = g->tunnels,
		.sender = sender,
		.enforce = g->enforce,
		.private_key = g->cred->private_key,
		.public_key = g->cred->public_key,
		.records = &g->records});
	g->ports = qp_ports_new(&(struct qp_ports_config) {.tunnels = g->tunnels,
		.sender = sender,
		.host = {.open = qp_gateway_port_open,
			.close = qp_gateway_port_close,
			.move = qp_gateway_port_move,
			.takes_over = qp_gateway_takes_over,
			.ctx = g},
		.forward_addr = g->o->forward_addr,
		.reserved_tcp = g->reserved_tcp,
		.nreserved_tcp = g->nreserved_tcp,
		.reserved_udp = qp_sockaddr_port(&g->o->data_plane_addr.sa),
		.any_first = g->o->any_port.first,
		.any_last = g->o->any_port.last,
		.excluded = g->o->reserved_ports.range,
		.nexcluded = g->o->reserved_ports.n,
		.rights = qp_gateway_port_rights,
		.room = qp_gateway_forward_room,
		.rights_ctx = g,
		.leases = g->leases,
		.records = &g->records});
	g->sources = qp_sources_new(&(struct qp_sources_config) {
		.host = {.open = qp_gateway_port_open, .close = qp_gateway_port_close, .ctx = g},
		.count = g->o->local_forward_ports});
	if (g->authd == NULL || g->ports == NULL || g->sources == NULL)
		return qp_fail(msg, QP_E_NOMEM, "out of memory");
	g->queries = qp_queries_new(&(struct qp_queries_config) {
		.loop = g->loop, .sender = sender, .worker_from = qp_gateway_worker_from, .ctx = g});
	if (g->queries == NULL)
		return qp_fail(msg, QP_E_NOMEM, "out of memory");
	g->goodbyes = qp_gateway_goodbyes(g);
	if (g->goodbyes == NULL)
		return qp_fail(msg, QP_E_NOMEM, "out of memory");
	g->usage = qp_usage_new(g->loop, g->queries, g->tunnels);
	if (g->usage == NULL)
		return qp_fail(msg, QP_E_NOMEM, "out of memory");
	return qp_locals_new(
		&(struct qp_locals_config) {.tunnels = g->tunnels,
			.sender = sender,
			.rights = qp_gateway_local_rights,
			.room = qp_gateway_forward_room,
			.rights_ctx = g,
			.sources = g->sources,
			.source_count = g->o->local_forward_ports,
			.private_api = g->o->private_api_listen,
			.loop = g->loop,
			.route = qp_gateway_route,
			.route_ctx = g,
			.records = &g->records},
		&g->locals, msg);
}

/* Before the port owner: what is likely to fail fails without having started anything. */
int
qp_gateway_open_modules(struct qp_gateway *g, struct qp_errmsg *msg)
{
	int err = qp_gateway_check_forward_addr(g->o, msg);

	if (err == 0)
		err = qp_gateway_check_lcores(g->o, msg);
	qp_heap_set_budget((uint64_t)g->o->control_plane_heap_mib << 20);
	g->events = qp_events_new();
	if (err == 0 && g->events == NULL)
		err = qp_fail(msg, QP_E_NOMEM, "out of memory");
	if (err == 0)
		err = qp_gateway_watch_signals(g, msg);
	if (err == 0)
		err = qp_gateway_open_keeping(g, msg);
	if (err == 0)
		err = qp_gateway_open_clients(g, msg);
	if (err == 0)
		err = qp_gateway_open_writes(g, msg);
	if (err == 0)
		err = qp_gateway_api_listen(g, msg);
	if (err == 0)
		err = open_owner(g, msg);
	if (err == 0)
		qp_gateway_owner_watch(g);
	if (err == 0)
		err = open_supervisor(g, msg);
	if (err == 0)
		err = open_console(g, msg);
	if (err == 0)
		err = open_services(g, msg);
	if (err == 0)
		err = qp_gateway_api_open(g, msg);
	if (err == 0)
		err = qp_gateway_open_network(g, msg);
	if (err == 0)
		err = qp_gateway_open_blocks(g, msg);
	if (err == 0) {
		/* Before what a predecessor left is told again. */
		qp_record_gateway_started(&g->records, g->instance.name);
		g->start_recorded = true;
		qp_gateway_resume_counters(g);
	}
	if (err == 0 && g->instance.adopted)
		err = qp_supervisor_adopt(g->supervisor, msg);
	return err;
}

void
qp_gateway_close_modules(struct qp_gateway *g)
{
	qp_console_close(g->console);
	g->console = NULL;
	qp_gateway_upgrade_close(g);
	qp_gateway_owner_close(g);
	qp_gateway_close_graves(g);
	qp_file_watch_free(g->file_watch);
	qp_settings_free(&g->handover.before.settings);
	qp_gateway_api_close(g);
	qp_blocks_free(g->blocks);
	qp_api_clients_free(g->api_clients);
	qp_goodbyes_free(g->goodbyes);
	qp_usage_free(g->usage);
	qp_queries_free(g->queries);
	qp_locals_free(g->locals);
	qp_sources_free(g->sources);
	qp_ports_free(g->ports);
	qp_authd_free(g->authd);
	qp_enforce_free(g->enforce);
	qp_psk_marks_close(&g->psk_marks);
	qp_tunnels_free(g->tunnels);
	qp_supervisor_free(g->supervisor);
	qp_memory_watch(NULL);
	qp_owner_free(g->owner);
	qp_events_free(g->events);
	qp_loop_unwatch(g->loop, &g->network_watch);
	qp_loop_timer_cancel(g->loop, &g->reserve);
	qp_loop_timer_cancel(g->loop, &g->keep);
	free(g->waiting);
	if (g->network.ops != NULL && g->leaving)
		g->network.ops->leave(g->network.net);
	else if (g->network.ops != NULL)
		g->network.ops->close(g->network.net);
	qp_gateway_close_keeping(g);
	qp_watchdog_stop(&g->watchdog);
	qp_loop_unwatch(g->loop, &g->signal_watch);
	if (g->signal_fd >= 0)
		close(g->signal_fd);
	qp_loop_free(g->loop);
}
