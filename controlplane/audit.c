/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows of the audit log. The loop thread writes each row as it happens: into
 * the page cache, which a SIGKILL does not touch and which takes microseconds.
 * The disk is the sync thread's matter, because fdatasync may take as long as
 * the disk likes.
 */
#include "controlplane/audit.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/log.h"

#define COMPLAIN_EVERY_S 60
#define MAX_HALF_ROW     16384 /* more than a row has */

struct qp_audit {
	char *path;
	int fd;
	bool torn;     /* the last line has no end: the next row begins with one */
	uint64_t lost; /* since the last row that was written */
	time_t complained_at; /* CLOCK_MONOTONIC, seconds; 0: not yet */
	struct qp_audit_stats stats;
	/* Between both threads, under `mutex`. */
	pthread_t syncer;
	pthread_mutex_t mutex;
	pthread_cond_t changed;
	int sync_fd; /* the syncer's own descriptor of the file; -1: nothing to sync */
	bool ending;
	uint64_t syncs_failed;
};

static time_t
seconds(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return now.tv_sec;
}

/* Sleeps for QP_AUDIT_SYNC_MS, or until the end comes. */
static void
rest(struct qp_audit *a)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += QP_AUDIT_SYNC_MS / 1000;
	until.tv_nsec += QP_AUDIT_SYNC_MS % 1000 * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	while (!a->ending && pthread_cond_timedwait(&a->changed, &a->mutex, &until) == 0)
		;
}

static void *
sync_rows(void *arg)
{
	struct qp_audit *a = arg;

	pthread_mutex_lock(&a->mutex);
	while (!a->ending || a->sync_fd >= 0) {
		int fd = a->sync_fd;

		if (fd < 0) {
			pthread_cond_wait(&a->changed, &a->mutex);
			continue;
		}
		a->sync_fd = -1;
		pthread_mutex_unlock(&a->mutex);
		/* A device that has nothing to sync says EINVAL. */
		int failed = fdatasync(fd) < 0 && errno != EINVAL;
		close(fd);
		pthread_mutex_lock(&a->mutex);
		a->syncs_failed += (uint64_t)failed;
		rest(a);
	}
	pthread_mutex_unlock(&a->mutex);
	return NULL;
}

/* The file has rows that the disk may not have. */
static void
want_sync(struct qp_audit *a)
{
	pthread_mutex_lock(&a->mutex);
	if (a->sync_fd < 0) {
		a->sync_fd = fcntl(a->fd, F_DUPFD_CLOEXEC, 0);
		pthread_cond_signal(&a->changed);
	}
	a->stats.syncs_failed = a->syncs_failed;
	pthread_mutex_unlock(&a->mutex);
}

/*
 * A process that was killed in the middle of a row, where that crosses a page,
 * leaves half of it at the end: nothing had come of it yet. Away with it, or
 * whoever reads the file stumbles. A file without any line is left alone: true,
 * what is there has no end.
 */
static bool
drop_half_row(const char *path, int fd)
{
	int in = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	char tail[MAX_HALF_ROW];
	ssize_t n = -1;
	off_t size = 0;

	if (in >= 0) {
		size = lseek(in, 0, SEEK_END);
		n = pread(in, tail, sizeof(tail),
			size > (off_t)sizeof(tail) ? size - (off_t)sizeof(tail) : 0);
		close(in);
	}
	const char *last = n > 0 ? memrchr(tail, '\n', (size_t)n) : NULL;
	off_t half = last != NULL ? tail + n - (last + 1) : 0;
	if (n <= 0 || tail[n - 1] == '\n')
		return false;
	if (last == NULL || ftruncate(fd, size - half) < 0)
		return true;
	qp_log(QP_LOG_WARN, "half a row at the end of the audit log was removed",
		QP_LOG_STR("file", path), QP_LOG_U64("bytes", (uint64_t)half));
	return false;
}

/* The descriptor, or a negative code. */
static int
open_file(const char *path, bool *torn, struct qp_errmsg *msg)
{
	/* Not blocking: a FIFO without a reader would hold us up before we can refuse it. */
	int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0640);
	struct stat st;

	if (fd < 0)
		return qp_fail(msg, qp_err_from_errno(errno), "cannot open the audit log %s: %s", path,
			strerror(errno));
	if (fstat(fd, &st) < 0 || (!S_ISREG(st.st_mode) && !S_ISCHR(st.st_mode))) {
		close(fd);
		return qp_fail(msg, QP_E_INVAL,
			"the audit log %s is no regular file: rows would not stay there", path);
	}
	/* A device may be shared: whoever reads it tells rows apart by their fields. */
	if (S_ISREG(st.st_mode) && flock(fd, LOCK_EX | LOCK_NB) < 0) {
		close(fd);
		return qp_fail(msg, QP_E_INUSE,
			"the audit log %s is another gateway's: give each its own", path);
	}
	*torn = S_ISREG(st.st_mode) && drop_half_row(path, fd);
	return fd;
}

static int
start_syncer(struct qp_audit *a)
{
	pthread_condattr_t attr;
	int err;

	pthread_mutex_init(&a->mutex, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&a->changed, &attr);
	pthread_condattr_destroy(&attr);
	err = pthread_create(&a->syncer, NULL, sync_rows, a);
	if (err == 0)
		return 0;
	pthread_cond_destroy(&a->changed);
	pthread_mutex_destroy(&a->mutex);
	return QP_E_NOMEM;
}

