/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of tunnels: by origin, and the unproven ones by age. Ids come from
 * our own data plane, so a plain mix of their bits spreads them. Loop thread.
 */
#include "controlplane/tunnels.h"

#include <assert.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#define BUCKETS 4096u

struct qp_tunnels {
	unsigned count[2]; /* by state */
	TAILQ_HEAD(, qp_tunnel) waiting;
	LIST_HEAD(, qp_tunnel) bucket[BUCKETS];
};

static unsigned
bucket_of(const struct qp_origin *o)
{
	uint64_t x = o->id ^ ((uint64_t)o->server_id << 40) ^ ((uint64_t)o->worker << 56);

	/* Fibonacci hashing: consecutive ids land far apart. */
	return (unsigned)((x * 0x9e3779b97f4a7c15u) >> 52);
}

_Static_assert(BUCKETS == 1u << 12, "bucket_of() takes the upper 12 bits");

struct qp_tunnels *
qp_tunnels_new(void)
{
	struct qp_tunnels *t = calloc(1, sizeof(*t));

	if (t != NULL)
		TAILQ_INIT(&t->waiting);
	return t;
}

void
qp_tunnels_free(struct qp_tunnels *t)
{
	if (t == NULL)
		return;
	for (unsigned i = 0; i < BUCKETS; i++) {
		while (!LIST_EMPTY(&t->bucket[i]))
			qp_tunnels_remove(t, LIST_FIRST(&t->bucket[i]));
	}
	free(t);
}

struct qp_tunnel *
qp_tunnels_find(struct qp_tunnels *t, const struct qp_origin *origin)
{
	struct qp_tunnel *tun;

	LIST_FOREACH (tun, &t->bucket[bucket_of(origin)], in_bucket) {
		if (qp_origin_equal(&tun->origin, origin))
			return tun;
	}
	return NULL;
}

static bool
same_source(const uint8_t a[16], const uint8_t b[16])
{
	bool v4 = IN6_IS_ADDR_V4MAPPED((const struct in6_addr *)(const void *)a);

	return memcmp(a, b, v4 ? 16 : 8) == 0;
}

bool
qp_tunnels_may_wait(const struct qp_tunnels *t, const uint8_t addr[16])
{
	const struct qp_tunnel *tun;
	unsigned n = 0;

	if (t->count[QP_TUNNEL_CHALLENGED] < QP_TUNNELS_MAX_WAITING / 2)
		return true;
	TAILQ_FOREACH (tun, &t->waiting, in_waiting)
		n += same_source(addr, tun->peer_addr);
	return n < QP_TUNNELS_MAX_WAITING_OF_ONE;
}

struct qp_tunnel *
qp_tunnels_add(struct qp_tunnels *t, const struct qp_origin *origin, uint64_t now_ns)
{
	struct qp_tunnel *tun;

	if (t->count[QP_TUNNEL_CHALLENGED] >= QP_TUNNELS_MAX_WAITING)
		return NULL;
	tun = calloc(1, sizeof(*tun));
	if (tun == NULL)
		return NULL;
	tun->origin = *origin;
	tun->challenged_at_ns = now_ns;
	LIST_INIT(&tun->ports);
	LIST_INSERT_HEAD(&t->bucket[bucket_of(origin)], tun, in_bucket);
	TAILQ_INSERT_TAIL(&t->waiting, tun, in_waiting);
	t->count[QP_TUNNEL_CHALLENGED]++;
	return tun;
}

struct qp_tunnel *
qp_tunnels_restore(struct qp_tunnels *t, const struct qp_origin *origin,
	const struct qp_msg_tunnel_state *state)
{
	struct qp_tunnel *tun = calloc(1, sizeof(*tun));

	if (tun == NULL)
		return NULL;
	tun->origin = *origin;
	tun->state = QP_TUNNEL_AUTHENTICATED;
	memcpy(tun->peer_addr, state->peer_addr, sizeof(tun->peer_addr));
	tun->peer_port_be = state->peer_port_be;
	tun->identity = state->identity;
	tun->identity.name[sizeof(tun->identity.name) - 1] = '\0';
	if (tun->identity.method == QP_AUTH_X25519)
		memcpy(tun->client_key, tun->identity.key, sizeof(tun->client_key));
	LIST_INIT(&tun->ports);
	LIST_INSERT_HEAD(&t->bucket[bucket_of(origin)], tun, in_bucket);
	t->count[QP_TUNNEL_AUTHENTICATED]++;
	return tun;
}

void
qp_tunnels_authenticated(struct qp_tunnels *t, struct qp_tunnel *tun)
{
	assert(tun->state == QP_TUNNEL_CHALLENGED);
	TAILQ_REMOVE(&t->waiting, tun, in_waiting);
	t->count[QP_TUNNEL_CHALLENGED]--;
	t->count[QP_TUNNEL_AUTHENTICATED]++;
	tun->state = QP_TUNNEL_AUTHENTICATED;
}

void
qp_tunnels_remove(struct qp_tunnels *t, struct qp_tunnel *tun)
{
	assert(LIST_EMPTY(&tun->ports));
	if (tun->state == QP_TUNNEL_CHALLENGED)
		TAILQ_REMOVE(&t->waiting, tun, in_waiting);
	t->count[tun->state]--;
	LIST_REMOVE(tun, in_bucket);
	qp_auth_server_clear(&tun->auth);
	free(tun);
}

struct qp_tunnel *
qp_tunnels_oldest_waiting(struct qp_tunnels *t)
{
	return TAILQ_FIRST(&t->waiting);
}

void
qp_tunnels_each_waiting(
	struct qp_tunnels *t, void (*each)(void *ctx, struct qp_tunnel *tun), void *ctx)
{
	struct qp_tunnel *tun;

	TAILQ_FOREACH (tun, &t->waiting, in_waiting)
		each(ctx, tun);
}

unsigned
qp_tunnels_count(const struct qp_tunnels *t, enum qp_tunnel_state state)
{
	return t->count[state];
}

void
qp_tunnels_each_of(struct qp_tunnels *t, uint32_t server_id,
	void (*each)(void *ctx, struct qp_tunnel *tun), void *ctx)
{
	struct qp_tunnel *tun, *next;

	for (unsigned i = 0; i < BUCKETS; i++) {
		for (tun = LIST_FIRST(&t->bucket[i]); tun != NULL; tun = next) {
			next = LIST_NEXT(tun, in_bucket);
			if (tun->origin.server_id == server_id)
				each(ctx, tun);
		}
	}
}
