/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_COMMON_IPC_VERSION_H
#define QP_COMMON_IPC_VERSION_H

#include <stddef.h>
#include <stdint.h>

#include "common/error.h"
#include "common/ipc.h"

/*
 * Which version of common/ipc.h two processes speak with each other, and the
 * messages that agree on it. Pure functions over bytes that came from the other
 * process; any thread.
 */
struct qp_ipc_range {
	uint32_t oldest;
	uint32_t newest;
};

#define QP_IPC_RANGE_TEXT_BYTES 32

/* This program's. Code asks here, so that a test can link another one. */
extern const struct qp_ipc_range qp_ipc_own;

/* What a peer says, which may leave `newest` out. Version 0 is none. */
struct qp_ipc_range qp_ipc_range_of(uint32_t version, uint32_t newest);
/* The newest that both speak; 0: none. */
uint32_t qp_ipc_common(struct qp_ipc_range a, struct qp_ipc_range b);
/* "4" or "3 to 4". */
const char *qp_ipc_range_text(struct qp_ipc_range r, char out[QP_IPC_RANGE_TEXT_BYTES]);

/*
 * A data plane's request of `len` bytes, with `nfds` descriptors beside it: what
 * it leaves out is 0 in *out. *version is spoken from now on. QP_E_PROTO: it is
 * none; QP_E_VERSION: no version in common. Then *version is for the refusal.
 */
int qp_attach_read(const void *bytes, size_t len, unsigned nfds, struct qp_attach *out,
	uint32_t *version, struct qp_errmsg *msg);
/* An answer. `server_id` 0: a refusal; `why` says it. */
void qp_attach_answer(
	struct qp_attach_reply *out, uint32_t version, uint32_t server_id, const char *why);
/* The data plane's reading of it. QP_E_PERM: refused, and why. QP_E_CLOSED: no answer at all. */
int qp_attach_reply_read(
	const void *bytes, size_t len, struct qp_attach_reply *out, struct qp_errmsg *msg);

#endif
