/* SPDX-License-Identifier: Apache-2.0 */
/* Log lines as a person, and as a machine, reads them. */
#include "common/log.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "common/keys.h"
#include "common/log_sink.h"
#include "tests/common/support.h"

static char path[512];

static void
setup(void)
{
	cr_assert(eq(int, qp_keys_init(), QP_OK));
	scratch_make();
	snprintf(path, sizeof(path), "%s", scratch_path("log"));
}

TestSuite(log, .init = setup, .fini = scratch_remove);

static void
start(enum qp_log_format format, enum qp_log_level level)
{
	struct qp_log_config cfg = {
		.process = "tester", .level = level, .format = format, .output = path};
	struct qp_errmsg msg;

	cr_assert(eq(int, qp_log_init(&cfg, &msg), QP_OK), "%s", msg.text);
}

/* The n-th line of the log, without its end; NULL: there is none. Static. */
static char *
line(unsigned n)
{
	static char text[QP_LOG_LINE_BYTES + 2];
	FILE *f = fopen(path, "re");
	char *got = NULL;

	cr_assert(ne(ptr, f, NULL));
	for (unsigned i = 0; i <= n; i++)
		got = fgets(text, sizeof(text), f);
	fclose(f);
	if (got != NULL)
		text[strcspn(text, "\n")] = '\0';
	return got;
}

static json_t *
json_line(unsigned n)
{
	json_error_t error;
	char *text = line(n);
	json_t *v;

	cr_assert(ne(ptr, text, NULL));
	v = json_loads(text, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
	cr_assert(ne(ptr, v, NULL), "%s: %s", error.text, text);
	return v;
}

static const char *
field(const json_t *v, const char *name)
{
	const char *s = json_string_value(json_object_get(v, name));

	return s == NULL ? "(none)" : s;
}

static bool
is_rfc3339_ms(const char *s)
{
	static const char form[] = "dddd-dd-ddTdd:dd:dd.dddZ";

	for (size_t i = 0; i < sizeof(form); i++) {
		if (form[i] == 'd' ? s[i] < '0' || s[i] > '9' : s[i] != form[i])
			return false;
	}
	return true;
}

Test(log, json_line_has_its_fields_with_their_types)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons(9000),
		.sin_addr.s_addr = htonl(0xc0000201)};
	uint8_t key[QP_KEY_BYTES];
	json_t *v;

	cr_assert(eq(int, qp_key_parse("IexqQqW8ngM33aoJWqheXfW+11hL6A3h6kpO8uNl9Ws=", 44, key),
		QP_OK));
	start(QP_LOG_JSON, QP_LOG_INFO);
	qp_log(QP_LOG_INFO, "port opened", QP_LOG_U64("port", 9000), QP_LOG_I64("delta", -5),
		QP_LOG_STR("client", "edge \"1\""), QP_LOG_BOOL("first", true),
		QP_LOG_F64("load", 0.25), QP_LOG_F64("ratio", NAN), QP_LOG_HEX("dp_id", 0x3039), QP_LOG_HEX("low", 0xa66),
		QP_LOG_ADDR("peer", (struct sockaddr *)&sa), QP_LOG_KEY("key", key),
		QP_LOG_STR("nothing", NULL), QP_LOG_ERR(QP_E_INUSE));
	v = json_line(0);
	cr_assert(is_rfc3339_ms(field(v, "time")), "%s", field(v, "time"));
	cr_assert(eq(str, (char *)field(v, "level"), "info"));
	cr_assert(eq(str, (char *)field(v, "process"), "tester"));
	cr_assert(eq(str, (char *)field(v, "message"), "port opened"));
	cr_assert(eq(llong, json_integer_value(json_object_get(v, "port")), 9000));
	cr_assert(eq(llong, json_integer_value(json_object_get(v, "delta")), -5));
	cr_assert(eq(str, (char *)field(v, "client"), "edge \"1\""));
	cr_assert(ne(int, json_is_true(json_object_get(v, "first")), 0));
	cr_assert(epsilon_eq(dbl, json_real_value(json_object_get(v, "load")), 0.25, 1e-9));
	cr_assert(ne(int, json_is_null(json_object_get(v, "ratio")), 0));
	cr_assert(eq(str, (char *)field(v, "dp_id"), "0x3039"));
	cr_assert(eq(str, (char *)field(v, "low"), "0x0a66"));
	cr_assert(eq(str, (char *)field(v, "peer"), "192.0.2.1:9000"));
	cr_assert(eq(str, (char *)field(v, "key"), "IexqQqW8ngM33aoJWqheXfW+11hL6A3h6kpO8uNl9Ws="));
	cr_assert(ne(int, json_is_null(json_object_get(v, "nothing")), 0));
	cr_assert(eq(str, (char *)field(v, "error"), "in use"));
	json_decref(v);
}

