/* SPDX-License-Identifier: Apache-2.0 */
/* The options' table, and what they mean together. Main thread, before EAL. */
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
#define DATAGRAM_ROOM  28u
#define EPILOGUE                                                                                   \
	"EAL options may stand before a \"--\", as with testpmd. Two lcores are the least:\n"     \
	"the first sleeps, each of the others is a worker with queues of its own.\n"              \
	"\n"                                                                                       \
	"Exit status:\n"                                                                           \
	"  0  all that was sent arrived, and was right\n"                                          \
	"  1  something was lost, wrong or broken; the last line says what\n"                      \
	"  2  bad usage\n"                                                                         \
	"  3  it could not be measured: no port, no gateway, no tunnel\n"                          \
	"\n"                                                                                       \
	"Example: 1,000 outside users over 10 tunnels, 20,000 requests a second\n"                 \
	"  quicport-bench --port net_memif0,role=client,socket=/run/gw.sock \\\n"                  \
	"    --ip 10.0.0.2/24 --net 10.1.0.0/16 --target 10.0.0.1:39000 --psk SECRET \\\n"         \
	"    --scenario requests --clients 10 --users 1000 --rate 20000 --json out.json\n"

static int
parse_privkey(const struct qp_opt *opt, const char *text, struct qp_errmsg *msg)
{
	struct qp_secret **out = opt->value;

	qp_secret_free(*out);
	if (qp_private_key_from_text(text, "", out, NULL) == 0)
		return 0;
	return qp_fail(msg, QP_E_INVAL,
		"a private key of 44 Base64 characters, as `quicport keygen` prints it");
}

#define OPT_PORTS(o)                                                                               \
	QP_OPT_GROUP("Ports:"),                                                                    \
	{.name = "port", .arg = "PCI|VDEV", .env = "", .repeat = true,                             \
		.help = "a port: a PCI address or a virtual device with its arguments; one for "   \
			"all, or one for clients and one for users",                               \
		.parse = qp_opt_strings, .value = &(o)->ports},                                    \
	{.name = "ip", .arg = "ADDR/LEN", .env = "", .repeat = true,                               \
		.help = "a port's address on its link; one for each port",                         \
		.parse = qp_opt_strings, .value = &(o)->ips},                                      \
	{.name = "net", .arg = "ADDR/LEN", .env = "", .repeat = true,                              \
		.help = "the network that clients and users have their addresses in; the "         \
			"gateway must have a route to it by --ip (default: the link's)",           \
		.parse = qp_opt_strings, .value = &(o)->nets},                                     \
	{.name = "via", .arg = "ADDR", .env = "", .repeat = true,                                  \
		.help = "the next hop (default: the gateway's address)",                           \
		.parse = qp_opt_strings, .value = &(o)->vias},                                     \
	{.name = "mtu", .arg = "BYTES", .env = "", .fallback = "1500", .min = 1280, .max = 9216,   \
		.help = "of the ports", .parse = qp_opt_u32, .value = &(o)->mtu},                  \
	{.name = "queues", .arg = "N", .env = "", .fallback = "0", .max = QP_NIC_MAX_QUEUES,        \
		.help = "queue pairs of a port without RSS; net_memif: as many as the other end "  \
			"has, or frames are doubled (default: 4 a worker, as a gateway)",          \
		.parse = qp_opt_u32, .value = &(o)->queues},                                       \
	{.name = "lcores", .arg = "LIST", .env = "",                                               \
		.help = "CPUs: the first one's thread sleeps, each of the others is a worker "     \
			"(default: the first and the last allowed one)",                           \
		.parse = qp_opt_string, .value = &(o)->lcores}

