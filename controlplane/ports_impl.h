/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_PORTS_IMPL_H
#define QP_CONTROLPLANE_PORTS_IMPL_H

#include "controlplane/ports.h"

/*
 * What ports.c (the table, and who is answered what), ports_pick.c (which port)
 * and ports_takeover.c share.
 */

struct qp_ports {
	struct qp_ports_config cfg;
	unsigned count;
	struct qp_port *tcp[65536];
	struct qp_port *udp[65536];
};

/* One request: who asks for what. */
struct qp_port_wish {
	struct qp_tunnel *tunnel;
	struct qp_port_rights rights;
	bool adopted;              /* the port was open before this process started */
	int protocol;              /* IPPROTO_TCP, IPPROTO_UDP */
	uint8_t wire_protocol;
	char destination[QP_LEASE_TEXT_BYTES]; /* printable */
	char peer[64];             /* the client's address */
	uint64_t takes_from;       /* out: the tunnel of the same worker that loses the port; 0: none */
};

/*
 * A tunnel that takes a port over from another worker's, until its own worker
 * listens. Owner: the port. It goes with either tunnel's end.
 */
struct qp_port_heir {
	struct qp_tunnel *tunnel;
	uint8_t wire_protocol;
	bool leased;
	char destination[QP_LEASE_TEXT_BYTES];
};

/* Where the table has a port of IPPROTO_TCP or IPPROTO_UDP. */
static inline struct qp_port **
qp_ports_slot(struct qp_ports *p, int protocol, uint16_t port)
{
	return protocol == IPPROTO_UDP ? &p->udp[port] : &p->tcp[port];
}

static inline const char *
qp_ports_protocol_name(int protocol)
{
	return protocol == IPPROTO_UDP ? "udp" : "tcp";
}

/* ports.c: who asks, and what the policy says of that. */
int qp_ports_make_wish(struct qp_ports *p, struct qp_tunnel *tun, uint8_t wire_protocol,
	struct qp_slice destination, struct qp_port_wish *w, struct qp_errmsg *msg);
/* An empty FORWARD_GRANT or FORWARD_DENY; `err` 0 or negative, and then why is in `msg`. */
void qp_ports_make_answer(const struct qp_ports *p, uint8_t wire_protocol, uint16_t number, int err,
	const struct qp_errmsg *msg, struct qp_msg *out);
/* Takes the port for the tunnel, on the host too. QP_E_INUSE, QP_E_PERM, the host's. */
int qp_ports_open(struct qp_ports *p, const struct qp_port_wish *w, uint16_t number, bool leased,
	struct qp_errmsg *msg);
/* The port's tunnel has given it up, or loses it: told, and no tunnel's any more. */
void qp_ports_take_from_tunnel(struct qp_ports *p, struct qp_port *port, const char *reason,
	const struct qp_msg_usage *usage);
/* The port, which is no tunnel's, is this one's from now on. QP_E_NOMEM. */
int qp_ports_give_to_tunnel(
	struct qp_ports *p, struct qp_port *port, const struct qp_port_wish *w, bool leased);
/* The port, which is no tunnel's, is free. */
void qp_ports_forget(struct qp_ports *p, struct qp_port *port);
/* QP_E_PERM and a line when the tunnel may not have one more. */
int qp_ports_room(const struct qp_ports *p, const struct qp_tunnel *tun, struct qp_errmsg *msg);
/* QP_E_INUSE or QP_E_PERM when nobody may have it. */
int qp_ports_check(const struct qp_ports *p, int protocol, uint16_t number, struct qp_errmsg *msg);

/*
 * ports_takeover.c: takes an open port from another tunnel of the same client.
 * QP_E_AGAIN: the tunnel is answered, and the rest follows when its worker listens.
 * QP_E_INUSE when it is no other's of the same client, or has been taken too often.
 */
int qp_ports_take_over(struct qp_ports *p, struct qp_port_wish *w, struct qp_port *port,
	bool leased, struct qp_errmsg *msg);
/* The port has lost its tunnel, which needs not be told: true when the heir has it now. */
bool qp_ports_inherit(struct qp_ports *p, struct qp_port *port);
/* Nobody is waiting for the port any more. NULL is allowed. */
void qp_ports_drop_heir(struct qp_port *port);

/* ports_pick.c: the answer to 0; the number is told in `*number`. */
int qp_ports_open_any(struct qp_ports *p, struct qp_port_wish *w, uint16_t *number,
	struct qp_errmsg *msg);

#endif
