/* SPDX-License-Identifier: Apache-2.0 */
/* What a gateway remembers, over kills, full disks and broken files. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "controlplane/state.h"

#define PATIENCE_MS 10000u

static char dir[64], path[96];
static struct qp_state *state;

static void
enter(void)
{
	strcpy(dir, "/tmp/qp-state-XXXXXX");
	cr_assert_not_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/gateway.db", dir);
}

static void
remove_all(void)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	char file[512];

	while (d != NULL && (e = readdir(d)) != NULL) {
		snprintf(file, sizeof(file), "%s/%s", dir, e->d_name);
		unlink(file);
	}
	if (d != NULL)
		closedir(d);
	rmdir(dir);
}

static void
leave(void)
{
	qp_state_close(state);
	remove_all();
}

TestSuite(state, .init = enter, .fini = leave);

static void
start_in(const char *where)
{
	struct qp_errmsg msg = {""};

	cr_assert_eq(qp_state_open(&(struct qp_state_config) {where, "gateway", .retry_ms = 20},
			     &state, &msg), 0, "%s", msg.text);
}

static void
restart(void)
{
	qp_state_close(state);
	state = NULL;
	start_in(dir);
}

static void
put(uint16_t port, const char *client)
{
	qp_state_put_lease(state, &(struct qp_lease_row) {.protocol = IPPROTO_TCP,
					  .port = port,
					  .client = client,
					  .destination = "127.0.0.1:22",
					  .peer = "192.0.2.1",
					  .granted_at = 1000,
					  .used_at = 2000 + port});
}

static bool
on_disk(void)
{
	struct qp_state_stats stats;

	qp_state_stats(state, &stats);
	return stats.on_disk;
}

struct leases {
	unsigned n;
	struct {
		uint16_t port;
		char client[64];
	} at[65536];
};
static struct leases leases;

static void
note_lease(void *ctx, const struct qp_lease_row *row)
{
	struct leases *l = ctx;

	cr_assert_lt(l->n, 65536u);
	l->at[l->n].port = row->port;
	snprintf(l->at[l->n++].client, sizeof(l->at[0].client), "%s", row->client);
	cr_expect_eq(row->protocol, IPPROTO_TCP);
	cr_expect_str_eq(row->destination, "127.0.0.1:22");
	cr_expect_str_eq(row->peer, "192.0.2.1");
	cr_expect_eq(row->granted_at, 1000u);
}

static void
read_leases(void)
{
	leases.n = 0;
	cr_assert_eq(qp_state_each_lease(state, note_lease, &leases), 0);
}

/* Files in the folder whose name contains this. */
static unsigned
files_with(const char *text)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	unsigned n = 0;

	while ((e = readdir(d)) != NULL)
		n += strstr(e->d_name, text) != NULL;
	closedir(d);
	return n;
}

static void
until_on_disk(bool wanted)
{
	for (unsigned ms = 0; on_disk() != wanted; ms++) {
		cr_assert_lt(ms, PATIENCE_MS, "still %son disk", wanted ? "not " : "");
		nanosleep(&(struct timespec) {.tv_nsec = 1000000}, NULL);
	}
}

Test(state, leases_are_there_after_a_restart_oldest_first)
{
	struct stat st;

	start_in(dir);
	put(9002, "alice");
	put(9001, "bob");
	put(9003, "carol");
	put(9002, "dora"); /* takes its place */
	qp_state_drop_lease(state, IPPROTO_TCP, 9003);
	cr_expect_eq(qp_state_sync(state, PATIENCE_MS), 0);
	restart();
	read_leases();
	cr_assert_eq(leases.n, 2u);
	cr_expect_eq(leases.at[0].port, 9001);
	cr_expect_str_eq(leases.at[0].client, "bob");
	cr_expect_str_eq(leases.at[1].client, "dora");
	cr_assert_eq(stat(path, &st), 0);
	cr_expect_eq(st.st_mode & 0777, 0600u);
}

static void
note_text(void *ctx, const char *name, const char *json)
{
	strcat(strcat(strcat(strcat(ctx, name), "="), json), ";");
}

static void
note_block(void *ctx, const struct qp_block_row *row)
{
	sprintf((char *)ctx + strlen(ctx), "%s until %u since %u: %s;", row->network,
		(unsigned)row->expires_at, (unsigned)row->since, row->reason);
}

