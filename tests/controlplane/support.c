/* SPDX-License-Identifier: Apache-2.0 */
/* What the module tests of the control plane share. */
#include "tests/controlplane/support.h"

#include <criterion/criterion.h>

static void
keep(void *ctx, const struct qp_origin *to, struct qp_msg *m)
{
	struct outbox *o = ctx;

	cr_assert_lt(o->n, 64u);
	o->sent[o->n].to = *to;
	o->sent[o->n++].m = *m;
}

struct qp_sender
outbox_sender(struct outbox *o)
{
	return (struct qp_sender) {.send = keep, .ctx = o};
}

const struct qp_msg *
outbox_last(const struct outbox *o, uint16_t type)
{
	cr_assert_gt(o->n, 0u, "nothing was sent");
	cr_assert_eq(o->sent[o->n - 1].m.type, type, "a message of type %u was sent, not %u",
		o->sent[o->n - 1].m.type, type);
	return &o->sent[o->n - 1].m;
}
