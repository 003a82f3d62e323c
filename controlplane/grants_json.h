/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_GRANTS_JSON_H
#define QP_CONTROLPLANE_GRANTS_JSON_H

#include <jansson.h>

#include "controlplane/policy.h"

/* Adds what a client may do to its row, as docs/openapi.json has it (Client). Pure. */
void qp_grants_to_json(const struct qp_grants *g, json_t *row);

#endif
