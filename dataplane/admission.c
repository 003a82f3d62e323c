/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whom and what a client's limits let in: outside connections by number, rate
 * and where they come from, and datagrams by bandwidth. These have their share
 * of it by the number of flows among the relays that wait. Runs on the owning
 * lcore.
 */
#include <rte_common.h>
#include <string.h>

#include "common/heap.h"
#include "dataplane/shape.h"
#include "dataplane/tunnel_internal.h"

/* Connections. */

static bool
in_network(const struct qp_ipaddr *a, const struct qp_msg_network *n)
{
	const uint8_t whole = RTE_MIN(n->prefix, 128) / 8, bits = RTE_MIN(n->prefix, 128) % 8;

	return memcmp(a->b, n->addr, whole) == 0 &&
	       (bits == 0 || ((a->b[whole] ^ n->addr[whole]) >> (8 - bits)) == 0);
}

bool
qp_client_serves(const struct qp_tunnel *t, const struct qp_ipaddr *source)
{
	const struct qp_client *c = t->client;

	if (c == NULL || c->limits.nsources == 0)
		return true;
	for (uint32_t i = 0; i < c->nnetworks; i++)
		if (in_network(source, &c->network[i]))
			return true;
	return false;
}

static bool
has_room(struct qp_client *c)
{
	struct qp_worker_counters *n = c->all->env.counters;

	if (c->limits.max_conns != 0 && c->conns_now >= c->limits.max_conns) {
		n->client_conns_refused++;
		return false;
	}
	if (c->conns.rate == 0)
		return true;
	qp_bucket_refill(&c->conns, *c->all->env.now_ns);
	if (c->conns.tokens > 0)
		return true;
	n->client_rate_refused++;
	return false;
}

/* Whoever the client is: a connection takes heap for as long as it lasts. */
static bool
heap_has_room(struct qp_tunnel *t)
{
	if (qp_heap_level() != QP_HEAP_FULL)
		return true;
	t->all->env.counters->conns_refused_budget++;
	qp_heap_log_refusal("connections", *t->all->env.now_ns);
	return false;
}

bool
qp_client_admit(struct qp_tunnel *t)
{
	struct qp_client *c = t->client;

	if (!heap_has_room(t))
		return false;
	if (c == NULL)
		return true;
	if (!has_room(c))
		return false;
	if (c->conns.rate != 0)
		c->conns.tokens--;
	return true;
}

bool
qp_client_may_connect(struct qp_tunnel *t, const struct qp_ipaddr *source)
{
	if (!heap_has_room(t))
		return false;
	if (t->client == NULL)
		return true;
	if (!qp_client_serves(t, source)) {
		t->all->env.counters->client_sources_refused++;
		return false;
	}
	return has_room(t->client);
}

/* Bandwidth. */

void
qp_shape_refill(struct qp_shape *s)
{
	const int64_t got = qp_bucket_refill(&s->bucket, *s->client->all->env.now_ns);
	const uint32_t flows = s->client->nflows;

	if (flows == 0 || s->nwaiting == 0) {
		s->udp_tokens = 0;
		return;
	}
	s->udp_tokens += got * flows / (int64_t)(flows + s->nwaiting);
	s->udp_tokens = RTE_MIN(s->udp_tokens, s->bucket.burst / 2);
}

bool
qp_shape_take_datagram(struct qp_tunnel *t, enum qp_way way, uint32_t bytes)
{
	struct qp_shape *s = &t->client->shape[way];

	if (s->bucket.rate == 0)
		return true;
	qp_shape_refill(s);
	if (s->bucket.tokens <= 0 || (s->nwaiting > 0 && s->udp_tokens <= 0))
		return false;
	s->bucket.tokens -= bytes;
	if (s->nwaiting > 0)
		s->udp_tokens -= bytes;
	return true;
}
