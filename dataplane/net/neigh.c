/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of neighbours: bounded, and no newcomer pushes out who is at work.
 * A quarter of it is for those that have not answered yet, which push out each
 * other; who has answered is forgotten only after a minute without a packet.
 * Routers stay. Runs on the lcore.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/error.h"
#include "dataplane/net/internal.h"
#include "dataplane/tcp/siphash.h"

#define MIN_NEIGHBOURS (2u * QP_NET_MAX_ROUTES) /* routers, and room for others */
#define AT_WORK_NS     (60 * QP_NET_SEC_NS)
#define LOOKS          8u /* at proven ones for a newcomer's sake */

int
qp_neigh_open(struct qp_net *net)
{
	uint32_t n = RTE_MAX(net->cfg.max_neighbours, MIN_NEIGHBOURS), buckets = 64;

	while (buckets < n)
		buckets *= 2;
	TAILQ_INIT(&net->free);
	TAILQ_INIT(&net->unproven);
	TAILQ_INIT(&net->proven);
	net->cfg.max_neighbours = n;
	net->bucket_mask = buckets - 1;
	net->bucket = calloc(buckets, sizeof(*net->bucket));
	net->neigh = aligned_alloc(64, n * sizeof(*net->neigh));
	if (net->bucket == NULL || net->neigh == NULL)
		return QP_E_NOMEM;
	memset(net->neigh, 0, n * sizeof(*net->neigh));
	for (uint32_t i = 0; i < n; i++) {
		net->neigh[i].net = net;
		TAILQ_INSERT_TAIL(&net->free, &net->neigh[i], link);
	}
	return 0;
}

void
qp_neigh_close(struct qp_net *net)
{
	for (uint32_t i = 0; net->neigh != NULL && i < net->cfg.max_neighbours; i++) {
		qp_neigh_drop_held(&net->neigh[i]);
		qp_timer_cancel(net->env.wheel, &net->neigh[i].timer);
	}
	free(net->neigh);
	free(net->bucket);
}

static struct qp_neigh_bucket *
bucket_of(struct qp_net *net, unsigned port, const struct qp_ipaddr *addr)
{
	const uint64_t words[] = {addr->q[0], addr->q[1], port};

	return &net->bucket[qp_siphash13(net->key, words, RTE_DIM(words)) & net->bucket_mask];
}

struct qp_net_neigh *
qp_neigh_find(struct qp_net *net, unsigned port, const struct qp_ipaddr *addr)
{
	struct qp_net_neigh *n;

	LIST_FOREACH(n, bucket_of(net, port, addr), bucket_link) {
		if (n->port == port && qp_ipaddr_equal(&n->addr, addr))
			return n;
	}
	return NULL;
}

/* Takes it off the queue that it is in; a pinned one is in none. */
static void
unqueue(struct qp_net_neigh *n)
{
	struct qp_net *net = n->net;

	if (n->pinned)
		return;
	TAILQ_REMOVE(n->proven ? &net->proven : &net->unproven, n, link);
	net->nunproven -= !n->proven;
}

static void
enqueue(struct qp_net_neigh *n)
{
	struct qp_net *net = n->net;

	if (n->pinned)
		return;
	TAILQ_INSERT_TAIL(n->proven ? &net->proven : &net->unproven, n, link);
	net->nunproven += !n->proven;
}

void
qp_neigh_remove(struct qp_net_neigh *n)
{
	struct qp_net *net = n->net;

	qp_neigh_drop_held(n);
	qp_timer_cancel(net->env.wheel, &n->timer);
	unqueue(n);
	LIST_REMOVE(n, bucket_link);
	*n = (struct qp_net_neigh) {.net = net};
	TAILQ_INSERT_HEAD(&net->free, n, link);
	net->counters.neighbours--;
}

static void
evict(struct qp_net_neigh *n)
{
	QP_NET_COUNT(n->net, neighbours_evicted);
	qp_neigh_remove(n);
}

