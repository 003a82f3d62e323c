/* SPDX-License-Identifier: Apache-2.0 */
/* Listening sockets of the HTTP servers. Main thread, at the start. */
#include <errno.h>
#include <grp.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/addr.h"
#include "controlplane/http.h"

int
qp_http_listen(const struct sockaddr *addr, socklen_t len, const char *what, int *out_fd,
	struct qp_errmsg *msg)
{
	char text[QP_ADDR_TEXT_BYTES];
	int one = 1, err;
	int fd = socket(addr->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) == 0 &&
		bind(fd, addr, len) == 0 && listen(fd, 64) == 0) {
		*out_fd = fd;
		return 0;
	}
	err = errno;
	if (fd >= 0)
		close(fd);
	qp_sockaddr_format(addr, text);
	if (err == EADDRINUSE)
		return qp_fail(msg, QP_E_INUSE,
			"TCP %s is in use: end the other program, or choose another address with %s",
			text, what);
	return qp_fail(msg, qp_err_from_errno(err), "cannot listen on TCP %s (%s): %s", text, what,
		strerror(err));
}

/* A socket that a killed gateway left behind goes; one that somebody serves, or a file, stays. */
static int
clear_stale(int fd, const struct sockaddr_un *addr, struct qp_errmsg *msg)
{
	struct stat st;

	if (lstat(addr->sun_path, &st) != 0)
		return 0;
	if (!S_ISSOCK(st.st_mode))
		return qp_fail(msg, QP_E_INUSE,
			"--private-api-socket %s: a file of another kind is there", addr->sun_path);
	if (connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) == 0 || errno == EAGAIN)
		return qp_fail(msg, QP_E_INUSE,
			"--private-api-socket %s is in use: end the other gateway, or choose "
			"another path",
			addr->sun_path);
	if (unlink(addr->sun_path) != 0)
		return qp_fail(msg, qp_err_from_errno(errno), "cannot remove the old socket %s: %s",
			addr->sun_path, strerror(errno));
	return 0;
}

static int
find_group(const char *name, gid_t *out, struct qp_errmsg *msg)
{
	struct group gr, *found = NULL;
	char buf[4096];

	*out = (gid_t)-1;
	if (name == NULL)
		return 0;
	if (getgrnam_r(name, &gr, buf, sizeof(buf), &found) != 0 || found == NULL)
		return qp_fail(msg, QP_E_NOTFOUND,
			"--private-api-socket-group %s: there is no such group", name);
	*out = found->gr_gid;
	return 0;
}

int
qp_http_listen_unix(
	const char *path, mode_t mode, const char *group, int *out_fd, struct qp_errmsg *msg)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	mode_t old_mask;
	gid_t gid;
	int fd, err;

	if (strlen(path) >= sizeof(addr.sun_path))
		return qp_fail(msg, QP_E_INVAL,
			"--private-api-socket %s: the path is longer than %zu bytes", path,
			sizeof(addr.sun_path) - 1);
	memcpy(addr.sun_path, path, strlen(path));
	err = find_group(group, &gid, msg);
	if (err != 0)
		return err;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return qp_fail(msg, QP_E_IO, "socket: %s", strerror(errno));
	err = clear_stale(fd, &addr, msg);
	if (err != 0)
		goto fail;
	/* Nobody but us gets in before the mode is what it shall be. */
	old_mask = umask(0177);
	err = bind(fd, (struct sockaddr *)&addr, sizeof(addr));
	umask(old_mask);
	if (err != 0 || (gid != (gid_t)-1 && chown(path, (uid_t)-1, gid) != 0) ||
		chmod(path, mode) != 0 || listen(fd, 64) != 0) {
		err = qp_fail(msg, qp_err_from_errno(errno),
			"cannot listen on the socket %s (--private-api-socket): %s", path,
			strerror(errno));
		goto fail;
	}
	*out_fd = fd;
	return 0;
fail:
	close(fd);
	return err;
}
