/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_BLOCKS_H
#define QP_CONTROLPLANE_BLOCKS_H

#include <stdint.h>

#include "common/error.h"
#include "common/ipc.h"
#include "controlplane/loop.h"
#include "controlplane/state.h"

/*
 * Sources that are kept out, for a time or until they are let in again. What is
 * here is in force on the host and written to the state. Owner: the loop thread.
 */
struct qp_blocks;

#define QP_BLOCKS_MAX 4096u
#define QP_BLOCK_REASON_BYTES 201u

struct qp_block {
	struct qp_msg_network network; /* host bits are zero */
	uint64_t since;
	uint64_t expires_at; /* Unix time, seconds; 0: never */
	char reason[QP_BLOCK_REASON_BYTES];
};

struct qp_blocks_config {
	struct qp_loop *loop;
	struct qp_state *state; /* borrowed */
	/* Makes it so on the host. */
	int (*block)(void *ctx, const struct qp_msg_network *n, struct qp_errmsg *msg);
	void (*unblock)(void *ctx, const struct qp_msg_network *n);
	/* Its time is over; it is out already. NULL is allowed. */
	void (*expired)(void *ctx, const struct qp_block *b);
	void *ctx;
	uint64_t (*unix_time)(void); /* seconds; NULL: the system's clock */
	uint64_t (*up_time)(void);   /* as of struct qp_wallclock */
};

/* Reads what is known and brings it into force; what the host refuses is logged. QP_E_NOMEM. */
int qp_blocks_new(
	const struct qp_blocks_config *cfg, struct qp_blocks **out, struct qp_errmsg *msg);
/* The host is left as it is. NULL is allowed. */
void qp_blocks_free(struct qp_blocks *b);

/*
 * Blocks for `seconds` (0: until it is removed); one that is there gets the new
 * time and reason. `reason` is cut to fit; NULL: none. QP_E_FULL, or what the
 * host says. The block is borrowed until the next change.
 */
int qp_blocks_add(struct qp_blocks *b, const struct qp_msg_network *n, uint64_t seconds,
	const char *reason, const struct qp_block **out, struct qp_errmsg *msg);
/* QP_E_NOTFOUND: not blocked as exactly this network. */
int qp_blocks_remove(struct qp_blocks *b, const struct qp_msg_network *n);

/* Sorted by network: i < qp_blocks_count(). */
unsigned qp_blocks_count(const struct qp_blocks *b);
const struct qp_block *qp_blocks_at(const struct qp_blocks *b, unsigned i);
/* The first that sorts behind `n`. */
unsigned qp_blocks_after(const struct qp_blocks *b, const struct qp_msg_network *n);

#endif
