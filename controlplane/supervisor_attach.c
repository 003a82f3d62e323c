/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A data plane attaches: connection, request, its memory, its rings. Loop
 * thread. The messages themselves are rendezvous.c's.
 */
#define QP_LOG_MODULE QP_LOG_M_process
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <time.h>
#include <unistd.h>

#include "controlplane/rendezvous.h"
#include "controlplane/supervisor_internal.h"

/* Between the end of a data plane's socket and its end. */
#define LINGER_MS 500u
/* Ids below could be mistaken for a worker's index in the names of shared memory. */
#define FIRST_SERVER_ID 256u

static void
close_doorbells(struct qp_generation *g)
{
	for (unsigned w = 0; w < g->nworkers; w++) {
		if (g->doorbell[w] >= 0)
			close(g->doorbell[w]);
		g->doorbell[w] = -1;
	}
}

static void
on_socket_end(struct qp_generation *g)
{
	struct qp_supervisor *s = g->supervisor;

	qp_loop_unwatch(s->cfg.loop, &g->watch);
	close(g->fd);
	g->fd = -1;
	if (g->adopted && g->link == NULL) { /* our answer was too late for it: it comes again */
		close_doorbells(g);
		g->server_id = 0;
		if (!g->patience.armed)
			qp_loop_timer_set(s->cfg.loop, &g->patience, QP_START_PATIENCE_MS);
		return;
	}
	if (!g->told_to_end || !g->patience.armed)
		qp_loop_timer_set(s->cfg.loop, &g->patience, LINGER_MS);
}

/* Its memory is there: rings are opened, each worker learns what to do. */
static void
on_ready(struct qp_generation *g)
{
	struct qp_supervisor *s = g->supervisor;
	struct qp_errmsg msg;
	int err = qp_rendezvous_ready(g->fd, &msg);

	if (err == QP_E_AGAIN)
		return;
	if (err == QP_E_CLOSED && g->adopted) { /* it serves, whatever became of this socket */
		on_socket_end(g);
		return;
	}
	if (err == 0)
		err = qp_dp_link_open(
			g->server_id, g->nworkers, g->epoch, g->version, g->doorbell, &g->link,
			&msg);
	if (err != 0) {
		qp_generation_give_up(g, msg.text);
		return;
	}
	for (unsigned w = 0; w < g->nworkers; w++)
		g->doorbell[w] = -1; /* the link's from here on, whatever comes */
	if (s->cfg.ops->memory(s->cfg.ctx, g, &msg) != 0) {
		qp_generation_give_up(g, msg.text);
		return;
	}
	for (unsigned w = 0; w < g->nworkers; w++) {
		struct qp_msg m = {.type = QP_MSG_CONFIG};

		s->cfg.ops->configure(s->cfg.ctx, &m.config);
		if (qp_dp_link_send(g->link, w, &m) != 0) {
			qp_generation_give_up(g, "its ring takes no message");
			return;
		}
	}
	if (s->cfg.heap_bytes != 0)
		qp_generation_tell_budget(g);
	if (g->adopted && qp_generation_ask_replay(g) != 0)
		qp_generation_give_up(g, "its ring takes no message");
}

static uint32_t
pick_server_id(const struct qp_supervisor *s)
{
	uint32_t id;

	do
		id = FIRST_SERVER_ID + randombytes_uniform(65536u - FIRST_SERVER_ID);
	while (qp_supervisor_lookup(s, id) != NULL);
	return id;
}

/* Why this process may not attach now; NULL: it may. */
static const char *
refusal(const struct qp_supervisor *s, const struct qp_generation *g)
{
	const struct qp_generation *other;

	if (s->shutting_down)
		return "the gateway is ending";
	if (s->cfg.auto_start && g->pid != qp_launcher_pid(s->launcher))
		return "this gateway starts its data planes by itself: use --no-auto-dataplane to "
		       "start one by hand";
	TAILQ_FOREACH (other, &s->generations, next) {
		if (other != g && other->server_id != 0 && other->server_id != s->replaced &&
			other->state != QP_DP_DRAINING)
			return "a data plane runs already";
	}
	return NULL;
}

void
qp_generation_refuse(struct qp_generation *g, const char *why)
{
	struct qp_supervisor *s = g->supervisor;

	qp_log(QP_LOG_WARN, "a data plane was refused", QP_LOG_I64("pid", g->pid),
		QP_LOG_STR("reason", why));
	qp_supervisor_note_failure(s, g->pid, why);
	qp_rendezvous_reply(g->fd, g->version, 0, why, -1, -1);
	TAILQ_REMOVE(&s->generations, g, next);
	qp_generation_free(g);
}

