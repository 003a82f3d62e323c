/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Data planes that live and do nothing: a worker that spins, a process that was
 * stopped. Found by their heartbeats, told, killed; the rest is what follows
 * from any death. Loop thread.
 */
#define QP_LOG_MODULE QP_LOG_M_process
#include <signal.h>
#include <stdio.h>

#include "controlplane/crash_report.h"
#include "controlplane/supervisor_internal.h"

/* One that has to share its CPU needs some time for its last words. */
#define LAST_WORDS_LOOKS 4u

/* A /proc that does not show the thread does not tell whether it starves: it gets more time. */
#define UNSEEN_TIMES 5u

/*
 * Whose silence says something. One that starts, or ends, has a patience of its
 * own and does long things; releases before this one do not say who they are.
 */
static bool
is_watched(const struct qp_generation *g)
{
	return g->link != NULL && !g->told_to_end &&
	       (g->state == QP_DP_ACTIVE || g->state == QP_DP_DRAINING);
}

static void
hangs(struct qp_generation *g, const char *who, uint64_t silence, pid_t tid, char state)
{
	struct qp_supervisor *s = g->supervisor;

	snprintf(g->hung, sizeof(g->hung), "%s gave no sign of life for %u ms", who,
		(unsigned)(silence / 1000000u));
	s->stats.hangs++;
	qp_log(QP_LOG_ERROR, "a data plane hangs: it is killed", QP_LOG_HEX("dp_id", g->server_id),
		QP_LOG_I64("pid", g->pid), QP_LOG_STR("reason", g->hung));
	g->threads = qp_threads_text(g->pid);
	/*
	 * A thread that runs can say itself where: SIGABRT makes it write its last
	 * words. Whoever is not gone soon is killed.
	 */
	if (state != 'R' || tgkill(g->pid, tid, SIGABRT) != 0)
		qp_generation_kill(g);
}

/* True: it does not live any more. */
static bool
look_at_thread(struct qp_generation *g, struct qp_heartbeat *h, uint64_t beat_ns, pid_t tid,
	uint64_t now_ns, const char *who)
{
	uint64_t limit_ns = g->supervisor->cfg.hang_timeout_ms * 1000000ull;
	struct qp_thread_sample sample = {.state = '?'};
	uint64_t passed_ns, silence_ns;

	if (beat_ns == 0 || tid == 0 || !qp_heartbeat_quiet(h, beat_ns, now_ns, &passed_ns))
		return false;
	if (!qp_thread_look(g->pid, tid, &sample))
		limit_ns *= UNSEEN_TIMES;
	silence_ns = qp_heartbeat_silence_ns(h, &sample, passed_ns);
	if (silence_ns < limit_ns)
		return false;
	hangs(g, who, silence_ns, tid, sample.state);
	return true;
}

static void
look_at(struct qp_generation *g, uint64_t now_ns)
{
	const struct qp_gen_shared *shared = qp_dp_link_shared(g->link);
	char who[32];

	/* The workers first: when all are stopped, they are whom it matters of. */
	for (unsigned w = 0; w < g->nworkers; w++) {
		const struct qp_worker_door *worker = &shared->door[w];

		snprintf(who, sizeof(who), "worker %u", w);
		if (look_at_thread(g, &g->worker[w].beat, qp_shared_read(&worker->heartbeat_ns),
			    (pid_t)__atomic_load_n(&worker->tid, __ATOMIC_RELAXED), now_ns, who))
			return;
	}
	(void)look_at_thread(g, &g->main_beat, qp_shared_read(&shared->main_heartbeat_ns), g->pid,
		now_ns, "its main thread");
}

static void
on_time(void *ctx)
{
	struct qp_supervisor *s = ctx;
	const uint64_t now_ns = qp_now_ns();
	struct qp_generation *g;

	TAILQ_FOREACH (g, &s->generations, next) {
		if (g->hung[0] != '\0' && ++g->hung_looks >= LAST_WORDS_LOOKS)
			qp_generation_kill(g);
		else if (g->hung[0] != '\0')
			continue;
		else if (is_watched(g))
			look_at(g, now_ns);
	}
	qp_loop_timer_set(s->cfg.loop, &s->health, QP_HEARTBEAT_EVERY_MS);
}

void
qp_supervisor_watch_health(struct qp_supervisor *s)
{
	s->health = (struct qp_loop_timer) {.fire = on_time, .ctx = s};
	if (s->cfg.hang_timeout_ms != 0)
		on_time(s);
}
