/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_BENCH_PORTS_H
#define QP_BENCH_PORTS_H

#include "bench/bench.h"

struct rte_mempool;

/*
 * The ethdev side: ports with a queue pair for each worker, and the workers'
 * pools. Main thread. Ports and pools live to the end of the process.
 */

/* Of all workers; QP_E_NOMEM with the way out in `msg`. */
int qpb_pools_new(struct qpb *b, const unsigned *lcores, struct qp_errmsg *msg);
struct rte_mempool *qpb_pool(const struct qpb *b, unsigned worker, bool indirect);

/*
 * Opens those that EAL has found by its own options, then `devargs` (n texts, as
 * --port has them); b->nworkers, b->cfg.mtu and the pools stand. Fills each
 * b->port but for its addresses. The count must be b->nports.
 */
int qpb_ports_open(struct qpb *b, const char *const *devargs, unsigned n, struct qp_errmsg *msg);
void qpb_ports_close(struct qpb *b);

#endif
