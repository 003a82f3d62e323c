/* SPDX-License-Identifier: Apache-2.0 */
/*
 * qpinject PID NUMBER [ARGUMENT…]: makes each thread of a process do a system
 * call, as a bug in it could, and prints what came back: "TID RESULT", a line
 * each. The thread goes on afterwards as if nothing had been.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>

#if !defined(__x86_64__)
#error "registers of x86-64"
#endif

#define SYSCALL_BYTES 2u

static unsigned long number, argument[6];

static int
wait_stop(pid_t tid)
{
	int status;

	return waitpid(tid, &status, __WALL) == tid && WIFSTOPPED(status) ? 0 : -1;
}

/* The thread sleeps in a system call: its instruction is the one behind. */
static int
do_call(pid_t tid, long long *result)
{
	struct user_regs_struct before, regs;

	if (ptrace(PTRACE_GETREGS, tid, NULL, &before) != 0)
		return -1;
	regs = before;
	regs.orig_rax = (unsigned long long)-1; /* what it slept in is not begun again now */
	regs.rip -= SYSCALL_BYTES;
	regs.rax = number;
	regs.rdi = argument[0];
	regs.rsi = argument[1];
	regs.rdx = argument[2];
	regs.r10 = argument[3];
	regs.r8 = argument[4];
	regs.r9 = argument[5];
	if (ptrace(PTRACE_SETREGS, tid, NULL, &regs) != 0 ||
		ptrace(PTRACE_SINGLESTEP, tid, NULL, NULL) != 0 || wait_stop(tid) != 0 ||
		ptrace(PTRACE_GETREGS, tid, NULL, &regs) != 0)
		return -1;
	*result = (long long)regs.rax;
	return ptrace(PTRACE_SETREGS, tid, NULL, &before) == 0 ? 0 : -1;
}

static int
inject(pid_t tid)
{
	long long result;

	if (ptrace(PTRACE_SEIZE, tid, NULL, NULL) != 0 ||
		ptrace(PTRACE_INTERRUPT, tid, NULL, NULL) != 0 || wait_stop(tid) != 0 ||
		do_call(tid, &result) != 0) {
		perror("ptrace");
		return -1;
	}
	ptrace(PTRACE_DETACH, tid, NULL, NULL);
	printf("%d %lld\n", (int)tid, result);
	return 0;
}

int
main(int argc, char **argv)
{
	char path[64];
	struct dirent *entry;
	DIR *tasks;

	if (argc < 3 || argc > 9)
		return 2;
	number = strtoul(argv[2], NULL, 0);
	for (int i = 3; i < argc; i++)
		argument[i - 3] = strtoul(argv[i], NULL, 0);
	snprintf(path, sizeof(path), "/proc/%d/task", atoi(argv[1]));
	tasks = opendir(path);
	if (tasks == NULL) {
		perror(path);
		return 1;
	}
	while ((entry = readdir(tasks)) != NULL) {
		if (atoi(entry->d_name) > 0 && inject((pid_t)atoi(entry->d_name)) != 0)
			return 1;
	}
	closedir(tasks);
	return 0;
}
