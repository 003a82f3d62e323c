/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Objects of one size, from chunks. Thread: the owning lcore. The heap is
 * called once for many objects, when the number in use reaches a new high.
 */
#include "dataplane/tcp/slab.h"

#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "common/heap.h"

#define LINE 64u
#define FIRST_CHUNK_BYTES (16u * 1024)
/* A huge page: a million objects are 250 of them instead of 125,000 small ones in the TLB's way. */
#define CHUNK_BYTES (2u << 20)
#define KEPT_BYTES (256u * 1024)

struct link {
	struct link *next;
};

/* At the front of each. */
struct chunk {
	struct chunk *next;
	size_t bytes;
};

void
qp_slab_init(struct qp_slab *s, size_t object_bytes)
{
	*s = (struct qp_slab) {.size = (object_bytes + 15) & ~(size_t)15};
}

/* A huge page's room, aligned as one. */
static void *
map_huge(void)
{
	char *p = mmap(NULL, 2 * CHUNK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	size_t skip;

	if (p == MAP_FAILED)
		return NULL;
	skip = (CHUNK_BYTES - (uintptr_t)p % CHUNK_BYTES) % CHUNK_BYTES;
	if (skip > 0)
		munmap(p, skip);
	munmap(p + skip + CHUNK_BYTES, CHUNK_BYTES - skip);
	(void)madvise(p + skip, CHUNK_BYTES, MADV_HUGEPAGE);
	return p + skip;
}

/* A thirty-second of what there is: chunks become large, and what is not used yet stays small. */
static size_t
next_chunk_bytes(const struct qp_slab *s)
{
	size_t bytes = s->bytes / 32 / FIRST_CHUNK_BYTES * FIRST_CHUNK_BYTES;

	if (bytes < FIRST_CHUNK_BYTES)
		return FIRST_CHUNK_BYTES;
	return bytes < CHUNK_BYTES ? bytes : CHUNK_BYTES;
}

/* Not malloc's, and yet the heap's: a budget is about both. */
static void
note_mapped(struct qp_slab *s, int64_t bytes)
{
	s->mapped_bytes += (size_t)bytes;
	qp_heap_count(bytes);
}

static int
grow(struct qp_slab *s)
{
	size_t bytes = next_chunk_bytes(s);
	struct chunk *chunk = bytes == CHUNK_BYTES ? map_huge() : aligned_alloc(LINE, bytes);

	if (chunk == NULL)
		return -1;
	chunk->next = s->chunks;
	chunk->bytes = bytes;
	s->chunks = chunk;
	s->bytes += bytes;
	if (bytes == CHUNK_BYTES)
		note_mapped(s, (int64_t)bytes);
	for (size_t at = LINE; at + s->size <= bytes; at += s->size) {
		struct link *object = (struct link *)((char *)chunk + at);

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

/* Of nothing in use, so in any order; the bytes go back to the heap. */
static void
drop_chunks(struct qp_slab *s)
{
	struct chunk *chunk = s->chunks;

	while (chunk != NULL) {
		struct chunk *next = chunk->next;

		if (chunk->bytes == CHUNK_BYTES)
			munmap(chunk, CHUNK_BYTES);
		else
			free(chunk);
		chunk = next;
	}
	note_mapped(s, -(int64_t)s->mapped_bytes);
	s->free = NULL;
	s->chunks = NULL;
	s->used = 0;
	s->bytes = 0;
}

void
qp_slab_put(struct qp_slab *s, void *object)
{
	((struct link *)object)->next = s->free;
	s->free = object;
	s->used--;
	/* What a crowd took is not kept for ever; a little is, so that single ones cost no chunk each. */
	if (s->used == 0 && s->bytes > KEPT_BYTES)
		drop_chunks(s);
}

void
qp_slab_release(struct qp_slab *s)
{
	drop_chunks(s);
}
