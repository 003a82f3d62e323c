/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The gateway's life:
 *
 *	instance → port owner ┬ classifier, HTTP        (while the owner gets its memory)
 *	                      └ data plane, our own EAL (side by side)
 *	→ HELLO of all workers → ready → … → signal
 *	→ data planes end → port owner ends → host and files as before
 *
 * After a control plane that was killed: port owner and data planes are there,
 * they come to us, and gateway_adopt.c puts what they tell in its place.
 *
 * Loop thread. Every failure during the start takes the same way down as a
 * signal. What happens between up and down is gateway_wiring.c's.
 */
#include "controlplane/gateway.h"

#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "common/heap.h"
#include "common/host.h"
#include "controlplane/eal.h"
#include "controlplane/fdstore.h"
#include "controlplane/gateway_internal.h"
#include "controlplane/memory.h"
#include "controlplane/reexec.h"
#include "controlplane/reload.h"


void
qp_gateway_shutdown(struct qp_gateway *g)
{
	if (!g->stopping)
		sd_notify(0, "STOPPING=1");
	g->stopping = true;
	qp_supervisor_shutdown(g->supervisor);
}

void
qp_gateway_fail(void *ctx, const char *why)
{
	struct qp_gateway *g = ctx;

	if (g->stopping)
		return;
	g->status = 1;
	qp_fail(g->msg, 0, "%s", why);
	/* What lived without us lives on: the next start may have more luck. */
	if (qp_supervisor_adopting(g->supervisor))
		qp_gateway_leave(g, why);
	else
		qp_gateway_shutdown(g);
}

void
qp_gateway_check_owner(struct qp_gateway *g)
{
	if (!g->stopping && !qp_owner_alive(g->owner) &&
		TAILQ_EMPTY(qp_supervisor_generations(g->supervisor)))
		qp_gateway_fail(g, "the port owner has ended, and the last data plane: start again");
}

/* The last data plane has ended: our part of the shared memory goes, then its owner. */
void
qp_gateway_all_ended(void *ctx)
{
	struct qp_gateway *g = ctx;

	g->data_planes_ended = true;
	qp_eal_detach();
	qp_owner_release(g->owner);
	if (!qp_owner_alive(g->owner))
		qp_loop_stop(g->loop);
}

static void
on_owner_ended(void *ctx, const char *how)
{
	struct qp_gateway *g = ctx;

	if (g->data_planes_ended)
		qp_loop_stop(g->loop);
	else if (!g->stopping)
		qp_gateway_owner_died(g, how);
	qp_gateway_check_owner(g);
}

static void
on_owner_ready(void *ctx)
{
	struct qp_gateway *g = ctx;
	struct qp_errmsg msg;

	if (g->stopping)
		return;
	if (qp_supervisor_start(g->supervisor, &msg) != 0) {
		qp_gateway_fail(g, msg.text);
		return;
	}
	if (g->o->no_auto_dataplane) {
		printf("Waiting for a data plane. Start one: quicport data-plane --instance %s",
			g->instance.name);
		for (unsigned i = 0; i < g->o->nic.ports.n; i++)
			printf(" --port %s", g->o->nic.ports.v[i]);
		printf("\n");
		fflush(stdout);
	}
}

/* Somebody has renamed them: logrotate. */
static void
reopen_files(struct qp_gateway *g)
{
	struct qp_errmsg msg;

	if (qp_log_reopen(&msg) != 0)
		qp_log(QP_LOG_WARN, "the log goes on in the old file",
			QP_LOG_STR("reason", msg.text));
	if (qp_audit_reopen(g->audit, &msg) != 0)
		qp_log(QP_LOG_ERROR, "the audit log goes on in the old file",
			QP_LOG_STR("reason", msg.text));
	qp_supervisor_reopen_logs(g->supervisor);
	qp_owner_reopen_log(g->owner);
}

