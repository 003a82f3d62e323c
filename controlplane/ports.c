/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of forwarded ports, indexed by port number. Loop thread. What a
 * port means to the kernel is qp_port_host's matter; who may open which is a
 * policy that does not exist yet: every authenticated tunnel may.
 */
#define QP_LOG_MODULE QP_LOG_M_ports
#include "controlplane/ports.h"

#include <assert.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/wire.h"

/* Port 0 is answered with one of the dynamic ports (RFC 6335, 6). */
#define DYNAMIC_FIRST 49152u
#define DYNAMIC_COUNT 16384u
#define DYNAMIC_TRIES 64u

struct qp_ports {
	struct qp_ports_config cfg;
	unsigned count;
	struct qp_port *tcp[65536];
	struct qp_port *udp[65536];
};

/* Where the table has a port of IPPROTO_TCP or IPPROTO_UDP. */
static struct qp_port **
slot(struct qp_ports *p, int protocol, uint16_t port)
{
	return protocol == IPPROTO_UDP ? &p->udp[port] : &p->tcp[port];
}

static const char *
name_of(int protocol)
{
	return protocol == IPPROTO_UDP ? "udp" : "tcp";
}

/* From the wire's number; 0: unknown. */
static int
protocol_of(uint8_t wire)
{
	switch (wire) {
	case QP_WIRE_TCP:
		return IPPROTO_TCP;
	case QP_WIRE_UDP:
		return IPPROTO_UDP;
	}
	return 0;
}

struct qp_ports *
qp_ports_new(const struct qp_ports_config *cfg)
{
	struct qp_ports *p = calloc(1, sizeof(*p));

	if (p == NULL)
		return NULL;
	p->cfg = *cfg;
	if (p->cfg.random == NULL)
		p->cfg.random = randombytes_uniform;
	return p;
}

static void
close_port(struct qp_ports *p, struct qp_port *port)
{
	p->cfg.host.close(p->cfg.host.ctx, port->protocol, port->port);
	*slot(p, port->protocol, port->port) = NULL;
	p->count--;
	LIST_REMOVE(port, of_tunnel);
	qp_log(QP_LOG_INFO, "port closed", QP_LOG_U64("port", port->port),
		QP_LOG_STR("protocol", name_of(port->protocol)));
	free(port);
}

void
qp_ports_free(struct qp_ports *p)
{
	if (p == NULL)
		return;
	for (unsigned i = 0; i < 65536; i++) {
		if (p->tcp[i] != NULL)
			close_port(p, p->tcp[i]);
		if (p->udp[i] != NULL)
			close_port(p, p->udp[i]);
	}
	assert(p->count == 0);
	free(p);
}

const struct qp_port *
qp_ports_find(const struct qp_ports *p, uint8_t protocol, uint16_t port)
{
	return protocol == IPPROTO_UDP ? p->udp[port] : p->tcp[port];
}

unsigned
qp_ports_count(const struct qp_ports *p)
{
	return p->count;
}

static bool
is_reserved(const struct qp_ports *p, int protocol, uint16_t port)
{
	if (protocol == IPPROTO_UDP)
		return port == p->cfg.reserved_udp && port != 0;
	for (unsigned i = 0; i < p->cfg.nreserved_tcp; i++) {
		if (p->cfg.reserved_tcp[i] == port)
			return true;
	}
	return false;
}

/* Takes the port for the tunnel, on the host too. */
static int
open_port(struct qp_ports *p, struct qp_tunnel *tun, int protocol, uint16_t number,
	struct qp_errmsg *msg)
{
	const struct in6_addr *addr = &p->cfg.forward_addr;
	const char *name = name_of(protocol);
	struct qp_port *port;
	int err;

	if (is_reserved(p, protocol, number))
		return qp_fail(msg, QP_E_INUSE, "port %u/%s is the gateway's own", number, name);
	if (*slot(p, protocol, number) != NULL)
		return qp_fail(msg, QP_E_INUSE, "port %u/%s is taken by another tunnel", number,
			name);
	port = calloc(1, sizeof(*port));
	if (port == NULL)
		return qp_fail(msg, QP_E_NOMEM, "the gateway is out of memory");
	err = p->cfg.host.open(p->cfg.host.ctx, protocol, number,
		IN6_IS_ADDR_UNSPECIFIED(addr) ? NULL : addr, &tun->origin, msg);
	if (err != 0) {
		free(port);
		return err;
	}
	*port = (struct qp_port) {.port = number, .protocol = (uint8_t)protocol, .tunnel = tun};
	LIST_INSERT_HEAD(&tun->ports, port, of_tunnel);
	*slot(p, protocol, number) = port;
	p->count++;
	return 0;
}

