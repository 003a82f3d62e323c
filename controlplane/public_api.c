/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The public API's connections: ring messages on one side, a socket pair to the
 * HTTP server on the other. A slot a connection; a peer that sends too much or
 * takes too long is reset. Loop thread.
 */
#include "controlplane/public_api.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "controlplane/http.h"
#include "controlplane/problem.h"

/* How soon a full ring is tried again. */
#define RETRY_MS 2u

struct conn {
	struct qp_public_api *api;
	struct qp_origin origin; /* id 0 with fd -1: a free slot */
	int fd; /* our end of the pair */
	struct qp_watch watch;
	uint64_t opened; /* counts */
	uint32_t received; /* bytes of the request so far */
	bool stalled; /* its worker's ring is full: not watched until it is tried again */
	struct qp_loop_timer deadline;
};

struct qp_public_api {
	struct qp_public_api_config cfg;
	struct qp_http *http;
	struct qp_loop_timer retry;
	uint64_t opened;
	struct conn conn[QP_PUBLIC_API_CONNS];
};

static void
answer(void *ctx, const struct qp_http_request *req, struct qp_http_response *out)
{
	struct qp_public_api *api = ctx;

	if (strcmp(req->path, "/healthcheck") == 0)
		qp_http_healthcheck(req, api->cfg.serving(api->cfg.serving_ctx), NULL, out);
	else
		qp_problem(out, 404, "there is no such path");
}

static struct conn *
find(struct qp_public_api *api, const struct qp_origin *origin)
{
	for (unsigned i = 0; i < QP_PUBLIC_API_CONNS; i++) {
		struct conn *c = &api->conn[i];

		if (c->fd >= 0 && qp_origin_equal(&c->origin, origin))
			return c;
	}
	return NULL;
}


static void
send_close(struct qp_public_api *api, const struct qp_origin *to, enum qp_api_close how)
{
	struct qp_msg m = {.type = QP_MSG_API_CLOSE, .api_close = {.how = (uint8_t)how}};

	qp_send(&api->cfg.sender, to, &m);
}

/* Forgets the connection; the HTTP server sees the end of its socket. */
static void
drop(struct conn *c)
{
	qp_loop_unwatch(c->api->cfg.loop, &c->watch);
	qp_loop_timer_cancel(c->api->cfg.loop, &c->deadline);
	close(c->fd);
	c->fd = -1;
}

static void
end(struct conn *c, enum qp_api_close how)
{
	send_close(c->api, &c->origin, how);
	drop(c);
}

/* A free slot; else that of the oldest, which is slow: it does not keep a newcomer out. */
static struct conn *
make_room(struct qp_public_api *api)
{
	struct conn *oldest = &api->conn[0];

	for (unsigned i = 0; i < QP_PUBLIC_API_CONNS; i++) {
		if (api->conn[i].fd < 0)
			return &api->conn[i];
		if (api->conn[i].opened < oldest->opened)
			oldest = &api->conn[i];
	}
	end(oldest, QP_API_RESET);
	return oldest;
}

static void
on_deadline(void *ctx)
{
	end(ctx, QP_API_RESET);
}

static void
stall(struct conn *c)
{
	c->stalled = true;
	/* Not just masked: a hang-up is reported whatever the mask, over and over. */
	qp_loop_unwatch(c->api->cfg.loop, &c->watch);
	if (!c->api->retry.armed)
		qp_loop_timer_set(c->api->cfg.loop, &c->api->retry, RETRY_MS);
}

/* The HTTP server's bytes, as far as the ring takes them. */
static void
on_answer(void *ctx, uint32_t events)
{
	struct conn *c = ctx;
	struct qp_msg m = {.type = QP_MSG_API_DATA};
	ssize_t n;

	(void)events;
	for (;;) {
		if (!c->api->cfg.has_room(c->api->cfg.room_ctx, &c->origin)) {
			stall(c);
			return;
		}
		n = read(c->fd, m.api_data.bytes, sizeof(m.api_data.bytes));
		if (n <= 0)
			break;
		m.api_data.len = (uint16_t)n;
		qp_send(&c->api->cfg.sender, &c->origin, &m);
	}
	if (n == 0)
		end(c, QP_API_FIN); /* what the peer may still send interests nobody */
	else if (errno != EAGAIN && errno != EINTR)
		end(c, QP_API_RESET);
}

