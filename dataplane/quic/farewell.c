/* SPDX-License-Identifier: Apache-2.0 */
/* Whom to say goodbye to if we cannot any more: see common/farewell.h. */
#include "dataplane/quic/farewell.h"

#include <stdlib.h>
#include <string.h>

struct qp_farewells {
	struct qp_farewell_table *table;
	uint32_t nfree;
	uint32_t free[]; /* slots; the last one is taken next */
};

size_t
qp_farewells_bytes(uint32_t entries)
{
	return sizeof(struct qp_farewell_table) + entries * sizeof(struct qp_farewell_entry);
}

struct qp_farewells *
qp_farewells_new(void *memory, uint32_t entries)
{
	struct qp_farewells *f = malloc(sizeof(*f) + entries * sizeof(f->free[0]));

	if (f == NULL)
		return NULL;
	memset(memory, 0, qp_farewells_bytes(entries));
	f->table = memory;
	f->table->magic = QP_FAREWELL_MAGIC;
	f->table->entry_bytes = sizeof(struct qp_farewell_entry);
	f->table->n = entries;
	f->nfree = entries;
	for (uint32_t i = 0; i < entries; i++)
		f->free[i] = entries - 1 - i;
	return f;
}

void
qp_farewells_free(struct qp_farewells *f)
{
	free(f);
}

void
qp_farewells_put(struct qp_farewells *f, uint32_t *slot, const struct qp_flow *flow,
	const uint8_t token[QP_RESET_TOKEN_BYTES])
{
	struct qp_farewell_entry *e;

	if (f == NULL || (*slot == QP_FAREWELL_NONE && f->nfree == 0))
		return;
	if (*slot == QP_FAREWELL_NONE)
		*slot = f->free[--f->nfree];
	e = &f->table->entry[*slot];
	__atomic_store_n(&e->used, 0, __ATOMIC_RELAXED);
	/* The fields' stores stay behind that one, and before the last one. */
	__atomic_thread_fence(__ATOMIC_RELEASE);
	e->peer_port_be = flow->rport_be;
	memcpy(e->peer, flow->remote.b, sizeof(e->peer));
	memcpy(e->local, flow->local.b, sizeof(e->local));
	memcpy(e->token, token, sizeof(e->token));
	__atomic_store_n(&e->used, 1, __ATOMIC_RELEASE);
}

void
qp_farewells_drop(struct qp_farewells *f, uint32_t *slot)
{
	if (f == NULL || *slot == QP_FAREWELL_NONE)
		return;
	__atomic_store_n(&f->table->entry[*slot].used, 0, __ATOMIC_RELAXED);
	f->free[f->nfree++] = *slot;
	*slot = QP_FAREWELL_NONE;
}