/* Of those that have answered, one that has had nothing to do; false: none among the first. */
static bool
evict_idle(struct qp_net *net)
{
	const uint64_t now = *net->env.now_ns;

	for (unsigned i = 0; i < LOOKS; i++) {
		struct qp_net_neigh *n = TAILQ_FIRST(&net->proven);

		if (n == NULL)
			return false;
		if (now - n->used_ns > AT_WORK_NS) {
			evict(n);
			return true;
		}
		TAILQ_REMOVE(&net->proven, n, link);
		TAILQ_INSERT_TAIL(&net->proven, n, link);
	}
	return false;
}

static bool
make_room(struct qp_net *net)
{
	struct qp_net_neigh *oldest = TAILQ_FIRST(&net->unproven);

	if (oldest != NULL && net->nunproven >= net->cfg.max_neighbours / 4) {
		evict(oldest);
		return true;
	}
	if (!TAILQ_EMPTY(&net->free) || evict_idle(net))
		return true;
	if (oldest == NULL)
		return false;
	evict(oldest);
	return true;
}

static struct qp_net_neigh *
insert(struct qp_net *net, unsigned port, const struct qp_ipaddr *addr, bool pinned)
{
	struct qp_net_neigh *n = TAILQ_FIRST(&net->free);

	assert(n != NULL);
	TAILQ_REMOVE(&net->free, n, link);
	if (++net->next_id == 0)
		net->next_id = 1;
	n->addr = *addr;
	n->port = (uint8_t)port;
	n->id = net->next_id;
	n->used_ns = *net->env.now_ns;
	n->pinned = pinned;
	LIST_INSERT_HEAD(bucket_of(net, port, addr), n, bucket_link);
	enqueue(n);
	QP_NET_COUNT(net, neighbours_made);
	net->counters.neighbours++;
	return n;
}

struct qp_net_neigh *
qp_neigh_get(struct qp_net *net, unsigned port, const struct qp_ipaddr *addr,
	struct qp_bucket *limit)
{
	struct qp_net_neigh *n = qp_neigh_find(net, port, addr);

	if (n != NULL)
		return n;
	if (!qp_net_take(net, limit) || !make_room(net)) {
		QP_NET_COUNT(net, neighbours_limited);
		return NULL;
	}
	return insert(net, port, addr, false);
}

void
qp_neigh_prove(struct qp_net_neigh *n)
{
	if (n->proven)
		return;
	unqueue(n);
	n->proven = true;
	enqueue(n);
}

/* There is always room for routers: the table is larger than their number. */
static struct qp_net_neigh *
pin(struct qp_net *net, unsigned port, const struct qp_ipaddr *addr)
{
	struct qp_net_neigh *n = qp_neigh_find(net, port, addr);

	if (n != NULL) {
		unqueue(n);
		n->pinned = true;
		return n;
	}
	while (TAILQ_EMPTY(&net->free))
		evict(TAILQ_EMPTY(&net->unproven) ? TAILQ_FIRST(&net->proven)
						  : TAILQ_FIRST(&net->unproven));
	return insert(net, port, addr, true);
}

void
qp_neigh_reconcile(struct qp_net *net)
{
	for (uint32_t i = 0; i < net->cfg.max_neighbours; i++) {
		struct qp_net_neigh *n = &net->neigh[i];

		if (n->id != 0 && n->pinned) {
			n->pinned = false;
			enqueue(n);
		}
	}
	for (unsigned i = 0; i < net->nroutes; i++) {
		struct qp_net_route *r = &net->route[i];

		if (!qp_ipaddr_is_zero(&r->via))
			r->router = pin(net, r->port, &r->via);
	}
	for (uint32_t i = 0; i < net->cfg.max_neighbours; i++) {
		struct qp_net_neigh *n = &net->neigh[i];

		if (n->id == 0 || n->pinned)
			continue;
		n->dead = false;
		if (n->state == QP_NEIGH_NONE || !qp_net_on_link(net, n->port, &n->addr))
			qp_neigh_remove(n);
	}
}

void
qp_net_link_up(struct qp_net *net, unsigned port)
{
	for (uint32_t i = 0; i < net->cfg.max_neighbours; i++) {
		if (net->neigh[i].id != 0 && net->neigh[i].port == port)
			qp_neigh_doubt(&net->neigh[i]);
	}
}
