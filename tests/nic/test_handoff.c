/* SPDX-License-Identifier: Apache-2.0 */
/* Hand-off rings and the queues' change of hands, with real threads. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/nic/handoff.h"
#include "dataplane/nic/hold.h"

#define ITEMS 200000u

static void *memory;
static struct qp_handoff_ring *ring;

static void
start(void)
{
	memory = aligned_alloc(64, qp_handoff_bytes(2));
	cr_assert_not_null(memory);
	qp_handoff_init(memory, 2);
	ring = qp_handoff_ring((uint64_t)(uintptr_t)memory, 2, 1, 3, 1);
}

static void
end(void)
{
	free(memory);
}

TestSuite(nic_handoff, .init = start, .fini = end, .timeout = 120);

Test(nic_handoff, ring_is_full_with_one_slot_free_and_gives_in_order)
{
	uint64_t in[QP_NIC_HANDOFF], out[2 * QP_NIC_HANDOFF];

	for (uint64_t i = 0; i < QP_NIC_HANDOFF; i++)
		in[i] = i + 1;
	cr_expect_eq(qp_handoff_put(ring, in, QP_NIC_HANDOFF), QP_NIC_HANDOFF - 1);
	cr_expect_eq(qp_handoff_put(ring, in, 1), 0u);
	cr_expect_eq(qp_handoff_take(ring, out, 100), 100u);
	cr_expect_eq(qp_handoff_put(ring, in, 200), 100u);
	cr_expect_eq(qp_handoff_take(ring, out + 100, QP_NIC_HANDOFF), QP_NIC_HANDOFF - 1u);
	for (uint64_t i = 0; i < QP_NIC_HANDOFF - 1; i++)
		cr_assert_eq(out[i], i + 1);
	cr_expect_eq(qp_handoff_take(ring, out, 1), 0u);
}

Test(nic_handoff, rings_and_doors_do_not_overlap_and_end_where_they_say)
{
	const uint64_t at = (uint64_t)(uintptr_t)memory;
	uint64_t last = 0;

	for (uint32_t s = 0; s < QP_NIC_MAX_GENS; s++) {
		for (uint32_t i = 0; i < QP_NIC_MAX_QUEUES; i++) {
			for (uint32_t j = 0; j < 2; j++) {
				const uint64_t r = (uint64_t)(uintptr_t)qp_handoff_ring(at, 2, s, i, j);

				cr_assert(r == at || r == last + sizeof(struct qp_handoff_ring));
				last = r;
			}
		}
	}
	cr_expect_eq((uint64_t)(uintptr_t)qp_handoff_door(at, 2, 0), last + sizeof(struct qp_handoff_ring));
	cr_expect_eq((uint64_t)(uintptr_t)(qp_handoff_door(at, 2, 1) + 1), at + qp_handoff_bytes(2));
}

/* A producer that died between two steps: its successor at the ring needs nothing but a join. */
Test(nic_handoff, successor_of_a_dead_producer_goes_on)
{
	uint64_t item[8] = {1, 2, 3, 4, 5, 6, 7, 8}, out[8];

	cr_assert_eq(qp_handoff_put(ring, item, 2), 2u);
	ring->slot[ring->tail % QP_NIC_HANDOFF] = 99; /* written, and not told */
	ring->head_seen = 12345;                      /* and what it remembered is of no use */
	qp_handoff_join(ring);
	cr_assert_eq(qp_handoff_put(ring, item + 2, 3), 3u);
	cr_assert_eq(qp_handoff_take(ring, out, 8), 5u);
	cr_expect_arr_eq(out, item, 5 * sizeof(*item));
}

static void *
produce(void *arg)
{
	uint64_t next = 1, batch[48];

	while (next <= ITEMS) {
		unsigned n = 0, done;

		while (n < 1 + next % 48 && next + n <= ITEMS) {
			batch[n] = next + n;
			n++;
		}
		done = qp_handoff_put(arg, batch, n);
		next += done;
		if (done == 0)
			sched_yield();
	}
	return NULL;
}

Test(nic_handoff, threads_hand_over_each_item_once_and_in_order)
{
	uint64_t out[32], expected = 1;
	pthread_t thread;

	cr_assert_eq(pthread_create(&thread, NULL, produce, ring), 0);
	while (expected <= ITEMS) {
		const unsigned n = qp_handoff_take(ring, out, 1 + expected % 32);

		for (unsigned i = 0; i < n; i++)
			cr_assert_eq(out[i], expected++);
		if (n == 0)
			sched_yield();
	}
	pthread_join(thread, NULL);
	cr_expect_eq(qp_handoff_take(ring, out, 1), 0u);
}

