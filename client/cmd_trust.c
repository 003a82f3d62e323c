/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `quicport trust HOST:PORT`: the fingerprint, and into known_hosts with it.
 * Main thread.
 */
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "client/commands.h"
#include "client/options.h"

struct wish {
	bool yes;
	const char *fingerprint; /* the one that it must be; NULL: any */
	bool known, refused, wrong;
};

static void
show(const struct qp_certificate *cert)
{
	printf("%s\n"
	       "  SHA-256  %s\n"
	       "  subject  %s\n"
	       "  issuer   %s\n"
	       "  valid    %s to %s\n",
		cert->host, cert->fingerprint, cert->subject, cert->issuer, cert->not_before,
		cert->not_after);
	fflush(stdout);
}

static enum qp_trust
decide(void *user, const struct qp_certificate *cert)
{
	struct wish *w = user;

	show(cert);
	w->known = cert->recorded != NULL && strcmp(cert->recorded, cert->fingerprint) == 0;
	if (w->known)
		return QP_TRUST_ONCE;
	if (w->fingerprint != NULL && strcasecmp(w->fingerprint, cert->fingerprint) != 0) {
		w->wrong = true;
		return QP_TRUST_NO;
	}
	w->refused = !w->yes && w->fingerprint == NULL && !qpc_ask_trust(cert, -1);
	return w->refused ? QP_TRUST_NO : QP_TRUST_RECORD;
}

static int
explain(const struct wish *w, int err, const struct qp_error *error)
{
	if (err == QP_OK) {
		printf(w->known ? "It is known already.\n" : "Recorded.\n");
		return QPC_EXIT_OK;
	}
	if (w->wrong)
		fprintf(stderr, "quicport trust: the fingerprint is not %s: nothing is recorded\n",
			w->fingerprint);
	else if (w->refused)
		fprintf(stderr, "quicport trust: nothing is recorded; --yes, or --fingerprint with the "
				"right one, records it without a question\n");
	else
		fprintf(stderr, "quicport trust: %s\n", error->text);
	return err == QP_E_AUTH ? QPC_EXIT_AUTH : err == QP_E_INVAL ? QPC_EXIT_USAGE : QPC_EXIT_FAILED;
}

int
qpc_command_trust(int argc, char **argv)
{
	struct qp_opt_strings server = {0};
	struct wish w = {0};
	const struct qp_opt opts[] = {
		{.name = "yes", .letter = 'y', .env = "", .help = "record it without a question",
			.parse = qp_opt_flag, .value = &w.yes},
		{.name = "fingerprint", .arg = "HEX", .env = "",
			.help = "record it if this is its fingerprint, and nothing else",
			.parse = qp_opt_string, .value = &w.fingerprint},
		{0},
	};
	const struct qp_opt_command cmd = {
		.name = "quicport trust",
		.summary = "Shows a gateway's certificate and, after a question, records it in "
			   "~/.local/share/quicport/known_hosts. Nothing is sent but a handshake.",
		.args = "HOST:PORT",
		.epilogue =
			"Compare the fingerprint with what the gateway's operator tells you.\n"
			"Exit status: 0 when it is recorded or known; 1 without a connection; 3 when it\n"
			"is not recorded.\n",
		.opts = opts,
		.positional = &server,
	};
	struct qp_client_options o = QP_CLIENT_OPTIONS;
	struct qp_error error = {0};
	int err;

	qp_opt_parse_or_exit(&cmd, argc, argv);
	if (server.n != 1) {
		fprintf(stderr, "quicport trust: which gateway? Give one HOST:PORT\n");
		return QPC_EXIT_USAGE;
	}
	o.server = server.v[0];
	err = qp_inspect(&o, decide, &w, &error);
	return explain(&w, err, &error);
}
