/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A data plane hands over to a successor: that one is started beside it, and
 * when it serves the first one drains. Until then nothing changes, so that a
 * successor that cannot start costs nobody a tunnel. Loop thread.
 */
#define QP_LOG_MODULE QP_LOG_M_process
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "controlplane/memory.h"
#include "controlplane/supervisor_internal.h"

/* Rings, timers and what is no mempool come on top. */
#define MEMORY_SLACK (1024u * 1024)
#define RETIRE_AGAIN_MS 100u /* a ring had no room for RETIRE */
/* After the grace, for goodbyes, and for tunnels by the thousand, which leave one after the other. */
#define RETIRE_PATIENCE_MS 10000u

static int
check_memory(const struct qp_supervisor *s, const struct qp_generation *g, struct qp_errmsg *msg)
{
	uint64_t need, left;

	if (!qp_memory_usage(g->server_id, &need, &left))
		return qp_fail(msg, QP_E_INUSE,
			"the port owner does not answer, no data plane can be started: if that stays "
			"so, quicport admin replace-port-owner");
	need = need / g->nworkers * s->cfg.workers;
	if (need + MEMORY_SLACK <= left)
		return 0;
	return qp_fail(msg, QP_E_NOMEM,
		"another data plane needs %llu MiB of hugepage memory and %llu MiB are free: raise "
		"--memory",
		(unsigned long long)((need + MEMORY_SLACK) >> 20) + 1,
		(unsigned long long)(left >> 20));
}

const struct qp_generation *
qp_supervisor_active(const struct qp_supervisor *s)
{
	const struct qp_generation *g;

	TAILQ_FOREACH (g, &s->generations, next) {
		if (g->state == QP_DP_ACTIVE && !g->told_to_end)
			return g;
	}
	return NULL;
}

bool
qp_supervisor_handing_over(const struct qp_supervisor *s)
{
	return s->replaced != 0;
}

int
qp_supervisor_may_drain(const struct qp_supervisor *s, uint32_t server_id, struct qp_errmsg *msg)
{
	const struct qp_generation *g = qp_supervisor_find(s, server_id), *other;

	if (g == NULL)
		return qp_fail(msg, QP_E_NOTFOUND, "no data plane has this id");
	if (s->shutting_down)
		return qp_fail(msg, QP_E_INUSE, "the gateway is ending");
	if (s->adopting)
		return qp_fail(msg, QP_E_INUSE, "data planes are being taken over");
	if (g->state == QP_DP_DRAINING || g->told_to_end)
		return qp_fail(msg, QP_E_INUSE, "the data plane is draining already");
	if (g->state != QP_DP_ACTIVE)
		return qp_fail(msg, QP_E_INUSE, "the data plane is starting");
	TAILQ_FOREACH (other, &s->generations, next) {
		if (other->state == QP_DP_STARTING)
			break;
	}
	if (s->replaced != 0 || other != NULL)
		return qp_fail(msg, QP_E_INUSE, "another data plane is starting");
	if (s->launcher == NULL)
		return qp_fail(msg, QP_E_UNSUPPORTED,
			"this gateway starts no data planes (--no-auto-dataplane)");
	return 0;
}

void
qp_supervisor_configure(struct qp_supervisor *s, unsigned workers, bool busy_poll)
{
	s->cfg.workers = workers;
	s->cfg.busy_poll = busy_poll;
	qp_launcher_configure(s->launcher, workers, busy_poll);
}

void
qp_supervisor_hold(struct qp_supervisor *s, bool stopped)
{
	qp_launcher_hold(s->launcher, stopped);
}

int
qp_supervisor_drain(struct qp_supervisor *s, uint32_t server_id, struct qp_errmsg *msg)
{
	int err = qp_supervisor_may_drain(s, server_id, msg);

	if (err == 0)
		err = check_memory(s, qp_supervisor_lookup(s, server_id), msg);
	if (err == 0)
		err = qp_launcher_succeed(s->launcher, msg);
	if (err != 0)
		return err;
	s->replaced = server_id;
	s->replace_why[0] = '\0';
	qp_loop_timer_set(s->cfg.loop, &s->replace_patience, QP_START_PATIENCE_MS);
	qp_log(QP_LOG_INFO, "a new data plane is started: this one drains when that one serves",
		QP_LOG_HEX("dp_id", server_id));
	return 0;
}

