/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_STATS_H
#define QP_CONTROLPLANE_STATS_H

#include <jansson.h>
#include <stdint.h>

#include "controlplane/metrics.h"

/* The figures of the `stats` event: totals, and rates since the last time. Pure. */
#define QP_STATS_TOTALS 8u

struct qp_stats {
	uint64_t at_ms; /* CLOCK_MONOTONIC; 0: never yet, so that rates are 0 */
	uint64_t total[QP_STATS_TOTALS];
};

/* An object as StatsEvent of docs/openapi.json, without time_ms; NULL: out of memory. */
json_t *qp_stats_take(struct qp_stats *s, const struct qp_metrics *m, uint64_t now_ms);

#endif
