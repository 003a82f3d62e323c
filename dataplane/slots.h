/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_DATAPLANE_SLOTS_H
#define QP_DATAPLANE_SLOTS_H

#include <stdint.h>

/*
 * Ids for things that come and go: slot number in the low 20 bits, the slot's
 * generation above, so that a late message with an old id finds nobody. O(1).
 * Owner: one thread. All zero = empty; fini frees.
 */
#define QP_SLOT_BITS 20u

struct qp_slot {
	void *ptr;      /* NULL: free */
	uint32_t gen;   /* counts the slot's uses; never 0 */
	uint32_t next;  /* free list, when free */
};

struct qp_slots {
	struct qp_slot *slot;
	uint32_t size;
	uint32_t free_head; /* index + 1; 0: none */
	uint32_t used;
	uint32_t gen_mask;  /* bits of generation in an id; 0 counts as all 32 */
};

/* QP_E_NOMEM, or QP_E_FULL at 2^20 things; `*id` is never 0. */
int qp_slots_add(struct qp_slots *s, void *ptr, uint64_t *id);
/* NULL when the id is of nobody (any more). */
void *qp_slots_get(const struct qp_slots *s, uint64_t id);
/* Whatever is in that slot, index < size; NULL: nothing. What lives keeps its slot. */
static inline void *
qp_slots_at(const struct qp_slots *s, uint32_t index)
{
	return s->slot[index].ptr;
}
void qp_slots_remove(struct qp_slots *s, uint64_t id);
void qp_slots_fini(struct qp_slots *s);

#endif
