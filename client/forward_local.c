/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The local side of local forwards: a listening socket, or two descriptors,
 * whose connections the session carries. The loop's thread.
 */
#define QP_LOG_MODULE QP_LOG_M_client
#include "client/client_impl.h"

#include <unistd.h>

static bool
room(void *ctx)
{
	const struct qpc_session *s = qpc_connect_session(ctx);

	return s != NULL && qpc_session_has_room(s);
}

static void
accepted(void *ctx, int fd)
{
	struct qpc_session *s = qpc_connect_session(ctx);

	if (s != NULL)
		qpc_session_adopt(s, fd);
	else
		close(fd);
}

static void
datagram(void *ctx, int fd, const struct qp_sockaddr *from, const uint8_t *data, size_t len)
{
	struct qpc_session *s = qpc_connect_session(ctx);

	if (s != NULL)
		qpc_session_datagram(s, fd, from, data, len);
}

static const struct qpc_listener_ops listener_ops = {
	.room = room,
	.accepted = accepted,
	.datagram = datagram,
};

int
qpc_forward_listen(struct qp_forward *f, struct qp_errmsg *msg)
{
	struct qpc_addrs addrs;
	int err = qpc_resolve(&f->local, &addrs, msg);

	if (err == QP_OK)
		err = qpc_listener_open(&f->listener, &f->client->loop, &addrs.v[0],
			f->local.protocol == QP_WIRE_UDP, &listener_ops, f, msg);
	if (err == QP_OK)
		f->port = f->listener.port;
	return err;
}

void
qpc_forward_pipe(struct qp_forward *f)
{
	struct qp_errmsg msg = {""};
	int fd;

	f->piped = true;
	if (qpc_pipe_new(f->fd_in, f->fd_out, f->close_fd_out, &f->pipe, &fd, &msg) == QP_OK) {
		qpc_session_adopt(qpc_connect_session(f), fd);
		return;
	}
	qp_log(QP_LOG_ERROR, msg.text, QP_LOG_STR("forward", f->name));
	qpc_session_close(qpc_connect_session(f));
}

int
qpc_forward_pipe_end(const struct qp_forward *f, struct qp_errmsg *msg)
{
	const struct qpc_session *s = qpc_connect_session(f);
	enum qp_wire_reason reason = qpc_session_close_reason(s);

	if (reason != QP_WIRE_NORMAL)
		return qp_fail(msg, QP_E_REFUSED, "%s could not connect to %s: %s", f->trust.host,
			f->remote_text, qp_wire_reason_name(reason));
	if (f->pipe == NULL || qpc_session_counters(s).resets > 0 ||
		qpc_session_end(s)->stage != QPC_SESSION_CLOSING)
		return qp_fail(msg, QP_E_CLOSED, "the connection to %s through %s was lost",
			f->remote_text, f->trust.host);
	return QP_OK;
}