#define OPT_GATEWAY(o, c)                                                                          \
	QP_OPT_GROUP("Gateway:"),                                                                  \
	{.name = "target", .arg = "ADDR:PORT", .env = "",                                          \
		.help = "its data-plane address, for clients", .parse = qp_opt_listen,             \
		.value = &(o)->target, .given = &(o)->target_given},                               \
	{.name = "outside", .arg = "ADDR", .env = "",                                              \
		.help = "where its forwarded ports are (default: the target's address)",           \
		.parse = qp_opt_ip, .value = &(o)->outside, .given = &(o)->outside_given},         \
	{.name = "first-port", .arg = "PORT", .env = "", .fallback = "20000", .min = 1,            \
		.max = 65535, .help = "client i asks for port PORT + i",                           \
		.parse = qp_opt_u32, .value = &(o)->first_port},                                   \
	{.name = "psk", .arg = "TEXT", .help = "the pre-shared key", .secret = true,               \
		.parse = qp_opt_secret, .value = &(o)->psk},                                       \
	{.name = "psk-file", .arg = "FILE", .help = "a file with it", .parse = qp_opt_string,      \
		.value = &(o)->psk_file},                                                          \
	{.name = "privkey", .arg = "KEY", .help = "the clients' private key, in Base64",           \
		.secret = true, .parse = parse_privkey, .value = &(o)->privkey},                   \
	{.name = "privkey-file", .arg = "FILE", .help = "a file with it",                          \
		.parse = qp_opt_string, .value = &(o)->privkey_file},                              \
	{.name = "server-pubkey", .arg = "KEY", .help = "the gateway's public key",                \
		.parse = qp_opt_string, .value = &(o)->server_pubkey},                             \
	{.name = "server-pubkey-file", .arg = "FILE", .help = "a file with it",                    \
		.parse = qp_opt_string, .value = &(o)->server_pubkey_file}

#define OPT_LOAD(o, c)                                                                             \
	QP_OPT_GROUP("Load:"),                                                                     \
	{.name = "scenario", .arg = "NAME", .env = "", .fallback = "bulk",                         \
		.help = "bulk, requests, connections, handshakes, idle or udp",                    \
		.parse = qp_opt_choice, .choices = qpb_scenario_names, .value = &(c)->scenario},   \
	{.name = "direction", .arg = "WAY", .env = "", .fallback = "in",                           \
		.help = "bulk: in (to services), out (to users) or both",                          \
		.parse = qp_opt_choice, .choices = qpb_direction_names, .value = &(c)->direction}, \
	{.name = "clients", .arg = "N", .env = "", .fallback = "1", .min = 1,                      \
		.max = QPB_MAX_CLIENTS, .help = "tunnels; handshakes: so many at once",            \
		.parse = qp_opt_u32, .value = &(c)->clients},                                      \
	{.name = "users", .arg = "N", .env = "", .fallback = "1", .max = 4194304,                  \
		.help = "outside connections or UDP sources at once", .parse = qp_opt_u32,         \
		.value = &(c)->users},                                                             \
	{.name = "addresses", .arg = "N", .env = "", .fallback = "0", .max = 4194304,              \
		.help = "that users come from; 0: one each, as far as the network has them",       \
		.parse = qp_opt_u32, .value = &(c)->addresses},                                    \
	{.name = "size", .arg = "BYTES", .env = "", .fallback = "64",                              \
		.help = "payload of a request or datagram: a number, MIN-MAX, or imix (IP packets " \
			"of 40, 576 and 1500 bytes, 7:4:1)",                                       \
		.parse = qp_opt_string, .value = &(o)->size},                                      \
	{.name = "response-size", .arg = "BYTES", .env = "", .fallback = "64",                     \
		.help = "of its answer, the same forms; udp: 0 for none", .parse = qp_opt_string,  \
		.value = &(o)->response_size},                                                     \
	{.name = "echo", .env = "", .help = "the answer is the request's payload",                 \
		.parse = qp_opt_flag, .value = &(c)->echo},                                        \
	{.name = "rate", .arg = "N", .env = "", .fallback = "0", .max = 100000000,                 \
		.help = "open loop: so many requests, connections, handshakes or datagrams a "     \
			"second; 0: closed loop, each user's next follows the last",               \
		.parse = qp_opt_u32, .value = &(c)->rate},                                         \
	{.name = "arrivals", .arg = "KIND", .env = "", .fallback = "poisson",                      \
		.help = "with --rate: poisson or even", .parse = qp_opt_choice,                    \
		.choices = qpb_arrival_names, .value = &(c)->arrivals},                            \
	{.name = "seconds", .arg = "N", .env = "", .fallback = "10", .min = 1, .max = 86400,       \
		.help = "measured", .parse = qp_opt_u32, .value = &(c)->seconds},                  \
	{.name = "warmup", .arg = "N", .env = "", .fallback = "1", .max = 3600,                    \
		.help = "seconds of load before", .parse = qp_opt_u32, .value = &(c)->warmup},     \
	{.name = "patience", .arg = "N", .env = "", .fallback = "20", .min = 1, .max = 3600,       \
		.help = "seconds for tunnels and connections to open, and to end",                 \
		.parse = qp_opt_u32, .value = &(c)->patience},                                     \
	{.name = "seed", .arg = "N", .env = "", .fallback = "1",                                   \
		.help = "of arrival times, sizes and payload", .parse = qp_opt_u64,                \
		.value = &(c)->seed},                                                              \
	{.name = "no-verify", .env = "", .help = "do not compare payload bytes",                   \
		.parse = qp_opt_flag, .value = &(o)->no_verify}

