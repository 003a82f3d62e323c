/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_EVENT_TYPES_H
#define QP_CONTROLPLANE_EVENT_TYPES_H

#include <stdbool.h>
#include <stdint.h>

#include "controlplane/http.h"

/* Types of events as bits, and "?types=…". Pure. */
#define QP_EVENT_STATS_BIT 1u

/* A type that the list does not have yet is an event for those who want all. */
uint32_t qp_event_type_bit(const char *type);
/* All when nothing is said. False: answered (400). */
bool qp_event_types_of_query(
	const struct qp_http_request *req, uint32_t *types, struct qp_http_response *out);

#endif
