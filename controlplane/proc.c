/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Children and other processes, by pidfd, so that a recycled pid is never
 * signalled. Main thread.
 */
#include "controlplane/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef QP_LIBEXECDIR
#define QP_LIBEXECDIR "/usr/local/libexec/quicport"
#endif

/* Descriptors on their way to a child are kept clear of the numbers they get there. */
#define PARKED_FD 64

/* Field 22, start time; counted from the last ")", since the command before it is any text. */
static int
read_start_ticks(pid_t pid, uint64_t *ticks)
{
	char path[64], text[1024], state;
	unsigned long long value;
	const char *after;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return QP_E_NOTFOUND;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n <= 0)
		return QP_E_NOTFOUND;
	text[n] = '\0';
	after = strrchr(text, ')');
	if (after == NULL ||
		sscanf(after + 1,
			" %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d "
			"%*d %*d %*d %llu",
			&state, &value) != 2 ||
		state == 'Z' || state == 'X')
		return QP_E_NOTFOUND;
	*ticks = value;
	return 0;
}

/* The program's name without folder, nor the mark of a file that was replaced meanwhile. */
static int
read_program(pid_t pid, char *out, size_t cap)
{
	static const char deleted[] = " (deleted)";
	char path[64], target[PATH_MAX];
	const char *base;
	size_t len;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/exe", (int)pid);
	n = readlink(path, target, sizeof(target) - 1);
	if (n <= 0)
		return QP_E_NOTFOUND;
	target[n] = '\0';
	base = strrchr(target, '/') != NULL ? strrchr(target, '/') + 1 : target;
	len = strlen(base);
	if (len > sizeof(deleted) - 1 && strcmp(base + len - (sizeof(deleted) - 1), deleted) == 0)
		len -= sizeof(deleted) - 1;
	if (len == 0 || len >= cap)
		return QP_E_NOTFOUND;
	memcpy(out, base, len);
	out[len] = '\0';
	return 0;
}

int
qp_proc_identify(pid_t pid, struct qp_proc_id *out)
{
	memset(out, 0, sizeof(*out));
	out->pid = pid;
	if (read_start_ticks(pid, &out->start_ticks) != 0)
		return QP_E_NOTFOUND;
	return read_program(pid, out->program, sizeof(out->program));
}

bool
qp_proc_alive(const struct qp_proc_id *id)
{
	struct qp_proc_id now;

	return id->pid > 1 && qp_proc_identify(id->pid, &now) == 0 &&
	       now.start_ticks == id->start_ticks && strcmp(now.program, id->program) == 0;
}

static bool
wait_for_end(int pidfd, unsigned ms)
{
	struct pollfd p = {.fd = pidfd, .events = POLLIN};
	uint64_t deadline = qp_now_ns() + (uint64_t)ms * 1000000u;
	int n;

	do {
		uint64_t now = qp_now_ns();

		n = poll(&p, 1, now < deadline ? (int)((deadline - now) / 1000000u) + 1 : 0);
	} while (n < 0 && errno == EINTR);
	return n > 0;
}

bool
qp_proc_end(const struct qp_proc_id *id, unsigned patience_ms)
{
	int pidfd = pidfd_open(id->pid, 0);
	bool gone;

	if (pidfd < 0)
		return errno == ESRCH;
	/* Identified after the pidfd was opened: the pidfd is that process from here on. */
	if (!qp_proc_alive(id)) {
		close(pidfd);
		return true;
	}
	gone = (pidfd_send_signal(pidfd, SIGTERM, NULL, 0) == 0 || errno == ESRCH) &&
	       wait_for_end(pidfd, patience_ms);
	if (!gone)
		gone = (pidfd_send_signal(pidfd, SIGKILL, NULL, 0) == 0 || errno == ESRCH) &&
		       wait_for_end(pidfd, 2000);
	close(pidfd);
	return gone;
}

/* POSIX: the functions below return an error number, and errno is left alone. */
static int
spawn(const char *path, const char *const argv[], char *const environment[], const int parked[],
	unsigned nfds, pid_t *pid)
{
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attr;
	sigset_t none, all;
	int err;

	sigemptyset(&none);
	sigfillset(&all);
	posix_spawn_file_actions_init(&files);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setflags(
		&attr, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setsigdefault(&attr, &all);
	err = posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	for (unsigned i = 0; err == 0 && i < nfds; i++)
		err = posix_spawn_file_actions_adddup2(
			&files, parked[i], QP_CHILD_FIRST_FD + (int)i);
	if (err == 0)
		err = posix_spawn_file_actions_addclosefrom_np(
			&files, QP_CHILD_FIRST_FD + (int)nfds);
	if (err == 0)
		err = posix_spawn(pid, path, &files, &attr, (char **)(uintptr_t)argv,
			environment);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&files);
	return err;
}

/* Its status, if it is a child of ours all the same. */
static int
reap_adopted(const struct qp_child *c)
{
	siginfo_t info = {0};

	if (waitid(P_PIDFD, (id_t)c->pidfd, &info, WEXITED | WNOHANG) != 0 || info.si_pid != c->pid)
		return QP_STATUS_UNKNOWN;
	return info.si_code == CLD_EXITED ? W_EXITCODE(info.si_status, 0)
					  : W_EXITCODE(0, info.si_status);
}

