/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_METRICS_IMPL_H
#define QP_CONTROLPLANE_METRICS_IMPL_H

#include <stdio.h>

#include "controlplane/metrics.h"

/* What the files of /metrics share. */

/* Calls for each live worker that can be read; all samples of a metric must stand together. */
#define QP_METRICS_EACH_WORKER(m, g, w)                                                            \
	TAILQ_FOREACH (g, (m)->generations, next)                                                  \
		for (unsigned w = 0; qp_metrics_readable(g) && (w) < (g)->nworkers; (w)++)

/* Whether its counters are there, and have names. */
bool qp_metrics_readable(const struct qp_generation *g);

/* HELP and TYPE. `name` without "quicport_". */
void qp_metrics_head(FILE *out, const char *name, const char *help, const char *type);

/* metrics_dist.c: distributions, and what the rings hold. */
void qp_metrics_rtts(FILE *out, const struct qp_metrics *m, const struct qp_totals *t);
void qp_metrics_rings(FILE *out, const struct qp_metrics *m);
/* metrics_memory.c */
void qp_metrics_memory(FILE *out, const struct qp_metrics *m);
/* metrics_nics.c; NULL: there are none. */
void qp_metrics_nics(FILE *out, const struct qp_nic *nic);

#endif
