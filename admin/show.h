/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_ADMIN_SHOW_H
#define QP_ADMIN_SHOW_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Values for people: sizes, times, and text of others that must not reach the
 * terminal as it is. Pure, apart from qpa_show_init.
 */

/* Once, before the others: character widths, and whether standard output takes colours. */
void qpa_show_init(void);
/* Standard output is a terminal, and NO_COLOR is not set. */
bool qpa_show_has_colors(void);

/*
 * What is not plainly visible (control characters, bidirectional and combining
 * ones, bytes that are not UTF-8) becomes \xNN or \u{N}. Cut to fit; returns the
 * length in bytes without the NUL. cap ≥ 1.
 */
size_t qpa_printable(const char *text, char *out, size_t cap);
/* Columns that text made by qpa_printable takes. */
unsigned qpa_columns(const char *text);
/* Cuts it to `columns` at most, at a character's end. */
void qpa_cut(char *text, unsigned columns);

#define QPA_VALUE_BYTES 256u

/* How a field of a row is shown. */
enum qpa_kind {
	QPA_TEXT,
	QPA_COUNT,    /* a number as it is */
	QPA_BYTES,    /* 1.2M */
	QPA_BITS,     /* a limit in bits a second: 10M; 0: - */
	QPA_LIMIT,    /* a number; 0: - */
	QPA_RTT,      /* microseconds: 1.8ms */
	QPA_AGE,      /* milliseconds: 3m12s */
	QPA_SINCE,    /* RFC 3339: how long ago */
	QPA_UNTIL,    /* RFC 3339: how long from now */
	QPA_UNIX,     /* Unix time in seconds: RFC 3339 */
	QPA_PORTS,    /* [{"protocol","port"}]: 9000/tcp,53/udp */
	QPA_WORDS,    /* ["a","b"]: a,b */
	QPA_YES,      /* true: yes; false: - */
	QPA_ANY,      /* whatever JSON it is */
};

/*
 * `value` NULL, or of another type than `kind` says: "-". `raw`: numbers whole,
 * times as they came. `now_s`: Unix time.
 */
void qpa_show(enum qpa_kind kind, const json_t *value, bool raw, int64_t now_s,
	char out[QPA_VALUE_BYTES]);
/* True: numbers, which stand at the right of their column. */
bool qpa_kind_is_number(enum qpa_kind kind);

/* "1.2M"; "12" below 1,000. */
void qpa_show_size(double n, char out[16]);
/* "3m12s" */
void qpa_show_duration(int64_t seconds, char out[24]);
/* RFC 3339 in UTC to Unix time; false when it is none. */
bool qpa_time_parse(const char *text, int64_t *out);

#endif
