/* SPDX-License-Identifier: Apache-2.0 */
/*
 * UTF-8 as RFC 3629 defines it, and peers' text made fit for a log line or a
 * terminal. Pure, any thread. JSON escaping is the log's own.
 */
#include "common/text.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define ELLIPSIS "\xe2\x80\xa6"
#define ELLIPSIS_BYTES 3u

struct qp_slice
qp_slice_of(const char *cstr)
{
	return (struct qp_slice) {cstr, cstr == NULL ? 0 : strlen(cstr)};
}

static bool
is_space(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

struct qp_slice
qp_slice_trim(struct qp_slice text)
{
	while (text.len > 0 && is_space(text.ptr[0])) {
		text.ptr++;
		text.len--;
	}
	while (text.len > 0 && is_space(text.ptr[text.len - 1]))
		text.len--;
	return text;
}

static bool
in_range(uint8_t byte, uint8_t low, uint8_t high)
{
	return byte >= low && byte <= high;
}

size_t
qp_utf8_char(const char *text, size_t len)
{
	const uint8_t *p = (const uint8_t *)text;
	uint8_t low = 0x80, high = 0xbf;
	size_t n;

	if (len == 0)
		return 0;
	if (p[0] < 0x80)
		return 1;
	/* RFC 3629, 4: the second byte's range tells overlong forms and surrogates. */
	if (in_range(p[0], 0xc2, 0xdf)) {
		n = 2;
	} else if (in_range(p[0], 0xe0, 0xef)) {
		n = 3;
		if (p[0] == 0xe0)
			low = 0xa0;
		else if (p[0] == 0xed)
			high = 0x9f;
	} else if (in_range(p[0], 0xf0, 0xf4)) {
		n = 4;
		if (p[0] == 0xf0)
			low = 0x90;
		else if (p[0] == 0xf4)
			high = 0x8f;
	} else {
		return 0;
	}
	if (len < n || !in_range(p[1], low, high))
		return 0;
	for (size_t i = 2; i < n; i++) {
		if (!in_range(p[i], 0x80, 0xbf))
			return 0;
	}
	return n;
}

bool
qp_utf8_valid(const char *text, size_t len)
{
	while (len > 0) {
		size_t n = qp_utf8_char(text, len);

		if (n == 0)
			return false;
		text += n;
		len -= n;
	}
	return true;
}

/* C1 (U+0080 … U+009F) can drive a terminal as C0 can. */
static bool
is_control(const char *text, size_t n)
{
	uint8_t first = (uint8_t)text[0];

	if (n == 1)
		return first < 0x20 || first == 0x7f;
	return n == 2 && first == 0xc2 && (uint8_t)text[1] < 0xa0;
}

/* What stands for the character at the front of `text`; sets how many bytes it took. */
static size_t
printable_char(struct qp_slice text, char piece[9], size_t *taken)
{
	size_t n = qp_utf8_char(text.ptr, text.len);

	*taken = n == 0 ? 1 : n;
	if (n == 1 && text.ptr[0] == '\\') {
		memcpy(piece, "\\\\", 2);
		return 2;
	}
	if (n != 0 && !is_control(text.ptr, n)) {
		memcpy(piece, text.ptr, n);
		return n;
	}
	n = 0;
	for (size_t i = 0; i < *taken; i++)
		n += (size_t)snprintf(piece + n, 9 - n, "\\x%02x", (uint8_t)text.ptr[i]);
	return n;
}

size_t
qp_slice_printable(struct qp_slice text, char *out, size_t cap)
{
	size_t used = 0, cut_at = 0; /* cut_at: where an ellipsis still fits */

	while (text.len > 0) {
		char piece[9];
		size_t taken, n = printable_char(text, piece, &taken);

		if (used + n >= cap) {
			if (cap > ELLIPSIS_BYTES) {
				memcpy(out + cut_at, ELLIPSIS, ELLIPSIS_BYTES);
				used = cut_at + ELLIPSIS_BYTES;
			}
			break;
		}
		memcpy(out + used, piece, n);
		used += n;
		if (used + ELLIPSIS_BYTES < cap)
			cut_at = used;
		text.ptr += taken;
		text.len -= taken;
	}
	out[used] = '\0';
	return used;
}
