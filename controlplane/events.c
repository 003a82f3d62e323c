/* SPDX-License-Identifier: Apache-2.0 */
/* Listeners of the gateway's events. Loop thread. */
#include "controlplane/events.h"

#include <assert.h>
#include <stdlib.h>
#include <time.h>

struct qp_events {
	struct qp_listener *first;
	struct qp_listener *next; /* that the running emit calls; moved on when it leaves */
	uint64_t last_id;
};

uint64_t
qp_unix_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000u + (uint64_t)now.tv_nsec / 1000000u;
}

struct qp_events *
qp_events_new(void)
{
	struct qp_events *ev = calloc(1, sizeof(*ev));

	if (ev != NULL)
		ev->last_id = qp_unix_ms();
	return ev;
}

void
qp_events_free(struct qp_events *ev)
{
	assert(ev == NULL || ev->first == NULL);
	free(ev);
}

void
qp_events_listen(struct qp_events *ev, struct qp_listener *l)
{
	l->next = ev->first;
	ev->first = l;
}

void
qp_events_unlisten(struct qp_events *ev, struct qp_listener *l)
{
	struct qp_listener **at = &ev->first;

	while (*at != NULL && *at != l)
		at = &(*at)->next;
	if (*at == NULL)
		return;
	*at = l->next;
	if (ev->next == l)
		ev->next = l->next;
}

uint64_t
qp_events_last_id(const struct qp_events *ev)
{
	return ev->last_id;
}

int
qp_events_wanted(const struct qp_events *ev)
{
	return ev != NULL && ev->first != NULL;
}

void
qp_events_emit(struct qp_events *ev, const char *type, json_t *data)
{
	struct qp_event e = {.type = type, .data = data};

	if (qp_events_wanted(ev) && data != NULL) {
		e.id = ++ev->last_id;
		e.time_ms = qp_unix_ms();
		for (struct qp_listener *l = ev->first; l != NULL; l = ev->next) {
			ev->next = l->next;
			l->event(l->ctx, &e);
		}
	}
	json_decref(data);
}
