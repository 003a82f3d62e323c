/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Byte queues for both directions of a relay. The loop's thread. Bounds are
 * the users' part: a queue grows as far as it is filled.
 */
#include "client/bytes.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "common/heap.h"

#define QPC_APPEND_CHUNKS 68 /* 1 MiB, wherever it starts in the first one */

void
qpc_pool_init(struct qpc_pool *pool, size_t max_free_bytes)
{
	*pool = (struct qpc_pool) {.max_free_bytes = max_free_bytes};
}

static void
free_list(struct qpc_chunk **list)
{
	while (*list != NULL) {
		struct qpc_chunk *c = *list;

		*list = c->next;
		free(c);
	}
}

void
qpc_pool_trim(struct qpc_pool *pool)
{
	free_list(&pool->free_large);
	free_list(&pool->free_small);
	pool->free_bytes = 0;
}

void
qpc_pool_fini(struct qpc_pool *pool)
{
	assert(pool->used_bytes == 0);
	qpc_pool_trim(pool);
}

static size_t
chunk_bytes(const struct qpc_chunk *c)
{
	return sizeof(*c) + c->cap;
}

static struct qpc_chunk *
chunk_get(struct qpc_pool *pool, bool small)
{
	struct qpc_chunk **list = small ? &pool->free_small : &pool->free_large;
	struct qpc_chunk *c = *list;

	if (c != NULL) {
		*list = c->next;
		pool->free_bytes -= chunk_bytes(c);
	} else {
		c = malloc(small ? QPC_SMALL_BYTES : QPC_CHUNK_BYTES);
		if (c == NULL)
			return NULL;
		c->cap = small ? QPC_SMALL_ROOM : QPC_CHUNK_ROOM;
	}
	c->next = NULL;
	c->end = 0;
	pool->used_bytes += chunk_bytes(c);
	return c;
}

static void
chunk_put(struct qpc_pool *pool, struct qpc_chunk *c)
{
	struct qpc_chunk **list = c->cap == QPC_SMALL_ROOM ? &pool->free_small : &pool->free_large;

	pool->used_bytes -= chunk_bytes(c);
	if (pool->free_bytes >= pool->max_free_bytes || qp_heap_level() != QP_HEAP_ROOM) {
		free(c);
		return;
	}
	c->next = *list;
	*list = c;
	pool->free_bytes += chunk_bytes(c);
}

static void
chain_put(struct qpc_pool *pool, struct qpc_chunk *c)
{
	while (c != NULL) {
		struct qpc_chunk *next = c->next;

		chunk_put(pool, c);
		c = next;
	}
}

int
qpc_bytes_reserve(struct qpc_bytes *q, struct qpc_pool *pool, size_t want, struct iovec *iov,
	int max)
{
	struct qpc_chunk *last = q->tail;
	int n = 0;

	if (last != NULL && last->end < last->cap && max > 0 && want > 0) {
		size_t room = last->cap - last->end;

		room = room < want ? room : want;
		iov[n++] = (struct iovec) {last->data + last->end, room};
		want -= room;
	}
	while (want > 0 && n < max) {
		struct qpc_chunk *c = chunk_get(pool, last == NULL);
		size_t room;

		if (c == NULL)
			break;
		room = want < c->cap ? want : c->cap;
		if (last != NULL)
			last->next = c;
		else
			q->head = c; /* tail stays NULL until the commit */
		last = c;
		iov[n++] = (struct iovec) {c->data, room};
		want -= room;
	}
	return n;
}

/* The chunk that the reserved room starts in. */
static struct qpc_chunk *
first_reserved(struct qpc_bytes *q)
{
	if (q->tail == NULL)
		return q->head;
	return q->tail->end < q->tail->cap ? q->tail : q->tail->next;
}

void
qpc_bytes_commit(struct qpc_bytes *q, struct qpc_pool *pool, size_t n)
{
	struct qpc_chunk *c = first_reserved(q);

	q->len += n;
	q->fresh += n;
	while (n > 0) {
		size_t room = c->cap - c->end;
		size_t part = n < room ? n : room;

		c->end += (uint32_t)part;
		n -= part;
		q->tail = c;
		c = c->next;
	}
	if (q->tail != NULL) {
		chain_put(pool, q->tail->next);
		q->tail->next = NULL;
	} else {
		chain_put(pool, q->head);
		q->head = NULL;
	}
	if (q->cursor == NULL && q->head != NULL) {
		q->cursor = q->head;
		q->head_off = q->cursor_off = 0;
	}
}

int
qpc_bytes_append(struct qpc_bytes *q, struct qpc_pool *pool, const void *data, size_t len)
{
	const uint8_t *src = data;
	struct iovec iov[QPC_APPEND_CHUNKS];
	size_t copied = 0;
	int n = qpc_bytes_reserve(q, pool, len, iov, QPC_APPEND_CHUNKS);

	for (int i = 0; i < n; i++) {
		memcpy(iov[i].iov_base, src + copied, iov[i].iov_len);
		copied += iov[i].iov_len;
	}
	qpc_bytes_commit(q, pool, copied == len ? len : 0);
	return copied == len ? QP_OK : QP_E_NOMEM;
}

int
qpc_bytes_peek(const struct qpc_bytes *q, struct iovec *iov, int max)
{
	struct qpc_chunk *c = q->cursor;
	uint32_t off = q->cursor_off;
	int n = 0;

	for (; c != NULL && n < max; c = c->next, off = 0) {
		if (off < c->end)
			iov[n++] = (struct iovec) {c->data + off, c->end - off};
	}
	return n;
}

void
qpc_bytes_take(struct qpc_bytes *q, size_t n)
{
	assert(n <= q->fresh);
	q->fresh -= n;
	while (n > 0) {
		size_t part = q->cursor->end - q->cursor_off;

		if (part == 0) {
			q->cursor = q->cursor->next;
			q->cursor_off = 0;
			continue;
		}
		part = n < part ? n : part;
		q->cursor_off += (uint32_t)part;
		n -= part;
	}
}

void
qpc_bytes_release(struct qpc_bytes *q, struct qpc_pool *pool, size_t n)
{
	assert(n <= q->len - q->fresh);
	q->len -= n;
	if (q->len == 0) {
		qpc_bytes_clear(q, pool);
		return;
	}
	while (n > 0) {
		struct qpc_chunk *c = q->head;
		size_t part = c->end - q->head_off;

		if (n < part) {
			q->head_off += (uint32_t)n;
			return;
		}
		/* Bytes are left, so there is a next chunk; a cursor at this one's end moves there. */
		n -= part;
		q->head = c->next;
		q->head_off = 0;
		if (q->cursor == c) {
			q->cursor = c->next;
			q->cursor_off = 0;
		}
		chunk_put(pool, c);
	}
}

void
qpc_bytes_clear(struct qpc_bytes *q, struct qpc_pool *pool)
{
	chain_put(pool, q->head);
	*q = (struct qpc_bytes) {0};
}