Test(log, console_line_reads_in_one_glance)
{
	char *text;

	start(QP_LOG_CONSOLE, QP_LOG_INFO);
	qp_log(QP_LOG_WARN, "port refused", QP_LOG_U64("port", 9000), QP_LOG_U64("max", UINT64_MAX),
		QP_LOG_STR("why", "in use by \"sshd\""), QP_LOG_STR("empty", ""),
		QP_LOG_ERRNO(ENOENT));
	text = line(0);
	cr_assert(eq(str, text + 24, " WARN  tester: port refused port=9000 "
				     "max=18446744073709551615 "
				     "why=\"in use by \\\"sshd\\\"\" empty=\"\" "
				     "error=\"No such file or directory\""));
	text[24] = '\0';
	cr_assert(is_rfc3339_ms(text));
}

Test(log, level_hides_what_is_below_it_and_does_not_evaluate_it)
{
	unsigned evaluated = 0;

	start(QP_LOG_CONSOLE, QP_LOG_WARN);
	qp_log(QP_LOG_INFO, "hidden", QP_LOG_U64("n", ++evaluated));
	qp_log(QP_LOG_WARN, "shown", QP_LOG_U64("n", ++evaluated));
	cr_assert(eq(uint, evaluated, 1));
	cr_assert(ne(ptr, strstr(line(0), "shown n=1"), NULL));
	cr_assert(eq(ptr, line(1), NULL));
	qp_log_set_level(QP_LOG_TRACE);
	qp_log(QP_LOG_TRACE, "fine");
	cr_assert(ne(ptr, strstr(line(1), " TRACE tester: fine"), NULL));
}

Test(log, text_of_a_peer_forges_no_line)
{
	static const char evil[] = "a\n{\"level\":\"error\"}\r\x1b[2J\xff\0end\xc2\x9b";
	struct qp_slice text = {evil, sizeof(evil) - 1};
	json_t *v;

	start(QP_LOG_CONSOLE, QP_LOG_INFO);
	qp_log(QP_LOG_INFO, "said", QP_LOG_SLICE("text", text));
	start(QP_LOG_JSON, QP_LOG_INFO);
	qp_log(QP_LOG_INFO, "said", QP_LOG_SLICE("text", text));
	cr_assert(eq(ptr, line(2), NULL), "two events, two lines");
	for (unsigned i = 0; i < 2; i++) {
		for (const char *p = line(i); *p != '\0'; p++)
			cr_assert(eq(int, (unsigned char)*p >= 0x20 && (unsigned char)*p != 0x7f, true));
	}
	v = json_line(1);
	/* What is not UTF-8 is U+FFFD; the rest came through as it was. */
	cr_assert(eq(sz, json_string_length(json_object_get(v, "text")), sizeof(evil) - 1 + 2));
	json_decref(v);
}

Test(log, long_values_are_cut_and_the_line_stays_whole)
{
	char *big = malloc(20000);
	json_t *v;

	memset(big, '"', 19999);
	big[19999] = '\0';
	for (int format = QP_LOG_CONSOLE; format <= QP_LOG_JSON; format++) {
		start((enum qp_log_format)format, QP_LOG_INFO);
		qp_log(QP_LOG_INFO, big, QP_LOG_STR("a", big), QP_LOG_STR("b", big),
			QP_LOG_STR("c", big), QP_LOG_STR("d", big), QP_LOG_U64("last", 1));
		cr_assert(le(sz, strlen(line((unsigned)format)), QP_LOG_LINE_BYTES - 1));
	}
	cr_assert(ne(ptr, strstr(line(0), " truncated=true"), NULL));
	v = json_line(1);
	cr_assert(ne(int, json_is_true(json_object_get(v, "truncated")), 0));
	cr_assert(eq(ptr, json_object_get(v, "last"), NULL));
	cr_assert(ne(ptr, json_object_get(v, "a"), NULL));
	json_decref(v);
	free(big);
}

/* Each length of a value around the line's end: always valid JSON, never above the limit. */
Test(log, any_length_around_the_limit_gives_valid_json)
{
	char text[1100];
	unsigned n = 0;

	memset(text, 'x', sizeof(text));
	start(QP_LOG_JSON, QP_LOG_INFO);
	for (size_t len = 900; len < sizeof(text); len++, n++) {
		struct qp_slice s = {text, len};

		qp_log(QP_LOG_INFO, "x", QP_LOG_SLICE("a", s), QP_LOG_SLICE("b", s),
			QP_LOG_SLICE("c", s), QP_LOG_SLICE("d", s));
	}
	for (unsigned i = 0; i < n; i++)
		json_decref(json_line(i));
}

