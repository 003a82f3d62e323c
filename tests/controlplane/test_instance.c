/* SPDX-License-Identifier: Apache-2.0 */
/* Instances: names, locks, and clearing away what dead gateways left. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "controlplane/instance.h"
#include "controlplane/launcher.h"
#include "controlplane/stale.h"
#include "tests/common/support.h"
#include "tests/controlplane/hostnet_double.h"

static char root[256];

static void
start(void)
{
	snprintf(root, sizeof(root), "%s/run", scratch_make());
}

static void
stop(void)
{
	char command[300];

	snprintf(command, sizeof(command), "rm -rf '%s'", root);
	cr_assert_eq(system(command), 0);
	scratch_remove();
}

TestSuite(instance, .init = start, .fini = stop, .timeout = 60);
TestSuite(proc, .timeout = 60);

static struct qp_sockaddr
addr(const char *text)
{
	struct qp_sockaddr a;

	cr_assert_eq(qp_sockaddr_parse(text, &a, NULL), 0);
	return a;
}

static void
open_ok(struct qp_instance *inst, const char *text)
{
	struct qp_sockaddr a = addr(text);
	struct qp_errmsg msg;

	cr_assert_eq(qp_instance_open(root, &a, inst, &msg), 0, "%s", msg.text);
}

Test(instance, name_tells_address_and_namespace_apart)
{
	struct qp_sockaddr a = addr("127.0.0.1:39000"), b = addr("127.0.0.1:39001");
	char one[32], again[32], port[32], ns[32];
	uint32_t hash;

	qp_instance_name(&a, 7, &hash, one);
	qp_instance_name(&a, 7, &hash, again);
	qp_instance_name(&b, 7, &hash, port);
	qp_instance_name(&a, 8, &hash, ns);
	cr_expect_str_eq(one, again);
	cr_expect_str_neq(one, port);
	cr_expect_str_neq(one, ns);
	cr_expect_eq(strlen(one), strlen("quicport-12345678"));
}

Test(instance, opened_and_closed_leaves_nothing)
{
	struct qp_instance inst;
	struct stat st;

	open_ok(&inst, "127.0.0.1:39000");
	cr_expect_eq(stat(inst.dir, &st), 0);
	cr_expect_eq(st.st_mode & 0777, 0700u);
	cr_expect_eq(nundone, 0u, "there was nothing to undo");
	qp_instance_close(&inst);
	cr_expect_eq(stat(inst.dir, &st), -1);
}

Test(instance, second_gateway_is_refused_with_pid_and_address)
{
	struct qp_sockaddr a = addr("127.0.0.1:39000");
	struct qp_instance first, second;
	struct qp_errmsg msg;
	char want[64];

	open_ok(&first, "127.0.0.1:39000");
	cr_expect_eq(qp_instance_open(root, &a, &second, &msg), QP_E_INUSE);
	snprintf(want, sizeof(want), "127.0.0.1:39000 already (process %d)", (int)getpid());
	cr_expect_not_null(strstr(msg.text, want), "%s", msg.text);
	qp_instance_close(&first);
	open_ok(&second, "127.0.0.1:39000");
	qp_instance_close(&second);
}

/* A process that does nothing until it is killed, or ends by SIGTERM. */
static pid_t
start_sleeper(void)
{
	pid_t pid = fork();

	if (pid == 0) {
		for (;;)
			pause();
	}
	return pid;
}

/* An instance whose gateway was killed: its folder, no lock. */
static void
leave_dead(struct qp_instance *inst, const char *text)
{
	open_ok(inst, text);
	close(inst->lock_fd);
}

Test(instance, dead_predecessor_is_cleared_away)
{
	struct qp_instance dead, inst;
	struct qp_errmsg msg;
	pid_t pid = start_sleeper();
	char file[300];
	int status;

	leave_dead(&dead, "127.0.0.1:39000");
	cr_assert_eq(qp_instance_add_process(&dead, pid, &msg), 0);
	open_ok(&inst, "127.0.0.1:39000");
	cr_expect_eq(waitpid(pid, &status, WNOHANG), pid, "its process lives");
	cr_expect_eq(nundone, 1u);
	cr_expect_str_eq(undone[0].dir, inst.dir);
	snprintf(file, sizeof(file), "%s/lock", inst.dir);
	cr_expect_eq(access(file, F_OK), 0);
	qp_instance_close(&inst);
}

