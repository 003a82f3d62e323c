/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bandwidth of clients: a token bucket for each direction, which all
 * connections of all tunnels of the client share. While tokens lack, relays
 * with bytes wait in a queue and are served in turn, a quantum each (deficit
 * round robin), by a timer. Datagrams are admission.c's.
 * Runs on the owning lcore.
 */
#include "dataplane/shape.h"

#include <rte_common.h>

#define MIN_BURST 3000          /* two packets, whatever the rate */
#define QUANTUM 4096
#define MIN_QUANTUM 256
#define TURN_NS (1000ull * 1000) /* between two turns of service, at least */
#define MIN_WINDOW (16u * 1024)

static struct qp_shape *
shape_of(const struct qp_relay *r, enum qp_way way)
{
	return &r->tunnel->client->shape[way];
}

static enum qp_way
way_of(const struct qp_shape *s)
{
	return s == &s->client->shape[QP_WAY_IN] ? QP_WAY_IN : QP_WAY_OUT;
}

static uint64_t
now(const struct qp_shape *s)
{
	return *s->client->all->env.now_ns;
}

/* Tokens for relays. */
static int64_t
left(const struct qp_shape *s)
{
	return s->bucket.tokens - RTE_MAX(s->udp_tokens, INT64_C(0));
}

static void
set_limited(struct qp_client *c)
{
	c->limited = false;
	for (unsigned way = 0; way < QP_WAYS; way++)
		c->limited |= c->shape[way].bucket.rate != 0 || c->shape[way].nwaiting != 0;
}

/* When there are tokens again. */
static void
arm(struct qp_shape *s)
{
	const int64_t debt = RTE_MAX(1 - left(s), INT64_C(0));
	uint64_t ns = s->bucket.rate != 0 ? (uint64_t)debt * 1000000000u / s->bucket.rate : 0;

	if (s->nwaiting > 0)
		qp_timer_arm(s->client->all->env.wheel, &s->timer, now(s) + RTE_MAX(ns, (uint64_t)TURN_NS));
	else
		qp_timer_cancel(s->client->all->env.wheel, &s->timer);
}

static void
enqueue(struct qp_shape *s, struct qp_relay *r, enum qp_way way)
{
	r->shaped[way] = true;
	r->deficit[way] = 0;
	TAILQ_INSERT_TAIL(&s->waiting, r, shape_link[way]);
	s->nwaiting++;
	s->client->limited = true;
	s->client->all->env.counters->client_waits++;
	if (!qp_timer_armed(&s->timer))
		arm(s);
}

static void
dequeue(struct qp_shape *s, struct qp_relay *r, enum qp_way way)
{
	r->shaped[way] = false;
	TAILQ_REMOVE(&s->waiting, r, shape_link[way]);
	s->nwaiting--;
}

void
qp_shape_drop(struct qp_relay *r, enum qp_way way)
{
	if (!r->shaped[way])
		return;
	dequeue(shape_of(r, way), r, way);
}

/* A turn of the first in the queue: it goes to the end, or has nothing left. */
static void
serve_first(struct qp_shape *s, enum qp_way way)
{
	const uint64_t quantum = RTE_MAX(s->bucket.rate / 128, (uint64_t)MIN_QUANTUM);
	struct qp_relay *r = TAILQ_FIRST(&s->waiting);
	uint32_t bytes;

	r->deficit[way] += s->bucket.rate == 0 ? QUANTUM : (int32_t)RTE_MIN(quantum, (uint64_t)QUANTUM);
	if (r->deficit[way] > 0) {
		bytes = qp_relay_pass(r, way, (uint32_t)r->deficit[way]);
		r->deficit[way] -= (int32_t)bytes;
		if (s->bucket.rate != 0)
			s->bucket.tokens -= bytes;
	}
	TAILQ_REMOVE(&s->waiting, r, shape_link[way]);
	if (qp_relay_has(r, way)) {
		TAILQ_INSERT_TAIL(&s->waiting, r, shape_link[way]);
		return;
	}
	r->shaped[way] = false;
	s->nwaiting--;
}

static void
serve(struct qp_shape *s)
{
	const enum qp_way way = way_of(s);

	if (s->bucket.rate != 0)
		qp_shape_refill(s);
	while (!TAILQ_EMPTY(&s->waiting) && (s->bucket.rate == 0 || left(s) > 0))
		serve_first(s, way);
	if (s->bucket.rate == 0)
		set_limited(s->client);
	arm(s);
}

static void
on_timer(struct qp_timer *timer, uint64_t now_ns)
{
	(void)now_ns;
	serve((struct qp_shape *)((char *)timer - offsetof(struct qp_shape, timer)));
}

bool
qp_shape_wait(struct qp_relay *r, enum qp_way way, uint32_t bytes)
{
	struct qp_shape *s = shape_of(r, way);

	if (r->shaped[way])
		return true;
	if (s->bucket.rate == 0)
		return false;
	qp_shape_refill(s);
	if (s->nwaiting == 0 && left(s) >= (int64_t)bytes) {
		s->bucket.tokens -= bytes;
		return false;
	}
	enqueue(s, r, way);
	return true;
}

/* Half a second's worth is enough to wait here, among those that wait. */
uint32_t
qp_shape_cap(const struct qp_tunnel *t, enum qp_way way, uint32_t window)
{
	const struct qp_client *c = t->client;
	uint64_t most;

	if (c == NULL || c->shape[way].bucket.rate == 0)
		return window;
	most = c->shape[way].bucket.rate / 2 / RTE_MAX(c->shape[way].nwaiting, 1u);
	most = RTE_MAX(most, (uint64_t)MIN_WINDOW);
	return (uint32_t)RTE_MIN(most, (uint64_t)window);
}

void
qp_shape_init(struct qp_client *c)
{
	for (unsigned way = 0; way < QP_WAYS; way++) {
		c->shape[way].client = c;
		c->shape[way].timer.fn = on_timer;
		TAILQ_INIT(&c->shape[way].waiting);
	}
}

void
qp_shape_fini(struct qp_client *c)
{
	for (unsigned way = 0; way < QP_WAYS; way++)
		qp_timer_cancel(c->all->env.wheel, &c->shape[way].timer);
}

void
qp_shape_set(struct qp_client *c)
{
	const uint64_t rates[QP_WAYS] = {
		[QP_WAY_IN] = c->limits.in_bytes_per_s,
		[QP_WAY_OUT] = c->limits.out_bytes_per_s,
	};

	for (unsigned way = 0; way < QP_WAYS; way++) {
		struct qp_shape *s = &c->shape[way];

		/* A ninth of a second in advance: bursts of datagrams pass, and 10 s stay within 5 %. */
		qp_bucket_set(&s->bucket, rates[way], RTE_MAX((int64_t)(rates[way] / 9), MIN_BURST), now(s));
		s->udp_tokens = 0;
	}
	set_limited(c);
	for (unsigned way = 0; way < QP_WAYS; way++)
		if (c->shape[way].nwaiting > 0)
			serve(&c->shape[way]);
}

void
qp_shape_leave(struct qp_tunnel *t)
{
	struct qp_relay *r;

	TAILQ_FOREACH(r, &t->relays, link) {
		for (unsigned way = 0; way < QP_WAYS; way++) {
			if (!r->shaped[way])
				continue;
			qp_shape_drop(r, way);
			while (qp_relay_has(r, way))
				(void)qp_relay_pass(r, way, UINT32_MAX);
		}
	}
}
