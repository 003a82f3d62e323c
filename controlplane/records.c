/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rows of the audit log, and the events that tell the same. Loop thread.
 * Text of a peer is made harmless first: JSON takes UTF-8 only, and so do those
 * who read the rows on a terminal.
 */
#define QP_LOG_MODULE QP_LOG_M_general
#include "controlplane/records.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/addr.h"
#include "common/text.h"
#include "common/wire.h"

const char *
qp_end_reason_name(enum qp_end_reason reason)
{
	switch (reason) {
	case QP_END_UNKNOWN:
		break;
	case QP_END_FINISHED:
		return "finished";
	case QP_END_OUTSIDE_RESET:
		return "outside reset";
	case QP_END_CLIENT_RESET:
		return "client reset";
	case QP_END_TIMEOUT:
		return "timeout";
	case QP_END_TUNNEL:
		return "tunnel ended";
	case QP_END_KICKED:
		return "kicked";
	case QP_END_LIMIT:
		return "limit";
	case QP_END_NO_MEMORY:
		return "no memory";
	case QP_END_CLIENT_LEFT:
		return "client left";
	case QP_END_CLIENT_LOST:
		return "client lost";
	case QP_END_SHUTDOWN:
		return "shutdown";
	case QP_END_PROTOCOL:
		return "protocol error";
	case QP_END_REFUSED:
		return "refused";
	}
	return "unknown";
}

static void
set_text(json_t *row, const char *name, const char *text)
{
	json_object_set_new(row, name, json_string(text));
}

static void
set_printable(json_t *row, const char *name, struct qp_slice text)
{
	char safe[1024];

	qp_slice_printable(text, safe, sizeof(safe));
	set_text(row, name, safe);
}

static void
set_number(json_t *row, const char *name, uint64_t n)
{
	json_object_set_new(row, name, json_integer((json_int_t)n));
}

/* "address" and "port" apart: that is how they are searched for. */
static void
set_addr(json_t *row, const char *name, const char *port_name, const uint8_t addr[16],
	uint16_t port_be)
{
	char text[INET6_ADDRSTRLEN];

	if (IN6_IS_ADDR_V4MAPPED((const struct in6_addr *)(const void *)addr))
		inet_ntop(AF_INET, addr + 12, text, sizeof(text));
	else
		inet_ntop(AF_INET6, addr, text, sizeof(text));
	set_text(row, name, text);
	if (port_name != NULL)
		set_number(row, port_name, ntohs(port_be));
}

static void
set_time(json_t *row, const char *name, uint64_t unix_s)
{
	time_t t = (time_t)unix_s;
	char text[40];
	struct tm tm;

	gmtime_r(&t, &tm);
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
	set_text(row, name, text);
}

static void
set_usage(json_t *row, const struct qp_msg_usage *u)
{
	if (u == NULL)
		return;
	set_number(row, "bytes_in", u->in_bytes);
	set_number(row, "bytes_out", u->out_bytes);
	set_number(row, "connections", u->conns_total);
	set_number(row, "connections_refused", u->conns_refused);
}

static void
set_tunnel(json_t *row, const struct qp_tunnel *tun)
{
	char id[QP_ORIGIN_TEXT_BYTES];

	set_text(row, "tunnel", qp_origin_format(&tun->origin, id));
	set_text(row, "client", tun->identity.name);
}

/* Who it is: what a legal question needs of a client beyond its name. */
static void
set_peer(json_t *row, const struct qp_tunnel *tun)
{
	char key[QP_KEY_TEXT_BYTES];

	set_text(row, "method", qp_auth_method_name(tun->identity.method));
	if (tun->identity.method == QP_AUTH_X25519) {
		qp_key_format(tun->identity.key, key);
		set_text(row, "key", key);
	}
	set_addr(row, "peer_address", "peer_port", tun->peer_addr, tun->peer_port_be);
	set_time(row, "since", tun->identity.since);
}

static void
set_protocol(json_t *row, uint8_t wire)
{
	set_text(row, "protocol", wire == QP_WIRE_UDP ? "udp" : "tcp");
}

