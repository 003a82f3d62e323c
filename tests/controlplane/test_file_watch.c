/* SPDX-License-Identifier: Apache-2.0 */
/* Files that change: in place, by another in their place, with their folder, and others that do not count. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "controlplane/file_watch.h"
#include "tests/common/support.h"

static struct qp_loop *loop;
static struct qp_file_watch *watch;
static unsigned told;

static void
on_change(void *ctx)
{
	told++;
}

static void
watch_paths(const char *a, const char *b)
{
	const char *paths[] = {a, b};

	cr_assert_eq(qp_file_watch_set(watch, paths, b == NULL ? 1 : 2), 0);
}

static void
start(void)
{
	scratch_make();
	cr_assert_eq(chdir(scratch_path(".")), 0);
	loop = qp_loop_new();
	watch = qp_file_watch_new(loop, on_change, NULL);
	cr_assert(loop != NULL && watch != NULL);
	scratch_file("keys", "a\n", 0600);
	watch_paths("keys", NULL);
}

static void
stop(void)
{
	qp_file_watch_free(watch);
	qp_loop_free(loop);
	cr_assert_eq(chdir("/"), 0);
	scratch_remove();
}

TestSuite(file_watch, .init = start, .fini = stop);

/* Turns until it is told once more, within 5 s; then so long that a second time would be seen. */
static bool
is_told_once(void)
{
	uint64_t end = qp_now_ns() + 5000000000u;
	unsigned before = told;

	while (told == before && qp_now_ns() < end)
		qp_loop_turn(loop, 50);
	end = qp_now_ns() + 3 * QP_FILE_WATCH_QUIET_MS * 1000000ull;
	while (qp_now_ns() < end)
		qp_loop_turn(loop, 20);
	return told == before + 1;
}

static bool
is_not_told(void)
{
	uint64_t end = qp_now_ns() + 3 * QP_FILE_WATCH_QUIET_MS * 1000000ull;
	unsigned before = told;

	while (qp_now_ns() < end)
		qp_loop_turn(loop, 20);
	return told == before;
}

Test(file_watch, written_replaced_removed_each_is_told_once)
{
	cr_expect(is_not_told());
	scratch_file("keys", "b\n", 0600);
	cr_expect(is_told_once(), "written");
	scratch_file("keys.new", "c\n", 0600);
	cr_expect(is_not_told(), "another file");
	cr_assert_eq(rename("keys.new", "keys"), 0);
	cr_expect(is_told_once(), "replaced");
	cr_assert_eq(unlink("keys"), 0);
	cr_expect(is_told_once(), "removed");
	scratch_file("keys", "d\n", 0600);
	cr_expect(is_told_once(), "there again");
}

Test(file_watch, many_changes_are_told_before_they_end)
{
	uint64_t end = qp_now_ns() + 2000000000u;

	while (told == 0 && qp_now_ns() < end) {
		scratch_file("keys", "b\n", 0600);
		qp_loop_turn(loop, 10);
	}
	cr_expect_eq(told, 1u);
}

Test(file_watch, folder_counts_with_all_but_what_editors_leave)
{
	cr_assert_eq(mkdir("conf.d", 0700), 0);
	watch_paths("keys", "conf.d/");
	scratch_file("conf.d/.a.swp", "x", 0600);
	scratch_file("conf.d/a~", "x", 0600);
	cr_expect(is_not_told());
	scratch_file("conf.d/a", "x", 0600);
	cr_expect(is_told_once());
	scratch_file("keys", "b\n", 0600);
	cr_expect(is_told_once(), "the other still counts");
}

Test(file_watch, folder_that_goes_and_comes_back_is_watched_again)
{
	cr_assert_eq(mkdir("etc", 0700), 0);
	watch_paths("etc/keys", NULL);
	scratch_file("etc/keys", "a\n", 0600);
	cr_expect(is_told_once());
	cr_assert_eq(rename("etc", "old"), 0);
	cr_expect(is_told_once());
	cr_assert_eq(mkdir("etc", 0700), 0);
	cr_expect(is_told_once(), "the folder is there again");
	scratch_file("etc/keys", "b\n", 0600);
	cr_expect(is_told_once());
}

Test(file_watch, what_is_not_watched_any_more_is_not_told)
{
	scratch_file("other", "a\n", 0600);
	cr_expect(is_not_told());
	watch_paths("other", NULL);
	scratch_file("keys", "b\n", 0600);
	cr_expect(is_not_told());
	watch_paths("keys", NULL);
	scratch_file("keys", "c\n", 0600);
	cr_expect(is_told_once());
}
