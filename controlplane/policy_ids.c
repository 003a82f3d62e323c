/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ids follow from names, so that a control plane that starts anew means the
 * same client by the same number as the data planes that it finds. Of two
 * names with one hash (one pair among 10,000 in a hundred gateways) the second
 * gets another number, and keeps it while the process lives. Any thread that
 * builds a policy: hence the lock.
 */
#include <pthread.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "controlplane/policy_impl.h"

/* A name that does not have the number of its hash. Kept: such are next to none. */
struct moved {
	char name[QP_POLICY_NAME_BYTES];
	uint32_t id;
	SLIST_ENTRY(moved) next;
};

static SLIST_HEAD(, moved) all_moved = SLIST_HEAD_INITIALIZER(all_moved);
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards it */

static uint32_t
hash_of(const char *name)
{
	static const uint8_t key[crypto_shorthash_KEYBYTES] = "quicport client";
	uint8_t out[crypto_shorthash_BYTES];
	uint32_t id;

	crypto_shorthash(out, (const uint8_t *)name, strlen(name), key);
	memcpy(&id, out, sizeof(id));
	return id;
}

static bool
is_moved_to(uint32_t id)
{
	const struct moved *m;

	SLIST_FOREACH (m, &all_moved, next) {
		if (m->id == id)
			return true;
	}
	return false;
}

/* Held: the lock. */
static uint32_t
find_id(const char *name, bool (*taken)(const void *ctx, uint32_t id), const void *ctx)
{
	uint32_t id = hash_of(name);
	struct moved *m;

	SLIST_FOREACH (m, &all_moved, next) {
		if (strcmp(m->name, name) == 0)
			return m->id;
	}
	if (id != 0 && !is_moved_to(id) && !taken(ctx, id))
		return id;
	m = calloc(1, sizeof(*m));
	if (m == NULL)
		return 0;
	while (id == 0 || is_moved_to(id) || taken(ctx, id))
		id++;
	memcpy(m->name, name, strlen(name) + 1);
	m->id = id;
	SLIST_INSERT_HEAD(&all_moved, m, next);
	return id;
}

uint32_t
qp_policy_id_for(const char *name, bool (*taken)(const void *ctx, uint32_t id), const void *ctx)
{
	uint32_t id;

	pthread_mutex_lock(&lock);
	id = find_id(name, taken, ctx);
	pthread_mutex_unlock(&lock);
	return id;
}
