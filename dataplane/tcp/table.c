/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who a segment is for: the connection table, by both ends' addresses and
 * ports, and the listeners, by port. Thread: the owning lcore. Buckets are as
 * many as connections may be, so a chain is one or two long; the hash is keyed,
 * so that nobody outside can make it longer.
 */
#include <stdlib.h>

#include <rte_prefetch.h>

#include "common/error.h"

#include "dataplane/tcp/internal.h"
#include "dataplane/tcp/siphash.h"

/* What waits before a worker when its port moves on is taken by then. */
#define LEAVING_NS (2 * QP_SEC_NS)

uint32_t
qp_tcp_hash(const struct qp_tcp *tcp, const struct qp_flow *flow)
{
	uint64_t words[5] = {flow->local.q[0], flow->local.q[1], flow->remote.q[0],
		flow->remote.q[1], (uint64_t)flow->lport_be << 16 | flow->rport_be};

	return (uint32_t)qp_siphash13(tcp->table_key, words, 5);
}

void
qp_tcp_prefetch(const struct qp_tcp *tcp, const struct qp_flow *flow)
{
	if (tcp->last_found == NULL || !qp_flow_same_ends(&tcp->last_found->flow, flow))
		rte_prefetch0(&tcp->buckets[qp_tcp_hash(tcp, flow) & tcp->bucket_mask]);
}

/* Segments come in trains: the last one's connection is asked first, without a hash. */
struct qp_tcp_tcb *
qp_tcp_lookup(struct qp_tcp *tcp, const struct qp_flow *flow)
{
	struct qp_tcp_tcb *t = tcp->last_found;
	uint32_t hash;

	if (t != NULL && qp_flow_same_ends(&t->flow, flow))
		return t;
	hash = qp_tcp_hash(tcp, flow);
	t = tcp->buckets[hash & tcp->bucket_mask];
	while (t != NULL && (t->hash != hash || !qp_flow_same_ends(&t->flow, flow)))
		t = t->next;
	tcp->last_found = t;
	return t;
}

void
qp_tcp_insert(struct qp_tcp *tcp, struct qp_tcp_tcb *tcb)
{
	struct qp_tcp_tcb **bucket;

	tcb->hash = qp_tcp_hash(tcp, &tcb->flow);
	bucket = &tcp->buckets[tcb->hash & tcp->bucket_mask];
	tcb->next = *bucket;
	*bucket = tcb;
	tcp->nconns++;
	tcp->counters.conns = tcp->nconns;
}

void
qp_tcp_remove(struct qp_tcp *tcp, struct qp_tcp_tcb *tcb)
{
	struct qp_tcp_tcb **p = &tcp->buckets[tcb->hash & tcp->bucket_mask];

	while (*p != tcb)
		p = &(*p)->next;
	*p = tcb->next;
	if (tcp->last_found == tcb)
		tcp->last_found = NULL;
	tcp->nconns--;
	tcp->counters.conns = tcp->nconns;
}

static struct qp_tcp_listener **
listener_bucket(struct qp_tcp *tcp, uint16_t port_be)
{
	return &tcp->listeners[rte_be_to_cpu_16(port_be) % QP_TCP_LISTENER_BUCKETS];
}

/* The one bound to the very address comes before the one for any. */
struct qp_tcp_listener *
qp_tcp_find_listener(struct qp_tcp *tcp, const struct qp_flow *flow)
{
	struct qp_tcp_listener *any = NULL;

	for (struct qp_tcp_listener *l = *listener_bucket(tcp, flow->lport_be); l; l = l->next) {
		if (l->port_be != flow->lport_be)
			continue;
		if (l->any)
			any = l;
		else if (qp_ipaddr_equal(&l->addr, &flow->local))
			return l;
	}
	return any;
}

static struct qp_tcp_listener *
listener_of(struct qp_tcp *tcp, const struct qp_ipaddr *addr, uint16_t port_be)
{
	for (struct qp_tcp_listener *l = *listener_bucket(tcp, port_be); l; l = l->next) {
		if (l->port_be == port_be && l->any == (addr == NULL) &&
			(l->any || qp_ipaddr_equal(&l->addr, addr)))
			return l;
	}
	return NULL;
}

static void
set_addr(struct qp_tcp_listener *l, const struct qp_ipaddr *addr)
{
	l->any = addr == NULL;
	l->addr = addr != NULL ? *addr : (struct qp_ipaddr) {0};
}

int
qp_tcp_listen(struct qp_tcp *tcp, const struct qp_ipaddr *addr, uint16_t port_be,
	const struct qp_tcp_ops *ops, void *listener_ctx, struct qp_tcp_listener **out)
{
	struct qp_tcp_listener **bucket = listener_bucket(tcp, port_be);
	struct qp_tcp_listener *l = listener_of(tcp, addr, port_be);

	if (l != NULL && !l->left)
		return QP_E_INUSE;
	qp_tcp_unlisten(l); /* it has come back */
	l = calloc(1, sizeof(*l));
	if (l == NULL)
		return QP_E_NOMEM;
	l->tcp = tcp;
	l->ops = ops;
	l->ctx = listener_ctx;
	l->port_be = port_be;
	set_addr(l, addr);
	l->next = *bucket;
	*bucket = l;
	*out = l;
	return 0;
}

void
qp_tcp_listener_give(
	struct qp_tcp_listener *l, const struct qp_ipaddr *addr, void *listener_ctx)
{
	set_addr(l, addr);
	l->ctx = listener_ctx;
}

static void
reset_half_open(struct qp_tcp_listener *l)
{
	while (l->half != NULL) {
		qp_tcp_send_rst(l->half, QP_TCP_RST_CLOSED);
		qp_tcp_conn_drop(l->half);
	}
}

static void
on_left(struct qp_timer *timer, uint64_t now_ns)
{
	qp_tcp_unlisten((struct qp_tcp_listener *)((char *)timer -
						   offsetof(struct qp_tcp_listener, leaving)));
}

void
qp_tcp_listener_leave(struct qp_tcp_listener *l)
{
	reset_half_open(l);
	l->left = true;
	l->ctx = NULL;
	l->leaving.fn = on_left;
	qp_timer_arm(l->tcp->env.wheel, &l->leaving, qp_tcp_now(l->tcp) + LEAVING_NS);
}

void
qp_tcp_unlisten(struct qp_tcp_listener *l)
{
	struct qp_tcp_listener **p;

	if (l == NULL)
		return;
	reset_half_open(l);
	qp_timer_cancel(l->tcp->env.wheel, &l->leaving);
	for (p = listener_bucket(l->tcp, l->port_be); *p != l;)
		p = &(*p)->next;
	*p = l->next;
	free(l);
}
