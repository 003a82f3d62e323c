/* SPDX-License-Identifier: Apache-2.0 */
/* When malloc gives memory back. The data plane's main thread. */
#include "dataplane/trim.h"

#include <malloc.h>

#include "common/heap.h"

static bool
is_calm(struct qp_trim *t, uint64_t heap_bytes, uint64_t now_ns)
{
	const uint64_t change = heap_bytes > t->calm_bytes ? heap_bytes - t->calm_bytes
							   : t->calm_bytes - heap_bytes;

	if (t->calm_since_ns == 0 || change > QP_TRIM_LEAST / 16) {
		t->calm_bytes = heap_bytes;
		t->calm_since_ns = now_ns;
	}
	return now_ns - t->calm_since_ns >= QP_TRIM_CALM_NS;
}

bool
qp_trim_due(struct qp_trim *t, uint64_t heap_bytes, uint64_t now_ns)
{
	uint64_t fallen;

	if (heap_bytes > t->peak_bytes)
		t->peak_bytes = heap_bytes;
	fallen = t->peak_bytes - heap_bytes;
	if (!is_calm(t, heap_bytes, now_ns) || fallen < QP_TRIM_LEAST || fallen <= t->peak_bytes / 2)
		return false;
	t->peak_bytes = heap_bytes;
	return fallen <= QP_TRIM_MOST;
}

static bool
all_sleep(const struct qp_gen_shared *shared)
{
	for (uint32_t i = 0; i < shared->nworkers; i++) {
		if (__atomic_load_n(&shared->door[i].c2d_sleeping, __ATOMIC_RELAXED) == 0)
			return false;
	}
	return true;
}

void
qp_trim_turn(struct qp_trim *t, const struct qp_gen_shared *shared, uint64_t now_ns)
{
	if (qp_trim_due(t, qp_heap_in_use(), now_ns))
		t->owed = true;
	if (!t->owed || !all_sleep(shared))
		return;
	t->owed = false;
	(void)malloc_trim(0);
}