Test(instance, dead_neighbour_is_cleared_away_a_living_one_is_not)
{
	struct qp_instance dead, living, inst;
	pid_t old = start_sleeper(), young = start_sleeper();
	struct qp_errmsg msg;
	int status;

	leave_dead(&dead, "127.0.0.1:39000");
	cr_assert_eq(qp_instance_add_process(&dead, old, &msg), 0);
	open_ok(&living, "127.0.0.1:39001"); /* clears the first one away already */
	cr_expect_eq(waitpid(old, &status, WNOHANG), old);
	cr_expect_eq(access(dead.dir, F_OK), -1);
	cr_assert_eq(qp_instance_add_process(&living, young, &msg), 0);
	open_ok(&inst, "127.0.0.1:39002");
	cr_expect_eq(waitpid(young, &status, WNOHANG), 0, "a living gateway's process was ended");
	cr_expect_eq(access(living.dir, F_OK), 0);
	cr_expect_eq(nundone, 1u);
	kill(young, SIGKILL);
	qp_instance_close(&living);
	qp_instance_close(&inst);
}

Test(instance, recycled_pid_is_left_alone)
{
	struct qp_proc_id id;
	pid_t pid = start_sleeper();
	struct qp_instance dead, inst;
	struct qp_errmsg msg;
	int status;

	leave_dead(&dead, "127.0.0.1:39000");
	cr_assert_eq(qp_proc_identify(pid, &id), 0);
	id.start_ticks--; /* an older process once had this pid */
	cr_assert_eq(qp_stale_write_processes(dead.dir, &id, 1, &msg), 0);
	open_ok(&inst, "127.0.0.1:39000");
	cr_expect_eq(waitpid(pid, &status, WNOHANG), 0, "a stranger was ended");

	close(inst.lock_fd);
	cr_assert_eq(qp_proc_identify(pid, &id), 0);
	snprintf(id.program, sizeof(id.program), "quicport-other");
	cr_assert_eq(qp_stale_write_processes(dead.dir, &id, 1, &msg), 0);
	open_ok(&inst, "127.0.0.1:39000");
	cr_expect_eq(waitpid(pid, &status, WNOHANG), 0, "a stranger was ended");
	kill(pid, SIGKILL);
	qp_instance_close(&inst);
}

Test(instance, foreign_namespace_is_entered_and_left)
{
	struct qp_instance dead, inst;
	struct qp_errmsg msg;
	ino_t here = qp_netns_inode(), there = 0;
	int p[2];
	pid_t pid;

	cr_assert_eq(geteuid(), 0u, "this test needs root");
	cr_assert_eq(pipe(p), 0);
	pid = fork();
	if (pid == 0) {
		if (unshare(CLONE_NEWNET) != 0)
			_exit(1);
		there = qp_netns_inode();
		if (write(p[1], &there, sizeof(there)) < 0)
			_exit(1);
		for (;;)
			pause();
	}
	cr_assert_eq(read(p[0], &there, sizeof(there)), (ssize_t)sizeof(there));
	leave_dead(&dead, "127.0.0.1:39000");
	cr_assert_eq(qp_stale_write_netns(dead.dir, there, &msg), 0);
	cr_assert_eq(qp_instance_add_process(&dead, pid, &msg), 0);

	open_ok(&inst, "127.0.0.1:39001");
	cr_assert_eq(nundone, 1u);
	cr_expect_eq(undone[0].netns, there, "it was undone in the wrong namespace");
	cr_expect_eq(qp_netns_inode(), here, "we are in the wrong namespace now");
	waitpid(pid, NULL, 0);

	/* The namespace is gone with its last process: there is nothing to undo. */
	leave_dead(&dead, "127.0.0.1:39000");
	cr_assert_eq(qp_stale_write_netns(dead.dir, there, &msg), 0);
	qp_instance_close(&inst);
	open_ok(&inst, "127.0.0.1:39001");
	cr_expect_eq(nundone, 1u);
	cr_expect_eq(access(dead.dir, F_OK), -1);
	qp_instance_close(&inst);
}

Test(instance, torn_process_list_is_read_as_far_as_it_goes)
{
	struct qp_proc_id ids[4];
	char path[300];
	FILE *f;

	mkdir(root, 0700);
	snprintf(path, sizeof(path), "%s/processes", root);
	f = fopen(path, "we");
	fputs("12 34 quicport-port-owner\nrubbish\n\n56 78 with space\n9", f);
	fclose(f);
	cr_expect_eq(qp_stale_read_processes(root, ids, 4), 2u);
	cr_expect_eq(ids[0].pid, 12);
	cr_expect_eq(ids[0].start_ticks, 34u);
	cr_expect_str_eq(ids[1].program, "with space");
	cr_expect_eq(qp_stale_read_processes("/nonexistent", ids, 4), 0u);
}

Test(instance, process_that_could_not_be_written_down_takes_no_place)
{
	struct qp_instance inst;
	struct qp_errmsg msg;
	char away[300];

	open_ok(&inst, "127.0.0.1:39000");
	snprintf(away, sizeof(away), "%s/away", root);
	cr_assert_eq(rename(inst.dir, away), 0);
	for (unsigned i = 0; i <= QP_INSTANCE_MAX_PROCESSES; i++)
		cr_expect_neq(qp_instance_add_process(&inst, getpid(), &msg), 0);
	cr_expect_eq(qp_instance_place(&inst, getpid()), -1);
	cr_assert_eq(rename(away, inst.dir), 0);
	cr_expect_eq(qp_instance_add_process(&inst, getpid(), &msg), 0, "%s", msg.text);
	cr_expect_eq(qp_instance_place(&inst, getpid()), 0);
	qp_instance_close(&inst);
}

