/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_BENCH_HIST_H
#define QP_BENCH_HIST_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/*
 * Latencies in HdrHistogram's layout: log-linear buckets, each power of two cut
 * into equal parts, three decimal digits kept whatever the value. One
 * count a record, no allocation after the start. Owner: one lcore; others read
 * a copy when it has stopped.
 *
 * Layout (HdrHistogram 2.x, "AbstractHistogram"): with 2,048 sub-buckets, value
 * v of bucket b (b: how often 2,048 must double to exceed v) counts at
 * (b + 1) * 1024 + (v >> b) - 1024. Lowest discernible value 1.
 */
#define QPB_HIST_SUB_BITS 11u
#define QPB_HIST_SUB      (1u << QPB_HIST_SUB_BITS)
#define QPB_HIST_HALF     (QPB_HIST_SUB / 2)
#define QPB_HIST_DIGITS   3
#define QPB_HIST_MAX      ((INT64_C(1) << 42) - 1) /* 73 minutes in ns; larger ones count as this */
#define QPB_HIST_BUCKETS  32u                      /* 2,048 << 31 is beyond it */
#define QPB_HIST_COUNTS   ((QPB_HIST_BUCKETS + 1) * QPB_HIST_HALF)

struct qpb_hist {
	uint64_t total;
	uint64_t min, max;  /* of the values as recorded; min UINT64_MAX: none */
	uint64_t over;      /* beyond QPB_HIST_MAX */
	double sum;         /* of values */
	uint64_t count[QPB_HIST_COUNTS];
};

/* NULL when out of memory. */
struct qpb_hist *qpb_hist_new(void);
void qpb_hist_free(struct qpb_hist *h);
void qpb_hist_clear(struct qpb_hist *h);

/* Index of the count that a value belongs to, and the values of a count. */
uint32_t qpb_hist_index(uint64_t value);
uint64_t qpb_hist_lowest(uint32_t index);
uint64_t qpb_hist_highest(uint32_t index);

void qpb_hist_record(struct qpb_hist *h, uint64_t value);
void qpb_hist_add(struct qpb_hist *to, const struct qpb_hist *from);

/* The highest value of the count that holds this percentile (0 … 100]; 0 when empty. */
uint64_t qpb_hist_percentile(const struct qpb_hist *h, double percentile);
double qpb_hist_mean(const struct qpb_hist *h);
/* From the counts' middles, as HdrHistogram has it. */
double qpb_hist_deviation(const struct qpb_hist *h);

/*
 * HdrHistogram's percentile distribution (.hgrm), values divided by `unit`,
 * `ticks` reports a halving of the distance to 100 %. 0 or QP_E_IO.
 */
int qpb_hist_write_hgrm(const struct qpb_hist *h, double unit, unsigned ticks, FILE *to);

/*
 * A log of one interval (HdrHistogram's log format 1.2 and V2 encoding: ZigZag
 * LEB128 counts, deflated, Base64), times in seconds since the Epoch. 0,
 * QP_E_IO, QP_E_NOMEM.
 */
int qpb_hist_write_log(const struct qpb_hist *h, double start_s, double seconds, FILE *to);

/*
 * The V2 payload before it is deflated: cookie, lengths, range, counts. Needs
 * QPB_HIST_V2_BYTES. Returns its length.
 */
#define QPB_HIST_V2_BYTES (40u + 9u * QPB_HIST_COUNTS)
size_t qpb_hist_encode(const struct qpb_hist *h, uint8_t *out);

#endif
