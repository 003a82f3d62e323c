/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TCP options of any bytes, as a SYN's and as another segment's: what is
 * accepted keeps the limits of options.h, and comes back the same when it is
 * written and read again. The first byte says which of the two it is.
 */
#include <string.h>

#include "dataplane/tcp/options.h"
#include "tests/fuzz/fuzz.h"

/* A heap block of just the bytes, so that a sanitizer sees each one read or written beyond. */
static uint8_t *
block(size_t len)
{
	uint8_t *p = malloc(len + (len == 0));

	FUZZ_CHECK(p != NULL);
	return p;
}

static void
check_limits(const struct qp_tcp_options *o, unsigned len, bool syn)
{
	FUZZ_CHECK(o->wscale <= 14);
	FUZZ_CHECK(o->nsack <= QP_TCP_SACK_MAX);
	FUZZ_CHECK(syn || (!o->has_mss && !o->has_wscale && !o->sack_permitted));
	/* Nothing is made up: what is there has been in the bytes. */
	FUZZ_CHECK((o->has_mss ? 4u : 0) + (o->has_wscale ? 3u : 0) + (o->sack_permitted ? 2u : 0) +
			(o->has_ts ? 10u : 0) + (o->nsack > 0 ? 2 + 8 * o->nsack : 0) <= len);
}

static void
check_same(const struct qp_tcp_options *a, const struct qp_tcp_options *b)
{
	FUZZ_CHECK(a->has_mss == b->has_mss && (!a->has_mss || a->mss == b->mss));
	FUZZ_CHECK(a->has_wscale == b->has_wscale && (!a->has_wscale || a->wscale == b->wscale));
	FUZZ_CHECK(a->sack_permitted == b->sack_permitted);
	FUZZ_CHECK(a->has_ts == b->has_ts);
	FUZZ_CHECK(!a->has_ts || (a->tsval == b->tsval && a->tsecr == b->tsecr));
	FUZZ_CHECK(a->nsack == b->nsack);
	for (unsigned i = 0; i < a->nsack; i++)
		FUZZ_CHECK(a->sack[i].start == b->sack[i].start && a->sack[i].end == b->sack[i].end);
}

/* Each padded to four bytes, as the stack writes them. */
static unsigned
written_bytes(const struct qp_tcp_options *o)
{
	return (o->has_mss ? 4 : 0) + (o->sack_permitted ? 4 : 0) + (o->has_ts ? 12 : 0) +
	       (o->has_wscale ? 4 : 0) + (o->has_uto ? 4 : 0) +
	       (o->has_fastopen ? (2 + o->fastopen_len + 3) / 4 * 4 : 0) +
	       (o->nsack > 0 ? 4 + 8 * o->nsack : 0);
}

static void
round_trip(const struct qp_tcp_options *o, bool syn)
{
	unsigned want = written_bytes(o);
	struct qp_tcp_options again;
	uint8_t *bytes;

	if (want > QP_TCP_OPTIONS_MAX) /* what came without padding need not fit with it */
		return;
	bytes = block(want);
	FUZZ_CHECK(qp_tcp_options_write(bytes, o) == want);
	FUZZ_CHECK(qp_tcp_options_parse(bytes, want, syn, &again) == 0);
	check_same(o, &again);
	free(bytes);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct qp_tcp_options o;
	unsigned len;
	uint8_t *copy;
	bool syn;

	if (size == 0)
		return 0;
	syn = data[0] & 1;
	len = size - 1 < QP_TCP_OPTIONS_MAX ? (unsigned)size - 1 : QP_TCP_OPTIONS_MAX;
	copy = block(len);
	memcpy(copy, data + 1, len);
	if (qp_tcp_options_parse(copy, len, syn, &o) == 0) {
		check_limits(&o, len, syn);
		round_trip(&o, syn);
	}
	free(copy);
	return 0;
}
