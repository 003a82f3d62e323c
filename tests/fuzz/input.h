/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_TESTS_FUZZ_INPUT_H
#define QP_TESTS_FUZZ_INPUT_H

#include <stddef.h>
#include <stdint.h>

/* The input, eaten from the front; zeros when it is used up. */
struct fuzz_input {
	const uint8_t *p;
	size_t left;
};

static inline uint8_t
fuzz_get8(struct fuzz_input *in)
{
	if (in->left == 0)
		return 0;
	in->left--;
	return *in->p++;
}

static inline uint16_t
fuzz_get16(struct fuzz_input *in)
{
	const uint8_t high = fuzz_get8(in);

	return (uint16_t)(high << 8 | fuzz_get8(in));
}

static inline uint32_t
fuzz_get32(struct fuzz_input *in)
{
	const uint32_t high = fuzz_get16(in);

	return high << 16 | fuzz_get16(in);
}

/* As many bytes as there are, `*len` at the most, which becomes their number. */
static inline const uint8_t *
fuzz_get_bytes(struct fuzz_input *in, size_t *len)
{
	const uint8_t *p = in->p;

	if (*len > in->left)
		*len = in->left;
	in->p += *len;
	in->left -= *len;
	return p;
}

#endif
