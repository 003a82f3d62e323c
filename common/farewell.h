/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_COMMON_FAREWELL_H
#define QP_COMMON_FAREWELL_H

#include <stdint.h>

/*
 * What a data plane leaves behind for its clients, should it die: where each one
 * is, and the stateless reset token (RFC 9000, 10.3) of the connection id that it
 * uses. With these the control plane says in its place that the connections are
 * gone; a client that is silent would not find out before its next keep-alive.
 *
 * Owner: one worker, in a memzone of its generation. Life: the generation's. Lock:
 * none; `used` is stored last, so that what a death left half written is skipped.
 */
#define QP_FAREWELL_NAME "qp_bye_%u_%u" /* server id, worker */
#define QP_FAREWELL_MAGIC 0x51504259u   /* "QPBY" */
#define QP_RESET_TOKEN_BYTES 16u

struct qp_farewell_entry {
	uint32_t used;         /* 1: whole. Release store; pairs with the reader's acquire */
	uint16_t peer_port_be;
	uint16_t pad;
	uint8_t peer[16];      /* v4-mapped, as all addresses here */
	uint8_t local[16];     /* which of the host's addresses it speaks to */
	uint8_t token[QP_RESET_TOKEN_BYTES];
};

struct qp_farewell_table {
	uint32_t magic;
	uint32_t entry_bytes;  /* sizeof(struct qp_farewell_entry) of its writer */
	uint32_t n;
	uint32_t pad;
	struct qp_farewell_entry entry[];
};

#endif
