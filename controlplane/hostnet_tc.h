/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_HOSTNET_TC_H
#define QP_CONTROLPLANE_HOSTNET_TC_H

#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"
#include "controlplane/hostnet_state.h"

/*
 * tc: qdisc clsact and the filters on an interface's ingress, ours told from
 * others' by the id of the program. Functions return 0 or an errno value.
 */

/* EEXIST: it has one (or an ingress qdisc, which does as well). */
int qp_tc_clsact_create(uint32_t ifindex);
int qp_tc_clsact_destroy(uint32_t ifindex);
/* Whether a filter is attached on either side; true also when that cannot be told. */
bool qp_tc_clsact_in_use(uint32_t ifindex);

/*
 * Finds a free place, tells `before` of it (which writes it down), and attaches
 * the program. `f`: ifindex and prog_id are the caller's, the rest is filled
 * in. `start` picks where the search for a handle starts, so that gateways
 * starting at once do not meet. The qdisc must be there.
 */
int qp_tc_attach(struct qp_host_filter *f, int prog_fd, uint32_t start,
	int (*before)(void *ctx, const struct qp_host_filter *f), void *ctx);
/* Detaches the filter if it is still ours; that it is gone already is success. */
int qp_tc_detach(const struct qp_host_filter *f);
/* Whether the filter stands where it was written down, with the same program. */
bool qp_tc_stands(const struct qp_host_filter *f);
/* A single filter on an interface that is ours alone (a TAP). */
int qp_tc_attach_alone(uint32_t ifindex, int prog_fd);

#endif
