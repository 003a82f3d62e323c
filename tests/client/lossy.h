/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_TESTS_CLIENT_LOSSY_H
#define QP_TESTS_CLIENT_LOSSY_H

#include <netinet/in.h>
#include <stdint.h>

#include "client/loop.h"

/*
 * A path between one client and a server that loses, swaps and doubles
 * datagrams, at random from a fixed seed. The client may come from another port
 * meanwhile, as after a NAT's timeout: answers go to the last one. In the test's loop.
 */
struct lossy {
	struct qpc_loop *loop;
	struct qpc_source front; /* where the client sends */
	struct qpc_source back;  /* connected to the server */
	uint16_t port;           /* of front */
	unsigned loss_percent, swap_percent, double_percent;
	unsigned seed;
	unsigned lost, passed;
	struct sockaddr_in client; /* the last one */
	in_port_t dead_port;       /* nothing passes from and to this one of the client's */
	/* A datagram held back by a swap, for each direction. */
	struct {
		uint8_t data[65536];
		size_t len;
	} held[2];
	uint8_t buf[65536];
};

/* Towards 127.0.0.1:`server_port`; the percentages are set before. */
void lossy_start(struct lossy *l, struct qpc_loop *loop, uint16_t server_port);
/* From now on nothing passes by the port that the client uses now. */
void lossy_cut(struct lossy *l);
void lossy_stop(struct lossy *l);

#endif
