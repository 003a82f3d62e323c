/* SPDX-License-Identifier: Apache-2.0 */
#include "controlplane/event_frames.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void
qp_frame_unref(struct qp_frame *f)
{
	if (f != NULL && --f->refs == 0)
		free(f);
}

struct qp_frame *
qp_frame_of_event(uint32_t type, const char *name, uint64_t id, uint64_t time_ms, const char *data)
{
	char head[160];
	int n = 0;
	size_t len;
	struct qp_frame *f;

	if (id != 0)
		n = snprintf(head, sizeof(head), "id: %" PRIu64 "\n", id);
	n += snprintf(head + n, sizeof(head) - (size_t)n,
		"event: %s\ndata: {\"time_ms\":%" PRIu64 "%s", name, time_ms,
		data[1] == '}' ? "" : ",");
	len = (size_t)n + strlen(data + 1) + 2;
	f = malloc(sizeof(*f) + len + 1);
	if (f == NULL)
		return NULL;
	*f = (struct qp_frame) {.refs = 1, .type = type, .id = id, .len = len};
	snprintf(f->text, len + 1, "%s%s\n\n", head, data + 1);
	return f;
}

struct qp_frame *
qp_frame_of_text(const char *text)
{
	size_t len = strlen(text);
	struct qp_frame *f = malloc(sizeof(*f) + len + 1);

	if (f == NULL)
		return NULL;
	*f = (struct qp_frame) {.refs = 1, .len = len};
	memcpy(f->text, text, len + 1);
	return f;
}

struct qp_frame *
qp_replay_at(const struct qp_replay *r, unsigned i)
{
	return r->v[(r->head + i) % QP_EVENT_REPLAY];
}

void
qp_replay_keep(struct qp_replay *r, struct qp_frame *f)
{
	unsigned at = (r->head + r->n) % QP_EVENT_REPLAY;

	if (r->n == QP_EVENT_REPLAY) {
		qp_frame_unref(r->v[at]);
		r->head = (r->head + 1) % QP_EVENT_REPLAY;
		r->n--;
	}
	r->v[at] = f;
	f->refs++;
	r->n++;
}

void
qp_replay_clear(struct qp_replay *r)
{
	for (unsigned i = 0; i < r->n; i++)
		qp_frame_unref(qp_replay_at(r, i));
	*r = (struct qp_replay) {0};
}
