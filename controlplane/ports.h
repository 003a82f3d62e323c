/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_PORTS_H
#define QP_CONTROLPLANE_PORTS_H

#include <netinet/in.h>
#include <stdint.h>
#include <sys/queue.h>

#include "common/error.h"
#include "controlplane/msg.h"
#include "controlplane/tunnels.h"

/*
 * Who has which forwarded port. A tunnel asks, this table decides, the host
 * (or the NIC) is told to steer the port to the tunnel's worker, and the tunnel
 * is answered in words that its client's user reads. Owner: the loop thread.
 */

/* What opens and closes ports for real; protocol is IPPROTO_TCP or IPPROTO_UDP. */
struct qp_port_host {
	/* QP_E_INUSE, QP_E_PERM or another code, and a line in msg. `addr` NULL: all addresses. */
	int (*open)(void *ctx, int protocol, uint16_t port, const struct in6_addr *addr,
		const struct qp_origin *worker, struct qp_errmsg *msg);
	void (*close)(void *ctx, int protocol, uint16_t port);
	void *ctx;
};

/* An open port. Life: from the grant until its tunnel gives it back or ends. */
struct qp_port {
	uint16_t port;
	uint8_t protocol; /* IPPROTO_TCP, IPPROTO_UDP */
	struct qp_tunnel *tunnel;
	LIST_ENTRY(qp_port) of_tunnel;
};

struct qp_ports_config {
	struct qp_tunnels *tunnels;
	struct qp_sender sender;
	struct qp_port_host host;
	struct in6_addr forward_addr; /* the only address that ports answer on; all zero: every */
	const uint16_t *reserved_tcp; /* the gateway's own ports; borrowed */
	unsigned nreserved_tcp;
	uint16_t reserved_udp; /* QUIC's; 0: none */
	uint32_t (*random)(uint32_t upper_bound); /* NULL: libsodium's */
};

struct qp_ports;

struct qp_ports *qp_ports_new(const struct qp_ports_config *cfg);
/* Closes all. NULL is allowed. */
void qp_ports_free(struct qp_ports *p);

/* FORWARD_REQUEST: answers with FORWARD_GRANT or FORWARD_DENY. */
void qp_ports_request(struct qp_ports *p, const struct qp_origin *from, const struct qp_msg *m);
/* FORWARD_CLOSED: the port is free when this returns. Another tunnel's port stays. */
void qp_ports_closed(struct qp_ports *p, const struct qp_origin *from, const struct qp_msg *m);
/* The tunnel ends: all its ports are free when this returns. */
void qp_ports_drop_tunnel(struct qp_ports *p, struct qp_tunnel *tun);

/* NULL: nobody has it. protocol as in struct qp_port. */
const struct qp_port *qp_ports_find(const struct qp_ports *p, uint8_t protocol, uint16_t port);
unsigned qp_ports_count(const struct qp_ports *p);

#endif