int
qp_audit_open(const char *path, struct qp_audit **out, struct qp_errmsg *msg)
{
	struct qp_audit *a = calloc(1, sizeof(*a));
	int err = QP_E_NOMEM;

	if (a == NULL)
		return qp_fail(msg, QP_E_NOMEM, "out of memory");
	a->sync_fd = -1;
	a->path = strdup(path);
	a->fd = a->path != NULL ? open_file(path, &a->torn, msg) : QP_E_NOMEM;
	if (a->fd >= 0) {
		err = start_syncer(a);
		if (err == 0) {
			*out = a;
			return 0;
		}
		close(a->fd);
		qp_fail(msg, err, "no thread for the audit log can be started");
	} else {
		err = a->fd;
	}
	free(a->path);
	free(a);
	return err;
}

void
qp_audit_close(struct qp_audit *a)
{
	if (a == NULL)
		return;
	pthread_mutex_lock(&a->mutex);
	a->ending = true;
	pthread_cond_signal(&a->changed);
	pthread_mutex_unlock(&a->mutex);
	pthread_join(a->syncer, NULL);
	pthread_cond_destroy(&a->changed);
	pthread_mutex_destroy(&a->mutex);
	close(a->fd);
	free(a->path);
	free(a);
}

int
qp_audit_reopen(struct qp_audit *a, struct qp_errmsg *msg)
{
	struct stat old, now;
	bool torn;
	int fd;

	if (a == NULL)
		return 0;
	/* Still the same file: ours, and its lock with it. */
	if (fstat(a->fd, &old) == 0 && stat(a->path, &now) == 0 && old.st_dev == now.st_dev &&
		old.st_ino == now.st_ino)
		return 0;
	fd = open_file(a->path, &torn, msg);
	if (fd < 0)
		return fd;
	want_sync(a);
	close(a->fd);
	a->fd = fd;
	a->torn = torn;
	return 0;
}

static json_t *
time_text(void)
{
	char text[32];
	struct timespec now;
	struct tm tm;
	size_t len;

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	len = strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(text + len, sizeof(text) - len, ".%03dZ", (int)(now.tv_nsec / 1000000));
	return json_string(text);
}

/* A line with its newline, and one before it; free() it. NULL: out of memory. */
static char *
format(const char *event, json_t *row, size_t *len)
{
	json_t *whole = json_object();
	char *text = NULL, *line = NULL;

	/* Time and event come first: people read rows from their beginning. */
	if (whole != NULL && json_object_set_new(whole, "time", time_text()) == 0 &&
		json_object_set_new(whole, "event", json_string(event)) == 0 &&
		(row == NULL || json_object_update(whole, row) == 0))
		text = json_dumps(whole, JSON_COMPACT);
	json_decref(whole);
	if (text != NULL && asprintf(&line, "\n%s\n", text) < 0)
		line = NULL;
	free(text);
	*len = line != NULL ? strlen(line) : 0;
	return line;
}

static void
complain(struct qp_audit *a, int errnum)
{
	time_t now = seconds(CLOCK_MONOTONIC);

	a->stats.failed++;
	a->lost++;
	if (a->complained_at != 0 && now - a->complained_at < COMPLAIN_EVERY_S)
		return;
	a->complained_at = now;
	qp_log(QP_LOG_ERROR, "the audit log loses rows", QP_LOG_STR("file", a->path),
		QP_LOG_U64("lost", a->lost), QP_LOG_ERRNO(errnum));
}

/* The first bytes of a row that did not fit. Nobody else writes: they are the file's last ones. */
static bool
take_back(struct qp_audit *a, ssize_t n)
{
	struct stat st;

	return fstat(a->fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size >= n &&
	       ftruncate(a->fd, st.st_size - n) == 0;
}

static bool
append(struct qp_audit *a, const char *event, json_t *row)
{
	size_t len;
	char *line = format(event, row, &len);
	size_t skip = a->torn ? 0 : 1;
	ssize_t n;

	if (line == NULL) {
		complain(a, ENOMEM);
		return false;
	}
	n = write(a->fd, line + skip, len - skip);
	if (n == (ssize_t)(len - skip)) {
		a->torn = false;
		a->stats.rows++;
	} else {
		int errnum = n < 0 ? errno : ENOSPC;

		a->torn |= n > 0 && !take_back(a, n);
		complain(a, errnum);
	}
	free(line);
	return n == (ssize_t)(len - skip);
}

void
qp_audit_write(struct qp_audit *a, const char *event, json_t *row)
{
	if (a != NULL && append(a, event, row)) {
		uint64_t lost = a->lost;

		a->lost = 0;
		if (lost > 0) {
			json_t *gap = json_pack("{s:I}", "rows", (json_int_t)lost);

			/* That row's own loss tells nobody anything. */
			if (!append(a, "rows_lost", gap))
				a->lost = lost;
			json_decref(gap);
		}
		want_sync(a);
	}
	json_decref(row);
}

const struct qp_audit_stats *
qp_audit_stats(const struct qp_audit *a)
{
	return a != NULL ? &a->stats : NULL;
}
