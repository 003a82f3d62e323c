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
 * signal. What is opened, and in which order, is gateway_modules.c's; what
 * happens between up and down is gateway_wiring.c's.
 */
#include "controlplane/gateway.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "common/host.h"
#include "controlplane/eal.h"
#include "controlplane/gateway_internal.h"
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

void
qp_gateway_owner_ended(void *ctx, const char *how)
{
	struct qp_gateway *g = ctx;

	if (g->data_planes_ended)
		qp_loop_stop(g->loop);
	else if (!g->stopping)
		qp_gateway_owner_died(g, how);
	qp_gateway_check_owner(g);
}

void
qp_gateway_owner_ready(void *ctx)
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

int
qp_gateway_watch_signals(struct qp_gateway *g, struct qp_errmsg *msg)
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
	if (qp_gateway_open_modules(&g, msg) == 0) {
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
	qp_gateway_close_modules(&g);
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
