/* SPDX-License-Identifier: Apache-2.0 */
/* What a crash report says, who may read it, and how many are kept. */
#include <criterion/criterion.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "controlplane/crash_report.h"

static char dir[64], path[PATH_MAX], text[65536];
static struct qp_crash_reports reports;
static struct qp_gen_shared *shared;
static struct qp_shared_view view;
static struct qp_last_words words;
static struct qp_crash_report report;

static void
open_all(void)
{
	struct qp_errmsg msg;

	snprintf(dir, sizeof(dir), "/tmp/qp-test-report-XXXXXX");
	cr_assert_not_null(mkdtemp(dir));
	cr_assert_eq(qp_crash_reports_open(&reports, dir, "qp-1-2", &msg), 0);
	shared = aligned_alloc(64, (qp_shared_bytes(2, 128) + 63) / 64 * 64);
	cr_assert_not_null(shared);
	qp_shared_init(shared, 2, 128);
	shared->door[1].tid = 77;
	shared->door[1].heartbeat_ns = 1000000000;
	qp_shared_worker(shared, 1)->c.rx_frames = 123;
	qp_shared_worker(shared, 1)->c.drop_not_ours = 45;
	cr_assert_eq(qp_shared_open(&view, shared, qp_shared_bytes(2, 128), &msg), 0, "%s",
		msg.text);
	words = (struct qp_last_words) {.magic = QP_LAST_WORDS_MAGIC, .len = 9};
	memcpy(words.text, "signal\033\n1rest", 14);
	report = (struct qp_crash_report) {.server_id = 0x3039,
		.pid = 4711,
		.state = "serving",
		.how = "was killed by signal 9 (Killed)",
		.hung = "worker 1 gave no sign of life for 812 ms",
		.threads = "thread 77 x state T\n",
		.shared = shared,
		.view = &view,
		.words = &words,
		.now_ns = 3000000000};
}

static unsigned
clear(const char *which, bool remove)
{
	struct dirent *e;
	unsigned n = 0;
	char name[PATH_MAX];
	DIR *d;

	snprintf(name, sizeof(name), "%s/crash", dir);
	d = opendir(name);
	cr_assert_not_null(d);
	while ((e = readdir(d)) != NULL) {
		if (e->d_name[0] == '.' || strstr(e->d_name, which) == NULL)
			continue;
		n++;
		snprintf(name, sizeof(name), "%s/crash/%s", dir, e->d_name);
		if (remove)
			unlink(name);
	}
	closedir(d);
	return n;
}

static void
close_all(void)
{
	char name[80];

	(void)clear("", true);
	snprintf(name, sizeof(name), "%s/crash", dir);
	rmdir(name);
	rmdir(dir);
	free(shared);
}

TestSuite(crash_report, .init = open_all, .fini = close_all, .timeout = 60);

static void
write_and_read(void)
{
	struct qp_errmsg msg = {""};
	FILE *f;

	cr_assert_eq(qp_crash_report_write(&reports, &report, path, &msg), 0, "%s", msg.text);
	f = fopen(path, "re");
	cr_assert_not_null(f);
	text[fread(text, 1, sizeof(text) - 1, f)] = '\0';
	fclose(f);
}

static void
says(const char *line)
{
	cr_expect_not_null(strstr(text, line), "\"%s\" is missing in:\n%s", line, text);
}

Test(crash_report, tells_who_how_and_what_it_had_counted)
{
	struct stat st;

	write_and_read();
	says("data plane 0x3039 died at ");
	says("it was killed by signal 9 (Killed)\n");
	says("it hung: worker 1 gave no sign of life for 812 ms\n");
	says("process 4711, state serving, control plane version " QP_VERSION);
	says("thread 77 x state T\n");
	says("worker 1, tid 77, last sign of life 2000 ms before this report\n drops\n"
	     "  drop_not_ours 45\n counters\n  rx_frames 123\n");
	/* What a broken process wrote may be anything. */
	says("last words\nsignal?\n1");
	cr_expect_null(strstr(text, "1rest"));
	cr_assert_eq(stat(path, &st), 0);
	cr_expect_eq(st.st_mode & 0777, 0600);
}

Test(crash_report, little_is_known)
{
	report = (struct qp_crash_report) {.server_id = 1, .how = "ended"};
	write_and_read();
	says("data plane 0x0001 died at ");
	cr_expect_null(strstr(text, "last words"));
}

Test(crash_report, counters_that_cannot_be_read_are_not_guessed_at)
{
	report.view = NULL;
	write_and_read();
	says("worker 1, tid 77, last sign of life");
	cr_expect_null(strstr(text, "drop_not_ours"));
}

Test(crash_report, oldest_go_and_others_stay)
{
	struct qp_crash_reports other = reports;
	struct qp_errmsg msg;
	char first[PATH_MAX];

	snprintf(other.instance, sizeof(other.instance), "qp-1");
	cr_assert_eq(qp_crash_report_write(&other, &report, path, &msg), 0);
	report.server_id = 1;
	cr_assert_eq(qp_crash_report_write(&reports, &report, first, &msg), 0);
	for (unsigned i = 0; i < QP_CRASH_REPORTS_KEPT; i++) {
		report.server_id = 2 + i;
		cr_assert_eq(qp_crash_report_write(&reports, &report, path, &msg), 0);
	}
	cr_expect_eq(clear("qp-1-2-", false), QP_CRASH_REPORTS_KEPT);
	cr_expect_neq(access(first, F_OK), 0, "the first one is gone");
	cr_expect_eq(access(path, F_OK), 0, "the last one is there");
	cr_expect_eq(clear("qp-1-20", false), 1, "of another gateway");
}

Test(crash_report, threads_of_a_process_are_described)
{
	char *threads = qp_threads_text(getpid());

	cr_assert_not_null(threads);
	cr_expect_not_null(strstr(threads, "state R"), "%s", threads);
	free(threads);
	cr_expect_null(qp_threads_text(0));
}
