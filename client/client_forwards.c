/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libquicport's calls about forwards: from any thread, carried out where the
 * client lives. What a forward does is forward.c's.
 */
#include "client/client_impl.h"

#include <string.h>

struct add_call {
	struct qp_client *client;
	const struct qp_forward_options *options;
	struct qp_forward *made;
	struct qp_errmsg msg;
	int err;
};

static void
add(void *arg)
{
	struct add_call *a = arg;

	if (a->client->stopping) {
		a->err = qp_fail(&a->msg, QP_E_CLOSED, "the client was stopped");
		return;
	}
	a->err = qpc_forward_new(a->client, a->options, &a->made, &a->msg);
	if (a->err == QP_OK)
		qpc_forward_begin(a->made);
}

int
qp_client_add(struct qp_client *c, const struct qp_forward_options *options,
	struct qp_forward **out, struct qp_error *error)
{
	struct add_call a = {.client = c, .options = options};

	qpc_run_in_client(c, add, &a);
	if (a.err != QP_OK)
		return qpc_report(error, a.err, &a.msg);
	if (out != NULL)
		*out = a.made;
	return QP_OK;
}

static void
take_away(void *arg)
{
	struct qp_forward *f = arg;
	struct qp_client *c = f->client;

	TAILQ_REMOVE(&c->forwards, f, link);
	TAILQ_INSERT_TAIL(&c->leaving, f, link);
	f->removed = true;
	if (f->state == QP_FORWARD_ENDED)
		qpc_forward_over(f);
	else
		qpc_forward_stop(f);
}

void
qp_client_remove(struct qp_client *c, struct qp_forward *f)
{
	qpc_run_in_client(c, take_away, f);
}

const char *
qp_forward_name(const struct qp_forward *f)
{
	return f->name;
}

void *
qp_forward_user(const struct qp_forward *f)
{
	return f->user;
}

struct stats_call {
	const struct qp_forward *forward;
	struct qp_forward_stats s;
};

static void
gather(void *arg)
{
	struct stats_call *call = arg;
	const struct qp_forward *f = call->forward;
	const struct qpc_session *session = qpc_connect_session(f);
	struct qpc_relay_counters sum = f->before;

	call->s.migrations = f->migrations;
	if (session != NULL) {
		const struct qpc_relay_counters now = qpc_session_counters(session);

		qpc_counters_add(&sum, &now);
		sum.active = now.active;
		call->s.rtt_us = qpc_session_rtt_us(session);
		call->s.migrations += qpc_session_migrations(session);
	}
	call->s.state = f->state;
	call->s.connections = sum.opened;
	call->s.connections_active = sum.active;
	call->s.refused = sum.refused;
	call->s.bytes_to_local = sum.bytes_to_local;
	call->s.bytes_from_local = sum.bytes_from_local;
	call->s.reconnects = f->reconnects;
	call->s.port = f->port;
	call->s.error = f->error;
}

void
qp_forward_get_stats(struct qp_client *c, const struct qp_forward *f, struct qp_forward_stats *out)
{
	size_t size = out->size < sizeof(*out) ? out->size : sizeof(*out);
	struct stats_call call = {.forward = f};

	qpc_run_in_client(c, gather, &call);
	call.s.size = out->size;
	memcpy(out, &call.s, size);
}
