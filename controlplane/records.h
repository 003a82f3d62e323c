/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_RECORDS_H
#define QP_CONTROLPLANE_RECORDS_H

#include <stdint.h>

#include "common/auth.h"
#include "controlplane/audit.h"
#include "controlplane/events.h"
#include "controlplane/ports.h"
#include "controlplane/tunnels.h"

/*
 * What is told of tunnels, ports and people: each thing once, as a row of the
 * audit log and as an event. docs/audit.md has the rows. A thing is told before
 * it is acted upon. Owner: the loop thread.
 */
struct qp_records {
	struct qp_audit *audit;   /* NULL: none */
	struct qp_events *events; /* NULL: none */
};

/* All take `r` NULL: nobody is told. */

void qp_record_gateway_started(const struct qp_records *r, const char *instance);
void qp_record_gateway_stopped(const struct qp_records *r, const char *reason);

void qp_record_tunnel_opened(const struct qp_records *r, const struct qp_tunnel *tun);
/* `usage` NULL: not known, its data plane died. */
void qp_record_tunnel_closed(const struct qp_records *r, const struct qp_tunnel *tun,
	enum qp_end_reason reason, const struct qp_msg_usage *usage);
/* `who`: the client, if that is known, else NULL. */
void qp_record_auth_failed(const struct qp_records *r, const uint8_t peer_addr[16],
	uint16_t peer_port_be, enum qp_auth_method method, const char *who, const char *reason);

/* `addr`: the gateway's own that the port answers on; all zero: every one. */
void qp_record_port_opened(const struct qp_records *r, const struct qp_port *port,
	const struct in6_addr *addr);
void qp_record_port_closed(const struct qp_records *r, const struct qp_port *port,
	const struct in6_addr *addr, const char *reason, const struct qp_msg_usage *usage);

/* A local forward: where it leads, as the client asked and (if granted) as resolved. */
void qp_record_local_opened(const struct qp_records *r, const struct qp_tunnel *tun,
	const char *asked, const struct qp_msg_local_grant *g);
void qp_record_local_refused(const struct qp_records *r, const struct qp_tunnel *tun,
	uint8_t wire_protocol, const char *asked, const char *reason);

/* CONN_CLOSED of the tunnel `of`; `client`: its name, empty if nobody knows it. */
void qp_record_connection(const struct qp_records *r, const struct qp_origin *of,
	struct qp_slice client, const struct qp_msg_conn *c);

/*
 * What somebody did by the API, a signal or the configuration: `actor` as
 * "api 127.0.0.1:50000", "signal"; `action` as "KickTunnel", "reload". Takes
 * `details` over; NULL is allowed.
 */
void qp_record_admin(const struct qp_records *r, const char *actor, const char *action,
	json_t *details);

/* "finished", "client lost", …: as rows and lists name it. */
const char *qp_end_reason_name(enum qp_end_reason reason);

#endif
