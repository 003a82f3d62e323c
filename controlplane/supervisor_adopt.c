/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Data planes that a predecessor of this control plane started. They run on and
 * look for us; each brings its id and tells its tunnels. Loop thread. One that
 * does not come in time cannot serve any more and is killed.
 */
#define QP_LOG_MODULE QP_LOG_M_process
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "controlplane/memory.h"
#include "controlplane/supervisor_internal.h"

/* They try many times a second; a machine that is busy with other things needs longer. */
#define ADOPT_PATIENCE_MS 10000u

static int
await(struct qp_supervisor *s, const struct qp_proc_id *id, struct qp_errmsg *msg)
{
	struct qp_generation *g = calloc(1, sizeof(*g));

	if (g == NULL)
		return qp_fail(msg, QP_E_NOMEM, "out of memory");
	*g = (struct qp_generation) {.supervisor = s, .state = QP_DP_STARTING, .adopted = true,
		.pid = id->pid, .fd = -1, .pidfd = pidfd_open(id->pid, 0), .watch = QP_WATCH_NONE,
		.process_watch = QP_WATCH_NONE,
		.patience = {.fire = qp_generation_patience_over, .ctx = g}};
	/* One that has ended meanwhile is heard of by its pidfd, like one that ends later. */
	if (g->pidfd < 0 || qp_loop_watch(s->cfg.loop, &g->process_watch, g->pidfd, EPOLLIN,
				    qp_generation_process_ended, g) != 0) {
		qp_instance_remove_process(s->cfg.instance, id->pid);
		qp_generation_free(g);
		return 0;
	}
	qp_loop_timer_set(s->cfg.loop, &g->patience, ADOPT_PATIENCE_MS);
	TAILQ_INSERT_TAIL(&s->generations, g, next);
	return 0;
}

int
qp_supervisor_adopt(struct qp_supervisor *s, struct qp_errmsg *msg)
{
	const struct qp_instance *inst = s->cfg.instance;
	struct qp_proc_id ids[QP_INSTANCE_MAX_PROCESSES];
	const unsigned n = inst->nprocesses;
	int err = 0;

	memcpy(ids, inst->processes, sizeof(ids)); /* `await` may remove some */
	s->adopting = true;
	s->once_active = true; /* a launch that fails is tried again: tunnels depend on us */
	for (unsigned i = 0; err == 0 && i < n; i++) {
		if (strcmp(ids[i].program, QP_DATA_PLANE_PROGRAM) == 0)
			err = await(s, &ids[i], msg);
	}
	if (err == 0 && TAILQ_EMPTY(&s->generations))
		err = qp_fail(msg, QP_E_NOTFOUND, "the data plane has just ended");
	return err;
}

bool
qp_supervisor_adopting(const struct qp_supervisor *s)
{
	return s->adopting;
}

/* The launcher's, when it has an id. */
static bool
is_known(const struct qp_supervisor *s, pid_t pid)
{
	const struct qp_generation *g;

	TAILQ_FOREACH (g, &s->generations, next) {
		if (g->server_id != 0 && g->pid == pid)
			return true;
	}
	return false;
}

/* Its process has not asked for an id yet, or will be there in a moment. */
static bool
is_launching(const struct qp_supervisor *s)
{
	const pid_t pid = qp_launcher_pid(s->launcher);

	return s->launcher != NULL && (!s->once_active || qp_launcher_soon(s->launcher) ||
					      (pid != 0 && !is_known(s, pid)));
}

bool
qp_supervisor_settled(const struct qp_supervisor *s)
{
	const struct qp_generation *g;

	if (s->adopting || s->replaced != 0 || is_launching(s))
		return false;
	TAILQ_FOREACH (g, &s->generations, next) {
		if (g->state == QP_DP_STARTING)
			return false;
	}
	return true;
}

void
qp_supervisor_leave(struct qp_supervisor *s)
{
	struct qp_generation *g;

	if (s != NULL && !is_known(s, qp_launcher_pid(s->launcher)))
		qp_launcher_abort(s->launcher);
	while (s != NULL && (g = TAILQ_FIRST(&s->generations)) != NULL) {
		TAILQ_REMOVE(&s->generations, g, next);
		qp_generation_free(g);
	}
}

struct qp_generation *
qp_supervisor_awaited(const struct qp_supervisor *s, pid_t pid)
{
	struct qp_generation *g;

	TAILQ_FOREACH (g, &s->generations, next) {
		if (g->adopted && g->server_id == 0 && g->pid == pid)
			return g;
	}
	return NULL;
}

