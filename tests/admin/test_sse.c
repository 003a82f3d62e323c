/* SPDX-License-Identifier: Apache-2.0 */
/* The event stream, in pieces of any size. */
#include "admin/sse.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char seen[512];

static bool
note(void *ctx, const char *type, const char *data)
{
	size_t used = strlen(seen);

	snprintf(seen + used, sizeof(seen) - used, "%s=%s;", type, data);
	return ctx == NULL;
}

static const char *
take(const char *text, size_t piece)
{
	struct qpa_sse s = {.event = note};
	size_t len = strlen(text);

	seen[0] = '\0';
	for (size_t at = 0; at < len; at += piece)
		cr_assert(qpa_sse_take(&s, text + at, len - at < piece ? len - at : piece));
	qpa_sse_free(&s);
	return seen;
}

Test(sse, events_come_whole_whatever_the_pieces)
{
	static const char text[] = ": hello\n\nevent: a\ndata: 1\n\nid: 7\r\nevent: b\r\ndata: x\r\ndata:  y\r\n"
				   "\r\ndata\rdata:2\r\revent: none\n\ndata: cut";

	for (size_t piece = 1; piece <= sizeof(text); piece++)
		cr_assert(eq(str, (char *)take(text, piece), "a=1;b=x\n y;message=\n2;"), "%zu", piece);
}

Test(sse, listener_that_has_enough_ends_it)
{
	struct qpa_sse s = {.event = note, .ctx = &s};

	seen[0] = '\0';
	cr_assert(not(qpa_sse_take(&s, "data: 1\n\ndata: 2\n\n", 18)));
	cr_assert(eq(str, seen, "message=1;"));
	qpa_sse_free(&s);
}

Test(sse, line_or_event_without_end_is_refused)
{
	struct qpa_sse s = {.event = note}, t = {.event = note};
	char *much = calloc(1, QPA_SSE_DATA_BYTES);

	memset(much, 'x', QPA_SSE_DATA_BYTES);
	cr_assert(qpa_sse_take(&s, much, QPA_SSE_DATA_BYTES));
	cr_assert(not(qpa_sse_take(&s, "x", 1)));
	qpa_sse_free(&s);
	/* Many lines of one event. */
	memcpy(much, "data:", 5);
	much[QPA_SSE_DATA_BYTES - 1] = '\n';
	cr_assert(qpa_sse_take(&t, much, QPA_SSE_DATA_BYTES));
	cr_assert(not(qpa_sse_take(&t, much, QPA_SSE_DATA_BYTES)));
	qpa_sse_free(&t);
	free(much);
}

Test(sse, last_id_is_kept_when_it_is_a_number)
{
	static const char text[] = "id: 41\ndata: 1\n\nid: x\ndata: 2\n\nid\ndata: 3\n\nid: 1234567890123456789012345\n\n";
	struct qpa_sse s = {.event = note};

	cr_assert(qpa_sse_take(&s, text, sizeof(text) - 1));
	cr_assert(eq(str, s.id, "41"));
	qpa_sse_free(&s);
}

Test(sse, long_type_is_cut)
{
	char text[300];

	snprintf(text, sizeof(text), "event: %0200d\ndata: 1\n\n", 0);
	take(text, 300);
	cr_assert(eq(sz, strlen(seen), QPA_SSE_NAME_BYTES - 1 + 3));
}
