/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CLIENT_SESSION_IMPL_H
#define QP_CLIENT_SESSION_IMPL_H

#include "client/control.h"
#include "client/flow.h"
#include "client/session.h"

/* A session from within: session.c has its course, session_data.c what it carries. */
struct qpc_session {
	struct qpc_loop *loop;
	const struct qpc_session_config *cfg;
	const struct qpc_session_ops *ops;
	void *ctx;
	enum qpc_session_stage stage;
	struct qpc_pool pool;
	struct qpc_quic *quic;
	struct qpc_stream stream;   /* id 0 */
	struct qpc_control control;
	bool udp, local;            /* what is forwarded, and from which side */
	enum qp_wire_reason close_reason;
	uint32_t next_id;           /* LOCAL: of the connections that we open */
	struct qpc_relays relays;   /* TCP */
	struct qpc_flows flows;     /* UDP */
	struct qpc_timer timer;     /* the stage's deadline */
	uint64_t refused_log_ns;    /* when the next line may be written */
	uint64_t refused_unlogged;
	struct qpc_session_end end;
};

void qpc_session_fail(struct qpc_session *s, int err, enum qp_app_error code, const char *text);
void qpc_session_control_broken(struct qpc_session *s, int err);

int qpc_session_data_init(struct qpc_session *s) __attribute__((warn_unused_result));
/* The connection is there; NULL: it is gone, and its streams are closed. */
void qpc_session_data_use(struct qpc_session *s, struct qpc_quic *quic);
void qpc_session_data_fini(struct qpc_session *s);
/* For qpc_quic_ops. */
struct qpc_stream *qpc_session_stream_opened(void *ctx, int64_t id);
void qpc_session_work(void *ctx);
void qpc_session_room_came(void *ctx);

#endif
