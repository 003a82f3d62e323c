/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_DATAPLANE_REATTACH_H
#define QP_DATAPLANE_REATTACH_H

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/attach.h"
#include "dataplane/ctl.h"

/*
 * A data plane whose control plane is gone: it looks for the next one, gives
 * its workers that one's rings, and knows when it has waited for long enough.
 * Owner: the main thread. Lock: none; the workers see only the offers.
 */
struct qp_reattach {
	struct qp_attachment *attachment;
	const char *instance;
	struct qp_ctl_offer offer[QP_MAX_WORKERS];
	struct qp_attachment next;      /* while the workers go over to it */
	bool switching;
	uint64_t useless_since_ns;      /* since when there are no tunnels either */
	char why[256];                  /* the last failure, said once */
};

#define QP_REATTACH_EVERY_MS 50

/* Readable when a worker has gone over: qp_reattach_turn is due. -1: no descriptor is left. */
int qp_reattach_init(struct qp_reattach *r, struct qp_attachment *a, const char *instance);
/* The control plane's socket has ended. */
void qp_reattach_lost(struct qp_reattach *r);
/* Whether there is no control plane now: then call qp_reattach_turn every QP_REATTACH_EVERY_MS. */
bool qp_reattach_away(const struct qp_reattach *r);
/* Tries once, or goes on. */
void qp_reattach_turn(struct qp_reattach *r);
/* No control plane and no tunnels for the orphan timeout: nobody misses this process. */
bool qp_reattach_orphaned(struct qp_reattach *r, uint64_t now_ns);

#endif
