/* SPDX-License-Identifier: Apache-2.0 */
/* Questions to a port owner that answers late, or not as one. */
#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/owner_link.h"

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
