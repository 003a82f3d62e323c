/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_DATAPLANE_WORKER_H
#define QP_DATAPLANE_WORKER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"
#include "dataplane/ctl.h"
#include "dataplane/orders.h"
#include "dataplane/sight.h"
#include "dataplane/verbose.h"

/*
 * One worker: a poll-mode lcore that owns a port, its timers, TCP and QUIC,
 * and shares nothing with other workers. The main thread makes it, the lcore
 * runs it, the main thread frees it.
 */
struct qp_worker;

struct qp_worker_config {
	uint32_t index;           /* 0 … QP_MAX_WORKERS - 1 */
	uint32_t server_id;
	uint32_t mbufs;           /* plain mbufs of 2 KiB, and as many indirect ones */
	bool busy_poll;           /* never sleeps */
	void *pools;              /* qp_worker_pool_bytes of shared memory; outlives the worker */
	void *farewells;          /* likewise; see common/farewell.h */
	struct qp_gen_shared *shared;
	uint32_t version;               /* of the ring protocol, that both speak at first */
	int doorbell;             /* eventfd that the control plane rings */
	int cp_doorbell;
	struct rte_ring *to_cp, *from_cp;
	struct qp_ctl_offer *offer; /* how it learns of a new control plane; NULL: never */
	const struct qp_orders *orders; /* the prompt's; outlives the worker */
	struct qp_sight *sight;   /* likewise, for its questions */
	struct qp_verbose *verbose; /* likewise, for what it shows */
	const atomic_bool *stop;  /* set by the main thread, which then rings the doorbell */
	struct qp_nic *nic;       /* dedicated ports; NULL: host mode */
	uint64_t handoff;         /* nic mode: the generation's hand-off rings */
	struct qp_port_links *links; /* nic mode: which ports may be used now */
	const int *doorbells;     /* of all its workers */
};

/* What the pools of a worker need, and what it leaves behind when it dies. */
uint64_t qp_worker_pool_bytes(uint32_t mbufs);
uint64_t qp_worker_farewell_bytes(void);
/* Makes pools and timers. On failure nothing is left. */
int qp_worker_new(const struct qp_worker_config *cfg, struct qp_worker **out,
	struct qp_errmsg *msg);
/*
 * An lcore_function_t: runs until the control plane's SHUTDOWN, or `stop`, or
 * after its DRAIN until no worker has a tunnel any more, and
 * until its tunnels have said goodbye (at most a second). Returns 0.
 */
int qp_worker_run(void *worker);
/*
 * Its port, once it is open; NULL before. Any thread: what does not change, and counters by
 * relaxed loads.
 */
struct qp_port;
const struct qp_port *qp_worker_port(const struct qp_worker *w);
/* After it has run. NULL is allowed. */
void qp_worker_free(struct qp_worker *w);

#endif
