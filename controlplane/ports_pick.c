/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which port a client gets that asks for any: the one that it has or had, else a
 * free one of --port-range that nobody has leased, else a leased one whose lessee
 * is away. Loop thread.
 */
#include <string.h>

#include "controlplane/ports_impl.h"

/* Ports that the host has refused in a row: something is wrong with all of them. */
#define HOST_TRIES 512u

static bool
is_allowed(const struct qp_port_wish *w, uint16_t number)
{
	return w->rights.grants == NULL ||
	       qp_grants_allow_port(w->rights.grants, w->wire_protocol, number);
}

struct walk {
	uint16_t first, last;
	bool leased_too;
	unsigned allowed; /* out: ports that the client may have, free or not */
};

static int
open_one_of(struct qp_ports *p, const struct qp_port_wish *w, struct walk *k, uint16_t *number,
	struct qp_errmsg *msg)
{
	uint32_t count = (uint32_t)(k->last - k->first) + 1, tries = 0;
	uint32_t start = p->cfg.random(count);
	int err;

	k->allowed = 0;
	for (uint32_t i = 0; i < count && tries < HOST_TRIES; i++) {
		uint16_t n = (uint16_t)(k->first + (start + i) % count);

		if (!is_allowed(w, n) || qp_ports_check(p, w->protocol, n, NULL) != 0)
			continue;
		k->allowed++;
		if (*qp_ports_slot(p, w->protocol, n) != NULL)
			continue;
		if (p->cfg.leases != NULL && !k->leased_too &&
			qp_leases_client(p->cfg.leases, (uint8_t)w->protocol, n) != NULL)
			continue;
		tries++;
		err = qp_ports_open(p, w, n, true, msg);
		if (err == 0)
			*number = n;
		if (err != QP_E_INUSE)
			return err;
	}
	return QP_E_INUSE;
}

/* What it had before, if it may still have it and nobody else has it now. */
static int
open_own_again(struct qp_ports *p, const struct qp_port_wish *w, uint16_t *number,
	struct qp_errmsg *msg)
{
	const struct qp_lessee who = {w->rights.client, w->destination, w->peer};
	uint16_t had[QP_LEASES_PER_CLIENT];
	unsigned n = 0;

	if (p->cfg.leases != NULL)
		n = qp_leases_find(p->cfg.leases, (uint8_t)w->protocol, &who, had,
			QP_LEASES_PER_CLIENT);
	for (unsigned i = 0; i < n; i++) {
		if (!is_allowed(w, had[i]) || *qp_ports_slot(p, w->protocol, had[i]) != NULL)
			continue;
		if (qp_ports_open(p, w, had[i], true, msg) == 0) {
			*number = had[i];
			return 0;
		}
	}
	return QP_E_NOTFOUND;
}

/*
 * A client that was killed comes back before its old tunnel is missed: same
 * service, same address, and the one port that it has for it. What it gave back
 * later than it opened that port comes first, or one of two tunnels that it has
 * on purpose would lose its port to the other.
 */
static int
take_own_over(struct qp_ports *p, struct qp_port_wish *w, uint16_t *number)
{
	const struct qp_lessee who = {w->rights.client, w->destination, w->peer};
	uint8_t protocol = (uint8_t)w->protocol;
	struct qp_port *port;
	uint16_t has, had;

	if (p->cfg.leases == NULL || !w->rights.takeover ||
		qp_leases_in_use(p->cfg.leases, protocol, &who, &has) != 1)
		return QP_E_NOTFOUND;
	port = *qp_ports_slot(p, w->protocol, has);
	if (port == NULL || !is_allowed(w, has) ||
		qp_ports_check(p, w->protocol, has, NULL) != 0)
		return QP_E_NOTFOUND;
	if (qp_leases_find(p->cfg.leases, protocol, &who, &had, 1) == 1 &&
		qp_leases_used_at(p->cfg.leases, protocol, had) >= port->opened_at)
		return QP_E_NOTFOUND;
	*number = has;
	return qp_ports_take_over(p, w, port, true, NULL);
}

int
qp_ports_open_any(struct qp_ports *p, struct qp_port_wish *w, uint16_t *number,
	struct qp_errmsg *msg)
{
	struct walk k = {p->cfg.any_first, p->cfg.any_last, false, 0};
	int err = take_own_over(p, w, number);

	if (err == 0 || err == QP_E_AGAIN)
		return err;
	err = qp_ports_room(p, w->tunnel, msg);
	if (err != 0)
		return err;
	if (open_own_again(p, w, number, msg) == 0)
		return 0;
	err = open_one_of(p, w, &k, number, msg);
	/* A client whose ports are all outside the range gets one of its own. */
	if (err == QP_E_INUSE && k.allowed == 0) {
		k.first = 1;
		k.last = 65535;
		err = open_one_of(p, w, &k, number, msg);
	}
	if (err == QP_E_INUSE && k.allowed > 0 && p->cfg.leases != NULL) {
		k.leased_too = true;
		err = open_one_of(p, w, &k, number, msg);
	}
	if (err != QP_E_INUSE)
		return err;
	if (k.allowed == 0)
		return qp_fail(msg, QP_E_PERM, "the gateway's policy gives '%s' no %s port",
			w->rights.client, qp_ports_protocol_name(w->protocol));
	return qp_fail(msg, QP_E_INUSE, "none of the %u %s ports between %u and %u is free",
		k.allowed, qp_ports_protocol_name(w->protocol), k.first, k.last);
}
