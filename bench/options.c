/* SPDX-License-Identifier: Apache-2.0 */
/* The options' table. Main thread, before EAL. What they mean together is options_resolve.c's. */
#include "bench/options.h"

#include <string.h>

#include "common/keys.h"

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

void
qpb_options_free(struct qpb_options *o)
{
	qp_secret_free(o->psk);
	qp_secret_free(o->privkey);
	o->psk = o->privkey = NULL;
}
