/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_TESTS_CLIENT_WORLD_H
#define QP_TESTS_CLIENT_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/session.h"
#include "tests/client/lossy.h"
#include "tests/client/server.h"

/*
 * Everything of a forward in one thread and one loop: an outside client, the
 * tests' server, a session of the client, a local service. Sockets on
 * 127.0.0.1; nothing sleeps, everything waits for a condition with a deadline.
 */
struct world {
	struct qpc_loop loop;
	struct test_server_config server_cfg;
	struct test_server *server;
	struct qpc_session_config cfg;
	struct qpc_session *session;
	struct qp_secret *psk, *client_psk;
	WOLFSSL_CTX *tls;
	int service;              /* listening socket of the local service; -1: closed */
	struct qp_sockaddr dest;  /* its address */
	int distrust;             /* what the trust callback answers */
	char fingerprint[QP_FINGERPRINT_TEXT_BYTES]; /* what it was shown */
	bool opened, ended;
	struct qpc_timer tick;    /* ends a wait now and then, so that conditions are looked at */
	struct lossy *path;       /* NULL: straight */
	char cert[64], key[64];
};

extern struct world w;

/* A server, a service and everything but the session. */
void world_init(void);
void world_fini(void);
/* Starts what world_init and the test have set up, and waits until the forward is open. */
void world_open(void);
/* Starts; returns with the session's end. */
const struct qpc_session_end *world_run_to_end(void);

/* Turns the loop until `done(arg)`. Fails the test after 20 s. */
void world_until(bool (*done)(void *arg), void *arg, const char *what);

/*
 * One end of a TCP connection: sends a pattern, checks that what it receives
 * is the other's pattern.
 */
struct end {
	int fd;
	size_t to_send, sent, received;
	bool shut_after;  /* SHUT_WR when all is sent */
	bool mute;        /* does not read */
	bool shut, eof;
	int error;        /* errno of a failed send or receive */
	bool garbled;     /* received other bytes than the pattern's */
};

/* Connects to the forwarded port. */
void end_connect(struct end *e);
/* Waits for the service's next connection. */
void end_accept(struct end *e);
/* Sends and receives what it can now. */
void end_step(struct end *e);
/* Closes with RST. */
void end_reset(struct end *e);
void end_close(struct end *e);

/* Steps two ends until the condition holds. */
void world_relay(struct end *a, struct end *b, bool (*done)(struct end *a, struct end *b),
	const char *what);
/* A connection outside and the service's side of it. */
void world_connect(struct end *outside, struct end *service);

#endif
