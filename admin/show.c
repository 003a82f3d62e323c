/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Values for people, and the care that text of others needs on a terminal.
 */
#include "admin/show.h"

#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <wchar.h>

#include "common/text.h"

static bool colors;

void
qpa_show_init(void)
{
	const char *none = getenv("NO_COLOR"), *term = getenv("TERM");

	/* Only for wcwidth: the language of messages and numbers stays as it is. */
	(void)setlocale(LC_CTYPE, "C.UTF-8");
	colors = isatty(STDOUT_FILENO) == 1 && (none == NULL || none[0] == '\0') &&
		 (term == NULL || strcmp(term, "dumb") != 0);
}

bool
qpa_show_has_colors(void)
{
	return colors;
}

static uint32_t
code_point(const char *text, size_t len)
{
	static const uint8_t first_bits[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
	uint32_t c = (uint8_t)text[0] & first_bits[len];

	for (size_t i = 1; i < len; i++)
		c = c << 6 | ((uint8_t)text[i] & 0x3f);
	return c;
}

/* One character as it may be shown. Returns its length in `text`. */
static size_t
show_char(const char *text, size_t left, char out[16])
{
	size_t len = qp_utf8_char(text, left);
	uint32_t c;

	if (len == 0) {
		snprintf(out, 16, "\\x%02x", (unsigned)(uint8_t)text[0]);
		return 1;
	}
	c = code_point(text, len);
	if (c == '\\')
		snprintf(out, 16, "\\\\");
	else if (wcwidth((wchar_t)c) > 0)
		snprintf(out, 16, "%.*s", (int)len, text);
	else if (c < 0x80)
		snprintf(out, 16, "\\x%02x", (unsigned)c);
	else
		snprintf(out, 16, "\\u{%x}", (unsigned)c);
	return len;
}

size_t
qpa_printable(const char *text, char *out, size_t cap)
{
	size_t left = strlen(text), used = 0;

	while (left > 0) {
		char shown[16];
		size_t taken = show_char(text, left, shown), len = strlen(shown);

		if (used + len + 1 > cap)
			break;
		memcpy(out + used, shown, len);
		used += len;
		text += taken;
		left -= taken;
	}
	out[used] = '\0';
	return used;
}

/* Length and width of the character at the front of clean text. */
static size_t
measure(const char *text, unsigned *columns)
{
	size_t len = qp_utf8_char(text, strlen(text));
	int width = len > 0 ? wcwidth((wchar_t)code_point(text, len)) : 1;

	*columns = width > 0 ? (unsigned)width : 0;
	return len > 0 ? len : 1;
}

unsigned
qpa_columns(const char *text)
{
	unsigned sum = 0, one;

	while (*text != '\0') {
		text += measure(text, &one);
		sum += one;
	}
	return sum;
}

void
qpa_cut(char *text, unsigned columns)
{
	unsigned sum = 0, one;

	while (*text != '\0') {
		size_t len = measure(text, &one);

		if (sum + one > columns) {
			*text = '\0';
			return;
		}
		sum += one;
		text += len;
	}
}

void
qpa_show_size(double n, char out[16])
{
	static const char units[] = " kMGTPE";
	unsigned u = 0;

	while (n >= 999.5 && u < 6) {
		n /= 1000;
		u++;
	}
	if (u == 0)
		snprintf(out, 16, "%.0f", n);
	else
		snprintf(out, 16, n < 9.95 ? "%.1f%c" : "%.0f%c", n, units[u]);
}

void
qpa_show_duration(int64_t s, char out[24])
{
	const char *sign = s < 0 ? "-" : "";
	unsigned long long n = s < 0 ? 0 - (unsigned long long)s : (unsigned long long)s;

	if (n < 60)
		snprintf(out, 24, "%s%llus", sign, n);
	else if (n < 3600)
		snprintf(out, 24, "%s%llum%02llus", sign, n / 60, n % 60);
	else if (n < 86400)
		snprintf(out, 24, "%s%lluh%02llum", sign, n / 3600, n / 60 % 60);
	else
		snprintf(out, 24, "%s%llud%02lluh", sign, n / 86400, n / 3600 % 24);
}

bool
qpa_time_parse(const char *text, int64_t *out)
{
	struct tm tm = {0};
	const char *rest = text != NULL ? strptime(text, "%Y-%m-%dT%H:%M:%S", &tm) : NULL;

	if (rest != NULL && *rest == '.')
		rest += 1 + strspn(rest + 1, "0123456789");
	if (rest == NULL || strcmp(rest, "Z") != 0)
		return false;
	*out = timegm(&tm);
	return true;
}

bool
qpa_kind_is_number(enum qpa_kind kind)
{
	return kind == QPA_COUNT || kind == QPA_BYTES || kind == QPA_BITS || kind == QPA_LIMIT ||
	       kind == QPA_RTT || kind == QPA_AGE;
}

static void
show_number(enum qpa_kind kind, json_int_t n, bool raw, char out[QPA_VALUE_BYTES])
{
	if ((kind == QPA_BITS || kind == QPA_LIMIT) && n == 0)
		snprintf(out, QPA_VALUE_BYTES, "-");
	else if (raw || kind == QPA_COUNT || kind == QPA_LIMIT)
		snprintf(out, QPA_VALUE_BYTES, "%lld", (long long)n);
	else if (kind == QPA_RTT)
		snprintf(out, QPA_VALUE_BYTES, n < 99950 ? "%.1fms" : "%.0fms", (double)n / 1000);
	else if (kind == QPA_AGE)
		qpa_show_duration(n / 1000, out);
	else
		qpa_show_size((double)n, out);
}

static void
show_time(enum qpa_kind kind, const char *text, bool raw, int64_t now, char out[QPA_VALUE_BYTES])
{
	int64_t then;

	if (raw || !qpa_time_parse(text, &then))
		qpa_printable(text, out, QPA_VALUE_BYTES);
	else
		qpa_show_duration(kind == QPA_SINCE ? now - then : then - now, out);
}

static void
show_unix(json_int_t n, bool raw, char out[QPA_VALUE_BYTES])
{
	time_t t = (time_t)n;
	struct tm tm;

	if (raw || gmtime_r(&t, &tm) == NULL || strftime(out, QPA_VALUE_BYTES, "%FT%TZ", &tm) == 0)
		snprintf(out, QPA_VALUE_BYTES, "%lld", (long long)n);
}

/* "9000/tcp" of {"protocol": "tcp", "port": 9000}, or the text itself. */
static void
show_item(const json_t *item, char *out, size_t cap)
{
	const char *protocol = json_string_value(json_object_get(item, "protocol"));
	const json_t *port = json_object_get(item, "port");
	char text[64], *other;

	if (json_is_string(item)) {
		qpa_printable(json_string_value(item), out, cap);
		return;
	}
	if (!json_is_integer(port)) {
		other = json_dumps(item, JSON_COMPACT | JSON_ENCODE_ANY);
		qpa_printable(other != NULL ? other : "?", out, cap);
		free(other);
		return;
	}
	snprintf(text, sizeof(text), "%lld%s%.20s", (long long)json_integer_value(port),
		protocol != NULL ? "/" : "", protocol != NULL ? protocol : "");
	qpa_printable(text, out, cap);
}

static void
show_list(const json_t *list, char out[QPA_VALUE_BYTES])
{
	size_t used = 0, i;
	const json_t *item;

	out[0] = '\0';
	json_array_foreach(list, i, item) {
		char text[80];
		size_t len;

		show_item(item, text, sizeof(text));
		len = strlen(text);
		/* Room for "," and for what says that there are more. */
		if (used + len + 12 > QPA_VALUE_BYTES) {
			snprintf(out + used, QPA_VALUE_BYTES - used, ",+%zu", json_array_size(list) - i);
			return;
		}
		used += (size_t)snprintf(out + used, QPA_VALUE_BYTES - used, "%s%s", i > 0 ? "," : "", text);
	}
	if (used == 0)
		snprintf(out, QPA_VALUE_BYTES, "-");
}

static void
show_any(const json_t *value, char out[QPA_VALUE_BYTES])
{
	char *text;

	if (json_is_string(value)) {
		qpa_printable(json_string_value(value), out, QPA_VALUE_BYTES);
		return;
	}
	if (json_is_array(value)) {
		show_list(value, out);
		return;
	}
	text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
	if (text != NULL)
		qpa_printable(text, out, QPA_VALUE_BYTES);
	free(text);
}

void
qpa_show(enum qpa_kind kind, const json_t *value, bool raw, int64_t now,
	char out[QPA_VALUE_BYTES])
{
	snprintf(out, QPA_VALUE_BYTES, "-");
	if (value == NULL || json_is_null(value))
		return;
	if (kind == QPA_ANY)
		show_any(value, out);
	else if (kind == QPA_PORTS || kind == QPA_WORDS) {
		if (json_is_array(value))
			show_list(value, out);
	} else if (kind == QPA_YES) {
		if (json_is_true(value))
			snprintf(out, QPA_VALUE_BYTES, "yes");
	} else if (json_is_integer(value)) {
		if (kind == QPA_UNIX)
			show_unix(json_integer_value(value), raw, out);
		else if (qpa_kind_is_number(kind))
			show_number(kind, json_integer_value(value), raw, out);
	} else if (json_is_string(value)) {
		if (kind == QPA_SINCE || kind == QPA_UNTIL)
			show_time(kind, json_string_value(value), raw, now, out);
		else if (kind == QPA_TEXT)
			qpa_printable(json_string_value(value), out, QPA_VALUE_BYTES);
	}
	if (out[0] == '\0')
		snprintf(out, QPA_VALUE_BYTES, "-");
}
