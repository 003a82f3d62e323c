/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The public API's connections between our TCP and the ring. Runs on the
 * owning lcore. HTTP itself is the control plane's.
 */
#include "dataplane/api.h"

#include <rte_mbuf.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "common/error.h"
#include "dataplane/slots.h"

/* Beyond so many the oldest gives way to a newcomer, at the next flush. */
#define MAX_CONNS 64u
#define MAX_CONNS_FOR_NOW (2u * MAX_CONNS)
#define MAX_REQUEST_BYTES (16u * 1024) /* a connection; /healthcheck needs a hundred */

struct api_conn {
	struct qp_api *api;
	struct qp_tcp_conn *tcp;
	uint64_t id;
	uint32_t request_bytes;
	bool kill;                       /* aborted at the flush: not inside TCP's callbacks */
	TAILQ_ENTRY(api_conn) link;
};
TAILQ_HEAD(api_conn_queue, api_conn);

struct qp_api {
	struct qp_api_env env;
	struct qp_tcp_listener *listener;
	struct qp_slots ids;
	struct api_conn_queue conns;
	bool kills;
};

static void
message_init(const struct api_conn *c, struct qp_msg *msg, enum qp_msg_type type)
{
	memset(msg, 0, sizeof(*msg));
	msg->type = type;
	msg->version = QP_IPC_VERSION;
	msg->id = c->id;
}

static void
tell_close(struct api_conn *c, enum qp_api_close how)
{
	struct qp_msg msg;

	message_init(c, &msg, QP_MSG_API_CLOSE);
	msg.api_close.how = how;
	c->api->env.send(c->api->env.send_ctx, &msg);
}

static void
conn_free(struct api_conn *c)
{
	TAILQ_REMOVE(&c->api->conns, c, link);
	qp_slots_remove(&c->api->ids, c->id);
	free(c);
}

/* Whoever is slow does not keep others out. */
static void
kill_oldest(struct qp_api *api)
{
	struct api_conn *c;

	TAILQ_FOREACH (c, &api->conns, link) {
		if (!c->kill) {
			c->kill = api->kills = true;
			return;
		}
	}
}

static int
accept_conn(void *ctx, struct qp_tcp_conn *tcp)
{
	struct qp_api *api = ctx;
	struct api_conn *c;
	struct qp_msg msg;

	if (api->ids.used >= MAX_CONNS_FOR_NOW)
		return QP_E_FULL;
	c = calloc(1, sizeof(*c));
	if (c == NULL)
		return QP_E_NOMEM;
	if (qp_slots_add(&api->ids, c, &c->id) < 0) {
		free(c);
		return QP_E_NOMEM;
	}
	c->api = api;
	c->tcp = tcp;
	message_init(c, &msg, QP_MSG_API_OPEN);
	memcpy(msg.api_open.peer_addr, qp_tcp_flow(tcp)->remote.b, sizeof(msg.api_open.peer_addr));
	msg.api_open.peer_port_be = qp_tcp_flow(tcp)->rport_be;
	if (!api->env.send(api->env.send_ctx, &msg)) {
		qp_slots_remove(&api->ids, c->id);
		free(c);
		return QP_E_FULL;
	}
	if (api->ids.used > MAX_CONNS)
		kill_oldest(api);
	TAILQ_INSERT_TAIL(&api->conns, c, link);
	qp_tcp_set_ctx(tcp, c);
	return 0;
}

static void
receive(void *ctx, struct rte_mbuf *chain)
{
	struct api_conn *c = ctx;
	uint32_t off = 0, total = chain->pkt_len;
	struct qp_msg msg;

	c->request_bytes += total;
	if (c->kill || c->request_bytes > MAX_REQUEST_BYTES) {
		c->kill = c->api->kills = true;
		rte_pktmbuf_free(chain);
		return;
	}
	while (off < total) {
		uint32_t n = RTE_MIN(total - off, QP_MSG_API_BYTES);
		const void *from;

		message_init(c, &msg, QP_MSG_API_DATA);
		from = rte_pktmbuf_read(chain, off, n, msg.api_data.bytes);
		if (from != msg.api_data.bytes)
			memcpy(msg.api_data.bytes, from, n);
		msg.api_data.len = (uint16_t)n;
		c->api->env.send(c->api->env.send_ctx, &msg);
		off += n;
	}
	rte_pktmbuf_free(chain);
	qp_tcp_consumed(c->tcp, total);
}

static void
receive_end(void *ctx)
{
	tell_close(ctx, QP_API_FIN);
}

static void
acked(void *ctx, uint32_t bytes)
{
}

static void
ended(void *ctx, enum qp_tcp_end why)
{
	struct api_conn *c = ctx;

	tell_close(c, QP_API_RESET);
	conn_free(c);
}

static const struct qp_tcp_ops tcp_ops = {
	.accept = accept_conn,
	.receive = receive,
	.receive_end = receive_end,
	.acked = acked,
	.ended = ended,
};

int
qp_api_open(const struct qp_api_env *env, const struct qp_ipaddr *addr, uint16_t port_be,
	struct qp_api **out)
{
	struct qp_api *api = calloc(1, sizeof(*api));
	int rc;

	if (api == NULL)
		return QP_E_NOMEM;
	api->env = *env;
	TAILQ_INIT(&api->conns);
	rc = qp_tcp_listen(env->tcp, addr, port_be, &tcp_ops, api, &api->listener);
	if (rc < 0) {
		free(api);
		return rc;
	}
	*out = api;
	return 0;
}

static void
abort_conn(struct api_conn *c, bool tell)
{
	qp_tcp_abort(c->tcp);
	if (tell)
		tell_close(c, QP_API_RESET);
	conn_free(c);
}

void
qp_api_close(struct qp_api *api)
{
	if (api == NULL)
		return;
	while (!TAILQ_EMPTY(&api->conns))
		abort_conn(TAILQ_FIRST(&api->conns), true);
	qp_tcp_unlisten(api->listener);
	qp_slots_fini(&api->ids);
	free(api);
}

static void
send_bytes(struct api_conn *c, const struct qp_msg_api_data *data)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(c->api->env.pool);

	if (m == NULL || data->len > QP_MSG_API_BYTES) {
		rte_pktmbuf_free(m);
		abort_conn(c, true);
		return;
	}
	memcpy(rte_pktmbuf_append(m, data->len), data->bytes, data->len);
	qp_tcp_send(c->tcp, m);
}

void
qp_api_message(struct qp_api *api, const struct qp_msg *msg)
{
	struct api_conn *c = qp_slots_get(&api->ids, msg->id);

	if (c == NULL)
		return;
	if (msg->type == QP_MSG_API_DATA)
		send_bytes(c, &msg->api_data);
	else if (msg->api_close.how == QP_API_FIN)
		qp_tcp_shutdown(c->tcp);
	else
		abort_conn(c, false);
}

void
qp_api_reset_all(struct qp_api *api)
{
	while (!TAILQ_EMPTY(&api->conns))
		abort_conn(TAILQ_FIRST(&api->conns), false);
}

void
qp_api_flush(struct qp_api *api)
{
	struct api_conn *c, *next;

	if (!api->kills)
		return;
	api->kills = false;
	for (c = TAILQ_FIRST(&api->conns); c != NULL; c = next) {
		next = TAILQ_NEXT(c, link);
		if (c->kill)
			abort_conn(c, true);
	}
}
