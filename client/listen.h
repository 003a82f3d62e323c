/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CLIENT_LISTEN_H
#define QP_CLIENT_LISTEN_H

#include <stdbool.h>

#include "client/loop.h"
#include "common/addr.h"

/*
 * The local side of a local forward: a bound socket, TCP or UDP, that listens as
 * long as the forward lives and is read only while there is somebody to hand
 * things to. Meanwhile TCP connections wait in the kernel's backlog: a gateway
 * that is restarted refuses nobody. The loop's thread.
 */
struct qpc_listener_ops {
	/* False: no room for another connection now; qpc_listener_resume says when. */
	bool (*room)(void *ctx);
	/* A connected, non-blocking socket; the callee owns it. */
	void (*accepted)(void *ctx, int fd);
	/* A datagram, borrowed; `fd`: where an answer goes out. */
	void (*datagram)(void *ctx, int fd, const struct qp_sockaddr *from, const uint8_t *data,
		size_t len);
};

struct qpc_listener {
	struct qpc_source source; /* fd -1: closed */
	struct qpc_loop *loop;
	const struct qpc_listener_ops *ops;
	void *ctx;
	struct qpc_timer again; /* accepting is tried again; it failed for want of a descriptor */
	bool udp, reading;
	bool starved; /* and that was told */
	uint16_t port; /* as bound */
};

/* Binds; reads nothing before qpc_listener_resume. QP_E_INUSE, QP_E_PERM, QP_E_IO with a line. */
int qpc_listener_open(struct qpc_listener *l, struct qpc_loop *loop, const struct qp_sockaddr *addr,
	bool udp, const struct qpc_listener_ops *ops, void *ctx, struct qp_errmsg *msg)
	__attribute__((warn_unused_result));
/* There is room: reads on. */
void qpc_listener_resume(struct qpc_listener *l);
/* Reads no more until resumed. */
void qpc_listener_pause(struct qpc_listener *l);
void qpc_listener_close(struct qpc_listener *l);

#endif
