/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CLIENT_CONTROL_H
#define QP_CLIENT_CONTROL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/auth.h"
#include "common/error.h"
#include "common/wire.h"

/*
 * The client's side of stream 0 as a state machine: authentication, the one
 * forward request, then control messages. Bytes in, bytes out, events; no
 * I/O, no clock of its own. One thread.
 */
enum qpc_control_state {
	QPC_CONTROL_NEW,
	QPC_CONTROL_AUTH,      /* step 1 is out, the server's reply is due */
	QPC_CONTROL_REQUESTED, /* step 3 and the request are out, the response is due */
	QPC_CONTROL_OPEN,      /* the forward is open */
	QPC_CONTROL_CLOSED,    /* refused, closed by the server, or broken */
};

struct qpc_control_ops {
	/* Appends to stream 0; copies. QP_E_NOMEM, QP_E_FULL. */
	int (*send)(void *ctx, const uint8_t *data, size_t len);
	/* The server granted the forward; its message for the log. */
	void (*opened)(void *ctx, struct qp_slice message);
	/* It did not. */
	void (*refused)(void *ctx, enum qp_wire_status status, struct qp_slice message);
	/* It announced a connection, or the end of one: information only. */
	void (*connection)(void *ctx, const struct qp_wire_msg *msg);
	/* SessionClose. */
	void (*session_closed)(void *ctx);
};

/* Owner: the session. Life: qpc_control_start to qpc_control_free. */
struct qpc_control {
	enum qpc_control_state state;
	const struct qpc_control_ops *ops;
	void *ctx;
	struct qp_auth_client *auth; /* until the reply was judged */
	struct qp_wire_msg request;  /* text borrowed from the session's configuration */
	const char *broken;          /* after QP_E_PROTO, QP_E_AUTH: what was wrong (static) */
	uint8_t *buf;                /* a reply or message that is not whole yet */
	size_t len, cap;
};

/*
 * Sends the first step of the authentication. `request` (a LocalForwardRequest
 * or RemoteForwardRequest) follows it when the server has proved itself.
 */
int qpc_control_start(struct qpc_control *c, const struct qpc_control_ops *ops, void *ctx,
	const struct qp_auth_client_config *auth, const struct qp_wire_msg *request,
	uint64_t now_unix_s) __attribute__((warn_unused_result));
void qpc_control_free(struct qpc_control *c);

/*
 * Bytes of stream 0, split in any way. QP_E_AUTH: not the server that was
 * expected; QP_E_PROTO: it broke the protocol (c->broken says how); QP_E_NOMEM;
 * what ops->send returned. After a failure, or in state CLOSED, bytes are ignored.
 */
int qpc_control_receive(struct qpc_control *c, const uint8_t *data, size_t len)
	__attribute__((warn_unused_result));

/* LocalNewConnection. */
int qpc_control_new_connection(struct qpc_control *c, uint32_t id, enum qp_wire_protocol protocol)
	__attribute__((warn_unused_result));
/* ConnectionClose, in any state after the request. */
int qpc_control_connection_closed(struct qpc_control *c, uint32_t id, enum qp_wire_reason reason)
	__attribute__((warn_unused_result));
/* SessionClose. Nothing is sent before authentication is over. */
int qpc_control_say_goodbye(struct qpc_control *c) __attribute__((warn_unused_result));

#endif
