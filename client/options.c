/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the client commands are asked to do: options, variables, and which of
 * them go together. Main thread, before anything is opened.
 */
#include "client/options.h"

#include <stdio.h>
#include <string.h>

#include "common/addr.h"

#define EPILOGUE                                                                                   \
	"The server's certificate is checked against a list of those that were\n"                  \
	"trusted before, ~/.local/share/quicport/known_hosts. An unknown one is\n"                 \
	"shown and asked about on a terminal, and refused without a terminal;\n"                   \
	"`quicport trust HOST:PORT` records it.\n"                                                 \
	"\n"                                                                                       \
	"SIGHUP reads --config again: forwards that are the same keep running.\n"                  \
	"\n"                                                                                       \
	"Exit status:\n"                                                                           \
	"  0  stopped by SIGINT or SIGTERM\n"                                                      \
	"  1  the connection failed or was lost\n"                                                 \
	"  2  bad usage\n"                                                                         \
	"  3  server not trusted, or authentication failed\n"                                      \
	"  4  the server did not open the port\n"                                                  \
	"\n"                                                                                       \
	"Example: port 9022 of the gateway leads to this machine's SSH server:\n"                  \
	"  quicport client -s gateway.example:39000 -r 9022 -l 22 \\\n"                            \
	"    --privkey-file client.key --server-pubkey-file gateway.pub\n"

#define SSH_EPILOGUE                                                                               \
	"Exit status: 0 when the connection has ended in peace, 255 otherwise.\n"                  \
	"\n"                                                                                       \
	"Example, SSH to a host that the gateway reaches:\n"                                       \
	"  ssh -o ProxyCommand='quicport ssh-proxy -s gateway.example:39000 \\\n"                  \
	"    --psk SECRET -R %h:%p' user@inside\n"

/* With its NUL: the library reads texts. */
static int
keep_secret(struct qp_secret **out, const char *text, struct qp_errmsg *msg)
{
	qp_secret_free(*out);
	*out = qp_secret_new(text, strlen(text) + 1);
	return *out != NULL ? QP_OK : qp_fail(msg, QP_E_NOMEM, "memory for it");
}

static int
parse_private_key(const struct qp_opt *opt, const char *text, struct qp_errmsg *msg)
{
	struct qp_secret *key;

	if (qp_private_key_from_text(text, "", &key, NULL) != QP_OK)
		return qp_fail(msg, QP_E_INVAL,
			"a private key of 44 Base64 characters, as `quicport keygen` prints it");
	qp_secret_free(key);
	return keep_secret(opt->value, text, msg);
}

static int
parse_public_key(const struct qp_opt *opt, const char *text, struct qp_errmsg *msg)
{
	uint8_t key[QP_KEY_BYTES];

	if (qp_public_key_from_text(text, "", key, NULL) != QP_OK)
		return qp_fail(msg, QP_E_INVAL,
			"a public key of 44 Base64 characters, as `quicport pubkey` prints it");
	return qp_opt_string(opt, text, msg);
}

static int
parse_psk(const struct qp_opt *opt, const char *text, struct qp_errmsg *msg)
{
	struct qp_secret *psk;

	if (qp_psk_from_text(text, "", &psk, NULL) != QP_OK)
		return qp_fail(msg, QP_E_INVAL, "UTF-8 text that is not empty");
	qp_secret_free(psk);
	return keep_secret(opt->value, text, msg);
}

/* As the library will read it, so that a mistake is told with the option's name. */
static int
parse_server(const struct qp_opt *opt, const char *text, struct qp_errmsg *msg)
{
	struct qp_target t;
	struct qp_opt same = *opt;
	int err;

	same.value = &t;
	err = qp_opt_server(&same, text, msg);
	return err == QP_OK ? qp_opt_string(opt, text, msg) : err;
}

static int
parse_side(const struct qp_opt *opt, const char *text, unsigned flags, const char *form,
	struct qp_errmsg *msg)
{
	struct qp_target t;

	if (qp_target_parse(text, flags, &t, NULL) != QP_OK)
		return qp_fail(msg, QP_E_INVAL, "%s", form);
	return qp_opt_strings(opt, text, msg);
}

static int
parse_remote_source(const struct qp_opt *opt, const char *text, struct qp_errmsg *msg)
{
	return parse_side(opt, text, QP_ADDR_PROTO | QP_ADDR_PORT_0,
		"PORT, PORT/tcp or PORT/udp, from 1 to 65535, or 0 for any free port", msg);
}

static int
parse_local_source(const struct qp_opt *opt, const char *text, struct qp_errmsg *msg)
{
	return parse_side(opt, text, QP_ADDR_HOST | QP_ADDR_PROTO | QP_ADDR_PORT_0,
		"[ADDR:]PORT, with /tcp or /udp at its end if you like", msg);
}

