/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The options of `quicport control-plane`: what there is, in which order it is
 * shown, and what each takes. Opens nothing. Main thread.
 */
#include <stdlib.h>
#include <string.h>

#include "common/ipc.h"
#include "common/prompt.h"
#include "controlplane/options.h"

/* The text with its NUL, so that the readers of keys can take it. */
static int
parse_secret_text(const struct qp_opt *opt, const char *text, struct qp_errmsg *msg)
{
	struct qp_secret **out = opt->value;

	if (text[0] == '\0')
		return qp_fail(msg, QP_E_INVAL, "a value that is not empty");
	qp_secret_free(*out);
	*out = qp_secret_new(text, strlen(text) + 1);
	return *out != NULL ? 0 : qp_fail(msg, QP_E_NOMEM, "memory for it");
}

/* Rule by rule. */
static int
parse_allow(const struct qp_opt *opt, const char *text, struct qp_errmsg *msg)
{
	return qp_allow_add(opt->value, text, msg);
}

/* FIRST-LAST, of either protocol. */
static int
parse_port_range(const struct qp_opt *opt, const char *text, struct qp_errmsg *msg)
{
	struct qp_port_range *list = NULL, *out = opt->value;
	bool any = false;
	unsigned n = 0;
	int err = qp_port_ranges_parse(text, &any, &list, &n, NULL);

	if (err == 0 && (any || n != 1 || list[0].protocol != 0))
		err = QP_E_INVAL;
	if (err == 0)
		*out = list[0];
	free(list);
	return err == 0 ? 0 : qp_fail(msg, QP_E_INVAL, "FIRST-LAST, ports from 1 to 65535");
}

static int
parse_reserved(const struct qp_opt *opt, const char *text, struct qp_errmsg *msg)
{
	struct qp_options_ports *out = opt->value;
	bool any = false;
	int err;

	free(out->range);
	*out = (struct qp_options_ports) {0};
	err = text[0] == '\0' ? 0 : qp_port_ranges_parse(text, &any, &out->range, &out->n, NULL);
	if (err == 0 && !any)
		return 0;
	free(out->range);
	*out = (struct qp_options_ports) {0};
	return qp_fail(msg, QP_E_INVAL, "PORT or FIRST-LAST, each with /tcp or /udp if it is one of "
					"them, several by comma");
}

/* A thread that sleeps may be silent for QP_HEARTBEAT_QUIET_MS. */
#define HANG_TIMEOUT_LEAST_MS 400u

static int
parse_hang_timeout(const struct qp_opt *opt, const char *text, struct qp_errmsg *msg)
{
	int err = qp_opt_u32(opt, text, msg);

	if (err == 0 && *(uint32_t *)opt->value != 0 &&
		*(uint32_t *)opt->value < HANG_TIMEOUT_LEAST_MS)
		err = qp_fail(msg, QP_E_INVAL, "0, or at least %u", HANG_TIMEOUT_LEAST_MS);
	return err;
}

/* In the order of struct qp_msg_tcp's numbers. */
static const char *const congestion_choices[] = {"cubic", "bbr", NULL};
static const char *const takeover_choices[] = {"auto", "always", "never", NULL};
static const char *const ecn_choices[] = {"off", "accept", "ask", NULL};

