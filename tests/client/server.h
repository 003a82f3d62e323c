/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_TESTS_CLIENT_SERVER_H
#define QP_TESTS_CLIENT_SERVER_H

#include <stdbool.h>
#include <stdint.h>

#include "client/loop.h"
#include "client/quic.h"
#include "client/relay.h"
#include "common/auth.h"

/*
 * A quicport/1 server for tests of the client: kernel TCP outside, the
 * client's own QUIC engine on the server's side, one client at a time. It
 * follows the protocol, except where `misbehave` says otherwise.
 */
enum test_misbehave {
	TEST_BEHAVE,
	TEST_REFUSE_PORT,        /* answers the request with `status` and "no" */
	TEST_STAY_SILENT,        /* never answers the first step */
	TEST_WRONG_PROOF,        /* answers the first step with wrong bytes */
	TEST_CLOSE_SESSION,      /* SessionClose right after the grant */
	TEST_CLOSE_AND_OPEN,     /* the same, and a stream in the same packet */
	TEST_BAD_MESSAGE,        /* a message of unknown type after the grant */
	TEST_CLIENT_MESSAGE,     /* a message that only clients may send */
	TEST_EARLY_STREAM,       /* opens a stream before authentication */
	TEST_DRIBBLE,            /* sends stream 0 byte by byte */
	TEST_SHORT_STREAM,       /* opens a stream of 2 bytes, and ends it */
	TEST_RESET_CONTROL,      /* resets stream 0 after the grant */
	TEST_ABSENT,             /* its UDP port is closed */
};

struct test_server_config {
	const char *cert_file, *key_file; /* PEM */
	struct qp_auth_policy policy;
	uint16_t port;                    /* UDP, host order; 0: any */
	enum test_misbehave misbehave;
	enum qp_wire_status status;
	struct qpc_quic_config quic;
};

struct test_server;

/* NULL, after a line on stderr, when it can't start. `cfg` is borrowed. */
struct test_server *test_server_new(struct qpc_loop *loop, const struct test_server_config *cfg);
void test_server_free(struct test_server *t);

/* UDP port. */
uint16_t test_server_port(const struct test_server *t);
/* TCP port that the client's request opened; 0: none. */
uint16_t test_server_forward(const struct test_server *t);
/* The client has said SessionClose. */
bool test_server_said_goodbye(const struct test_server *t);
/* The connection is over, or never was. */
bool test_server_idle(const struct test_server *t);
/* Authenticated clients so far. */
unsigned test_server_clients(const struct test_server *t);
/* ConnectionClose messages received; the last one's reason. */
unsigned test_server_closes(const struct test_server *t, enum qp_wire_reason *last);
/* Of the connection now; NULL: none. */
const struct qpc_relay_counters *test_server_counters(const struct test_server *t);

#endif