static int
parse_destination(const struct qp_opt *opt, const char *text, struct qp_errmsg *msg)
{
	return parse_side(opt, text, QP_ADDR_HOST | QP_ADDR_PROTO,
		"[ADDR:]PORT, with /tcp or /udp at its end if you like, the port from 1 to 65535", msg);
}

#define OPT_SERVER(o)                                                                              \
	{.name = "server", .letter = 's', .arg = "HOST:PORT", .help = "the gateway",               \
		.parse = parse_server, .value = &(o)->peer.server, .given = &(o)->given.server}

#define OPT_PEER(o)                                                                                \
	QP_OPT_GROUP("Authentication, by X25519 keys or by a pre-shared key:"),                    \
	{.name = "privkey", .arg = "KEY", .help = "this client's private key, in Base64",          \
		.secret = true, .parse = parse_private_key, .value = &(o)->privkey,                \
		.given = &(o)->given.privkey},                                                     \
	{.name = "privkey-file", .arg = "FILE", .help = "a file with it",                          \
		.parse = qp_opt_string, .value = &(o)->peer.privkey_file,                          \
		.given = &(o)->given.privkey_file},                                                \
	{.name = "server-pubkey", .arg = "KEY",                                                    \
		.help = "the public key that the gateway must prove to own",                       \
		.parse = parse_public_key, .value = &(o)->peer.server_pubkey,                      \
		.given = &(o)->given.server_pubkey},                                               \
	{.name = "server-pubkey-file", .arg = "FILE", .help = "a file with it",                    \
		.parse = qp_opt_string, .value = &(o)->peer.server_pubkey_file,                    \
		.given = &(o)->given.server_pubkey_file},                                          \
	{.name = "psk", .arg = "TEXT", .help = "the pre-shared key, as the gateway has it",        \
		.secret = true, .parse = parse_psk, .value = &(o)->psk, .given = &(o)->given.psk}, \
	{.name = "insecure", .help = "do not check the server's certificate",                      \
		.parse = qp_opt_flag, .value = &(o)->set.insecure, .given = &(o)->given.insecure}

#define OPT_QUIC(o)                                                                                \
	QP_OPT_GROUP("QUIC:"),                                                                     \
	{.name = "quic-keep-alive", .arg = "SECONDS", .fallback = "5", .max = 3600,                \
		.help = "ping the gateway after so much silence; 0: never",                        \
		.parse = qp_opt_u32, .value = &(o)->set.keep_alive_s,                              \
		.given = &(o)->given.keep_alive},                                                  \
	{.name = "quic-idle-timeout", .arg = "SECONDS", .fallback = "90", .min = 1,                \
		.max = 86400, .help = "the gateway is gone after so much silence",                 \
		.parse = qp_opt_u32, .value = &(o)->set.idle_timeout_s,                            \
		.given = &(o)->given.idle_timeout}

