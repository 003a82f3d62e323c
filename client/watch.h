/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CLIENT_WATCH_H
#define QP_CLIENT_WATCH_H

#include "client/loop.h"

/*
 * Tells when this host's addresses, links or routes change (rtnetlink). A
 * burst of changes is told once, when it has been quiet for a moment. The
 * loop's thread.
 */
struct qpc_watch {
	struct qpc_source source; /* fd -1: this system does not tell */
	struct qpc_timer timer;
	struct qpc_loop *loop;
	void (*changed)(struct qpc_watch *w);
};

/* Where netlink is denied nothing is ever told; that is no error. */
void qpc_watch_open(struct qpc_watch *w, struct qpc_loop *loop, void (*changed)(struct qpc_watch *w));
/* Safe on one whose source.fd is -1. */
void qpc_watch_close(struct qpc_watch *w);

#endif
