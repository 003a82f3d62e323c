/* SPDX-License-Identifier: Apache-2.0 */
/* The audit log's rows, whatever happens to its file. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "controlplane/audit.h"

static char dir[64], path[96], renamed[96];
static struct qp_audit *audit;

static void
enter(void)
{
	strcpy(dir, "/tmp/qp-audit-XXXXXX");
	cr_assert_not_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/audit.log", dir);
	snprintf(renamed, sizeof(renamed), "%s/audit.log.1", dir);
}

static void
leave(void)
{
	qp_audit_close(audit);
	unlink(path);
	unlink(renamed);
	rmdir(dir);
}

TestSuite(audit, .init = enter, .fini = leave);

static void
start(void)
{
	struct qp_errmsg msg = {""};

	cr_assert_eq(qp_audit_open(path, &audit, &msg), 0, "%s", msg.text);
}

static void
row(int number)
{
	qp_audit_write(audit, "test", json_pack("{s:i}", "number", number));
}

/* The rows of a file, each of which must be one line of JSON; -1 where a line is none. */
static unsigned
rows_of(const char *file, int *numbers, unsigned max)
{
	FILE *f = fopen(file, "r");
	char line[512];
	unsigned n = 0;

	cr_assert_not_null(f);
	while (fgets(line, sizeof(line), f) != NULL) {
		json_t *json = json_loads(line, 0, NULL);

		cr_assert_lt(n, max);
		numbers[n++] = json == NULL ? -1
					    : (int)json_integer_value(json_object_get(json, "number"));
		json_decref(json);
	}
	fclose(f);
	return n;
}

static void
expect_rows(const char *file, unsigned n, const int *want)
{
	int got[64];

	cr_assert_eq(rows_of(file, got, 64), n, "of %s", file);
	for (unsigned i = 0; i < n; i++)
		cr_expect_eq(got[i], want[i], "line %u of %s", i, file);
}

Test(audit, row_is_a_line_with_time_and_event_first)
{
	char text[256] = "";
	struct stat st;
	int fd;

	start();
	qp_audit_write(audit, "port_opened", json_pack("{s:s}", "client", "al\nice \"x\""));
	fd = open(path, O_RDONLY);
	cr_assert_gt(read(fd, text, sizeof(text) - 1), 0);
	cr_assert_eq(fstat(fd, &st), 0);
	close(fd);
	cr_expect_eq(st.st_mode & 0777, 0640u & ~(umask(0)));
	/* {"time":"2026-01-02T03:04:05.678Z","event":… */
	cr_expect_eq(strncmp(text, "{\"time\":\"20", 11), 0, "%s", text);
	cr_expect_eq(text[33 - 1], 'Z', "%s", text);
	cr_expect_str_eq(text + 33, "\",\"event\":\"port_opened\",\"client\":\"al\\nice \\\"x\\\"\"}\n");
	cr_expect_eq(qp_audit_stats(audit)->rows, 1u);
}

Test(audit, no_log_takes_rows_and_keeps_none)
{
	row(1);
	cr_expect_null(qp_audit_stats(NULL));
	cr_expect_eq(qp_audit_reopen(NULL, NULL), 0);
}

Test(audit, existing_file_is_appended_to)
{
	start();
	row(1);
	qp_audit_close(audit);
	start();
	row(2);
	expect_rows(path, 2, (int[]) {1, 2});
}

Test(audit, renamed_file_is_followed_by_a_new_one)
{
	start();
	row(1);
	cr_assert_eq(rename(path, renamed), 0);
	row(2); /* nobody has told us yet */
	cr_expect_eq(qp_audit_reopen(audit, NULL), 0);
	row(3);
	expect_rows(renamed, 2, (int[]) {1, 2});
	expect_rows(path, 1, (int[]) {3});
	cr_expect_eq(qp_audit_reopen(audit, NULL), 0, "nothing was renamed");
	row(4);
	expect_rows(path, 2, (int[]) {3, 4});
}

Test(audit, reopen_that_fails_goes_on_in_the_old_file)
{
	struct qp_errmsg msg = {""};

	start();
	cr_assert_eq(rename(path, renamed), 0);
	cr_assert_eq(mkdir(path, 0700), 0);
	cr_expect_neq(qp_audit_reopen(audit, &msg), 0);
	cr_expect_not_null(strstr(msg.text, path), "%s", msg.text);
	row(1);
	expect_rows(renamed, 1, (int[]) {1});
	rmdir(path);
}

Test(audit, file_of_another_gateway_is_refused)
{
	struct qp_audit *second = NULL;
	struct qp_errmsg msg = {""};

	start();
	cr_expect_eq(qp_audit_open(path, &second, &msg), QP_E_INUSE);
	cr_expect_not_null(strstr(msg.text, "another gateway's"), "%s", msg.text);
}

