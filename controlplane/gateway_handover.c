/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From one data plane to the next: the configuration is read again, a successor
 * is started with it, and when that one serves the first one drains. A mistake
 * in the configuration, no room, or a successor that does not come: the first
 * one goes on, with the options that it was started with. Loop thread.
 */
#define QP_LOG_MODULE QP_LOG_M_process
#include <stdio.h>
#include <string.h>
#include <systemd/sd-daemon.h>

#include "common/text.h"
#include "controlplane/gateway_internal.h"
#include "controlplane/reload.h"

void
qp_gateway_tell_reloading(void)
{
	sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%llu", (unsigned long long)(qp_now_ns() / 1000u));
}

/* SIGHUP has been acted upon. */
static void
tell_reloaded(const struct qp_gateway *g)
{
	sd_notify(0, g->started ? "READY=1" : "STATUS=starting");
}

static void
forget_before(struct qp_gateway *g)
{
	qp_settings_free(&g->handover.before.settings);
	memset(&g->handover.before, 0, sizeof(g->handover.before));
}

/* No other data plane comes: what the present one was started with stays in force. */
static void
put_back(struct qp_gateway *g)
{
	qp_options_take_generation(g->o, &g->handover.before);
	qp_supervisor_configure(g->supervisor, g->o->workers, g->o->busy_poll);
	forget_before(g);
}

static int
read_configuration(struct qp_gateway *g, const char *actor, struct qp_errmsg *msg)
{
	int err;

	forget_before(g);
	qp_options_take_generation(&g->handover.before, g->o);
	err = qp_gateway_reload_for_next(g, actor, msg);
	if (err != 0)
		forget_before(g);
	else
		qp_supervisor_configure(g->supervisor, g->o->workers, g->o->busy_poll);
	return err;
}

static void
note_failure(struct qp_gateway *g, const char *why)
{
	snprintf(g->handover.why, sizeof(g->handover.why), "%s", why);
}

/* Refused before anything was started. */
static void
refuse(struct qp_gateway *g, uint32_t server_id, const char *why)
{
	const struct qp_generation *gen = qp_supervisor_find(g->supervisor, server_id);

	put_back(g);
	g->handover.refused++;
	note_failure(g, why);
	qp_gateway_tell_drain_failed(g, gen, why);
}

int
qp_gateway_hand_over(void *ctx, const char *actor, uint32_t server_id, struct qp_errmsg *msg)
{
	struct qp_gateway *g = ctx;
	int err = qp_owner_alive(g->owner)
			  ? qp_supervisor_may_drain(g->supervisor, server_id, msg)
			  : qp_fail(msg, QP_E_INUSE, "the port owner is dead, no data plane can be "
				  "started: quicport admin replace-port-owner ends all tunnels and "
				  "starts all anew");

	if (err != 0)
		return err;
	err = read_configuration(g, actor, msg);
	if (err != 0)
		return QP_E_INVAL;
	err = qp_gateway_check_lcores(g->o, msg);
	if (err == 0)
		err = g->network.ops->room(g->network.net, g->o->workers, msg);
	if (err == 0)
		err = qp_supervisor_drain(g->supervisor, server_id, msg);
	if (err != 0)
		refuse(g, server_id, msg->text);
	return err;
}

/* Nobody serves now: the one that is coming, or the one after it, reads the new options. */
static void
read_for_whoever_comes(struct qp_gateway *g)
{
	struct qp_errmsg msg;

	if (read_configuration(g, "signal", &msg) == 0)
		g->handover.again = true;
	forget_before(g);
	tell_reloaded(g);
}

static void
hang_up(struct qp_gateway *g)
{
	const struct qp_generation *gen = qp_supervisor_active(g->supervisor);
	struct qp_errmsg msg;

	qp_gateway_tell_reloading();
	if (g->o->no_auto_dataplane) {
		(void)qp_gateway_reload(g, "signal", NULL, &msg);
		tell_reloaded(g);
		return;
	}
	if (gen == NULL) {
		read_for_whoever_comes(g);
		return;
	}
	if (qp_supervisor_may_drain(g->supervisor, gen->server_id, &msg) != 0) {
		g->handover.refused++;
		qp_gateway_tell_drain_failed(g, gen, msg.text);
		tell_reloaded(g);
		return;
	}
	g->handover.by_signal = true;
	if (qp_gateway_hand_over(g, "signal", gen->server_id, &msg) != 0) {
		g->handover.by_signal = false;
		tell_reloaded(g);
	}
}

void
qp_gateway_on_hangup(struct qp_gateway *g)
{
	if (g->stopping)
		return;
	/* The last: this process becomes another program now, which gets the signal again. */
	if (qp_supervisor_handing_over(g->supervisor) || qp_supervisor_adopting(g->supervisor) ||
		g->upgrade.state == QP_UPGRADE_CLEARING) {
		qp_log(QP_LOG_INFO, "data planes are changing: SIGHUP is done afterwards");
		g->handover.again = true;
		return;
	}
	hang_up(g);
}

void
qp_gateway_may_hand_over(struct qp_gateway *g)
{
	if (!g->handover.again || g->stopping || g->upgrade.state == QP_UPGRADE_CLEARING ||
		qp_supervisor_adopting(g->supervisor) ||
		qp_supervisor_handing_over(g->supervisor))
		return;
	g->handover.again = false;
	hang_up(g);
}

void
qp_gateway_handed_over(struct qp_gateway *g, const char *why)
{
	struct qp_handover *h = &g->handover;

	if (why != NULL) {
		put_back(g);
		h->failed++;
		note_failure(g, why);
	} else {
		forget_before(g);
		h->done++;
		h->why[0] = '\0';
	}
	if (h->by_signal)
		tell_reloaded(g);
	h->by_signal = false;
	qp_gateway_may_hand_over(g);
}

const char *
qp_gateway_handover_error(void *ctx)
{
	const struct qp_gateway *g = ctx;

	return g->handover.why[0] != '\0' ? g->handover.why : NULL;
}
