/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A forward as it is asked for: its texts into addresses, its defaults, what
 * its sessions have in common. The loop's thread; opens nothing.
 */
#include "client/client_impl.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The struct as ABI version 1 began with it. */
#define OPTIONS_AT_FIRST offsetof(struct qp_forward_options, close_fd_out)

static int
parse_ends(struct qp_forward *f, const struct qp_forward_options *o, struct qp_errmsg *msg)
{
	bool remote = o->kind == QP_FORWARD_REMOTE;
	int err;

	if (o->remote == NULL)
		return qp_fail(msg, QP_E_INVAL, "a forward without its remote side");
	if (o->local == NULL && o->kind != QP_FORWARD_STDIO)
		return qp_fail(msg, QP_E_INVAL, "a forward without its local side");
	err = qp_target_parse(o->remote,
		remote ? QP_ADDR_PROTO | QP_ADDR_PORT_0 : QP_ADDR_HOST | QP_ADDR_PROTO, &f->remote, msg);
	if (err == QP_OK && o->local != NULL)
		err = qp_target_parse(o->local, QP_ADDR_HOST | QP_ADDR_PROTO | (remote ? 0 : QP_ADDR_PORT_0),
			&f->local, msg);
	if (err != QP_OK)
		return err;
	if (o->local != NULL && f->local.protocol != f->remote.protocol)
		return qp_fail(msg, QP_E_INVAL, "%s and %s: one is TCP and the other UDP", o->remote,
			o->local);
	if (!remote && f->remote.host[0] == '\0')
		snprintf(f->remote.host, sizeof(f->remote.host), "127.0.0.1");
	if (f->local.host[0] == '\0')
		snprintf(f->local.host, sizeof(f->local.host), "127.0.0.1");
	return QP_OK;
}

/* What the gateway is told of both ends, and what logs call it. */
static void
name_it(struct qp_forward *f, const char *name)
{
	static const char *const kinds[] = {"remote", "local", "stdio"};
	bool udp = f->remote.protocol == QP_WIRE_UDP;

	qp_target_format(&f->local, false, f->local_text, sizeof(f->local_text));
	qp_target_format(&f->remote, false, f->remote_text, sizeof(f->remote_text));
	if (name != NULL)
		snprintf(f->name, sizeof(f->name), "%s", name);
	else
		snprintf(f->name, sizeof(f->name), "%s-%u%s", kinds[f->kind],
			f->kind == QP_FORWARD_LOCAL ? f->local.port : f->remote.port,
			udp ? "/udp" : "");
}

static int
find_server(struct qp_forward *f, const struct qp_forward_options *o, struct qp_errmsg *msg)
{
	const struct qp_client *c = f->client;
	int err = QP_OK;

	f->server = c->server;
	if (o->server != NULL)
		err = qp_target_parse(o->server, QP_ADDR_NEED_HOST, &f->server, msg);
	else if (c->server.port == 0)
		err = qp_fail(msg, QP_E_INVAL, "no gateway is given, neither to the client nor to %s",
			f->name);
	if (err == QP_OK && o->identity != NULL)
		err = qpc_identity_load(&f->own, o->identity, msg);
	if (err == QP_OK && qpc_forward_identity(f)->method == QP_AUTH_NONE)
		err = qp_fail(msg, QP_E_INVAL, "no key to authenticate with is given, neither to the "
			"client nor to %s", f->name);
	if (err == QP_OK)
		err = qpc_trust_init(&f->trust, &f->server, c->o.insecure,
			c->known_hosts[0] != '\0' ? c->known_hosts : NULL, msg);
	return err;
}

