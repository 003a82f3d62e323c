/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CLIENT_STREAM_H
#define QP_CLIENT_STREAM_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "client/bytes.h"

struct qpc_stream;

/*
 * What a QUIC stream tells whoever it serves. Called while a packet is being
 * read or written: the callee only notes, queues tasks, and uses qpc_stream_*.
 */
struct qpc_stream_ops {
	/*
	 * In-order bytes, valid for the call; `fin`: the last ones. The stream's credit
	 * stays used up until qpc_stream_consumed. Non-zero (enum qp_err): the
	 * connection ends with an internal error.
	 */
	int (*data)(struct qpc_stream *s, const uint8_t *data, size_t len, bool fin);
	/* The peer has acknowledged bytes: `out` is shorter. */
	void (*acked)(struct qpc_stream *s);
	/* RESET_STREAM: no more data will come. */
	void (*reset)(struct qpc_stream *s, uint64_t code);
	/* STOP_SENDING: what is in `out` will never be read. */
	void (*stopped)(struct qpc_stream *s);
	/*
	 * Gone on both sides, nothing to be sent, acknowledged or received any more; `out` is
	 * cleared. `whole`: all of it and its end were acknowledged. The last call.
	 */
	void (*closed)(struct qpc_stream *s, bool whole);
};

/*
 * A QUIC stream's sending side and identity. Embedded in what it serves.
 * Owner: the session's thread. Life: from qpc_quic_open_stream or the
 * connection's stream_opened until ops->closed.
 */
struct qpc_stream {
	int64_t id;
	const struct qpc_stream_ops *ops;
	struct qpc_bytes out; /* behind the cursor: to send; before it: to be acknowledged */
	bool fin;             /* set by the user: `out` ends the direction */
	/* The connection's own: */
	bool fin_sent;
	bool blocked;         /* no credit from the peer for more; its MAX_STREAM_DATA clears it */
	bool shut;            /* the sending side is reset or stopped */
	bool ready;           /* in the connection's list of those that can send */
	uint32_t turn_bytes;  /* sent in this turn of the round-robin */
	TAILQ_ENTRY(qpc_stream) ready_link;
	TAILQ_ENTRY(qpc_stream) open_link;
};
TAILQ_HEAD(qpc_stream_list, qpc_stream);

#endif
