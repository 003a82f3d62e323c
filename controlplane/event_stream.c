/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Server-Sent Events (the HTML standard, 9.2). An event is made into text once;
 * listeners and the replay buffer share it. Loop thread.
 */
#define QP_LOG_MODULE QP_LOG_M_http
#include "controlplane/event_stream.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "controlplane/event_frames.h"
#include "controlplane/event_types.h"
#include "controlplane/problem.h"

#define TICK_MS 1000u
#define HEARTBEAT_MS 15000u

struct listener {
	struct qp_event_stream *stream;
	struct qp_http_source source;
	struct qp_http_stream *http; /* NULL: not started yet */
	uint32_t types;
	uint64_t written_ms;
	unsigned head, n; /* of the queue */
	size_t offset; /* of the frame at its head, already written */
	bool cut;
	struct qp_frame *queue[QP_EVENT_QUEUE];
	struct listener *next;
};

struct qp_event_stream {
	struct qp_event_stream_config cfg;
	struct qp_listener events;
	struct qp_loop_timer tick;
	struct listener *first;
	unsigned nlisteners;
	struct qp_replay replay;
};

static uint64_t
now_ms(void)
{
	return qp_now_ns() / 1000000u;
}

/* ---- a listener's queue ---- */

static void
push(struct listener *l, struct qp_frame *f)
{
	if (l->cut || f == NULL)
		return;
	if (l->n == QP_EVENT_QUEUE) {
		l->cut = true;
		qp_log(QP_LOG_WARN, "a listener of the event stream is too slow: cut off");
		if (l->http != NULL)
			qp_http_stream_abort(l->http);
		return;
	}
	f->refs++;
	l->queue[(l->head + l->n++) % QP_EVENT_QUEUE] = f;
	if (l->http != NULL)
		qp_http_stream_wake(l->http);
}

static void
pop(struct listener *l)
{
	qp_frame_unref(l->queue[l->head]);
	l->head = (l->head + 1) % QP_EVENT_QUEUE;
	l->n--;
	l->offset = 0;
}

static ssize_t
on_read(void *ctx, char *buf, size_t max)
{
	struct listener *l = ctx;
	size_t got = 0;

	if (l->cut)
		return -1;
	while (l->n > 0 && got < max) {
		const struct qp_frame *f = l->queue[l->head];
		size_t part = f->len - l->offset < max - got ? f->len - l->offset : max - got;

		memcpy(buf + got, f->text + l->offset, part);
		got += part;
		l->offset += part;
		if (l->offset == f->len)
			pop(l);
	}
	if (got > 0)
		l->written_ms = now_ms();
	return (ssize_t)got;
}

static void
on_started(void *ctx, struct qp_http_stream *http)
{
	((struct listener *)ctx)->http = http;
}

static void
on_closed(void *ctx)
{
	struct listener *l = ctx, **at = &l->stream->first;

	while (*at != l)
		at = &(*at)->next;
	*at = l->next;
	l->stream->nlisteners--;
	while (l->n > 0)
		pop(l);
	free(l);
}

/* ---- what they are told ---- */

static void
tell(struct qp_event_stream *s, struct qp_frame *f)
{
	for (struct listener *l = s->first; l != NULL; l = l->next) {
		if ((l->types & f->type) != 0)
			push(l, f);
	}
}

static void
on_event(void *ctx, const struct qp_event *e)
{
	struct qp_event_stream *s = ctx;
	char *data = json_dumps(e->data, JSON_COMPACT);
	struct qp_frame *f = data != NULL ? qp_frame_of_event(qp_event_type_bit(e->type), e->type,
						    e->id, e->time_ms, data)
					  : NULL;

	free(data);
	if (f == NULL)
		return;
	qp_replay_keep(&s->replay, f);
	tell(s, f);
	qp_frame_unref(f);
}

static struct qp_frame *
make_stats(struct qp_event_stream *s)
{
	json_t *stats = s->cfg.stats(s->cfg.ctx);
	char *data = stats != NULL ? json_dumps(stats, JSON_COMPACT) : NULL;
	struct qp_frame *f = data != NULL ? qp_frame_of_event(QP_EVENT_STATS_BIT, QP_EVENT_STATS, 0,
						    qp_unix_ms(), data)
					  : NULL;

	json_decref(stats);
	free(data);
	return f;
}

static bool
wants_stats(const struct qp_event_stream *s)
{
	for (const struct listener *l = s->first; l != NULL; l = l->next) {
		if ((l->types & QP_EVENT_STATS_BIT) != 0)
			return true;
	}
	return false;
}

static void
on_tick(void *ctx)
{
	struct qp_event_stream *s = ctx;
	struct qp_frame *comment = NULL;
	uint64_t now = now_ms();

	if (s->first == NULL)
		return;
	qp_loop_timer_set(s->cfg.loop, &s->tick, TICK_MS);
	if (wants_stats(s)) {
		struct qp_frame *f = make_stats(s);

		if (f != NULL)
			tell(s, f);
		qp_frame_unref(f);
	}
	for (struct listener *l = s->first; l != NULL; l = l->next) {
		if (l->n > 0 || now - l->written_ms < s->cfg.heartbeat_ms)
			continue;
		if (comment == NULL)
			comment = qp_frame_of_text(": still here\n\n");
		push(l, comment);
	}
	qp_frame_unref(comment);
}

