/* SPDX-License-Identifier: Apache-2.0 */
#include "client/bytes.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

static struct qpc_pool pool;

static void
setup(void)
{
	qpc_pool_init(&pool, 4 * QPC_CHUNK_BYTES);
}

/* Also checks that no queue kept a chunk. */
static void
teardown(void)
{
	cr_assert_eq(pool.used_bytes, 0);
	qpc_pool_fini(&pool);
}

TestSuite(bytes, .init = setup, .fini = teardown);

/* The queue's own laws. */
static void
check(const struct qpc_bytes *q)
{
	struct iovec iov[256];
	size_t behind = 0, all = 0;
	int n = qpc_bytes_peek(q, iov, 256);

	for (int i = 0; i < n; i++) {
		cr_assert(iov[i].iov_len > 0);
		behind += iov[i].iov_len;
	}
	cr_assert_eq(behind, q->fresh);
	for (struct qpc_chunk *c = q->head; c != NULL; c = c->next) {
		cr_assert(c->next != NULL || c == q->tail);
		all += c->end - (c == q->head ? q->head_off : 0);
	}
	cr_assert_eq(all, q->len);
	cr_assert_eq(q->len == 0, q->head == NULL);
	cr_assert_eq(q->len == 0, q->cursor == NULL);
}

Test(bytes, empty_commit_of_nothing_holds_no_chunk)
{
	struct qpc_bytes q = {0};
	struct iovec iov[4];

	cr_assert_eq(qpc_bytes_reserve(&q, &pool, 60000, iov, 4), 4);
	qpc_bytes_commit(&q, &pool, 0);
	check(&q);
	cr_assert_eq(pool.used_bytes, 0);
}

Test(bytes, append_take_release_empties)
{
	struct qpc_bytes q = {0};
	struct iovec iov;

	cr_assert_eq(qpc_bytes_append(&q, &pool, "hello", 5), 0);
	check(&q);
	cr_assert_eq(qpc_bytes_peek(&q, &iov, 1), 1);
	cr_assert_arr_eq(iov.iov_base, "hello", 5);
	qpc_bytes_take(&q, 5);
	cr_assert_eq(q.fresh, 0);
	cr_assert_eq(qpc_bytes_peek(&q, &iov, 1), 0);
	qpc_bytes_release(&q, &pool, 2);
	check(&q);
	qpc_bytes_release(&q, &pool, 3);
	check(&q);
}

Test(bytes, full_chunk_released_then_appended_continues)
{
	struct qpc_bytes q = {0};
	uint8_t *block = calloc(1, QPC_SMALL_ROOM);
	struct iovec iov;

	cr_assert_eq(qpc_bytes_append(&q, &pool, block, QPC_SMALL_ROOM), 0);
	cr_assert_eq(q.head, q.tail);
	qpc_bytes_take(&q, QPC_SMALL_ROOM);
	cr_assert_eq(qpc_bytes_append(&q, &pool, "x", 1), 0);
	check(&q);
	qpc_bytes_release(&q, &pool, QPC_SMALL_ROOM);
	check(&q);
	cr_assert_eq(qpc_bytes_peek(&q, &iov, 1), 1);
	cr_assert_eq(*(char *)iov.iov_base, 'x');
	qpc_bytes_clear(&q, &pool);
	free(block);
}

Test(bytes, first_chunk_is_small)
{
	struct qpc_bytes q = {0};

	cr_assert_eq(qpc_bytes_append(&q, &pool, "x", 1), 0);
	cr_assert_eq(pool.used_bytes, QPC_SMALL_BYTES);
	qpc_bytes_clear(&q, &pool);
}

/* A reader, a sender and an acknowledger in any order see one stream of bytes. */
Test(bytes, random_operations_keep_the_stream)
{
	struct qpc_bytes q = {0};
	uint8_t written = 0, sent = 0;
	size_t taken = 0;

	srand(3);
	for (int n = 0; n < 20000; n++) {
		struct iovec iov[8];
		size_t size = (size_t)rand() % 50000, left;
		int k;

		switch (rand() % 3) {
		case 0:
			if (q.len > 1000000)
				break;
			k = qpc_bytes_reserve(&q, &pool, size, iov, 1 + rand() % 8);
			for (left = 0; k-- > 0;)
				left += iov[k].iov_len;
			left = left > 0 ? (size_t)rand() % (left + 1) : 0;
			for (size_t i = 0, v = 0, o = 0; i < left; i++, o++) {
				while (o == iov[v].iov_len) {
					v++;
					o = 0;
				}
				((uint8_t *)iov[v].iov_base)[o] = written++;
			}
			qpc_bytes_commit(&q, &pool, left);
			break;
		case 1:
			k = qpc_bytes_peek(&q, iov, 2);
			left = 0;
			for (int i = 0; i < k; i++) {
				for (size_t o = 0; o < iov[i].iov_len; o++)
					cr_assert_eq(((uint8_t *)iov[i].iov_base)[o],
						(uint8_t)(sent + left + o));
				left += iov[i].iov_len;
			}
			left = left > 0 ? (size_t)rand() % (left + 1) : 0;
			qpc_bytes_take(&q, left);
			sent = (uint8_t)(sent + left);
			taken += left;
			break;
		default:
			left = q.len - q.fresh;
			left = left > 0 ? (size_t)rand() % (left + 1) : 0;
			qpc_bytes_release(&q, &pool, left);
		}
		if (n % 64 == 0)
			check(&q);
	}
	cr_assert(taken > 10000000, "only %zu bytes went through", taken);
	cr_assert_eq((uint8_t)(sent + q.fresh), written);
	qpc_bytes_clear(&q, &pool);
}

Test(bytes, pool_keeps_no_more_than_asked)
{
	struct qpc_bytes q = {0};
	uint8_t *block = calloc(16, QPC_CHUNK_ROOM);

	cr_assert_eq(qpc_bytes_append(&q, &pool, block, 16 * QPC_CHUNK_ROOM), 0);
	cr_assert_geq(pool.used_bytes, 16 * QPC_CHUNK_ROOM);
	qpc_bytes_clear(&q, &pool);
	cr_assert_leq(pool.free_bytes, 5 * QPC_CHUNK_BYTES);
	cr_assert_geq(pool.free_bytes, 4 * QPC_CHUNK_BYTES);
	free(block);
}
