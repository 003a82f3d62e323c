/* SPDX-License-Identifier: Apache-2.0 */
/* When a data plane gives memory back to the system. */
#include <criterion/criterion.h>

#include "dataplane/trim.h"

#define MIB (1ull << 20)
#define S 1000000000ull

static struct qp_trim t;
static uint64_t now_ns = S;

/* Looks four times a second, for so long. How often it was time. */
static unsigned
look(uint64_t heap_bytes, unsigned seconds)
{
	unsigned n = 0;

	for (unsigned i = 0; i < 4 * seconds; i++) {
		n += qp_trim_due(&t, heap_bytes, now_ns);
		now_ns += S / 4;
	}
	return n;
}

Test(trim, crowd_that_has_left_is_trimmed_for_once)
{
	cr_expect_eq(look(3 * MIB, 10), 0);
	cr_expect_eq(look(80 * MIB, 10), 0);
	cr_expect_eq(look(4 * MIB, 10), 1);
	cr_expect_eq(look(4 * MIB, 100), 0);
	cr_expect_eq(look(90 * MIB, 1) + look(4 * MIB, 10), 1, "and the next one");
}

Test(trim, heap_that_changes_or_hardly_fell_is_left_alone)
{
	look(200 * MIB, 4);
	for (unsigned i = 0; i < 100; i++)
		cr_expect_eq(look((10 + 5 * (i % 2)) * MIB, 1), 0, "no calm");
	t = (struct qp_trim) {0};
	look(200 * MIB, 4);
	cr_expect_eq(look(110 * MIB, 10), 0, "less than half has gone");
	t = (struct qp_trim) {0};
	look(18 * MIB, 4);
	cr_expect_eq(look(3 * MIB, 10), 0, "less than it is worth");
	t = (struct qp_trim) {0};
	look(9000 * MIB, 4);
	cr_expect_eq(look(3 * MIB, 10), 0, "it would take too long");
}
