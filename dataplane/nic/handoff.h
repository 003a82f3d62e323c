/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_DATAPLANE_NIC_HANDOFF_H
#define QP_DATAPLANE_NIC_HANDOFF_H

#include <stddef.h>
#include <stdint.h>

#include "common/ipc.h"
#include "common/nic.h"

/*
 * Hand-off rings: how a frame gets from the worker that received it to the one
 * that it belongs to, of this generation or another. They lie in the memory of
 * the generation that takes from them, and go with it.
 *
 * A ring has one index for each side, so that there is no half-done state: a
 * producer that dies in here leaves the frames that it had not told of yet, and
 * nothing else. Its successor at the ring calls qp_handoff_join.
 */
#define QP_HANDOFF_PRODUCERS (QP_NIC_MAX_GENS * QP_NIC_MAX_QUEUES)

/* Owner: by line, one producer and one consumer. Life: the consumer's generation's. Lock: none. */
struct qp_handoff_ring {
	uint32_t tail __attribute__((aligned(64))); /* producer: how many it has put in */
	uint32_t head_seen;                         /* producer's own: as it last saw head */
	uint32_t head __attribute__((aligned(64))); /* consumer: how many it has taken out */
	uint64_t slot[QP_NIC_HANDOFF] __attribute__((aligned(64)));
};

/* What a worker shows to those that hand frames to it. Behind the rings, a line each. */
struct qp_handoff_door {
	uint32_t load;    /* connections; written a few times a second */
	uint32_t napping; /* 1: it sleeps, and its doorbell ends that */
} __attribute__((aligned(64)));

_Static_assert((QP_NIC_HANDOFF & (QP_NIC_HANDOFF - 1)) == 0, "indices wrap around");
_Static_assert(offsetof(struct qp_handoff_ring, head) % 64 == 0 &&
		offsetof(struct qp_handoff_ring, slot) % 64 == 0 &&
		offsetof(struct qp_handoff_ring, head) != offsetof(struct qp_handoff_ring, tail),
	"producer and consumer write no common line");
_Static_assert(sizeof(struct qp_handoff_ring) % 64 == 0 && sizeof(struct qp_handoff_door) == 64,
	"neither do neighbours");

/* Of all rings and doors of a generation. */
size_t qp_handoff_bytes(uint32_t nworkers);
/* `at`: so many bytes, aligned to lines. */
void qp_handoff_init(void *at, uint32_t nworkers);

static inline struct qp_handoff_ring *
qp_handoff_ring(uint64_t at, uint32_t nworkers, uint32_t slot, uint32_t producer, uint32_t consumer)
{
	struct qp_handoff_ring *first = (struct qp_handoff_ring *)(uintptr_t)at;

	return first + (slot * QP_NIC_MAX_QUEUES + producer) * nworkers + consumer;
}

static inline struct qp_handoff_door *
qp_handoff_door(uint64_t at, uint32_t nworkers, uint32_t worker)
{
	struct qp_handoff_ring *first = (struct qp_handoff_ring *)(uintptr_t)at;

	return (struct qp_handoff_door *)(void *)(first + QP_HANDOFF_PRODUCERS * nworkers) + worker;
}

/* Before the first put of a producer, whoever was it before. */
static inline void
qp_handoff_join(struct qp_handoff_ring *r)
{
	r->head_seen = __atomic_load_n(&r->head, __ATOMIC_ACQUIRE);
}

/* Producer: how many of the `n` it took, the first ones. One slot stays free. */
static inline unsigned
qp_handoff_put(struct qp_handoff_ring *r, const uint64_t *items, unsigned n)
{
	const uint32_t tail = __atomic_load_n(&r->tail, __ATOMIC_RELAXED);
	uint32_t room = QP_NIC_HANDOFF - 1 - (tail - r->head_seen);

	if (room < n) {
		/* Pairs with take's release: what was taken is read before it is written over. */
		r->head_seen = __atomic_load_n(&r->head, __ATOMIC_ACQUIRE);
		room = QP_NIC_HANDOFF - 1 - (tail - r->head_seen);
		n = room < n ? room : n;
	}
	for (unsigned i = 0; i < n; i++)
		r->slot[(tail + i) & (QP_NIC_HANDOFF - 1)] = items[i];
	/* Pairs with take's acquire: slots, and what they lead to, before the number. */
	__atomic_store_n(&r->tail, tail + n, __ATOMIC_RELEASE);
	return n;
}

/* Consumer: up to `n`. */
static inline unsigned
qp_handoff_take(struct qp_handoff_ring *r, uint64_t *items, unsigned n)
{
	const uint32_t head = __atomic_load_n(&r->head, __ATOMIC_RELAXED);
	const uint32_t there = __atomic_load_n(&r->tail, __ATOMIC_ACQUIRE) - head;

	if (there == 0)
		return 0;
	n = there < n ? there : n;
	for (unsigned i = 0; i < n; i++)
		items[i] = r->slot[(head + i) & (QP_NIC_HANDOFF - 1)];
	__atomic_store_n(&r->head, head + n, __ATOMIC_RELEASE);
	return n;
}

#endif
