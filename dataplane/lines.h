/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_DATAPLANE_LINES_H
#define QP_DATAPLANE_LINES_H

#include <stdlib.h>
#include <string.h>

/*
 * Memory in cache lines of its own: what one lcore writes for each packet must not
 * share a line with what another one does, as neighbours on the heap would.
 */
#define QP_LINE 64u

/* Zeroed; free() gives it back. NULL: no memory. */
static inline void *
qp_lines_alloc(size_t bytes)
{
	const size_t whole = (bytes + QP_LINE - 1) / QP_LINE * QP_LINE;
	void *p = aligned_alloc(QP_LINE, whole);

	return p != NULL ? memset(p, 0, whole) : NULL;
}

#endif