#define OPT_REST(o, c)                                                                             \
	QP_OPT_GROUP("Results:"),                                                                  \
	{.name = "json", .arg = "FILE", .env = "", .help = "all figures; - is standard output",    \
		.parse = qp_opt_string, .value = &(o)->json},                                      \
	{.name = "hgrm", .arg = "FILE", .env = "",                                                 \
		.help = "latency in us as HdrHistogram's percentile distribution",                 \
		.parse = qp_opt_string, .value = &(o)->hgrm},                                      \
	{.name = "hlog", .arg = "FILE", .env = "",                                                 \
		.help = "latency in ns as HdrHistogram's interval log",                            \
		.parse = qp_opt_string, .value = &(o)->hlog},                                      \
	{.name = "stats-period", .arg = "SECONDS", .env = "", .fallback = "0", .max = 3600,        \
		.help = "a line of figures so often; 0: none", .parse = qp_opt_u32,                \
		.value = &(o)->stats_period},                                                      \
	QP_OPT_GROUP("Prompt, in testpmd's manner:"),                                              \
	{.name = "interactive", .letter = 'i', .env = "",                                          \
		.help = "commands from standard input; nothing is started before `start`",         \
		.parse = qp_opt_flag, .value = &(o)->interactive},                                 \
	{.name = "cmdline-file", .arg = "FILE", .env = "",                                         \
		.help = "commands from FILE first", .parse = qp_opt_string,                        \
		.value = &(o)->cmdline_file},                                                      \
	{.name = "auto-start", .env = "", .help = "with a prompt: start at once",                  \
		.parse = qp_opt_flag, .value = &(o)->auto_start},                                  \
	QP_OPT_GROUP("Resources:"),                                                                \
	{.name = "mbufs", .arg = "N", .env = "", .fallback = "16384", .min = 4096,                 \
		.max = 16777216, .help = "packet buffers of 2 KiB for each worker",                \
		.parse = qp_opt_u32, .value = &(c)->mbufs},                                        \
	{.name = "tcp-buffer", .arg = "KIB", .env = "", .fallback = "1024", .min = 16,             \
		.max = 65536, .help = "of a user's connection, each way", .parse = qp_opt_u32,     \
		.value = &(o)->tcp_kib},                                                           \
	{.name = "stream-window", .arg = "KIB", .env = "", .fallback = "1024", .min = 16,          \
		.max = 65536, .help = "that the gateway may send ahead on a stream",               \
		.parse = qp_opt_u32, .value = &(o)->stream_kib},                                   \
	{.name = "conn-window", .arg = "KIB", .env = "", .fallback = "16384", .min = 64,           \
		.max = 1048576, .help = "… in a tunnel", .parse = qp_opt_u32,                      \
		.value = &(o)->conn_kib},                                                          \
	{.name = "yield", .env = "", .help = "idle workers offer their CPU to others",             \
		.parse = qp_opt_flag, .value = &(c)->yield}

