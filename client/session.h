/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CLIENT_SESSION_H
#define QP_CLIENT_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/loop.h"
#include "client/quic.h"
#include "client/relay.h"
#include "client/tls.h"
#include "common/auth.h"
#include "common/error.h"
#include "common/wire.h"

/*
 * One forward over one connection to one address of the server: handshake,
 * the server's certificate, authentication, request, relays, goodbye. Whoever
 * owns it decides on other addresses, on trust and on reconnecting. The
 * loop's thread.
 */
struct qpc_session;

/* Where a session was, or is. In this order. */
enum qpc_session_stage {
	QPC_SESSION_CONNECTING,
	QPC_SESSION_AUTHENTICATING, /* until the server's reply was judged */
	QPC_SESSION_REQUESTING,     /* until the server's verdict on us, and on the request */
	QPC_SESSION_OPEN,
	QPC_SESSION_CLOSING,        /* SessionClose is on its way */
	QPC_SESSION_ENDED,
};

struct qpc_session_config {
	struct qpc_quic_config quic;
	struct qp_sockaddr server;
	struct qp_auth_client_config auth;
	struct qp_wire_msg request;           /* RemoteForwardRequest or LocalForwardRequest */
	uint32_t udp_idle_s;                  /* 0: UDP flows do not end by silence */
	const struct qp_sockaddr *dest;       /* local destination's addresses, tried in turn */
	size_t ndest;
};

struct qpc_session_ops {
	/*
	 * The server's certificate, before a byte of authentication is sent. QP_OK: it is the one;
	 * else the session ends with that code. Must not block.
	 */
	int (*trust)(void *ctx, const struct qpc_cert *cert);
	/* The server has proved itself and the request is on its way. NULL: not of interest. */
	void (*connected)(void *ctx, const struct qp_sockaddr *server);
	/* The forward is open. */
	void (*opened)(void *ctx, struct qp_slice message);
	/* A connection that was carried is gone. NULL: not of interest. */
	void (*gone)(void *ctx);
	/* LOCAL: qpc_session_has_room has become true. NULL: not of interest. */
	void (*room)(void *ctx);
	/* At the end of a loop's turn; the callee may free the session. */
	void (*ended)(void *ctx);
};

/* Why it ended. */
struct qpc_session_end {
	int err;                          /* QP_OK: because qpc_session_close was called */
	enum qpc_session_stage stage;     /* how far it had come */
	bool by_peer;
	bool forgotten;                   /* the server has died, and serves anew already */
	bool going_down;                  /* the server ends or starts anew: not the client's fault */
	bool refused;                     /* it answered the request with `status` */
	bool unresolved;                  /* the server's name has no address */
	enum qp_wire_status status;
	char text[384];                   /* one line for a person */
};

/* `cfg`, what it points to, and the rest are borrowed for the session's life. */
int qpc_session_start(struct qpc_loop *loop, WOLFSSL_CTX *tls,
	const struct qpc_session_config *cfg, const struct qpc_session_ops *ops, void *ctx,
	struct qpc_session **out, struct qp_errmsg *msg) __attribute__((warn_unused_result));
/* NULL is allowed. An open session is dropped without a word. */
void qpc_session_free(struct qpc_session *s);

/* Says SessionClose, closes, and calls ops->ended, within half a second whatever the network does. */
void qpc_session_close(struct qpc_session *s);

enum qpc_session_stage qpc_session_stage(const struct qpc_session *s);
const struct qpc_session_end *qpc_session_end(const struct qpc_session *s);
/* Of the last ConnectionClose from the server; QP_WIRE_NORMAL without one. */
enum qp_wire_reason qpc_session_close_reason(const struct qpc_session *s);
/* Smoothed round trip in microseconds; 0: not measured. */
uint32_t qpc_session_rtt_us(const struct qpc_session *s);
/* See qpc_quic_network_changed. */
void qpc_session_network_changed(struct qpc_session *s);
/* Times that the connection went on by another path. */
uint64_t qpc_session_migrations(const struct qpc_session *s);
struct qpc_relay_counters qpc_session_counters(const struct qpc_session *s);

/* Local forwards: it is open and the server allows another stream. */
bool qpc_session_has_room(const struct qpc_session *s);
/* A connected, non-blocking stream socket becomes a connection of the forward. Owns `fd`. */
void qpc_session_adopt(struct qpc_session *s, int fd);
/* A datagram that came to `fd`, by which answers go back. Dropped unless open. */
void qpc_session_datagram(struct qpc_session *s, int fd, const struct qp_sockaddr *from,
	const uint8_t *data, size_t len);

#endif
