/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How `quicport admin top` looks. Pure.
 */
#include "admin/top_draw.h"

#include <string.h>

#define BOLD "\x1b[1m"
#define REVERSE "\x1b[7m"
#define RED "\x1b[31m"
#define PLAIN "\x1b[0m"

#define HEAD_LINES 6u /* above the rows: title, two of figures, data planes, drops, headings */
#define LINE_BYTES 512u
#define DROPS_SHOWN 3u

static void
line(FILE *to, const struct qpa_top_view *v, const char *style, char *text, const char *eol)
{
	qpa_cut(text, v->columns);
	if (v->colors && style[0] != '\0')
		fprintf(to, "%s%s" PLAIN "%s", style, text, eol);
	else
		fprintf(to, "%s%s", text, eol);
}

static double
number(const json_t *from, const char *key)
{
	double n = json_number_value(json_object_get(from, key));

	return n > 0 ? n : 0;
}

/* "801Mbit/s" */
static const char *
bits(double bytes_per_s, char out[24])
{
	char size[16];

	qpa_show_size(bytes_per_s * 8, size);
	snprintf(out, 24, "%sbit/s", size);
	return out;
}

static const char *
size(double n, char out[16])
{
	qpa_show_size(n, out);
	return out;
}

static void
draw_title(const struct qpa_top *t, const struct qpa_top_view *v, const char *eol, FILE *to)
{
	char text[LINE_BYTES], up[24] = "-";

	if (t->stats != NULL)
		qpa_show_duration(json_integer_value(json_object_get(t->stats, "uptime_s")), up);
	snprintf(text, sizeof(text), "quicport  %.200s  up %s%s", v->api, up, v->paused ? "  PAUSED" : "");
	line(to, v, BOLD, text, eol);
}

static void
draw_figures(const struct qpa_top *t, const struct qpa_top_view *v, const char *eol, FILE *to)
{
	const json_t *rates = json_object_get(t->stats, "rates");
	const json_t *totals = json_object_get(t->stats, "totals");
	char text[LINE_BYTES], a[24], b[24], c[16], d[16];

	snprintf(text, sizeof(text),
		"%.0f tunnels, %.0f conns (+%.0f/s), %.0f ports, %.0f refused, %.0f bad sign-ins",
		number(t->stats, "tunnels"), number(t->stats, "connections"),
		number(rates, "connections"), number(t->stats, "ports"),
		number(totals, "connections_refused"), number(totals, "auth_failed"));
	line(to, v, "", text, eol);
	snprintf(text, sizeof(text), "in  %-12s out  %-12s frames in %s/s, out %s/s",
		bits(number(rates, "bytes_sent"), a), bits(number(rates, "bytes_received"), b),
		size(number(rates, "packets_in"), c), size(number(rates, "packets_out"), d));
	line(to, v, "", text, eol);
}

static void
draw_planes(const struct qpa_top *t, const struct qpa_top_view *v, const char *eol, FILE *to)
{
	char text[LINE_BYTES] = "data planes";
	size_t used = strlen(text), i;
	const json_t *plane;

	json_array_foreach(json_object_get(t->stats, "data_planes"), i, plane) {
		char id[QPA_VALUE_BYTES], state[QPA_VALUE_BYTES];

		qpa_show(QPA_TEXT, json_object_get(plane, "dp_id"), false, 0, id);
		qpa_show(QPA_TEXT, json_object_get(plane, "state"), false, 0, state);
		id[sizeof(id) / 8] = '\0';
		state[sizeof(state) / 8] = '\0';
		if (used + 100 > sizeof(text))
			break;
		used += (size_t)snprintf(text + used, sizeof(text) - used, "  %s %s %.0f", id, state,
			number(plane, "active_tunnels"));
	}
	line(to, v, "", text, eol);
}

struct drop {
	const char *reason;
	double n; /* since the event before */
};

