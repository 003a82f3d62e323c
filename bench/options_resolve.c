/* SPDX-License-Identifier: Apache-2.0 */
/* What options mean together: addresses, keys, sizes. Main thread. */
#include "bench/options.h"

#include <arpa/inet.h>
#include <rte_common.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/addr.h"
#include "common/keys.h"
#include "dataplane/nic/port_setup.h"

#define SIZE_MAX_BYTES (64u * 1024 * 1024)
#define DATAGRAM_ROOM 28u

/* Addresses. */

static int
parse_prefix(const char *what, const char *text, struct qp_ipaddr *addr, uint8_t *prefix,
	struct qp_errmsg *msg)
{
	const char *slash = strchr(text, '/');
	char host[INET6_ADDRSTRLEN + 1], *end;
	struct in6_addr in6;
	unsigned long len, max;

	if (slash == NULL || (size_t)(slash - text) >= sizeof(host))
		return qp_fail(msg, QP_E_INVAL, "%s %s: expected ADDR/LEN", what, text);
	snprintf(host, sizeof(host), "%.*s", (int)(slash - text), text);
	if (qp_ip_parse_text(host, &in6, NULL) < 0)
		return qp_fail(msg, QP_E_INVAL, "%s %s: %s is no IP address", what, text, host);
	memcpy(addr, &in6, sizeof(*addr));
	max = qp_ipaddr_is_v4(addr) ? 32 : 128;
	len = strtoul(slash + 1, &end, 10);
	if (slash[1] < '0' || slash[1] > '9' || *end != '\0' || len > max)
		return qp_fail(msg, QP_E_INVAL, "%s %s: the length is 0 to %lu", what, text, max);
	*prefix = (uint8_t)(128 - max + len);
	return 0;
}

static void
mask(struct qp_ipaddr *a, uint8_t prefix)
{
	for (unsigned bit = prefix; bit < 128; bit++)
		a->b[bit / 8] &= (uint8_t) ~(0x80u >> bit % 8);
}

static int
resolve_port(const struct qpb_options *o, struct qpb *b, unsigned i, const struct qp_ipaddr *peer,
	struct qp_errmsg *msg)
{
	struct qpb_port *p = &b->port[i];
	struct in6_addr via;
	int rc = parse_prefix("--ip", o->ips.v[i], &p->addr, &p->prefix, msg);

	if (rc < 0)
		return rc;
	p->net = p->addr;
	p->net_prefix = p->prefix;
	if (i < o->nets.n &&
		(rc = parse_prefix("--net", o->nets.v[i], &p->net, &p->net_prefix, msg)) < 0)
		return rc;
	mask(&p->net, p->net_prefix);
	if (qp_ipaddr_is_v4(&p->net) != qp_ipaddr_is_v4(peer))
		return qp_fail(msg, QP_E_INVAL,
			"--ip %s: the gateway's address is of the other family", o->ips.v[i]);
	p->hop = *peer;
	if (i < o->vias.n) {
		if (qp_ip_parse_text(o->vias.v[i], &via, NULL) < 0)
			return qp_fail(
				msg, QP_E_INVAL, "--via %s: expected an IP address", o->vias.v[i]);
		memcpy(&p->hop, &via, sizeof(p->hop));
	}
	if (!qpb_in_prefix(&p->hop, &p->addr, p->prefix))
		return qp_fail(msg, QP_E_INVAL,
			"the gateway is not on the link of --ip %s: name a router there with --via",
			o->ips.v[i]);
	return 0;
}

/* The first number that is neither ours on the link nor the next hop's. */
static uint32_t
first_host(const struct qpb_port *p)
{
	uint32_t own = qpb_host_index(p, &p->addr), hop = qpb_host_index(p, &p->hop), first = 1;

	if (own != UINT32_MAX && own >= first)
		first = own + 1;
	if (hop != UINT32_MAX && hop >= first)
		first = hop + 1;
	return first;
}

static int
place_hosts(struct qpb *b, struct qp_errmsg *msg)
{
	struct qpb_config *c = &b->cfg;
	struct qpb_port *in = &b->port[0], *out = &b->port[b->nports - 1];
	uint32_t room, want = c->addresses != 0 ? c->addresses : qpb_users_wanted(c);

	b->clients = (struct qpb_hosts) {in, first_host(in), c->clients};
	b->users = (struct qpb_hosts) {out, first_host(out) + (in == out ? c->clients : 0), 0};
	room = qpb_host_room(in) + 1;
	if (b->clients.first + c->clients > room)
		return qp_fail(msg, QP_E_INVAL,
			"%u clients do not fit into the network: give a larger one with --net",
			c->clients);
	room = qpb_host_room(out) + 1;
	if (b->users.first + b->nworkers > room ||
		(c->addresses != 0 && b->users.first + want > room))
		return qp_fail(msg, QP_E_INVAL,
			"%u users' addresses do not fit into the network: give a larger one with "
			"--net",
			want);
	/* Each worker has one at least. */
	if (want < b->nworkers)
		want = b->nworkers;
	b->users.count = b->users.first + want > room ? room - b->users.first : want;
	return 0;
}

