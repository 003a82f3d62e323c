/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_ADMIN_TABLE_H
#define QP_ADMIN_TABLE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

#include "admin/show.h"

/*
 * Aligned columns out of JSON rows, a page at a time: a column that a later page
 * needs wider grows from there on. Main thread.
 */
struct qpa_column {
	const char *heading;
	const char *key;
	enum qpa_kind kind;
};

#define QPA_COLUMNS_MAX 16u

struct qpa_table {
	const struct qpa_column *column; /* heading NULL at the end */
	bool raw;
	int64_t now_s;
	bool begun; /* the headings are written */
	unsigned width[QPA_COLUMNS_MAX];
};

/* Writes rows (an array of objects; anything else in it is a row of "-") to `to`. */
void qpa_table_write(struct qpa_table *t, const json_t *rows, FILE *to);
/* One object, a field a line. */
void qpa_table_write_one(const struct qpa_table *t, const json_t *row, FILE *to);

#endif
