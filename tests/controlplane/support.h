/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_TESTS_CONTROLPLANE_SUPPORT_H
#define QP_TESTS_CONTROLPLANE_SUPPORT_H

#include "controlplane/msg.h"

/* A sender that keeps what modules answer, in order. */
struct outbox {
	unsigned n;
	struct {
		struct qp_origin to;
		struct qp_msg m;
	} sent[64];
};

/* A struct qp_sender that fills it. */
struct qp_sender outbox_sender(struct outbox *o);
/* The last message; ends the test when it is of another type or there is none. */
const struct qp_msg *outbox_last(const struct outbox *o, uint16_t type);

#endif
