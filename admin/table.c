/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tables for people. Main thread.
 */
#include "admin/table.h"

#include <string.h>

#define BOLD "\x1b[1m"
#define GREEN "\x1b[32m"
#define YELLOW "\x1b[33m"
#define RED "\x1b[31m"
#define PLAIN "\x1b[0m"

/* States that a person looks for; NULL for any other text. */
static const char *
color_of(const char *text)
{
	static const struct {
		const char *text, *color;
	} known[] = {
		{"ACTIVE", GREEN}, {"open", GREEN}, {"STARTING", YELLOW}, {"DRAINING", YELLOW},
		{"leased", YELLOW}, {"TERMINATED", RED},
	};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (strcmp(text, known[i].text) == 0)
			return known[i].color;
	}
	return NULL;
}

/* The value of a column in a row, ready to print. */
static void
cell(const struct qpa_table *t, const struct qpa_column *c, const json_t *row,
	char out[QPA_VALUE_BYTES])
{
	qpa_show(c->kind, json_object_get(row, c->key), t->raw, t->now_s, out);
}

static void
pad(unsigned n, FILE *to)
{
	fprintf(to, "%*s", (int)n, "");
}

/* `last`: no blanks behind it. */
static void
write_cell(const char *text, unsigned width, bool right, bool last, const char *color, FILE *to)
{
	unsigned has = qpa_columns(text), blanks = width > has ? width - has : 0;

	if (right)
		pad(blanks, to);
	if (color != NULL)
		fprintf(to, "%s%s" PLAIN, color, text);
	else
		fputs(text, to);
	if (!right && !last)
		pad(blanks, to);
	fputs(last ? "\n" : "  ", to);
}

static void
measure(struct qpa_table *t, const json_t *rows)
{
	char text[QPA_VALUE_BYTES];
	const json_t *row;
	size_t i;

	for (unsigned c = 0; t->column[c].heading != NULL; c++) {
		unsigned width = (unsigned)strlen(t->column[c].heading);

		if (width > t->width[c])
			t->width[c] = width;
		json_array_foreach(rows, i, row) {
			cell(t, &t->column[c], row, text);
			width = qpa_columns(text);
			if (width > t->width[c])
				t->width[c] = width;
		}
	}
}

static void
write_headings(struct qpa_table *t, FILE *to)
{
	const struct qpa_column *c = t->column;

	for (unsigned i = 0; c[i].heading != NULL; i++)
		write_cell(c[i].heading, t->width[i], qpa_kind_is_number(c[i].kind),
			c[i + 1].heading == NULL, qpa_show_has_colors() ? BOLD : NULL, to);
	t->begun = true;
}

void
qpa_table_write(struct qpa_table *t, const json_t *rows, FILE *to)
{
	const struct qpa_column *c = t->column;
	char text[QPA_VALUE_BYTES];
	const json_t *row;
	size_t n;

	if (json_array_size(rows) == 0)
		return;
	measure(t, rows);
	if (!t->begun)
		write_headings(t, to);
	json_array_foreach(rows, n, row) {
		for (unsigned i = 0; c[i].heading != NULL; i++) {
			cell(t, &c[i], row, text);
			write_cell(text, t->width[i], qpa_kind_is_number(c[i].kind),
				c[i + 1].heading == NULL,
				qpa_show_has_colors() ? color_of(text) : NULL, to);
		}
	}
}

void
qpa_table_write_one(const struct qpa_table *t, const json_t *row, FILE *to)
{
	const struct qpa_column *c = t->column;
	char text[QPA_VALUE_BYTES];
	unsigned width = 0;

	for (unsigned i = 0; c[i].heading != NULL; i++) {
		if (strlen(c[i].heading) > width)
			width = (unsigned)strlen(c[i].heading);
	}
	for (unsigned i = 0; c[i].heading != NULL; i++) {
		cell(t, &c[i], row, text);
		write_cell(c[i].heading, width, false, false, qpa_show_has_colors() ? BOLD : NULL, to);
		write_cell(text, 0, false, true, qpa_show_has_colors() ? color_of(text) : NULL, to);
	}
}
