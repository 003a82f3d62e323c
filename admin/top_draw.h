/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_ADMIN_TOP_DRAW_H
#define QP_ADMIN_TOP_DRAW_H

#include <stdio.h>

#include "admin/top_model.h"

/*
 * A frame of `quicport admin top` as lines of text. Pure.
 */
struct qpa_top_view {
	const char *api;
	unsigned columns, rows; /* of the terminal; rows 0: as many as there are */
	size_t first;           /* the row on top */
	enum qpa_top_key key;
	bool reverse, paused, help, colors;
	const char *trouble; /* NULL, or why nothing new comes */
};

/* Rows of tunnels that a frame has room for. */
size_t qpa_top_room(const struct qpa_top_view *v);
/* `eol` ends each line but the last. */
void qpa_top_draw(const struct qpa_top *t, const struct qpa_top_view *v, const char *eol, FILE *to);

#endif
