/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whole small files: read into guarded memory, written under a temporary name
 * and moved into place. Blocks; not for workers. What is in them is the
 * caller's business.
 */
#include "common/file.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pwd.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int
fail_errno(struct qp_errmsg *msg, const char *verb, const char *path)
{
	int errnum = errno;

	return qp_fail(msg, qp_err_from_errno(errnum), "cannot %s %s: %s", verb, path,
		strerror(errnum));
}

/* Reads until the end or until `cap` bytes are there. Returns bytes, or -1. */
static ssize_t
read_all(int fd, char *buf, size_t cap)
{
	size_t n = 0;

	while (n < cap) {
		ssize_t r = read(fd, buf + n, cap - n);

		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return -1;
		if (r == 0)
			break;
		n += (size_t)r;
	}
	return (ssize_t)n;
}

static int
read_open_file(int fd, const char *path, size_t max, char **data, size_t *len, mode_t *mode,
	struct qp_errmsg *msg)
{
	struct stat st;
	char *buf;
	ssize_t n;

	if (fstat(fd, &st) < 0)
		return fail_errno(msg, "read", path);
	if (!S_ISREG(st.st_mode))
		return qp_fail(msg, QP_E_INVAL, "cannot read %s: not a regular file", path);
	/* One byte beyond `max` tells a file that is too large; one more for the NUL. */
	buf = sodium_malloc(max + 2);
	if (buf == NULL)
		return qp_fail(msg, QP_E_NOMEM, "cannot read %s: out of memory", path);
	n = read_all(fd, buf, max + 1);
	if (n < 0 || (size_t)n > max) {
		int err = n < 0 ? fail_errno(msg, "read", path) :
				  qp_fail(msg, QP_E_FULL, "cannot read %s: larger than %zu bytes",
					  path, max);
		sodium_free(buf);
		return err;
	}
	buf[n] = '\0';
	*data = buf;
	*len = (size_t)n;
	if (mode != NULL)
		*mode = st.st_mode & 07777;
	return QP_OK;
}

int
qp_file_read(const char *path, size_t max, char **data, size_t *len, mode_t *mode,
	struct qp_errmsg *msg)
{
	/* O_NONBLOCK: a FIFO in a file's place must not hang the start. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	int err;

	if (fd < 0)
		return fail_errno(msg, "read", path);
	/* Harmless when repeated; without it, guarded memory does not exist. */
	if (sodium_init() < 0)
		err = qp_fail(msg, QP_E_CRYPTO, "cannot read %s: libsodium does not start", path);
	else
		err = read_open_file(fd, path, max, data, len, mode, msg);
	close(fd);
	return err;
}

void
qp_file_free(char *data)
{
	sodium_free(data);
}

static int
write_all(int fd, const char *data, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, data, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		data += n;
		len -= (size_t)n;
	}
	return 0;
}

/* The name itself is durable only when its folder is on disk. */
static void
sync_folder(const char *path)
{
	char folder[PATH_MAX];
	char *slash;
	int fd;

	snprintf(folder, sizeof(folder), "%s", path);
	slash = strrchr(folder, '/');
	if (slash == NULL)
		snprintf(folder, sizeof(folder), ".");
	else
		slash[slash == folder ? 1 : 0] = '\0';
	fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return;
	/* Not every file system can: the file is complete all the same. */
	(void)fsync(fd);
	close(fd);
}

static int
fill_temporary(int fd, const char *path, const void *data, size_t len, mode_t mode,
	struct qp_errmsg *msg)
{
	if (fchmod(fd, mode) < 0 || write_all(fd, data, len) < 0 || fsync(fd) < 0)
		return fail_errno(msg, "write", path);
	return QP_OK;
}

int
qp_file_write(const char *path, const void *data, size_t len, mode_t mode, bool replace,
	struct qp_errmsg *msg)
{
	char tmp[PATH_MAX];
	int fd, err;

	if ((size_t)snprintf(tmp, sizeof(tmp), "%s.XXXXXX", path) >= sizeof(tmp))
		return qp_fail(msg, QP_E_FULL, "cannot write %s: path too long", path);
	fd = mkostemp(tmp, O_CLOEXEC);
	if (fd < 0)
		return fail_errno(msg, "write", path);
	err = fill_temporary(fd, path, data, len, mode, msg);
	close(fd);
	/* link() refuses an existing name where rename() would take its place. */
	if (err == QP_OK && (replace ? rename(tmp, path) : link(tmp, path)) < 0)
		err = fail_errno(msg, "write", path);
	if (err != QP_OK || !replace)
		(void)unlink(tmp);
	if (err == QP_OK)
		sync_folder(path);
	return err;
}

static bool
is_temporary(const char *name)
{
	const char *suffix = strrchr(name, '.');

	if (suffix == NULL || suffix == name || strlen(suffix) != sizeof(".XXXXXX") - 1)
		return false;
	for (suffix++; isalnum((unsigned char)*suffix); suffix++)
		;
	return *suffix == '\0';
}

void
qp_file_sweep(const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *e;

	if (d == NULL)
		return;
	while ((e = readdir(d)) != NULL) {
		if (is_temporary(e->d_name))
			(void)unlinkat(dirfd(d), e->d_name, 0);
	}
	closedir(d);
}

int
qp_file_make_parents(const char *path, struct qp_errmsg *msg)
{
	char part[PATH_MAX];

	if ((size_t)snprintf(part, sizeof(part), "%s", path) >= sizeof(part))
		return qp_fail(msg, QP_E_FULL, "cannot use %s: path too long", path);
	if (part[0] == '\0')
		return QP_OK;
	for (char *slash = strchr(part + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		if (mkdir(part, 0700) < 0 && errno != EEXIST)
			return fail_errno(msg, "make folder", part);
		*slash = '/';
	}
	return QP_OK;
}

static const char *
home_folder(void)
{
	const char *home = getenv("HOME");
	const struct passwd *pw;

	if (home != NULL && home[0] == '/')
		return home;
	/* A service manager may give none. Only at start-up, so one thread alone asks. */
	pw = getpwuid(geteuid());
	return pw != NULL && pw->pw_dir != NULL && pw->pw_dir[0] == '/' ? pw->pw_dir : NULL;
}

int
qp_file_in_home(const char *relative, char *path, size_t cap, struct qp_errmsg *msg)
{
	const char *home = home_folder();

	if (home == NULL)
		return qp_fail(msg, QP_E_NOTFOUND,
			"no home folder for ~/%s: set HOME to an absolute path", relative);
	if ((size_t)snprintf(path, cap, "%s/%s", home, relative) >= cap)
		return qp_fail(msg, QP_E_FULL, "cannot use %s/%s: path too long", home, relative);
	return QP_OK;
}

bool
qp_file_mode_is_lax(mode_t mode)
{
	return (mode & 077) != 0;
}
