/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The private API's stream: a request whose answer goes on. Main thread.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/api_impl.h"

struct qpa_stream {
	CURL *curl;
	struct curl_slist *headers;
	struct qpa_api *api;
	bool (*take)(void *ctx, const char *bytes, size_t len);
	void *ctx;
	bool ended; /* `take` did not want more */
	char said[2048]; /* an error's body */
	size_t said_len;
};

static size_t
take_stream(char *bytes, size_t one, size_t n, void *ctx)
{
	struct qpa_stream *s = ctx;
	size_t len = one * n, room = sizeof(s->said) - s->said_len;
	long status = 0;

	curl_easy_getinfo(s->curl, CURLINFO_RESPONSE_CODE, &status);
	if (status != 200) {
		memcpy(s->said + s->said_len, bytes, len < room ? len : room);
		s->said_len += len < room ? len : room;
		return len;
	}
	s->ended = !s->take(s->ctx, bytes, len);
	return s->ended ? 0 : len;
}

static void
stream_free(struct qpa_stream *s)
{
	curl_easy_cleanup(s->curl);
	qpa_free_headers(s->headers);
	free(s);
}

/* Those of every stream, and where this one goes on. */
static bool
make_stream_headers(struct qpa_stream *s, const char *after)
{
	char line[64];
	bool made = true;

	for (const struct curl_slist *h = s->api->stream_headers; made && h != NULL; h = h->next)
		made = qpa_add_header(&s->headers, h->data);
	snprintf(line, sizeof(line), "Last-Event-ID: %.32s", after);
	return made && (after[0] == '\0' || qpa_add_header(&s->headers, line));
}

struct qpa_stream *
qpa_stream_begin(struct qpa_api *api, const char *path, const char *after,
	bool (*take)(void *ctx, const char *bytes, size_t len), void *ctx)
{
	struct qpa_stream *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return NULL;
	*s = (struct qpa_stream) {.api = api, .take = take, .ctx = ctx, .curl = qpa_new_handle(api, path)};
	if (s->curl == NULL || !make_stream_headers(s, after)) {
		stream_free(s);
		return NULL;
	}
	curl_easy_setopt(s->curl, CURLOPT_HTTPHEADER, s->headers);
	curl_easy_setopt(s->curl, CURLOPT_WRITEFUNCTION, take_stream);
	curl_easy_setopt(s->curl, CURLOPT_WRITEDATA, s);
	/* A stream says something every few seconds, if only a comment. */
	curl_easy_setopt(s->curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
	curl_easy_setopt(s->curl, CURLOPT_LOW_SPEED_TIME, 60L);
	return s;
}

CURL *
qpa_stream_handle(struct qpa_stream *s)
{
	return s->curl;
}

static bool
is_event_stream(const char *type)
{
	return type != NULL && strncmp(type, "text/event-stream", 17) == 0;
}

int
qpa_stream_end(struct qpa_stream *s, CURLcode code, struct qp_errmsg *msg)
{
	struct qpa_answer a = {.body = s->said, .len = s->said_len};
	int err = QP_OK;

	qpa_look_at(s->curl, &a);
	if (code != CURLE_OK && !s->ended)
		err = qpa_explain_curl(s->api, code, &a, msg);
	else if (a.status != 200)
		err = qpa_explain_status(s->api, &a, msg);
	else if (!is_event_stream(a.content_type))
		err = qpa_explain_not_ours(s->api, &a, msg);
	stream_free(s);
	return err;
}

int
qpa_api_stream(struct qpa_api *api, const char *path, const char *after,
	bool (*take)(void *ctx, const char *bytes, size_t len), void *ctx, struct qp_errmsg *msg)
{
	struct qpa_stream *s = qpa_stream_begin(api, path, after, take, ctx);

	if (s == NULL)
		return qp_fail(msg, QP_E_NOMEM, "out of memory");
	return qpa_stream_end(s, curl_easy_perform(s->curl), msg);
}
