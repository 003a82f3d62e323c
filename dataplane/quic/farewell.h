/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_DATAPLANE_QUIC_FAREWELL_H
#define QP_DATAPLANE_QUIC_FAREWELL_H

#include <stddef.h>

#include "common/farewell.h"
#include "dataplane/ip.h"

/*
 * The writer of a worker's farewell table. Owner: the worker's lcore. The memory
 * is the caller's and may outlive this process. NULL in place of a writer: nothing
 * is written down.
 */
struct qp_farewells;

#define QP_FAREWELL_NONE UINT32_MAX

size_t qp_farewells_bytes(uint32_t entries);
/* `memory` has qp_farewells_bytes(entries), aligned to 8. NULL: out of memory. */
struct qp_farewells *qp_farewells_new(void *memory, uint32_t entries);
/* The table stays as it is. NULL is allowed. */
void qp_farewells_free(struct qp_farewells *f);

/* Writes a connection down, or anew: `*slot` is its own, QP_FAREWELL_NONE at first. */
void qp_farewells_put(struct qp_farewells *f, uint32_t *slot, const struct qp_flow *flow,
	const uint8_t token[QP_RESET_TOKEN_BYTES]);
/* The connection has ended, and its peer knows. Idempotent. */
void qp_farewells_drop(struct qp_farewells *f, uint32_t *slot);

#endif
