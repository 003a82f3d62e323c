/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The resolver's threads. They share a desk with the loop: questions on one
 * side, answers on the other, a lock, and a bell. A thread may hang in the
 * system's resolver for half a minute, and nobody waits for it: the desk goes
 * with the last who leaves it.
 */
#include "controlplane/resolver.h"

#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/queue.h>
#include <unistd.h>

struct question {
	STAILQ_ENTRY(question) link;
	struct qp_resolved r;
};
STAILQ_HEAD(questions, question);

/* Owner: the loop and the threads together, by `refs`. Life: until the last leaves. Lock: `lock`. */
struct desk {
	pthread_mutex_t lock;
	pthread_cond_t asked;
	unsigned refs;
	unsigned nthreads, idle;
	unsigned waiting;           /* questions that no thread has taken */
	bool closing;
	struct questions questions;
	struct questions answers;
	int bell;                   /* eventfd: there are answers */
};

/* Owner: the loop thread. */
struct qp_resolver {
	struct qp_loop *loop;
	struct qp_watch watch;
	struct desk *desk;
	void (*answer)(void *ctx, const struct qp_resolved *r);
	void *ctx;
};

static void
free_questions(struct questions *list)
{
	struct question *q;

	while ((q = STAILQ_FIRST(list)) != NULL) {
		STAILQ_REMOVE_HEAD(list, link);
		free(q);
	}
}

/* With the lock held, which it releases. */
static void
leave(struct desk *d)
{
	bool last = --d->refs == 0;

	pthread_mutex_unlock(&d->lock);
	if (!last)
		return;
	free_questions(&d->questions);
	free_questions(&d->answers);
	pthread_cond_destroy(&d->asked);
	pthread_mutex_destroy(&d->lock);
	close(d->bell);
	free(d);
}

static void
resolve(struct qp_resolved *r)
{
	/* One socket type, or each address would come once for each. */
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_family = AF_UNSPEC};
	struct addrinfo *found;
	int rc = getaddrinfo(r->target.host, NULL, &hints, &found);

	if (rc != 0) {
		r->err = qp_fail(&r->msg, rc == EAI_NONAME ? QP_E_NOTFOUND : QP_E_AGAIN,
			"the gateway cannot find the address of %s: %s", r->target.host,
			rc == EAI_SYSTEM ? strerror(errno) : gai_strerror(rc));
		return;
	}
	r->n = 0;
	for (struct addrinfo *ai = found; ai != NULL && r->n < QP_RESOLVER_ADDRS; ai = ai->ai_next)
		if (qp_sockaddr_to_in6(ai->ai_addr, &r->addr[r->n]))
			r->n++;
	freeaddrinfo(found);
	if (r->n == 0)
		r->err = qp_fail(&r->msg, QP_E_NOTFOUND, "%s has neither an IPv4 nor an IPv6 address",
			r->target.host);
}

static void *
serve(void *arg)
{
	struct desk *d = arg;
	struct question *q;

	pthread_mutex_lock(&d->lock);
	while (!d->closing) {
		q = STAILQ_FIRST(&d->questions);
		if (q == NULL) {
			d->idle++;
			pthread_cond_wait(&d->asked, &d->lock);
			d->idle--;
			continue;
		}
		STAILQ_REMOVE_HEAD(&d->questions, link);
		d->waiting--;
		pthread_mutex_unlock(&d->lock);
		resolve(&q->r);
		pthread_mutex_lock(&d->lock);
		STAILQ_INSERT_TAIL(&d->answers, q, link);
		(void)eventfd_write(d->bell, 1);
	}
	leave(d);
	return NULL;
}

static void
on_bell(void *ctx, uint32_t events)
{
	struct qp_resolver *r = ctx;
	struct questions answers = STAILQ_HEAD_INITIALIZER(answers);
	struct question *q;
	eventfd_t rings;

	(void)events;
	(void)eventfd_read(r->desk->bell, &rings);
	pthread_mutex_lock(&r->desk->lock);
	STAILQ_CONCAT(&answers, &r->desk->answers);
	pthread_mutex_unlock(&r->desk->lock);
	while ((q = STAILQ_FIRST(&answers)) != NULL) {
		STAILQ_REMOVE_HEAD(&answers, link);
		r->answer(r->ctx, &q->r);
		free(q);
	}
}

static struct desk *
desk_new(void)
{
	struct desk *d = calloc(1, sizeof(*d));

	if (d == NULL)
		return NULL;
	d->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (d->bell < 0) {
		free(d);
		return NULL;
	}
	pthread_mutex_init(&d->lock, NULL);
	pthread_cond_init(&d->asked, NULL);
	STAILQ_INIT(&d->questions);
	STAILQ_INIT(&d->answers);
	d->refs = 1;
	return d;
}

int
qp_resolver_new(struct qp_loop *loop, void (*answer)(void *ctx, const struct qp_resolved *r),
	void *ctx, struct qp_resolver **out, struct qp_errmsg *msg)
{
	struct qp_resolver *r = calloc(1, sizeof(*r));
	struct desk *d = desk_new();

	if (r == NULL || d == NULL ||
		qp_loop_watch(loop, &r->watch, d->bell, EPOLLIN, on_bell, r) != 0) {
		if (d != NULL) {
			pthread_mutex_lock(&d->lock);
			leave(d);
		}
		free(r);
		return qp_fail(msg, QP_E_NOMEM, "cannot make a resolver: %s", strerror(errno));
	}
	r->loop = loop;
	r->desk = d;
	r->answer = answer;
	r->ctx = ctx;
	*out = r;
	return 0;
}

void
qp_resolver_free(struct qp_resolver *r)
{
	if (r == NULL)
		return;
	qp_loop_unwatch(r->loop, &r->watch);
	pthread_mutex_lock(&r->desk->lock);
	r->desk->closing = true;
	pthread_cond_broadcast(&r->desk->asked);
	leave(r->desk);
	free(r);
}

/* With the lock held: somebody must take what was asked. */
static int
call_thread(struct desk *d)
{
	pthread_attr_t detached;
	pthread_t thread;
	int err = 0;

	if (d->idle >= d->waiting || d->nthreads == QP_RESOLVER_THREADS) {
		pthread_cond_signal(&d->asked);
		return 0;
	}
	pthread_attr_init(&detached);
	pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
	d->refs++;
	err = pthread_create(&thread, &detached, serve, d);
	pthread_attr_destroy(&detached);
	if (err == 0)
		d->nthreads++;
	else
		d->refs--;
	return d->nthreads > 0 ? 0 : err;
}

int
qp_resolver_ask(struct qp_resolver *r, const struct qp_resolved *question, struct qp_errmsg *msg)
{
	struct desk *d = r->desk;
	struct question *q = calloc(1, sizeof(*q));
	int err;

	if (q == NULL)
		return qp_fail(msg, QP_E_NOMEM, "the gateway is out of memory");
	q->r = *question;
	q->r.err = 0;
	pthread_mutex_lock(&d->lock);
	if (d->waiting >= QP_RESOLVER_WAITING) {
		pthread_mutex_unlock(&d->lock);
		free(q);
		return qp_fail(msg, QP_E_FULL, "too many names wait to be resolved: try again later");
	}
	STAILQ_INSERT_TAIL(&d->questions, q, link);
	d->waiting++;
	err = call_thread(d);
	if (err != 0) {
		STAILQ_REMOVE(&d->questions, q, question, link);
		d->waiting--;
		free(q);
	}
	pthread_mutex_unlock(&d->lock);
	return err == 0 ? 0 : qp_fail(msg, QP_E_NOMEM, "cannot start a thread: %s", strerror(err));
}
