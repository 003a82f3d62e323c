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

/* Whether the file ends in the middle of a line, as a full disk leaves it. */
static bool
ends_torn(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	char last = '\n';
	off_t size;

	if (fd < 0)
		return false;
	size = lseek(fd, 0, SEEK_END);
	if (size > 0 && pread(fd, &last, 1, size - 1) != 1)
		last = '\n';
	close(fd);
	return last != '\n';
}

/* The descriptor, or a negative code. */
static int
open_file(const char *path, struct qp_errmsg *msg)
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
	a->fd = a->path != NULL ? open_file(path, msg) : QP_E_NOMEM;
	if (a->fd >= 0) {
		a->torn = ends_torn(path);
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
	int fd;

	if (a == NULL)
		return 0;
	/* Still the same file: ours, and its lock with it. */
	if (fstat(a->fd, &old) == 0 && stat(a->path, &now) == 0 && old.st_dev == now.st_dev &&
		old.st_ino == now.st_ino)
		return 0;
	fd = open_file(a->path, msg);
	if (fd < 0)
		return fd;
	want_sync(a);
	close(a->fd);
	a->fd = fd;
	a->torn = ends_torn(a->path);
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
		a->torn |= n > 0;
		complain(a, n < 0 ? errno : ENOSPC);
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
