/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The send queue against a model: a flat array of the same bytes. After each
 * test every mbuf is back in its pool.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <rte_mbuf.h>
#include <stdlib.h>
#include <string.h>

#include "common/error.h"
#include "dataplane/quic/sendq.h"
#include "tests/tcp/eal.h"

#define POOL 63u
#define ROOM (128u + 512u) /* headroom and data */
#define BIG 300u /* a piece that is linked, not copied */

static struct rte_mempool *pool;
static struct qp_sendq q;
static uint8_t byte; /* the next of the pattern */

static void
setup(void)
{
	test_eal_init();
	pool = test_pool("sendq", POOL, ROOM);
	memset(&q, 0, sizeof(q));
	byte = 0;
}

static void
teardown(void)
{
	qp_sendq_clear(&q);
	if (rte_mempool_avail_count(pool) != POOL)
		abort(); /* Criterion takes no notice of an assert in here */
}

TestSuite(sendq, .init = setup, .fini = teardown);

static struct rte_mbuf *
segment(uint16_t len)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(pool);

	cr_assert_not_null(m);
	for (uint16_t i = 0; i < len; i++)
		*(uint8_t *)rte_pktmbuf_append(m, 1) = byte++;
	return m;
}

static int
copy(size_t len)
{
	uint8_t buf[4096];
	int rc;

	for (size_t i = 0; i < len; i++)
		buf[i] = (uint8_t)(byte + i);
	rc = qp_sendq_copy(&q, pool, buf, len);
	if (rc == 0)
		byte += (uint8_t)len;
	return rc;
}

/* The unsent bytes, by as many peeks as it takes to see them with `n` vectors. */
static size_t
peek_all(uint8_t *out, size_t cap, size_t n)
{
	ngtcp2_vec vec[16];
	size_t len = 0, got = qp_sendq_peek(&q, vec, n, cap);

	for (size_t i = 0; i < got; i++) {
		cr_assert_gt(vec[i].len, 0);
		memcpy(out + len, vec[i].base, vec[i].len);
		len += vec[i].len;
	}
	return len;
}

static void
expect_unsent(uint8_t first, size_t len)
{
	uint8_t buf[8192];

	cr_assert_eq(q.unsent_bytes, len);
	cr_assert_eq(peek_all(buf, sizeof(buf), 16), len);
	for (size_t i = 0; i < len; i++)
		cr_assert_eq(buf[i], (uint8_t)(first + i), "byte %zu", i);
}

Test(sendq, empty_peek_shows_nothing)
{
	uint8_t buf[1];

	cr_assert_eq(peek_all(buf, sizeof(buf), 8), 0);
	qp_sendq_append(&q, segment(0));
	cr_assert_eq(q.queued_bytes, 0);
	cr_assert_eq(peek_all(buf, sizeof(buf), 8), 0);
}

Test(sendq, chain_appended_comes_out_in_order_without_empty_segments)
{
	struct rte_mbuf *chain = segment(BIG);

	chain->next = segment(0);
	chain->next->next = segment(BIG + 1);
	chain->nb_segs = 3;
	chain->pkt_len = 2 * BIG + 1;
	qp_sendq_append(&q, chain);
	qp_sendq_append(&q, segment(BIG + 2));
	expect_unsent(0, 3 * BIG + 3);
	cr_assert_eq(rte_mempool_avail_count(pool), POOL - 3);
}

/* A peer that sends byte by byte costs bytes, not an mbuf a byte. */
Test(sendq, small_pieces_appended_share_segments)
{
	qp_sendq_append(&q, segment(10));
	for (unsigned i = 0; i < 200; i++)
		qp_sendq_append(&q, segment(1));
	expect_unsent(0, 210);
	cr_assert_eq(rte_mempool_avail_count(pool), POOL - 1);
	qp_sendq_append(&q, segment(250)); /* fits */
	qp_sendq_append(&q, segment(250)); /* does not */
	expect_unsent(0, 710);
	cr_assert_eq(rte_mempool_avail_count(pool), POOL - 2);
}

Test(sendq, bytes_copied_fill_the_tail_first)
{
	cr_assert_eq(copy(3), 0);
	cr_assert_eq(copy(4), 0);
	cr_assert_eq(rte_mempool_avail_count(pool), POOL - 1);
	cr_assert_eq(copy(1000), 0);
	expect_unsent(0, 1007);
}

/* What was handed out stays as it is: bytes that follow stand behind it. */
Test(sendq, sent_tail_then_copy_shows_only_new_bytes)
{
	ngtcp2_vec vec;

	cr_assert_eq(copy(10), 0);
	cr_assert_eq(qp_sendq_peek(&q, &vec, 1, 100), 1);
	qp_sendq_sent(&q, 10);
	cr_assert_eq(copy(7), 0);
	expect_unsent(10, 7);
	for (uint8_t i = 0; i < 10; i++)
		cr_assert_eq(vec.base[i], i);
	qp_sendq_acked(&q, 10);
	expect_unsent(10, 7);
	cr_assert_eq(q.queued_bytes, 7);
}

Test(sendq, shared_tail_copied_to_gets_a_segment_of_its_own)
{
	struct rte_mbuf *m = segment(10);

	rte_mbuf_refcnt_update(m, 1);
	qp_sendq_append(&q, m);
	cr_assert_eq(copy(5), 0);
	cr_assert_eq(m->data_len, 10);
	expect_unsent(0, 15);
	qp_sendq_clear(&q);
	rte_pktmbuf_free(m);
}

