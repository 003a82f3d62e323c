/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The figures behind `quicport admin top`. Main thread.
 */
#include "admin/top_model.h"

#include <stdlib.h>
#include <string.h>

void
qpa_top_free(struct qpa_top *t)
{
	free(t->row);
	json_decref(t->stats);
	json_decref(t->drops_before);
	json_decref(t->now);
	json_decref(t->before);
	memset(t, 0, sizeof(*t));
}

bool
qpa_top_begin(struct qpa_top *t, int64_t ms)
{
	json_decref(t->now);
	t->now = json_object();
	t->now_ms = ms;
	t->cut = false;
	return t->now != NULL;
}

void
qpa_top_page(struct qpa_top *t, const json_t *rows)
{
	json_t *row;
	size_t i;

	json_array_foreach(rows, i, row) {
		const char *id = json_string_value(json_object_get(row, "tunnel_id"));

		t->cut = json_object_size(t->now) >= QPA_TOP_ROWS_MAX;
		if (t->cut)
			return;
		if (id != NULL)
			json_object_set(t->now, id, row);
	}
}

static int64_t
number(const json_t *row, const char *key, int64_t none)
{
	const json_t *value = json_object_get(row, key);

	return json_is_integer(value) && json_integer_value(value) >= 0 ? json_integer_value(value) : none;
}

/* A counter's growth a second; 0 for a tunnel that was not there, and for one that went back. */
static double
rate(const json_t *row, const json_t *before, const char *key, double seconds)
{
	int64_t then = number(before, key, -1), now = number(row, key, 0);

	return then < 0 || now < then || seconds <= 0 ? 0 : (double)(now - then) / seconds;
}

static void
text(const json_t *row, const char *key, enum qpa_kind kind, char *out, size_t cap)
{
	char whole[QPA_VALUE_BYTES];
	size_t len;

	qpa_show(kind, json_object_get(row, key), false, 0, whole);
	len = strlen(whole);
	if (len >= cap) { /* at a character's end */
		len = cap - 1;
		while (len > 0 && ((unsigned char)whole[len] & 0xc0) == 0x80)
			len--;
	}
	memcpy(out, whole, len);
	out[len] = '\0';
}

static void
fill(struct qpa_top_row *r, const json_t *row, const json_t *before, double seconds, int64_t unix_s)
{
	const char *since = json_string_value(json_object_get(row, "since"));
	int64_t then;

	text(row, "tunnel_id", QPA_TEXT, r->id, sizeof(r->id));
	text(row, "client", QPA_TEXT, r->client, sizeof(r->client));
	text(row, "peer", QPA_TEXT, r->peer, sizeof(r->peer));
	text(row, "ports", QPA_PORTS, r->ports, sizeof(r->ports));
	r->in = number(row, "bytes_sent", 0);
	r->out = number(row, "bytes_received", 0);
	r->in_per_s = rate(row, before, "bytes_sent", seconds);
	r->out_per_s = rate(row, before, "bytes_received", seconds);
	r->connections = number(row, "connections", 0);
	r->rtt_us = number(row, "rtt_us", -1);
	r->up_s = qpa_time_parse(since, &then) && unix_s >= then ? unix_s - then : -1;
}

static bool
make_room(struct qpa_top *t, size_t n)
{
	struct qpa_top_row *more;

	if (n <= t->cap)
		return true;
	more = realloc(t->row, n * sizeof(*more));
	if (more == NULL)
		return false;
	t->row = more;
	t->cap = n;
	return true;
}

bool
qpa_top_finish(struct qpa_top *t, int64_t unix_s)
{
	double seconds = t->before != NULL ? (double)(t->now_ms - t->before_ms) / 1000 : 0;
	const char *id;
	json_t *row;

	if (!make_room(t, json_object_size(t->now)))
		return false;
	t->n = 0;
	json_object_foreach(t->now, id, row)
		fill(&t->row[t->n++], row, json_object_get(t->before, id), seconds, unix_s);
	json_decref(t->before);
	t->before = t->now;
	t->before_ms = t->now_ms;
	t->now = NULL;
	t->looks++;
	return true;
}

void
qpa_top_stats(struct qpa_top *t, json_t *stats)
{
	json_decref(t->drops_before);
	t->drops_before = json_incref(json_object_get(t->stats, "drops"));
	json_decref(t->stats);
	t->stats = json_incref(stats);
}

/* qsort_r's third argument. */
struct order {
	enum qpa_top_key key;
	bool reverse;
};

static int
by_number(double a, double b)
{
	return a < b ? 1 : a > b ? -1 : 0;
}

static int
compare(const void *left, const void *right, void *ctx)
{
	const struct qpa_top_row *a = left, *b = right;
	const struct order *o = ctx;
	int how = 0;

	switch (o->key) {
	case QPA_TOP_IN:
		how = by_number(a->in_per_s, b->in_per_s);
		how = how != 0 ? how : by_number((double)a->in, (double)b->in);
		break;
	case QPA_TOP_OUT:
		how = by_number(a->out_per_s, b->out_per_s);
		how = how != 0 ? how : by_number((double)a->out, (double)b->out);
		break;
	case QPA_TOP_CONNECTIONS:
		how = by_number((double)a->connections, (double)b->connections);
		break;
	case QPA_TOP_RTT:
		how = by_number((double)a->rtt_us, (double)b->rtt_us);
		break;
	case QPA_TOP_UP:
		how = by_number((double)a->up_s, (double)b->up_s);
		break;
	case QPA_TOP_NAME:
		how = strcmp(a->client, b->client);
		break;
	}
	if (how == 0) /* always the same order of equals, or rows would jump */
		return strcmp(a->id, b->id);
	return o->reverse ? -how : how;
}

void
qpa_top_sort(struct qpa_top *t, enum qpa_top_key key, bool reverse)
{
	struct order o = {key, reverse};

	if (t->n > 1)
		qsort_r(t->row, t->n, sizeof(*t->row), compare, &o);
}
