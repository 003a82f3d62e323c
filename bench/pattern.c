/* SPDX-License-Identifier: Apache-2.0 */
/* The payload's bytes. Read only after its start. */
#include "bench/pattern.h"

#include <string.h>

#include "bench/rng.h"

static uint8_t table[QPB_PATTERN_PERIOD + QPB_PATTERN_RUN];

void
qpb_pattern_init(void)
{
	struct qpb_rng rng;

	/* The same in every run: a capture can be read beside another. */
	qpb_rng_init(&rng, 1, 1);
	for (uint32_t i = 0; i < QPB_PATTERN_PERIOD; i++)
		table[i] = (uint8_t)(qpb_rng_next(&rng) >> 56);
	memcpy(table + QPB_PATTERN_PERIOD, table, QPB_PATTERN_RUN);
}

const uint8_t *
qpb_pattern_at(uint64_t seed, uint64_t offset)
{
	return table + (qpb_mix(seed) % QPB_PATTERN_PERIOD + offset % QPB_PATTERN_PERIOD) %
			       QPB_PATTERN_PERIOD;
}

void
qpb_pattern_fill(uint64_t seed, uint64_t offset, uint8_t *buf, uint32_t len)
{
	while (len > 0) {
		uint32_t n = len < QPB_PATTERN_RUN ? len : QPB_PATTERN_RUN;

		memcpy(buf, qpb_pattern_at(seed, offset), n);
		buf += n;
		offset += n;
		len -= n;
	}
}

bool
qpb_pattern_matches(uint64_t seed, uint64_t offset, const uint8_t *buf, uint32_t len)
{
	while (len > 0) {
		uint32_t n = len < QPB_PATTERN_RUN ? len : QPB_PATTERN_RUN;

		if (memcmp(buf, qpb_pattern_at(seed, offset), n) != 0)
			return false;
		buf += n;
		offset += n;
		len -= n;
	}
	return true;
}