static bool
wanted(const struct qp_records *r)
{
	return r != NULL && (r->audit != NULL || qp_events_wanted(r->events));
}

/*
 * The same as the API says it, in whose lists an event's tunnel is looked up:
 * docs/openapi.json, TunnelEvent and the others.
 */
static json_t *
as_event(const json_t *row)
{
	static const struct {
		const char *row, *event;
	} names[] = {{"tunnel", "tunnel_id"}, {"key", "public_key"}, {"bytes_in", "bytes_sent"},
		{"bytes_out", "bytes_received"}, {"connections", "connections_total"}};
	json_t *e = json_copy((json_t *)(uintptr_t)row);
	const char *addr = json_string_value(json_object_get(row, "peer_address"));
	char peer[QP_ADDR_TEXT_BYTES];

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		json_t *value = json_object_get(e, names[i].row);

		if (value == NULL)
			continue;
		json_object_set(e, names[i].event, value);
		json_object_del(e, names[i].row);
	}
	if (addr == NULL)
		return e;
	snprintf(peer, sizeof(peer), strchr(addr, ':') != NULL ? "[%s]:%d" : "%s:%d", addr,
		(int)json_integer_value(json_object_get(row, "peer_port")));
	set_text(e, "peer", peer);
	json_object_del(e, "peer_address");
	json_object_del(e, "peer_port");
	return e;
}

/* Takes `row` over. The audit log comes first: an event may lead to an action. */
static void
tell(const struct qp_records *r, const char *what, json_t *row)
{
	json_t *event = qp_events_wanted(r->events) ? as_event(row) : NULL;

	qp_audit_write(r->audit, what, row);
	qp_events_emit(r->events, what, event);
}

void
qp_record_gateway_started(const struct qp_records *r, const char *instance)
{
	if (r != NULL)
		qp_audit_write(r->audit, "gateway_started",
			json_pack("{s:s, s:s}", "instance", instance, "version", QP_VERSION));
}

void
qp_record_gateway_stopped(const struct qp_records *r, const char *reason)
{
	if (r != NULL)
		qp_audit_write(r->audit, "gateway_stopped", json_pack("{s:s}", "reason", reason));
}

void
qp_record_tunnel_opened(const struct qp_records *r, const struct qp_tunnel *tun)
{
	json_t *row;

	if (!wanted(r))
		return;
	row = json_object();
	set_tunnel(row, tun);
	set_peer(row, tun);
	tell(r, QP_EVENT_TUNNEL_OPENED, row);
}

void
qp_record_tunnel_closed(const struct qp_records *r, const struct qp_tunnel *tun,
	enum qp_end_reason reason, const struct qp_msg_usage *usage)
{
	json_t *row;

	if (!wanted(r))
		return;
	row = json_object();
	set_tunnel(row, tun);
	set_peer(row, tun);
	set_usage(row, usage);
	set_text(row, "reason", usage != NULL ? qp_end_reason_name(reason) : "data plane ended");
	if (tun->ending && tun->why[0] != '\0')
		set_text(row, "detail", tun->why);
	tell(r, QP_EVENT_TUNNEL_CLOSED, row);
}

void
qp_record_auth_failed(const struct qp_records *r, const uint8_t peer_addr[16],
	uint16_t peer_port_be, enum qp_auth_method method, const char *who, const char *reason)
{
	json_t *row;

	if (!wanted(r))
		return;
	row = json_object();
	set_addr(row, "peer_address", "peer_port", peer_addr, peer_port_be);
	set_text(row, "method", qp_auth_method_name(method));
	if (who != NULL)
		set_text(row, "client", who);
	set_printable(row, "reason", qp_slice_of(reason));
	tell(r, QP_EVENT_AUTH_FAILED, row);
}

