/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "common/error.h"
#include "dataplane/quic/cid.h"

static struct qp_cid_table table;
static struct qp_cid_list list_a = LIST_HEAD_INITIALIZER(list_a);
static struct qp_cid_list list_b = LIST_HEAD_INITIALIZER(list_b);
static int conn_a, conn_b;

static void
setup(void)
{
	cr_assert_geq(sodium_init(), 0);
	cr_assert_eq(qp_cid_table_init(&table), 0);
}

static void
teardown(void)
{
	qp_cid_remove_all(&table, &list_a);
	qp_cid_remove_all(&table, &list_b);
	if (table.used != 0)
		abort(); /* Criterion takes no notice of an assert in here */
	qp_cid_table_fini(&table);
}

static ngtcp2_cid
cid_of(uint32_t n, size_t len)
{
	ngtcp2_cid cid = {.datalen = len};

	memcpy(cid.data, &n, sizeof(n));
	return cid;
}

TestSuite(cid, .init = setup, .fini = teardown);

Test(cid, any_made_leads_with_server_id_and_lcore)
{
	static const uint8_t lead[] = {0x00, 0x00, 0x30, 0x39, 0x07};
	ngtcp2_cid a, b;

	qp_cid_make(&a, 0x3039, 7);
	qp_cid_make(&b, 0x3039, 7);
	cr_assert_eq(a.datalen, QP_CID_BYTES);
	cr_assert_arr_eq(a.data, lead, sizeof(lead));
	cr_assert_arr_neq(a.data, b.data, QP_CID_BYTES);
}

Test(cid, taken_added_again_says_in_use_and_keeps_owner)
{
	ngtcp2_cid cid = cid_of(1, 8);

	cr_assert_eq(qp_cid_add(&table, &list_a, &cid, &conn_a), 0);
	cr_assert_eq(qp_cid_add(&table, &list_b, &cid, &conn_b), QP_E_INUSE);
	cr_assert_eq(qp_cid_find(&table, cid.data, 8), &conn_a);
}

Test(cid, same_bytes_other_length_is_another)
{
	ngtcp2_cid eight = cid_of(1, 8), twelve = cid_of(1, 12), none = cid_of(0, 0);

	cr_assert_eq(qp_cid_add(&table, &list_a, &eight, &conn_a), 0);
	cr_assert_null(qp_cid_find(&table, twelve.data, 12));
	cr_assert_eq(qp_cid_add(&table, &list_b, &twelve, &conn_b), 0);
	cr_assert_eq(qp_cid_add(&table, &list_b, &none, &conn_b), 0);
	cr_assert_eq(qp_cid_find(&table, eight.data, 8), &conn_a);
	cr_assert_eq(qp_cid_find(&table, twelve.data, 12), &conn_b);
	cr_assert_eq(qp_cid_find(&table, none.data, 0), &conn_b);
}

Test(cid, others_removed_by_stranger_stays)
{
	ngtcp2_cid cid = cid_of(1, 8);

	cr_assert_eq(qp_cid_add(&table, &list_a, &cid, &conn_a), 0);
	qp_cid_remove(&table, &cid, &conn_b);
	cr_assert_eq(qp_cid_find(&table, cid.data, 8), &conn_a);
	qp_cid_remove(&table, &cid, &conn_a);
	cr_assert_null(qp_cid_find(&table, cid.data, 8));
	qp_cid_remove(&table, &cid, &conn_a);
}

Test(cid, removed_id_reused_finds_new_owner)
{
	ngtcp2_cid cid = cid_of(1, 8);

	cr_assert_eq(qp_cid_add(&table, &list_a, &cid, &conn_a), 0);
	qp_cid_remove(&table, &cid, &conn_a);
	cr_assert_eq(qp_cid_add(&table, &list_b, &cid, &conn_b), 0);
	cr_assert_eq(qp_cid_find(&table, cid.data, 8), &conn_b);
}

Test(cid, grown_many_times_finds_all_and_remove_all_takes_one_owners)
{
	enum { MANY = 20000 };
	uint32_t first_mask = table.mask;

	for (uint32_t i = 0; i < MANY; i++) {
		ngtcp2_cid cid = cid_of(i, 8);

		cr_assert_eq(qp_cid_add(&table, i % 2 ? &list_b : &list_a, &cid,
				     i % 2 ? &conn_b : &conn_a),
			0);
	}
	cr_assert_gt(table.mask, first_mask);
	cr_assert_eq(table.used, MANY);
	for (uint32_t i = 0; i < MANY; i++) {
		ngtcp2_cid cid = cid_of(i, 8);

		cr_assert_eq(qp_cid_find(&table, cid.data, 8), i % 2 ? &conn_b : &conn_a);
	}
	qp_cid_remove_all(&table, &list_a);
	cr_assert_eq(table.used, MANY / 2);
	for (uint32_t i = 0; i < MANY; i++) {
		ngtcp2_cid cid = cid_of(i, 8);

		cr_assert_eq(qp_cid_find(&table, cid.data, 8), i % 2 ? &conn_b : NULL);
	}
}