static int
parse_words(struct qpc_options *o, int argc, char **argv, struct qp_errmsg *msg)
{
	const struct qp_opt opts[] = {
		QP_OPT_GROUP("Gateway:"),
		OPT_SERVER(o),
		QP_OPT_GROUP("Remote forwards, each a pair of -r and -l:"),
		{.name = "remote-source", .letter = 'r', .arg = "PORT[/PROTO]", .repeat = true,
			.help = "the port that the gateway opens for outside clients; PROTO is tcp, "
				"unless it is said to be udp",
			.parse = parse_remote_source, .value = &o->remote_source},
		{.name = "local-destination", .letter = 'l', .arg = "[ADDR:]PORT[/PROTO]",
			.repeat = true,
			.help = "the service that they reach; ADDR is 127.0.0.1 when left out",
			.parse = parse_destination, .value = &o->local_destination},
		QP_OPT_GROUP("Local forwards, each a pair of -L and -R:"),
		{.name = "local-source", .letter = 'L', .arg = "[ADDR:]PORT[/PROTO]",
			.repeat = true,
			.help = "where this side listens; ADDR is 127.0.0.1 when left out",
			.parse = parse_local_source, .value = &o->local_source},
		{.name = "remote-destination", .letter = 'R', .arg = "[ADDR:]PORT[/PROTO]",
			.repeat = true,
			.help = "what the gateway connects to for it; ADDR is the gateway itself when "
				"left out",
			.parse = parse_destination, .value = &o->remote_destination},
		{.name = "udp-idle-timeout", .arg = "SECONDS", .fallback = "60", .max = 86400,
			.help = "UDP: a sender is forgotten after so much silence; 0: never",
			.parse = qp_opt_u32, .value = &o->set.udp_idle_timeout_s,
			.given = &o->given.udp_idle_timeout},
		{.name = "config", .arg = "FILE",
			.help = "more forwards, and all other options, from a YAML file",
			.parse = qp_opt_string, .value = &o->config},
		OPT_PEER(o),
		QP_OPT_GROUP("When the connection is lost or cannot be made:"),
		{.name = "reconnect", .arg = "BOOL", .fallback = "yes", .help = "try again",
			.parse = qp_opt_flag, .value = &o->set.reconnect,
			.given = &o->given.reconnect},
		{.name = "reconnect-max-attempts", .arg = "N", .fallback = "0",
			.help = "so often in a row at most; 0: no limit", .parse = qp_opt_u32,
			.value = &o->set.reconnect_max_attempts,
			.given = &o->given.reconnect_max_attempts},
		{.name = "reconnect-delay", .arg = "SECONDS", .fallback = "1", .min = 1, .max = 60,
			.help = "wait before the first try; each waits twice as long as the one before, "
				"60 s at most",
			.parse = qp_opt_u32, .value = &o->set.reconnect_delay_s,
			.given = &o->given.reconnect_delay},
		OPT_QUIC(o),
		QP_OPT_GROUP("Memory:"),
		{.name = "memory-budget", .arg = "MIB", .fallback = "0", .max = 1048576,
			.help = "what this process may have from malloc: new connections are refused "
				"when seven eighths of it are in use; 0: no limit",
			.parse = qp_opt_u32, .value = &o->set.memory_budget_mib,
			.given = &o->given.memory_budget},
		QP_OPT_LOG(&o->log),
		{.name = "status-line", .arg = "BOOL", .fallback = "yes",
			.help = "on a terminal, a line that tells how things are",
			.parse = qp_opt_flag, .value = &o->status_line},
		{0},
	};
	const struct qp_opt_command cmd = {
		.name = "quicport client",
		.summary = "Makes services on this side of a NAT or firewall reachable at ports of a "
			   "gateway, and services that the gateway reaches reachable here. Runs until "
			   "it is stopped.",
		.epilogue = EPILOGUE,
		.opts = opts,
	};

	return qp_opt_parse(&cmd, argc, argv, msg);
}

static int
parse_ssh_words(struct qpc_options *o, int argc, char **argv, struct qp_errmsg *msg)
{
	const struct qp_opt opts[] = {
		QP_OPT_GROUP("Connection:"),
		OPT_SERVER(o),
		{.name = "remote-destination", .letter = 'R', .arg = "[ADDR:]PORT",
			.help = "what the gateway connects to; ADDR is the gateway itself when left out",
			.parse = parse_destination, .value = &o->remote_destination},
		OPT_PEER(o),
		OPT_QUIC(o),
		QP_OPT_LOG(&o->log),
		{0},
	};
	const struct qp_opt_command cmd = {
		.name = "quicport ssh-proxy",
		.summary = "Carries standard input and output to a host that a gateway reaches: "
			   "an OpenSSH ProxyCommand. The log goes to standard error.",
		.epilogue = SSH_EPILOGUE,
		.opts = opts,
	};

	return qp_opt_parse(&cmd, argc, argv, msg);
}

/* Forwards. */

static int
add_pairs(struct qpc_specs *specs, enum qp_forward_kind kind, const struct qp_opt_strings *remote,
	const char *remote_name, const struct qp_opt_strings *local, const char *local_name,
	struct qp_errmsg *msg)
{
	if (remote->n != local->n)
		return qp_fail(msg, QP_E_INVAL, "%u %s and %u %s: each forward is a pair of them",
			remote->n, remote_name, local->n, local_name);
	for (unsigned i = 0; i < remote->n; i++)
		specs->v[specs->n++] = (struct qpc_spec) {
			.kind = kind, .remote = remote->v[i], .local = local->v[i]};
	return QP_OK;
}

static int
make_specs(struct qpc_options *o, struct qp_errmsg *msg)
{
	int err;

	_Static_assert(2 * QP_OPT_MAX_STRINGS <= QPC_MAX_FORWARDS, "a command line's forwards fit");
	/* Those that lack one side altogether get a question, not a count. */
	if (o->remote_source.n > 0 && o->local_destination.n == 0)
		return qp_fail(msg, QP_E_INVAL,
			"which service should the gateway's port lead to? Give -l [ADDR:]PORT "
			"(--local-destination, QUICPORT_LOCAL_DESTINATION)");
	if (o->local_destination.n > 0 && o->remote_source.n == 0)
		return qp_fail(msg, QP_E_INVAL,
			"which port should the gateway open? Give -r PORT (--remote-source, "
			"QUICPORT_REMOTE_SOURCE)");
	err = add_pairs(&o->specs, QP_FORWARD_REMOTE, &o->remote_source, "-r", &o->local_destination,
		"-l", msg);
	if (err == QP_OK)
		err = add_pairs(&o->specs, QP_FORWARD_LOCAL, &o->remote_destination, "-R",
			&o->local_source, "-L", msg);
	if (err == QP_OK && o->specs.n == 0 && o->config == NULL)
		return qp_fail(msg, QP_E_INVAL,
			"no forward: give -r PORT and -l [ADDR:]PORT, or -L and -R, or --config FILE");
	return err;
}

