/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rings of all data planes: messages taken in turns, answers sent, the
 * doorbell around the loop's sleep. Loop thread. A worker's requests are taken
 * only while its ring has room for the answers, so that none is ever lost.
 */
#define QP_LOG_MODULE QP_LOG_M_process
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "controlplane/supervisor_internal.h"

/* Messages taken from a worker in a turn, so that no worker keeps the loop to itself. */
#define BATCH 64u
/*
 * A request causes at most so many answers: a client's proof its limits, their
 * networks, a verdict and an end. What we send by ourselves waits for more room.
 */
#define ANSWERS 7u
#define ANSWER_ROOM (ANSWERS * BATCH)
/* How soon a worker whose ring was full is looked at again: nobody rings when it drains. */
#define RETRY_MS 1u

static void
on_hello(struct qp_generation *g, unsigned worker, const struct qp_msg *m)
{
	struct qp_supervisor *s = g->supervisor;
	struct qp_msg_hello hello = m->hello;
	struct qp_errmsg msg;

	hello.why[sizeof(hello.why) - 1] = '\0';
	/* One that was told to end meanwhile has a patience for that, and takes nobody's place. */
	if (g->told_to_end || g->worker[worker].ifindex != 0 || g->state != QP_DP_STARTING)
		return;
	if (hello.ok != 1 || hello.ifindex == 0) {
		qp_generation_give_up(
			g, hello.ok != 1 ? hello.why : "it names no network interface");
		return;
	}
	g->worker[worker].ifindex = hello.ifindex;
	memcpy(g->worker[worker].mac, hello.mac, sizeof(hello.mac));
	g->worker[worker].takes_over = hello.takes_over == 1;
	if (s->cfg.ops->worker_up(s->cfg.ctx, g, worker, &msg) != 0) {
		qp_generation_give_up(g, msg.text);
		return;
	}
	if (++g->nworkers_up < g->nworkers)
		return;
	qp_loop_timer_cancel(s->cfg.loop, &g->patience);
	if (!qp_generation_takes_clients(g)) {
		qp_generation_drain(g);
		return;
	}
	if (s->cfg.ops->activate(s->cfg.ctx, g, &msg) != 0) {
		qp_generation_give_up(g, msg.text);
		return;
	}
	g->state = QP_DP_ACTIVE;
	s->once_active = true;
	qp_launcher_succeeded(s->launcher);
	s->cfg.ops->active(s->cfg.ctx, g);
	qp_supervisor_succeeded(s, g);
}

/* True: there is more, and room for the answers. */
static bool
has_work(const struct qp_generation *g, unsigned worker)
{
	return qp_dp_link_pending(g->link, worker) &&
	       qp_dp_link_room(g->link, worker) >= ANSWER_ROOM;
}

static void
take_messages(struct qp_generation *g, unsigned worker)
{
	struct qp_supervisor *s = g->supervisor;
	struct qp_msg m;

	for (unsigned i = 0; i < BATCH && has_work(g, worker); i++) {
		struct qp_origin from = {.server_id = g->server_id, .worker = (uint16_t)worker};

		if (!qp_dp_link_receive(g->link, worker, &m))
			return;
		from.id = m.id;
		if (m.type == QP_MSG_HELLO)
			on_hello(g, worker, &m);
		else if (m.type == QP_MSG_REPLAY_END)
			qp_generation_replayed(g);
		else if (m.type != 0)
			s->cfg.ops->message(s->cfg.ctx, &from, &m);
		else
			s->stats.messages_ignored++;
	}
}

void
qp_supervisor_check_rings(void *ctx)
{
	struct qp_supervisor *s = ctx;
	struct qp_generation *g;

	TAILQ_FOREACH (g, &s->generations, next) {
		if (g->link == NULL)
			continue;
		qp_dp_link_wake(g->link);
		if (g->undrained != 0)
			(void)qp_generation_say_drain(g);
		for (unsigned w = 0; w < g->nworkers; w++)
			take_messages(g, w);
	}
}

bool
qp_supervisor_prepare_sleep(void *ctx)
{
	struct qp_supervisor *s = ctx;
	struct qp_generation *g;
	bool work = false;

	TAILQ_FOREACH (g, &s->generations, next) {
		if (g->link == NULL)
			continue;
		qp_dp_link_sleep(g->link);
		if (g->undrained != 0 && !s->retry.armed)
			qp_loop_timer_set(s->cfg.loop, &s->retry, RETRY_MS);
		for (unsigned w = 0; w < g->nworkers; w++) {
			if (has_work(g, w))
				work = true;
			else if (qp_dp_link_pending(g->link, w) && !s->retry.armed)
				qp_loop_timer_set(s->cfg.loop, &s->retry, RETRY_MS);
		}
	}
	return work;
}

void
qp_supervisor_on_doorbell(void *ctx, uint32_t events)
{
	struct qp_supervisor *s = ctx;
	uint64_t rings;

	(void)events;
	/* The rings are looked at in each turn; this only ends the sleep. */
	if (read(s->doorbell, &rings, sizeof(rings)) < 0 && errno != EAGAIN)
		qp_log(QP_LOG_WARN, "the doorbell is broken", QP_LOG_ERRNO(errno));
}

void
qp_supervisor_send(void *ctx, const struct qp_origin *to, struct qp_msg *m)
{
	struct qp_supervisor *s = ctx;
	struct qp_generation *g = qp_supervisor_lookup(s, to->server_id);

	if (g == NULL || g->link == NULL || to->worker >= g->nworkers)
		return;
	m->id = to->id;
	if (qp_dp_link_send(g->link, to->worker, m) == QP_E_FULL)
		s->stats.messages_dropped++;
}

bool
qp_supervisor_has_room(void *ctx, const struct qp_origin *to)
{
	struct qp_generation *g = qp_supervisor_lookup(ctx, to->server_id);

	return g != NULL && g->link != NULL && to->worker < g->nworkers &&
	       qp_dp_link_room(g->link, to->worker) > QP_RING_MESSAGES / 2;
}
