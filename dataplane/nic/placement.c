/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Placement of new clients. Loads are what the workers show at their doors, some
 * times a second; what was placed since counts too, or a burst would all go to one.
 */
#include "dataplane/nic/placement.h"

#include <stdlib.h>
#include <string.h>

#include "common/error.h"
#include "dataplane/lines.h"
#include "dataplane/nic/handoff.h"
#include "dataplane/nic/mix.h"

#define REMEMBERED_MS 60000u /* longer than a client tries */
#define HOME_PARTS    8u
#define PENDING_MS    250u   /* a load is this old at most, or nearly */

int
qp_placement_init(struct qp_placement *p, uint32_t seed)
{
	*p = (struct qp_placement) {.seed = seed};
	p->entries = qp_lines_alloc(QP_PLACEMENT_ENTRIES * sizeof(*p->entries));
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
choose(struct qp_placement *p, uint32_t hash, const struct qp_placement_gen *gen)
{
	const uint32_t first = gen->home < gen->nworkers ? gen->home : hash % gen->nworkers;
	const uint32_t at_first = load_of(p, first, gen->nworkers, gen->handoff);
	uint32_t best = first, least = at_first;

	for (uint32_t i = 0; i < gen->nworkers; i++) {
		const uint32_t worker = (hash + i) % gen->nworkers;
		const uint32_t load = load_of(p, worker, gen->nworkers, gen->handoff);

		if (load < least) {
			least = load;
			best = worker;
		}
	}
	return first == gen->home && at_first <= least + least / HOME_PARTS ? first : best;
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
qp_placement_worker(struct qp_placement *p, uint32_t hash, bool opens,
	const struct qp_placement_gen *gen, uint64_t now_ns)
{
	const uint32_t h = qp_mix(p->seed, hash), now_ms = (uint32_t)(now_ns / 1000000u);
	struct qp_placement_entry *e = &p->entries[h % QP_PLACEMENT_ENTRIES];
	const uint32_t mark = qp_mix(h, p->seed);

	if (e->server_id == gen->server_id && e->mark == mark && e->worker < gen->nworkers &&
		now_ms - e->at_ms < REMEMBERED_MS) {
		e->at_ms = now_ms;
		return e->worker;
	}
	if (!opens)
		return hash % gen->nworkers;
	age_pending(p, gen->server_id, now_ms);
	*e = (struct qp_placement_entry) {
		.mark = mark,
		.server_id = (uint16_t)gen->server_id,
		.worker = (uint8_t)choose(p, hash, gen),
		.at_ms = now_ms,
	};
	p->pending[e->worker]++;
	return e->worker;
}
