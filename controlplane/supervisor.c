/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The supervisor as a whole: its listener, its launcher, its end. Loop thread.
 * Attaching, messages and a data plane's end have files of their own.
 */
#include "controlplane/supervisor.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "controlplane/rendezvous.h"
#include "controlplane/supervisor_internal.h"

struct qp_generation *
qp_supervisor_lookup(const struct qp_supervisor *s, uint32_t server_id)
{
	struct qp_generation *g;

	TAILQ_FOREACH (g, &s->generations, next) {
		if (g->server_id == server_id)
			return g;
	}
	return NULL;
}

static void
on_launch_failed(void *ctx, const char *why)
{
	struct qp_supervisor *s = ctx;

	s->stats.failed_starts++;
	if (qp_supervisor_succession_failed(s, why))
		return;
	if (!s->once_active && !s->shutting_down)
		s->cfg.ops->failed(s->cfg.ctx, why);
}

static void
on_launcher_idle(void *ctx)
{
	struct qp_supervisor *s = ctx;

	if (s->shutting_down && TAILQ_EMPTY(&s->generations))
		s->cfg.ops->all_ended(s->cfg.ctx);
}

static void
on_retry(void *ctx)
{
	(void)ctx; /* that the loop turns is enough */
}

static int
make_launcher(struct qp_supervisor *s, struct qp_errmsg *msg)
{
	const struct qp_launcher_config cfg = {
		.loop = s->cfg.loop,
		.instance = s->cfg.instance->name,
		.hash = s->cfg.instance->hash,
		.workers = s->cfg.workers,
		.nic = s->cfg.nic,
		.busy_poll = s->cfg.busy_poll,
		.log = s->cfg.log,
		.lcores_used = qp_supervisor_lcores_used,
		.cpus_used = qp_supervisor_cpus_used,
		.failed = on_launch_failed,
		.idle = on_launcher_idle,
		.ctx = s,
	};

	return s->cfg.auto_start ? qp_launcher_new(&cfg, &s->launcher, msg) : 0;
}

int
qp_supervisor_new(
	const struct qp_supervisor_config *cfg, struct qp_supervisor **out, struct qp_errmsg *msg)
{
	struct qp_supervisor *s = calloc(1, sizeof(*s));
	int err;

	if (s == NULL)
		return qp_fail(msg, QP_E_NOMEM, "out of memory");
	s->cfg = *cfg;
	s->listen_fd = -1;
	s->doorbell_watch.fd = s->listen_watch.fd = -1;
	TAILQ_INIT(&s->generations);
	s->retry = (struct qp_loop_timer) {.fire = on_retry};
	s->replace_patience = (struct qp_loop_timer) {.fire = qp_supervisor_succession_late, .ctx = s};
	s->hook = (struct qp_loop_hook) {.prepare = qp_supervisor_prepare_sleep,
		.check = qp_supervisor_check_rings,
		.ctx = s};
	qp_loop_hook_add(cfg->loop, &s->hook);
	s->doorbell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	err = s->doorbell < 0 ? qp_fail(msg, QP_E_IO, "cannot make an eventfd: %s", strerror(errno))
			      : qp_rendezvous_listen(cfg->instance->dir, &s->listen_fd, msg);
	if (err == 0 && (qp_loop_watch(cfg->loop, &s->doorbell_watch, s->doorbell, EPOLLIN,
				 qp_supervisor_on_doorbell, s) != 0 ||
				qp_loop_watch(cfg->loop, &s->listen_watch, s->listen_fd, EPOLLIN,
					qp_supervisor_on_connection, s) != 0))
		err = qp_fail(msg, QP_E_IO, "cannot watch control.sock: %s", strerror(errno));
	if (err == 0)
		err = make_launcher(s, msg);
	if (err != 0) {
		qp_supervisor_free(s);
		return err;
	}
	qp_supervisor_watch_health(s);
	*out = s;
	return 0;
}

void
qp_supervisor_free(struct qp_supervisor *s)
{
	if (s == NULL)
		return;
	assert(TAILQ_EMPTY(&s->generations));
	qp_launcher_free(s->launcher);
	qp_loop_timer_cancel(s->cfg.loop, &s->retry);
	qp_loop_timer_cancel(s->cfg.loop, &s->health);
	qp_loop_timer_cancel(s->cfg.loop, &s->replace_patience);
	qp_loop_hook_remove(s->cfg.loop, &s->hook);
	qp_loop_unwatch(s->cfg.loop, &s->doorbell_watch);
	qp_loop_unwatch(s->cfg.loop, &s->listen_watch);
	if (s->doorbell >= 0)
		close(s->doorbell);
	if (s->listen_fd >= 0)
		close(s->listen_fd);
	free(s);
}

