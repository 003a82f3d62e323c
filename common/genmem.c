/* SPDX-License-Identifier: Apache-2.0 */
/* A generation's memzones: found by name, counted, freed. */
#include "common/genmem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_eal.h>
#include <rte_eal_memconfig.h>
#include <rte_malloc.h>
#include <rte_memzone.h>
#include <rte_tailq.h>

#include "common/ipc.h"

void *
qp_genmem_find(const char *name, uint64_t *bytes)
{
	const struct rte_memzone *zone = rte_memzone_lookup(name);

	if (zone == NULL)
		return NULL;
	*bytes = zone->len;
	return zone->addr;
}

/* The names of a dead generation's zones, collected first: freeing changes the table. */
struct doomed {
	uint32_t server_id;
	unsigned n;
	char name[256][RTE_MEMZONE_NAMESIZE];
};

bool
qp_genmem_named(const char *name, uint32_t server_id)
{
	char mark[16];
	size_t len = (size_t)snprintf(mark, sizeof(mark), "_%u", server_id);

	for (const char *at = strstr(name, mark); at != NULL; at = strstr(at + 1, mark)) {
		if (at[len] == '\0' || at[len] == '_')
			return true;
	}
	return false;
}

static void
collect_zone(const struct rte_memzone *zone, void *arg)
{
	struct doomed *d = arg;

	if (d->n < 256 && qp_genmem_named(zone->name, d->server_id))
		snprintf(d->name[d->n++], RTE_MEMZONE_NAMESIZE, "%s", zone->name);
}

struct tally {
	uint32_t server_id;
	uint64_t bytes;
};

static void
count_zone(const struct rte_memzone *zone, void *arg)
{
	struct tally *t = arg;

	if (qp_genmem_named(zone->name, t->server_id))
		t->bytes += zone->len;
}

void
qp_genmem_usage(uint32_t server_id, uint64_t *used, uint64_t *left)
{
	struct tally t = {.server_id = server_id};
	struct rte_malloc_socket_stats stats;

	rte_memzone_walk(count_zone, &t);
	*used = t.bytes;
	*left = 0;
	for (unsigned i = 0; i < rte_socket_count(); i++) {
		if (rte_malloc_get_socket_stats(rte_socket_id_by_idx(i), &stats) == 0)
			*left += stats.heap_freesz_bytes;
	}
}

/*
 * Rings, mempools and stacks are listed for all processes; an entry that points
 * into a zone which goes away must go first. Their own functions cannot do it:
 * those call back into the dead process's program.
 */
static void
unlist_objects(const char *list, const struct rte_memzone *zone)
{
	struct rte_tailq_head *head = rte_eal_tailq_lookup(list);
	const char *start = zone->addr, *end = start + zone->len;
	struct rte_tailq_entry *entry, *next;

	if (head == NULL)
		return;
	rte_mcfg_tailq_write_lock();
	for (entry = TAILQ_FIRST(&head->tailq_head); entry != NULL; entry = next) {
		const char *object = entry->data;

		next = TAILQ_NEXT(entry, next);
		if (object >= start && object < end) {
			TAILQ_REMOVE(&head->tailq_head, entry, next);
			rte_free(entry);
		}
	}
	rte_mcfg_tailq_write_unlock();
}

unsigned
qp_genmem_reclaim(uint32_t server_id)
{
	static const char *const lists[] = {"RTE_RING", "RTE_MEMPOOL", "RTE_STACK"};
	struct doomed *d = calloc(1, sizeof(*d));
	unsigned freed = 0;

	if (d == NULL)
		return 0;
	d->server_id = server_id;
	rte_memzone_walk(collect_zone, d);
	for (unsigned i = 0; i < d->n; i++) {
		const struct rte_memzone *zone = rte_memzone_lookup(d->name[i]);

		if (zone == NULL)
			continue;
		for (unsigned k = 0; k < sizeof(lists) / sizeof(lists[0]); k++)
			unlist_objects(lists[k], zone);
		freed += rte_memzone_free(zone) == 0;
	}
	free(d);
	return freed;
}

struct found {
	unsigned n;
	uint32_t *server_id;
};

static void
find_block(const struct rte_memzone *zone, void *arg)
{
	struct found *f = arg;
	uint32_t id;

	if (f->n < 16 && sscanf(zone->name, QP_SHARED_NAME, &id) == 1)
		f->server_id[f->n++] = id;
}

unsigned
qp_genmem_list(uint32_t server_id[16])
{
	struct found f = {.server_id = server_id};

	rte_memzone_walk(find_block, &f);
	return f.n;
}
