/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_PORTS_H
#define QP_CONTROLPLANE_PORTS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "common/error.h"
#include "controlplane/leases.h"
#include "controlplane/msg.h"
#include "controlplane/policy.h"
#include "controlplane/tunnels.h"

struct qp_records;

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
	/* Steers an open port to another worker. */
	int (*move)(void *ctx, int protocol, uint16_t port, const struct qp_origin *worker);
	/* Whether the worker's HELLO had takes_over. NULL: none's. */
	bool (*takes_over)(void *ctx, const struct qp_origin *worker);
	void *ctx;
};

struct qp_port_heir;

/* An open port. Life: from the grant until its tunnel gives it back or ends. */
struct qp_port {
	uint16_t port;
	uint8_t protocol; /* IPPROTO_TCP, IPPROTO_UDP */
	bool leased;      /* asked for as 0: its client gets it again */
	bool adopted;     /* from a control plane before this one; `opened_at` is its tunnel's start */
	uint64_t opened_at; /* Unix time, seconds */
	char *destination;  /* the client's own, as it told it, made printable */
	uint64_t takeovers_since; /* Unix time, seconds; and how many since then */
	unsigned takeovers;
	struct qp_tunnel *tunnel;
	struct qp_port_heir *heir; /* who takes it over once its worker listens; NULL: nobody */
	LIST_ENTRY(qp_port) of_tunnel;
};

/* What a tunnel's client may do with ports. Borrowed for the call. */
struct qp_port_rights {
	const char *client;             /* whose leases; the same for all its tunnels */
	const struct qp_grants *grants; /* NULL: any port */
	bool takeover;                  /* a new tunnel may have a port that an old one still holds */
};

struct qp_ports_config {
	struct qp_tunnels *tunnels;
	struct qp_sender sender;
	struct qp_port_host host;
	struct in6_addr forward_addr; /* the only address that ports answer on; all zero: every */
	const uint16_t *reserved_tcp; /* the gateway's own ports; borrowed */
	unsigned nreserved_tcp;
	uint16_t reserved_udp; /* QUIC's; 0: none */
	uint16_t any_first, any_last; /* what 0 is answered with; 0: QP_PORTS_ANY_FIRST to 65535 */
	const struct qp_port_range *excluded; /* --reserved-ports; borrowed */
	unsigned nexcluded;
	/*
	 * QP_E_PERM and a line for the client's user, or 0; `out` is filled in either case.
	 * NULL: any port, by the name of the tunnel's identity, and no takeover.
	 */
	int (*rights)(void *ctx, const struct qp_tunnel *tun, struct qp_port_rights *out,
		struct qp_errmsg *msg);
	/* Whether it may have one more than it has: QP_E_PERM and a line, or 0. NULL: any number. */
	int (*room)(void *ctx, const struct qp_tunnel *tun, struct qp_errmsg *msg);
	void *rights_ctx; /* of both */
	struct qp_leases *leases;         /* NULL: none are kept; borrowed */
	const struct qp_records *records; /* NULL: nobody is told; borrowed */
	uint64_t (*unix_time)(void);      /* seconds; NULL: the system's clock */
	uint32_t (*random)(uint32_t upper_bound); /* NULL: libsodium's */
};

#define QP_PORTS_ANY_FIRST 32768u
/* More takeovers of one port within two minutes are two programs that run with one key. */
#define QP_PORTS_TAKEOVERS 5u

struct qp_ports;

struct qp_ports *qp_ports_new(const struct qp_ports_config *cfg);
/* Closes all. NULL is allowed. */
void qp_ports_free(struct qp_ports *p);

/* For ports that are opened from now on; as in struct qp_ports_config. */
void qp_ports_set_ranges(struct qp_ports *p, const struct qp_port_range *any,
	const struct qp_port_range *excluded, unsigned nexcluded);

/*
 * FORWARD_REQUEST: answers with FORWARD_GRANT or FORWARD_DENY; of a port that goes
 * from one worker to another, first with a FORWARD_GRANT that says listen_only.
 */
void qp_ports_request(struct qp_ports *p, const struct qp_origin *from, const struct qp_msg *m);
/* FORWARD_LISTENS: the port is moved and granted, and its old tunnel ends. */
void qp_ports_listens(struct qp_ports *p, const struct qp_origin *from, const struct qp_msg *m);
/* FORWARD_CLOSED: the port is free when this returns. Another tunnel's port stays. */
void qp_ports_closed(struct qp_ports *p, const struct qp_origin *from, const struct qp_msg *m);
/*
 * The tunnel ends: all its ports are free when this returns. `reason` for the
 * audit log; `usage` NULL: not known.
 */
void qp_ports_drop_tunnel(struct qp_ports *p, struct qp_tunnel *tun, const char *reason,
	const struct qp_msg_usage *usage);
/*
 * A tunnel of a data plane that was taken over holds the port (TUNNEL_STATE):
 * opens it on the host and in the table, without question or answer.
 */
int qp_ports_adopt(struct qp_ports *p, struct qp_tunnel *tun, const struct qp_msg_tunnel_state *s,
	struct qp_errmsg *msg);

/* NULL: nobody has it. protocol as in struct qp_port. */
const struct qp_port *qp_ports_find(const struct qp_ports *p, uint8_t protocol, uint16_t port);
unsigned qp_ports_count(const struct qp_ports *p);

#endif
