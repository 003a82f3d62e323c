/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Clients that the API writes, one after the other: the configuration is read,
 * the policy that has the client is built on a thread, brought into force, and
 * the answer waits for the disk. The loop serves others meanwhile: ten thousand
 * clients take a policy 0.1 s. A reload waits for the policy that is being built,
 * or one of the two would undo the other. Loop thread, but for `build`.
 */
#define QP_LOG_MODULE QP_LOG_M_policy
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "controlplane/gateway_internal.h"
#include "controlplane/offload.h"
#include "controlplane/reload.h"

/* How long an answer waits for the disk. */
#define SYNC_MS 2000u
/* Each holds its request's connection and a client's entry. */
#define MAX_WRITES 64u

/* Owner: the loop thread; the offload's from its start to its end. */
struct qp_writing {
	TAILQ_ENTRY(qp_writing) next;
	struct qp_gateway *g;
	struct qp_client_write w; /* what it points to is ours */
	char path[256]; /* of its PSK's file; "": there is none */
	bool written; /* … and the file is there */
	struct qp_reloading *reload;
	char *text; /* all clients, with this one */
	bool not_now;
	int err;
	struct qp_errmsg msg;
	/* Once it is in force: */
	uint64_t place; /* of its change in the state */
	char *unneeded; /* a PSK's file */
	uint64_t until_ns;
};

static void
free_writing(struct qp_writing *w)
{
	qp_reload_free(w->reload);
	free((char *)(uintptr_t)w->w.name);
	free((char *)(uintptr_t)w->w.actor);
	qp_secret_free((struct qp_secret *)(uintptr_t)w->w.psk);
	json_decref(w->w.entry);
	free(w->text);
	free(w);
}

/* The answer, and its end. It is in no list any more. */
static void
answer(struct qp_writing *w, enum qp_write_end end)
{
	struct qp_writes *all = &w->g->writes;

	all->n--;
	if (end != QP_WRITE_DONE && w->written)
		unlink(w->path);
	if (end == QP_WRITE_DONE)
		qp_api_clients_remove(w->unneeded);
	w->w.done(w->w.ctx, end, w->msg.text);
	free_writing(w);
}

/* The offload's thread. */
static void
build(void *ctx)
{
	struct qp_writing *w = ctx;

	if (w->w.psk != NULL) {
		w->err = qp_api_clients_keep_psk(w->path, w->w.psk, &w->msg);
		w->not_now = w->err != 0;
		w->written = w->err == 0;
	}
	if (w->err == 0)
		w->text = qp_api_clients_text(w->g->api_clients, w->w.name, w->w.entry);
	if (w->err == 0 && w->text == NULL)
		w->err = qp_fail(&w->msg, QP_E_NOMEM, "out of memory");
	if (w->err == 0)
		qp_reload_build(w->reload, w->text);
}

/*
 * The operator's file may have the name since it was read last. It goes before
 * ours: what was written is not in force, and is not kept to be one day.
 */
static int
check_ours(const struct qp_gateway *g, const char *name, struct qp_errmsg *msg)
{
	const struct qp_policy_client *c = qp_policy_by_name(qp_enforce_policy(g->enforce), name);

	if (c == NULL || qp_api_client_is(c))
		return 0;
	return qp_fail(msg, QP_E_INUSE, "there is a client %s already, by %s", name,
		c->origin != NULL ? c->origin : "an option");
}

/* False: why is in `msg`. */
static bool
enter_into_force(struct qp_writing *w)
{
	struct qp_gateway *g = w->g;
	bool was_there = qp_api_clients_get(g->api_clients, w->w.name) != NULL;

	if (w->err != 0)
		qp_reload_fail(w->reload, w->err, &w->msg);
	w->err = qp_reload_finish(w->reload, &w->msg);
	qp_reload_free(w->reload);
	w->reload = NULL;
	if (w->err == 0 && w->w.entry != NULL)
		w->err = check_ours(g, w->w.name, &w->msg);
	if (w->err != 0)
		return false;
	free(g->cred->api_clients);
	g->cred->api_clients = w->text;
	w->text = NULL;
	w->unneeded = qp_api_clients_put(g->api_clients, w->w.name, w->w.entry);
	w->place = qp_state_place(g->state);
	w->until_ns = qp_now_ns() + SYNC_MS * 1000000ull;
	w->w.in_force(w->w.ctx, was_there);
	return true;
}

/* Answers those that wait for the disk no more, the oldest first. */
static void
look_at_disk(struct qp_gateway *g)
{
	struct qp_writes *all = &g->writes;
	struct qp_writing *w;

	while ((w = TAILQ_FIRST(&all->in_force)) != NULL) {
		int err = qp_state_reached(g->state, w->place);
		const uint64_t now = qp_now_ns();

		if (err == QP_E_AGAIN && now < w->until_ns) {
			qp_loop_timer_set(g->loop, &all->patience,
				(unsigned)((w->until_ns - now) / 1000000u + 1));
			return;
		}
		if (err != 0)
			qp_log(QP_LOG_WARN,
				"a change of a client is in force, but not on the disk yet",
				QP_LOG_STR("client", w->w.name));
		TAILQ_REMOVE(&all->in_force, w, next);
		answer(w, QP_WRITE_DONE);
	}
	qp_loop_timer_cancel(g->loop, &all->patience);
}

static void
on_patience(void *ctx)
{
	look_at_disk(ctx);
}

