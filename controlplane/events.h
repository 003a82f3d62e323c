/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_EVENTS_H
#define QP_CONTROLPLANE_EVENTS_H

#include <jansson.h>
#include <stdint.h>

/*
 * What happens in the gateway, told to whoever listens (the API's event
 * stream). Nobody has to listen, and nothing is kept. Owner: the loop thread.
 */
struct qp_events;

/* Types, as the stream names them. */
#define QP_EVENT_TUNNEL_OPENED "tunnel_opened"
#define QP_EVENT_TUNNEL_CLOSED "tunnel_closed"
#define QP_EVENT_PORT_OPENED "port_opened"
#define QP_EVENT_PORT_CLOSED "port_closed"
#define QP_EVENT_AUTH_FAILED "auth_failed"
#define QP_EVENT_DATA_PLANE "data_plane"
#define QP_EVENT_PORT_OWNER "port_owner"
#define QP_EVENT_CONFIG "config"
#define QP_EVENT_POLICY "policy"
#define QP_EVENT_STATS "stats"

struct qp_event {
	uint64_t id;      /* counts on from the Unix time (ms) of the start, so over restarts too */
	uint64_t time_ms; /* Unix time */
	const char *type;
	const json_t *data; /* an object */
};

struct qp_listener {
	void (*event)(void *ctx, const struct qp_event *e);
	void *ctx;
	struct qp_listener *next;
};

/* NULL when out of memory. */
struct qp_events *qp_events_new(void);
/* Listeners must be gone. NULL is allowed. */
void qp_events_free(struct qp_events *ev);
/* The listener's own memory; it may remove itself, or others, inside `event`. */
void qp_events_listen(struct qp_events *ev, struct qp_listener *l);
void qp_events_unlisten(struct qp_events *ev, struct qp_listener *l);
/* Whether it is worth making the object. NULL: nobody listens. */
int qp_events_wanted(const struct qp_events *ev);
/* Of the event before; who has seen it has missed nothing. */
uint64_t qp_events_last_id(const struct qp_events *ev);
/* Unix time in milliseconds. */
uint64_t qp_unix_ms(void);
/* Takes `data` over; NULL (out of memory, nobody listens) and `ev` NULL are allowed. */
void qp_events_emit(struct qp_events *ev, const char *type, json_t *data);

#endif