void
qp_supervisor_note_failure(struct qp_supervisor *s, pid_t pid, const char *why)
{
	if (s->replaced != 0 && pid == qp_launcher_pid(s->launcher) && s->replace_why[0] == '\0')
		snprintf(s->replace_why, sizeof(s->replace_why), "%s", why);
}

void
qp_supervisor_succession_late(void *ctx)
{
	struct qp_supervisor *s = ctx;

	qp_supervisor_note_failure(s, qp_launcher_pid(s->launcher), "it takes too long to start");
	qp_launcher_kill(s->launcher); /* what follows happens when its process has ended */
}

bool
qp_supervisor_succession_failed(struct qp_supervisor *s, const char *why)
{
	const uint32_t id = s->replaced;

	if (id == 0)
		return false;
	s->replaced = 0;
	qp_loop_timer_cancel(s->cfg.loop, &s->replace_patience);
	if (s->replace_why[0] != '\0')
		why = s->replace_why;
	s->cfg.ops->drain_failed(s->cfg.ctx, qp_supervisor_lookup(s, id), why);
	qp_supervisor_refill(s); /* it may have ended meanwhile */
	return true;
}

/* How long it drains already, whichever control plane saw the beginning. */
static uint64_t
drained_ms(const struct qp_generation *g)
{
	return (qp_now_ns() - g->draining_since_ns) / 1000000u;
}

/* Until `at_ms` after the beginning. */
static void
arm_drain_timeout(struct qp_generation *g, uint64_t at_ms)
{
	const uint64_t spent_ms = drained_ms(g);

	qp_loop_timer_set(g->supervisor->cfg.loop, &g->drain_timeout,
		spent_ms < at_ms ? (unsigned)(at_ms - spent_ms) : 0);
}

/* Its tunnels leave in good order. False: a ring is full. */
static bool
retire(struct qp_generation *g, uint64_t all_at_ms)
{
	const uint64_t spent_ms = drained_ms(g);
	bool told = true;

	for (unsigned w = 0; w < g->nworkers; w++) {
		struct qp_msg m = {.type = QP_MSG_RETIRE,
			.retire = {.idle_ms = QP_RETIRE_IDLE_MS,
				.grace_ms = all_at_ms > spent_ms ? (uint32_t)(all_at_ms - spent_ms) : 0}};

		told &= qp_dp_link_send(g->link, w, &m) != QP_E_FULL;
	}
	return told;
}

static void
on_drain_timeout(void *ctx)
{
	struct qp_generation *g = ctx;
	const struct qp_supervisor_config *cfg = &g->supervisor->cfg;
	const uint64_t all_at_ms = (cfg->drain_timeout_s + (uint64_t)cfg->drain_grace_s) * 1000u;

	if (g->told_to_end)
		return;
	if (g->retiring) {
		qp_log(QP_LOG_WARN, "a data plane has tunnels left after its grace: it is ended",
			QP_LOG_HEX("dp_id", g->server_id));
		qp_generation_end(g);
		return;
	}
	g->retiring = retire(g, all_at_ms);
	if (!g->retiring) {
		qp_loop_timer_set(cfg->loop, &g->drain_timeout, RETIRE_AGAIN_MS);
		return;
	}
	qp_log(QP_LOG_WARN, "a data plane has drained for the drain timeout: its tunnels are sent away",
		QP_LOG_HEX("dp_id", g->server_id), QP_LOG_U64("grace_s", cfg->drain_grace_s));
	arm_drain_timeout(g, all_at_ms + RETIRE_PATIENCE_MS);
}

static void
begin_drain_timeout(struct qp_generation *g)
{
	struct qp_supervisor *s = g->supervisor;

	g->retiring = false;
	if (s->cfg.drain_timeout_s == 0)
		qp_loop_timer_cancel(s->cfg.loop, &g->drain_timeout);
	else
		arm_drain_timeout(g, s->cfg.drain_timeout_s * UINT64_C(1000));
}

