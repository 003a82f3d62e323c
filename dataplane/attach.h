/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_DATAPLANE_ATTACH_H
#define QP_DATAPLANE_ATTACH_H

#include <stdint.h>

#include "common/error.h"
#include "common/ipc.h"

struct rte_ring;

/*
 * A data plane's hold on its gateway: the rendezvous with the control plane
 * and the shared memory that follows from it (common/ipc.h). Owner: the main
 * thread. The workers borrow what it has made.
 */
struct qp_attachment {
	int sock;                                  /* ends when the control plane is gone; -1: it is */
	int cp_doorbell;
	int lifeline;                              /* held, never used: keeps the port owner alive */
	uint32_t server_id;
	uint32_t nworkers;
	uint32_t epoch;                            /* how many attachments were before */
	uint32_t lcore_base;                       /* for the control plane to know */
	uint32_t version;                          /* of the ring protocol, that both speak */
	int doorbell[QP_MAX_WORKERS];
	int owner;                                 /* the port owner's owner.sock; -1: of an earlier release */
	uint64_t pool_bytes;                       /* that each worker wants: the caller's say; 0: none */
	int node[QP_MAX_WORKERS];                  /* … and on which NUMA node */
	void *pools[QP_MAX_WORKERS];               /* … and where they are */
	struct qp_gen_shared *shared;
	struct qp_nic *nic;                        /* the port owner's block of dedicated ports; NULL: host mode */
	uint64_t handoff;                          /* nic mode: the hand-off rings, behind the block's rings */
	/* Of this epoch, in the zone behind `shared`. */
	struct rte_ring *to_cp[QP_MAX_WORKERS];
	struct rte_ring *from_cp[QP_MAX_WORKERS];
};

/*
 * Connects, introduces itself, gets a server id. No EAL needed. QP_E_NOTFOUND
 * when no control plane of that instance runs, QP_E_VERSION, QP_E_PERM.
 */
int qp_attach_connect(struct qp_attachment *a, const char *instance, uint32_t nworkers,
	uint32_t lcore_base, struct qp_errmsg *msg);
/* Before EAL's start: returns when it is this process's turn to attach. QP_E_CLOSED, QP_E_AGAIN. */
int qp_attach_begin(struct qp_attachment *a, const char *instance, struct qp_errmsg *msg);
/* After it: gets the memory, makes the rings in it, and says that they are there. */
int qp_attach_share(struct qp_attachment *a, struct qp_errmsg *msg);
/*
 * After that: another zone, which outlives the process, on that NUMA node (SOCKET_ID_ANY: on any),
 * or where there is room. NULL: `msg` says why.
 */
void *qp_attach_zone(struct qp_attachment *a, const char *name, uint64_t bytes, int node,
	struct qp_errmsg *msg);
/*
 * Introduces a data plane that runs to a new control plane: `next` is `a` with
 * another socket, doorbell and epoch, and fresh rings. Once nobody uses those
 * of `a`, qp_attach_switch makes `next` the one and tells the control plane.
 * Blocks for its answer, some seconds at most. On failure `a` is as it was.
 */
int qp_attach_again(const struct qp_attachment *a, const char *instance,
	struct qp_attachment *next, struct qp_errmsg *msg);
int qp_attach_switch(struct qp_attachment *a, const struct qp_attachment *next,
	struct qp_errmsg *msg);
/* The control plane is gone: its socket is closed. */
void qp_attach_lost(struct qp_attachment *a);
/*
 * Closes the descriptors. The memory stays: the control plane still reads the
 * last counters, and has it freed, as it must after a crash anyway.
 */
void qp_attach_close(struct qp_attachment *a);

#endif