/* The reasons that drop most now, the largest first. */
static unsigned
worst(const struct qpa_top *t, struct drop out[DROPS_SHOWN])
{
	json_t *drops = json_object_get(t->stats, "drops"), *value;
	const char *reason;
	unsigned n = 0;

	json_object_foreach(drops, reason, value) {
		struct drop d = {reason, json_number_value(value) - number(t->drops_before, reason)};

		if (t->drops_before == NULL || d.n <= 0)
			continue;
		for (unsigned i = 0; i < n; i++) {
			if (out[i].n < d.n) {
				struct drop other = out[i];

				out[i] = d;
				d = other;
			}
		}
		if (n < DROPS_SHOWN)
			out[n++] = d;
	}
	return n;
}

static void
draw_drops(const struct qpa_top *t, const struct qpa_top_view *v, const char *eol, FILE *to)
{
	double seconds = number(t->stats, "interval_ms") / 1000;
	char text[LINE_BYTES] = "drops";
	size_t used = strlen(text);
	struct drop drops[DROPS_SHOWN];
	unsigned n = worst(t, drops);

	if (n == 0)
		used += (size_t)snprintf(text + used, sizeof(text) - used, "  none now");
	for (unsigned i = 0; i < n; i++) {
		char reason[64], rate[16];

		qpa_printable(drops[i].reason, reason, sizeof(reason));
		used += (size_t)snprintf(text + used, sizeof(text) - used, "  %s %s/s", reason,
			size(drops[i].n / (seconds > 0 ? seconds : 1), rate));
	}
	line(to, v, n > 0 ? RED : "", text, eol);
}

/* The table's columns; the terminal's width decides which there is room for. */
enum column { CLIENT, TUNNEL, PEER, CONNS, RTT, UP, IN_RATE, OUT_RATE, IN, OUT, PORTS, NCOLUMNS };

static const struct {
	const char *heading;
	unsigned width;
	unsigned needs; /* columns of the terminal */
	bool right;
	char key; /* that sorts by it; 0: none */
} columns[NCOLUMNS] = {
	[CLIENT] = {"CLIENT", 16, 0, false, QPA_TOP_NAME},
	[TUNNEL] = {"TUNNEL", 14, 96, false, 0},
	[PEER] = {"PEER", 22, 120, false, 0},
	[CONNS] = {"CONNS", 6, 0, true, QPA_TOP_CONNECTIONS},
	[RTT] = {"RTT", 7, 0, true, QPA_TOP_RTT},
	[UP] = {"UP", 7, 60, true, QPA_TOP_UP},
	[IN_RATE] = {"IN b/s", 7, 0, true, QPA_TOP_IN},
	[OUT_RATE] = {"OUT b/s", 7, 0, true, QPA_TOP_OUT},
	[IN] = {"IN", 5, 66, true, 0},
	[OUT] = {"OUT", 5, 72, true, 0},
	[PORTS] = {"PORTS", 64, 76, false, 0}, /* the last: what the line has left */
};

static void
value(const struct qpa_top_row *r, enum column c, char out[QPA_VALUE_BYTES])
{
	char figure[24] = "-";

	if (c == RTT && r->rtt_us >= 0)
		snprintf(figure, sizeof(figure), "%.1fms", (double)r->rtt_us / 1000);
	else if (c == UP && r->up_s >= 0)
		qpa_show_duration(r->up_s, figure);
	else if (c == CONNS)
		snprintf(figure, sizeof(figure), "%lld", (long long)r->connections);
	else if (c == IN_RATE || c == OUT_RATE)
		qpa_show_size((c == IN_RATE ? r->in_per_s : r->out_per_s) * 8, figure);
	else if (c == IN || c == OUT)
		qpa_show_size((double)(c == IN ? r->in : r->out), figure);
	snprintf(out, QPA_VALUE_BYTES, "%s",
		c == CLIENT ? r->client : c == TUNNEL ? r->id : c == PEER ? r->peer :
		c == PORTS ? r->ports : figure);
}

/* Text to exactly `width` columns and a blank: cut, or with blanks on one side. Returns its bytes. */
static size_t
cell(char *out, size_t cap, const char *text, unsigned width, bool right)
{
	char cut[QPA_VALUE_BYTES];
	int blanks;

	snprintf(cut, sizeof(cut), "%s", text);
	qpa_cut(cut, width);
	blanks = (int)(width - qpa_columns(cut));
	snprintf(out, cap, "%*s%s%*s ", right ? blanks : 0, "", cut, right ? 0 : blanks, "");
	return strlen(out);
}

