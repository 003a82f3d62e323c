/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_HTTP_H
#define QP_CONTROLPLANE_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#include "common/error.h"
#include "controlplane/loop.h"

/*
 * An HTTP/1.1 server (libmicrohttpd) inside the event loop: bodies bounded and
 * gathered, slow connections ended, one answer function. Owner: the loop thread.
 */
struct qp_http;

#define QP_HTTP_BODY_BYTES 4096u

struct qp_http_request {
	const char *method;
	const char *path;
	const char *content_type; /* "" when not given */
	const char *body; /* NUL-terminated beyond body_len */
	size_t body_len;
};

struct qp_http_response {
	unsigned status;
	const char *content_type; /* a static string */
	char *body; /* from malloc; taken over */
	size_t body_len;
	const char *allow; /* NULL, or the methods that the path knows (405) */
};

struct qp_http_config {
	struct qp_loop *loop;
	int listen_fd; /* taken over; -1: connections come by qp_http_add */
	unsigned max_connections;
	unsigned timeout_s; /* silence that ends a connection */
	bool close_each; /* one request a connection */
	/* Fills `out`, which is all zero; status 0 or no memory becomes a 500. */
	void (*answer)(void *ctx, const struct qp_http_request *req, struct qp_http_response *out);
	void *ctx;
};

int qp_http_new(const struct qp_http_config *cfg, struct qp_http **out, struct qp_errmsg *msg);
/* NULL is allowed. */
void qp_http_free(struct qp_http *h);
/* Serves a connected socket, which is taken over, also on failure. */
int qp_http_add(struct qp_http *h, int fd, const struct sockaddr *peer, socklen_t len);

/* Answers of common kind. `text` is copied. */
void qp_http_json(struct qp_http_response *out, unsigned status, const char *text);
void qp_http_not_allowed(struct qp_http_response *out, const char *allow);
void qp_http_healthcheck(
	const struct qp_http_request *req, bool serving, struct qp_http_response *out);

/* A bound, listening TCP socket. QP_E_INUSE, QP_E_PERM; msg names the address. */
int qp_http_listen(const struct sockaddr *addr, socklen_t len, const char *what, int *out_fd,
	struct qp_errmsg *msg);

#endif