static void *
write_many(void *name)
{
	for (unsigned i = 0; i < 500; i++)
		qp_log(QP_LOG_INFO, "event", QP_LOG_STR("thread", name), QP_LOG_U64("i", i),
			QP_LOG_STR("pad", "0123456789012345678901234567890123456789"));
	return NULL;
}

Test(log, lines_of_many_threads_never_mix)
{
	static const char *const names[] = {"a", "b", "c", "d"};
	unsigned seen[4] = {0};
	char text[QP_LOG_LINE_BYTES];
	pthread_t threads[4];
	FILE *f;

	start(QP_LOG_JSON, QP_LOG_INFO);
	for (int i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, write_many, (void *)(uintptr_t)names[i]);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	f = fopen(path, "re");
	while (fgets(text, sizeof(text), f) != NULL) {
		json_t *v = json_loads(text, 0, NULL);
		unsigned who;

		cr_assert(ne(ptr, v, NULL), "%s", text);
		who = (unsigned)(field(v, "thread")[0] - 'a');
		cr_assert(lt(uint, who, 4));
		cr_assert(eq(llong, json_integer_value(json_object_get(v, "i")), seen[who]++));
		json_decref(v);
	}
	fclose(f);
	for (int i = 0; i < 4; i++)
		cr_assert(eq(uint, seen[i], 500));
}

Test(log, init_appends_to_what_is_there)
{
	start(QP_LOG_CONSOLE, QP_LOG_INFO);
	qp_log(QP_LOG_INFO, "one");
	start(QP_LOG_CONSOLE, QP_LOG_INFO);
	qp_log_set_generation(0x3039);
	qp_log(QP_LOG_INFO, "two");
	cr_assert(ne(ptr, strstr(line(0), "tester: one"), NULL));
	cr_assert(ne(ptr, strstr(line(1), "tester 0x3039: two"), NULL));
}

Test(log, init_with_a_file_that_cannot_be_opened_changes_nothing)
{
	struct qp_log_config cfg = {.process = "x", .output = "/nonexistent/folder/log"};
	struct qp_errmsg msg;

	start(QP_LOG_CONSOLE, QP_LOG_INFO);
	cr_assert(eq(int, qp_log_init(&cfg, &msg), QP_E_NOTFOUND));
	cr_assert(eq(str, msg.text, "cannot open log file /nonexistent/folder/log: "
				    "No such file or directory"));
	qp_log(QP_LOG_INFO, "still here");
	cr_assert(ne(ptr, strstr(line(0), "tester: still here"), NULL));
}

Test(log, write_keeps_errno)
{
	start(QP_LOG_CONSOLE, QP_LOG_INFO);
	errno = ERANGE;
	qp_log(QP_LOG_INFO, "x");
	cr_assert(eq(int, errno, ERANGE));
}

Test(log, names_parse_in_any_case_and_nothing_else_does)
{
	enum qp_log_level level;
	enum qp_log_format format;

	for (int i = QP_LOG_ERROR; i <= QP_LOG_TRACE; i++) {
		const char *name = qp_log_level_name((enum qp_log_level)i);

		cr_assert(eq(int, qp_log_level_parse(name, &level), QP_OK));
		cr_assert(eq(int, (int)level, i));
	}
	cr_assert(eq(int, qp_log_level_parse("DEBUG", &level), QP_OK));
	cr_assert(eq(int, qp_log_level_parse("verbose", &level), QP_E_INVAL));
	cr_assert(eq(int, qp_log_level_parse("", &level), QP_E_INVAL));
	cr_assert(eq(int, qp_log_format_parse("json", &format), QP_OK));
	cr_assert(eq(int, (int)format, QP_LOG_JSON));
	cr_assert(eq(int, qp_log_format_parse("xml", &format), QP_E_INVAL));
}

/* Levels of modules: "info,auth=debug". */

#define LOG_AS(part, level, text)                                                                  \
	do {                                                                                       \
		static struct qp_log_site site = {.module = (part)};                               \
		if (qp_log_enabled(part, level))                                                   \
			qp_log_write(&site, level, text,                                           \
				(const struct qp_log_field[]) {{.type = QP_LOG_T_END}});           \
	} while (0)

static void
start_levels(const char *levels)
{
	struct qp_log_config cfg = {.process = "tester", .format = QP_LOG_JSON, .output = path};
	struct qp_errmsg msg;

	cr_assert(eq(int, qp_log_levels_parse(levels, &cfg, &msg), 0), "%s", msg.text);
	cr_assert(eq(int, qp_log_init(&cfg, &msg), 0), "%s", msg.text);
}

