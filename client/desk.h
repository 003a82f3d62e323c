/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CLIENT_DESK_H
#define QP_CLIENT_DESK_H

#include <pthread.h>

#include "client/config.h"
#include "client/options.h"
#include "include/quicport.h"

/*
 * The forwards of one `quicport client`: made by its configuration, changed by
 * the next one, counted. Main thread, but for what the library calls back.
 */
struct qpc_desk;

/* A forward and what was asked for. */
struct qpc_item {
	struct qpc_spec spec; /* texts are the configuration's */
	struct qp_forward *forward;
	bool ended;           /* lock: the desk's */
};

struct qpc_desk {
	const struct qpc_options *o;
	struct qpc_config config;
	struct qp_client *client;
	struct qpc_item *item[QPC_MAX_FORWARDS];
	size_t nitems;
	int ended;               /* an eventfd: a forward has ended */
	int leaving;             /* an eventfd: a signal came, which also ends a question */
	pthread_mutex_t lock;    /* of what the library's thread writes */
	struct qp_error first;   /* the first failure of a forward */
};

/* The client runs in a thread of its own when this returns QP_OK. qpc_desk_close in any case. */
int qpc_desk_open(struct qpc_desk *d, const struct qpc_options *o, struct qp_errmsg *msg)
	__attribute__((warn_unused_result));
/* Reads the configuration again. A bad one changes nothing. */
int qpc_desk_reload(struct qpc_desk *d, struct qp_errmsg *msg) __attribute__((warn_unused_result));
/* All have ended. */
bool qpc_desk_done(struct qpc_desk *d);
void qpc_desk_close(struct qpc_desk *d);

#endif
