/* SPDX-License-Identifier: Apache-2.0 */
#include "client/udp.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct qpc_udp a, b;
static uint8_t out[QPC_UDP_MAX_BYTES], in[QPC_UDP_RECEIVE_BYTES];

/* Two sockets that are connected to each other. */
static void
setup(void)
{
	struct qp_sockaddr any = {.in = {.sin_family = AF_INET,
					  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)},
		.len = sizeof(any.in)};
	struct qp_errmsg msg;
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	/* A port that is free: b's for a moment, until b itself takes it. */
	cr_assert_eq(bind(fd, &any.sa, any.len), 0);
	cr_assert_eq(getsockname(fd, &any.sa, &any.len), 0);
	cr_assert_eq(qpc_udp_open(&a, &any, &msg), 0, "%s", msg.text);
	close(fd);
	cr_assert_eq(qpc_udp_open(&b, &a.local, &msg), 0, "%s", msg.text);
	cr_assert_eq(connect(a.fd, &b.local.sa, b.local.len), 0);
	a.remote = b.local;
	for (size_t i = 0; i < sizeof(out); i++)
		out[i] = (uint8_t)(i * 7 + i / 251);
}

static void
teardown(void)
{
	qpc_udp_close(&a);
	qpc_udp_close(&b);
}

TestSuite(udp, .init = setup, .fini = teardown);

static void
wait_readable(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	cr_assert_eq(poll(&p, 1, 5000), 1, "nothing came");
}

/* All of `len` bytes arrive, in datagrams of `segment` but the last, with `ecn`. */
static void
exchange(size_t len, size_t segment, uint8_t ecn)
{
	struct qpc_udp_batch batch = {out, len, segment, ecn};
	size_t got = 0;

	cr_assert_eq(qpc_udp_send(&a, &batch), 0);
	cr_assert_eq(batch.len, 0);
	while (got < len) {
		wait_readable(b.fd);
		cr_assert_eq(qpc_udp_receive(&b, in, &batch), 0);
		cr_assert_eq(batch.ecn, ecn);
		cr_assert_eq(batch.segment, len - got < segment ? len - got : segment);
		cr_assert_arr_eq(in, out + got, batch.len);
		got += batch.len;
	}
	cr_assert_eq(qpc_udp_receive(&b, in, &batch), QP_E_AGAIN);
}

Test(udp, super_datagram_arrives_in_its_segments)
{
	cr_assert(a.segmentation, "this kernel has UDP_SEGMENT");
	exchange(1452 * 40, 1452, 0);
	exchange(1452 * 40 + 100, 1452, 0);
	exchange(QPC_UDP_MAX_SEGMENTS * 1000, 1000, 2);
	exchange(8972 * 7 + 1, 8972, 1);
	exchange(100, 100, 3);
	exchange(1, 1, 0);
}

Test(udp, without_segmentation_datagrams_go_one_by_one)
{
	a.segmentation = false;
	exchange(1200 * 20 + 7, 1200, 2);
}

Test(udp, full_socket_batch_resumes_where_it_stopped)
{
	struct qpc_udp_batch batch;
	int small = 4096;

	setsockopt(a.fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	/* Over loopback a receiver that is slow drops, so only counts matter here. */
	a.segmentation = false;
	for (int i = 0; i < 100; i++) {
		batch = (struct qpc_udp_batch) {out, 1200 * 50, 1200, 0};
		while (batch.len > 0) {
			int err = qpc_udp_send(&a, &batch);

			cr_assert(err == QP_OK || err == QP_E_AGAIN);
			cr_assert_eq(batch.data + batch.len, out + 1200 * 50);
			cr_assert_eq((size_t)(batch.data - out) % 1200, 0);
			while (qpc_udp_receive(&b, in, &(struct qpc_udp_batch) {0}) == QP_OK)
				;
		}
	}
}

Test(udp, peer_without_a_socket_is_no_error_but_is_counted)
{
	struct qpc_udp_batch batch;

	qpc_udp_close(&b);
	for (int i = 0; i < 3; i++) {
		batch = (struct qpc_udp_batch) {out, 100, 100, 0};
		cr_assert_eq(qpc_udp_send(&a, &batch), 0);
	}
	cr_assert_eq(qpc_udp_receive(&a, in, &batch), QP_E_AGAIN);
	cr_assert(a.refused > 0);
	cr_assert_neq(a.last_error, 0);
}
