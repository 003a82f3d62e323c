/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_BENCH_SIZES_H
#define QP_BENCH_SIZES_H

#include <stdint.h>

#include "bench/rng.h"
#include "common/error.h"

/* How large requests, answers or datagrams are: "1000", "64-1400", "imix". */
enum qpb_sizes_kind {
	QPB_SIZES_FIXED,
	QPB_SIZES_UNIFORM,
	QPB_SIZES_IMIX, /* IP packets of 40, 576 and 1500 bytes, 7 : 4 : 1 */
};

struct qpb_sizes {
	enum qpb_sizes_kind kind;
	uint32_t min, max; /* of payload bytes */
};

/* QP_E_INVAL when it is none of these, or beyond `max`. */
int qpb_sizes_parse(const char *text, uint32_t max, struct qpb_sizes *out);
/* One size, at least `floor`. */
uint32_t qpb_sizes_draw(const struct qpb_sizes *s, struct qpb_rng *rng, uint32_t floor);
/* The text again. */
void qpb_sizes_format(const struct qpb_sizes *s, char *out, unsigned cap);

#endif
