/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counts the heap by thread: each thread has a slot that it alone writes, so
 * that counting costs no locked instruction and no cache line that workers
 * share. A slot can be negative, since what one thread allocates another may
 * free; the sum is right. Slots are not given back: their sum would be lost.
 * The threads of a process are few; those beyond the last slot share it.
 */
#define QP_LOG_MODULE QP_LOG_M_process
#include "common/heap.h"

#include <stdatomic.h>

#include "common/log.h"

#define SLOTS 64u
#define SAY_AGAIN_NS (60ull * 1000 * 1000 * 1000)

struct slot {
	_Atomic int64_t bytes;
} __attribute__((aligned(64)));

static struct slot slots[SLOTS];
static _Atomic unsigned used;     /* slots that were given out; can go beyond SLOTS */
static _Atomic uint64_t failures;
static _Atomic uint64_t budget;
static _Atomic uint64_t said_ns;  /* 0: never */
static _Thread_local struct slot *mine;

void
qp_heap_count(int64_t bytes)
{
	struct slot *s = mine;

	if (s == NULL) {
		unsigned n = atomic_fetch_add_explicit(&used, 1, memory_order_relaxed);

		s = mine = &slots[n < SLOTS - 1 ? n : SLOTS - 1];
	}
	if (s == &slots[SLOTS - 1])
		atomic_fetch_add_explicit(&s->bytes, bytes, memory_order_relaxed);
	else
		atomic_store_explicit(&s->bytes,
			atomic_load_explicit(&s->bytes, memory_order_relaxed) + bytes,
			memory_order_relaxed);
}

void
qp_heap_count_failure(void)
{
	atomic_fetch_add_explicit(&failures, 1, memory_order_relaxed);
}

uint64_t
qp_heap_in_use(void)
{
	unsigned n = atomic_load_explicit(&used, memory_order_relaxed);
	int64_t sum = 0;

	for (unsigned i = 0; i < n && i < SLOTS; i++)
		sum += atomic_load_explicit(&slots[i].bytes, memory_order_relaxed);
	return sum > 0 ? (uint64_t)sum : 0;
}

uint64_t
qp_heap_failures(void)
{
	return atomic_load_explicit(&failures, memory_order_relaxed);
}

void
qp_heap_set_budget(uint64_t bytes)
{
	atomic_store_explicit(&budget, bytes, memory_order_relaxed);
}

uint64_t
qp_heap_budget(void)
{
	return atomic_load_explicit(&budget, memory_order_relaxed);
}

enum qp_heap_level
qp_heap_level(void)
{
	const uint64_t most = qp_heap_budget();
	uint64_t now;

	if (most == 0)
		return QP_HEAP_ROOM;
	now = qp_heap_in_use();
	if (now >= most)
		return QP_HEAP_FULL;
	return now >= most - most / 8 ? QP_HEAP_TIGHT : QP_HEAP_ROOM;
}

void
qp_heap_log_refusal(const char *what, uint64_t now_ns)
{
	uint64_t last = atomic_load_explicit(&said_ns, memory_order_relaxed);

	if ((last != 0 && now_ns - last < SAY_AGAIN_NS) ||
		!atomic_compare_exchange_strong(&said_ns, &last, now_ns != 0 ? now_ns : 1))
		return;
	qp_log(QP_LOG_WARN, "the memory budget is reached: what lasts is refused",
		QP_LOG_STR("refused", what), QP_LOG_U64("heap_bytes", qp_heap_in_use()),
		QP_LOG_U64("budget_bytes", qp_heap_budget()));
}
