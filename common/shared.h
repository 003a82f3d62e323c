/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_COMMON_SHARED_H
#define QP_COMMON_SHARED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"
#include "common/ipc.h"

/*
 * The shared block of a generation, written by its data plane and read by
 * others, of another release perhaps: its map says where rings and counters
 * are, and what the counters are called. No DPDK in here. Any thread.
 */

/* The data plane's side. Bytes of the block with all that belongs to it. */
uint64_t qp_shared_bytes(uint32_t nworkers, uint32_t ring_bytes);
/* Zeroes it but for the rings, then writes its map, sizes and versions. */
void qp_shared_init(struct qp_gen_shared *s, uint32_t nworkers, uint32_t ring_bytes);
/* A worker's counters, in the block that qp_shared_init has made in this very process. */
struct qp_worker_shared *qp_shared_worker(struct qp_gen_shared *s, uint32_t worker);

/* What a release to come has before each worker's part, so that everything else stands elsewhere. */
#define QP_SHARED_AHEAD_BYTES (64u * QP_IPC_AHEAD)

/* Words of struct qp_worker_shared, which stand for its counters by their place in it. */
#define QP_WORKER_WORDS (sizeof(struct qp_worker_shared) / sizeof(uint64_t))

/*
 * A reader's side. Owner: who opened it; it borrows the block. All sizes are
 * checked once and kept here, so that a block that changes misleads nobody.
 */
struct qp_shared_view {
	const char *block;
	uint32_t version; /* the oldest that it is written for */
	uint32_t newest;
	uint32_t nworkers;
	uint32_t rings_at;
	uint32_t ring_bytes;
	uint32_t ring_messages;
	uint64_t workers_at;
	uint32_t worker_bytes;
	const char *names; /* struct qp_shared_name's */
	uint32_t name_bytes;
	uint32_t nnames; /* 0: the counters are not to be read */
	uint32_t at[QP_WORKER_WORDS]; /* 1 + where the worker's part has our word; 0: nowhere */
};

/*
 * Looks at a block in `len` bytes. QP_E_PROTO: it contradicts itself;
 * QP_E_VERSION: of a release that is too far away.
 */
int qp_shared_open(
	struct qp_shared_view *v, const void *block, uint64_t len, struct qp_errmsg *msg);
/* Where a ring is, from the block's start; it is inside the block. */
uint64_t qp_shared_ring_at(
	const struct qp_shared_view *v, uint32_t epoch, uint32_t worker, int to_cp);

/* Whether it has the counter that our struct qp_worker_shared has at `offset`. */
bool qp_shared_has(const struct qp_shared_view *v, size_t offset);
/* Its value; 0 when it has none. Relaxed: the worker counts on. */
uint64_t qp_shared_count(const struct qp_shared_view *v, uint32_t worker, size_t offset);
/* All counters of a worker that both know; the others are 0. */
void qp_shared_copy(const struct qp_shared_view *v, uint32_t worker, struct qp_worker_shared *out);

/*
 * The counters by name, those that we do not know included. False: the i'th is
 * none that can be read. `out->at` is good for qp_shared_word with k < out->n.
 */
bool qp_shared_name(const struct qp_shared_view *v, uint32_t i, struct qp_shared_name *out);
uint64_t qp_shared_word(const struct qp_shared_view *v, uint32_t worker,
	const struct qp_shared_name *name, uint32_t k);

/* Relaxed: a word of another process that may change meanwhile. */
static inline uint64_t
qp_shared_read(const uint64_t *word)
{
	return __atomic_load_n(word, __ATOMIC_RELAXED);
}

/* What is true now, rather than counted since the start. `name` is a worker's, prefix and all. */
bool qp_counter_is_gauge(const char *name);

#endif
