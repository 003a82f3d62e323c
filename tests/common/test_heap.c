/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "common/heap.h"

/* This program links heap_malloc.c; a build with a sanitizer counts nothing. */
static bool
counts(void)
{
	uint64_t before = qp_heap_in_use();
	void *volatile p = malloc(100000);
	bool counted = qp_heap_in_use() >= before + 100000;

	free(p);
	return counted;
}

#define NEEDS_COUNTING()                                                                           \
	do {                                                                                       \
		if (!counts())                                                                     \
			cr_skip_test("a sanitizer's malloc");                                      \
	} while (0)

Test(heap, each_way_to_allocate_is_counted_and_given_back)
{
	uint64_t before;
	void *p[6];

	NEEDS_COUNTING();
	before = qp_heap_in_use();
	p[0] = malloc(1000);
	p[1] = calloc(10, 1000);
	p[2] = realloc(malloc(10), 30000);
	p[3] = aligned_alloc(64, 6400);
	cr_assert_eq(posix_memalign(&p[4], 4096, 8192), 0);
	p[5] = strdup("a string of the C library's own");
	cr_expect_geq(qp_heap_in_use(), before + 1000 + 10000 + 30000 + 6400 + 8192 + 32);
	cr_expect_leq(qp_heap_in_use(), before + 1000 + 10000 + 30000 + 6400 + 8192 + 32 + 16384);
	for (unsigned i = 0; i < 6; i++) {
		cr_assert_not_null(p[i]);
		free(p[i]);
	}
	cr_expect_eq(qp_heap_in_use(), before);
}

static void *
allocate_here(void *out)
{
	*(void **)out = malloc(50000);
	return NULL;
}

/* More threads than there are slots: those beyond share one. */
Test(heap, freed_by_another_thread_than_allocated_sums_to_nothing)
{
	void *p[100];
	uint64_t before = 0;
	pthread_t t;

	NEEDS_COUNTING();
	for (unsigned round = 0; round < 2; round++) {
		/* The first round pays for what the C library keeps of a thread. */
		before = qp_heap_in_use();
		for (unsigned i = 0; i < 100; i++) {
			cr_assert_eq(pthread_create(&t, NULL, allocate_here, &p[i]), 0);
			cr_assert_eq(pthread_join(t, NULL), 0);
		}
		cr_expect_geq(qp_heap_in_use(), before + 100 * 50000);
		for (unsigned i = 0; i < 100; i++)
			free(p[i]);
	}
	cr_expect_eq(qp_heap_in_use(), before);
}

Test(heap, malloc_that_has_none_is_counted)
{
	volatile size_t too_much = SIZE_MAX / 4;
	uint64_t before;
	void *p;

	NEEDS_COUNTING();
	before = qp_heap_failures();
	p = malloc(too_much);
	cr_expect_null(p);
	cr_expect_eq(qp_heap_failures(), before + 1);
}

Test(heap, levels_follow_the_budget)
{
	uint64_t begin = qp_heap_in_use();

	cr_expect_eq(qp_heap_level(), QP_HEAP_ROOM, "without a budget there is room");
	qp_heap_set_budget(begin + (8u << 20));
	/* Reached by whole mebibytes, so that what the test itself allocates does not matter. */
	if (begin < 7u << 20)
		cr_expect_eq(qp_heap_level(), QP_HEAP_ROOM);
	qp_heap_count((8u << 20) - (512 << 10));
	cr_expect_eq(qp_heap_level(), QP_HEAP_TIGHT);
	qp_heap_count(1u << 20);
	cr_expect_eq(qp_heap_level(), QP_HEAP_FULL);
	qp_heap_count(-(8 << 20));
	cr_expect_eq(qp_heap_level(), QP_HEAP_ROOM);
	qp_heap_set_budget(1);
	qp_heap_count(2);
	cr_expect_eq(qp_heap_level(), QP_HEAP_FULL);
	qp_heap_set_budget(0);
	cr_expect_eq(qp_heap_level(), QP_HEAP_ROOM);
}
