/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lines of a log file whose disk is full: none is left half, how many are lost
 * is counted and told by the next one that fits, and standard error hears of it
 * once. Any thread; other processes write into the same file.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "common/log_sink.h"

static _Atomic uint64_t lost, lost_untold;
static _Atomic bool torn; /* the file ends with half a line of ours */
static _Atomic bool told; /* standard error knows */

uint64_t
qp_log_lines_lost(void)
{
	return atomic_load_explicit(&lost, memory_order_relaxed);
}

uint64_t
qp_log_file_untold(void)
{
	return atomic_exchange_explicit(&lost_untold, 0, memory_order_relaxed);
}

/* The first bytes of a line, if they are still the file's last ones. */
static bool
take_back(int fd, ssize_t n)
{
	const off_t end = lseek(fd, 0, SEEK_CUR);
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size == end && end >= n &&
		ftruncate(fd, end - n) == 0;
}

static void
lose(const struct qp_log_sink *s, int errnum)
{
	char text[512];
	int n;

	atomic_fetch_add_explicit(&lost, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&lost_untold, 1, memory_order_relaxed);
	if (atomic_exchange_explicit(&told, true, memory_order_relaxed))
		return;
	n = snprintf(text, sizeof(text), "%s: log lines are lost: cannot write %s: %s\n",
		s->process[0] != '\0' ? s->process : program_invocation_short_name, s->path,
		strerror(errnum));
	if (n > 0 && write(STDERR_FILENO, text, (size_t)n) < 0)
		return; /* nobody is left to tell */
}

bool
qp_log_file_write(const struct qp_log_sink *s, const char *text, size_t len)
{
	const bool begin = atomic_exchange_explicit(&torn, false, memory_order_relaxed);
	const struct iovec piece[2] = {
		{(char *)(uintptr_t)"\n", 1}, {(char *)(uintptr_t)text, len}};
	const size_t all = len + begin;
	ssize_t n;

	do
		n = writev(s->fd, begin ? piece : piece + 1, begin ? 2 : 1);
	while (n < 0 && errno == EINTR);
	if (n == (ssize_t)all) {
		atomic_store_explicit(&told, false, memory_order_relaxed);
		return true;
	}
	lose(s, n < 0 ? errno : ENOSPC);
	/* Taken back is also what would have ended an earlier half. */
	if ((n > 0 && !take_back(s->fd, n)) || begin)
		atomic_store_explicit(&torn, true, memory_order_relaxed);
	return false;
}
