/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names to addresses, by the system's resolver, which blocks: so it has a
 * thread for each question, and the loop gets the answer by an eventfd. What
 * the two share is a question that the last of them frees.
 */
#include "client/resolve.h"

#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client/timers.h"

/* Owner: thread and resolver together, by `refs`. The thread writes the answer before it rings. */
struct qpc_question {
	_Atomic int refs;
	int bell; /* an eventfd; closed with the question */
	struct qp_target target;
	struct qpc_addrs addrs;
	struct qp_errmsg msg;
	int err;
};

/* Takes the next of the list that is of `family` (0: any); NULL when there is none. */
static struct addrinfo *
take_family(struct addrinfo **list, int n, int family)
{
	for (int i = 0; i < n; i++) {
		struct addrinfo *ai = list[i];

		if (ai != NULL && (family == 0 || ai->ai_family == family)) {
			list[i] = NULL;
			return ai;
		}
	}
	return NULL;
}

static void
add_address(struct qpc_addrs *out, const struct addrinfo *ai, uint16_t port)
{
	struct qp_sockaddr *a = &out->v[out->n++];

	memset(a, 0, sizeof(*a));
	memcpy(&a->ss, ai->ai_addr, ai->ai_addrlen);
	a->len = ai->ai_addrlen;
	qp_sockaddr_set_port(&a->sa, port);
}

/* The preferred family first, then in turns while both have some (RFC 8305, 4). */
static void
take_in_turns(struct qpc_addrs *out, struct addrinfo *found, uint16_t port)
{
	struct addrinfo *list[64], *ai;
	int n = 0, family;

	for (ai = found; ai != NULL && n < 64; ai = ai->ai_next) {
		if (ai->ai_family == AF_INET || ai->ai_family == AF_INET6)
			list[n++] = ai;
	}
	family = n > 0 ? list[0]->ai_family : 0;
	out->n = 0;
	while (out->n < QPC_MAX_ADDRS) {
		ai = take_family(list, n, family);
		if (ai == NULL)
			ai = take_family(list, n, 0);
		if (ai == NULL)
			return;
		add_address(out, ai, port);
		family = ai->ai_family == AF_INET ? AF_INET6 : AF_INET;
	}
}

int
qpc_resolve(const struct qp_target *target, struct qpc_addrs *out, struct qp_errmsg *msg)
{
	/* One socket type, or each address would come once for each. No AI_ADDRCONFIG: ::1 needs no IPv6 address. */
	struct addrinfo hints = {.ai_socktype = SOCK_DGRAM, .ai_family = AF_UNSPEC};
	const char *host = target->host[0] != '\0' ? target->host : "127.0.0.1";
	struct addrinfo *found;
	int rc = getaddrinfo(host, NULL, &hints, &found);

	if (rc != 0)
		return qp_fail(msg, rc == EAI_NONAME ? QP_E_NOTFOUND : QP_E_AGAIN,
			"cannot find the address of %s: %s", host,
			rc == EAI_SYSTEM ? strerror(errno) : gai_strerror(rc));
	take_in_turns(out, found, target->port);
	freeaddrinfo(found);
	if (out->n == 0)
		return qp_fail(msg, QP_E_NOTFOUND, "%s has neither an IPv4 nor an IPv6 address", host);
	return QP_OK;
}

static void
release(struct qpc_question *q)
{
	/* Pairs with the other side's decrement: what it wrote is seen before the memory goes. */
	if (atomic_fetch_sub_explicit(&q->refs, 1, memory_order_acq_rel) != 1)
		return;
	close(q->bell);
	free(q);
}

static void *
answer(void *arg)
{
	struct qpc_question *q = arg;

	q->err = qpc_resolve(&q->target, &q->addrs, &q->msg);
	(void)eventfd_write(q->bell, 1);
	release(q);
	return NULL;
}

static void
on_bell(struct qpc_source *source, uint32_t events)
{
	struct qpc_resolver *r = QPC_CONTAINER(source, struct qpc_resolver, source);
	struct qpc_question *q = r->question;

	qpc_loop_remove(r->loop, &r->source);
	r->question = NULL;
	r->done(r, q->err, &q->addrs, &q->msg);
	release(q);
}

/* A thread that takes no signals: they are the program's. */
static int
spawn(struct qpc_question *q)
{
	sigset_t all, before;
	pthread_attr_t attr;
	pthread_t thread;
	int rc;

	if (pthread_attr_init(&attr) != 0)
		return -1;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	rc = pthread_create(&thread, &attr, answer, q);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	return rc;
}

int
qpc_resolver_ask(struct qpc_resolver *r, struct qpc_loop *loop, const struct qp_target *target,
	struct qp_errmsg *msg)
{
	struct qpc_question *q = calloc(1, sizeof(*q));

	if (q == NULL)
		return qp_fail(msg, QP_E_NOMEM, "out of memory to look %s up", target->host);
	atomic_init(&q->refs, 1);
	q->target = *target;
	q->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r->loop = loop;
	r->source = (struct qpc_source) {q->bell, on_bell};
	if (q->bell < 0 || qpc_loop_add(loop, &r->source, EPOLLIN) != QP_OK)
		goto err;
	atomic_store_explicit(&q->refs, 2, memory_order_relaxed); /* the thread is not there yet */
	if (spawn(q) != 0) {
		qpc_loop_remove(loop, &r->source);
		atomic_store_explicit(&q->refs, 1, memory_order_relaxed);
		goto err;
	}
	r->question = q;
	return QP_OK;

err:
	if (q->bell >= 0)
		release(q);
	else
		free(q);
	return qp_fail(msg, QP_E_IO, "cannot start a thread to look %s up", target->host);
}

void
qpc_resolver_cancel(struct qpc_resolver *r)
{
	if (r->question == NULL)
		return;
	qpc_loop_remove(r->loop, &r->source);
	release(r->question);
	r->question = NULL;
}
