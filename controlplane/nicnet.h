/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_NICNET_H
#define QP_CONTROLPLANE_NICNET_H

#include "common/nic.h"
#include "controlplane/network.h"
#include "controlplane/options_nic.h"

/*
 * Nic mode's side of struct qp_network_ops: what the control plane writes into
 * struct qp_nic (common/nic.h), which the port owner has made. It outlives this
 * process: a control plane that starts anew reads back who has which slot and
 * port. Before `attached` only addresses and blocked networks are kept, for then.
 * Owner: the loop thread. Lock: none.
 */
struct qp_nicnet;

struct qp_nicnet_config {
	const struct qp_nic_options *options; /* checked; copied */
	struct in6_addr quic_addr;   /* v4-mapped; all zero: each of ours */
	struct in6_addr forward_addr; /* the only address that forwarded ports answer on; all zero: each */
	uint16_t quic_port;          /* host order */
	uint16_t public_port;        /* 0: none */
	/* A zone of the port owner's; NULL: there is none. */
	const void *(*zone)(const char *name, size_t *bytes);
};

/* NULL: out of memory. */
struct qp_nicnet *qp_nicnet_new(const struct qp_nicnet_config *cfg);
/* The table; `net` is the struct qp_nicnet. */
extern const struct qp_network_ops qp_nicnet_ops;

/* The ports, with their links and queues; NULL before `attached`. */
const struct qp_nic *qp_nicnet_shared(const struct qp_nicnet *n);
/*
 * Whether these addresses, routes and links could take the place of what is in
 * force: QP_E_INVAL, with what needs a restart. Then qp_nicnet_change does it.
 */
int qp_nicnet_may_change(
	const struct qp_nicnet *n, const struct qp_nic_options *o, struct qp_errmsg *msg);
void qp_nicnet_change(struct qp_nicnet *n, const struct qp_nic_options *o);

/* Makes the rules of qp_network_ops' route visible to tests: as `net` says. */
int qp_nicnet_route(const struct qp_nic_net *net, const struct in6_addr *dest,
	struct qp_hostnet_route *out, struct qp_errmsg *msg);

#endif