/* `r` NULL: the headings, the one that sorts with a mark. */
static void
draw_row(const struct qpa_top_row *r, const struct qpa_top_view *v, const char *eol, FILE *to)
{
	char text[2 * LINE_BYTES];
	size_t used = 0;

	for (enum column c = 0; c < NCOLUMNS; c++) {
		char shown[QPA_VALUE_BYTES];

		if (v->columns < columns[c].needs)
			continue;
		if (r != NULL)
			value(r, c, shown);
		else
			snprintf(shown, sizeof(shown), "%s%s",
				columns[c].key == (char)v->key ? (v->reverse ? "^" : "*") : "",
				columns[c].heading);
		used += cell(text + used, sizeof(text) - used, shown, columns[c].width, columns[c].right);
	}
	while (used > 0 && text[used - 1] == ' ') /* no blanks at the end */
		text[--used] = '\0';
	line(to, v, r == NULL ? BOLD : "", text, eol);
}

static void
draw_help(const struct qpa_top_view *v, const char *eol, FILE *to)
{
	static const char *const lines[] = {
		"", "i o    sort by what comes in, goes out, in bits a second", "c      by connections",
		"n      by client", "r      by round-trip time", "u      by how long they are up",
		"R      the other way round", "arrows, page up, page down, home, end: move",
		"space  pause", "?      this, or back", "q      quit",
	};
	size_t n = sizeof(lines) / sizeof(lines[0]), room = qpa_top_room(v);

	for (size_t i = 0; i < room; i++) {
		char text[LINE_BYTES];

		snprintf(text, sizeof(text), "%s", i < n ? lines[i] : "");
		line(to, v, "", text, eol);
	}
}

static void
draw_rows(const struct qpa_top *t, const struct qpa_top_view *v, const char *eol, FILE *to)
{
	size_t room = v->rows != 0 ? qpa_top_room(v) : t->n > 0 ? t->n : 1;

	for (size_t i = 0; i < room; i++) {
		char none[LINE_BYTES];

		if (v->first + i < t->n) {
			draw_row(&t->row[v->first + i], v, eol, to);
			continue;
		}
		snprintf(none, sizeof(none), "%s", i == 0 && t->looks > 0 ? "no tunnel" : "");
		line(to, v, "", none, eol);
	}
}

static void
draw_foot(const struct qpa_top *t, const struct qpa_top_view *v, FILE *to)
{
	char text[LINE_BYTES];

	if (v->trouble != NULL) {
		snprintf(text, sizeof(text), "%.400s; trying again", v->trouble);
		line(to, v, RED, text, "");
		return;
	}
	snprintf(text, sizeof(text), "%zu-%zu of %zu%s  q quit, i/o/c/n/r/u sort, R reverse, space pause, ? help",
		t->n > 0 ? v->first + 1 : 0,
		v->first + qpa_top_room(v) < t->n ? v->first + qpa_top_room(v) : t->n, t->n,
		t->cut ? " shown" : "");
	line(to, v, REVERSE, text, "");
}

size_t
qpa_top_room(const struct qpa_top_view *v)
{
	/* The headings are the last of the head's lines, the foot is one more. */
	return v->rows > HEAD_LINES + 1 ? v->rows - HEAD_LINES - 1 : 1;
}

void
qpa_top_draw(const struct qpa_top *t, const struct qpa_top_view *v, const char *eol, FILE *to)
{
	draw_title(t, v, eol, to);
	/* A terminal of a few lines: rows before figures. */
	if (v->rows == 0 || v->rows > HEAD_LINES + 1) {
		draw_figures(t, v, eol, to);
		draw_planes(t, v, eol, to);
		draw_drops(t, v, eol, to);
		draw_row(NULL, v, eol, to);
	}
	if (v->help)
		draw_help(v, eol, to);
	else
		draw_rows(t, v, eol, to);
	if (v->rows != 0)
		draw_foot(t, v, to);
}