Test(log, a_module_has_a_level_of_its_own)
{
	char text[QP_LOG_LEVELS_BYTES];
	json_t *v;

	start_levels("warn,AUTH=debug,ports=error");
	cr_expect(eq(str, (char *)qp_log_levels_text(text), "warn,auth=debug,ports=error"));
	LOG_AS(QP_LOG_M_auth, QP_LOG_DEBUG, "one");
	LOG_AS(QP_LOG_M_auth, QP_LOG_TRACE, "hidden");
	LOG_AS(QP_LOG_M_ports, QP_LOG_WARN, "hidden");
	LOG_AS(QP_LOG_M_general, QP_LOG_INFO, "hidden");
	LOG_AS(QP_LOG_M_http, QP_LOG_WARN, "two");
	v = json_line(0);
	cr_expect(eq(str, (char *)field(v, "message"), "one"));
	cr_expect(eq(str, (char *)field(v, "module"), "auth"));
	json_decref(v);
	v = json_line(1);
	cr_expect(eq(str, (char *)field(v, "message"), "two"));
	json_decref(v);
	cr_expect(eq(ptr, line(2), NULL));
}

Test(log, levels_that_are_wrong_change_nothing)
{
	static const char *const bad[] = {"", "loud", "info,", ",info", "info,auth", "info,auth=",
		"info,=debug", "info,nobody=debug", "auth:debug", "info auth=debug"};
	struct qp_log_config cfg = {.level = QP_LOG_WARN}, before;
	struct qp_errmsg msg;

	cfg.module[QP_LOG_M_http] = QP_LOG_TRACE + 1;
	before = cfg;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		cr_expect(eq(int, qp_log_levels_parse(bad[i], &cfg, &msg), QP_E_INVAL), "%s", bad[i]);
		cr_expect(eq(int, memcmp(&cfg, &before, sizeof(cfg)), 0), "%s", bad[i]);
		cr_expect(ne(ptr, strstr(msg.text, "info,auth=debug"), NULL), "%s", msg.text);
	}
}

static void
log_from_one_place(unsigned lines)
{
	for (unsigned i = 0; i < lines; i++)
		qp_log(QP_LOG_WARN, "again", QP_LOG_U64("i", i));
}

Test(log, one_place_writes_so_many_lines_a_second)
{
	struct qp_log_config cfg = {
		.process = "tester", .level = QP_LOG_INFO, .output = path, .rate = 10};
	struct qp_errmsg msg;
	unsigned lines = 0;
	struct timespec begin, now;

	cr_assert(eq(int, qp_log_init(&cfg, &msg), 0));
	clock_gettime(CLOCK_MONOTONIC_COARSE, &begin);
	log_from_one_place(500);
	qp_log(QP_LOG_WARN, "another place");
	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	while (line(lines) != NULL)
		lines++;
	cr_expect(le(uint, lines, 10 * (unsigned)(now.tv_sec - begin.tv_sec + 1) + 1));
	cr_expect(ne(ptr, strstr(line(lines - 1), "another place"), NULL));
	do
		clock_gettime(CLOCK_MONOTONIC_COARSE, &begin);
	while (begin.tv_sec == now.tv_sec);
	log_from_one_place(1);
	cr_expect(ne(ptr, strstr(line(lines), "again left_out=4"), NULL), "%s", line(lines));
}

Test(log, a_renamed_file_is_left_at_the_next_reopen)
{
	char moved[sizeof(path)];
	struct qp_errmsg msg;

	start(QP_LOG_CONSOLE, QP_LOG_INFO);
	cr_assert(lt(int, snprintf(moved, sizeof(moved), "%.500s.1", path), (int)sizeof(moved)));
	qp_log(QP_LOG_INFO, "one");
	cr_assert(eq(int, rename(path, moved), 0));
	qp_log(QP_LOG_INFO, "two");
	cr_assert(eq(int, qp_log_reopen(&msg), 0));
	qp_log(QP_LOG_INFO, "three");
	cr_expect(ne(ptr, strstr(line(0), "three"), NULL));
	cr_expect(eq(ptr, line(1), NULL));
	memcpy(path, moved, sizeof(path));
	cr_expect(ne(ptr, strstr(line(1), "two"), NULL));
}

static char entry[16][256];
static int nentry;

static int
take_entry(const struct iovec *iov, int n)
{
	for (nentry = 0; nentry < n && nentry < 16; nentry++)
		snprintf(entry[nentry], sizeof(entry[0]), "%.*s", (int)iov[nentry].iov_len,
			(const char *)iov[nentry].iov_base);
	return 0;
}

