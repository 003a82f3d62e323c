/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_COMMON_KEYFILE_H
#define QP_COMMON_KEYFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "common/text.h"

/*
 * Lines of a key file, for keys.c and keyset.c alone: empty lines and #
 * comments are skipped, the rest is trimmed.
 */
struct qp_keyfile {
	struct qp_slice rest; /* not yet read; start with the whole file */
	unsigned line;        /* number of the line returned last, from 1 */
};

/* False at the end. `*line` borrows from the file's text. */
bool qp_keyfile_next(struct qp_keyfile *f, struct qp_slice *line);

/* Says what is wrong with a text that is no key, without showing it. Returns QP_E_INVAL. */
int qp_key_explain(struct qp_slice text, char *out, size_t cap);

#endif
