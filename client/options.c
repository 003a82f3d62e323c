/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What `quicport client` is asked to do: options, variables, key files, and
 * which of them go together. Main thread, before anything is opened.
 */
#include "client/options.h"

#include <stdio.h>
#include <string.h>

#include "common/opt.h"

#define EPILOGUE                                                                                   \
	"The server's certificate is checked against a list of those that were\n"                  \
	"trusted before, ~/.local/share/quicport/known_hosts. An unknown one is\n"                 \
	"shown and asked about on a terminal, and refused without a terminal.\n"                   \
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

struct given {
	bool server, remote, local, privkey, server_pubkey, psk;
};

/* With its NUL: the library reads texts. */
static int
keep_secret(const struct qp_opt *opt, const char *text, struct qp_errmsg *msg)
{
	struct qp_secret **out = opt->value;

	qp_secret_free(*out);
	*out = qp_secret_new(text, strlen(text) + 1);
	return *out != NULL ? QP_OK : qp_fail(msg, QP_E_NOMEM, "memory for it");
}

static int
parse_private_key(const struct qp_opt *opt, const char *text, struct qp_errmsg *msg)
{
	struct qp_secret *key;

	if (qp_private_key_from_text(text, "", &key, NULL) == QP_OK) {
		qp_secret_free(key);
		return keep_secret(opt, text, msg);
	}
	return qp_fail(msg, QP_E_INVAL,
		"a private key of 44 Base64 characters, as `quicport keygen` prints it");
}

static int
parse_public_key(const struct qp_opt *opt, const char *text, struct qp_errmsg *msg)
{
	uint8_t key[QP_KEY_BYTES];

	if (qp_public_key_from_text(text, "", key, NULL) == QP_OK)
		return qp_opt_string(opt, text, msg);
	return qp_fail(msg, QP_E_INVAL,
		"a public key of 44 Base64 characters, as `quicport pubkey` prints it");
}

static int
parse_psk(const struct qp_opt *opt, const char *text, struct qp_errmsg *msg)
{
	struct qp_secret *psk;

	if (qp_psk_from_text(text, "", &psk, NULL) == QP_OK) {
		qp_secret_free(psk);
		return keep_secret(opt, text, msg);
	}
	return qp_fail(msg, QP_E_INVAL, "UTF-8 text that is not empty");
}

static int
parse_words(struct qpc_options *o, struct given *g, int argc, char **argv, struct qp_errmsg *msg)
{
	const struct qp_opt opts[] = {
		QP_OPT_GROUP("Forward:"),
		{.name = "server", .letter = 's', .arg = "HOST:PORT", .help = "the gateway",
			.parse = qp_opt_server, .value = &o->server, .given = &g->server},
		{.name = "remote-source", .letter = 'r', .arg = "PORT[/tcp]",
			.help = "the port that the gateway opens for outside clients",
			.parse = qp_opt_port, .value = &o->remote, .given = &g->remote},
		{.name = "local-destination", .letter = 'l', .arg = "[ADDR:]PORT[/tcp]",
			.help = "the service that they reach; ADDR is 127.0.0.1 when left out",
			.parse = qp_opt_target, .value = &o->local, .given = &g->local},
		QP_OPT_GROUP("Authentication, by X25519 keys or by a pre-shared key:"),
		{.name = "privkey", .arg = "KEY", .help = "this client's private key, in Base64",
			.secret = true, .parse = parse_private_key, .value = &o->privkey,
			.given = &g->privkey},
		{.name = "privkey-file", .arg = "FILE", .help = "a file with it",
			.parse = qp_opt_string, .value = &o->privkey_file},
		{.name = "server-pubkey", .arg = "KEY",
			.help = "the public key that the gateway must prove to own",
			.parse = parse_public_key, .value = &o->server_pubkey,
			.given = &g->server_pubkey},
		{.name = "server-pubkey-file", .arg = "FILE", .help = "a file with it",
			.parse = qp_opt_string, .value = &o->server_pubkey_file},
		{.name = "psk", .arg = "TEXT", .help = "the pre-shared key, as the gateway has it",
			.secret = true, .parse = parse_psk, .value = &o->psk, .given = &g->psk},
		{.name = "insecure", .help = "do not check the server's certificate",
			.parse = qp_opt_flag, .value = &o->insecure},
		QP_OPT_GROUP("When the connection is lost or cannot be made:"),
		{.name = "reconnect", .arg = "BOOL", .fallback = "yes", .help = "try again",
			.parse = qp_opt_flag, .value = &o->reconnect},
		{.name = "reconnect-max-attempts", .arg = "N", .fallback = "0",
			.help = "so often in a row at most; 0: no limit", .parse = qp_opt_u32,
			.value = &o->reconnect_max_attempts},
		{.name = "reconnect-delay", .arg = "SECONDS", .fallback = "1", .min = 1, .max = 60,
			.help = "wait before the first try; each waits twice as long as the one before, "
				"60 s at most",
			.parse = qp_opt_u32, .value = &o->reconnect_delay_s},
		QP_OPT_GROUP("QUIC:"),
		{.name = "quic-keep-alive", .arg = "SECONDS", .fallback = "5", .max = 3600,
			.help = "ping the gateway after so much silence; 0: never",
			.parse = qp_opt_u32, .value = &o->keep_alive_s},
		{.name = "quic-idle-timeout", .arg = "SECONDS", .fallback = "90", .min = 1,
			.max = 86400, .help = "the gateway is gone after so much silence",
			.parse = qp_opt_u32, .value = &o->idle_timeout_s},
		QP_OPT_LOG(&o->log),
		{0},
	};
	const struct qp_opt_command cmd = {
		.name = "quicport client",
		.summary = "Makes a service on this side of a NAT or firewall reachable at a port of a "
			   "gateway. Runs until it is stopped or the gateway is gone.",
		.epilogue = EPILOGUE,
		.opts = opts,
	};

	return qp_opt_parse(&cmd, argc, argv, msg);
}