static bool
entry_has(const char *text)
{
	for (int i = 0; i < nentry; i++) {
		if (strcmp(entry[i], text) == 0)
			return true;
	}
	return false;
}

Test(log, an_event_is_one_entry_of_the_journal)
{
	struct qp_log_config cfg = {.process = "data-plane", .level = QP_LOG_INFO, .output = "journald"};
	struct qp_errmsg msg;

	cr_expect(eq(int, qp_log_init(&cfg, &msg), QP_E_UNSUPPORTED));
	qp_log_use_journal(take_entry);
	cr_assert(eq(int, qp_log_init(&cfg, &msg), 0), "%s", msg.text);
	qp_log_set_generation(0x3039);
	qp_log(QP_LOG_WARN, "port\nrefused", QP_LOG_U64("port", 9000),
		QP_LOG_STR("reason", "evil\nMESSAGE=forged"));
	cr_expect(eq(int, nentry, 7));
	cr_expect(entry_has("MESSAGE=port\\x0arefused port=9000 reason=\"evil\\x0aMESSAGE=forged\""), "%s",
		entry[0]);
	cr_expect(entry_has("PRIORITY=4"));
	cr_expect(entry_has("SYSLOG_IDENTIFIER=quicport-data-plane"));
	cr_expect(entry_has("QUICPORT_GENERATION=0x3039"));
	cr_expect(entry_has("QUICPORT_MODULE=general"));
	cr_expect(entry_has("QUICPORT_PORT=9000"));
	cr_expect(entry_has("QUICPORT_REASON=evil\\x0aMESSAGE=forged"));
}

/* A file of one process cannot grow beyond RLIMIT_FSIZE, as on a full disk. */
Test(log, lines_of_a_full_disk_are_lost_whole_and_told_of)
{
	struct rlimit limit = {.rlim_cur = 300, .rlim_max = RLIM_INFINITY};
	unsigned n = 0;
	char *got;

	signal(SIGXFSZ, SIG_IGN);
	start(QP_LOG_JSON, QP_LOG_INFO);
	setrlimit(RLIMIT_FSIZE, &limit);
	for (int i = 0; i < 10; i++)
		qp_log(QP_LOG_INFO, "an event that is told again and again");
	limit.rlim_cur = RLIM_INFINITY;
	setrlimit(RLIMIT_FSIZE, &limit);
	qp_log(QP_LOG_INFO, "there is room");
	while ((got = line(n)) != NULL && got[0] != '\0') {
		cr_assert(eq(chr, got[0], '{'));
		cr_assert(eq(chr, got[strlen(got) - 1], '}'), "half a line: %s", got);
		n++;
	}
	cr_assert(gt(uint, n, 2));
	cr_assert(ne(ptr, strstr(line(n - 2), "there is room"), NULL));
	cr_assert(ne(ptr, strstr(line(n - 1), "log lines were lost"), NULL));
	cr_assert(eq(u64, qp_log_lines_lost() + n - 2, 10));
}

/* With half a line in it that could not be taken back, as when others write into the same file. */
Test(log, half_a_line_is_ended_by_the_next_one_that_fits)
{
	struct qp_log_sink sink = {.process = "test", .is_file = true, .path = "a file"};
	struct rlimit limit = {.rlim_cur = 6, .rlim_max = RLIM_INFINITY};
	char got[64] = "";

	signal(SIGXFSZ, SIG_IGN);
	sink.fd = memfd_create("log", MFD_ALLOW_SEALING);
	cr_assert(eq(int, fcntl(sink.fd, F_ADD_SEALS, F_SEAL_SHRINK), 0));
	setrlimit(RLIMIT_FSIZE, &limit);
	cr_assert(not(qp_log_file_write(&sink, "first..\n", 8)));
	close(sink.fd);
	/* Its first bytes are taken back, and what ended that half with them. */
	sink.fd = memfd_create("log", 0);
	cr_assert(eq(int, fcntl(sink.fd, F_SETFL, O_APPEND), 0));
	cr_assert(not(qp_log_file_write(&sink, "second.\n", 8)));
	limit.rlim_cur = RLIM_INFINITY;
	setrlimit(RLIMIT_FSIZE, &limit);
	cr_assert(qp_log_file_write(&sink, "third..\n", 8));
	cr_assert(gt(int, (int)pread(sink.fd, got, sizeof(got) - 1, 0), 0));
	cr_assert(eq(str, got, (char *)"\nthird..\n"));
	close(sink.fd);
}
