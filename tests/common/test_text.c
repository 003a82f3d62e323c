/* SPDX-License-Identifier: Apache-2.0 */
/* UTF-8 and printable text. */
#include "common/text.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdint.h>
#include <string.h>

static struct qp_slice
slice(const char *bytes, size_t len)
{
	return (struct qp_slice) {bytes, len};
}

/* The definition of RFC 3629, 3, by decoding: independent of the tables in text.c. */
static bool
decodes(const uint8_t *p, size_t len)
{
	uint32_t code, least;
	size_t n;

	if (p[0] < 0x80)
		return len == 1;
	if ((p[0] & 0xe0) == 0xc0) {
		n = 2;
		code = p[0] & 0x1f;
		least = 0x80;
	} else if ((p[0] & 0xf0) == 0xe0) {
		n = 3;
		code = p[0] & 0x0f;
		least = 0x800;
	} else if ((p[0] & 0xf8) == 0xf0) {
		n = 4;
		code = p[0] & 0x07;
		least = 0x10000;
	} else {
		return false;
	}
	if (len != n)
		return false;
	for (size_t i = 1; i < n; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return false;
		code = code << 6 | (p[i] & 0x3f);
	}
	return code >= least && code <= 0x10ffff && !(code >= 0xd800 && code <= 0xdfff);
}

Test(text, utf8_every_sequence_of_two_and_three_bytes_is_judged_as_the_rfc_says)
{
	unsigned differ = 0;

	for (unsigned v = 0; v < 1u << 16; v++) {
		uint8_t b[2] = {(uint8_t)(v >> 8), (uint8_t)v};
		bool both_ascii = b[0] < 0x80 && b[1] < 0x80;

		differ += qp_utf8_valid((const char *)b, 2) != (both_ascii || decodes(b, 2));
	}
	for (unsigned v = 0xc00000; v < 1u << 24; v++) {
		uint8_t b[3] = {(uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v};

		differ += (qp_utf8_char((const char *)b, 3) == 3) != decodes(b, 3);
	}
	cr_assert(eq(uint, differ, 0));
}

Test(text, utf8_four_byte_bounds_are_judged_as_the_rfc_says)
{
	cr_assert(qp_utf8_valid("\xf0\x90\x80\x80", 4));      /* U+10000 */
	cr_assert(qp_utf8_valid("\xf4\x8f\xbf\xbf", 4));      /* U+10FFFF */
	cr_assert(not(qp_utf8_valid("\xf0\x8f\xbf\xbf", 4))); /* overlong U+FFFF */
	cr_assert(not(qp_utf8_valid("\xf4\x90\x80\x80", 4))); /* U+110000 */
	cr_assert(not(qp_utf8_valid("\xf5\x80\x80\x80", 4)));
	cr_assert(not(qp_utf8_valid("\xf0\x90\x80\xc0", 4)));
}

Test(text, utf8_cut_character_is_invalid)
{
	static const char text[] = "a\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80";
	static const size_t whole[] = {0, 1, 3, 6, 10};
	size_t at = 0;

	for (size_t len = 0; len <= sizeof(text) - 1; len++) {
		bool boundary = len == whole[at];

		cr_assert(eq(int, qp_utf8_valid(text, len), boundary), "length %zu", len);
		at += boundary;
	}
}

Test(text, trim_takes_white_space_off_both_ends_only)
{
	struct qp_slice t = qp_slice_trim(qp_slice_of(" \t\r\n\v\fa b \r\n"));

	cr_assert(eq(sz, t.len, 3));
	cr_assert(eq(int, memcmp(t.ptr, "a b", 3), 0));
	cr_assert(eq(sz, qp_slice_trim(qp_slice_of(" \t ")).len, 0));
	cr_assert(eq(sz, qp_slice_trim(slice(NULL, 0)).len, 0));
}

Test(text, printable_escapes_what_could_forge_a_line_or_drive_a_terminal)
{
	static const char text[] = "a\nb\x1b[2J\x7f\xc2\x9b\xff\\ \xc3\xa4\0z";
	char out[128];

	qp_slice_printable(slice(text, sizeof(text) - 1), out, sizeof(out));
	cr_assert(eq(str, out, "a\\x0ab\\x1b[2J\\x7f\\xc2\\x9b\\xff\\\\ \xc3\xa4\\x00z"));
}

Test(text, printable_cut_text_ends_with_an_ellipsis_on_a_character)
{
	char out[16];
	size_t n;

	n = qp_slice_printable(qp_slice_of("0123456789abcde"), out, sizeof(out));
	cr_assert(eq(str, out, "0123456789abcde"));
	cr_assert(eq(sz, n, 15));
	qp_slice_printable(qp_slice_of("0123456789abcdef"), out, sizeof(out));
	cr_assert(eq(str, out, "0123456789ab\xe2\x80\xa6"));
	/* The euro sign would straddle the cut. */
	qp_slice_printable(qp_slice_of("0123456789a\xe2\x82\xac""0123"), out, sizeof(out));
	cr_assert(eq(str, out, "0123456789a\xe2\x80\xa6"));
}

Test(text, printable_any_room_is_terminated_valid_and_within_it)
{
	static const char text[] = "a\xe2\x82\xac\x01\xff\\ long enough to be cut \xf0\x9f\x98\x80";

	for (size_t cap = 1; cap < 80; cap++) {
		char out[80];
		size_t n;

		memset(out, 'x', sizeof(out));
		n = qp_slice_printable(slice(text, sizeof(text) - 1), out, cap);
		cr_assert(lt(sz, n, cap));
		cr_assert(eq(sz, strlen(out), n));
		cr_assert(qp_utf8_valid(out, n), "cap %zu", cap);
		if (cap < sizeof(out))
			cr_assert(eq(chr, out[cap], 'x'));
	}
}
