/* SPDX-License-Identifier: Apache-2.0 */
/*
 * net_virtio_user is a virtio device whose other end is another process. DPDK's
 * driver says little when that end is none that it can work with.
 */
#define QP_LOG_MODULE QP_LOG_M_process
#include "dataplane/nic/port_virtio.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/log.h"

#define DRIVER "net_virtio_user"

/* The value of `key`; false: there is none, or it is longer than `cap` has room for. */
static bool
argument(const char *devargs, const char *key, char *out, size_t cap)
{
	const size_t len = strlen(key);

	for (const char *at = strchr(devargs, ','); at != NULL; at = strchr(at, ',')) {
		const size_t n = strcspn(++at, ",");

		if (n < len + 1 || strncmp(at, key, len) != 0 || at[len] != '=' || n - len - 1 >= cap)
			continue;
		snprintf(out, cap, "%.*s", (int)(n - len - 1), at + len + 1);
		return true;
	}
	return false;
}

static bool
is_virtio_user(const char *devargs)
{
	return strncmp(devargs, DRIVER, strlen(DRIVER)) == 0;
}

int
qp_port_virtio_check(const char *devargs, struct qp_errmsg *msg)
{
	char path[256];
	struct stat st;

	/* As the driver tells them apart: a device's file is the kernel's or a vDPA, all else a socket. */
	if (!is_virtio_user(devargs) || !argument(devargs, "path", path, sizeof(path)) ||
		(strcmp(path, "/dev/vhost-net") != 0 && (stat(path, &st) != 0 || !S_ISCHR(st.st_mode))))
		return 0;
	return qp_fail(msg, QP_E_UNSUPPORTED,
		"--port " DRIVER ": path=%s sleeps until it is woken, which works in the process alone that "
		"opens it, and data planes are others: use net_tap, or the socket of a vhost-user device that polls",
		path);
}

/* Nobody has it any more. Asked by a socket of another kind, so that who has is not disturbed (EPROTOTYPE). */
static bool
is_left(const struct sockaddr_un *addr)
{
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool left = fd >= 0 && connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) != 0 &&
		    errno == ECONNREFUSED;

	if (fd >= 0)
		close(fd);
	return left;
}

void
qp_port_virtio_prepare(const char *devargs)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	char server[8];
	struct stat st;

	if (!is_virtio_user(devargs) || !argument(devargs, "server", server, sizeof(server)) ||
		strtoull(server, NULL, 0) == 0 || !argument(devargs, "path", addr.sun_path, sizeof(addr.sun_path)))
		return;
	if (stat(addr.sun_path, &st) == 0 && S_ISSOCK(st.st_mode) && is_left(&addr))
		(void)unlink(addr.sun_path);
	/* The driver's start does: no control plane waits for ever, and this is the last that it sees. */
	qp_log(QP_LOG_INFO, "a virtio port waits for its other end, a vhost-user device that connects",
		QP_LOG_STR("path", addr.sun_path));
}
