/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_HOSTNET_RESERVE_H
#define QP_CONTROLPLANE_HOSTNET_RESERVE_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"

/*
 * Port reservations in the kernel: a socket that is bound, and hears nothing. So
 * a port that the host uses is refused to us, and ours to the host. For UDP it
 * also makes the kernel aggregate datagrams to the port (GRO) before the
 * classifier sees them. The kernel takes them back when we die.
 * Owner: the loop thread.
 */
struct qp_reserve;

/* NULL: out of memory. */
struct qp_reserve *qp_reserve_new(void);
void qp_reserve_free(struct qp_reserve *r);

/*
 * `addr` NULL or all zero: on all addresses. QP_E_INUSE, QP_E_PERM, QP_E_FULL;
 * QP_E_INVAL when `addr` is not this host's.
 */
int qp_reserve_take(struct qp_reserve *r, int protocol, uint16_t port, const struct in6_addr *addr,
	struct qp_errmsg *msg);
bool qp_reserve_has(const struct qp_reserve *r, int protocol, uint16_t port);
/* The socket that holds it, borrowed: to send from, since nothing is received by it. -1: none. */
int qp_reserve_socket(const struct qp_reserve *r, int protocol, uint16_t port);
/* QP_E_NOTFOUND: it is not reserved. */
int qp_reserve_drop(struct qp_reserve *r, int protocol, uint16_t port);

#endif
