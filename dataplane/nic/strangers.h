/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_DATAPLANE_NIC_STRANGERS_H
#define QP_DATAPLANE_NIC_STRANGERS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/classifier.h"
#include "dataplane/nic/parse.h"

/*
 * Who is a stranger to a worker, decided as the classifier decides it in host
 * mode (docs/architecture.md, Strangers): by what the worker said, and by who came
 * before. Each worker has tables of its own, since all of a conversation comes to it.
 * Owner: one lcore. Lock: none.
 */
struct qp_strangers;

/* NULL: no memory. `seed`: random. */
struct qp_strangers *qp_strangers_new(uint32_t seed);
/* NULL is allowed. */
void qp_strangers_free(struct qp_strangers *s);

/* The worker sends in this conversation: `f` as this end sees it, `flags` TCP's. */
void qp_strangers_learn(struct qp_strangers *s, const struct qp_steer_flow *f, uint8_t flags);

/* Whether a worker has spoken in it, a reset excepted. */
bool qp_strangers_is_known(const struct qp_strangers *s, const struct qp_steer_flow *f);

/*
 * The queue that a received packet belongs into. `new_quic`: its connection id names
 * no worker. `frame`, `len`: its first bytes.
 */
enum qp_cls_queue qp_strangers_queue(struct qp_strangers *s, const struct qp_steer_flow *f,
	bool new_quic, const uint8_t *frame, uint32_t len, uint64_t now_ns);

#endif
