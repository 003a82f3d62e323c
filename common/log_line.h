/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_COMMON_LOG_LINE_H
#define QP_COMMON_LOG_LINE_H

#include "common/log.h"

/*
 * A line being made, for log.c and log_fields.c alone. What does not fit sets
 * `overflow` and is left out; the maker then goes back to its last mark.
 */
struct qp_log_line {
	size_t len;
	size_t limit; /* of `len` now; QP_LOG_TAIL_BYTES below the end until the tail */
	bool overflow;
	char text[QP_LOG_LINE_BYTES];
};

/* Room for the mark of a cut line, "}" and "\n". */
#define QP_LOG_TAIL_BYTES 32u
/* A text shows at most so many bytes of the line; beyond, it is cut and marked by "…". */
#define QP_LOG_VALUE_BYTES 1200u

void qp_log_put(struct qp_log_line *l, const char *text);
/* Escaped and cut, without quotes. */
void qp_log_put_printable(struct qp_log_line *l, struct qp_slice text);
/* Escaped (RFC 8259, 7), cut, in quotes; what is not UTF-8 becomes U+FFFD. */
void qp_log_put_json_string(struct qp_log_line *l, struct qp_slice text);
/* The value alone, text escaped and cut, without quotes. */
void qp_log_put_value(struct qp_log_line *l, const struct qp_log_field *f);
/* " name=value", ",\"name\":value" */
void qp_log_put_console_field(struct qp_log_line *l, const struct qp_log_field *f);
void qp_log_put_json_field(struct qp_log_line *l, const struct qp_log_field *f);

#endif
