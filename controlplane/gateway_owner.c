/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The port owner's death or silence, which is told until somebody does something about it,
 * and its replacement: all of the gateway ends as by SIGTERM, and this process
 * becomes itself anew, since EAL can be attached to once a process. Loop thread.
 */
#define QP_LOG_MODULE QP_LOG_M_process
#include <systemd/sd-daemon.h>

#include "controlplane/gateway_internal.h"
#include "controlplane/memory.h"

#define TELL_EVERY_MS (5u * 60u * 1000u)
/* A question that wakes it up, for a few microseconds. */
#define LOOK_MS 3000u
/* While a data plane's memory is made it does not answer: 0.2 s a GiB. */
#define SILENT_LOOKS 4u
/* The answer goes out first. */
#define ANSWER_MS 100u

static void
tell_again(void *ctx)
{
	struct qp_gateway *g = ctx;

	if (g->stopping)
		return;
	qp_log(QP_LOG_ERROR,
		"THE PORT OWNER IS GONE: tunnels run on, but no data plane can be started any "
		"more: when they can be spared, quicport admin replace-port-owner",
		QP_LOG_STR("how", g->owner_end.how));
	qp_loop_timer_set(g->loop, &g->owner_end.again, TELL_EVERY_MS);
}

static void
tell_silence(struct qp_gateway *g, unsigned looks)
{
	struct qp_owner_end *e = &g->owner_end;
	const unsigned behind = looks - SILENT_LOOKS;

	if (!e->silent)
		qp_events_emit(g->events, QP_EVENT_PORT_OWNER, json_pack("{s:s}", "state", "silent"));
	if (!e->silent || behind % (TELL_EVERY_MS / LOOK_MS) == 0)
		qp_log(QP_LOG_ERROR,
			"THE PORT OWNER DOES NOT ANSWER: tunnels run on, but until it does no data plane "
			"can be started: if that stays so, when tunnels can be spared, quicport admin "
			"replace-port-owner",
			QP_LOG_I64("pid", qp_owner_pid(g->owner)), QP_LOG_U64("seconds",
				(uint64_t)looks * LOOK_MS / 1000u));
	e->silent = true;
}

static void
on_look(void *ctx)
{
	struct qp_gateway *g = ctx;
	struct qp_owner_end *e = &g->owner_end;
	/* Its death is told by itself. */
	unsigned looks = qp_owner_alive(g->owner) ? qp_memory_look() : 0;

	if (g->stopping)
		return;
	if (looks >= SILENT_LOOKS) {
		tell_silence(g, looks);
	} else if (e->silent && looks == 0) {
		e->silent = false;
		if (qp_owner_alive(g->owner)) {
			qp_log(QP_LOG_INFO, "the port owner answers again");
			qp_events_emit(g->events, QP_EVENT_PORT_OWNER,
				json_pack("{s:s}", "state", "back"));
		}
	}
	qp_loop_timer_set(g->loop, &e->look, LOOK_MS);
}

void
qp_gateway_owner_watch(struct qp_gateway *g)
{
	g->owner_end.look = (struct qp_loop_timer) {.fire = on_look, .ctx = g};
	qp_loop_timer_set(g->loop, &g->owner_end.look, LOOK_MS);
}

void
qp_gateway_owner_died(struct qp_gateway *g, const char *how)
{
	snprintf(g->owner_end.how, sizeof(g->owner_end.how), "%s", how);
	/* Its replacement is about to begin, by the same timer. */
	if (g->owner_end.asked)
		return;
	qp_loop_timer_cancel(g->loop, &g->owner_end.again);
	g->owner_end.again = (struct qp_loop_timer) {.fire = tell_again, .ctx = g};
	qp_events_emit(g->events, QP_EVENT_PORT_OWNER, json_pack("{s:s, s:s}", "state", "dead", "how", how));
	tell_again(g);
}

static void
begin(void *ctx)
{
	struct qp_gateway *g = ctx;

	if (g->stopping)
		return;
	/* Not STOPPING=1: for the service manager this is the process that it knows. */
	sd_notify(0, "STATUS=replacing the port owner");
	g->owner_end.anew = true;
	g->stopping = true;
	qp_supervisor_shutdown(g->supervisor);
}

int
qp_gateway_replace_owner(void *ctx, struct qp_errmsg *msg)
{
	struct qp_gateway *g = ctx;

	if (g->stopping || g->owner_end.asked)
		return qp_fail(msg, QP_E_INUSE, "the gateway is ending, or does so already");
	if (g->upgrade.state != QP_UPGRADE_NONE)
		return qp_fail(msg, QP_E_INUSE, "a new control plane is about to take over");
	if (qp_supervisor_adopting(g->supervisor))
		return qp_fail(msg, QP_E_INUSE, "data planes are being taken over");
	qp_log(QP_LOG_WARN, "the port owner is replaced: all tunnels end, and come back by themselves");
	qp_events_emit(g->events, QP_EVENT_PORT_OWNER, json_pack("{s:s}", "state", "replaced"));
	g->owner_end.asked = true;
	qp_loop_timer_cancel(g->loop, &g->owner_end.again);
	g->owner_end.again = (struct qp_loop_timer) {.fire = begin, .ctx = g};
	qp_loop_timer_set(g->loop, &g->owner_end.again, ANSWER_MS);
	return 0;
}

void
qp_gateway_owner_close(struct qp_gateway *g)
{
	qp_loop_timer_cancel(g->loop, &g->owner_end.look);
	qp_loop_timer_cancel(g->loop, &g->owner_end.again);
}