void
qpb_options_parse(struct qpb_options *o, struct qpb_config *cfg, int argc, char **argv)
{
	const struct qp_opt opts[] = {
		OPT_PORTS(o),
		OPT_GATEWAY(o, cfg),
		OPT_LOAD(o, cfg),
		OPT_REST(o, cfg),
		{0},
	};
	const struct qp_opt_command cmd = {
		.name = "quicport-bench",
		.summary = "Measures a gateway from ports of its own, with DPDK and without the "
			   "kernel: plays its clients, the services behind them, and the outside "
			   "users, and compares every byte.",
		.epilogue = EPILOGUE,
		.opts = opts,
	};

	qp_opt_parse_or_exit(&cmd, argc, argv);
}

int
qpb_options_set(struct qpb_options *o, struct qpb_config *cfg, const char *name, const char *text,
	struct qp_errmsg *msg)
{
	const struct qp_opt opts[] = {OPT_LOAD(o, cfg), {0}};
	struct qp_errmsg expected;
	const char *kept = qp_opt_keep(text);

	for (const struct qp_opt *opt = opts; opt->name != NULL || opt->help != NULL; opt++) {
		if (opt->name == NULL || strcmp(opt->name, name) != 0)
			continue;
		if (kept == NULL)
			return qp_fail(msg, QP_E_NOMEM, "no memory for %s", name);
		if (opt->parse(opt, kept, &expected) < 0)
			return qp_fail(msg, QP_E_INVAL, "set load %s %s: expected %s", name, text,
				expected.text);
		return 0;
	}
	return qp_fail(msg, QP_E_NOTFOUND, "set load %s: there is no such option of the load", name);
}

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
		a->b[bit / 8] &= (uint8_t)~(0x80u >> bit % 8);
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
	if (i < o->nets.n && (rc = parse_prefix("--net", o->nets.v[i], &p->net, &p->net_prefix, msg)) < 0)
		return rc;
	mask(&p->net, p->net_prefix);
	if (qp_ipaddr_is_v4(&p->net) != qp_ipaddr_is_v4(peer))
		return qp_fail(msg, QP_E_INVAL,
			"--ip %s: the gateway's address is of the other family", o->ips.v[i]);
	p->hop = *peer;
	if (i < o->vias.n) {
		if (qp_ip_parse_text(o->vias.v[i], &via, NULL) < 0)
			return qp_fail(msg, QP_E_INVAL, "--via %s: expected an IP address", o->vias.v[i]);
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
	if (b->users.first + b->nworkers > room || (c->addresses != 0 && b->users.first + want > room))
		return qp_fail(msg, QP_E_INVAL,
			"%u users' addresses do not fit into the network: give a larger one with "
			"--net", want);
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
		return qp_fail(msg, QP_E_INVAL, "--ip is missing: ADDR/LEN, one for each of 1 or 2 ports");
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
		return qp_public_key_from_text(o->server_pubkey, "--server-pubkey", a->server_key, msg);
	if (o->server_pubkey_file != NULL)
		return qp_public_key_from_file(o->server_pubkey_file, a->server_key, msg);
	return qp_fail(msg, QP_E_INVAL, "a private key needs --server-pubkey or --server-pubkey-file, too");
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
		return qp_fail(msg, QP_E_INVAL, "--size %s: expected up to %u bytes, MIN-MAX, or imix",
			o->size, max);
	if (qpb_sizes_parse(o->response_size, max, &c->answer) < 0)
		return qp_fail(msg, QP_E_INVAL,
			"--response-size %s: expected up to %u bytes, MIN-MAX, or imix", o->response_size,
			max);
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
	c->queues = o->queues != 0 ? o->queues : RTE_MIN(b->nworkers * QP_NIC_MAX_GENS, QP_NIC_MAX_QUEUES);
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

void
qpb_options_free(struct qpb_options *o)
{
	qp_secret_free(o->psk);
	qp_secret_free(o->privkey);
	o->psk = o->privkey = NULL;
}
