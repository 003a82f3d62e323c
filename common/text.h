/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_COMMON_TEXT_H
#define QP_COMMON_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Text that came from somewhere else: slices, UTF-8, and how to show it to a
 * person without harm. Pure functions, any thread.
 */

/* Text borrowed from a buffer; not NUL-terminated. ptr may be NULL when len is 0. */
struct qp_slice {
	const char *ptr;
	size_t len;
};

/* A C string without its NUL; NULL gives the slice {NULL, 0}. */
struct qp_slice qp_slice_of(const char *cstr);
/* Without white space (space, tab, CR, LF, VT, FF) on both ends. */
struct qp_slice qp_slice_trim(struct qp_slice text);

/*
 * The length (1 to 4) of the UTF-8 character at the front of `len` bytes, 0
 * when there is none: RFC 3629, so no overlong form, no surrogate, nothing
 * above U+10FFFF.
 */
size_t qp_utf8_char(const char *text, size_t len);
bool qp_utf8_valid(const char *text, size_t len);

/*
 * Text of a peer made harmless: control characters (C0, DEL, C1) and bytes
 * that are not UTF-8 become \xNN, a backslash is doubled, a cut is marked by
 * "…" (given 4 bytes or more of room). Always terminated; returns the length
 * without NUL. cap ≥ 1.
 */
size_t qp_slice_printable(struct qp_slice text, char *out, size_t cap);

#endif
