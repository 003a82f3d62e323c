/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CLIENT_RESOLVE_H
#define QP_CLIENT_RESOLVE_H

#include <stdbool.h>
#include <stddef.h>

#include "client/loop.h"
#include "common/addr.h"
#include "common/error.h"

#define QPC_MAX_ADDRS 16u

struct qpc_addrs {
	struct qp_sockaddr v[QPC_MAX_ADDRS]; /* to be tried in this order, ports set */
	size_t n;
};

/*
 * Addresses of `target`'s host, at least one on QP_OK; 127.0.0.1 for a host left
 * out. The resolver's order of preference (RFC 6724) with the families taking
 * turns (RFC 8305, 4). Asks the system's resolver and blocks meanwhile: never
 * in the loop. QP_E_NOTFOUND: there is no such name; QP_E_AGAIN: nobody can say
 * now; each with a line that names the host.
 */
int qpc_resolve(const struct qp_target *target, struct qpc_addrs *out, struct qp_errmsg *msg)
	__attribute__((warn_unused_result));

/*
 * The same in a thread of its own, for use in the loop. Owner: the loop's
 * thread. All zero: no question is open.
 */
struct qpc_resolver {
	struct qpc_source source;
	struct qpc_loop *loop;
	struct qpc_question *question; /* shared with its thread; NULL: none is open */
	void (*done)(struct qpc_resolver *r, int err, const struct qpc_addrs *addrs,
		const struct qp_errmsg *msg);
};

/* `done` is called by a later turn, once. QP_E_NOMEM, QP_E_IO: no question is open. */
int qpc_resolver_ask(struct qpc_resolver *r, struct qpc_loop *loop, const struct qp_target *target,
	struct qp_errmsg *msg) __attribute__((warn_unused_result));
/* Forgets the question: `done` is not called. Never blocks; the thread ends by itself. */
void qpc_resolver_cancel(struct qpc_resolver *r);

#endif
