/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_DP_LINK_H
#define QP_CONTROLPLANE_DP_LINK_H

#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"
#include "common/ipc.h"
#include "common/shared.h"

/*
 * The control plane's end of a generation's rings and shared block. Owner: the
 * loop thread. Life: from the data plane's qp_attach_ready until it is dead and
 * drained. Lock: none; each ring has one producer and one consumer.
 */
struct qp_dp_link;

/*
 * `epoch`: of the attachment. `version`: that both speak. `doorbells`: one
 * eventfd for each worker; taken over on success.
 */
int qp_dp_link_open(uint32_t server_id, unsigned nworkers, uint32_t epoch, uint32_t version,
	const int *doorbells, struct qp_dp_link **out, struct qp_errmsg *msg);
/* Closes the doorbells. The memory stays: see qp_memory_reclaim. NULL is allowed. */
void qp_dp_link_close(struct qp_dp_link *l);

/* What has a fixed place: state, heartbeats. */
const struct qp_gen_shared *qp_dp_link_shared(const struct qp_dp_link *l);
/* Counters, by name. */
const struct qp_shared_view *qp_dp_link_view(const struct qp_dp_link *l);

/* For a control plane that starts anew: when it was told to drain. */
void qp_dp_link_note_draining(struct qp_dp_link *l, uint64_t since_ns);

/*
 * The next message of a worker; false: none. Its type is 0 when it is none of
 * the version that both speak, or none that we know.
 */
bool qp_dp_link_receive(struct qp_dp_link *l, unsigned worker, struct qp_msg *out);
/* Messages that wait in a worker's ring: to us, or from us to it. */
unsigned qp_dp_link_waiting(const struct qp_dp_link *l, unsigned worker, bool to_us);
/* Messages that a worker's ring still takes. */
unsigned qp_dp_link_room(const struct qp_dp_link *l, unsigned worker);
/*
 * Fills in version and worker, and rings the doorbell if the worker sleeps. A
 * message that the data plane's version has not is not sent. QP_E_FULL.
 */
int qp_dp_link_send(struct qp_dp_link *l, unsigned worker, struct qp_msg *m)
	__attribute__((warn_unused_result));

/*
 * Before our sleep: from now on each message rings our doorbell. Then look at
 * qp_dp_link_pending once more, since one may have come in between.
 */
void qp_dp_link_sleep(struct qp_dp_link *l);
void qp_dp_link_wake(struct qp_dp_link *l);
bool qp_dp_link_pending(const struct qp_dp_link *l, unsigned worker);


#endif
