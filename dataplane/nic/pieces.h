/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_DATAPLANE_NIC_PIECES_H
#define QP_DATAPLANE_NIC_PIECES_H

#include <stdint.h>

#include "dataplane/nic/parse.h"

/*
 * Where the first piece of a datagram went, for the pieces without ports (RFC 791;
 * RFC 8200, 4.5). A table of fixed size whose entries are overwritten. Owner: one lcore.
 */
#define QP_PIECES_ENTRIES 4096u

struct qp_piece {
	struct qp_ipaddr local, remote;
	uint32_t id;
	uint32_t until_ms;
	uint32_t server_id; /* 0: free */
	uint32_t worker;
};

struct qp_pieces {
	struct qp_piece *entries;
	uint32_t seed;
};

/* QP_E_NOMEM. `seed`: random. */
int qp_pieces_init(struct qp_pieces *p, uint32_t seed);
void qp_pieces_fini(struct qp_pieces *p);

/* The same for all pieces of a datagram, in all workers. */
uint32_t qp_pieces_hash(const struct qp_steer_flow *f);

void qp_pieces_remember(struct qp_pieces *p, const struct qp_steer_flow *f, uint32_t server_id,
	uint32_t worker, uint64_t now_ns);
/* NULL: its first piece did not come, or too long ago. */
const struct qp_piece *qp_pieces_find(
	const struct qp_pieces *p, const struct qp_steer_flow *f, uint64_t now_ns);

#endif
