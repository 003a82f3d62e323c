/* SPDX-License-Identifier: Apache-2.0 */
/* Last words of processes that crash in several ways, and what becomes of the process. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/crash.h"

static struct qp_last_words *words;

static void
share(void)
{
	words = mmap(NULL, sizeof(*words), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		0);
	cr_assert_neq(words, MAP_FAILED);
}

TestSuite(crash, .init = share, .timeout = 60);

/* Its wait status. */
static int
status_of(void (*die)(void), const char *path)
{
	const struct rlimit no_core = {0, 0};
	pid_t pid = fork();
	int status;

	cr_assert_geq(pid, 0);
	if (pid == 0) {
		setrlimit(RLIMIT_CORE, &no_core);
		for (int s = 1; s < 32; s++)
			signal(s, SIG_DFL);
		qp_crash_handle(&(struct qp_crash_config) {
			.words = path == NULL ? words : NULL, .path = path});
		qp_crash_this_thread("main");
		die();
		_exit(0);
	}
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	return status;
}

static int
signal_of(void (*die)(void))
{
	int status = status_of(die, NULL);

	words->text[sizeof(words->text) - 1] = '\0';
	return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static volatile int *volatile nowhere = (volatile int *)0x10;

__attribute__((noinline)) static void
write_nowhere(void)
{
	*nowhere = 1;
}

Test(crash, write_to_nowhere_tells_where)
{
#ifdef QP_CRASH_SANITIZED
	cr_skip_test("the sanitizer reports by itself");
#endif
	cr_expect_eq(signal_of(write_nowhere), SIGSEGV);
	cr_expect_eq(words->magic, QP_LAST_WORDS_MAGIC);
	cr_expect_not_null(strstr(words->text, "signal 11 (SIGSEGV) at address 0x10\n"), "%s",
		words->text);
	cr_expect_not_null(strstr(words->text, "thread main, tid "));
	cr_expect_not_null(strstr(words->text, "\n#0 test_crash+0x"), "%s", words->text);
	cr_expect_not_null(strstr(words->text, "\n#1 test_crash+0x"), "%s", words->text);
	cr_expect_not_null(strstr(words->text, "\nmodule test_crash at 0x"));
	cr_expect_not_null(strstr(words->text, "version " QP_VERSION "\n"));
}

Test(crash, backtrace_names_the_function_that_crashed)
{
#ifdef QP_CRASH_SANITIZED
	cr_skip_test("the sanitizer reports by itself");
#endif
	unsigned long offset = 0, base = 0;
	char *at;

	cr_assert_eq(signal_of(write_nowhere), SIGSEGV);
	at = strstr(words->text, "\n#0 test_crash+0x");
	cr_assert_not_null(at);
	offset = strtoul(at + strlen("\n#0 test_crash+"), NULL, 16);
	at = strstr(words->text, "\nmodule test_crash at 0x");
	cr_assert_not_null(at);
	base = strtoul(at + strlen("\nmodule test_crash at "), NULL, 16);
	/* The child was a fork: its addresses are ours. */
	cr_expect_geq(base + offset, (uintptr_t)write_nowhere);
	cr_expect_lt(base + offset, (uintptr_t)write_nowhere + 64);
}

static volatile unsigned depth = 100000000;

__attribute__((noinline)) static unsigned
recurse(void)
{
	volatile char page[4096];

	page[0] = (char)depth;
	return depth-- == 0 ? 0 : recurse() + (unsigned char)page[0];
}

static void
overflow(void)
{
	depth += recurse();
}

Test(crash, stack_overflow_is_told_from_another_stack)
{
#ifdef QP_CRASH_SANITIZED
	cr_skip_test("the sanitizer reports by itself");
#endif
	cr_expect_eq(signal_of(overflow), SIGSEGV);
	cr_expect_not_null(strstr(words->text, "signal 11"), "%s", words->text);
	cr_expect_not_null(strstr(words->text, "\n#2 "), "%s", words->text);
}
Test(crash, abort_still_aborts)
{
	cr_expect_eq(signal_of(abort), SIGABRT);
#ifndef QP_CRASH_SANITIZED
	cr_expect_not_null(strstr(words->text, "signal 6 (SIGABRT) sent by process "));
#endif
}

static void
kill_itself(void)
{
	raise(SIGBUS);
}

Test(crash, signal_of_another_process_ends_it_too)
{
	cr_expect_eq(signal_of(kill_itself), SIGBUS);
}

static void *
crash_in_thread(void *arg)
{
	qp_crash_this_thread("worker 3");
	write_nowhere();
	return arg;
}

static void
crash_in_threads(void)
{
	pthread_t t[4];

	for (unsigned i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, crash_in_thread, NULL);
	for (unsigned i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
}

Test(crash, threads_that_crash_at_once_tell_one_whole_story)
{
#ifdef QP_CRASH_SANITIZED
	cr_skip_test("the sanitizer reports by itself");
#endif
	for (unsigned i = 0; i < 20; i++) {
		char *first;

		cr_assert_eq(signal_of(crash_in_threads), SIGSEGV);
		first = strstr(words->text, "signal 11");
		cr_assert_not_null(first);
		cr_expect_null(strstr(first + 1, "signal 11"));
		cr_expect_not_null(strstr(words->text, "thread worker 3, tid "));
		cr_expect_not_null(strstr(words->text, "\nmodule test_crash at 0x"), "%s",
			words->text);
	}
}

Test(crash, without_shared_memory_a_file_is_written)
{
#ifdef QP_CRASH_SANITIZED
	cr_skip_test("the sanitizer reports by itself");
#endif
	char path[64], text[4096] = "";
	int status, fd;

	snprintf(path, sizeof(path), "/tmp/qp-test-crash-%d", (int)getpid());
	status = status_of(write_nowhere, path);
	cr_expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
	fd = open(path, O_RDONLY);
	cr_assert_geq(fd, 0);
	cr_expect_gt(read(fd, text, sizeof(text) - 1), 0);
	close(fd);
	unlink(path);
	cr_expect_not_null(strstr(text, "signal 11 (SIGSEGV)"));
}