Test(sendq, pool_empty_copy_appends_nothing)
{
	struct rte_mbuf *all[POOL];
	unsigned n;

	cr_assert_eq(copy(100), 0);
	for (n = 0; (all[n] = rte_pktmbuf_alloc(pool)) != NULL; n++)
		;
	cr_assert_eq(copy(4000), QP_E_NOMEM);
	expect_unsent(0, 100);
	cr_assert_eq(copy(20), 0, "what fits the tail needs no mbuf");
	expect_unsent(0, 120);
	rte_pktmbuf_free_bulk(all, n);
}

struct limits {
	size_t vectors, max_bytes, want;
};

/* Segments of 300, 320, 340 bytes, of which 5 are sent. */
ParameterizedTestParameters(sendq, part_sent_peek_obeys_limits)
{
	static struct limits rows[] = {
		{1, 1000, 295},
		{2, 1000, 615},
		{3, 1000, 955},
		{8, 1000, 955},
		{8, 295, 295},
		{8, 296, 296},
		{8, 616, 616},
		{8, 0, 0},
		{0, 1000, 0},
	};

	return cr_make_param_array(struct limits, rows, sizeof(rows) / sizeof(rows[0]));
}

ParameterizedTest(struct limits *row, sendq, part_sent_peek_obeys_limits)
{
	uint8_t buf[1024];

	qp_sendq_append(&q, segment(300));
	qp_sendq_append(&q, segment(320));
	qp_sendq_append(&q, segment(340));
	qp_sendq_sent(&q, 5);
	cr_assert_eq(peek_all(buf, row->max_bytes, row->vectors), row->want);
	for (size_t i = 0; i < row->want; i++)
		cr_assert_eq(buf[i], (uint8_t)(5 + i));
}

struct step {
	uint16_t sent, acked;
	unsigned mbufs; /* held after it */
};

/* Three segments of 300 bytes: each is freed with its last byte, not before. */
Test(sendq, acked_piecewise_frees_segment_with_its_last_byte)
{
	static const struct step steps[] = {
		{300, 0, 3},
		{0, 299, 3},
		{0, 1, 2},
		{50, 49, 2},
		{0, 1, 2},
		{550, 250, 1},
		{0, 300, 0},
	};

	for (unsigned i = 0; i < 3; i++)
		qp_sendq_append(&q, segment(BIG));
	for (unsigned i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		qp_sendq_sent(&q, steps[i].sent);
		qp_sendq_acked(&q, steps[i].acked);
		cr_assert_eq(POOL - rte_mempool_avail_count(pool), steps[i].mbufs, "step %u", i);
	}
	cr_assert_null(q.head);
	cr_assert_null(q.tail);
	cr_assert_null(q.unsent);
	cr_assert_eq(copy(3), 0);
	expect_unsent((uint8_t)(3 * BIG), 3);
}

static const struct rte_mbuf *
behind(const struct rte_mbuf *seg)
{
	return (const struct rte_mbuf *)(uintptr_t)seg->tx_offload;
}

/* Each segment knows the one that is some places behind it, or nothing: who fetches it must not miss. */
static void
check_fetching(void)
{
	const struct rte_mbuf *ahead = q.head, *seg = q.head, *early = NULL;
	uint32_t n = 0;

	for (; ahead != NULL; ahead = ahead->next, n++) {
		if (n < QP_SENDQ_AHEAD)
			continue;
		cr_assert_eq(behind(seg), ahead);
		early = seg;
		seg = seg->next;
	}
	for (; seg != NULL; seg = seg->next)
		cr_assert_null(behind(seg));
	cr_assert_eq(q.segs, n);
	cr_assert_eq(q.early, early);
}

/* Whoever gets the mbuf next finds no trace of it there. */
Test(sendq, freed_segments_have_forgotten_the_ones_behind)
{
	struct rte_mbuf *segs[2 * QP_SENDQ_AHEAD];

	for (unsigned i = 0; i < 2 * QP_SENDQ_AHEAD; i++) {
		segs[i] = segment(BIG);
		qp_sendq_append(&q, segs[i]);
	}
	check_fetching();
	cr_assert_not_null(behind(segs[0]));
	qp_sendq_sent(&q, (2 * QP_SENDQ_AHEAD) * BIG);
	qp_sendq_acked(&q, 2 * BIG);
	check_fetching();
	qp_sendq_clear(&q);
	for (unsigned i = 0; i < 2 * QP_SENDQ_AHEAD; i++)
		cr_assert_null(behind(segs[i]), "segment %u", i);
}

/* Random appends, copies, sends and acknowledgements: bytes come out in order, counts agree. */
Test(sendq, any_random_steps_agree_with_the_model)
{
	uint64_t queued = 0, unsent = 0;
	uint8_t next_unsent = 0;
	unsigned seed = 7;

	for (unsigned i = 0; i < 20000; i++) {
		unsigned what = (unsigned)rand_r(&seed) % 4, n = (unsigned)rand_r(&seed) % 500;

		if (what == 0 && rte_mempool_avail_count(pool) > 0) {
			uint16_t len = (uint16_t)n;

			qp_sendq_append(&q, segment(len));
			queued += len;
			unsent += len;
		} else if (what == 1 && copy(n) == 0) {
			queued += n;
			unsent += n;
		} else if (what == 2) {
			uint8_t buf[512];
			size_t got = peek_all(buf, n, 16);

			for (size_t k = 0; k < got; k++)
				cr_assert_eq(buf[k], (uint8_t)(next_unsent + k));
			qp_sendq_sent(&q, got);
			next_unsent += (uint8_t)got;
			unsent -= got;
		} else if (what == 3) {
			uint64_t len = queued - unsent < n ? queued - unsent : n;

			qp_sendq_acked(&q, len);
			queued -= len;
		}
		cr_assert_eq(q.queued_bytes, queued);
		cr_assert_eq(q.unsent_bytes, unsent);
		check_fetching();
	}
}