static int
check_forward(const struct qpc_options *o, const struct given *g, struct qp_errmsg *msg)
{
	char text[QP_HOST_BYTES + 16];

	if (!g->server)
		return qp_fail(msg, QP_E_INVAL,
			"which gateway? Give -s HOST:PORT (--server, QUICPORT_SERVER)");
	if (!g->remote)
		return qp_fail(msg, QP_E_INVAL,
			"which port should the gateway open? Give -r PORT (--remote-source, "
			"QUICPORT_REMOTE_SOURCE)");
	if (!g->local)
		return qp_fail(msg, QP_E_INVAL,
			"which service should it lead to? Give -l [ADDR:]PORT (--local-destination, "
			"QUICPORT_LOCAL_DESTINATION)");
	if (o->remote.protocol != QP_WIRE_TCP || o->local.protocol != QP_WIRE_TCP) {
		bool remote = o->remote.protocol != QP_WIRE_TCP;

		qp_target_format(remote ? &o->remote : &o->local, true, text, sizeof(text));
		return qp_fail(msg, QP_E_INVAL,
			"%s %s: only TCP can be forwarded yet: leave out /udp, or write /tcp",
			remote ? "-r" : "-l", text);
	}
	return QP_OK;
}

static int
only_one(bool a, const char *a_name, bool b, const char *b_name, struct qp_errmsg *msg)
{
	if (!a || !b)
		return QP_OK;
	return qp_fail(msg, QP_E_INVAL, "--%s and --%s (or their variables): give one of them",
		a_name, b_name);
}

static int
check_authentication(const struct qpc_options *o, const struct given *g, struct qp_errmsg *msg)
{
	bool key = g->privkey || o->privkey_file != NULL;
	bool server = g->server_pubkey || o->server_pubkey_file != NULL;
	int err = only_one(g->privkey, "privkey", o->privkey_file != NULL, "privkey-file", msg);

	if (err == QP_OK)
		err = only_one(g->server_pubkey, "server-pubkey", o->server_pubkey_file != NULL,
			"server-pubkey-file", msg);
	if (err == QP_OK)
		err = only_one(g->psk, "psk", key, g->privkey ? "privkey" : "privkey-file", msg);
	if (err != QP_OK)
		return err;
	if (!key && !g->psk)
		return qp_fail(msg, QP_E_INVAL,
			"no key to authenticate with: give --privkey-file and --server-pubkey, or --psk "
			"(QUICPORT_PRIVKEY_FILE …; `quicport keygen` makes a key)");
	if (key && !server)
		return qp_fail(msg, QP_E_INVAL,
			"%s needs the gateway's public key: give --server-pubkey or "
			"--server-pubkey-file",
			g->privkey ? "--privkey" : "--privkey-file");
	return QP_OK;
}

int
qpc_options_parse(struct qpc_options *o, int argc, char **argv, struct qp_errmsg *msg)
{
	struct given g = {0};
	int err;

	*o = (struct qpc_options) {.log = QP_LOG_CONFIG_DEFAULT("client")};
	err = parse_words(o, &g, argc, argv, msg);
	if (err == QP_OK)
		err = check_forward(o, &g, msg);
	if (err == QP_OK)
		err = check_authentication(o, &g, msg);
	return err;
}

void
qpc_options_clear(struct qpc_options *o)
{
	qp_secret_free(o->privkey);
	qp_secret_free(o->psk);
	o->privkey = o->psk = NULL;
}