Test(audit, fifo_is_refused_at_once)
{
	struct qp_errmsg msg = {""};
	struct qp_audit *none = NULL;
	int reader;

	cr_assert_eq(mkfifo(path, 0600), 0);
	cr_expect_neq(qp_audit_open(path, &none, &msg), 0, "nobody reads");
	reader = open(path, O_RDONLY | O_NONBLOCK);
	cr_expect_eq(qp_audit_open(path, &none, &msg), QP_E_INVAL);
	close(reader);
}

Test(audit, half_a_row_at_the_end_is_removed)
{
	int fd;

	start();
	row(1);
	qp_audit_close(audit);
	fd = open(path, O_WRONLY | O_APPEND);
	cr_assert_eq(write(fd, "{\"time\":\"2026", 13), 13);
	close(fd);
	start();
	row(2);
	expect_rows(path, 2, (int[]) {1, 2});
}

Test(audit, file_that_is_no_audit_log_is_not_cut)
{
	char text[16] = "";
	int fd = open(path, O_WRONLY | O_CREAT, 0600);

	cr_assert_eq(write(fd, "precious", 8), 8);
	close(fd);
	start();
	row(1);
	fd = open(path, O_RDONLY);
	cr_assert_eq(read(fd, text, 9), 9);
	close(fd);
	cr_expect_str_eq(text, "precious\n");
	expect_rows(path, 2, (int[]) {-1, 1});
}

/* `room` more bytes fit into the file. */
static void
limit(const char *file, size_t room)
{
	struct rlimit rl;
	struct stat st;

	signal(SIGXFSZ, SIG_IGN);
	cr_assert_eq(stat(file, &st), 0);
	getrlimit(RLIMIT_FSIZE, &rl);
	rl.rlim_cur = room == SIZE_MAX ? rl.rlim_max : (rlim_t)st.st_size + room;
	cr_assert_eq(setrlimit(RLIMIT_FSIZE, &rl), 0);
}

Test(audit, full_disk_loses_rows_and_says_how_many_afterwards)
{
	char text[1024] = "";
	int fd;

	start();
	row(1);
	limit(path, 20);
	row(2); /* its beginning fits */
	row(3);
	row(4);
	cr_expect_eq(qp_audit_stats(audit)->failed, 3u);
	limit(path, SIZE_MAX);
	row(5);
	row(6);
	expect_rows(path, 4, (int[]) {1, 5, 0, 6});
	fd = open(path, O_RDONLY);
	cr_assert_gt(read(fd, text, sizeof(text) - 1), 0);
	close(fd);
	cr_expect_not_null(strstr(text, "\"event\":\"rows_lost\",\"rows\":3}\n"), "%s", text);
	cr_expect_eq(qp_audit_stats(audit)->rows, 4u);
}

Test(audit, full_device_is_counted)
{
	struct qp_errmsg msg = {""};

	cr_assert_eq(qp_audit_open("/dev/full", &audit, &msg), 0, "%s", msg.text);
	row(1);
	row(2);
	cr_expect_eq(qp_audit_stats(audit)->failed, 2u);
	cr_expect_eq(qp_audit_stats(audit)->rows, 0u);
}

/* Writes rows and tells each one's number by a pipe once it counts as written. */
static void
write_until_killed(int out)
{
	start();
	for (int i = 1;; i++) {
		row(i);
		if (write(out, &i, sizeof(i)) != (ssize_t)sizeof(i))
			_exit(1);
	}
}

Test(audit, killed_writer_has_lost_nothing)
{
	for (int round = 0; round < 20; round++) {
		int pipe_fd[2], told = 0, got = 0, *numbers = calloc(1u << 20, sizeof(int));
		unsigned n;
		pid_t pid;

		cr_assert_eq(pipe(pipe_fd), 0);
		pid = fork();
		if (pid == 0)
			write_until_killed(pipe_fd[1]);
		close(pipe_fd[1]);
		for (int i = 0; i < 50 + 37 * round; i++)
			cr_assert_eq(read(pipe_fd[0], &told, sizeof(told)), (ssize_t)sizeof(told));
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		while (read(pipe_fd[0], &got, sizeof(got)) == (ssize_t)sizeof(got))
			told = got;
		close(pipe_fd[0]);
		start(); /* removes what the kill has torn: a write may end between two pages */
		qp_audit_close(audit);
		audit = NULL;
		n = rows_of(path, numbers, 1u << 20);
		cr_expect_geq(n, (unsigned)told);
		for (unsigned i = 0; i < n; i++)
			cr_assert_eq(numbers[i], (int)i + 1);
		free(numbers);
		unlink(path);
	}
}
