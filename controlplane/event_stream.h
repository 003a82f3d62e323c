/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_EVENT_STREAM_H
#define QP_CONTROLPLANE_EVENT_STREAM_H

#include <jansson.h>

#include "controlplane/event_frames.h"
#include "controlplane/events.h"
#include "controlplane/http.h"
#include "controlplane/loop.h"

/*
 * /api/v1/events: Server-Sent Events to a bounded number of listeners, each
 * with a bounded queue; who does not keep up is cut off. The last events are
 * kept for who comes back with a Last-Event-ID. Owner: the loop thread.
 */
struct qp_event_stream;

#define QP_EVENT_LISTENERS 32u
#define QP_EVENT_QUEUE 256u /* events that a listener may be behind */

struct qp_event_stream_config {
	struct qp_loop *loop;
	struct qp_events *events;
	/* The `stats` event's data, asked for each second while somebody wants it. */
	json_t *(*stats)(void *ctx);
	void *ctx;
	unsigned heartbeat_ms; /* of silence, then a comment is sent; 0: 15,000 */
};

/* NULL when out of memory. */
struct qp_event_stream *qp_event_stream_new(const struct qp_event_stream_config *cfg);
/* The HTTP server that serves its listeners must be gone. NULL is allowed. */
void qp_event_stream_free(struct qp_event_stream *s);

void qp_event_stream_answer(
	struct qp_event_stream *s, const struct qp_http_request *req, struct qp_http_response *out);
unsigned qp_event_stream_listeners(const struct qp_event_stream *s);

#endif
