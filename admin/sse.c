/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Server-Sent Events: lines, fields, and an event at each empty line. Pure.
 */
#include "admin/sse.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void
qpa_sse_free(struct qpa_sse *s)
{
	free(s->line);
	free(s->data);
	s->line = NULL;
	s->data = NULL;
}

/* Both buffers have their whole size from the first byte on: one stream, one event at a time. */
static bool
append(char **buffer, size_t *used, const char *bytes, size_t len)
{
	if (*buffer == NULL)
		*buffer = malloc(QPA_SSE_DATA_BYTES + 1);
	if (*buffer == NULL || len > QPA_SSE_DATA_BYTES - *used)
		return false;
	memcpy(*buffer + *used, bytes, len);
	*used += len;
	(*buffer)[*used] = '\0';
	return true;
}

static bool
dispatch(struct qpa_sse *s)
{
	bool more = true;

	if (s->has_data)
		more = s->event(s->ctx, s->type[0] != '\0' ? s->type : "message", s->data);
	s->type[0] = '\0';
	s->data_len = 0;
	s->has_data = false;
	return more;
}

static bool
take_data(struct qpa_sse *s, const char *value, size_t len)
{
	if (s->has_data && !append(&s->data, &s->data_len, "\n", 1))
		return false;
	s->has_data = true;
	return append(&s->data, &s->data_len, value, len);
}

/* Ours are numbers; another one is none that can be asked for again. */
static void
take_id(struct qpa_sse *s, const char *value, size_t len)
{
	if (len > 0 && len < sizeof(s->id) && strspn(value, "0123456789") == len)
		snprintf(s->id, sizeof(s->id), "%.*s", (int)len, value);
}

static bool
take_line(struct qpa_sse *s)
{
	const char *colon, *value;
	size_t name_len, len;

	if (s->line_len == 0)
		return dispatch(s);
	colon = memchr(s->line, ':', s->line_len);
	name_len = colon != NULL ? (size_t)(colon - s->line) : s->line_len;
	value = colon != NULL ? colon + 1 : s->line + s->line_len;
	if (*value == ' ')
		value++;
	len = s->line_len - (size_t)(value - s->line);
	if (name_len == 4 && memcmp(s->line, "data", 4) == 0)
		return take_data(s, value, len);
	if (name_len == 5 && memcmp(s->line, "event", 5) == 0)
		snprintf(s->type, sizeof(s->type), "%.*s", (int)(len < 63 ? len : 63), value);
	if (name_len == 2 && memcmp(s->line, "id", 2) == 0)
		take_id(s, value, len);
	return true; /* a comment, and what we don't know */
}

bool
qpa_sse_take(struct qpa_sse *s, const char *bytes, size_t len)
{
	while (len > 0) {
		size_t n = 0;

		while (n < len && bytes[n] != '\r' && bytes[n] != '\n')
			n++;
		if (n > 0) {
			s->after_cr = false;
			if (!append(&s->line, &s->line_len, bytes, n))
				return false;
		}
		bytes += n;
		len -= n;
		if (len == 0)
			return true;
		if (!(*bytes == '\n' && s->after_cr)) {
			bool more = take_line(s);

			s->line_len = 0;
			if (!more)
				return false;
		}
		s->after_cr = *bytes == '\r';
		bytes++;
		len--;
	}
	return true;
}