Test(proc, zombie_is_not_alive)
{
	struct qp_proc_id id;
	siginfo_t info;
	pid_t pid = start_sleeper();

	cr_assert_eq(qp_proc_identify(pid, &id), 0);
	cr_expect(qp_proc_alive(&id));
	kill(pid, SIGKILL);
	cr_assert_eq(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
	cr_expect_not(qp_proc_alive(&id));
	cr_expect(qp_proc_end(&id, 1000));
	waitpid(pid, NULL, 0);
}

Test(proc, deaf_process_is_killed)
{
	struct qp_proc_id id;
	int p[2], status;
	pid_t pid;
	char c;

	cr_assert_eq(pipe(p), 0);
	pid = fork();
	if (pid == 0) {
		signal(SIGTERM, SIG_IGN);
		if (write(p[1], "x", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	cr_assert_eq(read(p[0], &c, 1), 1);
	cr_assert_eq(qp_proc_identify(pid, &id), 0);
	cr_expect(qp_proc_end(&id, 50));
	cr_expect_eq(waitpid(pid, &status, 0), pid);
	cr_expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static int ended_status = -1;

static void
on_ended(void *ctx, int status)
{
	ended_status = status;
	qp_loop_stop(ctx);
}

/* Its descriptors are numbered as promised, and it has no other. */
Test(proc, child_gets_its_descriptors_and_a_session)
{
	struct qp_loop *loop = qp_loop_new();
	struct qp_child child = QP_CHILD_NONE;
	const char *script = "echo hello >&3; cat <&4 >&3; "
			     "test $(ls /proc/self/fd | wc -l) -le 6 || exit 3; "
			     "test $(ps -o sid= -p $$) = $$ || exit 4; exit 7";
	const char *argv[] = {"sh", "-c", script, NULL};
	struct qp_errmsg msg;
	int out[2], in[2];
	char text[64] = "";

	cr_assert_eq(pipe2(out, O_CLOEXEC) | pipe2(in, O_CLOEXEC), 0);
	cr_assert_eq(write(in[1], "world", 5), 5);
	close(in[1]);
	/* In the order that a naive dup2 would get wrong. */
	const int fds[] = {out[1], in[0]};
	cr_assert_eq(qp_child_start(loop, &child, "/bin/sh", argv, fds, 2, on_ended, loop, &msg), 0,
		"%s", msg.text);
	qp_loop_run(loop);
	close(out[1]);
	cr_expect(WIFEXITED(ended_status) && WEXITSTATUS(ended_status) == 7, "status %x",
		ended_status);
	cr_expect_eq(read(out[0], text, sizeof(text) - 1), 11);
	cr_expect_str_eq(text, "hello\nworld");
	cr_expect_eq(child.pid, 0);
	qp_loop_free(loop);
}

Test(proc, missing_program_is_told)
{
	struct qp_loop *loop = qp_loop_new();
	struct qp_child child = QP_CHILD_NONE;
	const char *argv[] = {"x", NULL};
	struct qp_errmsg msg;
	char path[256];

	cr_expect_neq(
		qp_child_start(loop, &child, "/nonexistent/x", argv, NULL, 0, on_ended, loop, &msg),
		0);
	cr_expect_not_null(strstr(msg.text, "/nonexistent/x"));
	cr_expect_eq(qp_proc_sibling("quicport-nothing", path, sizeof(path), &msg), QP_E_NOTFOUND);
	cr_expect_not_null(strstr(msg.text, "quicport-nothing"));
	qp_loop_free(loop);
}

Test(proc, backoff_grows_to_ten_seconds)
{
	const unsigned want[] = {0, 0, 500, 1000, 2000, 4000, 8000, 10000, 10000};

	for (unsigned i = 0; i < sizeof(want) / sizeof(want[0]); i++)
		cr_expect_eq(qp_launcher_backoff_ms(i, false), want[i], "%u failures: %u ms", i,
			qp_launcher_backoff_ms(i, false));
}

Test(proc, backoff_after_one_that_served_ends_at_a_second)
{
	const unsigned want[] = {0, 0, 500, 1000, 1000, 1000, 1000, 1000};

	for (unsigned i = 0; i < sizeof(want) / sizeof(want[0]); i++)
		cr_expect_eq(qp_launcher_backoff_ms(i, true), want[i], "%u failures: %u ms", i,
			qp_launcher_backoff_ms(i, true));
}
