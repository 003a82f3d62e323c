/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of forwarded ports, indexed by port number: who asks, who may, who
 * has it, and what each is answered. Loop thread. What a port means to the
 * kernel is qp_port_host's matter; which port 0 becomes is ports_pick.c's.
 */
#define QP_LOG_MODULE QP_LOG_M_ports
#include "controlplane/ports.h"

#include <arpa/inet.h>
#include <assert.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/log.h"
#include "common/text.h"
#include "common/wire.h"
#include "controlplane/ports_impl.h"
#include "controlplane/records.h"

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

static uint64_t
system_time(void)
{
	return (uint64_t)time(NULL);
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
	if (p->cfg.unix_time == NULL)
		p->cfg.unix_time = system_time;
	if (p->cfg.any_first == 0)
		p->cfg.any_first = QP_PORTS_ANY_FIRST;
	if (p->cfg.any_last == 0)
		p->cfg.any_last = 65535;
	return p;
}

void
qp_ports_set_ranges(struct qp_ports *p, const struct qp_port_range *any,
	const struct qp_port_range *excluded, unsigned nexcluded)
{
	p->cfg.any_first = any->first;
	p->cfg.any_last = any->last;
	p->cfg.excluded = excluded;
	p->cfg.nexcluded = nexcluded;
}

void
qp_ports_take_from_tunnel(struct qp_ports *p, struct qp_port *port, const char *reason,
	const struct qp_msg_usage *usage)
{
	qp_record_port_closed(p->cfg.records, port, &p->cfg.forward_addr, reason, usage);
	qp_log(QP_LOG_INFO, "port closed", QP_LOG_U64("port", port->port),
		QP_LOG_STR("protocol", qp_ports_protocol_name(port->protocol)),
		QP_LOG_STR("client", port->tunnel->identity.name), QP_LOG_STR("reason", reason));
	if (port->leased && p->cfg.leases != NULL)
		qp_leases_release(p->cfg.leases, port->protocol, port->port);
	port->leased = false;
	LIST_REMOVE(port, of_tunnel);
	port->tunnel = NULL;
}

void
qp_ports_forget(struct qp_ports *p, struct qp_port *port)
{
	qp_ports_drop_heir(port);
	p->cfg.host.close(p->cfg.host.ctx, port->protocol, port->port);
	*qp_ports_slot(p, port->protocol, port->port) = NULL;
	p->count--;
	free(port->destination);
	free(port);
}

static void
close_port(struct qp_ports *p, struct qp_port *port, const char *reason,
	const struct qp_msg_usage *usage)
{
	qp_ports_take_from_tunnel(p, port, reason, usage);
	if (!qp_ports_inherit(p, port))
		qp_ports_forget(p, port);
}

static void
shut(struct qp_ports *p, struct qp_port *port)
{
	if (port == NULL)
		return;
	qp_ports_drop_heir(port);
	close_port(p, port, "shutdown", NULL);
}

