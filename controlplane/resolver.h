/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_RESOLVER_H
#define QP_CONTROLPLANE_RESOLVER_H

#include <netinet/in.h>

#include "common/addr.h"
#include "common/error.h"
#include "controlplane/loop.h"
#include "controlplane/msg.h"

/*
 * Names to addresses by the system's resolver, which blocks: so a few threads
 * of its own ask it, and the loop gets the answers by an eventfd. The functions
 * here are the loop thread's.
 */
#define QP_RESOLVER_ADDRS 16u
#define QP_RESOLVER_THREADS 4u
#define QP_RESOLVER_WAITING 256u

struct qp_resolved {
	struct qp_origin from;    /* who asked */
	uint8_t protocol;         /* as it was asked */
	uint8_t again;
	struct qp_target target;
	int err;                  /* 0; QP_E_NOTFOUND: there is no such name; QP_E_AGAIN: not now */
	unsigned n;
	struct in6_addr addr[QP_RESOLVER_ADDRS]; /* v4-mapped, best first (RFC 6724) */
	struct qp_errmsg msg;     /* if err is not 0 */
};

struct qp_resolver;

/* `answer` is called on the loop for each question, in any order. */
int qp_resolver_new(struct qp_loop *loop, void (*answer)(void *ctx, const struct qp_resolved *r),
	void *ctx, struct qp_resolver **out, struct qp_errmsg *msg);
/* Answers that are still to come are forgotten; waits for nobody. NULL is allowed. */
void qp_resolver_free(struct qp_resolver *r);

/* Asks for question->target.host (copied). QP_E_FULL, QP_E_NOMEM: `answer` is not called. */
int qp_resolver_ask(struct qp_resolver *r, const struct qp_resolved *question,
	struct qp_errmsg *msg);

#endif
