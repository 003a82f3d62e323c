/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_BENCH_USERS_H
#define QP_BENCH_USERS_H

#include "bench/user.h"

/* One TCP user's deeds (user.c), for those that say when (users.c). */

/* False: it could not even begin; it has no connection then. */
bool qpb_user_connect(struct qpb_user *u, uint64_t at_ns);
/* A READY user's next request, which was to begin at `at_ns`. */
void qpb_user_ask(struct qpb_user *u, uint64_t at_ns);
/* FIN after what is queued. */
void qpb_user_shut(struct qpb_user *u);
/* The same, and nothing is expected any more. */
void qpb_user_close(struct qpb_user *u);
/* RST; what was asked is lost. */
void qpb_user_abort(struct qpb_user *u);

/* A connection a request. */
static inline bool
qpb_users_short(const struct qpb_worker *w)
{
	return w->b->cfg.scenario == QPB_CONNECTIONS;
}

static inline bool
qpb_users_bulk(const struct qpb_worker *w)
{
	return w->b->cfg.scenario == QPB_BULK;
}

#endif
