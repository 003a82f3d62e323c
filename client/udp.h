/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CLIENT_UDP_H
#define QP_CLIENT_UDP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/addr.h"
#include "common/error.h"

/*
 * A connected, non-blocking UDP socket that moves super-datagrams: many
 * equal-sized datagrams in one system call, by the kernel's segmentation
 * (UDP_SEGMENT) and aggregation (UDP_GRO). Without kernel support it sends one
 * by one. One thread.
 */
#define QPC_UDP_MAX_SEGMENTS 64u
#define QPC_UDP_MAX_BYTES 65507u /* of one super-datagram: IPv4's limit, the smaller one */
#define QPC_UDP_RECEIVE_BYTES 65535u

struct qpc_udp {
	int fd; /* -1: closed */
	bool segmentation;
	struct qp_sockaddr local, remote;
	int last_error;            /* errno of the last datagram that the network refused, or 0 */
	uint64_t refused;          /* how many it refused */
};

/* What goes out, or came in, by one call: `len` bytes, each datagram `segment` long, the last at most. */
struct qpc_udp_batch {
	const uint8_t *data;
	size_t len;
	size_t segment;
	uint8_t ecn; /* the two ECN bits, the same for all */
};

int qpc_udp_open(struct qpc_udp *udp, const struct qp_sockaddr *remote, struct qp_errmsg *msg)
	__attribute__((warn_unused_result));
void qpc_udp_close(struct qpc_udp *udp);

/*
 * Sends. `batch` moves on over what was sent: after QP_E_AGAIN call again with
 * the rest once the socket is writable. Datagrams that the network refuses
 * (unreachable, too big for the path) count as sent: QUIC's loss recovery is
 * their judge. QP_E_IO: the socket itself is of no use.
 */
int qpc_udp_send(struct qpc_udp *udp, struct qpc_udp_batch *batch)
	__attribute__((warn_unused_result));

/* Receives into `buf` (QPC_UDP_RECEIVE_BYTES). QP_E_AGAIN: nothing there. QP_E_IO. */
int qpc_udp_receive(struct qpc_udp *udp, uint8_t *buf, struct qpc_udp_batch *batch)
	__attribute__((warn_unused_result));

/* The path MTU that the kernel knows towards the peer, IP header included; 1280 when it does not tell. */
size_t qpc_udp_path_mtu(const struct qpc_udp *udp);

#endif
