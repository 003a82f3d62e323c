/* SPDX-License-Identifier: Apache-2.0 */
/* mbuf pools in memory that is there already. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include <rte_mbuf.h>
#include <rte_mempool.h>

#include "dataplane/pool.h"
#include "tests/tcp/eal.h"

#define N 5000u

static char *memory;
static size_t bytes;
static struct rte_mempool *pool;

static void
make(uint16_t data_room)
{
	bytes = qp_pool_bytes(N, data_room);
	memory = aligned_alloc(64, bytes + 64);
	cr_assert_not_null(memory);
	memset(memory, 0xa5, bytes + 64); /* another pool was there before */
	pool = qp_pool_make(memory, "test", N, data_room);
}

static void
start(void)
{
	test_eal_init();
	make(RTE_MBUF_DEFAULT_BUF_SIZE);
}

TestSuite(pool, .init = start, .timeout = 60);

Test(pool, every_mbuf_is_inside_and_its_own)
{
	static struct rte_mbuf *m[N + 1];

	cr_expect_eq(rte_mempool_avail_count(pool), N);
	for (unsigned i = 0; i < N; i++) {
		m[i] = rte_pktmbuf_alloc(pool);
		cr_assert_not_null(m[i], "only %u of %u", i, N);
		cr_assert((char *)m[i] >= memory && (char *)m[i]->buf_addr + m[i]->buf_len <= memory + bytes);
		cr_assert_eq(rte_pktmbuf_tailroom(m[i]), RTE_MBUF_DEFAULT_DATAROOM);
		memset(rte_pktmbuf_append(m[i], RTE_MBUF_DEFAULT_DATAROOM), (int)i, RTE_MBUF_DEFAULT_DATAROOM);
	}
	cr_expect_null(rte_pktmbuf_alloc(pool));
	for (unsigned i = 0; i < N; i++) {
		cr_assert_eq(*rte_pktmbuf_mtod_offset(m[i], uint8_t *, RTE_MBUF_DEFAULT_DATAROOM - 1),
			(uint8_t)i, "mbuf %u was written over", i);
		rte_pktmbuf_free(m[i]);
	}
	cr_expect_eq(rte_mempool_avail_count(pool), N);
	for (unsigned i = 0; i < 64; i++)
		cr_assert_eq((uint8_t)memory[bytes + i], 0xa5, "written beyond the end");
}

Test(pool, indirect_mbufs_refer_to_others)
{
	struct rte_mbuf *direct = rte_pktmbuf_alloc(pool), *clone;
	struct rte_mempool *indirect;

	make(0);
	indirect = pool;
	cr_assert_not_null(rte_pktmbuf_append(direct, 100));
	clone = rte_pktmbuf_clone(direct, indirect);
	cr_assert_not_null(clone);
	cr_expect_eq(rte_pktmbuf_mtod(clone, char *), rte_pktmbuf_mtod(direct, char *));
	cr_expect_eq(rte_mbuf_refcnt_read(direct), 2);
	rte_pktmbuf_free(clone);
	cr_expect_eq(rte_mbuf_refcnt_read(direct), 1);
	cr_expect_eq(rte_mempool_avail_count(indirect), N);
	rte_pktmbuf_free(direct);
}

Test(pool, it_is_listed_nowhere)
{
	cr_expect_null(rte_mempool_lookup("test"));
}

Test(pool, walks_reach_every_mbuf)
{
	cr_expect_eq(rte_mempool_obj_iter(pool, rte_pktmbuf_init, NULL), N);
}