/*
 * A restart is to follow: this process goes, data planes and port owner run on. No
 * different from a crash, which loses nothing either.
 */
static _Noreturn void
leave(void)
{
	qp_log(QP_LOG_INFO, "leaving: tunnels run on without a control plane");
	sd_notify(0, "STOPPING=1");
	_exit(0);
}

static void
on_signal(void *ctx, uint32_t events)
{
	struct qp_gateway *g = ctx;
	struct signalfd_siginfo info;

	(void)events;
	if (read(g->signal_fd, &info, sizeof(info)) != (ssize_t)sizeof(info))
		return;
	if (info.ssi_signo == SIGHUP) {
		qp_gateway_on_hangup(g);
		return;
	}
	if (info.ssi_signo == SIGQUIT)
		leave();
	if (info.ssi_signo == SIGUSR2) {
		qp_gateway_upgrade(g);
		return;
	}
	if (info.ssi_signo == SIGUSR1) {
		reopen_files(g);
		return;
	}
	g->owner_end.anew = false; /* whoever wants the end gets it */
	/* No way back to a predecessor; nor does a copy of the lifeline that it has passed hold the port owner. */
	qp_reexec_settle();
	qp_log(QP_LOG_INFO, g->stopping ? "ending at once" : "ending",
		QP_LOG_STR("signal", info.ssi_signo == SIGINT ? "SIGINT" : "SIGTERM"));
	qp_gateway_shutdown(g);
}

