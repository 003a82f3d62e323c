/* SPDX-License-Identifier: Apache-2.0 */
/* Small files, whole or not at all. */
#include "common/file.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <dirent.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/common/support.h"

static void
setup(void)
{
	cr_assert(ge(int, sodium_init(), 0));
	scratch_make();
}

TestSuite(file, .init = setup, .fini = scratch_remove);

static unsigned
entries(const char *path)
{
	DIR *d = opendir(path);
	unsigned n = 0;

	for (struct dirent *e; (e = readdir(d)) != NULL;)
		n += e->d_name[0] != '.' || strlen(e->d_name) > 2;
	closedir(d);
	return n;
}

Test(file, sweep_removes_what_killed_writes_left_and_nothing_else)
{
	const char *const kept[] = {"host.state", "control.sock", "a.b1-d_f", "a.abcde", "a.abcdefg", ".hidden"};
	char path[300];

	scratch_file("processes.EqCKgN", "", 0600);
	scratch_file("host.state.123456", "half", 0600);
	for (unsigned i = 0; i < sizeof(kept) / sizeof(kept[0]); i++)
		scratch_file(kept[i], "", 0600);
	snprintf(path, sizeof(path), "%s", scratch_file("processes", "", 0600));
	*strrchr(path, '/') = '\0';
	qp_file_sweep(path);
	cr_assert(eq(uint, entries(path), 1 + sizeof(kept) / sizeof(kept[0])));
	qp_file_sweep("/nonexistent");
}

Test(file, read_gives_bytes_length_and_mode)
{
	const char *path = scratch_file("f", "hello\n", 0640);
	size_t len;
	mode_t mode;
	char *data;

	cr_assert(eq(int, qp_file_read(path, 6, &data, &len, &mode, NULL), QP_OK));
	cr_assert(eq(sz, len, 6));
	cr_assert(eq(str, data, "hello\n"));
	cr_assert(eq(uint, mode, 0640));
	qp_file_free(data);
	qp_file_free(NULL);
}

Test(file, read_refuses_what_is_too_large_missing_or_no_file)
{
	const char *path = scratch_file("f", "hello\n", 0600);
	struct qp_errmsg msg;
	char *data = NULL;
	size_t len;

	cr_assert(eq(int, qp_file_read(path, 5, &data, &len, NULL, &msg), QP_E_FULL));
	cr_assert(ne(ptr, strstr(msg.text, "larger than 5 bytes"), NULL));
	cr_assert(eq(int, qp_file_read(scratch_path("no"), 5, &data, &len, NULL, &msg),
		QP_E_NOTFOUND));
	cr_assert(eq(int, qp_file_read(scratch_path(""), 5, &data, &len, NULL, &msg), QP_E_INVAL));
	cr_assert(eq(int, mkfifo(scratch_path("fifo"), 0600), 0));
	cr_assert(eq(int, qp_file_read(scratch_path("fifo"), 5, &data, &len, NULL, &msg),
		QP_E_INVAL), "a FIFO must not hang the caller");
	cr_assert(eq(ptr, data, NULL));
}

Test(file, write_new_leaves_an_existing_file_alone_and_no_rubbish)
{
	const char *folder = scratch_path("");
	struct qp_errmsg msg;
	char *data;
	size_t len;
	mode_t mode;

	cr_assert(eq(int, qp_file_write(scratch_path("f"), "one", 3, 0600, false, &msg), QP_OK),
		"%s", msg.text);
	cr_assert(eq(int, qp_file_write(scratch_path("f"), "two", 3, 0600, false, &msg),
		QP_E_INUSE));
	cr_assert(eq(int, qp_file_read(scratch_path("f"), 9, &data, &len, &mode, &msg), QP_OK));
	cr_assert(eq(str, data, "one"));
	cr_assert(eq(uint, mode, 0600));
	qp_file_free(data);
	cr_assert(eq(uint, entries(folder), 1));
}

Test(file, write_replace_takes_the_place)
{
	char *data;
	size_t len;
	mode_t mode;

	cr_assert(eq(int, qp_file_write(scratch_path("f"), "one", 3, 0600, true, NULL), QP_OK));
	cr_assert(eq(int, qp_file_write(scratch_path("f"), "two!", 4, 0644, true, NULL), QP_OK));
	cr_assert(eq(int, qp_file_read(scratch_path("f"), 9, &data, &len, &mode, NULL), QP_OK));
	cr_assert(eq(str, data, "two!"));
	cr_assert(eq(uint, mode, 0644));
	qp_file_free(data);
	cr_assert(eq(uint, entries(scratch_path("")), 1));
}

Test(file, write_failure_names_the_file)
{
	struct qp_errmsg msg;

	cr_assert(eq(int, qp_file_write(scratch_path("no/such/f"), "x", 1, 0600, true, &msg),
		QP_E_NOTFOUND));
	cr_assert(ne(ptr, strstr(msg.text, "no/such/f: No such file or directory"), NULL));
}

Test(file, make_parents_makes_folders_for_the_owner_alone)
{
	struct stat st;

	cr_assert(eq(int, qp_file_make_parents(scratch_path("a/b/c/file"), NULL), QP_OK));
	cr_assert(eq(int, qp_file_make_parents(scratch_path("a/b/c/file"), NULL), QP_OK));
	cr_assert(eq(int, stat(scratch_path("a/b/c"), &st), 0));
	cr_assert(ne(int, S_ISDIR(st.st_mode), 0));
	cr_assert(eq(uint, st.st_mode & 07777, 0700));
	cr_assert(ne(int, stat(scratch_path("a/b/c/file"), &st), 0));
	cr_assert(eq(int, qp_file_make_parents("plain", NULL), QP_OK));
}

Test(file, mode_is_lax_when_group_or_others_have_any_right)
{
	cr_assert(not(qp_file_mode_is_lax(0600)));
	cr_assert(not(qp_file_mode_is_lax(0700)));
	for (mode_t bit = 1; bit <= 040; bit <<= 1)
		cr_assert(qp_file_mode_is_lax(0600 | bit));
}
