/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a server that is none of ours may answer `quicport admin`: whatever it is,
 * nothing but printable text and line ends comes out, in lines that fit.
 */
#include "tests/fuzz/fuzz.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/sse.h"
#include "admin/table.h"
#include "admin/top_draw.h"

static const struct qpa_column columns[] = {
	{"A", "tunnel_id", QPA_TEXT}, {"B", "client", QPA_ANY}, {"C", "ports", QPA_PORTS},
	{"D", "since", QPA_SINCE}, {"E", "bytes_sent", QPA_BYTES}, {"F", "rtt_us", QPA_RTT},
	{"G", "age_ms", QPA_AGE}, {"H", "started_at", QPA_UNIX}, {"I", "limit", QPA_BITS}, {0},
};

static void
check_harmless(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		FUZZ_CHECK(text[i] == '\n' || ((unsigned char)text[i] >= 0x20 && text[i] != 0x7f));
}

static void
fuzz_table(const json_t *rows)
{
	struct qpa_table t = {.column = columns, .now_s = 1795654923};
	char *text = NULL;
	size_t len = 0;
	FILE *to = open_memstream(&text, &len);

	FUZZ_CHECK(to != NULL);
	qpa_table_write(&t, rows, to);
	t.raw = true;
	qpa_table_write_one(&t, json_array_get(rows, 0), to);
	fclose(to);
	check_harmless(text, len);
	free(text);
}

static void
fuzz_top(json_t *answer, const json_t *rows)
{
	const struct qpa_top_view v = {.api = "unix:x", .columns = 80, .rows = 24, .key = QPA_TOP_OUT};
	struct qpa_top t = {0};
	char *text = NULL;
	size_t len = 0;
	FILE *to = open_memstream(&text, &len);

	FUZZ_CHECK(to != NULL);
	for (int i = 1; i <= 2; i++) {
		FUZZ_CHECK(qpa_top_begin(&t, i * 1000));
		qpa_top_page(&t, rows);
		FUZZ_CHECK(qpa_top_finish(&t, 1795654923));
		if (json_is_object(answer))
			qpa_top_stats(&t, answer);
	}
	qpa_top_sort(&t, v.key, true);
	qpa_top_draw(&t, &v, "\n", to);
	fclose(to);
	check_harmless(text, len);
	for (const char *line = text; line != NULL; line = strchr(line, '\n')) {
		char one[1024];

		line += *line == '\n';
		snprintf(one, sizeof(one), "%.*s", (int)strcspn(line, "\n"), line);
		FUZZ_CHECK(qpa_columns(one) <= 80);
	}
	free(text);
	qpa_top_free(&t);
}

/* Events as they come, for a comparison. */
struct heard {
	char text[4096];
	size_t len;
};

static bool
hear(void *ctx, const char *type, const char *data)
{
	struct heard *h = ctx;
	int n = snprintf(h->text + h->len, sizeof(h->text) - h->len, "%s=%s;", type, data);

	h->len += (size_t)n < sizeof(h->text) - h->len ? (size_t)n : sizeof(h->text) - h->len - 1;
	return true;
}

/* Pieces of any size make the same events. */
static void
fuzz_stream(const char *text, size_t size)
{
	static struct heard whole, pieces;
	struct qpa_sse a = {.event = hear, .ctx = &whole}, b = {.event = hear, .ctx = &pieces};

	whole = pieces = (struct heard) {0};
	FUZZ_CHECK(qpa_sse_take(&a, text, size));
	for (size_t at = 0, n; at < size; at += n) {
		n = 1 + (unsigned char)text[at] % 7;
		n = n < size - at ? n : size - at;
		FUZZ_CHECK(qpa_sse_take(&b, text + at, n));
	}
	FUZZ_CHECK(whole.len == pieces.len && memcmp(whole.text, pieces.text, whole.len) == 0);
	qpa_sse_free(&a);
	qpa_sse_free(&b);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static bool begun;
	json_t *answer, *rows;

	if (!begun)
		qpa_show_init();
	begun = true;
	if (size > 65536)
		return 0;
	fuzz_stream((const char *)data, size);
	answer = json_loadb((const char *)data, size, JSON_REJECT_DUPLICATES, NULL);
	rows = json_object_get(answer, "tunnels");
	if (json_is_array(rows)) {
		fuzz_table(rows);
		fuzz_top(answer, rows);
	}
	json_decref(answer);
	return 0;
}
