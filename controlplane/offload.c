/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A desk with one place, shared by the loop and its thread: work lies there from
 * its start until it is done, and the bell says that it is. Loop thread, but for
 * `serve`.
 */
#include "controlplane/offload.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct qp_offload {
	struct qp_loop *loop;
	struct qp_watch watch;
	int bell; /* eventfd: work was finished */
	bool busy; /* the loop's: `done` is to be called */
	bool has_thread;
	pthread_t thread;
	void (*done)(void *ctx);
	pthread_mutex_t lock; /* guards all below */
	pthread_cond_t changed;
	void (*work)(void *ctx); /* NULL: there is none, or it is finished */
	void *ctx;
	bool closing;
};

static void *
serve(void *arg)
{
	struct qp_offload *o = arg;

	pthread_mutex_lock(&o->lock);
	while (!o->closing) {
		if (o->work == NULL) {
			pthread_cond_wait(&o->changed, &o->lock);
			continue;
		}
		pthread_mutex_unlock(&o->lock);
		o->work(o->ctx); /* nobody writes them meanwhile */
		pthread_mutex_lock(&o->lock);
		o->work = NULL;
		pthread_cond_broadcast(&o->changed);
		(void)eventfd_write(o->bell, 1);
	}
	pthread_mutex_unlock(&o->lock);
	return NULL;
}

static bool
is_finished(struct qp_offload *o)
{
	bool finished;

	pthread_mutex_lock(&o->lock);
	finished = o->work == NULL;
	pthread_mutex_unlock(&o->lock);
	return finished;
}

static void
on_bell(void *ctx, uint32_t events)
{
	struct qp_offload *o = ctx;
	eventfd_t rings;

	(void)events;
	(void)eventfd_read(o->bell, &rings);
	/* It may have rung for work that was settled. */
	if (!o->busy || !is_finished(o))
		return;
	o->busy = false;
	o->done(o->ctx);
}

int
qp_offload_new(struct qp_loop *loop, struct qp_offload **out, struct qp_errmsg *msg)
{
	struct qp_offload *o = calloc(1, sizeof(*o));

	if (o == NULL)
		return qp_fail(msg, QP_E_NOMEM, "out of memory");
	o->loop = loop;
	o->watch.fd = -1;
	o->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (o->bell < 0 || qp_loop_watch(loop, &o->watch, o->bell, EPOLLIN, on_bell, o) != 0) {
		qp_fail(msg, QP_E_NOMEM, "cannot make an eventfd: %s", strerror(errno));
		if (o->bell >= 0)
			close(o->bell);
		free(o);
		return QP_E_NOMEM;
	}
	pthread_mutex_init(&o->lock, NULL);
	pthread_cond_init(&o->changed, NULL);
	*out = o;
	return 0;
}

void
qp_offload_settle(struct qp_offload *o)
{
	pthread_mutex_lock(&o->lock);
	while (o->work != NULL)
		pthread_cond_wait(&o->changed, &o->lock);
	pthread_mutex_unlock(&o->lock);
	o->busy = false;
}

void
qp_offload_free(struct qp_offload *o)
{
	if (o == NULL)
		return;
	qp_offload_settle(o);
	pthread_mutex_lock(&o->lock);
	o->closing = true;
	pthread_cond_broadcast(&o->changed);
	pthread_mutex_unlock(&o->lock);
	if (o->has_thread)
		pthread_join(o->thread, NULL);
	qp_loop_unwatch(o->loop, &o->watch);
	close(o->bell);
	pthread_cond_destroy(&o->changed);
	pthread_mutex_destroy(&o->lock);
	free(o);
}

int
qp_offload_start(struct qp_offload *o, void (*work)(void *ctx), void (*done)(void *ctx), void *ctx)
{
	if (!o->has_thread && pthread_create(&o->thread, NULL, serve, o) != 0)
		return QP_E_NOMEM;
	o->has_thread = true;
	o->busy = true;
	o->done = done;
	pthread_mutex_lock(&o->lock);
	o->ctx = ctx;
	o->work = work;
	pthread_cond_broadcast(&o->changed);
	pthread_mutex_unlock(&o->lock);
	return 0;
}

bool
qp_offload_busy(const struct qp_offload *o)
{
	return o->busy;
}
