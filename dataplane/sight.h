/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_DATAPLANE_SIGHT_H
#define QP_DATAPLANE_SIGHT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/ipc.h"
#include "dataplane/net/net.h"

struct qp_net;
struct qp_tunnels;

/*
 * A worker's tunnels, or neighbours, for the prompt: a question and its answer in memory of the
 * process. The main thread writes `cursor`, then `asked` (release), and rings
 * the doorbell; the worker answers in its next turn, `answered` last (release).
 * One question at a time.
 */
struct qp_sight_row {
	uint64_t id;
	uint8_t peer_addr[16];
	uint16_t peer_port_be;
	uint16_t port;               /* that it holds, host order; 0: none */
	uint8_t protocol;            /* 1 TCP, 2 UDP */
	uint8_t local;               /* 1: a local forward */
	uint32_t rtt_us;
	struct qp_msg_usage usage;
	char name[64];               /* of the client */
};

#define QP_SIGHT_ROWS 32u

enum qp_sight_what {
	QP_SIGHT_TUNNELS,
	QP_SIGHT_NEIGHBOURS,
};

struct qp_sight {
	_Atomic uint32_t asked __attribute__((aligned(64))); /* counts questions */
	enum qp_sight_what what;
	uint32_t cursor;             /* the slot to begin at */
	_Atomic uint32_t answered __attribute__((aligned(64))); /* the last one that was */
	uint32_t next;               /* cursor of the rest; 0: that were all */
	uint32_t n;
	union {
		struct qp_sight_row row[QP_SIGHT_ROWS];
		struct qp_net_neighbour neighbour[QP_SIGHT_ROWS];
	};
};

/* The worker's side; NULL: it has none. */
void qp_sight_answer(struct qp_sight *s, struct qp_tunnels *ts, const struct qp_net *net);

/* Once a turn. */
static inline bool
qp_sight_is_asked(const struct qp_sight *s)
{
	return atomic_load_explicit(&s->asked, memory_order_acquire) !=
	       atomic_load_explicit(&s->answered, memory_order_relaxed);
}

#endif
