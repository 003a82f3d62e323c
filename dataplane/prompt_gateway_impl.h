/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_DATAPLANE_PROMPT_GATEWAY_IMPL_H
#define QP_DATAPLANE_PROMPT_GATEWAY_IMPL_H

#include "dataplane/prompt_gateway.h"

/* What is the same in both modes: struct qp_prompt_ops' functions, in prompt_gateway.c. */
bool qp_prompt_gw_lcore(void *ctx, unsigned i, struct qp_prompt_lcore *out);
bool qp_prompt_gw_running(void *ctx);
int qp_prompt_gw_start(void *ctx, bool on, struct qp_errmsg *msg);
int qp_prompt_gw_port_start(void *ctx, unsigned port, bool on, struct qp_errmsg *msg);
uint32_t qp_prompt_gw_burst(void *ctx);
int qp_prompt_gw_set_burst(void *ctx, uint32_t n, struct qp_errmsg *msg);
/* The workers look at what they were told. */
void qp_prompt_gw_ring(const struct qp_prompt_gateway *g);

/* prompt_lists.c */
void qp_prompt_gw_show_neighbours(void *ctx, struct qp_prompt_session *to);
/* prompt_verbose.c */
uint32_t qp_prompt_gw_verbose(void *ctx);
int qp_prompt_gw_set_verbose(void *ctx, uint32_t level, struct qp_errmsg *msg);
void qp_prompt_gw_show_tunnels(void *ctx, struct qp_prompt_session *to);

/* prompt_nic.c */
extern const struct qp_prompt_ops qp_prompt_nic_ops;

#endif
