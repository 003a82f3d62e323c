/* SPDX-License-Identifier: Apache-2.0 */
/* The histogram: layout, percentiles, HdrHistogram's files. */
#include "bench/hist.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <math.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "bench/rng.h"
#include "common/wire.h"

Test(hist, layout_every_value_is_in_its_count_to_three_digits)
{
	for (unsigned bit = 0; bit <= 42; bit++) {
		uint64_t base = UINT64_C(1) << bit;

		for (int d = -2; d <= 2; d++) {
			uint64_t v = base + (uint64_t)d;
			uint32_t i;

			if (v > (uint64_t)QPB_HIST_MAX)
				continue;
			i = qpb_hist_index(v);
			cr_assert_lt(i, QPB_HIST_COUNTS, "%llu", (unsigned long long)v);
			cr_assert_leq(qpb_hist_lowest(i), v);
			cr_assert_geq(qpb_hist_highest(i), v);
			cr_assert_leq((qpb_hist_highest(i) - qpb_hist_lowest(i)) * 1000, v + 1000);
		}
	}
}

Test(hist, layout_counts_follow_each_other_without_a_gap)
{
	for (uint32_t i = 0; i + 1 < QPB_HIST_COUNTS; i++)
		cr_assert_eq(qpb_hist_highest(i) + 1, qpb_hist_lowest(i + 1), "count %u", i);
}

static int
by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

Test(hist, random_values_percentiles_are_those_of_the_sorted_list)
{
	enum { N = 20000 };
	static const double levels[] = {1, 50, 90, 99, 99.9, 99.99, 100};
	uint64_t *value = malloc(N * sizeof(*value));
	struct qpb_hist *h = qpb_hist_new();
	struct qpb_rng rng;

	qpb_rng_init(&rng, 7, 0);
	for (unsigned i = 0; i < N; i++) {
		value[i] = (uint64_t)exp2(35 * qpb_rng_unit(&rng));
		qpb_hist_record(h, value[i]);
	}
	qsort(value, N, sizeof(*value), by_value);
	for (unsigned i = 0; i < sizeof(levels) / sizeof(levels[0]); i++) {
		uint64_t is = qpb_hist_percentile(h, levels[i]);
		uint64_t want = value[(unsigned)ceil(levels[i] / 100 * N - 1e-6) - 1];

		cr_assert_geq(is, want, "p%g", levels[i]);
		cr_assert_leq((double)is, (double)want * 1.001 + 1, "p%g", levels[i]);
	}
	cr_assert_eq(h->min, value[0]);
	cr_assert_eq(h->max, value[N - 1]);
	qpb_hist_free(h);
	free(value);
}

Test(hist, two_added_count_as_one)
{
	struct qpb_hist *a = qpb_hist_new(), *b = qpb_hist_new();

	qpb_hist_record(a, 10);
	qpb_hist_record(b, 1000000);
	qpb_hist_record(b, 3);
	qpb_hist_add(a, b);
	cr_assert_eq(a->total, 3);
	cr_assert_eq(a->min, 3);
	cr_assert_eq(a->max, 1000000);
	cr_assert_eq(qpb_hist_percentile(a, 50), 10);
	cr_assert_float_eq(qpb_hist_mean(a), 1000013.0 / 3, 1e-6);
	qpb_hist_free(a);
	qpb_hist_free(b);
}

Test(hist, beyond_the_largest_counts_there_and_is_told)
{
	struct qpb_hist *h = qpb_hist_new();

	qpb_hist_record(h, UINT64_MAX);
	cr_assert_eq(h->over, 1);
	cr_assert_eq(h->total, 1);
	cr_assert_eq(h->max, (uint64_t)QPB_HIST_MAX);
	qpb_hist_free(h);
}

Test(hist, empty_has_no_percentile_and_a_file_nevertheless)
{
	struct qpb_hist *h = qpb_hist_new();
	char *text;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	cr_assert_eq(qpb_hist_percentile(h, 99), 0);
	cr_assert_eq(qpb_hist_write_hgrm(h, 1000, 5, f), 0);
	fclose(f);
	cr_assert_not_null(strstr(text, "Total count    =            0]"));
	free(text);
	qpb_hist_free(h);
}

/* The V2 form, read as HdrHistogram's decoders do. */

struct decoded {
	uint32_t digits, n;
	uint64_t count[QPB_HIST_COUNTS];
};

static int64_t
zigzag(const uint8_t **p)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < 9; i++) {
		uint8_t c = *(*p)++;

		v |= (i == 8 ? (uint64_t)c : (uint64_t)(c & 0x7f)) << 7 * i;
		if (i < 8 && (c & 0x80) == 0)
			break;
	}
	return (int64_t)(v >> 1) ^ -(int64_t)(v & 1);
}

