/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_ADMIN_SSE_H
#define QP_ADMIN_SSE_H

#include <stdbool.h>
#include <stddef.h>

/*
 * An event stream (HTML's Server-Sent Events) taken apart, in pieces of any
 * size. Owner: its caller.
 */
#define QPA_SSE_DATA_BYTES (1u << 20) /* an event longer than this ends the stream */
#define QPA_SSE_NAME_BYTES 64u
#define QPA_SSE_ID_BYTES 24u

struct qpa_sse {
	/* `type` "message" when the stream gave none. False: no more of them. */
	bool (*event)(void *ctx, const char *type, const char *data);
	void *ctx;
	char type[QPA_SSE_NAME_BYTES];
	char id[QPA_SSE_ID_BYTES]; /* of the last event that had one; "": none yet */
	char *line, *data; /* from malloc */
	size_t line_len, data_len;
	bool has_data;
	bool after_cr; /* a LF now belongs to the CR before it */
};

void qpa_sse_free(struct qpa_sse *s);
/* False: `event` said so, an event is too long, or memory is out. */
bool qpa_sse_take(struct qpa_sse *s, const char *bytes, size_t len);

#endif
