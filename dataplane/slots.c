/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Slots with generations. Any thread that owns the struct; allocates only when
 * more things live at once than ever before.
 */
#include "dataplane/slots.h"

#include <stdlib.h>

#include "common/error.h"

#define FIRST_SLOTS 16u
#define MAX_SLOTS (1u << QP_SLOT_BITS)

static uint32_t
gen_mask(const struct qp_slots *s)
{
	return s->gen_mask != 0 ? s->gen_mask : UINT32_MAX;
}

static int
grow(struct qp_slots *s)
{
	uint32_t size = s->size != 0 ? 2 * s->size : FIRST_SLOTS;
	struct qp_slot *slot;

	if (size > MAX_SLOTS)
		return QP_E_FULL;
	slot = realloc(s->slot, size * sizeof(*slot));
	if (slot == NULL)
		return QP_E_NOMEM;
	for (uint32_t i = s->size; i < size; i++)
		slot[i] = (struct qp_slot) {.next = i + 1 < size ? i + 2 : 0};
	s->slot = slot;
	s->free_head = s->size + 1;
	s->size = size;
	return 0;
}

int
qp_slots_add(struct qp_slots *s, void *ptr, uint64_t *id)
{
	struct qp_slot *slot;
	int rc;

	if (s->free_head == 0 && (rc = grow(s)) < 0)
		return rc;
	slot = &s->slot[s->free_head - 1];
	slot->gen = (slot->gen + 1) & gen_mask(s);
	if (slot->gen == 0)
		slot->gen = 1;
	*id = (uint64_t)slot->gen << QP_SLOT_BITS | (s->free_head - 1);
	s->free_head = slot->next;
	slot->ptr = ptr;
	s->used++;
	return 0;
}

static struct qp_slot *
find(const struct qp_slots *s, uint64_t id)
{
	uint32_t i = id & (MAX_SLOTS - 1);

	if (i >= s->size || s->slot[i].ptr == NULL || s->slot[i].gen != id >> QP_SLOT_BITS)
		return NULL;
	return &s->slot[i];
}

void *
qp_slots_get(const struct qp_slots *s, uint64_t id)
{
	struct qp_slot *slot = find(s, id);

	return slot != NULL ? slot->ptr : NULL;
}

void
qp_slots_remove(struct qp_slots *s, uint64_t id)
{
	struct qp_slot *slot = find(s, id);

	if (slot == NULL)
		return;
	slot->ptr = NULL;
	slot->next = s->free_head;
	s->free_head = (uint32_t)(id & (MAX_SLOTS - 1)) + 1;
	s->used--;
}

void
qp_slots_fini(struct qp_slots *s)
{
	free(s->slot);
	*s = (struct qp_slots) {.gen_mask = s->gen_mask};
}
