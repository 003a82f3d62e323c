/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_HTTP_H
#define QP_CONTROLPLANE_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "common/error.h"
#include "controlplane/loop.h"

/*
 * An HTTP/1.1 server (libmicrohttpd) inside the event loop: bodies bounded and
 * gathered, slow connections ended, one answer function, answers that come
 * later, and answers without an end. Owner: the loop thread.
 */
struct qp_http;
struct qp_http_tls;
struct qp_http_response;

#define QP_HTTP_BODY_BYTES 65536u
#define QP_HTTP_HEAD_BYTES 8192u /* request line and headers */
#define QP_HTTP_FIELDS 64u /* headers a request, and as many query parameters */

struct qp_http_field {
	const char *name;
	const char *value; /* "" when it has none */
};

/* An answer that is not there yet. Made by the server, or by a test. */
struct qp_http_later {
	bool deferred;
	/* Takes the response over. */
	void (*finish)(struct qp_http_later *later, struct qp_http_response *resp);
};

/* Borrowed until the answer function returns; until the finish when it has deferred. */
struct qp_http_request {
	const char *method;
	const char *path;
	const char *content_type; /* "" when not given */
	const char *body; /* NUL-terminated beyond body_len */
	size_t body_len;
	const struct qp_http_field *header;
	unsigned nheaders;
	const struct qp_http_field *query;
	unsigned nqueries;
	bool http10;
	bool unix_socket;
	uid_t uid; /* of a Unix socket's peer, as it connected */
	int fd; /* the connection's, to ask the kernel about; -1: none */
	struct qp_http_later *later; /* NULL: this answer cannot be deferred */
};

struct qp_http_stream;

/*
 * An answer without an end. `read` returns the bytes it has put into `buf`, 0
 * when there is nothing now (qp_http_stream_wake then), -1 to end.
 */
struct qp_http_source {
	ssize_t (*read)(void *ctx, char *buf, size_t max);
	void (*started)(void *ctx, struct qp_http_stream *stream);
	void (*closed)(void *ctx); /* nothing is called after it; also when it never started */
	void *ctx;
};

struct qp_http_response {
	unsigned status;
	const char *content_type; /* a static string; NULL: no body */
	char *body; /* from malloc; taken over */
	const void *constant; /* instead of `body`: never freed */
	size_t body_len;
	struct qp_http_field header[8]; /* static strings; further ones of this answer */
	unsigned nheaders;
	const struct qp_http_source *source; /* instead of a body; copied */
};

struct qp_http_config {
	struct qp_loop *loop;
	int listen_fd; /* taken over; -1: connections come by qp_http_add */
	bool unix_socket;
	struct qp_http_tls *tls; /* NULL: plain; borrowed */
	unsigned max_connections;
	unsigned
		timeout_s; /* in which a request must be there whole, counted from the one before */
	bool close_each; /* one request a connection */
	/* Fills `out`, which is all zero; status 0 becomes a 500. */
	void (*answer)(void *ctx, const struct qp_http_request *req, struct qp_http_response *out);
	void *ctx;
};

int qp_http_new(const struct qp_http_config *cfg, struct qp_http **out, struct qp_errmsg *msg);
/* Answers that were deferred must be there; streams are ended. NULL is allowed. */
void qp_http_free(struct qp_http *h);
/* The listening socket, borrowed; -1: there is none. */
int qp_http_listener(const struct qp_http *h);
/*
 * From now on nobody is accepted; who is connected is served on. The listening
 * socket, which is the caller's; -1: there is none.
 */
int qp_http_quiesce(struct qp_http *h);
/* A request is on its way, or its answer; streams are not counted. */
bool qp_http_busy(const struct qp_http *h);
/* Serves a connected socket, which is taken over, also on failure. */
int qp_http_add(struct qp_http *h, int fd, const struct sockaddr *peer, socklen_t len);

/* The first of this name, whatever its case; NULL: none. */
const char *qp_http_header(const struct qp_http_request *req, const char *name);

/* The answer comes by qp_http_finish, from now on at any time. NULL: it must be given at once. */
struct qp_http_later *qp_http_defer(const struct qp_http_request *req);
/* Takes the response over; `later` is gone. */
void qp_http_finish(struct qp_http_later *later, struct qp_http_response *resp);

/* There is something to read again. Any number of times. */
void qp_http_stream_wake(struct qp_http_stream *s);
/* The listener is cut off: `closed` follows, not from inside this call. */
void qp_http_stream_abort(struct qp_http_stream *s);

/* Answers of common kind. `text` is copied; names and values are static strings. */
void qp_http_json(struct qp_http_response *out, unsigned status, const char *text);
void qp_http_add_header(struct qp_http_response *out, const char *name, const char *value);
void qp_http_not_allowed(struct qp_http_response *out, const char *allow);
void qp_http_healthcheck(
	const struct qp_http_request *req, bool serving, const char *reason,
	struct qp_http_response *out);
/* GET or HEAD; else it is answered: false. */
bool qp_http_reads(const struct qp_http_request *req, struct qp_http_response *out);
/* What an answer holds that nobody will see. */
void qp_http_response_clear(struct qp_http_response *resp);

/* A bound, listening TCP socket. QP_E_INUSE, QP_E_PERM; msg names the address. */
int qp_http_listen(const struct sockaddr *addr, socklen_t len, const char *what, int *out_fd,
	struct qp_errmsg *msg);
/*
 * The same on a Unix socket. A socket that nobody listens on any more is
 * replaced; a file of another kind is not. `group` NULL: our own.
 */
int qp_http_listen_unix(
	const char *path, mode_t mode, const char *group, int *out_fd, struct qp_errmsg *msg);

/*
 * Certificate and key for TLS 1.2 and newer, in PEM files; the key's must not
 * be readable by others. A message names the file.
 */
int qp_http_tls_new(
	const char *cert, const char *key, struct qp_http_tls **out, struct qp_errmsg *msg);
/* After the server. NULL is allowed. */
void qp_http_tls_free(struct qp_http_tls *t);
/* Reads both again; connections that are open stay. A failure changes nothing. */
int qp_http_tls_reload(struct qp_http_tls *t, struct qp_errmsg *msg);

#endif