static void
decode(const char *text, struct decoded *d)
{
	static uint8_t packed[1 << 20], plain[1 << 20];
	uLongf len = sizeof(plain);
	size_t n;
	const uint8_t *p, *end;

	memset(d, 0, sizeof(*d));
	cr_assert_eq(sodium_base642bin(packed, sizeof(packed), text, strcspn(text, "\n"), NULL, &n,
			     NULL, sodium_base64_VARIANT_ORIGINAL),
		0);
	cr_assert_eq(qp_get_u32(packed), 0x1c849314u);
	cr_assert_eq(qp_get_u32(packed + 4), n - 8);
	cr_assert_eq(uncompress(plain, &len, packed + 8, n - 8), Z_OK);
	cr_assert_eq(qp_get_u32(plain), 0x1c849313u);
	cr_assert_eq(qp_get_u32(plain + 4), len - 40);
	d->digits = qp_get_u32(plain + 12);
	for (p = plain + 40, end = plain + len; p < end;) {
		int64_t v = zigzag(&p);

		if (v < 0)
			d->n += (uint32_t)-v;
		else
			d->count[d->n++] = (uint64_t)v;
	}
}

Test(hist_log, line_of_another_writer_is_read_by_the_test)
{
	/* From jHiccup's log of HdrHistogram's own tests. */
	static const char line[] =
		"HISTFAAAAEV42pNpmSzMwMCgyAABTBDKT4GBgdnNYMcCBvsPEBEJISEuATEZMQ4uASkh"
		"IR4nrxg9v2lMaxhvMekILGZkKmcCAEf2CsI=";
	static struct decoded d;

	decode(line, &d);
	cr_assert_eq(d.digits, 2);
	cr_assert_eq(d.n, 169);
	cr_assert_eq(d.count[0], 12);
	cr_assert_eq(d.count[168], 1);
}

Test(hist_log, what_was_recorded_is_decoded)
{
	static struct decoded d;
	struct qpb_hist *h = qpb_hist_new();
	struct qpb_rng rng;
	char *text, *line;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	qpb_rng_init(&rng, 9, 0);
	for (unsigned i = 0; i < 5000; i++)
		qpb_hist_record(h, (uint64_t)exp2(41.9 * qpb_rng_unit(&rng)));
	for (unsigned i = 0; i < 300; i++)
		qpb_hist_record(h, 77); /* more than one byte */
	cr_assert_eq(qpb_hist_write_log(h, 1700000000.25, 2, f), 0);
	fclose(f);
	cr_assert_not_null(strstr(text, "#[Histogram log format version 1.2]\n"));
	cr_assert_not_null(strstr(text, "#[StartTime: 1700000000.250 (seconds since epoch)]\n"));
	line = strstr(text, "\n0.000,2.000,");
	cr_assert_not_null(line);
	decode(strrchr(line, ',') + 1, &d);
	cr_assert_eq(d.digits, QPB_HIST_DIGITS);
	cr_assert_eq(d.n, qpb_hist_index(h->max) + 1);
	cr_assert_arr_eq(d.count, h->count, sizeof(h->count));
	free(text);
	qpb_hist_free(h);
}

Test(hist_hgrm, lines_rise_to_the_maximum_and_the_total)
{
	struct qpb_hist *h = qpb_hist_new();
	double value, level, last_value = -1, last_level = -1;
	unsigned long long count;
	unsigned lines = 0;
	char *text, *at;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	for (uint64_t v = 1; v <= 10000; v++)
		qpb_hist_record(h, v * 1000);
	cr_assert_eq(qpb_hist_write_hgrm(h, 1000, 5, f), 0);
	fclose(f);
	for (at = strchr(text, '\n') + 2; sscanf(at, "%lf %lf %llu", &value, &level, &count) == 3;
		at = strchr(at, '\n') + 1) {
		cr_assert_gt(level, last_level);
		cr_assert_geq(value, last_value);
		/* The value stands for its level: so many are not above it. */
		cr_assert_geq((double)count / 10000, level - 1e-9);
		cr_assert_leq(fabs(value - (double)count), 0.001 * value + 1);
		last_value = value;
		last_level = level;
		lines++;
	}
	cr_assert_gt(lines, 40);
	cr_assert_eq(count, 10000);
	cr_assert_float_eq(last_level, 1, 1e-12);
	cr_assert_not_null(
		strstr(text, "#[Max     =    10000.000, Total count    =        10000]"));
	free(text);
	qpb_hist_free(h);
}