static int
resolve_addresses(struct qpb_options *o, struct qpb *b, struct qp_errmsg *msg)
{
	struct in6_addr in6;
	bool pci;
	int rc = 0;

	for (unsigned i = 0; i < o->ports.n; i++)
		if ((rc = qp_port_devargs_check(o->ports.v[i], &pci, msg)) < 0)
			return rc;
	if (!o->target_given)
		return qp_fail(msg, QP_E_INVAL, "--target is missing: the gateway's ADDR:PORT");
	if (o->ips.n == 0 || o->ips.n > QPB_MAX_PORTS)
		return qp_fail(
			msg, QP_E_INVAL, "--ip is missing: ADDR/LEN, one for each of 1 or 2 ports");
	if (!qp_sockaddr_to_in6(&o->target.sa, &in6))
		return qp_fail(msg, QP_E_INVAL, "--target: expected ADDR:PORT");
	memcpy(&b->cfg.target, &in6, sizeof(b->cfg.target));
	b->cfg.target_port_be = htons(qp_sockaddr_port(&o->target.sa));
	b->cfg.outside = b->cfg.target;
	if (o->outside_given)
		memcpy(&b->cfg.outside, &o->outside, sizeof(b->cfg.outside));
	b->nports = o->ips.n;
	for (unsigned i = 0; rc == 0 && i < b->nports; i++)
		rc = resolve_port(o, b, i, i == 0 ? &b->cfg.target : &b->cfg.outside, msg);
	return rc < 0 ? rc : place_hosts(b, msg);
}

/* Keys. */

static int
resolve_x25519(struct qpb_options *o, struct qp_auth_client_config *a, struct qp_errmsg *msg)
{
	int rc = 0;

	a->method = QP_AUTH_X25519;
	if (o->privkey == NULL)
		rc = qp_private_key_from_file(o->privkey_file, &o->privkey, msg);
	a->private_key = o->privkey;
	if (rc < 0)
		return rc;
	if (o->server_pubkey != NULL)
		return qp_public_key_from_text(
			o->server_pubkey, "--server-pubkey", a->server_key, msg);
	if (o->server_pubkey_file != NULL)
		return qp_public_key_from_file(o->server_pubkey_file, a->server_key, msg);
	return qp_fail(msg, QP_E_INVAL,
		"a private key needs --server-pubkey or --server-pubkey-file, too");
}

static int
resolve_keys(struct qpb_options *o, struct qp_auth_client_config *a, struct qp_errmsg *msg)
{
	int rc = 0;

	if (o->privkey != NULL || o->privkey_file != NULL)
		return resolve_x25519(o, a, msg);
	a->method = QP_AUTH_PSK;
	if (o->psk == NULL && o->psk_file == NULL)
		return qp_fail(msg, QP_E_INVAL,
			"no key: give --psk, --psk-file, or --privkey-file with --server-pubkey-file");
	if (o->psk == NULL)
		rc = qp_psk_from_file(o->psk_file, &o->psk, msg);
	a->psk = o->psk;
	return rc;
}

static int
resolve_sizes(struct qpb_options *o, struct qpb_config *c, struct qp_errmsg *msg)
{
	uint32_t max = c->scenario == QPB_UDP ? o->mtu - DATAGRAM_ROOM : SIZE_MAX_BYTES;

	if (c->scenario == QPB_UDP && !qp_ipaddr_is_v4(&c->outside))
		max -= 20;
	if (qpb_sizes_parse(o->size, max, &c->size) < 0)
		return qp_fail(msg, QP_E_INVAL,
			"--size %s: expected up to %u bytes, MIN-MAX, or imix", o->size, max);
	if (qpb_sizes_parse(o->response_size, max, &c->answer) < 0)
		return qp_fail(msg, QP_E_INVAL,
			"--response-size %s: expected up to %u bytes, MIN-MAX, or imix",
			o->response_size, max);
	return 0;
}

int
qpb_options_resolve(struct qpb_options *o, struct qpb *b, struct qp_errmsg *msg)
{
	struct qpb_config *c = &b->cfg;
	int rc;

	c->mtu = (uint16_t)o->mtu;
	c->first_port = (uint16_t)o->first_port;
	c->verify = !o->no_verify;
	c->queues = o->queues != 0 ? o->queues
				   : RTE_MIN(b->nworkers * QP_NIC_MAX_GENS, QP_NIC_MAX_QUEUES);
	c->tcp_buffer = o->tcp_kib * 1024;
	c->stream_window = o->stream_kib * 1024;
	c->conn_window = o->conn_kib * 1024;
	if (c->scenario != QPB_HANDSHAKES && o->first_port + c->clients > 65536)
		return qp_fail(msg, QP_E_INVAL, "--first-port %u: %u clients go beyond port 65535",
			o->first_port, c->clients);
	rc = resolve_addresses(o, b, msg);
	if (rc == 0)
		rc = resolve_keys(o, &c->auth, msg);
	return rc < 0 ? rc : resolve_sizes(o, c, msg);
}
