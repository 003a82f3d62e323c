/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_EVENT_FRAMES_H
#define QP_CONTROLPLANE_EVENT_FRAMES_H

#include <stddef.h>
#include <stdint.h>

/*
 * Events as the stream sends them: text that is made once and shared by all
 * queues that have it. Owner: the loop thread. Life: until the last reference goes.
 */
struct qp_frame {
	unsigned refs;
	uint32_t type; /* a bit of event_types.h */
	uint64_t id; /* 0: none */
	size_t len;
	char text[];
};

/* With one reference; NULL when out of memory. `data`: a JSON object's text. */
struct qp_frame *qp_frame_of_event(
	uint32_t type, const char *name, uint64_t id, uint64_t time_ms, const char *data);
struct qp_frame *qp_frame_of_text(const char *text);
/* NULL is allowed. */
void qp_frame_unref(struct qp_frame *f);

#define QP_EVENT_REPLAY 512u /* events that are kept */

/* The last events, for who comes back; oldest first. All zero: none yet. */
struct qp_replay {
	unsigned head, n;
	struct qp_frame *v[QP_EVENT_REPLAY];
};

/* Takes a reference of its own. */
void qp_replay_keep(struct qp_replay *r, struct qp_frame *f);
/* i < r->n */
struct qp_frame *qp_replay_at(const struct qp_replay *r, unsigned i);
void qp_replay_clear(struct qp_replay *r);

#endif
