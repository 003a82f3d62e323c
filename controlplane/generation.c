/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a data plane ends: asked to, given up, dead. Loop thread. It is dead when
 * its process is; its socket's end only says that it is about to be.
 */
#define QP_LOG_MODULE QP_LOG_M_process
#include "controlplane/generation.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "controlplane/memory.h"
#include "controlplane/supervisor_internal.h"

const char *
qp_generation_state_name(enum qp_dp_state state)
{
	switch (state) {
	case QP_DP_STARTING:
		return "STARTING";
	case QP_DP_ACTIVE:
		return "ACTIVE";
	case QP_DP_DRAINING:
		return "DRAINING";
	case QP_DP_TERMINATED:
		return "TERMINATED";
	}
	return "UNKNOWN";
}

void
qp_generation_free(struct qp_generation *g)
{
	qp_loop_unwatch(g->supervisor->cfg.loop, &g->watch);
	qp_loop_unwatch(g->supervisor->cfg.loop, &g->process_watch);
	qp_loop_timer_cancel(g->supervisor->cfg.loop, &g->patience);
	qp_loop_timer_cancel(g->supervisor->cfg.loop, &g->drain_timeout);
	if (g->fd >= 0)
		close(g->fd);
	if (g->pidfd >= 0)
		close(g->pidfd);
	for (unsigned w = 0; w < g->nworkers; w++) {
		if (g->doorbell[w] >= 0)
			close(g->doorbell[w]);
	}
	qp_dp_link_close(g->link);
	free(g->threads);
	free(g);
}

/* As of waitpid; a predecessor's child may not tell us. */
static int
status_of(const struct qp_generation *g)
{
	const int status = qp_proc_peek(g->pidfd);

	return status != QP_STATUS_UNKNOWN ? status
					   : qp_launcher_status(g->supervisor->launcher, g->pid);
}

/* Told to, or drained and without a tunnel. Its shared block can still be read. */
static bool
ended_well(const struct qp_generation *g, int status)
{
	uint64_t tunnels = 0;

	if (status != QP_STATUS_UNKNOWN && WIFSIGNALED(status) && !g->told_to_end)
		return false;
	if (g->told_to_end || !g->drained || g->link == NULL)
		return g->told_to_end;
	for (unsigned w = 0; w < g->nworkers; w++)
		tunnels += qp_shared_count(qp_dp_link_view(g->link), w,
			offsetof(struct qp_worker_shared, c.tunnels_active));
	return tunnels == 0;
}

/* The launcher waits for its child by itself; one that it has let go of is nobody's. */
static void
reap(const struct qp_generation *g)
{
	siginfo_t info;

	if (g->pid != qp_launcher_pid(g->supervisor->launcher))
		(void)waitid(P_PIDFD, (id_t)g->pidfd, &info, WEXITED | WNOHANG);
}

/* One that ran before us has served, whatever we know of it. */
static bool
has_served(const struct qp_generation *g)
{
	return g->adopted || g->state != QP_DP_STARTING;
}

static void
log_end(const struct qp_generation *g, bool served, bool well)
{
	if (!served)
		qp_log(QP_LOG_WARN, "a data plane ended before it served",
			QP_LOG_HEX("dp_id", g->server_id), QP_LOG_I64("pid", g->pid));
	else if (well)
		qp_log(QP_LOG_INFO, "data plane ended", QP_LOG_HEX("dp_id", g->server_id));
	else
		qp_log(QP_LOG_ERROR, "data plane died: its tunnels are gone",
			QP_LOG_HEX("dp_id", g->server_id), QP_LOG_I64("pid", g->pid),
			QP_LOG_STR("how", g->how));
}