static json_t *
port_row(const struct qp_port *port, const struct in6_addr *addr)
{
	json_t *row = json_object();

	set_tunnel(row, port->tunnel);
	set_text(row, "protocol", port->protocol == IPPROTO_UDP ? "udp" : "tcp");
	set_number(row, "port", port->port);
	if (!IN6_IS_ADDR_UNSPECIFIED(addr))
		set_addr(row, "address", NULL, addr->s6_addr, 0);
	set_text(row, "destination", port->destination);
	set_addr(row, "peer_address", "peer_port", port->tunnel->peer_addr,
		port->tunnel->peer_port_be);
	return row;
}

void
qp_record_port_opened(
	const struct qp_records *r, const struct qp_port *port, const struct in6_addr *addr)
{
	json_t *row;

	if (!wanted(r))
		return;
	row = port_row(port, addr);
	if (port->adopted) {
		set_time(row, "since", port->opened_at);
		json_object_set_new(row, "adopted", json_true());
	}
	tell(r, QP_EVENT_PORT_OPENED, row);
}

void
qp_record_port_closed(const struct qp_records *r, const struct qp_port *port,
	const struct in6_addr *addr, const char *reason, const struct qp_msg_usage *usage)
{
	json_t *row;

	if (!wanted(r))
		return;
	row = port_row(port, addr);
	set_time(row, "since", port->opened_at);
	set_usage(row, usage);
	set_text(row, "reason", reason);
	tell(r, QP_EVENT_PORT_CLOSED, row);
}

void
qp_record_local_opened(const struct qp_records *r, const struct qp_tunnel *tun,
	const char *asked, const struct qp_msg_local_grant *g)
{
	json_t *row;

	if (r == NULL || r->audit == NULL)
		return;
	row = json_object();
	set_tunnel(row, tun);
	set_protocol(row, g->protocol);
	set_printable(row, "destination", qp_slice_of(asked));
	set_addr(row, "outside_address", "outside_port", g->addr[0].addr, htons(g->port));
	set_addr(row, "source_address", NULL, g->addr[0].source, 0);
	set_number(row, "source_port_first", g->source_first);
	set_number(row, "source_ports", g->source_count);
	qp_audit_write(r->audit, "local_forward_opened", row);
}

void
qp_record_local_refused(const struct qp_records *r, const struct qp_tunnel *tun,
	uint8_t wire_protocol, const char *asked, const char *reason)
{
	json_t *row;

	if (r == NULL || r->audit == NULL)
		return;
	row = json_object();
	set_tunnel(row, tun);
	set_protocol(row, wire_protocol);
	set_printable(row, "destination", qp_slice_of(asked));
	set_printable(row, "reason", qp_slice_of(reason));
	qp_audit_write(r->audit, "local_forward_refused", row);
}

void
qp_record_connection(const struct qp_records *r, const struct qp_origin *of,
	struct qp_slice client, const struct qp_msg_conn *c)
{
	char id[QP_ORIGIN_TEXT_BYTES];
	json_t *row;

	if (r == NULL || r->audit == NULL)
		return;
	row = json_object();
	set_text(row, "tunnel", qp_origin_format(of, id));
	if (client.len > 0)
		set_printable(row, "client", client);
	set_number(row, "connection", c->conn_id);
	set_protocol(row, c->protocol);
	set_text(row, "direction", c->local ? "client to outside" : "outside to client");
	set_number(row, "port", c->port);
	set_addr(row, "outside_address", "outside_port", c->peer_addr, c->peer_port_be);
	set_number(row, "duration_ms", c->age_ms);
	set_number(row, "bytes_in", c->in_bytes);
	set_number(row, "bytes_out", c->out_bytes);
	set_text(row, "reason", qp_end_reason_name((enum qp_end_reason)c->reason));
	qp_audit_write(r->audit, "connection", row);
}

void
qp_record_admin(
	const struct qp_records *r, const char *actor, const char *action, json_t *details)
{
	json_t *row;

	if (r == NULL || r->audit == NULL) {
		json_decref(details);
		return;
	}
	row = json_object();
	set_printable(row, "actor", qp_slice_of(actor));
	set_printable(row, "action", qp_slice_of(action));
	if (details != NULL)
		json_object_update(row, details);
	json_decref(details);
	qp_audit_write(r->audit, "admin", row);
}
