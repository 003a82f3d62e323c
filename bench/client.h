/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_BENCH_CLIENT_H
#define QP_BENCH_CLIENT_H

#include "bench/worker.h"
#include "common/wire.h"

/*
 * A quicport/1 client: handshake, authentication, one remote forward. Owner: its
 * worker. Life: the worker's; its connections come and go.
 */
enum qpb_client_state {
	QPB_CLIENT_IDLE,
	QPB_CLIENT_HANDSHAKE,
	QPB_CLIENT_AUTH,    /* step 1 is out */
	QPB_CLIENT_ASKED,   /* step 3 and the request are out */
	QPB_CLIENT_OPEN,
	QPB_CLIENT_CLOSING, /* closed() is still to come */
};

/* Who hears of a stream: the first member of either. */
enum qpb_stream_kind {
	QPB_STREAM_CONTROL,
	QPB_STREAM_SERVICE,
};

struct qpb_control {
	enum qpb_stream_kind kind;
	struct qp_quic_stream *s; /* NULL: gone */
	uint8_t rx[1024];         /* what is not yet a whole step or message */
	uint32_t rx_len;
	uint32_t skip;            /* bytes of a message too long for rx, still to come */
};

struct qpb_client {
	struct qpb_worker *w;
	uint32_t id;              /* among all clients */
	enum qpb_client_state state;
	struct qp_ipaddr addr;
	uint16_t next_port;       /* source port of the next connection */
	uint64_t at_ns;           /* when it was to begin */
	struct qp_quic_conn *conn;
	struct qp_auth_client *auth;
	struct qpb_control control;
	LIST_HEAD(, qpb_service) services; /* its connection's */
	TAILQ_ENTRY(qpb_client) link; /* on clients_idle */
};

#define QPB_CLIENT_FIRST_PORT 10000u /* source ports go round from here on */

/* An IDLE client's next tunnel, which was to begin at `at_ns`. It is off clients_idle. */
void qpb_client_begin(struct qpb_client *c, uint64_t at_ns);
/* Closes what it has; on clients_idle again when closed() has come. */
void qpb_client_close(struct qpb_client *c);

static inline bool
qpb_handshakes(const struct qpb_worker *w)
{
	return w->b->cfg.scenario == QPB_HANDSHAKES;
}

/*
 * The service behind a tunnel, one for each stream that the gateway opens: does
 * what the user's request header asks for. Owner: the client's worker. Life:
 * from stream_opened to stream_closed.
 */
struct qpb_service;
/* NULL: out of memory. */
struct qpb_service *qpb_service_new(struct qpb_client *c, struct qp_quic_stream *s);
/* All connection's streams are gone with it: their services, too. */
void qpb_services_drop(struct qpb_client *c);
void qpb_service_data(struct qpb_service *v, const uint8_t *data, size_t len, bool fin);
void qpb_service_acked(struct qpb_service *v);
/* Either side gave up. */
void qpb_service_broken(struct qpb_service *v);
void qpb_service_closed(struct qpb_service *v);

#endif
