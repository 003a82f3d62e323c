/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_DATAPLANE_CTL_H
#define QP_DATAPLANE_CTL_H

#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"
#include "common/ipc.h"

struct rte_ring;

/* One attachment's way to and from the control plane. */
struct qp_ctl_rings {
	struct rte_ring *to_cp;
	struct rte_ring *from_cp;
	int cp_doorbell;                    /* eventfd that the control plane sleeps on */
	uint32_t version;                   /* of the ring protocol, that both speak */
};

/*
 * A new control plane's rings on their way to a worker. Owner: the main thread,
 * which writes `rings`, then `epoch`; the worker stores it in `taken` when it
 * uses them, and rings `taken_fd`. Until then the rings before are in use.
 */
struct qp_ctl_offer {
	struct qp_ctl_rings rings;
	_Atomic uint32_t epoch;             /* stored with release, loaded with acquire by the worker */
	_Atomic uint32_t taken;             /* the other way round */
	int taken_fd;
};

/*
 * A worker's end of the two rings to the control plane. Owner: the worker's
 * lcore. Life: the worker's. Lock: none (single producer, single consumer).
 */
struct qp_ctl {
	struct rte_ring *to_cp;
	struct rte_ring *from_cp;
	struct qp_ctl_offer *offer;         /* NULL: there will be no other control plane */
	uint32_t epoch;                     /* whose rings these are */
	struct qp_gen_shared *shared;
	struct qp_worker_door *door;        /* shared->door[index] */
	struct qp_worker_shared *mine;      /* the worker's counters */
	int cp_doorbell;                    /* eventfd that the control plane sleeps on */
	uint32_t version;                   /* of the ring protocol, that both speak */
	bool ring_it;                       /* messages went out since the last flush */
	/* Messages that found the ring full, oldest first. */
	struct qp_ctl_block *backlog, *backlog_tail;
	uint32_t backlog_len;
};

/*
 * Copies the message, and says which version it is. One that the control plane's version has not
 * is counted and not sent. A full ring delays it. False: so much is delayed already
 * that the message was not taken; that happens only to AUTH_BEGIN and API_OPEN,
 * which strangers cause, so that a control plane that is away costs no more
 * memory than the tunnels that exist. Of ended connections (CONN_CLOSED) so
 * many are kept as QP_CTL_MAX_ENDED; then they are counted as lost.
 */
#define QP_CTL_MAX_ENDED 65536u /* 32 MiB: minutes of a control plane's absence */
bool qp_ctl_send(struct qp_ctl *ctl, const struct qp_msg *msg);
/* The next message from the control plane that is one in its version, or false. */
bool qp_ctl_receive(struct qp_ctl *ctl, struct qp_msg *msg);
/*
 * Goes over to a new control plane's rings if there is one; call it when
 * qp_ctl_receive has nothing more. What the one before did not read and no
 * replay will tell goes along: ends of tunnels and connections.
 */
void qp_ctl_follow(struct qp_ctl *ctl);
/* Once a loop: sends what was delayed, and wakes the control plane if it sleeps. */
void qp_ctl_flush(struct qp_ctl *ctl);
/*
 * Announces that the worker is about to sleep. False: a message came in the
 * meantime, do not. Pairs with the control plane's "enqueue, then look at
 * c2d_sleeping".
 */
bool qp_ctl_sleep_begin(struct qp_ctl *ctl);
void qp_ctl_sleep_end(struct qp_ctl *ctl);
/* The control plane has taken all that was sent. */
bool qp_ctl_told(const struct qp_ctl *ctl);

void qp_ctl_fini(struct qp_ctl *ctl);

#endif
