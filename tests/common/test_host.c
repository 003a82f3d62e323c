/* SPDX-License-Identifier: Apache-2.0 */
/* What a process asks of its host. */
#include "common/host.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/*
 * The rank of this process's session; `fallback` where there is none: no such
 * file, nothing in it (what has no session of its own since the first process),
 * or one that cannot be written.
 */
static int
session_rank(int fallback)
{
	bool fixed = access("/proc/self/autogroup", W_OK) != 0 && errno == EROFS;
	FILE *f = fixed ? NULL : fopen("/proc/self/autogroup", "re");
	int rank = fallback;

	if (f != NULL) {
		if (fscanf(f, "/autogroup-%*u nice %d", &rank) != 1)
			rank = fallback;
		fclose(f);
	}
	return rank;
}

/* In a process and a session of its own: ranks are for good. */
static int
in_child(int (*check)(void))
{
	int status = -1;
	pid_t pid = fork();

	if (pid == 0) {
		setsid();
		setpriority(PRIO_PROCESS, 0, 0); /* whoever ran us may have been modest */
		_exit(check());
	}
	cr_assert(eq(int, waitpid(pid, &status, 0), pid));
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int
check_first(void)
{
	qp_host_go_first();
	return getpriority(PRIO_PROCESS, 0) != -5 || session_rank(-5) != -5;
}

static int
check_rank_that_was_given(void)
{
	FILE *f = fopen("/proc/self/autogroup", "we");

	setpriority(PRIO_PROCESS, 0, 10);
	if (f == NULL || fputs("7", f) < 0 || fclose(f) != 0)
		return 0; /* this session has no rank */
	qp_host_go_first();
	return getpriority(PRIO_PROCESS, 0) != 5 || session_rank(7) != 7;
}

static int
check_without_the_right(void)
{
	if (setresuid(65534, 65534, 65534) != 0)
		return 1;
	qp_host_go_first();
	return getpriority(PRIO_PROCESS, 0) != 0 || session_rank(0) != 0;
}

Test(host, thread_and_session_go_first)
{
	if (geteuid() != 0)
		cr_skip_test("needs CAP_SYS_NICE");
	cr_assert(eq(int, in_child(check_first), 0));
	cr_assert(eq(int, in_child(check_rank_that_was_given), 0));
	cr_assert(eq(int, in_child(check_without_the_right), 0));
}