/* Its process is gone. */
void
qp_generation_process_ended(void *ctx, uint32_t events)
{
	struct qp_generation *g = ctx;
	struct qp_supervisor *s = g->supervisor;
	uint32_t server_id = g->server_id;
	const int status = status_of(g);
	bool served, well;

	(void)events;
	reap(g);
	TAILQ_REMOVE(&s->generations, g, next);
	if (server_id == 0 && g->adopted) {
		qp_log(QP_LOG_ERROR, "a data plane died before it could be taken over",
			QP_LOG_I64("pid", g->pid));
		s->stats.deaths += !g->told_to_end;
		qp_instance_remove_process(s->cfg.instance, g->pid);
	}
	if (server_id != 0) {
		served = has_served(g);
		g->state = QP_DP_TERMINATED;
		well = ended_well(g, status);
		s->stats.deaths += served && !well;
		if (!well)
			qp_proc_status_text(status, g->how);
		/* One that ends by itself before it serves has said why. */
		g->crashed = !well && (served || (status != QP_STATUS_UNKNOWN && WIFSIGNALED(status)));
		s->cfg.ops->ended(s->cfg.ctx, g);
		qp_instance_remove_process(s->cfg.instance, g->pid);
		qp_dp_link_close(g->link);
		g->link = NULL;
		log_end(g, served, well);
		s->cfg.ops->remains(s->cfg.ctx, server_id, false);
		s->cfg.ops->free_memory(s->cfg.ctx, server_id);
	}
	qp_generation_free(g);
	qp_supervisor_check_adopted(s);
	qp_supervisor_refill(s);
	if (s->shutting_down && TAILQ_EMPTY(&s->generations) && !qp_launcher_busy(s->launcher))
		s->cfg.ops->all_ended(s->cfg.ctx);
}

void
qp_generation_kill(struct qp_generation *g)
{
	/* By pidfd: a recycled pid is never hit. */
	if (pidfd_send_signal(g->pidfd, SIGKILL, NULL, 0) != 0 && errno != ESRCH)
		qp_log(QP_LOG_ERROR, "cannot kill the data plane", QP_LOG_I64("pid", g->pid),
			QP_LOG_ERRNO(errno));
}

void
qp_generation_patience_over(void *ctx)
{
	struct qp_generation *g = ctx;

	qp_log(QP_LOG_WARN, "data plane takes too long: it is killed",
		QP_LOG_HEX("dp_id", g->server_id),
		QP_LOG_STR("state", qp_generation_state_name(g->state)));
	qp_generation_kill(g);
}

/* It cannot serve. The first one's reason is the gateway's. */
void
qp_generation_give_up(struct qp_generation *g, const char *why)
{
	struct qp_supervisor *s = g->supervisor;

	qp_loop_unwatch(s->cfg.loop, &g->watch); /* whatever it still says, its process's end comes next */
	qp_log(QP_LOG_ERROR, "data plane cannot serve", QP_LOG_HEX("dp_id", g->server_id),
		QP_LOG_STR("reason", why));
	qp_supervisor_note_failure(s, g->pid, why);
	qp_generation_kill(g);
	if (!s->once_active && !s->shutting_down && s->cfg.auto_start)
		s->cfg.ops->failed(s->cfg.ctx, why);
}

void
qp_generation_end(struct qp_generation *g)
{
	struct qp_supervisor *s = g->supervisor;

	if (g->told_to_end) {
		qp_generation_kill(g);
		return;
	}
	g->told_to_end = true;
	if (g->state == QP_DP_ACTIVE)
		g->state = QP_DP_DRAINING;
	if (g->adopted && g->server_id == 0) { /* it has not found us: a signal reaches it */
		pidfd_send_signal(g->pidfd, SIGTERM, NULL, 0);
		qp_loop_timer_set(s->cfg.loop, &g->patience, QP_END_PATIENCE_MS);
		return;
	}
	if (g->link == NULL) { /* it does not listen yet, and has no tunnels */
		qp_generation_kill(g);
		return;
	}
	for (unsigned w = 0; w < g->nworkers; w++) {
		struct qp_msg m = {.type = QP_MSG_SHUTDOWN};

		if (qp_dp_link_send(g->link, w, &m) != 0)
			qp_generation_kill(g); /* a ring that full is not read */
	}
	qp_loop_timer_set(s->cfg.loop, &g->patience, QP_END_PATIENCE_MS);
}
