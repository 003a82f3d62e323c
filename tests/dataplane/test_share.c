/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>

#include "dataplane/share.h"

#define NEW ((struct qp_share) {.parts = 10, .most = 50, .debt = 200})

/* Works in pieces of `piece` whenever it may, while `span` passes; the time that it had. */
static uint64_t
work(struct qp_share *s, uint64_t span, uint64_t piece)
{
	uint64_t had = 0;

	for (uint64_t now = s->at, end = now + span; now < end;) {
		if (!qp_share_open(s, now)) {
			now++;
			continue;
		}
		qp_share_pay(s, piece);
		had += piece;
		now += piece;
	}
	return had;
}

Test(share, greedy_work_of_any_piece_has_one_part_of_the_time)
{
	static const uint64_t pieces[] = {1, 3, 10, 50, 200};

	for (unsigned i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
		struct qp_share s = NEW;
		uint64_t had = work(&s, 100000, pieces[i]);

		cr_expect_geq(had, 9700, "pieces of %lu: %lu", pieces[i], had);
		cr_expect_leq(had, 10300, "pieces of %lu: %lu", pieces[i], had);
	}
}

Test(share, silence_saves_a_bounded_credit)
{
	struct qp_share s = NEW;

	cr_assert(qp_share_open(&s, 1000000));
	cr_expect_eq(s.credit, 50);
	qp_share_pay(&s, 50);
	cr_expect_not(qp_share_open(&s, 1000000));
	cr_expect_not(qp_share_open(&s, 1000009));
	cr_expect(qp_share_open(&s, 1000010));
}

Test(share, looks_at_every_instant_lose_no_credit)
{
	struct qp_share s = NEW;

	for (uint64_t now = 0; now <= 300; now += 3)
		(void)qp_share_open(&s, now);
	cr_expect_geq(s.credit, 25);
}

Test(share, thread_that_was_interrupted_owes_no_more_than_the_debt)
{
	struct qp_share s = NEW;

	cr_assert(qp_share_open(&s, 10));
	qp_share_pay(&s, 1000000);
	cr_expect_not(qp_share_open(&s, 2000));
	cr_expect(qp_share_open(&s, 2030));
}