void
qp_ports_free(struct qp_ports *p)
{
	if (p == NULL)
		return;
	for (unsigned i = 0; i < 65536; i++) {
		shut(p, p->tcp[i]);
		shut(p, p->udp[i]);
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
is_own(const struct qp_ports *p, int protocol, uint16_t port)
{
	if (protocol == IPPROTO_UDP)
		return port == p->cfg.reserved_udp && port != 0;
	for (unsigned i = 0; i < p->cfg.nreserved_tcp; i++) {
		if (p->cfg.reserved_tcp[i] == port)
			return true;
	}
	return false;
}

int
qp_ports_check(const struct qp_ports *p, int protocol, uint16_t number, struct qp_errmsg *msg)
{
	uint8_t wire = protocol == IPPROTO_UDP ? QP_WIRE_UDP : QP_WIRE_TCP;
	const char *name = qp_ports_protocol_name(protocol);

	if (is_own(p, protocol, number))
		return qp_fail(msg, QP_E_INUSE, "port %u/%s is the gateway's own", number, name);
	for (unsigned i = 0; i < p->cfg.nexcluded; i++) {
		if (qp_port_range_has(&p->cfg.excluded[i], wire, number))
			return qp_fail(msg, QP_E_PERM,
				"port %u/%s is reserved by the gateway's operator", number, name);
	}
	return 0;
}

int
qp_ports_give_to_tunnel(
	struct qp_ports *p, struct qp_port *port, const struct qp_port_wish *w, bool leased)
{
	char *destination = strdup(w->destination);

	if (destination == NULL)
		return QP_E_NOMEM;
	free(port->destination);
	port->destination = destination;
	port->adopted = w->adopted;
	port->opened_at = w->adopted ? w->tunnel->identity.since : p->cfg.unix_time();
	port->tunnel = w->tunnel;
	port->leased = leased;
	LIST_INSERT_HEAD(&w->tunnel->ports, port, of_tunnel);
	if (leased && p->cfg.leases != NULL)
		qp_leases_take(p->cfg.leases, port->protocol, port->port,
			&(struct qp_lessee) {w->rights.client, w->destination, w->peer});
	qp_record_port_opened(p->cfg.records, port, &p->cfg.forward_addr);
	return 0;
}

int
qp_ports_open(struct qp_ports *p, const struct qp_port_wish *w, uint16_t number, bool leased,
	struct qp_errmsg *msg)
{
	const struct in6_addr *addr = &p->cfg.forward_addr;
	struct qp_port *port;
	int err = qp_ports_check(p, w->protocol, number, msg);

	if (err != 0)
		return err;
	port = calloc(1, sizeof(*port));
	if (port == NULL)
		return qp_fail(msg, QP_E_NOMEM, "the gateway is out of memory");
	err = p->cfg.host.open(p->cfg.host.ctx, w->protocol, number,
		IN6_IS_ADDR_UNSPECIFIED(addr) ? NULL : addr, &w->tunnel->origin, msg);
	if (err != 0) {
		free(port);
		return err;
	}
	port->port = number;
	port->protocol = (uint8_t)w->protocol;
	if (qp_ports_give_to_tunnel(p, port, w, leased) != 0) {
		p->cfg.host.close(p->cfg.host.ctx, w->protocol, number);
		free(port);
		return qp_fail(msg, QP_E_NOMEM, "the gateway is out of memory");
	}
	*qp_ports_slot(p, w->protocol, number) = port;
	p->count++;
	return 0;
}

int
qp_ports_room(const struct qp_ports *p, const struct qp_tunnel *tun, struct qp_errmsg *msg)
{
	return p->cfg.room != NULL ? p->cfg.room(p->cfg.rights_ctx, tun, msg) : 0;
}

static int
open_fixed(struct qp_ports *p, struct qp_port_wish *w, uint16_t number, struct qp_errmsg *msg)
{
	struct qp_port *port = *qp_ports_slot(p, w->protocol, number);
	const char *name = qp_ports_protocol_name(w->protocol);
	int err = qp_ports_check(p, w->protocol, number, msg);

	if (err != 0)
		return err;
	if (w->rights.grants != NULL &&
		!qp_grants_allow_port(w->rights.grants, w->wire_protocol, number))
		return qp_fail(msg, QP_E_PERM, "the gateway's policy does not give '%s' port %u/%s",
			w->rights.client, number, name);
	if (port == NULL) {
		err = qp_ports_room(p, w->tunnel, msg);
		return err == 0 ? qp_ports_open(p, w, number, false, msg) : err;
	}
	return qp_ports_take_over(p, w, port, false, msg);
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

int
qp_ports_make_wish(struct qp_ports *p, struct qp_tunnel *tun, uint8_t wire_protocol,
	struct qp_slice destination, struct qp_port_wish *w, struct qp_errmsg *msg)
{
	const struct in6_addr *peer;

	*w = (struct qp_port_wish) {.tunnel = tun,
		.rights = {.client = tun->identity.name},
		.protocol = protocol_of(wire_protocol),
		.wire_protocol = wire_protocol};
	if (w->protocol == 0)
		return qp_fail(msg, QP_E_UNSUPPORTED, "protocol %u is unknown", wire_protocol);
	qp_slice_printable(destination, w->destination, sizeof(w->destination));
	peer = (const struct in6_addr *)(const void *)tun->peer_addr;
	inet_ntop(AF_INET6, peer, w->peer, sizeof(w->peer));
	if (p->cfg.rights == NULL)
		return 0;
	return p->cfg.rights(p->cfg.rights_ctx, tun, &w->rights, msg);
}

/* Decides; on success `*number` is the port that is open now. QP_E_AGAIN: more follows. */
static int
decide(struct qp_ports *p, struct qp_tunnel *tun, const struct qp_msg_forward *f, uint16_t *number,
	uint64_t *takes_from, struct qp_errmsg *msg)
{
	size_t len = f->destination_len;
	struct qp_port_wish w;
	int err;

	if (tun == NULL || tun->state != QP_TUNNEL_AUTHENTICATED)
		return qp_fail(msg, QP_E_PERM, "this tunnel is not authenticated");
	if (len > sizeof(f->destination))
		len = sizeof(f->destination);
	err = qp_ports_make_wish(
		p, tun, f->protocol, (struct qp_slice) {f->destination, len}, &w, msg);
	if (err != 0)
		return err;
	*number = f->port;
	err = f->port == 0 ? qp_ports_open_any(p, &w, number, msg)
			   : open_fixed(p, &w, f->port, msg);
	*takes_from = w.takes_from;
	return err;
}

static void
log_decision(const struct qp_tunnel *tun, const struct qp_msg_forward *f, uint16_t number, int err,
	const char *message)
{
	const char *client = tun != NULL ? tun->identity.name : NULL;
	size_t len = f->destination_len;

	if (len > sizeof(f->destination))
		len = sizeof(f->destination);
	if (err == 0)
		qp_log(QP_LOG_INFO, "port opened", QP_LOG_U64("port", number),
			QP_LOG_STR("protocol", qp_ports_protocol_name(protocol_of(f->protocol))),
			QP_LOG_STR("client", client),
			QP_LOG_SLICE("destination", ((struct qp_slice) {f->destination, len})));
	else
		qp_log(QP_LOG_WARN, "port refused", QP_LOG_U64("port", f->port),
			QP_LOG_STR("client", client), QP_LOG_STR("reason", message));
}

void
qp_ports_make_answer(const struct qp_ports *p, uint8_t wire_protocol, uint16_t number, int err,
	const struct qp_errmsg *msg, struct qp_msg *out)
{
	struct qp_msg_forward_answer *a = &out->forward_answer;
	char text[sizeof(msg->text)];

	*out = (struct qp_msg) {.type = err == 0 ? QP_MSG_FORWARD_GRANT : QP_MSG_FORWARD_DENY};
	a->port = number;
	a->protocol = wire_protocol;
	a->status = wire_status(err);
	memcpy(a->addr, &p->cfg.forward_addr, sizeof(a->addr));
	if (err == 0)
		snprintf(text, sizeof(text), "Listening on port %u", number);
	else
		snprintf(text, sizeof(text), "%s", msg->text);
	a->message_len = (uint16_t)strnlen(text, sizeof(a->message));
	memcpy(a->message, text, a->message_len);
}

void
qp_ports_request(struct qp_ports *p, const struct qp_origin *from, const struct qp_msg *m)
{
	const struct qp_msg_forward *f = &m->forward;
	struct qp_tunnel *tun = qp_tunnels_find(p->cfg.tunnels, from);
	struct qp_errmsg msg = {""};
	uint16_t number = f->port;
	uint64_t takes_from = 0;
	struct qp_msg answer;
	int err = decide(p, tun, f, &number, &takes_from, &msg);

	if (err == QP_E_AGAIN)
		return;
	qp_ports_make_answer(p, f->protocol, number, err, &msg, &answer);
	answer.forward_answer.takes_from = takes_from;
	qp_send(&p->cfg.sender, from, &answer);
	log_decision(tun, f, number, err, msg.text);
}

void
qp_ports_closed(struct qp_ports *p, const struct qp_origin *from, const struct qp_msg *m)
{
	const struct qp_msg_forward_closed *c = &m->forward_closed;
	int protocol = protocol_of(c->protocol);
	struct qp_port *port = protocol != 0 ? *qp_ports_slot(p, protocol, c->port) : NULL;

	if (port != NULL && qp_origin_equal(&port->tunnel->origin, from))
		close_port(p, port, qp_end_reason_name((enum qp_end_reason)c->reason), &c->usage);
}

void
qp_ports_drop_tunnel(struct qp_ports *p, struct qp_tunnel *tun, const char *reason,
	const struct qp_msg_usage *usage)
{
	qp_ports_drop_heir(tun->inherits);
	while (!LIST_EMPTY(&tun->ports))
		close_port(p, LIST_FIRST(&tun->ports), reason, usage);
}

int
qp_ports_adopt(struct qp_ports *p, struct qp_tunnel *tun, const struct qp_msg_tunnel_state *s,
	struct qp_errmsg *msg)
{
	size_t len = s->destination_len;
	struct qp_port_wish w;
	struct qp_lessee who;
	const char *lessee;
	bool leased;
	int err;

	if (len > sizeof(s->destination))
		len = sizeof(s->destination);
	err = qp_ports_make_wish(
		p, tun, s->protocol, (struct qp_slice) {s->destination, len}, &w, msg);
	/* What the policy says of it now is the policy's matter: the port is open. */
	if (err != 0 && err != QP_E_PERM)
		return err;
	if (*qp_ports_slot(p, w.protocol, s->port) != NULL)
		return qp_fail(msg, QP_E_INUSE, "port %u is another tunnel's already", s->port);
	w.adopted = true;
	/*
	 * Its lease says whether it was asked for as 0. A kill may have come before
	 * that was written down: a port of that range without one gets one, which
	 * does no harm to who asked by number.
	 */
	who = (struct qp_lessee) {w.rights.client, w.destination, w.peer};
	lessee = p->cfg.leases != NULL
			 ? qp_leases_client(p->cfg.leases, (uint8_t)w.protocol, s->port)
			 : NULL;
	leased = lessee != NULL ? strcmp(lessee, who.client) == 0
				: s->port >= p->cfg.any_first && s->port <= p->cfg.any_last;
	return qp_ports_open(p, &w, s->port, leased, msg);
}
