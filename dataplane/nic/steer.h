/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_DATAPLANE_NIC_STEER_H
#define QP_DATAPLANE_NIC_STEER_H

#include <stdbool.h>
#include <stdint.h>

#include "common/nic.h"
#include "dataplane/nic/parse.h"
#include "dataplane/nic/pieces.h"
#include "dataplane/nic/placement.h"

/*
 * Whose a frame is: which worker of which generation, as the classifier decides it in
 * host mode (dataplane/bpf/classifier.bpf.c). Reads what the control plane wrote
 * (common/nic.h); writes nothing that others read.
 */

/* A generation as it was at the turn's beginning. */
struct qp_steer_gen {
	uint32_t server_id; /* 0: none */
	uint32_t nworkers;
	uint64_t handoff;
};

/* Owner: one lcore. Life: its port's. Lock: none. */
struct qp_steer {
	const struct qp_nic *nic;
	uint32_t server_id;      /* who we are */
	uint32_t worker, nworkers;
	struct qp_steer_gen gen[QP_NIC_MAX_GENS];
	uint32_t holder;         /* index in `gen`; QP_NIC_MAX_GENS: nobody takes what is new */
	uint32_t own;            /* … ours; the same: the control plane does not know us (any more) */
	struct qp_placement placement;
	struct qp_pieces pieces;
};

enum qp_steer_why {
	QP_STEER_QUIC_KNOWN,  /* its connection id names the worker */
	QP_STEER_QUIC_NEW,
	QP_STEER_PORT,        /* a forwarded port's */
	QP_STEER_PUBLIC_API,
	QP_STEER_PIECE,       /* of a datagram: as the first one */
	QP_STEER_COLLECT,     /* … to be steered by another worker, to which all its pieces go */
	QP_STEER_STRAY,       /* nobody's port: who received it refuses it */
	/* Drops. */
	QP_STEER_NOT_IP,      /* or cut off */
	QP_STEER_BLOCKED,     /* its source is kept out */
	QP_STEER_NO_WORKER,   /* whose it is lives no more, or nobody takes new clients */
	QP_STEER_NOT_BOUND,   /* to the QUIC or API port, at an address where it is not open */
	QP_STEER_LOST_PIECE,  /* the first one was not seen, or is no forwarded datagram's */
};

static inline bool
qp_steer_is_drop(enum qp_steer_why why)
{
	return why >= QP_STEER_NOT_IP;
}

struct qp_steer_to {
	uint32_t gen;    /* index in `gen` */
	uint32_t worker;
	enum qp_steer_why why;
};

/* QP_E_NOMEM. `seed`: random. */
int qp_steer_init(struct qp_steer *s, const struct qp_nic *nic, uint32_t server_id, uint32_t worker,
	uint32_t nworkers, uint32_t seed);
void qp_steer_fini(struct qp_steer *s);

/* At a turn's beginning: looks at the generations. What it saw is good until the next one. */
void qp_steer_turn(struct qp_steer *s);

/*
 * `frame`: `len` contiguous bytes from its Ethernet header on, without VLAN tag. `collected`:
 * another worker has sent it here because we collect its datagram. *f is filled unless
 * the answer is NOT_IP.
 */
struct qp_steer_to qp_steer_frame(struct qp_steer *s, const uint8_t *frame, uint32_t len,
	bool collected, uint64_t now_ns, struct qp_steer_flow *f);

#endif
