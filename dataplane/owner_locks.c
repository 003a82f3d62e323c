/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finding and freeing the locks of the dead. DPDK has no names for most of
 * these words, so each is found by what happens to it: taken by DPDK's own
 * function, it is the word of the configuration that changes. What a process
 * does with them while it starts EAL is reading alone (it maps what the primary
 * has made), so a lock that is freed for it protects nothing half-done.
 */
#include "dataplane/owner_locks.h"

#include <rte_eal_memconfig.h>
#include <rte_fbarray.h>
#include <rte_memory.h>
#include <rte_memzone.h>
#include <rte_spinlock.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MAX_LOCKS 32u
#define HEAD_WORDS 64u /* the locks that the configuration begins with are among these */
#define ZONES_NAME "memzone" /* of the table of memzones */
#define LOOK_EVERY_NS 1000000
#define LOOKS 20u

struct lock {
	const char *name;
	uint32_t *word;
};

static struct {
	unsigned n;
	struct lock lock[MAX_LOCKS];
	uint32_t *head; /* EAL's shared configuration, as this process has it mapped */
	uint32_t before[HEAD_WORDS];
	const char *looking_for;
} found;

static void
add(const char *name, void *word)
{
	if (found.n < MAX_LOCKS)
		found.lock[found.n++] = (struct lock) {name, word};
}

static uint32_t *
find_config(const char *instance)
{
	char line[512], tail[128];
	FILE *maps = fopen("/proc/self/maps", "r");
	uint32_t *at = NULL;

	if (maps == NULL)
		return NULL;
	snprintf(tail, sizeof(tail), "/dpdk/%s/config\n", instance);
	while (at == NULL && fgets(line, sizeof(line), maps) != NULL) {
		const char *end = strstr(line, tail);

		if (end != NULL && end[strlen(tail)] == '\0')
			at = (uint32_t *)(uintptr_t)strtoull(line, NULL, 16);
	}
	fclose(maps);
	return at;
}

/* The lock is taken: which word is it? */
static void
compare(void)
{
	for (unsigned i = 0; i < HEAD_WORDS; i++) {
		if (found.head[i] != found.before[i])
			add(found.looking_for, &found.head[i]);
	}
}

static void
look_for(const char *name)
{
	found.looking_for = name;
	memcpy(found.before, found.head, sizeof(found.before));
}

static void
compare_in_walk(const struct rte_memzone *zone, void *arg)
{
	bool *done = arg;

	(void)zone;
	if (!*done)
		compare();
	*done = true;
}

static int
add_segment_list(const struct rte_memseg_list *list, void *arg)
{
	(void)arg;
	if (!list->external)
		add("page table", (void *)(uintptr_t)&list->memseg_arr.rwlock);
	return 0;
}

/* The table of memzones is in the configuration itself, behind its locks. */
static void
find_zone_table(void)
{
	for (unsigned i = 0; i < HEAD_WORDS; i += _Alignof(struct rte_fbarray) / sizeof(uint32_t)) {
		struct rte_fbarray *table = (struct rte_fbarray *)(void *)&found.head[i];

		if (strcmp(table->name, ZONES_NAME) == 0 &&
			table->elt_sz == sizeof(struct rte_memzone))
			add("memzone table", &table->rwlock);
	}
}

int
qp_owner_locks_find(const char *instance, struct qp_errmsg *msg)
{
	const struct rte_memzone *zone;
	bool walked = false;

	found.head = find_config(instance);
	if (found.head == NULL)
		return qp_fail(msg, QP_E_NOTFOUND, "EAL's configuration is not mapped");
	look_for("memory");
	rte_mcfg_mem_read_lock();
	compare();
	rte_mcfg_mem_read_unlock();
	look_for("lists");
	rte_mcfg_tailq_read_lock();
	compare();
	rte_mcfg_tailq_read_unlock();
	look_for("mempools");
	rte_mcfg_mempool_read_lock();
	compare();
	rte_mcfg_mempool_read_unlock();
	look_for("timers");
	rte_mcfg_timer_lock();
	compare();
	rte_mcfg_timer_unlock();
	zone = rte_memzone_reserve("qp_owner", RTE_CACHE_LINE_SIZE, SOCKET_ID_ANY, 0);
	look_for("memzones");
	rte_memzone_walk(compare_in_walk, &walked); /* needs one to walk over */
	rte_memzone_free(zone);
	if (!walked || found.n != 5)
		return qp_fail(msg, QP_E_PROTO, "%u locks found of 5", found.n);
	find_zone_table();
	rte_memseg_list_walk(add_segment_list, NULL);
	return found.n > 6 ? 0 : qp_fail(msg, QP_E_PROTO, "no memzone table");
}

bool
qp_owner_locks_free(void)
{
	for (unsigned i = 0; i < found.n; i++) {
		if (__atomic_load_n(found.lock[i].word, __ATOMIC_ACQUIRE) != 0)
			return false;
	}
	return true;
}

/*
 * What the dead hold of it: our own threads (telemetry) take it for moments, so
 * the least that is seen in a while is what nobody gives back. A writer's or a
 * reader's mark alike is taken away by subtraction.
 */
static uint32_t
held_by_the_dead(const uint32_t *word)
{
	const struct timespec pause = {.tv_nsec = LOOK_EVERY_NS};
	uint32_t least = UINT32_MAX;

	for (unsigned i = 0; i < LOOKS && least != 0; i++) {
		uint32_t now = __atomic_load_n(word, __ATOMIC_ACQUIRE);

		least = now < least ? now : least;
		if (least != 0)
			nanosleep(&pause, NULL);
	}
	return least;
}

unsigned
qp_owner_locks_repair(char names[128])
{
	unsigned n = 0;
	size_t at = 0;

	names[0] = '\0';
	for (unsigned i = 0; i < found.n; i++) {
		uint32_t held = held_by_the_dead(found.lock[i].word);

		if (held == 0)
			continue;
		/* Pairs with the acquire of whoever waits for it. */
		__atomic_fetch_sub(found.lock[i].word, held, __ATOMIC_RELEASE);
		if (at < 128)
			at += (size_t)snprintf(names + at, 128 - at, "%s%s", n == 0 ? "" : ", ",
				found.lock[i].name);
		n++;
	}
	return n;
}
