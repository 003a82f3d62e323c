/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Objects of one size, from chunks. Thread: the owning lcore. The heap is
 * called once for many objects, when the number in use reaches a new high.
 */
#include "dataplane/tcp/slab.h"

#include <stdlib.h>

#define LINE 64u
#define CHUNK_BYTES 65536u

struct link {
	struct link *next;
};

void
qp_slab_init(struct qp_slab *s, size_t object_bytes)
{
	/* Whole cache lines for big objects, so that each starts on one. */
	size_t align = object_bytes >= LINE ? LINE : 16;

	*s = (struct qp_slab) {.size = (object_bytes + align - 1) & ~(align - 1)};
	s->chunk_bytes = CHUNK_BYTES;
}

static int
grow(struct qp_slab *s)
{
	char *chunk = aligned_alloc(LINE, s->chunk_bytes);

	if (chunk == NULL)
		return -1;
	((struct link *)chunk)->next = s->chunks;
	s->chunks = chunk;
	for (size_t at = LINE; at + s->size <= s->chunk_bytes; at += s->size) {
		struct link *object = (struct link *)(chunk + at);

		object->next = s->free;
		s->free = object;
	}
	return 0;
}

void *
qp_slab_get(struct qp_slab *s)
{
	struct link *object;

	if (s->free == NULL && grow(s) != 0)
		return NULL;
	object = s->free;
	s->free = object->next;
	s->used++;
	return object;
}

void
qp_slab_put(struct qp_slab *s, void *object)
{
	((struct link *)object)->next = s->free;
	s->free = object;
	s->used--;
}

void
qp_slab_release(struct qp_slab *s)
{
	struct link *chunk = s->chunks;

	while (chunk != NULL) {
		struct link *next = chunk->next;

		free(chunk);
		chunk = next;
	}
	s->free = NULL;
	s->chunks = NULL;
	s->used = 0;
}