Test(state, clients_and_blocks_are_there_after_a_restart)
{
	char text[256] = "";

	start_in(dir);
	qp_state_put_client(state, "bob", "{\"x\":\"'; DROP TABLE clients; --\"}");
	qp_state_put_client(state, "alice", "{}");
	qp_state_put_client(state, "carol", "{}");
	cr_expect_eq(qp_state_drop_client(state, "carol"), 0);
	cr_expect_eq(qp_state_drop_client(state, "carol"), QP_E_NOTFOUND);
	qp_state_put_block(state, &(struct qp_block_row) {"198.51.100.0/24", 0, 7, "flood"});
	qp_state_put_block(state, &(struct qp_block_row) {"192.0.2.1", 9, 8, ""});
	qp_state_put_block(state, &(struct qp_block_row) {"2001:db8::/32", 9, 8, ""});
	cr_expect_eq(qp_state_drop_block(state, "2001:db8::/32"), 0);
	cr_expect_eq(qp_state_drop_block(state, "2001:db8::/32"), QP_E_NOTFOUND);
	restart();
	cr_assert_eq(qp_state_each_client(state, note_text, text), 0);
	cr_expect_str_eq(text, "alice={};bob={\"x\":\"'; DROP TABLE clients; --\"};");
	text[0] = '\0';
	cr_assert_eq(qp_state_each_block(state, note_block, text), 0);
	cr_expect_str_eq(text, "192.0.2.1 until 9 since 8: ;"
			       "198.51.100.0/24 until 0 since 7: flood;");
}

