/* SPDX-License-Identifier: Apache-2.0 */
/* What `top` shows of two looks at a gateway. */
#include "admin/top_draw.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdlib.h>
#include <string.h>

static void
look(struct qpa_top *t, int64_t ms, const char *json)
{
	json_t *rows = json_loads(json, 0, NULL);

	cr_assert(not(eq(ptr, rows, NULL)));
	cr_assert(qpa_top_begin(t, ms));
	qpa_top_page(t, rows);
	cr_assert(qpa_top_finish(t, 1795654923));
	json_decref(rows);
}

#define ROW(id, in, out) "{\"tunnel_id\":\"" id "\",\"client\":\"c" id "\",\"bytes_sent\":" #in ",\"bytes_received\":" #out "}"

Test(top, rates_are_the_growth_between_two_looks)
{
	struct qpa_top t = {0};

	qpa_show_init();
	look(&t, 1000, "[" ROW("a", 100, 100) "," ROW("b", 100, 100) "]");
	cr_assert(eq(dbl, t.row[0].in_per_s, 0));
	look(&t, 3000, "[" ROW("a", 300, 50) "," ROW("b", 1100, 100) "," ROW("new", 5000, 0) "]");
	qpa_top_sort(&t, QPA_TOP_IN, false);
	cr_assert(eq(sz, t.n, 3));
	cr_assert(eq(str, t.row[0].id, "b"));
	cr_assert(eq(dbl, t.row[0].in_per_s, 500));
	cr_assert(eq(str, t.row[1].id, "a"));
	cr_assert(eq(dbl, t.row[1].in_per_s, 100));
	cr_assert(eq(dbl, t.row[1].out_per_s, 0)); /* a counter that went back */
	cr_assert(eq(dbl, t.row[2].in_per_s, 0));  /* was not there before */
	qpa_top_free(&t);
}

Test(top, equal_rows_keep_their_order_both_ways)
{
	struct qpa_top t = {0};

	look(&t, 1000, "[" ROW("c", 1, 0) "," ROW("a", 1, 0) "," ROW("b", 1, 0) "]");
	for (int reverse = 0; reverse < 2; reverse++) {
		qpa_top_sort(&t, QPA_TOP_IN, reverse);
		cr_assert(eq(str, t.row[0].id, "a"));
		cr_assert(eq(str, t.row[2].id, "c"));
	}
	qpa_top_sort(&t, QPA_TOP_NAME, true);
	cr_assert(eq(str, t.row[0].id, "c"));
	qpa_top_free(&t);
}

Test(top, more_tunnels_than_it_shows_are_told)
{
	struct qpa_top t = {0};
	json_t *rows = json_array();

	for (unsigned i = 0; i < QPA_TOP_ROWS_MAX + 1; i++) {
		char id[16];

		snprintf(id, sizeof(id), "%u", i);
		json_array_append_new(rows, json_pack("{s:s}", "tunnel_id", id));
	}
	cr_assert(qpa_top_begin(&t, 1));
	qpa_top_page(&t, rows);
	cr_assert(t.cut);
	cr_assert(qpa_top_finish(&t, 1));
	cr_assert(eq(sz, t.n, QPA_TOP_ROWS_MAX));
	json_decref(rows);
	qpa_top_free(&t);
}

static char *
frame(const struct qpa_top *t, unsigned columns, unsigned rows)
{
	const struct qpa_top_view v = {.api = "http://127.0.0.1:39000", .columns = columns, .rows = rows,
		.key = QPA_TOP_IN};
	char *text = NULL;
	size_t len;
	FILE *to = open_memstream(&text, &len);

	qpa_top_draw(t, &v, "\n", to);
	fclose(to);
	return text;
}

Test(top, frame_fits_every_terminal)
{
	struct qpa_top t = {0};
	json_t *stats = json_loads("{\"uptime_s\":1e300,\"tunnels\":-1,\"rates\":{\"bytes_sent\":1e308},\"totals\":[],"
				   "\"drops\":{\"a\":1e308,\"b\":2,\"c\":3,\"d\":4},\"data_planes\":[1,{\"dp_id\":\"0x1\"}]}",
		0, NULL);

	qpa_show_init();
	look(&t, 1, "[" ROW("a", 9223372036854775807, 0) ",{\"tunnel_id\":\"b\",\"client\":\"\xe6\xbc\xa2\xe6\xbc\xa2\"}]");
	qpa_top_stats(&t, stats);
	qpa_top_stats(&t, stats);
	for (unsigned columns = 20; columns < 200; columns += 7) {
		for (unsigned rows = 5; rows < 40; rows += 5) {
			char *text = frame(&t, columns, rows), *save = NULL;
			unsigned lines = 1;

			for (const char *c = text; *c != '\0'; c++)
				lines += *c == '\n';
			cr_assert(le(uint, lines, rows), "%u x %u", columns, rows);
			for (char *line = strtok_r(text, "\n", &save); line != NULL; line = strtok_r(NULL, "\n", &save))
				cr_assert(le(uint, qpa_columns(line), columns), "%s", line);
			free(text);
		}
	}
	json_decref(stats);
	qpa_top_free(&t);
}