static void
on_disk(void *ctx, uint32_t events)
{
	struct qp_gateway *g = ctx;
	uint64_t rings;

	(void)events;
	(void)!read(qp_state_bell(g->state), &rings, sizeof(rings));
	look_at_disk(g);
}

static void
finish_built(struct qp_writing *w)
{
	struct qp_gateway *g = w->g;

	TAILQ_REMOVE(&g->writes.waiting, w, next);
	if (enter_into_force(w)) {
		TAILQ_INSERT_TAIL(&g->writes.in_force, w, next);
		look_at_disk(g);
	} else {
		answer(w, w->not_now ? QP_WRITE_NOT_NOW : QP_WRITE_REFUSED);
	}
}

static void
on_built(void *ctx)
{
	struct qp_writing *w = ctx;
	struct qp_gateway *g = w->g;

	finish_built(w);
	qp_gateway_go_on_with_writes(g);
}

void
qp_gateway_go_on_with_writes(struct qp_gateway *g)
{
	struct qp_writing *w;

	if (g->stopping || g->writes.thread == NULL || qp_offload_busy(g->writes.thread))
		return;
	while ((w = TAILQ_FIRST(&g->writes.waiting)) != NULL) {
		w->reload = qp_reload_begin(g, w->w.actor,
			&(struct qp_reload_how) {.api_clients_needed = w->w.entry != NULL});
		if (w->reload != NULL &&
			qp_offload_start(g->writes.thread, build, on_built, w) == 0)
			return;
		TAILQ_REMOVE(&g->writes.waiting, w, next);
		qp_fail(&w->msg, QP_E_NOMEM, "out of memory");
		answer(w, QP_WRITE_NOT_NOW);
	}
}

void
qp_gateway_settle_writes(struct qp_gateway *g)
{
	if (g->writes.thread == NULL || !qp_offload_busy(g->writes.thread))
		return;
	qp_offload_settle(g->writes.thread);
	finish_built(TAILQ_FIRST(&g->writes.waiting));
}

/* NULL: out of memory. */
static struct qp_writing *
copy(struct qp_gateway *g, const struct qp_client_write *from)
{
	struct qp_writing *w = calloc(1, sizeof(*w));

	if (w == NULL)
		return NULL;
	w->g = g;
	w->w = *from;
	w->w.name = strdup(from->name);
	w->w.actor = strdup(from->actor);
	w->w.psk = from->psk != NULL ? qp_secret_new(from->psk->bytes, from->psk->len) : NULL;
	json_incref(w->w.entry);
	if (w->w.name != NULL && w->w.actor != NULL && (w->w.psk != NULL) == (from->psk != NULL))
		return w;
	free_writing(w);
	return NULL;
}

int
qp_gateway_write_client(void *ctx, const struct qp_client_write *from, struct qp_errmsg *msg)
{
	struct qp_gateway *g = ctx;
	struct qp_writing *w;
	int err = 0;

	if (g->stopping)
		return qp_fail(msg, QP_E_CLOSED, "the gateway ends");
	if (g->writes.n >= MAX_WRITES)
		return qp_fail(msg, QP_E_FULL, "too many clients are being written: try again");
	w = copy(g, from);
	if (w == NULL)
		return qp_fail(msg, QP_E_NOMEM, "out of memory");
	if (w->w.psk != NULL)
		err = qp_api_clients_psk_path(g->api_clients, w->w.name, w->path, msg);
	if (err != 0) {
		free_writing(w);
		return err;
	}
	if (w->w.psk != NULL)
		json_object_set_new(w->w.entry, "secret-file", json_string(w->path));
	TAILQ_INSERT_TAIL(&g->writes.waiting, w, next);
	g->writes.n++;
	qp_gateway_go_on_with_writes(g);
	return 0;
}

int
qp_gateway_open_writes(struct qp_gateway *g, struct qp_errmsg *msg)
{
	struct qp_writes *all = &g->writes;

	int err;

	TAILQ_INIT(&all->waiting);
	TAILQ_INIT(&all->in_force);
	all->patience = (struct qp_loop_timer) {.fire = on_patience, .ctx = g};
	if (qp_loop_watch(g->loop, &all->disk, qp_state_bell(g->state), EPOLLIN, on_disk, g) != 0)
		return qp_fail(msg, QP_E_IO, "the state's file cannot be watched");
	err = qp_offload_new(g->loop, &all->thread, msg);
	if (err != 0)
		qp_loop_unwatch(g->loop, &all->disk);
	return err;
}

void
qp_gateway_close_writes(struct qp_gateway *g)
{
	struct qp_writes *all = &g->writes;
	struct qp_writing *w;

	if (all->thread == NULL)
		return;
	qp_offload_settle(all->thread);
	while ((w = TAILQ_FIRST(&all->waiting)) != NULL) {
		TAILQ_REMOVE(&all->waiting, w, next);
		qp_fail(&w->msg, QP_E_CLOSED, "the gateway ends");
		answer(w, QP_WRITE_NOT_NOW);
	}
	if (!TAILQ_EMPTY(&all->in_force))
		(void)qp_state_sync(g->state, SYNC_MS);
	TAILQ_FOREACH (w, &all->in_force, next)
		w->until_ns = 0;
	look_at_disk(g);
	qp_loop_timer_cancel(g->loop, &all->patience);
	qp_loop_unwatch(g->loop, &all->disk);
	qp_offload_free(all->thread);
	all->thread = NULL;
}