/* A process that has the file open until its pipe is closed. */
static pid_t
other_gateway(int *hold)
{
	int held[2], ready[2];
	char byte = 1;
	pid_t pid;

	cr_assert_eq(pipe(held) | pipe(ready), 0);
	pid = fork();
	if (pid == 0) {
		close(held[1]);
		start_in(dir);
		put(9009, "theirs");
		qp_state_sync(state, PATIENCE_MS);
		if (write(ready[1], &byte, 1) != 1 || read(held[0], &byte, 1) != 0)
			_exit(1);
		_exit(0);
	}
	close(held[0]);
	close(ready[1]);
	cr_assert_eq(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	*hold = held[1];
	return pid;
}

Test(state, file_of_another_gateway_is_left_alone)
{
	int hold, status;
	pid_t pid = other_gateway(&hold);

	start_in(dir);
	cr_expect_not(on_disk());
	read_leases();
	cr_expect_eq(leases.n, 0u, "theirs");
	put(9001, "ours");
	cr_expect_eq(qp_state_sync(state, PATIENCE_MS), QP_E_IO);
	read_leases();
	cr_expect_eq(leases.n, 1u);
	close(hold);
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_expect_eq(status, 0);
	qp_state_close(state);
	start_in(dir);
	cr_expect(on_disk());
	read_leases();
	cr_assert_eq(leases.n, 1u);
	cr_expect_str_eq(leases.at[0].client, "theirs");
}

static void
overwrite(const char *file, off_t at, size_t len, char fill)
{
	int fd = open(file, O_WRONLY | O_CREAT, 0600);
	char bytes[8192];

	memset(bytes, fill, sizeof(bytes));
	cr_assert_eq(pwrite(fd, bytes, len, at), (ssize_t)len);
	close(fd);
}

static void
expect_begun_anew(void)
{
	start_in(dir);
	cr_expect(on_disk());
	cr_expect_eq(files_with(".bad-"), 1u);
	read_leases();
	cr_expect_eq(leases.n, 0u);
	put(9001, "alice");
	cr_expect_eq(qp_state_sync(state, PATIENCE_MS), 0);
	restart();
	read_leases();
	cr_expect_eq(leases.n, 1u);
}

Test(state, file_that_is_no_database_is_moved_aside)
{
	overwrite(path, 0, 3000, 'x');
	expect_begun_anew();
}

Test(state, database_with_a_broken_page_is_moved_aside)
{
	struct stat st;

	start_in(dir);
	for (uint16_t port = 1000; port < 2000; port++)
		put(port, "alice");
	qp_state_close(state);
	state = NULL;
	cr_assert_eq(stat(path, &st), 0);
	cr_assert_gt(st.st_size, 5 * 4096);
	overwrite(path, st.st_size - 8192, 8192, '\xee');
	expect_begun_anew();
}

/* As no version of ours leaves it. */
static void
change_by_hand(const char *sql)
{
	sqlite3 *db;

	start_in(dir);
	put(9001, "alice");
	qp_state_close(state);
	state = NULL;
	cr_assert_eq(sqlite3_open(path, &db), SQLITE_OK);
	cr_assert_eq(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
}

Test(state, database_of_a_version_below_all_is_moved_aside)
{
	change_by_hand("PRAGMA user_version = -2147483648");
	expect_begun_anew();
}

Test(state, database_without_its_tables_is_moved_aside)
{
	change_by_hand("DROP TABLE leases");
	expect_begun_anew();
}

Test(state, database_of_a_newer_version_is_left_alone)
{
	sqlite3 *db;
	int version = 0;

	start_in(dir);
	put(9001, "alice");
	qp_state_close(state);
	state = NULL;
	cr_assert_eq(sqlite3_open(path, &db), SQLITE_OK);
	cr_assert_eq(sqlite3_exec(db, "PRAGMA user_version = 99; PRAGMA application_id = 99", NULL,
			     NULL, NULL),
		SQLITE_OK);
	sqlite3_close(db);
	start_in(dir);
	cr_expect_not(on_disk());
	put(9002, "bob");
	qp_state_close(state);
	state = NULL;
	cr_expect_eq(files_with(".bad-"), 0u);
	sqlite3_stmt *stmt;
	cr_assert_eq(sqlite3_open(path, &db), SQLITE_OK);
	sqlite3_prepare_v2(db, "SELECT count(*) + 100 * (SELECT user_version FROM"
			       " pragma_user_version) FROM leases", -1, &stmt, NULL);
	cr_assert_eq(sqlite3_step(stmt), SQLITE_ROW);
	version = sqlite3_column_int(stmt, 0);
	sqlite3_finalize(stmt);
	sqlite3_close(db);
	cr_expect_eq(version, 9901);
}

Test(state, database_of_a_newer_version_that_only_adds_is_used_and_stays_one)
{
	sqlite3 *db;

	start_in(dir);
	put(9001, "alice");
	qp_state_close(state);
	state = NULL;
	change_by_hand("ALTER TABLE leases ADD COLUMN colour TEXT NOT NULL DEFAULT 'red'");
	change_by_hand("CREATE TABLE tomorrow(what TEXT)");
	change_by_hand("PRAGMA user_version = 2");
	start_in(dir);
	cr_expect(on_disk());
	put(9002, "bob");
	qp_state_close(state);
	state = NULL;
	sqlite3_stmt *stmt;
	cr_assert_eq(sqlite3_open(path, &db), SQLITE_OK);
	sqlite3_prepare_v2(db, "SELECT count(*) + 100 * (SELECT user_version FROM"
			       " pragma_user_version) FROM leases, tomorrow WHERE colour = 'red'"
			       " UNION ALL SELECT count(*) + 100 * (SELECT user_version FROM"
			       " pragma_user_version) FROM leases", -1, &stmt, NULL);
	cr_assert_eq(sqlite3_step(stmt), SQLITE_ROW, "the other version's table is gone");
	cr_assert_eq(sqlite3_step(stmt), SQLITE_ROW);
	cr_expect_eq(sqlite3_column_int(stmt, 0), 202);
	sqlite3_finalize(stmt);
	sqlite3_close(db);
}

Test(state, folder_that_cannot_be_made_is_survived)
{
	start_in("/proc/nowhere");
	cr_expect_not(on_disk());
	put(9001, "alice");
	read_leases();
	cr_expect_eq(leases.n, 1u);
}

/* A small file system of the test's own at `dir`; false: it may not mount. */
static bool
mount_small(const char *options)
{
	if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return false;
	return mount("small", dir, "tmpfs", 0, options) == 0;
}

/* Before the suite's own. */
static void
leave_small(void)
{
	qp_state_close(state);
	state = NULL;
	umount2(dir, MNT_DETACH);
}

Test(state, full_disk_costs_no_row_and_is_come_back_to, .fini = leave_small)
{
	char filler[96];
	struct qp_state_stats stats;

	if (!mount_small("size=512k"))
		cr_skip_test("a mount namespace needs root");
	snprintf(filler, sizeof(filler), "%s/filler", dir);
	start_in(dir);
	put(9001, "before");
	cr_assert_eq(qp_state_sync(state, PATIENCE_MS), 0);
	for (off_t at = 0;; at += 4096) {
		int fd = open(filler, O_WRONLY | O_CREAT, 0600);
		char page[4096] = {1};
		ssize_t n = pwrite(fd, page, sizeof(page), at);

		close(fd);
		if (n < (ssize_t)sizeof(page))
			break;
	}
	/* The log's present pages may take some more. */
	for (uint16_t port = 1000; on_disk() && port < 4000; port++) {
		put(port, "meanwhile");
		qp_state_sync(state, PATIENCE_MS);
	}
	cr_expect_not(on_disk());
	cr_expect_eq(qp_state_sync(state, PATIENCE_MS), QP_E_IO);
	put(9002, "in memory");
	qp_state_stats(state, &stats);
	cr_expect_gt(stats.failures, 0u);
	read_leases();
	unsigned all = leases.n;
	cr_assert_eq(unlink(filler), 0);
	until_on_disk(true);
	put(9003, "afterwards");
	cr_expect_eq(qp_state_sync(state, PATIENCE_MS), 0);
	restart();
	cr_expect(on_disk());
	read_leases();
	cr_expect_eq(leases.n, all + 1);
}

Test(state, read_only_file_system_is_read_and_come_back_to, .fini = leave_small)
{
	if (!mount_small("size=1m"))
		cr_skip_test("a mount namespace needs root");
	start_in(dir);
	put(9001, "before");
	qp_state_close(state);
	state = NULL;
	cr_assert_eq(mount(NULL, dir, NULL, MS_REMOUNT | MS_RDONLY, NULL), 0);
	start_in(dir);
	cr_expect_not(on_disk());
	read_leases();
	cr_assert_eq(leases.n, 1u);
	put(9002, "meanwhile");
	cr_assert_eq(mount(NULL, dir, NULL, MS_REMOUNT, NULL), 0);
	until_on_disk(true);
	restart();
	read_leases();
	cr_expect_eq(leases.n, 2u);
	cr_expect_eq(files_with(".bad-"), 0u);
}

/* Leases, a client and a block, round and round; tells each port that is on the disk. */
static void
write_until_killed(int out, uint16_t from)
{
	char name[32];

	start_in(dir);
	if (!on_disk())
		_exit(2);
	for (uint16_t port = from;; port++) {
		put(port, "alice");
		snprintf(name, sizeof(name), "client%u", port % 50u);
		if (port % 2 == 0)
			qp_state_put_client(state, name, "{\"ports\":\"any\"}");
		else
			qp_state_drop_client(state, name);
		qp_state_put_block(state, &(struct qp_block_row) {name, port, 1, "test"});
		if (port % 7 == 0 && (qp_state_sync(state, PATIENCE_MS) != 0 ||
			write(out, &port, sizeof(port)) != (ssize_t)sizeof(port)))
			_exit(1);
	}
}

Test(state, killed_at_any_moment_it_has_all_that_was_synced, .timeout = 120)
{
	uint16_t last = 999;
	unsigned short seed[3] = {1, 2, 3};

	for (int round = 0; round < 60; round++) {
		int pipe_fd[2], status;
		uint16_t told = last, got;
		long delay_us = 2000 + nrand48(seed) % 30000;
		pid_t pid;

		cr_assert_eq(pipe(pipe_fd), 0);
		pid = fork();
		if (pid == 0)
			write_until_killed(pipe_fd[1], (uint16_t)(last + 1));
		close(pipe_fd[1]);
		nanosleep(&(struct timespec) {.tv_nsec = delay_us * 1000}, NULL);
		kill(pid, SIGKILL);
		waitpid(pid, &status, 0);
		cr_assert(WIFSIGNALED(status), "it ended by itself: %d", status);
		while (read(pipe_fd[0], &got, sizeof(got)) == (ssize_t)sizeof(got))
			told = got;
		close(pipe_fd[0]);
		start_in(dir);
		cr_assert(on_disk());
		cr_assert_eq(files_with(".bad-"), 0u);
		read_leases();
		/* Ordered by use, which is by port: none is missing in the middle. */
		for (unsigned i = 0; i < leases.n; i++)
			cr_assert_eq(leases.at[i].port, 1000u + i);
		cr_assert_geq(leases.n, told - 999u);
		last = (uint16_t)(999 + leases.n);
		qp_state_close(state);
		state = NULL;
	}
	cr_expect_gt(last, 1200, "the children wrote too little to be killed in the middle");
}

Test(state, loop_does_not_wait_for_the_disk)
{
	struct timespec began, ended;
	uint64_t longest_us = 0, took_us;

	start_in(dir);
	for (unsigned i = 0; i < 5000; i++) {
		clock_gettime(CLOCK_MONOTONIC, &began);
		put((uint16_t)(10000 + i), "alice");
		clock_gettime(CLOCK_MONOTONIC, &ended);
		took_us = (uint64_t)(ended.tv_sec - began.tv_sec) * 1000000u +
			  (uint64_t)(ended.tv_nsec / 1000) - (uint64_t)(began.tv_nsec / 1000);
		longest_us = took_us > longest_us ? took_us : longest_us;
	}
	cr_expect_eq(qp_state_sync(state, PATIENCE_MS), 0);
	/* A promise of a few ms; a loaded machine may take a time slice away in the middle. */
	cr_expect_lt(longest_us, 50000u);
}
