/* SPDX-License-Identifier: Apache-2.0 */
/* The table that a worker leaves for its clients: slots taken, changed and given back. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/quic/farewell.h"

#define ENTRIES 4u

static struct qp_farewell_table *table;
static struct qp_farewells *f;

static void
open_all(void)
{
	table = malloc(qp_farewells_bytes(ENTRIES));
	cr_assert_not_null(table);
	memset(table, 0xff, qp_farewells_bytes(ENTRIES)); /* memory that another had before */
	f = qp_farewells_new(table, ENTRIES);
	cr_assert_not_null(f);
}

static void
close_all(void)
{
	qp_farewells_free(f);
	free(table);
}

TestSuite(farewell, .init = open_all, .fini = close_all);

static unsigned
used(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < table->n; i++)
		n += table->entry[i].used == 1;
	return n;
}

Test(farewell, fresh_table_is_empty)
{
	cr_expect_eq(table->magic, QP_FAREWELL_MAGIC);
	cr_expect_eq(table->entry_bytes, sizeof(struct qp_farewell_entry));
	cr_expect_eq(table->n, ENTRIES);
	cr_expect_eq(used(), 0);
}

Test(farewell, connection_that_moves_keeps_its_slot)
{
	struct qp_flow flow = {.remote.b = {[15] = 9}, .local.b = {[15] = 1}, .rport_be = 7};
	const uint8_t first[QP_RESET_TOKEN_BYTES] = {1}, second[QP_RESET_TOKEN_BYTES] = {2};
	uint32_t slot = QP_FAREWELL_NONE, before;

	qp_farewells_put(f, &slot, &flow, first);
	cr_assert_lt(slot, ENTRIES);
	cr_expect_eq(used(), 1);
	before = slot;
	flow.rport_be = 8;
	flow.remote.b[15] = 10;
	qp_farewells_put(f, &slot, &flow, second);
	cr_expect_eq(slot, before);
	cr_expect_eq(used(), 1);
	cr_expect_eq(table->entry[slot].peer_port_be, 8);
	cr_expect_eq(table->entry[slot].peer[15], 10);
	cr_expect_eq(table->entry[slot].local[15], 1);
	cr_expect_arr_eq(table->entry[slot].token, second, sizeof(second));
	qp_farewells_drop(f, &slot);
	cr_expect_eq(slot, QP_FAREWELL_NONE);
	qp_farewells_drop(f, &slot);
	cr_expect_eq(used(), 0);
}

Test(farewell, full_table_takes_no_more_until_one_leaves)
{
	const struct qp_flow flow = {.rport_be = 7};
	const uint8_t token[QP_RESET_TOKEN_BYTES] = {1};
	uint32_t slot[ENTRIES + 1];

	for (unsigned i = 0; i <= ENTRIES; i++) {
		slot[i] = QP_FAREWELL_NONE;
		qp_farewells_put(f, &slot[i], &flow, token);
	}
	cr_expect_eq(used(), ENTRIES);
	cr_expect_eq(slot[ENTRIES], QP_FAREWELL_NONE);
	qp_farewells_drop(f, &slot[1]);
	qp_farewells_put(f, &slot[ENTRIES], &flow, token);
	cr_expect_lt(slot[ENTRIES], ENTRIES);
	cr_expect_eq(used(), ENTRIES);
}

Test(farewell, without_a_table_nothing_happens)
{
	const struct qp_flow flow = {.rport_be = 7};
	const uint8_t token[QP_RESET_TOKEN_BYTES] = {1};
	uint32_t slot = QP_FAREWELL_NONE;

	qp_farewells_put(NULL, &slot, &flow, token);
	cr_expect_eq(slot, QP_FAREWELL_NONE);
	qp_farewells_drop(NULL, &slot);
}
