/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where local forwards lead. Loop thread; names are the resolver's threads'
 * matter. The policy decides on addresses, never on names: whoever owns a name
 * may let it point anywhere, and the data plane connects to no other address
 * than those that were decided on.
 */
#define QP_LOG_MODULE QP_LOG_M_local
#include "controlplane/locals.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/wire.h"

struct qp_locals {
	struct qp_locals_config cfg;
	struct qp_resolver *resolver;
};

static uint8_t
wire_status(int err)
{
	return err == QP_E_PERM ? QP_WIRE_PERMISSION_DENIED : QP_WIRE_INTERNAL_ERROR;
}

static const char *
text_of(const struct in6_addr *addr, uint16_t port, char out[QP_ADDR_TEXT_BYTES])
{
	return qp_addr_format(addr->s6_addr, htons(port), out);
}

static bool
is_private_api(const struct qp_locals *l, const struct in6_addr *addr, uint16_t port)
{
	const struct sockaddr *api = &l->cfg.private_api.sa;
	struct in6_addr at;

	return port == qp_sockaddr_port(api) && qp_sockaddr_to_in6(api, &at) &&
	       (qp_sockaddr_is_any(api) || memcmp(&at, addr, sizeof(at)) == 0);
}

/*
 * Link-local ones need an interface, which a destination has no word for;
 * 0.0.0.0/8 and :: would be the host itself to the kernel; 224/3 are groups.
 */
static bool
is_destination(const struct in6_addr *addr)
{
	if (IN6_IS_ADDR_V4MAPPED(addr))
		return addr->s6_addr[12] != 0 && addr->s6_addr[12] < 224;
	return !IN6_IS_ADDR_LINKLOCAL(addr) && !IN6_IS_ADDR_MULTICAST(addr) &&
	       !IN6_IS_ADDR_UNSPECIFIED(addr);
}

/* Whether a connection may lead there, and by which way. */
static int
decide_on(const struct qp_locals *l, const struct qp_allow *allow, const struct in6_addr *addr,
	uint16_t port, struct qp_msg_local_addr *out, struct qp_errmsg *msg)
{
	struct qp_hostnet_route route;
	char text[QP_ADDR_TEXT_BYTES];
	int err;

	text_of(addr, port, text);
	if (!is_destination(addr))
		return qp_fail(msg, QP_E_INVAL, "%s is no destination for a connection", text);
	if (!qp_allow_check(allow, addr, port))
		return qp_fail(msg, QP_E_PERM,
			"the gateway's policy does not allow %s (its operator's "
			"--allow-local-forward, or local-forwards of the policy)", text);
	err = l->cfg.route(l->cfg.route_ctx, addr, &route, msg);
	if (err != 0)
		return err;
	if (route.ifindex == QP_CLS_LO_IFINDEX && is_private_api(l, addr, port))
		return qp_fail(msg, QP_E_PERM, "%s is the gateway's own", text);
	memcpy(out->addr, addr, sizeof(out->addr));
	memcpy(out->source, &route.source, sizeof(out->source));
	out->ifindex = route.ifindex;
	out->mtu = route.mtu;
	return 0;
}

/* Those addresses that may be tried; of the others, the last one's reason if there is no such. */
static int
choose(const struct qp_locals *l, const struct qp_allow *allow, const struct qp_resolved *r,
	struct qp_msg_local_grant *g, struct qp_errmsg *msg)
{
	int err = QP_E_NOTFOUND, denied = 0;

	for (unsigned i = 0; i < r->n && g->naddrs < QP_LOCAL_ADDRS; i++) {
		err = decide_on(
			l, allow, &r->addr[i], r->target.port, &g->addr[g->naddrs], msg);
		if (err == 0)
			g->naddrs++;
		else if (err == QP_E_PERM)
			denied = err;
	}
	if (g->naddrs > 0)
		return 0;
	/* A no of the policy stands, whatever else is wrong. */
	return denied != 0 ? denied : err;
}