static void
fill_request(struct qp_forward *f)
{
	struct qp_wire_msg *request = &f->cfg.request;

	if (f->kind == QP_FORWARD_REMOTE) {
		request->type = QP_WIRE_REMOTE_FORWARD_REQUEST;
		request->remote_forward_request.port = f->remote.port;
		request->remote_forward_request.protocol = f->remote.protocol;
		request->remote_forward_request.destination = qp_slice_of(f->local_text);
		return;
	}
	request->type = QP_WIRE_LOCAL_FORWARD_REQUEST;
	request->local_forward_request.protocol = f->remote.protocol;
	request->local_forward_request.destination = qp_slice_of(f->remote_text);
	request->local_forward_request.source = qp_slice_of(f->local_text);
}

static void
fill_config(struct qp_forward *f)
{
	const struct qp_client_options *o = &f->client->o;
	const struct qpc_identity *id = qpc_forward_identity(f);

	qpc_quic_config_default(&f->cfg.quic);
	f->cfg.quic.keep_alive_s = o->keep_alive_s;
	f->cfg.quic.idle_timeout_s = o->idle_timeout_s;
	f->cfg.auth.method = id->method;
	f->cfg.auth.private_key = id->private_key;
	f->cfg.auth.psk = id->psk;
	memcpy(f->cfg.auth.server_key, id->server_key, sizeof(id->server_key));
	fill_request(f);
	f->cfg.dest = f->dest.v;
	f->cfg.ndest = f->dest.n;
}

static int
check_options(const struct qp_forward_options *o, struct qp_errmsg *msg)
{
	if ((unsigned)o->kind > QP_FORWARD_STDIO)
		return qp_fail(msg, QP_E_INVAL, "forward kind %d is none of this library's", (int)o->kind);
	if (o->kind == QP_FORWARD_STDIO && (o->fd_in < 0 || o->fd_out < 0))
		return qp_fail(msg, QP_E_INVAL, "a forward of kind STDIO needs fd_in and fd_out");
	return QP_OK;
}

/* What a program of an older header does not know is as the defaults say. */
static int
take_options(const struct qp_forward_options *given, struct qp_forward_options *o,
	struct qp_errmsg *msg)
{
	if (given->size < OPTIONS_AT_FIRST)
		return qp_fail(msg, QP_E_VERSION,
			"struct qp_forward_options of %zu bytes, at least %zu are needed: start from "
			"QP_FORWARD_OPTIONS", given->size, OPTIONS_AT_FIRST);
	*o = (struct qp_forward_options) QP_FORWARD_OPTIONS;
	memcpy(o, given, given->size < sizeof(*o) ? given->size : sizeof(*o));
	return check_options(o, msg);
}

int
qpc_forward_new(struct qp_client *c, const struct qp_forward_options *options,
	struct qp_forward **out, struct qp_errmsg *msg)
{
	struct qp_forward_options taken, *o = &taken;
	struct qp_forward *f;
	int err = take_options(options, o, msg);

	if (err != QP_OK)
		return err;
	f = calloc(1, sizeof(*f));
	if (f == NULL)
		return qp_fail(msg, QP_E_NOMEM, "out of memory for a forward");
	f->client = c;
	f->kind = o->kind;
	f->user = o->user;
	f->listener.source.fd = -1;
	f->fd_in = o->fd_in;
	f->fd_out = o->fd_out;
	f->close_fd_out = o->close_fd_out;
	f->cfg.udp_idle_s = o->udp_idle_timeout_s;
	TAILQ_INSERT_TAIL(&c->forwards, f, link);
	err = parse_ends(f, o, msg);
	if (err == QP_OK) {
		name_it(f, o->name);
		err = find_server(f, o, msg);
	}
	if (err == QP_OK && f->kind == QP_FORWARD_REMOTE)
		err = qpc_resolve(&f->local, &f->dest, msg);
	else if (err == QP_OK && f->kind == QP_FORWARD_LOCAL)
		err = qpc_forward_listen(f, msg);
	if (err != QP_OK) {
		qpc_forward_free(f);
		return err;
	}
	fill_config(f);
	*out = f;
	return QP_OK;
}
