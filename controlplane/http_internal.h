/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_HTTP_INTERNAL_H
#define QP_CONTROLPLANE_HTTP_INTERNAL_H

#include <microhttpd.h>
#include <sys/queue.h>

#include "controlplane/http.h"

/* What http.c (connections), http_request.c and http_respond.c (answers) share. */

enum conn_phase {
	CONN_WAITING, /* for a whole request */
	CONN_ANSWERING, /* for the peer to take the answer */
	CONN_PHASES,
	CONN_FREE_OF_TIME = CONN_PHASES, /* a handler or a stream has it */
};

/*
 * A connection, from accept to close. Owner: the loop thread; memory ends with
 * libmicrohttpd's notification. In the list of its phase, oldest first.
 */
struct conn {
	TAILQ_ENTRY(conn) next;
	enum conn_phase phase;
	uint64_t since_ns;
	int fd;
	bool ending; /* shut down, and in no list */
	bool asked; /* it has had a request */
	uid_t uid;
};

TAILQ_HEAD(conns, conn);

struct qp_http {
	struct qp_http_config cfg;
	struct MHD_Daemon *daemon;
	struct qp_watch watch;
	struct qp_watch listening;
	struct qp_loop_timer breath; /* until accepting is tried again */
	unsigned nconns;
	bool starved; /* it failed for want of something, and that was told */
	struct qp_loop_timer timer; /* libmicrohttpd's own */
	bool kicked; /* since the server last began to run */
	struct qp_loop_timer patience; /* ours */
	struct conns conns[CONN_PHASES];
	unsigned nwaiting;
	unsigned nrequests; /* under way, those with a stream for an answer included */
	unsigned nstreams;
	TAILQ_HEAD(, qp_http_stream) streams;
};

/* http_accept.c: takes connections as long as there is room for them. */
int qp_http_accept_start(struct qp_http *h) __attribute__((warn_unused_result));
void qp_http_accept_stop(struct qp_http *h);
/* One has ended. */
void qp_http_accept_again(struct qp_http *h);

/* A request, from its headers to the end of its answer. */
struct upload {
	struct qp_http_later later; /* first: a later is its upload */
	struct qp_http *http;
	struct MHD_Connection *conn;
	struct conn *c;
	char *body; /* grows */
	size_t len, cap;
	bool too_long;
	bool suspended;
	bool finished; /* `resp` is the answer that came later */
	struct qp_http_response resp;
	unsigned nheaders, nqueries;
	struct qp_http_field header[QP_HTTP_FIELDS];
	struct qp_http_field query[QP_HTTP_FIELDS];
};

struct conn *qp_http_conn_of(struct MHD_Connection *conn);
void qp_http_conn_set_phase(struct qp_http *h, struct conn *c, enum conn_phase phase);
/* libmicrohttpd has something to do that its descriptor does not tell. */
void qp_http_kick(struct qp_http *h);

/* libmicrohttpd's MHD_AccessHandlerCallback and MHD_RequestCompletedCallback. */
enum MHD_Result qp_http_on_request(void *ctx, struct MHD_Connection *conn, const char *url,
	const char *method, const char *version, const char *data, size_t *data_len, void **state);
void qp_http_on_request_end(
	void *ctx, struct MHD_Connection *conn, void **state, enum MHD_RequestTerminationCode why);
/* Takes what `r` holds over. */
enum MHD_Result qp_http_respond(
	struct qp_http *h, struct MHD_Connection *conn, struct qp_http_response *r);

/* Ends all streams; they are closed once libmicrohttpd has run. */
void qp_http_end_streams(struct qp_http *h);

/* MHD_OPTION_HTTPS_CERT_CALLBACK2's function, for the one server that has TLS. */
void *qp_http_tls_callback(struct qp_http_tls *t);

#endif