static int
decide(struct qp_locals *l, const struct qp_tunnel *tun, const struct qp_resolved *r,
	struct qp_msg_local_grant *g, struct qp_errmsg *msg)
{
	const struct qp_allow *allow = l->cfg.rights(l->cfg.rights_ctx, tun, msg);
	int err = allow != NULL ? choose(l, allow, r, g, msg) : QP_E_PERM;

	/* One that is open and asks where its name leads now is counted already. */
	if (err == 0 && !tun->local.open && l->cfg.room != NULL)
		err = l->cfg.room(l->cfg.rights_ctx, tun, msg);
	if (err != 0)
		return err;
	g->port = r->target.port;
	g->protocol = r->protocol;
	return qp_sources_take(l->cfg.sources, &r->from,
		r->protocol == QP_WIRE_UDP ? IPPROTO_UDP : IPPROTO_TCP, &g->source_first,
		&g->source_count, msg);
}

static void
tell_decision(const struct qp_locals *l, const struct qp_tunnel *tun, const struct qp_resolved *r,
	const struct qp_msg_local_grant *g, int err, const char *message)
{
	char peer[QP_ADDR_TEXT_BYTES], target[QP_HOST_BYTES + 16];

	qp_target_format(&r->target, false, target, sizeof(target));
	if (err != 0)
		qp_record_local_refused(l->cfg.records, tun, r->protocol, target, message);
	else if (!r->again)
		qp_record_local_opened(l->cfg.records, tun, target, g);
	qp_addr_format(tun->peer_addr, tun->peer_port_be, peer);
	if (err != 0)
		qp_log(QP_LOG_WARN, "local forward refused", QP_LOG_STR("peer", peer),
			QP_LOG_SLICE("destination", qp_slice_of(target)),
			QP_LOG_STR("reason", message));
	else
		qp_log(r->again ? QP_LOG_DEBUG : QP_LOG_INFO, "local forward", QP_LOG_STR("peer", peer),
			QP_LOG_SLICE("destination", qp_slice_of(target)),
			QP_LOG_STR("protocol", qp_wire_protocol_name(r->protocol)));
}

static void
deny(struct qp_locals *l, const struct qp_origin *to, int err, const char *message)
{
	struct qp_msg answer = {.type = QP_MSG_LOCAL_DENY};
	struct qp_msg_forward_answer *a = &answer.forward_answer;

	a->status = wire_status(err);
	a->message_len = (uint16_t)strnlen(message, sizeof(a->message));
	memcpy(a->message, message, a->message_len);
	qp_send(&l->cfg.sender, to, &answer);
}

static void
grant(struct qp_locals *l, const struct qp_resolved *r, struct qp_msg *answer)
{
	struct qp_msg_local_grant *g = &answer->local_grant;
	char target[QP_HOST_BYTES + 16], first[QP_ADDR_TEXT_BYTES];
	int n;

	qp_target_format(&r->target, false, target, sizeof(target));
	qp_addr_format(g->addr[0].addr, htons(g->port), first);
	n = snprintf(g->message, sizeof(g->message), "Forwarding to %s", first);
	if (strcmp(target, first) != 0)
		n = snprintf(g->message, sizeof(g->message), "Forwarding to %s (%s)", target, first);
	g->message_len = (uint16_t)((size_t)n < sizeof(g->message) ? (size_t)n : sizeof(g->message) - 1);
	qp_send(&l->cfg.sender, &r->from, answer);
}

/* Where it leads, for the day when the policy changes. */
static void
remember(struct qp_tunnel *tun, const struct qp_msg_local_grant *g)
{
	tun->local = (struct qp_tunnel_local) {.open = true, .n = g->naddrs, .port = g->port};
	for (unsigned i = 0; i < g->naddrs; i++)
		memcpy(&tun->local.addr[i], g->addr[i].addr, sizeof(tun->local.addr[i]));
}