const char *
qp_generation_adopt(struct qp_generation *g, const struct qp_attach *req, int lifeline)
{
	struct qp_supervisor *s = g->supervisor;
	struct qp_generation *awaited = qp_supervisor_awaited(s, g->pid);

	/* First of all: what a stranger brings is no lifeline. */
	if (awaited == NULL) {
		close(lifeline);
		return "it is none of this gateway's data planes";
	}
	if (s->cfg.lifeline_fd < 0) {
		s->cfg.lifeline_fd = lifeline;
		s->cfg.ops->lifeline(s->cfg.ctx, lifeline);
	} else {
		close(lifeline);
	}
	if (s->shutting_down)
		return "the gateway is ending";
	if (req->server_id > UINT16_MAX || qp_supervisor_lookup(s, req->server_id) != NULL)
		return "its id is another data plane's";
	TAILQ_REMOVE(&s->generations, awaited, next);
	qp_generation_free(awaited);
	g->adopted = true;
	g->server_id = req->server_id;
	qp_launcher_skip(s->launcher, g->lcore_base);
	return NULL;
}

int
qp_generation_ask_replay(struct qp_generation *g)
{
	int err = 0;

	g->started_at = qp_dp_link_shared(g->link)->started_at;
	g->drained = qp_dp_link_shared(g->link)->state == QP_DP_DRAINING;
	g->nreplaying = g->nworkers;
	for (unsigned w = 0; err == 0 && w < g->nworkers; w++) {
		struct qp_msg m = {.type = QP_MSG_REPLAY};

		err = qp_dp_link_send(g->link, w, &m);
	}
	return err;
}

/* Of data planes that died while no control plane was there to see it. */
static void
reclaim_dead(const struct qp_supervisor *s)
{
	uint32_t id[16];
	const unsigned n = qp_memory_list(id);

	for (unsigned i = 0; i < n; i++) {
		if (qp_supervisor_lookup(s, id[i]) != NULL)
			continue;
		s->cfg.ops->remains(s->cfg.ctx, id[i], true);
		qp_log(QP_LOG_WARN, "a data plane died meanwhile: its memory is freed",
			QP_LOG_HEX("dp_id", id[i]));
		s->cfg.ops->free_memory(s->cfg.ctx, id[i]);
	}
}

void
qp_supervisor_check_adopted(struct qp_supervisor *s)
{
	const struct qp_generation *g;

	if (!s->adopting)
		return;
	TAILQ_FOREACH (g, &s->generations, next) {
		if (g->adopted && (g->link == NULL || g->nreplaying > 0))
			return;
	}
	s->adopting = false;
	if (!s->shutting_down)
		s->cfg.ops->adopted(s->cfg.ctx);
	reclaim_dead(s);
	qp_supervisor_refill(s); /* those that are left may all be draining */
}

void
qp_generation_replayed(struct qp_generation *g)
{
	if (g->nreplaying == 0)
		return;
	if (--g->nreplaying == 0)
		qp_supervisor_check_adopted(g->supervisor);
}

/* Two may have started within the same second, but one was written down after the other. */
static int
place_of(const struct qp_generation *g)
{
	return qp_instance_place(g->supervisor->cfg.instance, g->pid);
}

bool
qp_generation_takes_clients(const struct qp_generation *g)
{
	const struct qp_generation *other;

	if (!g->adopted || g->drained)
		return !g->drained;
	/* Its successor was there when our predecessor was killed: before it said DRAIN. */
	TAILQ_FOREACH (other, &g->supervisor->generations, next) {
		if (other->state == QP_DP_ACTIVE && place_of(other) > place_of(g))
			return false;
	}
	return true;
}

void
qp_supervisor_refill(struct qp_supervisor *s)
{
	const struct qp_generation *g;

	/* Nobody has brought the lifeline: the port owner ends, and so shall we. */
	if (s->cfg.lifeline_fd < 0)
		return;
	if (s->shutting_down || s->launcher == NULL || qp_launcher_busy(s->launcher))
		return;
	TAILQ_FOREACH (g, &s->generations, next) {
		if (g->state == QP_DP_ACTIVE || (g->state == QP_DP_STARTING && g->server_id != 0) ||
			(g->adopted && g->server_id == 0))
			return;
	}
	qp_launcher_refill(s->launcher);
}
