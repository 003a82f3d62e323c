/* SPDX-License-Identifier: Apache-2.0 */
/* What is sent: pattern, request headers, sizes. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <string.h>

#include "bench/pattern.h"
#include "bench/request.h"
#include "bench/sizes.h"

Test(pattern, pieces_of_any_size_join_into_one_stream, .init = qpb_pattern_init)
{
	enum { N = 3 * QPB_PATTERN_PERIOD };
	static uint8_t whole[N], parts[N];
	uint32_t step = 1;

	qpb_pattern_fill(5, 0, whole, N);
	for (uint32_t off = 0; off < N; off += step, step = step * 3 % 40000 + 1) {
		uint32_t n = step = step < N - off ? step : N - off;

		qpb_pattern_fill(5, off, parts + off, n);
		cr_assert(qpb_pattern_matches(5, off, whole + off, n));
	}
	cr_assert_arr_eq(whole, parts, N);
}

Test(pattern, lost_doubled_changed_or_foreign_bytes_show, .init = qpb_pattern_init)
{
	uint8_t b[3000];

	qpb_pattern_fill(5, 100000, b, sizeof(b));
	cr_assert(qpb_pattern_matches(5, 100000, b, sizeof(b)));
	cr_assert_not(qpb_pattern_matches(5, 100001, b, sizeof(b)));
	cr_assert_not(qpb_pattern_matches(5, 100000 - 1448, b, sizeof(b)));
	cr_assert_not(qpb_pattern_matches(5, 100000 + 65536, b, sizeof(b)));
	cr_assert_not(qpb_pattern_matches(6, 100000, b, sizeof(b)));
	b[2999] ^= 1;
	cr_assert_not(qpb_pattern_matches(5, 100000, b, sizeof(b)));
}

Test(request, written_and_read_is_the_same)
{
	const struct qpb_request r = {QPB_ECHO, 0x1122334455667788, QPB_ENDLESS, 77, 5};
	struct qpb_request back;
	uint8_t b[QPB_REQUEST_BYTES];

	qpb_request_put(&r, b);
	cr_assert_eq(qpb_request_get(&back, b), 0);
	cr_assert_eq(back.flags, r.flags);
	cr_assert_eq(back.seed, r.seed);
	cr_assert_eq(back.request_bytes, r.request_bytes);
	cr_assert_eq(back.answer_bytes, r.answer_bytes);
	cr_assert_eq(back.stamp, r.stamp);
}

Test(request, anything_else_is_refused)
{
	struct qpb_request r = {0};
	uint8_t b[QPB_REQUEST_BYTES];

	qpb_request_put(&r, b);
	b[3] ^= 1;
	cr_assert_eq(qpb_request_get(&r, b), QP_E_PROTO);
	b[3] ^= 1;
	b[7] = 0x80; /* an unknown flag */
	cr_assert_eq(qpb_request_get(&r, b), QP_E_PROTO);
}

struct good {
	const char text[16];
	uint32_t min, max;
};

ParameterizedTestParameters(sizes, good_texts)
{
	static struct good rows[] = {{"0", 0, 0}, {"64", 64, 64}, {"64-1400", 64, 1400},
		{"7-7", 7, 7}, {"imix", 12, 1472}};

	return cr_make_param_array(struct good, rows, sizeof(rows) / sizeof(rows[0]));
}

ParameterizedTest(struct good *row, sizes, good_texts)
{
	struct qpb_sizes s;
	struct qpb_rng rng;
	char again[16];

	qpb_rng_init(&rng, 1, 1);
	cr_assert_eq(qpb_sizes_parse(row->text, 1472, &s), 0);
	for (unsigned i = 0; i < 1000; i++) {
		uint32_t v = qpb_sizes_draw(&s, &rng, 0);

		cr_assert(v >= row->min && v <= row->max, "%u", v);
	}
	cr_assert_geq(qpb_sizes_draw(&s, &rng, 40), 40);
	qpb_sizes_format(&s, again, sizeof(again));
	cr_assert_str_eq(again, strcmp(row->text, "7-7") == 0 ? "7-7" : row->text);
}

struct bad {
	const char text[16];
};

ParameterizedTestParameters(sizes, bad_texts)
{
	static struct bad rows[] = {
		{""}, {"-5"}, {"5-"}, {"9-5"}, {"1473"}, {"1-1473"}, {"64k"}, {"IMIX"}};

	return cr_make_param_array(struct bad, rows, sizeof(rows) / sizeof(rows[0]));
}

ParameterizedTest(struct bad *row, sizes, bad_texts)
{
	struct qpb_sizes s;

	cr_assert_eq(qpb_sizes_parse(row->text, 1472, &s), QP_E_INVAL, "%s", row->text);
}

Test(sizes, imix_has_its_shares)
{
	struct qpb_sizes s;
	struct qpb_rng rng;
	unsigned small = 0, large = 0, n = 12000;

	qpb_rng_init(&rng, 4, 0);
	cr_assert_eq(qpb_sizes_parse("imix", 1472, &s), 0);
	for (unsigned i = 0; i < n; i++) {
		uint32_t v = qpb_sizes_draw(&s, &rng, 0);

		small += v == 12;
		large += v == 1472;
	}
	cr_assert_float_eq(small / 7000.0, 1, 0.05);
	cr_assert_float_eq(large / 1000.0, 1, 0.15);
}
