/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A port goes from one tunnel of a client to another: the client's machine
 * vanished and came back before its old tunnel was missed. At no moment is it
 * without a listener: of one worker, the worker hands its own over when it hears
 * of the grant; of two, the new one listens first, then packets are steered to
 * it, then the old one is told. Loop thread.
 */
#define QP_LOG_MODULE QP_LOG_M_ports
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/text.h"
#include "common/wire.h"
#include "controlplane/ports_impl.h"

#define TAKEOVER_WINDOW_S 120u /* longer than our client waits between two attempts */

/* Two programs with one key would take the port from each other for ever. */
static int
count_takeover(struct qp_ports *p, struct qp_port *port, struct qp_errmsg *msg)
{
	uint64_t now = p->cfg.unix_time();

	if (port->takeovers == 0 || now - port->takeovers_since > TAKEOVER_WINDOW_S) {
		port->takeovers_since = now;
		port->takeovers = 0;
	}
	if (port->takeovers >= QP_PORTS_TAKEOVERS) {
		port->takeovers_since = now; /* as long as it is tried, who has it keeps it */
		return qp_fail(msg, QP_E_INUSE,
			"port %u/%s has gone from one tunnel of '%s' to another %u times within "
			"two minutes: do two programs run with its key?",
			port->port, qp_ports_protocol_name(port->protocol),
			port->tunnel->identity.name, port->takeovers);
	}
	port->takeovers++;
	return 0;
}

static bool
is_same_client(const struct qp_ports *p, const struct qp_port_wish *w, const struct qp_tunnel *old)
{
	struct qp_port_rights theirs = {.client = old->identity.name};

	if (old == w->tunnel || !w->rights.takeover)
		return false;
	/* A client whose right has ended meanwhile is still itself. */
	if (p->cfg.rights != NULL)
		(void)p->cfg.rights(p->cfg.rights_ctx, old, &theirs, NULL);
	return old->identity.method == w->tunnel->identity.method &&
	       strcmp(theirs.client, w->rights.client) == 0;
}

static bool
same_worker(const struct qp_tunnel *a, const struct qp_tunnel *b)
{
	return a->origin.server_id == b->origin.server_id && a->origin.worker == b->origin.worker;
}

static void
tell_loser(struct qp_ports *p, const struct qp_tunnel *loser, const char *client, bool moved)
{
	struct qp_msg bye = {.type = QP_MSG_TUNNEL_CLOSE,
		.tunnel_close = {.code = QP_APP_NONE, .moved = moved}};

	snprintf(bye.tunnel_close.phrase, sizeof(bye.tunnel_close.phrase),
		"a new tunnel of '%.64s' has taken its port over", client);
	qp_send(&p->cfg.sender, &loser->origin, &bye);
}

/* The port is nobody's for this moment, and its loser ends. */
static struct qp_tunnel *
take_from_loser(struct qp_ports *p, struct qp_port *port)
{
	struct qp_tunnel *loser = port->tunnel;

	qp_ports_take_from_tunnel(p, port, "taken over", NULL);
	if (!loser->ending)
		loser->told = true; /* nobody has to tell it once more */
	loser->ending = true;
	return loser;
}

static int
give(struct qp_ports *p, const struct qp_port_wish *w, struct qp_port *port, bool leased,
	struct qp_errmsg *msg)
{
	if (qp_ports_give_to_tunnel(p, port, w, leased) == 0)
		return 0;
	qp_ports_forget(p, port); /* it is nobody's now */
	return qp_fail(msg, QP_E_NOMEM, "the gateway is out of memory");
}

static int
move(struct qp_ports *p, const struct qp_port *port, const struct qp_origin *to,
	struct qp_errmsg *msg)
{
	int err = p->cfg.host.move(p->cfg.host.ctx, port->protocol, port->port, to);

	return err == 0 ? 0
			: qp_fail(msg, err, "port %u cannot be moved to the new tunnel: %s",
				  port->port, qp_strerror(err));
}

/*
 * For a worker of a release that knows no better: it closes the port before it
 * hears of the grant, and for that moment connections are refused.
 */
static int
take_with_a_gap(struct qp_ports *p, const struct qp_port_wish *w, struct qp_port *port, bool leased,
	struct qp_errmsg *msg)
{
	bool moved = !same_worker(port->tunnel, w->tunnel);
	int err = moved ? move(p, port, &w->tunnel->origin, msg) : 0;

	if (err != 0)
		return err;
	tell_loser(p, take_from_loser(p, port), w->rights.client, moved);
	return give(p, w, port, leased, msg);
}

void
qp_ports_drop_heir(struct qp_port *port)
{
	if (port == NULL || port->heir == NULL)
		return;
	port->heir->tunnel->inherits = NULL;
	free(port->heir);
	port->heir = NULL;
}