/* Some free port; the number is told in `*number`. */
static int
open_any_port(struct qp_ports *p, struct qp_tunnel *tun, int protocol, uint16_t *number,
	struct qp_errmsg *msg)
{
	for (unsigned i = 0; i < DYNAMIC_TRIES; i++) {
		uint16_t candidate = (uint16_t)(DYNAMIC_FIRST + p->cfg.random(DYNAMIC_COUNT));
		int err = open_port(p, tun, protocol, candidate, msg);

		if (err == 0)
			*number = candidate;
		if (err != QP_E_INUSE)
			return err;
	}
	return qp_fail(
		msg, QP_E_INUSE, "no free port was found between %u and 65535", DYNAMIC_FIRST);
}

static uint8_t
wire_status(int err)
{
	switch (err) {
	case 0:
		return QP_WIRE_SUCCESS;
	case QP_E_INUSE:
		return QP_WIRE_PORT_IN_USE;
	case QP_E_PERM:
		return QP_WIRE_PERMISSION_DENIED;
	}
	return QP_WIRE_INTERNAL_ERROR;
}

/* Decides; on success `*number` is the port that is open now. */
static int
decide(struct qp_ports *p, struct qp_tunnel *tun, const struct qp_msg_forward *f, uint16_t *number,
	struct qp_errmsg *msg)
{
	int protocol = protocol_of(f->protocol);

	if (tun == NULL || tun->state != QP_TUNNEL_AUTHENTICATED)
		return qp_fail(msg, QP_E_PERM, "this tunnel is not authenticated");
	if (protocol == 0)
		return qp_fail(msg, QP_E_UNSUPPORTED, "protocol %u is unknown", f->protocol);
	if (f->port == 0)
		return open_any_port(p, tun, protocol, number, msg);
	*number = f->port;
	return open_port(p, tun, protocol, f->port, msg);
}

static void
log_decision(const struct qp_msg_forward *f, uint16_t number, int err, const char *message)
{
	size_t len = f->destination_len;

	if (len > sizeof(f->destination))
		len = sizeof(f->destination);
	if (err == 0)
		qp_log(QP_LOG_INFO, "port opened", QP_LOG_U64("port", number),
			QP_LOG_STR("protocol", name_of(protocol_of(f->protocol))),
			QP_LOG_SLICE("destination", ((struct qp_slice) {f->destination, len})));
	else
		qp_log(QP_LOG_WARN, "port refused", QP_LOG_U64("port", f->port),
			QP_LOG_STR("reason", message));
}

void
qp_ports_request(struct qp_ports *p, const struct qp_origin *from, const struct qp_msg *m)
{
	const struct qp_msg_forward *f = &m->forward;
	struct qp_msg answer = {.type = QP_MSG_FORWARD_GRANT};
	struct qp_msg_forward_answer *a = &answer.forward_answer;
	struct qp_errmsg msg = {""};
	uint16_t number = f->port;
	int err = decide(p, qp_tunnels_find(p->cfg.tunnels, from), f, &number, &msg);

	if (err == 0)
		snprintf(msg.text, sizeof(msg.text), "Listening on port %u", number);
	else
		answer.type = QP_MSG_FORWARD_DENY;
	a->port = number;
	a->protocol = f->protocol;
	a->status = wire_status(err);
	memcpy(a->addr, &p->cfg.forward_addr, sizeof(a->addr));
	a->message_len = (uint16_t)strnlen(msg.text, sizeof(a->message));
	memcpy(a->message, msg.text, a->message_len);
	log_decision(f, number, err, msg.text);
	qp_send(&p->cfg.sender, from, &answer);
}

void
qp_ports_closed(struct qp_ports *p, const struct qp_origin *from, const struct qp_msg *m)
{
	const struct qp_msg_forward_closed *c = &m->forward_closed;
	int protocol = protocol_of(c->protocol);
	struct qp_port *port = protocol != 0 ? *slot(p, protocol, c->port) : NULL;

	if (port != NULL && qp_origin_equal(&port->tunnel->origin, from))
		close_port(p, port);
}

void
qp_ports_drop_tunnel(struct qp_ports *p, struct qp_tunnel *tun)
{
	while (!LIST_EMPTY(&tun->ports))
		close_port(p, LIST_FIRST(&tun->ports));
}
