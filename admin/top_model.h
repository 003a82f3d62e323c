/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_ADMIN_TOP_MODEL_H
#define QP_ADMIN_TOP_MODEL_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "admin/show.h"

/*
 * What `quicport admin top` shows: the tunnels of one look at the gateway, with
 * rates since the look before. Text in it is safe to print. Main thread.
 */
struct qpa_top_row {
	char id[40];
	char client[72];
	char peer[56];
	char ports[64];
	double in_per_s, out_per_s; /* bytes */
	int64_t in, out;            /* bytes */
	int64_t connections;
	int64_t rtt_us; /* -1: not told */
	int64_t up_s;   /* -1: not told */
};

#define QPA_TOP_ROWS_MAX 5000u

struct qpa_top {
	struct qpa_top_row *row;
	size_t n, cap;
	bool cut;          /* there are more tunnels than QPA_TOP_ROWS_MAX */
	unsigned looks;    /* finished ones */
	json_t *stats;     /* the last event's data, or NULL */
	json_t *drops_before;
	/* The look that is being made, and the one before: id → row. */
	json_t *now, *before;
	int64_t now_ms, before_ms;
};

enum qpa_top_key {
	QPA_TOP_IN = 'i',
	QPA_TOP_OUT = 'o',
	QPA_TOP_CONNECTIONS = 'c',
	QPA_TOP_NAME = 'n',
	QPA_TOP_RTT = 'r',
	QPA_TOP_UP = 'u',
};

void qpa_top_free(struct qpa_top *t);
/* A look at `ms` (monotonic) begins; a page of it; all pages are there. False: out of memory. */
bool qpa_top_begin(struct qpa_top *t, int64_t ms);
void qpa_top_page(struct qpa_top *t, const json_t *rows);
bool qpa_top_finish(struct qpa_top *t, int64_t unix_s);
/* A stats event's data; takes a reference. */
void qpa_top_stats(struct qpa_top *t, json_t *stats);
/* Largest first, names in their order; `reverse`: the other way. */
void qpa_top_sort(struct qpa_top *t, enum qpa_top_key key, bool reverse);

#endif