void
qp_options_list(struct qp_options *o, struct qp_options_given *given, struct qp_opt out[QP_OPTIONS_MAX])
{
	const struct qp_opt opts[] = {
		QP_OPT_GROUP("Configuration (option, then variable, then file, then default):"),
		{.name = "config",
			.arg = "FILE",
			.not_in_file = true,
			.help = "read the options that are not given here, and what clients may do, "
				"from this YAML file; SIGHUP reads it again (see quicport "
				"check-config)",
			.parse = qp_opt_string,
			.value = &o->config},
		{.name = "watch-config",
			.help = "read it again by itself when it, or a file that it includes, changes",
			.parse = qp_opt_flag,
			.value = &o->watch_config},
		QP_OPT_GROUP("Addresses:"),
		{.name = "control-plane-addr",
			.arg = "ADDR:PORT",
			.fallback = "127.0.0.1:39000",
			.help = "where the private HTTP API listens (TCP)",
			.parse = qp_opt_listen,
			.value = &o->control_plane_addr},
		{.name = "data-plane-addr",
			.arg = "ADDR:PORT",
			.fallback = "0.0.0.0:39000",
			.help = "where clients reach the gateway (UDP); 0.0.0.0 or [::] is every "
				"address of the host",
			.parse = qp_opt_listen,
			.value = &o->data_plane_addr},
		{.name = "private-api-listen",
			.arg = "ADDR:PORT",
			.help = "where the private HTTP API listens, when not at "
				"--control-plane-addr",
			.parse = qp_opt_listen,
			.value = &o->private_api_listen},
		{.name = "private-api-socket",
			.arg = "PATH",
			.help = "the private API on a Unix socket, too: root, the gateway's own "
				"user, and whom the socket's mode lets in may use it",
			.parse = qp_opt_string,
			.value = &o->api.socket},
		{.name = "private-api-socket-mode",
			.arg = "MODE",
			.fallback = "0660",
			.help = "that socket's permissions, in octal",
			.parse = qp_opt_string,
			.value = &o->api.socket_mode_text},
		{.name = "private-api-socket-group",
			.arg = "GROUP",
			.help = "that socket's group (default: the gateway's own)",
			.parse = qp_opt_string,
			.value = &o->api.socket_group},
		{.name = "private-api-token-file",
			.arg = "FILE",
			.help = "TCP requests to the private API need the bearer token in this "
				"file; SIGHUP reads it again",
			.parse = qp_opt_string,
			.value = &o->api.token_file},
		{.name = "private-api-tls-cert",
			.arg = "FILE",
			.help = "the private API speaks TLS, with this certificate (PEM, its chain "
				"after it); SIGHUP reads it again",
			.parse = qp_opt_string,
			.value = &o->api.tls_cert},
		{.name = "private-api-tls-key",
			.arg = "FILE",
			.help = "that certificate's private key",
			.parse = qp_opt_string,
			.value = &o->api.tls_key},
		{.name = "no-public-api",
			.help = "no /healthcheck on the port after --data-plane-addr's (TCP)",
			.parse = qp_opt_flag,
			.value = &o->no_public_api},
		{.name = "forward-addr",
			.arg = "ADDR",
			.help = "forwarded ports answer on this address only (default: on all)",
			.parse = qp_opt_ip,
			.value = &o->forward_addr},
		{.name = "interface",
			.arg = "NAME",
			.repeat = true,
			.help = "take packets from this interface only (default: "
				"all, lo included)",
			.parse = qp_opt_strings,
			.value = &o->interfaces},
		QP_OPT_NIC(&o->nic),
		QP_OPT_GROUP(
			"Authentication (X25519 keys, a PSK or both; default: a PSK is made and kept):"),
		{.name = "privkey",
			.arg = "BASE64",
			.secret = true,
			.help = "the server's X25519 private key",
			.parse = parse_secret_text,
			.given = &given->privkey,
			.value = &o->privkey},
		{.name = "privkey-file",
			.arg = "FILE",
			.help = "a file with that key",
			.parse = qp_opt_string,
			.value = &o->privkey_file},
		{.name = "client-pubkeys",
			.arg = "BASE64[,…]",
			.help = "public keys of the clients that may come",
			.parse = qp_opt_string,
			.value = &o->client_pubkeys},
		{.name = "client-pubkeys-file",
			.arg = "FILE",
			.help = "a file with such keys, one a line; it is read again when it changes",
			.parse = qp_opt_string,
			.value = &o->client_pubkeys_file},
		{.name = "psk",
			.arg = "TEXT",
			.secret = true,
			.help = "the pre-shared key",
			.parse = parse_secret_text,
			.given = &given->psk,
			.value = &o->psk},
		QP_OPT_GROUP("Forwarded ports:"),
		{.name = "port-range",
			.arg = "FIRST-LAST",
			.fallback = "32768-65535",
			.help = "a client that asks for port 0 gets one of these",
			.parse = parse_port_range,
			.value = &o->any_port},
		{.name = "reserved-ports",
			.arg = "PORTS",
			.help = "no client may open these: 22/tcp,1-1023,5353/udp",
			.parse = parse_reserved,
			.value = &o->reserved_ports},
		{.name = "lease-time",
			.arg = "SECONDS",
			.fallback = "604800",
			.max = 315360000,
			.help = "a client that asks for port 0 again so long after it left gets the "
				"port that it had; 0: it gets any",
			.parse = qp_opt_u32,
			.value = &o->lease_time_s},
		{.name = "port-takeover",
			.arg = "WHEN",
			.fallback = "auto",
			.help = "a client's new tunnel gets a port that an old one still holds: auto "
				"(clients with a key or a PSK of their own), always, never",
			.parse = qp_opt_choice,
			.choices = takeover_choices,
			.value = &o->port_takeover},
		QP_OPT_GROUP("What is kept:"),
		{.name = "state-dir",
			.arg = "DIR",
			.fallback = "/var/lib/quicport",
			.help = "holds the database of port leases and of what the API wrote",
			.parse = qp_opt_string,
			.value = &o->state_dir},
		{.name = "audit-log",
			.arg = "FILE",
			.help = "who opened what, when, from where, and why it ended: a JSON object a "
				"line; SIGUSR1 opens it anew",
			.parse = qp_opt_string,
			.value = &o->audit_log},
		{.name = "audit-connections",
			.help = "a row for each outside connection, too",
			.parse = qp_opt_flag,
			.value = &o->audit_conns},
		QP_OPT_GROUP("Local forwards (client -L, -R, ssh-proxy; default: none is allowed):"),
		{.name = "allow-local-forward",
			.arg = "CIDR[:PORTS]",
			.repeat = true,
			.help = "clients may connect to these addresses from here, to all ports or "
				"to PORTS (80,443,8000-8099); IPv6 with ports in brackets: "
				"[fd00::]/8:443",
			.parse = parse_allow,
			.value = &o->allow},
		{.name = "allow-local-forward-any",
			.help = "clients may connect to whatever this host reaches, itself included",
			.parse = qp_opt_flag,
			.value = &o->allow.any},
		{.name = "local-forward-ports",
			.arg = "N",
			.fallback = "1024",
			.min = 16,
			.max = 16384,
			.help = "local ports that each worker reserves for such connections, once one "
				"is asked for: so many lead to one destination at a time",
			.parse = qp_opt_u32,
			.value = &o->local_forward_ports},
		QP_OPT_GROUP("QUIC:"),
		{.name = "quic-keep-alive",
			.arg = "SECONDS",
			.fallback = "5",
			.max = 3600,
			.help = "ping a client after so much silence; 0: never",
			.parse = qp_opt_u32,
			.value = &o->keep_alive_s},
		{.name = "quic-idle-timeout",
			.arg = "SECONDS",
			.fallback = "90",
			.min = 1,
			.max = 86400,
			.help = "a client is gone after so much silence",
			.parse = qp_opt_u32,
			.value = &o->idle_timeout_s},
		QP_OPT_GROUP("TCP of the forwarded ports:"),
		{.name = "tcp-congestion",
			.arg = "NAME",
			.fallback = "cubic",
			.help = "congestion control: cubic, or bbr for lossy paths",
			.parse = qp_opt_choice,
			.choices = congestion_choices,
			.value = &o->tcp_congestion},
		{.name = "tcp-pacing",
			.help = "spread what is sent over the round trip with cubic too",
			.parse = qp_opt_flag,
			.value = &o->tcp_pacing},
		{.name = "tcp-ecn",
			.arg = "MODE",
			.fallback = "accept",
			.help = "explicit congestion notification: off, accept (when the other end "
				"asks) or ask",
			.parse = qp_opt_choice,
			.choices = ecn_choices,
			.value = &o->tcp_ecn},
		{.name = "tcp-fast-open",
			.help = "take data in a SYN from those who have been here (RFC 7413)",
			.parse = qp_opt_flag,
			.value = &o->tcp_fast_open},
		{.name = "tcp-buffer",
			.arg = "KIB",
			.fallback = "4096",
			.min = 16,
			.max = 65536,
			.help = "receive and send buffer of a connection at most, each",
			.parse = qp_opt_u32,
			.value = &o->tcp_buffer_kib},
		{.name = "tcp-max-connections",
			.arg = "N",
			.fallback = "65536",
			.min = 16,
			.max = 16777216,
			.help = "connections of a worker in any state",
			.parse = qp_opt_u32,
			.value = &o->tcp_max_conns},
		{.name = "tcp-keepalive",
			.arg = "SECONDS",
			.fallback = "600",
			.max = 86400,
			.help = "probe a connection after so much silence; 0: never",
			.parse = qp_opt_u32,
			.value = &o->tcp_keepalive_s},
		{.name = "tcp-user-timeout",
			.arg = "SECONDS",
			.fallback = "0",
			.max = 86400,
			.help = "end a connection whose data is not acknowledged for so long; 0: "
				"after 5 minutes",
			.parse = qp_opt_u32,
			.value = &o->tcp_user_timeout_s},
		{.name = "tcp-zero-window-timeout",
			.arg = "SECONDS",
			.fallback = "1800",
			.max = 86400,
			.help = "end a connection whose other end takes nothing for so long; 0: never",
			.parse = qp_opt_u32,
			.value = &o->tcp_zero_window_s},
		{.name = "tcp-max-per-source",
			.arg = "N",
			.fallback = "0",
			.help = "connections of one IPv4 address or IPv6 /64; 0: no limit",
			.parse = qp_opt_u32,
			.value = &o->tcp_max_per_source},
		QP_OPT_GROUP("UDP of the forwarded ports:"),
		{.name = "udp-idle-timeout",
			.arg = "SECONDS",
			.fallback = "60",
			.min = 1,
			.max = 86400,
			.help = "forget a source address and port after so much silence",
			.parse = qp_opt_u32,
			.value = &o->udp_idle_timeout_s},
		{.name = "udp-max-flows",
			.arg = "N",
			.fallback = "65536",
			.min = 1,
			.max = 1048576,
			.help = "source addresses and ports at once, in all (an equal share for each "
				"worker)",
			.parse = qp_opt_u32,
			.value = &o->udp_max_flows},
		{.name = "udp-max-flows-per-tunnel",
			.arg = "N",
			.fallback = "8192",
			.min = 1,
			.max = 1048576,
			.help = "the same for one tunnel",
			.parse = qp_opt_u32,
			.value = &o->udp_max_flows_per_tunnel},
		QP_OPT_GROUP("Data plane:"),
		{.name = "no-auto-dataplane",
			.help = "start no data plane, wait for one that is started by hand",
			.parse = qp_opt_flag,
			.value = &o->no_auto_dataplane},
		{.name = "workers",
			.arg = "N",
			.fallback = "1",
			.min = 1,
			.max = QP_MAX_WORKERS,
			.help = "CPU cores that carry traffic",
			.parse = qp_opt_u32,
			.given = &o->nic.workers_given,
			.value = &o->workers},
		QP_OPT_LCORES(&o->nic),
		{.name = "drain-timeout",
			.arg = "SECONDS",
			.fallback = "0",
			.max = 604800,
			.help = "end the tunnels of a draining data plane after so long; 0: never",
			.parse = qp_opt_u32,
			.value = &o->drain_timeout_s},
		{.name = "drain-grace",
			.arg = "SECONDS",
			.fallback = "30",
			.max = 86400,
			.help = "after that, what still carries traffic has so long; the rest goes "
				"at once",
			.parse = qp_opt_u32,
			.value = &o->drain_grace_s},
		{.name = "orphan-timeout",
			.arg = "SECONDS",
			.fallback = "60",
			.min = 1,
			.max = 86400,
			.help = "a data plane without tunnels ends when no control plane has come "
				"back for so long",
			.parse = qp_opt_u32,
			.value = &o->orphan_timeout_s},
		{.name = "hang-timeout",
			.arg = "MS",
			.fallback = "800",
			.max = 600000,
			.help = "a data plane that could run and gives no sign of life for so long is "
				"killed and replaced, 400 at least; 0: never (for debuggers)",
			.parse = parse_hang_timeout,
			.value = &o->hang_timeout_ms},
		{.name = "busy-poll",
			.help = "workers never sleep: lowest delay, a whole core each",
			.parse = qp_opt_flag,
			.value = &o->busy_poll},
		{.name = "memory",
			.arg = "MIB",
			.fallback = "0",
			.max = 1048576,
			.help = "hugepage memory of this gateway; 0: room for four generations of "
				"data planes",
			.parse = qp_opt_u32,
			.value = &o->memory_mib},
		{.name = "data-plane-heap",
			.arg = "MIB",
			.fallback = "0",
			.max = 1048576,
			.help = "what a data plane may have from malloc (tunnels' QUIC and TLS "
				"state, connections): new tunnels are refused at seven eighths of "
				"it, new connections at all of it; 0: no limit",
			.parse = qp_opt_u32,
			.value = &o->data_plane_heap_mib},
		{.name = "control-plane-heap",
			.arg = "MIB",
			.fallback = "0",
			.max = 1048576,
			.help = "the same of the control plane: event streams are refused at seven "
				"eighths of it, new tunnels and calls of the API at all of it; 0: "
				"no limit",
			.parse = qp_opt_u32,
			.value = &o->control_plane_heap_mib},
		{.name = "port-owner-socket",
			.arg = "PATH",
			.help = "ask the port owner that a service manager starts at this socket, "
				"instead of starting one",
			.parse = qp_opt_string,
			.value = &o->port_owner_socket},
		QP_OPT_GROUP("Prompt (in testpmd's manner, see docs/prompt.md):"),
		{.name = "interactive",
			.letter = 'i',
			.not_in_file = true,
			.help = "the terminal is the data plane's prompt; packets wait for its start",
			.parse = qp_opt_flag,
			.value = &o->console.interactive},
		{.name = "auto-start",
			.not_in_file = true,
			.help = "with -i: packets are served at once",
			.parse = qp_opt_flag,
			.value = &o->console.auto_start},
		{.name = "cmdline-file",
			.arg = "FILE",
			.not_in_file = true,
			.help = "commands for the prompt, done first",
			.parse = qp_opt_string,
			.value = &o->console.file},
		{.name = "stats-period",
			.arg = "SECONDS",
			.not_in_file = true,
			.fallback = "0",
			.max = QP_PROMPT_MAX_PERIOD,
			.help = "without -i: show the ports' statistics so often",
			.parse = qp_opt_u32,
			.value = &o->console.stats_period_s},
		{.name = "prompt",
			.arg = "TEXT",
			.not_in_file = true,
			.fallback = QP_PROMPT_SIGN,
			.help = "what asks for a command; testpmd's is \"testpmd> \"",
			.parse = qp_opt_string,
			.value = &o->console.sign},
		QP_OPT_LOG(&o->log),
		{0},
	};

	_Static_assert(sizeof(opts) <= QP_OPTIONS_MAX * sizeof(opts[0]), "room for all of them");
	memcpy(out, opts, sizeof(opts));
}
