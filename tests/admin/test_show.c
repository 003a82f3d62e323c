/* SPDX-License-Identifier: Apache-2.0 */
/* Values for people. */
#include "admin/show.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <string.h>

static void
check_printable(const char *text, const char *shown)
{
	char out[256];
	size_t len = qpa_printable(text, out, sizeof(out));

	cr_assert(eq(str, out, (char *)shown), "of \"%s\"", text);
	cr_assert(eq(sz, len, strlen(shown)));
}

Test(show, text_of_others_has_nothing_left_that_steers_a_terminal)
{
	qpa_show_init();
	check_printable("alice", "alice");
	check_printable("\x1b[2J\r\n\t\x7f", "\\x1b[2J\\x0d\\x0a\\x09\\x7f");
	check_printable("\xc2\x9b", "\\u{9b}");             /* CSI in 8 bits */
	check_printable("\xe2\x80\xae", "\\u{202e}");       /* right to left */
	check_printable("e\xcc\x81", "e\\u{301}");          /* a combining accent */
	check_printable("\xc3\xa4\xe6\xbc\xa2", "\xc3\xa4\xe6\xbc\xa2");
	check_printable("a\xff\xc3", "a\\xff\\xc3");        /* not UTF-8 */
	check_printable("\\x1b", "\\\\x1b");                /* what looks like ours */
	check_printable("", "");
}

Test(show, printable_never_cuts_inside_a_character)
{
	char out[16];

	qpa_show_init();
	for (size_t cap = 1; cap <= sizeof(out); cap++) {
		size_t len = qpa_printable("\xe6\xbc\xa2\x01\xc3\xa4zzz", out, cap);

		cr_assert(lt(sz, len, cap));
		cr_assert(eq(sz, len, strlen(out)));
		cr_assert(len == 0 || len == 3 || len == 7 || len >= 9, "%zu", len);
	}
}

Test(show, width_counts_columns_and_cut_keeps_to_them)
{
	char text[32] = "a\xe6\xbc\xa2z"; /* 1, 2 and 1 columns */

	qpa_show_init();
	cr_assert(eq(uint, qpa_columns(text), 4));
	qpa_cut(text, 2); /* the wide one does not fit */
	cr_assert(eq(str, text, "a"));
}

static void
check_size(double n, const char *shown)
{
	char out[16];

	qpa_show_size(n, out);
	cr_assert(eq(str, out, (char *)shown), "%f", n);
}

Test(show, sizes_have_three_digits_at_most)
{
	check_size(0, "0");
	check_size(999, "999");
	check_size(999.6, "1.0k");
	check_size(1234, "1.2k");
	check_size(9949, "9.9k");
	check_size(9951, "10k");
	check_size(999499, "999k");
	check_size(999500, "1.0M");
	check_size(18446744073709551615.0, "18E");
}

Test(show, durations)
{
	static const struct {
		int64_t s;
		const char *text;
	} cases[] = {{0, "0s"}, {59, "59s"}, {60, "1m00s"}, {3599, "59m59s"}, {3600, "1h00m"},
		{86399, "23h59m"}, {86400, "1d00h"}, {-61, "-1m01s"}, {INT64_MIN, "-106751991167300d15h"}};
	char out[24];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		qpa_show_duration(cases[i].s, out);
		cr_assert(eq(str, out, (char *)cases[i].text));
	}
}

Test(show, times_are_rfc_3339_in_utc)
{
	int64_t t = 0;

	cr_assert(qpa_time_parse("2026-11-26T01:02:03Z", &t));
	cr_assert(eq(i64, t, 1795654923));
	cr_assert(qpa_time_parse("2026-11-26T01:02:03.123Z", &t));
	cr_assert(not(qpa_time_parse("2026-11-26T01:02:03", &t)));
	cr_assert(not(qpa_time_parse("2026-11-26T01:02:03Zz", &t)));
	cr_assert(not(qpa_time_parse("", &t)));
	cr_assert(not(qpa_time_parse(NULL, &t)));
}

static void
check_value(enum qpa_kind kind, const char *json, bool raw, const char *shown)
{
	json_t *value = json_loads(json, JSON_DECODE_ANY, NULL);
	char out[QPA_VALUE_BYTES];

	qpa_show(kind, value, raw, 1795654923 + 90, out);
	cr_assert(eq(str, out, (char *)shown), "of %s as %d", json, (int)kind);
	json_decref(value);
}

Test(show, values_by_their_kind)
{
	qpa_show_init();
	check_value(QPA_BYTES, "1234", false, "1.2k");
	check_value(QPA_BYTES, "1234", true, "1234");
	check_value(QPA_RTT, "1830", false, "1.8ms");
	check_value(QPA_AGE, "61000", false, "1m01s");
	check_value(QPA_LIMIT, "0", false, "-");
	check_value(QPA_SINCE, "\"2026-11-26T01:02:03Z\"", false, "1m30s");
	check_value(QPA_SINCE, "\"2026-11-26T01:02:03Z\"", true, "2026-11-26T01:02:03Z");
	check_value(QPA_UNTIL, "\"2026-11-26T01:04:03Z\"", false, "30s");
	check_value(QPA_UNIX, "1795654923", false, "2026-11-26T01:02:03Z");
	check_value(QPA_PORTS, "[{\"protocol\":\"tcp\",\"port\":9000},{\"protocol\":\"udp\",\"port\":53}]",
		false, "9000/tcp,53/udp");
	check_value(QPA_WORDS, "[\"any\"]", false, "any");
	check_value(QPA_WORDS, "[]", false, "-");
	check_value(QPA_YES, "true", false, "yes");
	check_value(QPA_ANY, "{\"a\":[1]}", false, "{\"a\":[1]}");
}

Test(show, values_of_another_type_are_a_dash)
{
	static const char *const others[] = {"null", "true", "[1]", "{}", "\"\"", "1.5"};

	qpa_show_init();
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		check_value(QPA_BYTES, others[i], false, "-");
		check_value(QPA_TEXT, others[i], false, "-");
	}
	check_value(QPA_TEXT, "7", false, "-");
	check_value(QPA_PORTS, "7", false, "-");
	check_value(QPA_UNIX, "9223372036854775807", false, "9223372036854775807");
}

Test(show, list_too_long_says_how_many_more)
{
	json_t *list = json_array();
	char out[QPA_VALUE_BYTES];

	for (int i = 0; i < 200; i++)
		json_array_append_new(list, json_pack("{s:s, s:i}", "protocol", "tcp", "port", 10000 + i));
	qpa_show(QPA_PORTS, list, false, 0, out);
	cr_assert(lt(sz, strlen(out), QPA_VALUE_BYTES));
	cr_assert(not(eq(ptr, strstr(out, "/tcp,+"), NULL)));
	json_decref(list);
}
