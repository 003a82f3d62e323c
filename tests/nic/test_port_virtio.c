/* SPDX-License-Identifier: Apache-2.0 */
/* What a virtio port's other end may be, and what a dead one leaves. */
#include "dataplane/nic/port_virtio.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

struct other_end {
	char devargs[96];
	int err;
};

ParameterizedTestParameters(virtio, other_end_that_sleeps_is_refused)
{
	static struct other_end t[] = {
		{"net_virtio_user0,path=/dev/vhost-net,queues=1", QP_E_UNSUPPORTED},
		{"net_virtio_user0,queues=1,path=/dev/null", QP_E_UNSUPPORTED},
		{"net_virtio_user0,path=/run/not-there.sock,server=1", 0},
		{"net_virtio_user0,path=/etc/passwd", 0},
		{"net_virtio_user0,xpath=/dev/null", 0},
		{"net_virtio_user0", 0},
		{"net_memif0,path=/dev/null", 0},
	};

	return cr_make_param_array(struct other_end, t, sizeof(t) / sizeof(t[0]));
}

ParameterizedTest(struct other_end *t, virtio, other_end_that_sleeps_is_refused)
{
	struct qp_errmsg msg = {""};

	cr_expect_eq(qp_port_virtio_check(t->devargs, &msg), t->err, "%s: %s", t->devargs, msg.text);
	if (t->err != 0)
		cr_expect_not_null(strstr(msg.text, "path=/dev/"), "%s", msg.text);
}

static char folder[] = "/tmp/qpvirtioXXXXXX";

static void
make_folder(void)
{
	cr_assert_not_null(mkdtemp(folder));
}

static struct sockaddr_un
address(void)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/s", folder);
	return addr;
}

static void
remove_folder(void)
{
	unlink(address().sun_path);
	rmdir(folder);
}

TestSuite(virtio_socket, .init = make_folder, .fini = remove_folder);

static int
listener(void)
{
	const struct sockaddr_un addr = address();
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	cr_assert_eq(bind(fd, (const struct sockaddr *)&addr, sizeof(addr)), 0);
	cr_assert_eq(listen(fd, 1), 0);
	return fd;
}

static bool
stays(const char *server)
{
	char devargs[160];

	snprintf(devargs, sizeof(devargs), "net_virtio_user0,path=%s%s", address().sun_path, server);
	qp_port_virtio_prepare(devargs);
	return access(address().sun_path, F_OK) == 0;
}

Test(virtio_socket, server_takes_the_place_of_a_dead_one_only)
{
	int fd = listener();

	cr_expect(stays(",server=1"), "somebody listens");
	cr_expect_eq(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	cr_expect_lt(accept(fd, NULL, NULL), 0, "and is not disturbed");
	close(fd);
	cr_expect(stays(""), "it is the other end's");
	cr_expect(stays(",server=0"), "it is the other end's");
	cr_expect_not(stays(",server=1"));
}

Test(virtio_socket, what_is_no_socket_stays)
{
	int fd = open(address().sun_path, O_CREAT | O_WRONLY, 0600);

	close(fd);
	cr_expect(stays(",server=1"));
}
