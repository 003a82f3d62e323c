/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_TESTS_DATAPLANE_OUTSIDE_H
#define QP_TESTS_DATAPLANE_OUTSIDE_H

#include "tests/dataplane/world.h"

/*
 * Outside TCP clients, and hosts that the gateway connects to. Two implementations, one for a program: outside_fake.c
 * stands in for the gateway's TCP itself (and so shows every call that the
 * relay makes), outside_tcp.c is a second real TCP at the other end of the wire.
 */
struct outside_conn {
	uint16_t port;
	uint8_t host; /* accepted: whom the gateway connected to */
	uint8_t *rx; /* all bytes that came */
	size_t rx_len, rx_cap;
	bool established, fin;
	bool reset; /* the gateway sent RST, or refused */
	bool ended; /* both directions ended well */
	bool hold; /* reads no more */
	size_t taken; /* bytes of what was to be sent that the gateway's TCP took */
	void *impl;
};

/* Makes the gateway's TCP (w->tcp) and what stands at its other end. */
void outside_start(struct world *w);
void outside_stop(struct world *w);
/* Their turn; true when something was done. */
bool outside_turn(struct world *w);
uint64_t outside_next_ns(const struct world *w);
/* A TCP frame that the gateway sent; consumed. */
void outside_receive(struct world *w, struct rte_mbuf *frame);
/* The network has brought it to them; consumed. */
void outside_deliver(struct world *w, struct rte_mbuf *frame);

/* What becomes of connections that the gateway opens to 203.0.113.`host`; at first they are refused. */
enum outside_answer {
	OUTSIDE_REFUSES,
	OUTSIDE_ACCEPTS,
	OUTSIDE_IS_SILENT,
};
#define OUTSIDE_SERVER_PORT 8080
#define OUTSIDE_SOURCE_PORT 50123u /* of the fake TCP's own connections; the real one chooses */
#define OUTSIDE_CLIENT 0xcb007109u /* 203.0.113.9: where outside_connect comes from */
void outside_host(struct world *w, uint8_t host, enum outside_answer how);
/* The n-th connection (from 0) that was accepted, or NULL. */
struct outside_conn *outside_accepted(struct world *w, unsigned n);

/* The struct lives as long as the gateway. */
struct outside_conn *outside_connect(struct world *w, uint16_t port);
void outside_send(struct outside_conn *c, const void *data, size_t len);
/* FIN after all that is to be sent. */
void outside_finish(struct outside_conn *c);
void outside_reset(struct outside_conn *c);
/* Reads on. */
void outside_unhold(struct outside_conn *c);

#endif