static void
child_ended(void *ctx, uint32_t events)
{
	struct qp_child *c = ctx;
	int status = 0;
	pid_t pid = c->pid;

	(void)events;
	if (c->adopted)
		status = reap_adopted(c);
	else if (waitpid(pid, &status, WNOHANG) == 0)
		return;
	qp_child_forget(c);
	c->ended(c->ctx, status);
}

int
qp_child_start(struct qp_loop *loop, struct qp_child *c, const char *path, const char *const argv[],
	const int fds[], unsigned nfds, void (*ended)(void *ctx, int status), void *ctx,
	struct qp_errmsg *msg)
{
	return qp_child_start_in(loop, c, path, argv, environ, fds, nfds, ended, ctx, msg);
}

int
qp_child_start_in(struct qp_loop *loop, struct qp_child *c, const char *path,
	const char *const argv[], char *const environment[], const int fds[], unsigned nfds,
	void (*ended)(void *ctx, int status), void *ctx, struct qp_errmsg *msg)
{
	int parked[8] = {-1, -1, -1, -1, -1, -1, -1, -1};
	int err = nfds <= 8 ? 0 : E2BIG;
	pid_t pid = 0;

	for (unsigned i = 0; err == 0 && i < nfds; i++) {
		parked[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, PARKED_FD);
		err = parked[i] < 0 ? errno : 0;
	}
	if (err == 0)
		err = spawn(path, argv, environment, parked, nfds, &pid);
	for (unsigned i = 0; i < nfds && i < 8; i++) {
		if (parked[i] >= 0)
			close(parked[i]);
	}
	if (err != 0)
		return qp_fail(
			msg, qp_err_from_errno(err), "cannot start %s: %s", path, strerror(err));

	*c = (struct qp_child) {
		.pid = pid, .loop = loop, .ended = ended, .ctx = ctx, .watch = QP_WATCH_NONE};
	c->pidfd = pidfd_open(pid, 0);
	if (c->pidfd < 0 ||
		qp_loop_watch(loop, &c->watch, c->pidfd, EPOLLIN, child_ended, c) != 0) {
		err = errno;
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		qp_child_forget(c);
		return qp_fail(msg, QP_E_IO, "cannot watch %s: %s", path, strerror(err));
	}
	return 0;
}

int
qp_child_adopt(struct qp_loop *loop, struct qp_child *c, const struct qp_proc_id *id,
	void (*ended)(void *ctx, int status), void *ctx, struct qp_errmsg *msg)
{
	*c = (struct qp_child) {.pid = id->pid, .pidfd = pidfd_open(id->pid, 0), .adopted = true,
		.loop = loop, .ended = ended, .ctx = ctx, .watch = QP_WATCH_NONE};
	/* Identified after the pidfd was opened: the pidfd is that process from here on. */
	if (c->pidfd < 0 || !qp_proc_alive(id) ||
		qp_loop_watch(loop, &c->watch, c->pidfd, EPOLLIN, child_ended, c) != 0) {
		qp_child_forget(c);
		return qp_fail(msg, QP_E_NOTFOUND, "%s (process %d) has just ended", id->program,
			(int)id->pid);
	}
	return 0;
}

int
qp_proc_peek(int pidfd)
{
	siginfo_t info = {0};

	if (waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED | WNOHANG | WNOWAIT) != 0 ||
		info.si_pid == 0)
		return QP_STATUS_UNKNOWN;
	/* As the macros of waitpid take it apart. */
	return info.si_code == CLD_EXITED ? info.si_status << 8 : info.si_status;
}

void
qp_child_signal(const struct qp_child *c, int signum)
{
	if (c->pid != 0)
		pidfd_send_signal(c->pidfd, signum, NULL, 0);
}

void
qp_child_end(struct qp_child *c)
{
	siginfo_t info;

	if (c->pid == 0)
		return;
	qp_child_signal(c, SIGKILL);
	while (waitid(P_PIDFD, (id_t)c->pidfd, &info, WEXITED) != 0 && errno == EINTR)
		;
	qp_child_forget(c);
}

void
qp_proc_reap_strays(void)
{
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
}

void
qp_child_forget(struct qp_child *c)
{
	if (c->loop != NULL)
		qp_loop_unwatch(c->loop, &c->watch);
	if (c->pidfd >= 0)
		close(c->pidfd);
	c->pidfd = -1;
	c->pid = 0;
}

const char *
qp_proc_status_text(int status, char out[96])
{
	if (status == QP_STATUS_UNKNOWN)
		snprintf(out, 96, "ended");
	else if (WIFSIGNALED(status))
		snprintf(out, 96, "was killed by signal %d (%s)", WTERMSIG(status),
			strsignal(WTERMSIG(status)));
	else
		snprintf(out, 96, "exited with status %d", WEXITSTATUS(status));
	return out;
}

int
qp_proc_sibling(const char *program, char *path, size_t cap, struct qp_errmsg *msg)
{
	char own[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", own, sizeof(own) - 1);
	char *slash;

	if (n > 0) {
		own[n] = '\0';
		slash = strrchr(own, '/');
		*slash = '\0';
		if (snprintf(path, cap, "%s/%s", own, program) < (int)cap &&
			access(path, X_OK) == 0)
			return 0;
	}
	if (snprintf(path, cap, "%s/%s", QP_LIBEXECDIR, program) < (int)cap &&
		access(path, X_OK) == 0)
		return 0;
	return qp_fail(msg, QP_E_NOTFOUND,
		"cannot find the program %s beside this one or in %s: is the installation complete?",
		program, QP_LIBEXECDIR);
}