/* Authentication. */

static int
only_one(bool a, const char *a_name, bool b, const char *b_name, struct qp_errmsg *msg)
{
	if (!a || !b)
		return QP_OK;
	return qp_fail(msg, QP_E_INVAL, "--%s and --%s (or their variables): give one of them",
		a_name, b_name);
}

static int
check_identity(const struct qpc_peer *p, const char *of, struct qp_errmsg *msg)
{
	bool key = p->privkey != NULL || p->privkey_file != NULL;
	bool server = p->server_pubkey != NULL || p->server_pubkey_file != NULL;
	const char *key_name = p->privkey != NULL ? "privkey" : "privkey-file";
	int err = only_one(p->privkey != NULL, "privkey", p->privkey_file != NULL, "privkey-file", msg);

	if (err == QP_OK)
		err = only_one(p->server_pubkey != NULL, "server-pubkey",
			p->server_pubkey_file != NULL, "server-pubkey-file", msg);
	if (err == QP_OK)
		err = only_one(p->psk != NULL, "psk", key, key_name, msg);
	if (err != QP_OK)
		return err;
	if (!key && p->psk == NULL)
		return qp_fail(msg, QP_E_INVAL,
			"no key to authenticate %swith: give --privkey-file and --server-pubkey, or --psk "
			"(QUICPORT_PRIVKEY_FILE …; `quicport keygen` makes a key)", of);
	if (key && !server)
		return qp_fail(msg, QP_E_INVAL,
			"--%s needs the gateway's public key: give --server-pubkey or "
			"--server-pubkey-file", key_name);
	return QP_OK;
}

int
qpc_peer_check(const struct qpc_peer *p, const char *of, struct qp_errmsg *msg)
{
	if (p->server == NULL)
		return qp_fail(msg, QP_E_INVAL,
			"which gateway%s%s? Give -s HOST:PORT (--server, QUICPORT_SERVER)",
			of[0] != '\0' ? " for " : "", of);
	return check_identity(p, of, msg);
}

void
qpc_peer_inherit(struct qpc_peer *p, const struct qpc_peer *from)
{
	const char *server = p->server != NULL ? p->server : from->server;

	if (p->psk == NULL && p->privkey == NULL && p->privkey_file == NULL)
		*p = *from;
	p->server = server;
}

/* What both commands do with what they were given. */
static int
finish(struct qpc_options *o, struct qp_errmsg *msg)
{
	int err;

	o->peer.privkey = o->privkey != NULL ? (const char *)o->privkey->bytes : NULL;
	o->peer.psk = o->psk != NULL ? (const char *)o->psk->bytes : NULL;
	if (o->config != NULL)
		return QP_OK; /* the file may say the rest */
	err = qpc_peer_check(&o->peer, "", msg);
	for (size_t i = 0; i < o->specs.n; i++)
		qpc_peer_inherit(&o->specs.v[i].peer, &o->peer);
	return err;
}

int
qpc_options_parse(struct qpc_options *o, int argc, char **argv, struct qp_errmsg *msg)
{
	int err;

	*o = (struct qpc_options) {.log = QP_LOG_CONFIG_DEFAULT("client")};
	err = parse_words(o, argc, argv, msg);
	if (err == QP_OK)
		err = make_specs(o, msg);
	return err == QP_OK ? finish(o, msg) : err;
}

int
qpc_options_parse_ssh(struct qpc_options *o, int argc, char **argv, struct qp_errmsg *msg)
{
	int err;

	*o = (struct qpc_options) {.log = QP_LOG_CONFIG_DEFAULT("ssh-proxy")};
	err = parse_ssh_words(o, argc, argv, msg);
	if (err == QP_OK && o->remote_destination.n != 1)
		err = qp_fail(msg, QP_E_INVAL,
			"where to? Give one -R [ADDR:]PORT (--remote-destination, "
			"QUICPORT_REMOTE_DESTINATION)");
	if (err != QP_OK)
		return err;
	o->specs.v[o->specs.n++] = (struct qpc_spec) {
		.kind = QP_FORWARD_STDIO, .remote = o->remote_destination.v[0], .name = "ssh-proxy"};
	return finish(o, msg);
}

void
qpc_options_clear(struct qpc_options *o)
{
	qp_secret_free(o->privkey);
	qp_secret_free(o->psk);
	o->privkey = o->psk = NULL;
}