static void
on_retry(void *ctx)
{
	struct qp_public_api *api = ctx;

	for (unsigned i = 0; i < QP_PUBLIC_API_CONNS; i++) {
		struct conn *c = &api->conn[i];

		if (c->fd < 0 || !c->stalled)
			continue;
		c->stalled = false;
		if (qp_loop_watch(api->cfg.loop, &c->watch, c->fd, EPOLLIN, on_answer, c) != 0)
			end(c, QP_API_RESET);
	}
}

int
qp_public_api_new(
	const struct qp_public_api_config *cfg, struct qp_public_api **out, struct qp_errmsg *msg)
{
	struct qp_public_api *api = calloc(1, sizeof(*api));
	int err;

	if (api == NULL)
		return qp_fail(msg, QP_E_NOMEM, "out of memory");
	api->cfg = *cfg;
	api->retry.fire = on_retry;
	api->retry.ctx = api;
	for (unsigned i = 0; i < QP_PUBLIC_API_CONNS; i++)
		api->conn[i] = (struct conn) {.api = api, .fd = -1, .watch = QP_WATCH_NONE};
	/* Twice as many: the server sees the end of those that were dropped a turn later. */
	err = qp_http_new(&(struct qp_http_config) {.loop = cfg->loop,
				  .listen_fd = -1,
				  .max_connections = 2 * QP_PUBLIC_API_CONNS,
				  .timeout_s = QP_PUBLIC_API_SECONDS,
				  .close_each = true,
				  .answer = answer,
				  .ctx = api},
		&api->http, msg);
	if (err != 0) {
		free(api);
		return err;
	}
	*out = api;
	return 0;
}

void
qp_public_api_free(struct qp_public_api *api)
{
	if (api == NULL)
		return;
	for (unsigned i = 0; i < QP_PUBLIC_API_CONNS; i++) {
		if (api->conn[i].fd >= 0)
			drop(&api->conn[i]);
	}
	qp_loop_timer_cancel(api->cfg.loop, &api->retry);
	qp_http_free(api->http);
	free(api);
}

/* A socket pair: our end in `c`, the other with the HTTP server. */
static int
connect_to_http(struct qp_public_api *api, struct conn *c)
{
	const struct sockaddr peer = {.sa_family = AF_UNIX};
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) != 0)
		return QP_E_IO;
	if (qp_http_add(api->http, pair[1], &peer, sizeof(peer)) != 0 ||
		qp_loop_watch(api->cfg.loop, &c->watch, pair[0], EPOLLIN, on_answer, c) != 0) {
		close(pair[0]);
		return QP_E_IO;
	}
	c->fd = pair[0];
	return 0;
}

void
qp_public_api_open(struct qp_public_api *api, const struct qp_origin *from, const struct qp_msg *m)
{
	struct conn *c = find(api, from) == NULL ? make_room(api) : NULL;

	(void)m;
	if (c == NULL || connect_to_http(api, c) != 0) {
		send_close(api, from, QP_API_RESET);
		return;
	}
	c->origin = *from;
	c->opened = ++api->opened;
	c->received = 0;
	c->stalled = false;
	c->deadline = (struct qp_loop_timer) {.fire = on_deadline, .ctx = c};
	qp_loop_timer_set(api->cfg.loop, &c->deadline, QP_PUBLIC_API_SECONDS * 1000u);
}

void
qp_public_api_data(struct qp_public_api *api, const struct qp_origin *from, const struct qp_msg *m)
{
	struct conn *c = find(api, from);
	uint16_t len = m->api_data.len;

	if (c == NULL)
		return;
	c->received += len;
	/* The pair's buffer is larger than a whole request, so a short write is a broken pair. */
	if (len > sizeof(m->api_data.bytes) || c->received > QP_PUBLIC_API_REQUEST_BYTES ||
		send(c->fd, m->api_data.bytes, len, MSG_NOSIGNAL) != (ssize_t)len)
		end(c, QP_API_RESET);
}

void
qp_public_api_close(struct qp_public_api *api, const struct qp_origin *from, const struct qp_msg *m)
{
	struct conn *c = find(api, from);

	if (c == NULL)
		return;
	if (m->api_close.how == QP_API_FIN)
		shutdown(c->fd, SHUT_WR);
	else
		drop(c);
}

void
qp_public_api_drop_generation(struct qp_public_api *api, uint32_t server_id)
{
	for (unsigned i = 0; i < QP_PUBLIC_API_CONNS; i++) {
		struct conn *c = &api->conn[i];

		if (c->fd >= 0 && c->origin.server_id == server_id)
			drop(c);
	}
}
