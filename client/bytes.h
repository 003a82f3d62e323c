/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CLIENT_BYTES_H
#define QP_CLIENT_BYTES_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "common/error.h"

/*
 * Byte queues out of chunks. A queue has a cursor: bytes before it were taken
 * but are still held (sent, not yet acknowledged), bytes behind it are new. An
 * empty queue holds no chunk, and its first one is small: thousands of
 * connections with a few bytes each are the common case. One thread; a pool is
 * shared by the queues of one session, and its free lists make the steady
 * state free of heap calls.
 */
#define QPC_CHUNK_BYTES 16384u /* one allocation, its header included */
#define QPC_SMALL_BYTES 2048u
#define QPC_POOL_FREE_BYTES (16u << 20) /* kept for reuse */

struct qpc_chunk {
	struct qpc_chunk *next;
	uint32_t end; /* bytes filled */
	uint32_t cap;
	uint8_t data[];
};
#define QPC_CHUNK_ROOM (QPC_CHUNK_BYTES - (uint32_t)sizeof(struct qpc_chunk))
#define QPC_SMALL_ROOM (QPC_SMALL_BYTES - (uint32_t)sizeof(struct qpc_chunk))

struct qpc_pool {
	struct qpc_chunk *free_large, *free_small;
	size_t free_bytes;
	size_t max_free_bytes; /* beyond, chunks go back to the heap */
	size_t used_bytes;     /* of chunks in queues now */
};

void qpc_pool_init(struct qpc_pool *pool, size_t max_free_bytes);
/* Keeps nothing for reuse; what is in use stays. */
void qpc_pool_trim(struct qpc_pool *pool);
/* Every queue must be cleared before. */
void qpc_pool_fini(struct qpc_pool *pool);

struct qpc_bytes {
	struct qpc_chunk *head, *tail; /* both NULL when len == 0 */
	struct qpc_chunk *cursor;      /* never NULL when len > 0 */
	uint32_t head_off;             /* released bytes of head */
	uint32_t cursor_off;           /* taken bytes of cursor's chunk */
	size_t len;                    /* bytes held: taken ones and new ones */
	size_t fresh;                  /* of these, behind the cursor */
};

/*
 * Room to write into: up to `max` vectors of `want` bytes together. Returns the
 * number of vectors, 0 when out of memory. The queue is unchanged until
 * qpc_bytes_commit, which must be the next call on it.
 */
int qpc_bytes_reserve(struct qpc_bytes *q, struct qpc_pool *pool, size_t want, struct iovec *iov,
	int max);
/* The first `n` reserved bytes are new bytes now; the rest goes back. */
void qpc_bytes_commit(struct qpc_bytes *q, struct qpc_pool *pool, size_t n);
/* Copies up to 1 MiB; all or nothing: QP_E_NOMEM. */
int qpc_bytes_append(struct qpc_bytes *q, struct qpc_pool *pool, const void *data, size_t len)
	__attribute__((warn_unused_result));

/* The first new bytes: number of vectors filled, at most `max`. */
int qpc_bytes_peek(const struct qpc_bytes *q, struct iovec *iov, int max);
/* Moves the cursor over `n` new bytes. */
void qpc_bytes_take(struct qpc_bytes *q, size_t n);
/* Drops the first `n` taken bytes. */
void qpc_bytes_release(struct qpc_bytes *q, struct qpc_pool *pool, size_t n);
void qpc_bytes_clear(struct qpc_bytes *q, struct qpc_pool *pool);

#endif
