/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The histogram's files, for HdrHistogram's own tools: percentile distribution
 * (outputPercentileDistribution) and interval log (HistogramLogWriter 1.2, V2).
 */
#include "bench/hist.h"

#include <math.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "common/error.h"
#include "common/wire.h"

#define V2_COOKIE 0x1c849313u /* encoding 3, words of at most 9 bytes: 0x1c849303 | 0x10 */
#define V2_DEFLATE_COOKIE 0x1c849314u
#define V2_HEADER_BYTES 40u

static void
hgrm_line(FILE *to, double value, double quantile, uint64_t count)
{
	fprintf(to, "%12.3f %2.12f %10llu", value, quantile, (unsigned long long)count);
	if (quantile < 1)
		fprintf(to, " %14.2f", 1 / (1 - quantile));
	fputc('\n', to);
}

/*
 * The levels: `ticks` equal steps to 50 %, as many to 75 %, and so on; each line
 * is the count that holds its level. The last line is 100 %.
 */
static void
hgrm_levels(const struct qpb_hist *h, double unit, unsigned ticks, FILE *to)
{
	double level = 0;
	uint64_t seen = 0;

	for (uint32_t i = 0; i < QPB_HIST_COUNTS && seen < h->total; i++) {
		if (h->count[i] == 0)
			continue;
		seen += h->count[i];
		while (seen < h->total && (double)seen / (double)h->total >= level / 100) {
			double halvings = floor(log2(100 / (100 - level))) + 1;

			hgrm_line(to, (double)qpb_hist_highest(i) / unit, level / 100, seen);
			level += 100 / (exp2(halvings) * ticks);
		}
	}
	if (h->total != 0)
		hgrm_line(to, (double)qpb_hist_highest(qpb_hist_index(h->max)) / unit, 1, h->total);
}

int
qpb_hist_write_hgrm(const struct qpb_hist *h, double unit, unsigned ticks, FILE *to)
{
	fprintf(to, "%12s %14s %10s %14s\n\n", "Value", "Percentile", "TotalCount",
		"1/(1-Percentile)");
	hgrm_levels(h, unit, ticks, to);
	fprintf(to, "#[Mean    = %12.3f, StdDeviation   = %12.3f]\n", qpb_hist_mean(h) / unit,
		qpb_hist_deviation(h) / unit);
	fprintf(to, "#[Max     = %12.3f, Total count    = %12llu]\n", (double)h->max / unit,
		(unsigned long long)h->total);
	fprintf(to, "#[Buckets = %12u, SubBuckets     = %12u]\n", QPB_HIST_BUCKETS, QPB_HIST_SUB);
	return ferror(to) ? QP_E_IO : 0;
}

/* ZigZag LEB128 of HdrHistogram: 7 bits a byte, the ninth byte has all 8. */
static size_t
put_zigzag(uint8_t *out, int64_t value)
{
	uint64_t v = (uint64_t)value << 1 ^ (uint64_t)(value >> 63);
	size_t n = 0;

	while (n < 8 && v >= 0x80) {
		out[n++] = (uint8_t)(v | 0x80);
		v >>= 7;
	}
	out[n++] = (uint8_t)v;
	return n;
}

size_t
qpb_hist_encode(const struct qpb_hist *h, uint8_t *out)
{
	uint32_t used = h->total != 0 ? qpb_hist_index(h->max) + 1 : 0;
	double ratio = 1;
	uint64_t bits;
	size_t n = V2_HEADER_BYTES;

	for (uint32_t i = 0; i < used;) {
		uint32_t zeros = 0;

		while (i + zeros < used && h->count[i + zeros] == 0)
			zeros++;
		/* A run of zeros is its negative length. */
		n += put_zigzag(out + n, zeros > 1 ? -(int64_t)zeros : (int64_t)h->count[i]);
		i += zeros > 0 ? zeros : 1;
	}
	memcpy(&bits, &ratio, sizeof(bits));
	qp_put_u32(out, V2_COOKIE);
	qp_put_u32(out + 4, (uint32_t)(n - V2_HEADER_BYTES));
	qp_put_u32(out + 8, 0); /* normalizing index offset */
	qp_put_u32(out + 12, QPB_HIST_DIGITS);
	qp_put_u64(out + 16, 1); /* lowest discernible value */
	qp_put_u64(out + 24, (uint64_t)QPB_HIST_MAX);
	qp_put_u64(out + 32, bits);
	return n;
}

/* The deflated form in Base64: `*text` is the caller's to free. */
static int
compress_text(const struct qpb_hist *h, char **text)
{
	uint8_t *plain = malloc(QPB_HIST_V2_BYTES), *packed = NULL;
	uLongf len;
	size_t n;
	int rc = QP_E_NOMEM;

	*text = NULL;
	if (plain == NULL)
		return rc;
	n = qpb_hist_encode(h, plain);
	len = compressBound(n);
	packed = malloc(8 + len);
	if (packed != NULL && compress(packed + 8, &len, plain, n) == Z_OK) {
		qp_put_u32(packed, V2_DEFLATE_COOKIE);
		qp_put_u32(packed + 4, (uint32_t)len);
		n = sodium_base64_ENCODED_LEN(8 + len, sodium_base64_VARIANT_ORIGINAL);
		*text = malloc(n);
		if (*text != NULL) {
			sodium_bin2base64(
				*text, n, packed, 8 + len, sodium_base64_VARIANT_ORIGINAL);
			rc = 0;
		}
	}
	free(packed);
	free(plain);
	return rc;
}

int
qpb_hist_write_log(const struct qpb_hist *h, double start_s, double seconds, FILE *to)
{
	char *text;
	int rc = compress_text(h, &text);

	if (rc < 0)
		return rc;
	fprintf(to,
		"#[Histogram log format version 1.2]\n#[StartTime: %.3f (seconds since epoch)]\n",
		start_s);
	fprintf(to, "\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\","
		    "\"Interval_Compressed_Histogram\"\n");
	/* The third column is the maximum in milliseconds. */
	fprintf(to, "%.3f,%.3f,%.3f,%s\n", 0.0, seconds, (double)h->max / 1e6, text);
	free(text);
	return ferror(to) ? QP_E_IO : 0;
}
