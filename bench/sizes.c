/* SPDX-License-Identifier: Apache-2.0 */
/* Distributions of sizes. Pure. */
#include "bench/sizes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define IP_AND_UDP 28u

static int
number(const char **p, uint32_t max, uint32_t *out)
{
	unsigned long v;
	char *end;

	if (**p < '0' || **p > '9')
		return QP_E_INVAL;
	v = strtoul(*p, &end, 10);
	*p = end;
	if (v > max)
		return QP_E_INVAL;
	*out = (uint32_t)v;
	return 0;
}

int
qpb_sizes_parse(const char *text, uint32_t max, struct qpb_sizes *out)
{
	*out = (struct qpb_sizes) {
		.kind = QPB_SIZES_IMIX, .min = 40 - IP_AND_UDP, .max = 1500 - IP_AND_UDP};
	if (strcmp(text, "imix") == 0)
		return out->max <= max ? 0 : QP_E_INVAL;
	out->kind = QPB_SIZES_FIXED;
	if (number(&text, max, &out->min) < 0)
		return QP_E_INVAL;
	out->max = out->min;
	if (*text == '\0')
		return 0;
	out->kind = QPB_SIZES_UNIFORM;
	if (*text++ != '-' || number(&text, max, &out->max) < 0 || *text != '\0')
		return QP_E_INVAL;
	return out->max >= out->min ? 0 : QP_E_INVAL;
}

static uint32_t
imix(struct qpb_rng *rng)
{
	uint64_t n = qpb_rng_below(rng, 12);

	return (n < 7 ? 40 : n < 11 ? 576 : 1500) - IP_AND_UDP;
}

uint32_t
qpb_sizes_draw(const struct qpb_sizes *s, struct qpb_rng *rng, uint32_t floor)
{
	uint32_t v = s->min;

	if (s->kind == QPB_SIZES_IMIX)
		v = imix(rng);
	else if (s->kind == QPB_SIZES_UNIFORM)
		v += (uint32_t)qpb_rng_below(rng, (uint64_t)s->max - s->min + 1);
	return v < floor ? floor : v;
}

void
qpb_sizes_format(const struct qpb_sizes *s, char *out, unsigned cap)
{
	if (s->kind == QPB_SIZES_IMIX)
		snprintf(out, cap, "imix");
	else if (s->kind == QPB_SIZES_UNIFORM)
		snprintf(out, cap, "%u-%u", s->min, s->max);
	else
		snprintf(out, cap, "%u", s->min);
}
