/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Placement of new clients. Loads are what the workers show at their doors, some
 * times a second; what was placed since counts too, or a burst would all go to one.
 */
#include "dataplane/nic/placement.h"

#include <stdlib.h>
#include <string.h>

#include "common/error.h"
#include "dataplane/nic/handoff.h"
#include "dataplane/nic/mix.h"

#define REMEMBERED_MS 60000u /* longer than a client tries */
#define PENDING_MS    250u   /* a load is this old at most, or nearly */

int
qp_placement_init(struct qp_placement *p, uint32_t seed)
{
	*p = (struct qp_placement) {.seed = seed};
	p->entries = calloc(QP_PLACEMENT_ENTRIES, sizeof(*p->entries));
	return p->entries != NULL ? 0 : QP_E_NOMEM;
}

void
qp_placement_fini(struct qp_placement *p)
{
	free(p->entries);
	p->entries = NULL;
}

/* What has come into the load since the last look is pending no more. */
static uint32_t
load_of(struct qp_placement *p, uint32_t worker, uint32_t nworkers, uint64_t handoff)
{
	uint32_t load, risen;

	if (handoff == 0)
		return p->pending[worker];
	load = __atomic_load_n(&qp_handoff_door(handoff, nworkers, worker)->load, __ATOMIC_RELAXED);
	risen = load > p->seen[worker] ? load - p->seen[worker] : 0;
	p->pending[worker] -= risen < p->pending[worker] ? risen : p->pending[worker];
	p->seen[worker] = load;
	return load + p->pending[worker];
}

/* Of equal ones the hash chooses, or each placing worker would begin with the first. */
static uint32_t
least_loaded(struct qp_placement *p, uint32_t hash, uint32_t nworkers, uint64_t handoff)
{
	const uint32_t first = hash % nworkers;
	uint32_t best = first, least = load_of(p, first, nworkers, handoff);

	for (uint32_t i = 1; i < nworkers; i++) {
		const uint32_t worker = (first + i) % nworkers;
		const uint32_t load = load_of(p, worker, nworkers, handoff);

		if (load < least) {
			least = load;
			best = worker;
		}
	}
	return best;
}

static void
age_pending(struct qp_placement *p, uint32_t server_id, uint32_t now_ms)
{
	if (p->pending_server == server_id && now_ms - p->pending_ms < PENDING_MS)
		return;
	memset(p->pending, 0, sizeof(p->pending));
	p->pending_server = server_id;
	p->pending_ms = now_ms;
}

uint32_t
qp_placement_worker(struct qp_placement *p, uint32_t hash, bool opens, uint32_t server_id,
	uint32_t nworkers, uint64_t handoff, uint64_t now_ns)
{
	const uint32_t h = qp_mix(p->seed, hash), now_ms = (uint32_t)(now_ns / 1000000u);
	struct qp_placement_entry *e = &p->entries[h % QP_PLACEMENT_ENTRIES];
	const uint32_t mark = qp_mix(h, p->seed);

	if (e->server_id == server_id && e->mark == mark && e->worker < nworkers &&
		now_ms - e->at_ms < REMEMBERED_MS) {
		e->at_ms = now_ms;
		return e->worker;
	}
	if (!opens)
		return hash % nworkers;
	age_pending(p, server_id, now_ms);
	*e = (struct qp_placement_entry) {
		.mark = mark,
		.server_id = (uint16_t)server_id,
		.worker = (uint8_t)least_loaded(p, hash, nworkers, handoff),
		.at_ms = now_ms,
	};
	p->pending[e->worker]++;
	return e->worker;
}
