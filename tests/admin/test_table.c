/* SPDX-License-Identifier: Apache-2.0 */
/* Tables for people. */
#include "admin/table.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdlib.h>

static const struct qpa_column columns[] = {
	{"NAME", "name", QPA_TEXT}, {"IN", "in", QPA_BYTES}, {"LAST", "last", QPA_TEXT}, {0}};

static void
write_rows(struct qpa_table *t, const char *json, FILE *to)
{
	json_t *rows = json_loads(json, 0, NULL);

	qpa_table_write(t, rows, to);
	json_decref(rows);
}

Test(table, columns_are_aligned_and_a_later_page_may_widen_them)
{
	struct qpa_table t = {.column = columns};
	char *text = NULL;
	size_t len;
	FILE *to = open_memstream(&text, &len);

	qpa_show_init();
	write_rows(&t, "[]", to);
	write_rows(&t, "[{\"name\":\"a\",\"in\":5,\"last\":\"x\"},{\"name\":\"b\xc3\xa4\",\"in\":123456}]", to);
	write_rows(&t, "[{\"name\":\"longer\",\"in\":1},7]", to);
	fclose(to);
	cr_assert(eq(str, text,
		"NAME    IN  LAST\n"
		"a        5  x\n"
		"b\xc3\xa4    123k  -\n"
		"longer     1  -\n"
		"-          -  -\n"));
	free(text);
}

Test(table, one_object_is_a_field_a_line)
{
	const struct qpa_table t = {.column = columns, .raw = true};
	json_t *row = json_pack("{s:s, s:i}", "name", "a\n", "in", 123456);
	char *text = NULL;
	size_t len;
	FILE *to = open_memstream(&text, &len);

	qpa_show_init();
	qpa_table_write_one(&t, row, to);
	fclose(to);
	cr_assert(eq(str, text, "NAME  a\\x0a\nIN    123456\nLAST  -\n"));
	json_decref(row);
	free(text);
}