/* ---- a new one ---- */

/*
 * The first of those behind `after` that are repeated: no more than leaves room
 * for what comes next, so that a newcomer is not cut off for the past. `*whole`:
 * none of what the listener wants is missing before it.
 */
static unsigned
first_to_repeat(const struct qp_replay *r, uint32_t types, uint64_t after, bool *whole)
{
	unsigned first = r->n, room = QP_EVENT_QUEUE / 2;

	*whole = r->n > 0 && qp_replay_at(r, 0)->id <= after + 1;
	for (; first > 0 && qp_replay_at(r, first - 1)->id > after; first--) {
		if ((qp_replay_at(r, first - 1)->type & types) == 0)
			continue;
		if (room == 0) {
			*whole = false;
			break;
		}
		room--;
	}
	return first;
}

static void
replay(struct qp_event_stream *s, struct listener *l, uint64_t after)
{
	uint64_t last = qp_events_last_id(s->cfg.events);
	bool whole;
	unsigned first = first_to_repeat(&s->replay, l->types, after, &whole);
	char text[80];
	struct qp_frame *lost;

	if ((!whole || last < after) && last != after) {
		snprintf(text, sizeof(text),
			"event: lost\ndata: {\"last_event_id\":%" PRIu64 "}\n\n", after);
		lost = qp_frame_of_text(text);
		push(l, lost);
		qp_frame_unref(lost);
	}
	for (unsigned i = first; i < s->replay.n; i++) {
		struct qp_frame *f = qp_replay_at(&s->replay, i);

		if ((f->type & l->types) != 0)
			push(l, f);
	}
}

static bool
parse_last_id(const struct qp_http_request *req, uint64_t *id, struct qp_http_response *out)
{
	const char *text = qp_http_header(req, "Last-Event-ID");

	*id = 0;
	if (text == NULL || text[0] == '\0')
		return true;
	if (strlen(text) <= 19 && strspn(text, "0123456789") == strlen(text)) {
		*id = strtoull(text, NULL, 10);
		return true;
	}
	qp_problem_field(
		out, "Last-Event-ID", "the number of an event", "Last-Event-ID is \"%s\"", text);
	return false;
}

static struct listener *
add_listener(struct qp_event_stream *s, uint32_t types)
{
	struct listener *l = calloc(1, sizeof(*l));

	if (l == NULL)
		return NULL;
	l->stream = s;
	l->types = types;
	l->written_ms = now_ms();
	l->source = (struct qp_http_source) {
		.read = on_read, .started = on_started, .closed = on_closed, .ctx = l};
	l->next = s->first;
	s->first = l;
	s->nlisteners++;
	return l;
}

/* What is there at once: a comment, so that the head goes out, what was missed, figures. */
static void
greet(struct qp_event_stream *s, struct listener *l, uint64_t after)
{
	struct qp_frame *f = qp_frame_of_text(": events of the gateway\nretry: 2000\n\n");

	push(l, f);
	qp_frame_unref(f);
	if (after != 0)
		replay(s, l, after);
	if ((l->types & QP_EVENT_STATS_BIT) != 0) {
		f = make_stats(s);
		push(l, f);
		qp_frame_unref(f);
	}
	if (!s->tick.armed)
		qp_loop_timer_set(s->cfg.loop, &s->tick, TICK_MS);
}

void
qp_event_stream_answer(
	struct qp_event_stream *s, const struct qp_http_request *req, struct qp_http_response *out)
{
	struct listener *l;
	uint32_t types;
	uint64_t after;

	if (strcmp(req->method, "GET") != 0) {
		qp_http_not_allowed(out, "GET");
		return;
	}
	if (!qp_event_types_of_query(req, &types, out) || !parse_last_id(req, &after, out))
		return;
	if (s->nlisteners >= QP_EVENT_LISTENERS) {
		qp_problem(out, 503, "%u listen already", QP_EVENT_LISTENERS);
		qp_http_add_header(out, "Retry-After", "5");
		return;
	}
	l = add_listener(s, types);
	if (l == NULL)
		return;
	greet(s, l, after);
	out->status = 200;
	out->content_type = "text/event-stream";
	out->source = &l->source;
	qp_http_add_header(out, "X-Accel-Buffering", "no");
}

unsigned
qp_event_stream_listeners(const struct qp_event_stream *s)
{
	return s->nlisteners;
}

struct qp_event_stream *
qp_event_stream_new(const struct qp_event_stream_config *cfg)
{
	struct qp_event_stream *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return NULL;
	s->cfg = *cfg;
	if (s->cfg.heartbeat_ms == 0)
		s->cfg.heartbeat_ms = HEARTBEAT_MS;
	s->tick = (struct qp_loop_timer) {.fire = on_tick, .ctx = s};
	s->events = (struct qp_listener) {.event = on_event, .ctx = s};
	qp_events_listen(s->cfg.events, &s->events);
	return s;
}

void
qp_event_stream_free(struct qp_event_stream *s)
{
	if (s == NULL)
		return;
	assert(s->first == NULL);
	qp_loop_timer_cancel(s->cfg.loop, &s->tick);
	qp_events_unlisten(s->cfg.events, &s->events);
	qp_replay_clear(&s->replay);
	free(s);
}