/* A third tunnel wants the port, or it cannot be moved: the second one is told that it will not be. */
static void
disinherit(struct qp_ports *p, struct qp_port *port, int err, const struct qp_errmsg *msg)
{
	struct qp_msg no;

	if (port->heir == NULL)
		return;
	qp_ports_make_answer(p, port->heir->wire_protocol, port->port, err, msg, &no);
	qp_send(&p->cfg.sender, &port->heir->tunnel->origin, &no);
	qp_ports_drop_heir(port);
}

/* The new tunnel's worker listens before packets are steered to it; until then the old one's serves. */
static int
make_heir(struct qp_ports *p, const struct qp_port_wish *w, struct qp_port *port, bool leased,
	struct qp_errmsg *msg)
{
	struct qp_port_heir *heir = calloc(1, sizeof(*heir));
	struct qp_msg first;

	if (heir == NULL)
		return qp_fail(msg, QP_E_NOMEM, "the gateway is out of memory");
	heir->tunnel = w->tunnel;
	heir->wire_protocol = w->wire_protocol;
	heir->leased = leased;
	memcpy(heir->destination, w->destination, sizeof(heir->destination));
	port->heir = heir;
	w->tunnel->inherits = port;
	qp_ports_make_answer(p, w->wire_protocol, port->port, 0, NULL, &first);
	first.forward_answer.listen_only = 1;
	qp_send(&p->cfg.sender, &w->tunnel->origin, &first);
	return QP_E_AGAIN;
}

int
qp_ports_take_over(struct qp_ports *p, struct qp_port_wish *w, struct qp_port *port, bool leased,
	struct qp_errmsg *msg)
{
	static const struct qp_errmsg third = {"a newer tunnel takes the port over"};
	struct qp_tunnel *loser = port->tunnel;
	int err;

	if (!is_same_client(p, w, loser))
		return qp_fail(msg, QP_E_INUSE, "port %u/%s is taken by another tunnel", port->port,
			qp_ports_protocol_name(port->protocol));
	err = count_takeover(p, port, msg);
	if (err != 0)
		return err;
	disinherit(p, port, QP_E_INUSE, &third);
	if (p->cfg.host.takes_over == NULL ||
		!p->cfg.host.takes_over(p->cfg.host.ctx, &w->tunnel->origin))
		return take_with_a_gap(p, w, port, leased, msg);
	if (!same_worker(loser, w->tunnel))
		return make_heir(p, w, port, leased, msg);
	/* The worker ends the old tunnel itself when it hears of the grant. */
	w->takes_from = loser->origin.id;
	take_from_loser(p, port);
	return give(p, w, port, leased, msg);
}

/* What the heir's client may do is what its policy says now; the port was granted before. */
static int
give_to_heir(struct qp_ports *p, struct qp_port *port, struct qp_errmsg *msg)
{
	struct qp_tunnel *tun = port->heir->tunnel, *loser = port->tunnel;
	const bool leased = port->heir->leased;
	struct qp_port_wish w;
	int err = qp_ports_make_wish(p, tun, port->heir->wire_protocol,
		qp_slice_of(port->heir->destination), &w, msg);

	if (err == 0 || err == QP_E_PERM)
		err = move(p, port, &tun->origin, msg);
	if (err != 0)
		return err;
	if (loser != NULL)
		tell_loser(p, take_from_loser(p, port), w.rights.client, true);
	return qp_ports_give_to_tunnel(p, port, &w, leased);
}

bool
qp_ports_inherit(struct qp_ports *p, struct qp_port *port)
{
	struct qp_errmsg msg = {"the gateway is out of memory"};
	struct qp_msg grant;
	int err;

	if (port->heir == NULL)
		return false;
	err = give_to_heir(p, port, &msg);
	if (err != 0) {
		disinherit(p, port, err, &msg);
		return false;
	}
	qp_ports_make_answer(p, port->heir->wire_protocol, port->port, 0, NULL, &grant);
	qp_send(&p->cfg.sender, &port->heir->tunnel->origin, &grant);
	qp_log(QP_LOG_INFO, "port taken over", QP_LOG_U64("port", port->port),
		QP_LOG_STR("protocol", qp_ports_protocol_name(port->protocol)),
		QP_LOG_STR("client", port->tunnel->identity.name),
		QP_LOG_STR("destination", port->heir->destination));
	qp_ports_drop_heir(port);
	return true;
}

void
qp_ports_listens(struct qp_ports *p, const struct qp_origin *from, const struct qp_msg *m)
{
	struct qp_tunnel *tun = qp_tunnels_find(p->cfg.tunnels, from);
	struct qp_port *port = tun != NULL ? tun->inherits : NULL;

	if (port == NULL || port->port != m->forward.port ||
		port->heir->wire_protocol != m->forward.protocol)
		return;
	if (!qp_ports_inherit(p, port) && port->tunnel == NULL)
		qp_ports_forget(p, port);
}
