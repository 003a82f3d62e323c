/* SPDX-License-Identifier: Apache-2.0 */
/* Pools shared by data planes that die: who has an mbuf, and how it comes back. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <rte_eal.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dataplane/nic/rx_pool.h"

#define N 4095u

static struct rte_mempool *
open_pool(void)
{
	char *argv[] = {"test", "--no-huge", "-m", "192", "--no-pci", "--no-shconf",
		"--no-telemetry", "-l", "0", "--log-level", "critical", NULL};
	static struct qp_nic nic;
	struct qp_errmsg msg;
	struct rte_mempool *mp;

	cr_assert_geq(rte_eal_init(RTE_DIM(argv) - 1, argv), 0, "EAL does not start");
	cr_assert_eq(qp_rx_pools_begin(&nic, &msg), 0, "%s", msg.text);
	mp = qp_rx_pool_new(0, 0, N, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
	cr_assert_not_null(mp);
	cr_assert_eq(rte_mempool_avail_count(mp), N);
	return mp;
}

/* `ctx`: the only one that lives. */
static bool
lives(void *ctx, uint32_t server_id)
{
	return server_id == *(uint32_t *)ctx;
}

static unsigned
reclaim(uint32_t alive)
{
	return qp_rx_pools_reclaim(lives, &alive);
}

Test(rx_pool, gives_all_that_it_has_and_takes_it_back)
{
	struct rte_mempool *mp = open_pool();
	struct rte_mbuf **m = calloc(N, sizeof(*m));
	unsigned n = 0;

	for (unsigned burst = 1; n + burst <= N; burst = burst % 300 + 1) {
		if (rte_pktmbuf_alloc_bulk(mp, m + n, burst) != 0)
			break;
		n += burst;
	}
	while (n < N && (m[n] = rte_pktmbuf_alloc(mp)) != NULL)
		n++;
	cr_expect_eq(n, N);
	cr_expect_null(rte_pktmbuf_alloc(mp));
	for (unsigned i = 0; i < N; i++)
		m[i]->ol_flags = i;
	for (unsigned i = 0; i < N; i++)
		cr_assert_eq(m[i]->ol_flags, i, "given twice");
	for (unsigned i = 0; i < N; i++)
		rte_pktmbuf_free(m[i]);
	cr_expect_eq(rte_mempool_avail_count(mp), N);
	free(m);
}

Test(rx_pool, mark_follows_an_mbuf_on_its_way)
{
	struct rte_mempool *mp = open_pool();
	struct rte_mbuf *m = rte_pktmbuf_alloc(mp), *tail = rte_pktmbuf_alloc(mp);

	cr_expect_eq(*qp_rx_mark(m), QP_RX_MARK_DRIVER);
	rte_pktmbuf_chain(m, tail);
	qp_rx_give(m, 7);
	cr_expect_eq(*qp_rx_mark(m), 7);
	cr_expect_eq(*qp_rx_mark(tail), 7);
	qp_rx_mark_own = 9;
	rte_pktmbuf_free(m);
	cr_expect_eq(*qp_rx_mark(m), 9, "in the stash of who freed it");
	qp_rx_pools_flush();
	cr_expect_eq(*qp_rx_mark(m), QP_RX_MARK_FREE);
}

Test(rx_pool, what_a_dead_one_had_comes_back_and_nothing_else)
{
	struct rte_mempool *mp = open_pool();
	struct rte_mbuf *dead[100], *alive[50], *driver[25];
	void *kept[32];
	unsigned avail;

	cr_assert_eq(rte_pktmbuf_alloc_bulk(mp, dead, 100), 0);
	cr_assert_eq(rte_pktmbuf_alloc_bulk(mp, alive, 50), 0);
	cr_assert_eq(rte_pktmbuf_alloc_bulk(mp, driver, 25), 0);
	for (unsigned i = 0; i < 100; i++)
		qp_rx_give(dead[i], 7);
	for (unsigned i = 0; i < 50; i++)
		qp_rx_give(alive[i], 8);
	/* As it was in the middle of something. */
	rte_pktmbuf_append(dead[0], 100);
	rte_pktmbuf_chain(dead[0], dead[1]);
	rte_mbuf_refcnt_update(dead[2], 3);
	dead[3]->pool = NULL;
	avail = rte_mempool_avail_count(mp);

	cr_expect_eq(reclaim(8), 100);
	cr_expect_eq(rte_mempool_avail_count(mp), avail + 100);
	cr_expect_eq(reclaim(8), 0, "once");
	cr_expect_eq(reclaim(0), 50, "now the other");
	cr_expect_eq(rte_mempool_avail_count(mp), N - 25, "a driver's stay");
	cr_assert_eq(rte_mempool_get_bulk(mp, kept, 32), 0);
	for (unsigned i = 0; i < 32; i++) {
		struct rte_mbuf *m = kept[i];

		cr_expect_eq(rte_mbuf_refcnt_read(m), 1);
		cr_expect_null(m->next);
		cr_expect_eq(m->nb_segs, 1);
		cr_expect_eq(m->pool, mp);
	}
}

static atomic_bool dead;

/* As good as dead: it never does anything again. */
static void *
die_with_a_stash(void *arg)
{
	struct rte_mempool *mp = arg;
	struct rte_mbuf *m[64];

	qp_rx_mark_own = 7;
	cr_assert_eq(rte_pktmbuf_alloc_bulk(mp, m, 64), 0);
	rte_pktmbuf_free_bulk(m, 64);
	atomic_store(&dead, true);
	for (;;)
		pause();
	return NULL;
}

Test(rx_pool, stash_of_a_dead_one_comes_back)
{
	struct rte_mempool *mp = open_pool();
	pthread_t t;

	qp_rx_pools_flush();
	cr_assert_eq(pthread_create(&t, NULL, die_with_a_stash, mp), 0);
	while (!atomic_load(&dead))
		sched_yield();
	cr_expect_lt(rte_mempool_avail_count(mp), N);
	cr_expect_gt(reclaim(0), 0);
	cr_expect_eq(rte_mempool_avail_count(mp), N);
}

#define TURNS 20000

static void *
exchange(void *arg)
{
	struct rte_mempool *mp = arg;
	struct rte_mbuf *m[32];
	uintptr_t failed = 0;

	for (unsigned i = 0; i < TURNS; i++) {
		unsigned n = i % 32 + 1;

		if (rte_pktmbuf_alloc_bulk(mp, m, n) != 0) {
			failed++;
			continue;
		}
		for (unsigned k = 0; k < n; k++)
			m[k]->ol_flags = (uintptr_t)m;
		for (unsigned k = 0; k < n; k++)
			failed += m[k]->ol_flags != (uintptr_t)m;
		rte_pktmbuf_free_bulk(m, n);
	}
	qp_rx_pools_flush();
	return (void *)failed;
}

Test(rx_pool, threads_share_it)
{
	struct rte_mempool *mp = open_pool();
	pthread_t t[4];
	void *failed;

	for (unsigned i = 0; i < 4; i++)
		cr_assert_eq(pthread_create(&t[i], NULL, exchange, mp), 0);
	for (unsigned i = 0; i < 4; i++) {
		pthread_join(t[i], &failed);
		cr_expect_null(failed);
	}
	qp_rx_pools_flush();
	cr_expect_eq(rte_mempool_avail_count(mp), N, "none is lost");
}