/* Queues that change hands. */

#define QUEUES 8u
#define ROUNDS 3000u

static struct qp_nic *nic;
static atomic_uint inside[QUEUES]; /* pollers of each queue now */
static atomic_uint two, polls[3];
static atomic_bool stop;
static uint32_t touched[QUEUES]; /* by who polls, without a lock: a race that a sanitizer would see */

static void
prepare_nic(void)
{
	nic = aligned_alloc(64, sizeof(*nic));
	cr_assert_not_null(nic);
	memset(nic, 0, sizeof(*nic));
	nic->nports = 2;
	nic->port[0].nrx = QUEUES / 2;
	nic->port[1].nrx = QUEUES / 2;
}

Test(nic_handoff, worker_takes_each_nth_queue_and_all_are_somebodys)
{
	struct qp_hold h[3];
	unsigned n = 0;

	prepare_nic();
	nic->holder = 5;
	for (uint32_t i = 0; i < 3; i++) {
		qp_hold_init(&h[i], nic, 5, i, 3);
		cr_expect(qp_hold_turn(&h[i]));
		cr_expect_not(qp_hold_turn(&h[i]));
		n += h[i].n;
		for (unsigned k = 0; k < h[i].n; k++)
			cr_expect_eq(h[i].at[k].queue % 3u, i);
	}
	cr_expect_eq(n, QUEUES);
	free(nic);
}

Test(nic_handoff, successor_waits_until_the_queues_are_let_go)
{
	struct qp_hold old, new;

	prepare_nic();
	nic->holder = 5;
	qp_hold_init(&old, nic, 5, 0, 1);
	qp_hold_init(&new, nic, 6, 0, 1);
	cr_expect(qp_hold_turn(&old));
	nic->holder = 6;
	cr_expect_not(qp_hold_turn(&new));
	cr_expect_eq(new.n, 0u);
	cr_expect_not(qp_hold_turn(&old));
	cr_expect_eq(old.n, 0u);
	cr_expect(qp_hold_turn(&new));
	cr_expect_eq(new.n, QUEUES);
	/* It died: the control plane frees what it held. */
	nic->holder = 5;
	for (unsigned q = 0; q < QUEUES / 2; q++)
		nic->queue[1][q].polled_by = 0;
	cr_expect(qp_hold_turn(&old));
	cr_expect_eq(old.n, QUEUES / 2);
	for (unsigned q = 0; q < QUEUES / 2; q++)
		nic->queue[0][q].polled_by = 0;
	cr_expect(qp_hold_turn(&old));
	cr_expect_eq(old.n, QUEUES);
	free(nic);
}

static void *
poll_queues(void *arg)
{
	const uint32_t id = (uint32_t)(uintptr_t)arg;
	struct qp_hold h;

	qp_hold_init(&h, nic, id, 0, 1);
	while (!atomic_load(&stop)) {
		(void)qp_hold_turn(&h);
		for (unsigned i = 0; i < h.n; i++) {
			const unsigned q = h.at[i].port * QUEUES / 2 + h.at[i].queue;

			if (atomic_fetch_add(&inside[q], 1) != 0)
				atomic_fetch_add(&two, 1);
			touched[q]++;
			atomic_fetch_sub(&inside[q], 1);
			atomic_fetch_add(&polls[id], 1);
		}
		sched_yield();
	}
	qp_hold_release(&h);
	return NULL;
}

Test(nic_handoff, queues_never_have_two_pollers)
{
	pthread_t thread[2];

	prepare_nic();
	for (uint32_t i = 0; i < 2; i++)
		cr_assert_eq(pthread_create(&thread[i], NULL, poll_queues, (void *)(uintptr_t)(i + 1)), 0);
	for (unsigned i = 0; i < ROUNDS; i++) {
		const uint32_t id = 1 + i % 2;
		const unsigned before = polls[id];

		__atomic_store_n(&nic->holder, id, __ATOMIC_RELEASE);
		/* Sometimes it is taken back before anybody has seen it. */
		while (i % 3 != 0 && polls[id] == before)
			sched_yield();
	}
	stop = true;
	pthread_join(thread[0], NULL);
	pthread_join(thread[1], NULL);
	cr_expect_eq(two, 0u);
	cr_expect(polls[1] > 0 && polls[2] > 0);
	free(nic);
}
