/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_DATAPLANE_PROMPT_GATEWAY_H
#define QP_DATAPLANE_PROMPT_GATEWAY_H

#include "common/ipc.h"
#include "common/nic.h"
#include "common/shared.h"
#include "dataplane/orders.h"
#include "dataplane/prompt/prompt.h"
#include "dataplane/worker.h"

/*
 * What the prompt shows of a data plane, and what it may change in it. Owner:
 * the main thread; the workers are borrowed. In host mode port N is worker N's
 * TAP; in nic mode port N is a dedicated one.
 */
struct qp_prompt_gateway {
	struct qp_orders *orders;
	struct qp_sight *sight;      /* of each worker */
	struct qp_verbose *verbose;  /* likewise */
	struct qp_gen_shared *shared;
	const struct qp_nic *nic;    /* NULL: host mode */
	struct qp_worker *const *worker;
	const int *doorbell;
	const unsigned *cpu;         /* of each worker */
	uint32_t nworkers;
	uint32_t lcore_base;         /* EAL's id of the main thread */
	struct qp_shared_view view;  /* of `shared`, for counters by name; qp_prompt_gateway_init's */
};

/* The other fields are set. */
int qp_prompt_gateway_init(struct qp_prompt_gateway *g, struct qp_errmsg *msg);
/* What workers have seen since, to all who are at the prompt. */
struct qp_prompt_service;
void qp_prompt_gateway_show_verbose(struct qp_prompt_gateway *g, struct qp_prompt_service *to);
/* ctx: the struct above. */
const struct qp_prompt_ops *qp_prompt_gateway_ops(const struct qp_prompt_gateway *g);

#endif
