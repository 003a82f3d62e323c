/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CLIENT_RESOLVE_H
#define QP_CLIENT_RESOLVE_H

#include <stddef.h>

#include "common/addr.h"
#include "common/error.h"

#define QPC_MAX_ADDRS 16u

struct qpc_addrs {
	struct qp_sockaddr v[QPC_MAX_ADDRS]; /* in the resolver's order of preference, ports set */
	size_t n;
};

/*
 * Addresses of `target`'s host, at least one on QP_OK; 127.0.0.1 for a host left
 * out. Asks the system's resolver and blocks meanwhile: at start, never in the
 * loop. QP_E_NOTFOUND with a line that names the host.
 */
int qpc_resolve(const struct qp_target *target, struct qpc_addrs *out, struct qp_errmsg *msg)
	__attribute__((warn_unused_result));

#endif
