/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of clients, and what the control plane says of each. Whom that lets
 * in is admission.c's, bandwidth is shape.c's. Runs on the owning lcore.
 */
#include "dataplane/clients.h"

#include <rte_common.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/shape.h"
#include "dataplane/tunnel_internal.h"

static struct qp_client_bucket *
bucket_of(struct qp_tunnels *ts, uint32_t id)
{
	return &ts->clients[id * 0x9e3779b1u >> 22]; /* 2^32 / golden ratio; 1024 buckets */
}

static struct qp_client *
find(struct qp_tunnels *ts, uint32_t id)
{
	struct qp_client *c;

	LIST_FOREACH(c, bucket_of(ts, id), link)
		if (c->id == id)
			return c;
	return NULL;
}

static struct qp_client *
find_or_make(struct qp_tunnels *ts, uint32_t id)
{
	struct qp_client *c = find(ts, id);

	if (c != NULL)
		return c;
	c = calloc(1, sizeof(*c));
	if (c == NULL)
		return NULL;
	c->id = id;
	c->all = ts;
	qp_shape_init(c);
	LIST_INSERT_HEAD(bucket_of(ts, id), c, link);
	return c;
}

static void
release(struct qp_client *c)
{
	if (c->known || c->ntunnels > 0)
		return;
	qp_shape_fini(c);
	LIST_REMOVE(c, link);
	free(c->network);
	free(c->arriving);
	free(c);
}

bool
qp_client_attach(struct qp_tunnel *t, uint32_t client_id)
{
	struct qp_client *c = client_id != 0 ? find_or_make(t->all, client_id) : NULL;

	if (c == t->client)
		return c != NULL || client_id == 0;
	qp_client_detach(t);
	t->client = c;
	if (c == NULL)
		return client_id == 0;
	c->ntunnels++;
	c->conns_now += t->usage.conns_now;
	c->nflows += t->nflows;
	return true;
}

void
qp_client_detach(struct qp_tunnel *t)
{
	struct qp_client *c = t->client;

	if (c == NULL)
		return;
	qp_shape_leave(t);
	t->client = NULL;
	c->ntunnels--;
	c->conns_now -= t->usage.conns_now;
	c->nflows -= t->nflows;
	release(c);
}

/* What the control plane says. */

static void
set_limits(struct qp_tunnels *ts, const struct qp_msg_client_limits *in)
{
	struct qp_client *c = find_or_make(ts, in->client_id);

	if (c == NULL)
		return;
	c->known = true;
	c->limits = *in;
	c->limits.nsources = RTE_MIN(in->nsources, QP_CLIENT_MAX_SOURCES);
	qp_bucket_set(&c->conns, in->conns_per_s, in->conns_per_s, *ts->env.now_ns);
	if (in->nsources == 0) {
		free(c->network);
		c->network = NULL;
		c->nnetworks = 0;
	}
	c->narrived = 0;
	qp_shape_set(c);
}

/* A list counts when it is whole: until then the one before does. */
static void
add_sources(struct qp_tunnels *ts, const struct qp_msg_client_sources *in)
{
	struct qp_client *c = find(ts, in->client_id);
	const uint32_t all = c != NULL ? c->limits.nsources : 0;

	if (c == NULL || in->n > QP_MSG_NETWORKS || in->first != c->narrived || in->first + in->n > all)
		return;
	if (c->arriving == NULL)
		c->arriving = calloc(QP_CLIENT_MAX_SOURCES, sizeof(*c->arriving));
	if (c->arriving == NULL)
		return;
	memcpy(c->arriving + in->first, in->network, in->n * sizeof(*in->network));
	c->narrived += in->n;
	if (c->narrived < all)
		return;
	free(c->network);
	c->network = c->arriving;
	c->nnetworks = all;
	c->arriving = NULL;
	c->narrived = 0;
	if (c->conns_now > 0)
		qp_sweep_begin(ts);
}

static void
forget(struct qp_tunnels *ts, uint32_t id)
{
	const struct qp_msg_client_limits none = {.client_id = id};
	struct qp_client *c = find(ts, id);

	if (c == NULL)
		return;
	if (c->ntunnels > 0)
		set_limits(ts, &none);
	c->known = false;
	release(c);
}

void
qp_clients_message(struct qp_tunnels *ts, const struct qp_msg *msg)
{
	switch (msg->type) {
	case QP_MSG_CLIENT_LIMITS:
		if (msg->client_limits.client_id != 0)
			set_limits(ts, &msg->client_limits);
		break;
	case QP_MSG_CLIENT_SOURCES:
		add_sources(ts, &msg->client_sources);
		break;
	case QP_MSG_CLIENT_FORGET:
		forget(ts, msg->client_forget.client_id);
		break;
	default:
		break;
	}
}

void
qp_clients_free(struct qp_tunnels *ts)
{
	struct qp_client *c;

	for (unsigned i = 0; i < QP_CLIENT_BUCKETS; i++) {
		while ((c = LIST_FIRST(&ts->clients[i])) != NULL) {
			c->known = false;
			release(c);
		}
	}
}