/* Why it may not attach; NULL: it may, and has an id if it ran before us. */
static const char *
judge(struct qp_generation *g, const struct qp_attach *req, int fds[QP_RENDEZVOUS_FDS])
{
	struct qp_supervisor *s = g->supervisor;

	memcpy(g->doorbell, fds, sizeof(g->doorbell));
	g->nworkers = req->nworkers;
	g->epoch = req->epoch;
	g->lcore_base = req->lcore_base;
	if (req->server_id == 0)
		return refusal(s, g);
	return qp_generation_adopt(g, req, fds[req->nworkers]);
}

/* What it sent is no request that we can answer. */
static void
refuse_request(struct qp_generation *g, int err, struct qp_errmsg *msg)
{
	struct qp_supervisor *s = g->supervisor;
	bool ours = qp_supervisor_awaited(s, g->pid) != NULL;

	if (err == QP_E_CLOSED || err == QP_E_IO)
		qp_fail(msg, err, "it went away");
	qp_generation_refuse(g, msg->text);
	/* Its tunnels are worth more than our start: another release can take it over. */
	if (ours && err == QP_E_VERSION)
		s->cfg.ops->failed(s->cfg.ctx, msg->text);
}

static void
on_attach(struct qp_generation *g)
{
	struct qp_supervisor *s = g->supervisor;
	struct qp_errmsg msg;
	struct qp_attach req;
	const char *why;
	int fds[QP_RENDEZVOUS_FDS];
	int err = qp_rendezvous_receive(g->fd, &req, &g->version, fds, &msg);

	if (err == QP_E_AGAIN)
		return;
	if (err != 0) {
		refuse_request(g, err, &msg);
		return;
	}
	why = judge(g, &req, fds);
	/* Written down before it gets the lifeline: from then on it can outlive us. */
	if (why == NULL && qp_instance_add_process(s->cfg.instance, g->pid, &msg) != 0)
		why = msg.text;
	if (why != NULL) {
		qp_generation_refuse(g, why);
		return;
	}
	if (req.server_id == 0) {
		g->server_id = pick_server_id(s);
		g->started_at = (uint64_t)time(NULL);
		s->stats.starts++;
	}
	if (qp_rendezvous_reply(g->fd, g->version, g->server_id, NULL, s->doorbell,
		    s->cfg.lifeline_fd) != 0) {
		if (g->adopted) {
			on_socket_end(g);
			return;
		}
		qp_instance_remove_process(s->cfg.instance, g->pid);
		qp_generation_refuse(g, "it went away");
		return;
	}
	qp_loop_timer_set(s->cfg.loop, &g->patience, QP_START_PATIENCE_MS);
	qp_log(QP_LOG_DEBUG, "data plane attached", QP_LOG_HEX("dp_id", g->server_id),
		QP_LOG_I64("pid", g->pid), QP_LOG_U64("workers", g->nworkers),
		QP_LOG_U64("ring_protocol", g->version));
	if (!g->adopted)
		s->cfg.ops->starting(s->cfg.ctx, g);
	if (s->cfg.ops->attaching(s->cfg.ctx, &msg) != 0)
		s->cfg.ops->failed(s->cfg.ctx, msg.text);
}

static void
on_socket(void *ctx, uint32_t events)
{
	struct qp_generation *g = ctx;

	if (g->server_id == 0)
		on_attach(g);
	else if (g->link == NULL && (events & EPOLLIN) != 0)
		on_ready(g);
	else
		on_socket_end(g);
}

void
qp_supervisor_on_connection(void *ctx, uint32_t events)
{
	struct qp_supervisor *s = ctx;
	struct qp_generation *g = calloc(1, sizeof(*g));

	(void)events;
	if (g == NULL)
		return;
	*g = (struct qp_generation) {.supervisor = s,
		.state = QP_DP_STARTING,
		.fd = -1,
		.pidfd = -1,
		.watch = QP_WATCH_NONE,
		.process_watch = QP_WATCH_NONE,
		.patience = {.fire = qp_generation_patience_over, .ctx = g}};
	TAILQ_INSERT_TAIL(&s->generations, g, next);
	if (qp_rendezvous_accept(s->listen_fd, &g->fd, &g->pid) == 0) {
		g->pidfd = pidfd_open(g->pid, 0);
		if (g->pidfd >= 0 &&
			qp_loop_watch(s->cfg.loop, &g->watch, g->fd, EPOLLIN, on_socket, g) == 0 &&
			qp_loop_watch(s->cfg.loop, &g->process_watch, g->pidfd, EPOLLIN,
				qp_generation_process_ended, g) == 0)
			return;
	}
	TAILQ_REMOVE(&s->generations, g, next);
	qp_generation_free(g);
}
