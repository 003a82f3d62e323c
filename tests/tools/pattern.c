/* SPDX-License-Identifier: Apache-2.0 */
#include "pattern.h"

#include <string.h>

/* Byte streams for the test tools. No state, any thread. */

uint64_t
pattern_mix(uint64_t value)
{
	value += 0x9e3779b97f4a7c15u;
	value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9u;
	value = (value ^ (value >> 27)) * 0x94d049bb133111ebu;
	return value ^ (value >> 31);
}

static uint64_t
word_at(uint64_t base, uint64_t offset)
{
	return pattern_mix(base + offset / 8);
}

void
pattern_fill(uint64_t seed, uint64_t offset, uint8_t *buf, size_t len)
{
	const uint64_t base = pattern_mix(seed);

	while (len > 0) {
		uint64_t word = word_at(base, offset);
		size_t skip = offset % 8;
		size_t n = 8 - skip < len ? 8 - skip : len;

		if (n == 8) /* of constant size: no call */
			memcpy(buf, &word, 8);
		else
			memcpy(buf, (const uint8_t *)&word + skip, n);
		buf += n;
		offset += n;
		len -= n;
	}
}

bool
pattern_matches(uint64_t seed, uint64_t offset, const uint8_t *buf, size_t len)
{
	const uint64_t base = pattern_mix(seed);

	while (len > 0) {
		uint64_t word = word_at(base, offset);
		size_t skip = offset % 8;
		size_t n = 8 - skip < len ? 8 - skip : len;

		if (n == 8 ? memcmp(buf, &word, 8) != 0 : memcmp(buf, (const uint8_t *)&word + skip, n) != 0)
			return false;
		buf += n;
		offset += n;
		len -= n;
	}
	return true;
}
