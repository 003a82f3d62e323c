/* SPDX-License-Identifier: Apache-2.0 */
/* Questions to a port owner that answers late, or not as one. */
#include <criterion/criterion.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/host.h"
#include "common/owner_link.h"
#include "tests/common/support.h"

TestSuite(owner_link, .timeout = 60);

/* Its end of the connection. */
static void
answer(int fd, uint32_t type, uint64_t address)
{
	const struct qp_owner_told told = {.magic = QP_OWNER_LINK_MAGIC,
		.version = QP_OWNER_LINK_VERSION,
		.type = type,
		.ok = 1,
		.address = address};

	(void)send(fd, &told, sizeof(told), MSG_NOSIGNAL);
}

/* Who asked for another zone meanwhile would take the first one for it, which may be smaller. */
Test(owner_link, late_answer_isNotTakenForTheNextQuestions)
{
	struct qp_owner_told told = {0};
	struct qp_errmsg msg;
	int fd[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fd), 0);
	cr_assert_eq(qp_owner_link_zone(fd[0], QP_OWNER_RESERVE, 7, "qp_small_7", 64, &told, &msg),
		QP_E_AGAIN);
	answer(fd[1], QP_OWNER_RESERVE, 0x1000); /* now */
	cr_assert_lt(qp_owner_link_zone(fd[0], QP_OWNER_RESERVE, 7, "qp_large_7", 1 << 20, &told, &msg),
		0);
	cr_assert_neq(told.address, 0x1000);
	close(fd[0]);
	close(fd[1]);
}

Test(owner_link, reserve_namesTheNodeOrNone)
{
	static const int nodes[] = {0, 1, -1};
	struct qp_owner_told told;
	struct qp_owner_ask ask;
	struct qp_errmsg msg;
	int fd[2];

	for (unsigned i = 0; i < 3; i++) {
		cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fd), 0);
		answer(fd[1], QP_OWNER_RESERVE, 0x1000); /* in advance */
		cr_assert_eq(qp_owner_link_reserve(fd[0], 7, "qp_mem_7_0", 64, nodes[i], &told, &msg), 0);
		cr_expect_eq(told.address, 0x1000);
		cr_assert_eq(recv(fd[1], &ask, sizeof(ask), 0), (ssize_t)sizeof(ask));
		cr_expect_eq(ask.type, QP_OWNER_RESERVE);
		cr_expect_str_eq(ask.name, "qp_mem_7_0");
		cr_expect_eq(ask.node, (uint32_t)(nodes[i] + 1), "0 stands for any");
		close(fd[0]);
		close(fd[1]);
	}
}

/* It lives as long as its connection: the port owner must not see an end. */
Test(owner_link, question_withoutAnswer_doesNotEndTheConnection)
{
	struct qp_owner_told told;
	struct qp_owner_ask ask;
	struct qp_errmsg msg;
	struct pollfd pfd;
	int fd[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fd), 0);
	cr_assert_eq(qp_owner_link_ask(fd[0], QP_OWNER_LIST, &told, &msg), QP_E_AGAIN);
	cr_assert_eq(recv(fd[1], &ask, sizeof(ask), MSG_DONTWAIT), (ssize_t)sizeof(ask));
	cr_assert_eq(recv(fd[1], &ask, sizeof(ask), MSG_DONTWAIT), -1);
	cr_assert_eq(errno, EAGAIN);
	pfd = (struct pollfd) {.fd = fd[1]};
	cr_assert_eq(poll(&pfd, 1, 0), 0);
	close(fd[0]);
	close(fd[1]);
}

/* It accepts nobody any more: whoever asks must not wait for ever, nor stop all else. */
Test(owner_link, connection_toOneWhoseQueueIsFull_fails)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	char path[PATH_MAX], folder[PATH_MAX + 16];
	int listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), fd[2] = {-1, -1};
	struct qp_errmsg msg;

	setenv("RUNTIME_DIRECTORY", scratch_make(), 1);
	qp_host_eal_file("x", QP_OWNER_LINK_SOCKET, path);
	*strrchr(path, '/') = '\0';
	snprintf(folder, sizeof(folder), "mkdir -p '%s'", path);
	cr_assert_eq(system(folder), 0);
	qp_host_eal_file("x", QP_OWNER_LINK_SOCKET, path);
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%.100s", path);
	cr_assert_eq(bind(listener, (struct sockaddr *)&addr, sizeof(addr)), 0);
	cr_assert_eq(listen(listener, 0), 0);
	cr_expect_eq(qp_owner_link_open("x", &fd[0], &msg), 0);
	cr_expect_eq(qp_owner_link_open("x", &fd[1], &msg), QP_E_AGAIN);
	cr_expect_eq(fd[1], -1);
	close(fd[0]);
	close(listener);
	unsetenv("RUNTIME_DIRECTORY");
	scratch_remove();
}
