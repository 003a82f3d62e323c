/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>

#include "common/error.h"
#include "dataplane/slots.h"

static int things[1 << 10];

Test(slots, empty_get_finds_nobody)
{
	struct qp_slots s = {0};

	cr_assert_null(qp_slots_get(&s, 0));
	cr_assert_null(qp_slots_get(&s, 1));
	cr_assert_null(qp_slots_get(&s, UINT64_MAX));
	qp_slots_remove(&s, 7);
	cr_assert_eq(s.used, 0);
	qp_slots_fini(&s);
}

Test(slots, full_first_block_grow_keeps_all_ids)
{
	struct qp_slots s = {0};
	uint64_t id[1 << 10];

	for (unsigned i = 0; i < 1 << 10; i++) {
		cr_assert_eq(qp_slots_add(&s, &things[i], &id[i]), 0);
		cr_assert_neq(id[i], 0);
	}
	for (unsigned i = 0; i < 1 << 10; i++)
		cr_assert_eq(qp_slots_get(&s, id[i]), &things[i], "thing %u", i);
	cr_assert_eq(s.used, 1 << 10);
	qp_slots_fini(&s);
	cr_assert_eq(s.used, 0);
}

Test(slots, removed_slot_reused_old_id_finds_nobody)
{
	struct qp_slots s = {0};
	uint64_t old, id;

	cr_assert_eq(qp_slots_add(&s, &things[0], &old), 0);
	qp_slots_remove(&s, old);
	cr_assert_null(qp_slots_get(&s, old));
	cr_assert_eq(qp_slots_add(&s, &things[1], &id), 0);
	cr_assert_eq(id & ((1u << QP_SLOT_BITS) - 1), old & ((1u << QP_SLOT_BITS) - 1));
	cr_assert_neq(id, old);
	cr_assert_null(qp_slots_get(&s, old));
	qp_slots_remove(&s, old); /* a late removal takes nothing away from the successor */
	cr_assert_eq(qp_slots_get(&s, id), &things[1]);
	qp_slots_fini(&s);
}

/* With 12 bits of generation an id fits the wire's 32 and comes again after 4,095 uses. */
Test(slots, narrow_generation_wraps_ids_fit_32_bits)
{
	struct qp_slots s = {.gen_mask = 0xfff};
	uint64_t first, id = 0;

	cr_assert_eq(qp_slots_add(&s, &things[0], &first), 0);
	qp_slots_remove(&s, first);
	for (unsigned i = 1; i < 4095; i++) {
		cr_assert_eq(qp_slots_add(&s, &things[0], &id), 0);
		cr_assert_leq(id, UINT32_MAX);
		cr_assert_gt(id, 0);
		cr_assert_neq(id, first, "use %u", i);
		qp_slots_remove(&s, id);
	}
	cr_assert_eq(qp_slots_add(&s, &things[0], &id), 0);
	cr_assert_eq(id, first);
	qp_slots_fini(&s);
}

Test(slots, all_in_use_add_says_full)
{
	struct qp_slots s = {0};
	uint64_t id, last = 0;

	for (uint32_t i = 0; i < 1u << QP_SLOT_BITS; i++)
		cr_assert_eq(qp_slots_add(&s, &things[0], &last), 0);
	cr_assert_eq(qp_slots_add(&s, &things[1], &id), QP_E_FULL);
	qp_slots_remove(&s, last);
	cr_assert_eq(qp_slots_add(&s, &things[1], &id), 0);
	cr_assert_eq(qp_slots_get(&s, id), &things[1]);
	qp_slots_fini(&s);
}
