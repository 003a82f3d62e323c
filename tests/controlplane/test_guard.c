/* SPDX-License-Identifier: Apache-2.0 */
/* A call that does not return is noticed, one that does is left alone. */
#include <criterion/criterion.h>
#include <criterion/redirect.h>
#include <sys/wait.h>
#include <unistd.h>

#include "controlplane/guard.h"

Test(guard, call_that_hangs_ends_the_process_with_a_line)
{
	char text[256] = "";
	int fds[2], status = 0;
	size_t at = 0;
	ssize_t n;
	pid_t pid;

	cr_assert_eq(pipe(fds), 0);
	pid = fork();
	cr_assert_geq(pid, 0);
	if (pid == 0) {
		dup2(fds[1], STDERR_FILENO);
		close(fds[1]);
		qp_guard_begin(1, "attaching hangs");
		for (;;)
			pause();
	}
	close(fds[1]);
	while (at < sizeof(text) - 1 && (n = read(fds[0], text + at, sizeof(text) - 1 - at)) > 0)
		at += (size_t)n;
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 1);
	cr_assert_not_null(strstr(text, "attaching hangs"), "%s", text);
}

Test(guard, call_that_returns_is_left_alone)
{
	for (int i = 0; i < 100; i++) {
		qp_guard_begin(60, "later");
		qp_guard_end();
	}
}