static int
watch_signals(struct qp_gateway *g, struct qp_errmsg *msg)
{
	sigset_t set;

	/* Blocked before any thread starts; ^C and TERM must not hit a thread of EAL's. */
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGUSR2);
	sigaddset(&set, SIGQUIT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	g->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (g->signal_fd < 0 ||
		qp_loop_watch(g->loop, &g->signal_watch, g->signal_fd, EPOLLIN, on_signal, g) != 0)
		return qp_fail(msg, QP_E_IO, "cannot watch signals: %s", strerror(errno));
	return 0;
}

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
		.ready = on_owner_ready,
		.failed = qp_gateway_fail,
		.ended = on_owner_ended,
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
	g->enforce = qp_enforce_new(&(struct qp_enforce_config) {.loop = g->loop,
					    .tunnels = g->tunnels,
					    .sender = sender,
					    .has_room = qp_supervisor_has_room,
					    .room_ctx = g->supervisor,
					    .workers = qp_gateway_workers,
					    .workers_ctx = g},
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

static void
on_network(void *ctx, uint32_t events)
{
	struct qp_gateway *g = ctx;

	(void)events;
	g->network.ops->process(g->network.net);
}

static int
open_hostnet(struct qp_gateway *g, struct qp_errmsg *msg)
{
	struct qp_hostnet *host = NULL;
	struct qp_hostnet_config cfg = {
		.state_dir = g->instance.dir,
		.interfaces = g->o->interfaces.n > 0 ? g->o->interfaces.v : NULL,
		.ninterfaces = g->o->interfaces.n,
		.quic_port = qp_sockaddr_port(&g->o->data_plane_addr.sa),
		.public_port = qp_options_public_port(g->o),
		.adopt = g->instance.adopted,
	};
	int err;

	qp_sockaddr_to_in6(&g->o->data_plane_addr.sa, &cfg.quic_addr);
	err = qp_hostnet_open(&cfg, &host, msg);
	if (err == 0)
		g->network = (struct qp_network) {&qp_hostnet_ops, host};
	return err;
}

static int
open_nicnet(struct qp_gateway *g, struct qp_errmsg *msg)
{
	struct qp_nicnet_config cfg = {
		.options = &g->o->nic,
		.forward_addr = g->o->forward_addr,
		.quic_port = qp_sockaddr_port(&g->o->data_plane_addr.sa),
		.public_port = qp_options_public_port(g->o),
		.zone = qp_memory_zone,
	};

	qp_sockaddr_to_in6(&g->o->data_plane_addr.sa, &cfg.quic_addr);
	g->nicnet = qp_nicnet_new(&cfg);
	if (g->nicnet == NULL)
		return qp_fail(msg, QP_E_NOMEM, "out of memory");
	g->network = (struct qp_network) {&qp_nicnet_ops, g->nicnet};
	return 0;
}

static int
open_network(struct qp_gateway *g, struct qp_errmsg *msg)
{
	int err = qp_nic_mode(&g->o->nic) ? open_nicnet(g, msg) : open_hostnet(g, msg), fd;

	if (err == 0)
		qp_gateway_nic_begin(g);
	fd = err == 0 ? g->network.ops->fd(g->network.net) : -1;
	if (fd >= 0 && qp_loop_watch(g->loop, &g->network_watch, fd, EPOLLIN, on_network, g) != 0)
		err = qp_fail(msg, QP_E_IO, "cannot watch interfaces: %s", strerror(errno));
	return err;
}

static int
block_source(void *ctx, const struct qp_msg_network *n, struct qp_errmsg *msg)
{
	struct qp_gateway *g = ctx;

	return g->network.ops->block(g->network.net, n, msg);
}

static void
unblock_source(void *ctx, const struct qp_msg_network *n)
{
	struct qp_gateway *g = ctx;

	(void)g->network.ops->unblock(g->network.net, n);
}

static int
open_blocks(struct qp_gateway *g, struct qp_errmsg *msg)
{
	int err = qp_blocks_new(&(struct qp_blocks_config) {.loop = g->loop,
					.state = g->state,
					.block = block_source,
					.unblock = unblock_source,
					.ctx = g},
		&g->blocks, msg);

	g->admin.blocks = g->blocks;
	return err;
}

/* An address that no interface has would take no connection, and say nothing. */
static int
check_forward_addr(const struct qp_options *o, struct qp_errmsg *msg)
{
	struct qp_sockaddr sa = {.len = sizeof(sa.in6)};
	char text[QP_ADDR_TEXT_BYTES];
	int fd, err;

	/* Of the ports' addresses one was checked with the options. */
	if (IN6_IS_ADDR_UNSPECIFIED(&o->forward_addr) || qp_nic_mode(&o->nic))
		return 0;
	if (IN6_IS_ADDR_V4MAPPED(&o->forward_addr)) {
		sa.in.sin_family = AF_INET;
		memcpy(&sa.in.sin_addr, o->forward_addr.s6_addr + 12, sizeof(sa.in.sin_addr));
		sa.len = sizeof(sa.in);
	} else {
		sa.in6.sin6_family = AF_INET6;
		sa.in6.sin6_addr = o->forward_addr;
	}
	fd = socket(sa.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return qp_fail(msg, QP_E_IO, "socket: %s", strerror(errno));
	err = bind(fd, &sa.sa, sa.len) < 0 ? errno : 0;
	close(fd);
	if (err == 0)
		return 0;
	inet_ntop(AF_INET6, &o->forward_addr, text, sizeof(text));
	if (sa.sa.sa_family == AF_INET)
		inet_ntop(AF_INET, &sa.in.sin_addr, text, sizeof(text));
	return qp_fail(msg, QP_E_INVAL,
		"--forward-addr %s: %s: give an address of this host (ip addr shows them), or "
		"leave it out to answer on all",
		text, err == EADDRNOTAVAIL ? "no interface has it" : strerror(err));
}

/* Before the port owner: what is likely to fail fails without having started anything. */
static int
open_modules(struct qp_gateway *g, struct qp_errmsg *msg)
{
	int err = check_forward_addr(g->o, msg);

	if (err == 0)
		err = qp_gateway_check_lcores(g->o, msg);
	qp_heap_set_budget((uint64_t)g->o->control_plane_heap_mib << 20);
	g->events = qp_events_new();
	if (err == 0 && g->events == NULL)
		err = qp_fail(msg, QP_E_NOMEM, "out of memory");
	if (err == 0)
		err = watch_signals(g, msg);
	if (err == 0)
		err = qp_gateway_open_keeping(g, msg);
	if (err == 0)
		err = qp_gateway_open_clients(g, msg);
	if (err == 0)
		err = qp_gateway_api_listen(g, msg);
	if (err == 0)
		err = open_owner(g, msg);
	if (err == 0)
		err = open_supervisor(g, msg);
	if (err == 0)
		err = open_console(g, msg);
	if (err == 0)
		err = open_services(g, msg);
	if (err == 0)
		err = qp_gateway_api_open(g, msg);
	if (err == 0)
		err = open_network(g, msg);
	if (err == 0)
		err = open_blocks(g, msg);
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

static void
close_modules(struct qp_gateway *g)
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

/* A failure in the middle of the start: what runs already must end before the files go. */
static void
end_what_started(struct qp_gateway *g)
{
	g->stopping = true;
	if (g->instance.adopted) {
		g->leaving = true;
		qp_supervisor_leave(g->supervisor);
		return;
	}
	if (g->owner == NULL)
		return;
	qp_owner_release(g->owner);
	while (qp_owner_alive(g->owner))
		qp_loop_turn(g->loop, -1);
}

/* `*again`: what was to be taken over has died while we started. */
static int
run_once(struct qp_options *o, struct qp_credentials *cred, bool *again, struct qp_errmsg *msg)
{
	struct qp_gateway g = {.o = o,
		.cred = cred,
		.signal_fd = -1,
		.api_fd = -1,
		.api_unix_fd = -1,
		.signal_watch = QP_WATCH_NONE,
		.network_watch = QP_WATCH_NONE,
		.started_ns = qp_now_ns(),
		.msg = msg};

	g.reserved_tcp[g.nreserved_tcp++] = qp_sockaddr_port(&o->private_api_listen.sa);
	if (!o->no_public_api)
		g.reserved_tcp[g.nreserved_tcp++] = qp_options_public_port(o);
	if (qp_instance_open(QP_RUN_DIR, &o->data_plane_addr, &g.instance, msg) != 0)
		return 1;
	g.loop = qp_loop_new();
	if (g.loop == NULL) {
		qp_fail(msg, QP_E_IO, "cannot make an event loop: %s", strerror(errno));
		if (g.instance.adopted)
			qp_instance_leave(&g.instance);
		else
			qp_instance_close(&g.instance);
		return 1;
	}
	qp_watchdog_start(&g.watchdog, g.loop);
	if (open_modules(&g, msg) == 0) {
		qp_gateway_watch_files(&g);
		qp_loop_run(g.loop);
	} else {
		g.status = 1;
		end_what_started(&g);
	}
	if (g.upgrade.state == QP_UPGRADE_GONE) {
		qp_console_close(g.console);
		/* What is kept is written; all else goes with this program, and is told by nobody. */
		qp_gateway_close_keeping(&g);
		(void)qp_reexec_pass(QP_PASS_LOCK, g.instance.lock_fd);
		return QP_GATEWAY_REPLACED;
	}
	close_modules(&g);
	if (g.leaving) {
		*again = !qp_eal_attached() && !qp_instance_lives(&g.instance);
		qp_instance_leave(&g.instance);
		return g.status;
	}
	qp_host_eal_cleanup(g.instance.name);
	qp_instance_close(&g.instance);
	return g.owner_end.anew && g.status == 0 ? QP_GATEWAY_REPLACED : g.status;
}

int
qp_gateway_run(struct qp_options *o, struct qp_credentials *cred, struct qp_errmsg *msg)
{
	bool again;
	int status;

	/* Each time there is less that could die. */
	do {
		again = false;
		status = run_once(o, cred, &again, msg);
	} while (again);
	return status;
}
