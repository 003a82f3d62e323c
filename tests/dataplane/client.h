/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_TESTS_DATAPLANE_CLIENT_H
#define QP_TESTS_DATAPLANE_CLIENT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include <ngtcp2/ngtcp2_crypto.h>

#include "common/quicglue.h"
#include "tests/dataplane/world.h"

/*
 * A quicport client of the tests: ngtcp2 and wolfSSL as in life, its socket
 * is the world's network. Keeps all that it reads; what it does is up to the test.
 */
struct client_chunk {
	STAILQ_ENTRY(client_chunk) link;
	size_t len, sent;
	uint8_t data[];
};

struct client_stream {
	TAILQ_ENTRY(client_stream) link;
	struct client *client;
	int64_t id;
	uint8_t *rx; /* all bytes that came */
	size_t rx_len, rx_cap;
	bool fin, reset, closed; /* from the gateway; closed: ngtcp2 is done with it */
	uint64_t reset_code;
	bool hold; /* reads no more: gives no credit */
	uint64_t unread; /* bytes that credit was not given for */
	STAILQ_HEAD(, client_chunk) tx; /* kept to the end: ngtcp2 may send any of it again */
	bool fin_asked, fin_sent;
	bool stopped; /* the gateway sent STOP_SENDING */
};
TAILQ_HEAD(client_stream_list, client_stream);

struct client_config {
	bool ipv6;
	const char *alpn; /* NULL: the right one */
	uint32_t version; /* 0: QUIC 1 */
	uint64_t stream_window, conn_window;
	uint64_t max_streams; /* that the gateway may open */
	uint64_t idle_timeout_ns, keep_alive_ns;
	bool manual_streams; /* closed streams are not made up for */
	bool hold; /* new streams are not read */
};

struct client {
	TAILQ_ENTRY(client) link;
	struct world *world;
	struct client_config cfg;
	ngtcp2_conn *conn;
	ngtcp2_crypto_conn_ref ref;
	WOLFSSL_CTX *tls;
	WOLFSSL *ssl;
	struct qp_flow flow; /* as the gateway sees it; the test may change it (NAT rebinding) */
	struct qp_flow own; /* as it sees itself, in the gateway's view */
	struct client_stream_list streams;
	bool handshake_done, confirmed;
	bool over; /* the connection has ended: */
	int liberr; /* … by this code of ngtcp2 */
	bool by_peer, application, stateless_reset;
	uint64_t code;
	char reason[256];
	bool gone; /* crashed: reads and writes nothing any more */
	uint64_t max_streams_given;
};

void client_config_default(struct client_config *cfg);
/* From 198.51.100.7:port. NULL cfg: the default. */
struct client *client_new(struct world *w, uint16_t port, const struct client_config *cfg);
void client_free(struct client *c);
/* A datagram for it. */
void client_receive(struct client *c, const struct world_packet *p);
/* Handles its timers and writes what it owes. */
void client_turn(struct client *c);
uint64_t client_next_ns(const struct client *c);

/* Opens its next stream (the first is 0). */
struct client_stream *client_open(struct client *c);
/* The stream with that id, or NULL. */
struct client_stream *client_stream(struct client *c, int64_t id);
/* The stream whose first four bytes are that connection id, or NULL. */
struct client_stream *client_conn_stream(struct client *c, uint32_t conn_id);
/* The n-th stream that the gateway has opened, with its four bytes of id, or NULL. */
struct client_stream *client_nth(struct client *c, unsigned n);
void client_write(struct client_stream *s, const void *data, size_t len);
void client_fin(struct client_stream *s);
/* RESET_STREAM and STOP_SENDING. */
void client_reset(struct client_stream *s, uint64_t code);
/* STOP_SENDING alone. */
void client_stop(struct client_stream *s, uint64_t code);
/* Reads on: gives back the credit that was held. */
void client_unhold(struct client_stream *s);
void client_grant_streams(struct client *c, uint64_t n);
/* CONNECTION_CLOSE. */
void client_close(struct client *c, uint64_t code);

/*
 * The whole way to an open port: handshake, golden authentication, request.
 * Returns stream 0, whose received bytes so far are step 2 and the response.
 */
struct client_stream *client_forward(struct client *c, uint16_t port);
struct outside_conn;
/* An outside connection to that port, and its stream at the client; NULL: that did not come in time. */
struct client_stream *client_relayed(struct client *c, uint16_t port, struct outside_conn **o);
/* The same for a local forward. */
struct client_stream *client_local(struct client *c, const char *destination);

#endif