/* The addresses are known, or why they are not. */
static void
answer(void *ctx, const struct qp_resolved *r)
{
	struct qp_locals *l = ctx;
	struct qp_tunnel *tun = qp_tunnels_find(l->cfg.tunnels, &r->from);
	struct qp_msg m = {.type = QP_MSG_LOCAL_GRANT};
	struct qp_errmsg msg = r->msg;
	int err;

	if (tun == NULL || tun->state != QP_TUNNEL_AUTHENTICATED)
		return; /* its client has left meanwhile */
	err = r->err != 0 ? r->err : decide(l, tun, r, &m.local_grant, &msg);
	tell_decision(l, tun, r, &m.local_grant, err, msg.text);
	if (err != 0) {
		deny(l, &r->from, err, msg.text);
		return;
	}
	remember(tun, &m.local_grant);
	grant(l, r, &m);
}

int
qp_locals_new(const struct qp_locals_config *cfg, struct qp_locals **out, struct qp_errmsg *msg)
{
	struct qp_locals *l = calloc(1, sizeof(*l));
	int err;

	if (l == NULL)
		return qp_fail(msg, QP_E_NOMEM, "out of memory");
	l->cfg = *cfg;
	err = qp_resolver_new(cfg->loop, answer, l, &l->resolver, msg);
	if (err != 0) {
		free(l);
		return err;
	}
	*out = l;
	return 0;
}

void
qp_locals_free(struct qp_locals *l)
{
	if (l == NULL)
		return;
	qp_resolver_free(l->resolver);
	free(l);
}

/* What a client asks for: "host:port", or a port of the gateway's host. */
static int
read_target(const char *destination, size_t len, struct qp_target *out, struct qp_errmsg *msg)
{
	char text[QP_MSG_DESTINATION_BYTES + 1];

	if (len >= sizeof(text) || memchr(destination, '\0', len) != NULL)
		return qp_fail(msg, QP_E_INVAL, "the destination is no text");
	memcpy(text, destination, len);
	text[len] = '\0';
	if (qp_target_parse(text, QP_ADDR_HOST, out, msg) != 0)
		return QP_E_INVAL;
	if (out->host[0] == '\0')
		strcpy(out->host, "127.0.0.1");
	return 0;
}

static int
read_question(const struct qp_msg_local *m, struct qp_resolved *r, struct qp_errmsg *msg)
{
	r->protocol = m->protocol;
	r->again = m->again;
	return read_target(m->destination, m->destination_len, &r->target, msg);
}

void
qp_locals_adopt(struct qp_tunnel *tun, const struct qp_msg_tunnel_state *s)
{
	struct qp_target target;
	size_t len = s->destination_len;

	tun->local = (struct qp_tunnel_local) {.open = true};
	if (len > sizeof(s->destination) || read_target(s->destination, len, &target, NULL) != 0)
		return;
	tun->local.port = target.port;
	tun->local.n = qp_ip_parse_text(target.host, &tun->local.addr[0], NULL) == 0;
}

void
qp_locals_request(struct qp_locals *l, const struct qp_origin *from, const struct qp_msg *m)
{
	const struct qp_tunnel *tun = qp_tunnels_find(l->cfg.tunnels, from);
	struct qp_resolved r = {.from = *from};
	const struct qp_allow *allow;
	struct qp_errmsg msg;
	int err = read_question(&m->local, &r, &msg);

	if (err != 0) {
		deny(l, from, err, msg.text);
		return;
	}
	if (qp_ip_parse_text(r.target.host, &r.addr[0], NULL) == 0) {
		r.n = 1;
		answer(l, &r);
		return;
	}
	if (tun == NULL)
		return; /* its client has left */
	/* Where nothing is allowed, nobody makes us ask for names either. */
	allow = l->cfg.rights(l->cfg.rights_ctx, tun, &msg);
	if (allow == NULL) {
		deny(l, from, QP_E_PERM, msg.text);
		return;
	}
	if (!allow->any && allow->n == 0) {
		deny(l, from, QP_E_PERM, "this gateway allows this client no local forwards (its "
			"operator's --allow-local-forward, or local-forwards of the policy)");
		return;
	}
	err = qp_resolver_ask(l->resolver, &r, &msg);
	if (err != 0)
		deny(l, from, err, msg.text);
}