void
qp_supervisor_set_drain_timeout(struct qp_supervisor *s, uint32_t seconds, uint32_t grace_s)
{
	struct qp_generation *g;

	if (s->cfg.drain_timeout_s == seconds && s->cfg.drain_grace_s == grace_s)
		return;
	s->cfg.drain_timeout_s = seconds;
	s->cfg.drain_grace_s = grace_s;
	TAILQ_FOREACH (g, &s->generations, next) {
		if (g->state == QP_DP_DRAINING && !g->told_to_end)
			begin_drain_timeout(g);
	}
}

/* A predecessor of ours may have seen it, and written it down. */
static void
note_beginning(struct qp_generation *g)
{
	const uint64_t now = qp_now_ns();
	uint64_t since = qp_shared_read(&qp_dp_link_shared(g->link)->draining_since_ns);

	if (since == 0 || since > now)
		since = now;
	g->draining_since_ns = since;
	qp_dp_link_note_draining(g->link, since);
}

bool
qp_generation_say_drain(struct qp_generation *g)
{
	for (unsigned w = 0; w < g->nworkers; w++) {
		struct qp_msg m = {.type = QP_MSG_DRAIN};

		if ((g->undrained & 1u << w) != 0 && qp_dp_link_send(g->link, w, &m) != QP_E_FULL)
			g->undrained &= ~(1u << w);
	}
	return g->undrained != 0;
}

void
qp_generation_drain(struct qp_generation *g)
{
	struct qp_supervisor *s = g->supervisor;

	if (g->state == QP_DP_DRAINING)
		return;
	g->state = QP_DP_DRAINING;
	g->drained = true;
	g->undrained = (1u << g->nworkers) - 1;
	(void)qp_generation_say_drain(g);
	note_beginning(g);
	g->drain_timeout = (struct qp_loop_timer) {.fire = on_drain_timeout, .ctx = g};
	begin_drain_timeout(g);
	s->cfg.ops->draining(s->cfg.ctx, g);
}

void
qp_supervisor_succeeded(struct qp_supervisor *s, struct qp_generation *g)
{
	const bool handed_over = s->replaced != 0;
	struct qp_generation *other;

	s->replaced = 0;
	qp_loop_timer_cancel(s->cfg.loop, &s->replace_patience);
	TAILQ_FOREACH (other, &s->generations, next) {
		if (other != g && other->state == QP_DP_ACTIVE)
			qp_generation_drain(other);
	}
	s->cfg.ops->settled(s->cfg.ctx, handed_over);
}

bool
qp_supervisor_lcores_used(void *ctx, uint32_t base, uint32_t n)
{
	const struct qp_supervisor *s = ctx;
	const struct qp_generation *g;

	TAILQ_FOREACH (g, &s->generations, next) {
		if (g->lcore_base != 0 && base <= g->lcore_base + g->nworkers &&
			g->lcore_base < base + n)
			return true;
	}
	return false;
}

/* Asked of the kernel, since a predecessor of ours may have chosen it. */
static void
count_cpu(pid_t tid, unsigned used[QP_MAX_CPUS])
{
	cpu_set_t set;

	if (tid == 0 || sched_getaffinity(tid, sizeof(set), &set) != 0 || CPU_COUNT(&set) != 1)
		return;
	for (unsigned cpu = 0; cpu < QP_MAX_CPUS && cpu < CPU_SETSIZE; cpu++)
		used[cpu] += CPU_ISSET(cpu, &set) != 0;
}

void
qp_supervisor_cpus_used(void *ctx, unsigned used[QP_MAX_CPUS])
{
	const struct qp_supervisor *s = ctx;
	const struct qp_generation *g;

	TAILQ_FOREACH (g, &s->generations, next) {
		for (unsigned w = 0; g->link != NULL && w < g->nworkers; w++)
			count_cpu((pid_t)qp_dp_link_shared(g->link)->door[w].tid, used);
	}
}
