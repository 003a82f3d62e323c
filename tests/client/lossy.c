/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bad path. The test's thread.
 */
#include "tests/client/lossy.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static bool
chance(struct lossy *l, unsigned percent)
{
	return (unsigned)rand_r(&l->seed) % 100 < percent;
}

static void
pass(struct lossy *l, int to, const uint8_t *data, size_t len)
{
	bool back = to == l->front.fd;
	const struct sockaddr *addr = back ? (const struct sockaddr *)&l->client : NULL;

	if (len == 0 || (back && l->client.sin_port == l->dead_port))
		return;
	/* A full socket loses, too. */
	if (sendto(to, data, len, MSG_DONTWAIT, addr, back ? sizeof(l->client) : 0) == (ssize_t)len)
		l->passed++;
}

static void
forward(struct lossy *l, int direction, int to, size_t len)
{
	if (chance(l, l->loss_percent)) {
		l->lost++;
		return;
	}
	if (l->held[direction].len == 0 && chance(l, l->swap_percent)) {
		memcpy(l->held[direction].data, l->buf, len);
		l->held[direction].len = len;
		return;
	}
	pass(l, to, l->buf, len);
	if (chance(l, l->double_percent))
		pass(l, to, l->buf, len);
	pass(l, to, l->held[direction].data, l->held[direction].len);
	l->held[direction].len = 0;
}

static void
on_front(struct qpc_source *source, uint32_t events)
{
	struct lossy *l = QPC_CONTAINER(source, struct lossy, front);
	struct sockaddr_in from;
	socklen_t from_len = sizeof(from);
	ssize_t n;

	while ((n = recvfrom(source->fd, l->buf, sizeof(l->buf), MSG_DONTWAIT,
			(struct sockaddr *)&from, &from_len)) >= 0) {
		if (from.sin_port == l->dead_port)
			continue;
		l->client = from;
		forward(l, 0, l->back.fd, (size_t)n);
	}
}

static void
on_back(struct qpc_source *source, uint32_t events)
{
	struct lossy *l = QPC_CONTAINER(source, struct lossy, back);
	ssize_t n;

	while ((n = recv(source->fd, l->buf, sizeof(l->buf), MSG_DONTWAIT)) >= 0)
		forward(l, 1, l->front.fd, (size_t)n);
}

void
lossy_start(struct lossy *l, struct qpc_loop *loop, uint16_t server_port)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(sa);
	int bytes = 4 << 20;

	l->loop = loop;
	l->front = (struct qpc_source) {socket(AF_INET, SOCK_DGRAM, 0), on_front};
	l->back = (struct qpc_source) {socket(AF_INET, SOCK_DGRAM, 0), on_back};
	setsockopt(l->front.fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
	setsockopt(l->back.fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
	cr_assert_eq(bind(l->front.fd, (struct sockaddr *)&sa, len), 0);
	cr_assert_eq(getsockname(l->front.fd, (struct sockaddr *)&sa, &len), 0);
	l->port = ntohs(sa.sin_port);
	sa.sin_port = htons(server_port);
	cr_assert_eq(connect(l->back.fd, (struct sockaddr *)&sa, len), 0);
	cr_assert_eq(qpc_loop_add(loop, &l->front, EPOLLIN), 0);
	cr_assert_eq(qpc_loop_add(loop, &l->back, EPOLLIN), 0);
}

void
lossy_cut(struct lossy *l)
{
	l->dead_port = l->client.sin_port;
}

void
lossy_stop(struct lossy *l)
{
	qpc_loop_remove(l->loop, &l->front);
	qpc_loop_remove(l->loop, &l->back);
	close(l->front.fd);
	close(l->back.fd);
}
