/* SPDX-License-Identifier: Apache-2.0 */
/* The histogram: counting and asking. hist_write.c has its file formats. */
#include "bench/hist.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct qpb_hist *
qpb_hist_new(void)
{
	struct qpb_hist *h = malloc(sizeof(*h));

	if (h != NULL)
		qpb_hist_clear(h);
	return h;
}

void
qpb_hist_free(struct qpb_hist *h)
{
	free(h);
}

void
qpb_hist_clear(struct qpb_hist *h)
{
	memset(h, 0, sizeof(*h));
	h->min = UINT64_MAX;
}

static uint32_t
bucket_of(uint64_t value)
{
	return 64u - (uint32_t)__builtin_clzll(value | (QPB_HIST_SUB - 1)) - QPB_HIST_SUB_BITS;
}

uint32_t
qpb_hist_index(uint64_t value)
{
	uint32_t b = bucket_of(value);

	return (b + 1) * QPB_HIST_HALF + (uint32_t)(value >> b) - QPB_HIST_HALF;
}

/* The first 2,048 counts are bucket 0's; each 1,024 after them another bucket's upper half. */
static uint32_t
bucket_at(uint32_t index)
{
	return index < QPB_HIST_SUB ? 0 : index / QPB_HIST_HALF - 1;
}

uint64_t
qpb_hist_lowest(uint32_t index)
{
	uint32_t b = bucket_at(index);

	return (uint64_t)(index - b * QPB_HIST_HALF) << b;
}

uint64_t
qpb_hist_highest(uint32_t index)
{
	return qpb_hist_lowest(index) + (UINT64_C(1) << bucket_at(index)) - 1;
}

void
qpb_hist_record(struct qpb_hist *h, uint64_t value)
{
	if (value > (uint64_t)QPB_HIST_MAX) {
		h->over++;
		value = (uint64_t)QPB_HIST_MAX;
	}
	h->count[qpb_hist_index(value)]++;
	h->total++;
	h->sum += (double)value;
	if (value < h->min)
		h->min = value;
	if (value > h->max)
		h->max = value;
}

void
qpb_hist_add(struct qpb_hist *to, const struct qpb_hist *from)
{
	for (uint32_t i = 0; i < QPB_HIST_COUNTS; i++)
		to->count[i] += from->count[i];
	to->total += from->total;
	to->over += from->over;
	to->sum += from->sum;
	to->min = from->min < to->min ? from->min : to->min;
	to->max = from->max > to->max ? from->max : to->max;
}

uint64_t
qpb_hist_percentile(const struct qpb_hist *h, double percentile)
{
	double want = ceil(percentile / 100.0 * (double)h->total - 1e-9);
	uint64_t need = want < 1 ? 1 : (uint64_t)want, seen = 0;

	if (h->total == 0)
		return 0;
	for (uint32_t i = 0; i < QPB_HIST_COUNTS; i++) {
		seen += h->count[i];
		if (seen >= need)
			return qpb_hist_highest(i);
	}
	return h->max;
}

double
qpb_hist_mean(const struct qpb_hist *h)
{
	return h->total != 0 ? h->sum / (double)h->total : 0;
}

double
qpb_hist_deviation(const struct qpb_hist *h)
{
	double mean = qpb_hist_mean(h), squares = 0;

	if (h->total == 0)
		return 0;
	for (uint32_t i = 0; i < QPB_HIST_COUNTS; i++) {
		double middle = (double)(qpb_hist_lowest(i) + qpb_hist_highest(i)) / 2;

		squares += (double)h->count[i] * (middle - mean) * (middle - mean);
	}
	return sqrt(squares / (double)h->total);
}
