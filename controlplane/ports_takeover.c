/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A port goes from one tunnel of a client to another: the client's machine
 * vanished and came back before its old tunnel was missed. Loop thread.
 */
#define QP_LOG_MODULE QP_LOG_M_ports
#include <stdio.h>
#include <string.h>

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

/*
 * The old tunnel is told first and its data plane closes the port before it
 * hears of the grant, when one worker has both; else the packets' way is moved.
 */
int
qp_ports_take_over(struct qp_ports *p, const struct qp_port_wish *w, struct qp_port *port,
	bool leased, struct qp_errmsg *msg)
{
	struct qp_msg bye = {.type = QP_MSG_TUNNEL_CLOSE, .tunnel_close = {.code = QP_APP_NONE}};
	struct qp_origin old = port->tunnel->origin;
	struct qp_tunnel *loser = port->tunnel;
	int err;

	if (!is_same_client(p, w, loser))
		return qp_fail(msg, QP_E_INUSE, "port %u/%s is taken by another tunnel", port->port,
			qp_ports_protocol_name(port->protocol));
	err = count_takeover(p, port, msg);
	if (err != 0)
		return err;
	if (old.server_id != w->tunnel->origin.server_id || old.worker != w->tunnel->origin.worker)
		err = p->cfg.host.move(
			p->cfg.host.ctx, w->protocol, port->port, &w->tunnel->origin);
	if (err != 0)
		return qp_fail(msg, err, "port %u cannot be moved to the new tunnel: %s", port->port,
			qp_strerror(err));
	qp_ports_take_from_tunnel(p, port, "taken over", NULL);
	snprintf(bye.tunnel_close.phrase, sizeof(bye.tunnel_close.phrase),
		"a new tunnel of '%.64s' has taken its port over", w->rights.client);
	qp_send(&p->cfg.sender, &old, &bye);
	if (!loser->ending)
		loser->told = true; /* nobody has to tell it once more */
	loser->ending = true;
	err = qp_ports_give_to_tunnel(p, port, w, leased);
	if (err == 0)
		return 0;
	qp_ports_forget(p, port); /* it is nobody's now */
	return qp_fail(msg, err, "the gateway is out of memory");
}