int
qp_supervisor_start(struct qp_supervisor *s, struct qp_errmsg *msg)
{
	return s->launcher != NULL ? qp_launcher_start(s->launcher, msg) : 0;
}

void
qp_supervisor_shutdown(struct qp_supervisor *s)
{
	struct qp_generation *g, *next;
	bool attached = false;

	s->shutting_down = true;
	s->replaced = 0;
	qp_loop_timer_cancel(s->cfg.loop, &s->replace_patience);
	for (g = TAILQ_FIRST(&s->generations); g != NULL; g = next) {
		next = TAILQ_NEXT(g, next);
		if (g->server_id == 0 && !g->adopted)
			qp_generation_refuse(g, "the gateway is ending");
		else
			qp_generation_end(g);
	}
	TAILQ_FOREACH (g, &s->generations, next)
		attached |= g->pid == qp_launcher_pid(s->launcher);
	/* A process that has not attached yet has nobody to say goodbye to. */
	qp_launcher_stop(s->launcher, !attached);
	if (TAILQ_EMPTY(&s->generations) && !qp_launcher_busy(s->launcher))
		s->cfg.ops->all_ended(s->cfg.ctx);
}

int
qp_supervisor_end(struct qp_supervisor *s, uint32_t server_id)
{
	struct qp_generation *g = server_id == 0 ? NULL : qp_supervisor_lookup(s, server_id);

	if (g == NULL)
		return QP_E_NOTFOUND;
	if (!g->told_to_end)
		qp_generation_end(g);
	return 0;
}

const struct qp_generation *
qp_supervisor_find(const struct qp_supervisor *s, uint32_t server_id)
{
	return server_id == 0 ? NULL : qp_supervisor_lookup(s, server_id);
}

const struct qp_generations *
qp_supervisor_generations(const struct qp_supervisor *s)
{
	return &s->generations;
}

const struct qp_supervisor_stats *
qp_supervisor_stats(const struct qp_supervisor *s)
{
	return &s->stats;
}

void
qp_supervisor_trouble(const struct qp_supervisor *s, struct qp_launcher_trouble *out)
{
	qp_launcher_trouble(s->launcher, out);
}

void
qp_supervisor_resume(struct qp_supervisor *s, const struct qp_supervisor_stats *stats)
{
	s->stats = *stats;
}

bool
qp_supervisor_serving(const struct qp_supervisor *s)
{
	const struct qp_generation *g;

	TAILQ_FOREACH (g, &s->generations, next) {
		if (g->state == QP_DP_ACTIVE)
			return true;
	}
	return false;
}

void
qp_supervisor_tell_log_levels(struct qp_supervisor *s)
{
	struct qp_generation *g;

	TAILQ_FOREACH (g, &s->generations, next) {
		struct qp_msg m = {.type = QP_MSG_LOG_LEVELS};
		const struct qp_origin to = {.server_id = g->server_id};

		_Static_assert(sizeof(m.log_levels.text) >= QP_LOG_LEVELS_BYTES, "levels fit");
		qp_log_levels_text(m.log_levels.text);
		if (g->link != NULL)
			qp_supervisor_send(s, &to, &m);
	}
}

void
qp_generation_tell_budget(struct qp_generation *g)
{
	struct qp_msg m = {.type = QP_MSG_BUDGET,
		.budget = {.heap_bytes = g->supervisor->cfg.heap_bytes}};
	const struct qp_origin to = {.server_id = g->server_id};

	if (g->link != NULL)
		qp_supervisor_send(g->supervisor, &to, &m);
}

void
qp_supervisor_set_budget(struct qp_supervisor *s, uint64_t heap_bytes)
{
	struct qp_generation *g;

	if (s->cfg.heap_bytes == heap_bytes)
		return;
	s->cfg.heap_bytes = heap_bytes;
	TAILQ_FOREACH (g, &s->generations, next)
		qp_generation_tell_budget(g);
}

void
qp_supervisor_reopen_logs(struct qp_supervisor *s)
{
	struct qp_generation *g;

	TAILQ_FOREACH (g, &s->generations, next) {
		if (g->link != NULL)
			pidfd_send_signal(g->pidfd, SIGUSR1, NULL, 0);
	}
}
