/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `quicport admin`: asks a gateway's private API. A program of its own, which
 * `quicport` becomes: libcurl and the TLS library that it brings are no load of
 * the clients that run all day. Main thread.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "admin/commands.h"
#include "admin/show.h"
#include "common/keys.h"
#include "common/opt.h"

static const struct qpa_command live[] = {
	{"events", "what happens, as it happens", qpa_events_run, NULL},
	{"top", "a live screen of the tunnels", qpa_top_run, NULL},
	{0},
};

static const struct qpa_command *const groups[] = {qpa_lists, qpa_actions, live};
#define NGROUPS (sizeof(groups) / sizeof(groups[0]))

const char *
qpa_full_name(const struct qpa_command *c, char out[QPA_NAME_BYTES])
{
	snprintf(out, QPA_NAME_BYTES, "quicport admin %s", c->name);
	return out;
}

int
qpa_complain(const struct qpa_command *c, int err, const struct qp_errmsg *msg)
{
	(void)fflush(stdout);
	fprintf(stderr, "quicport admin %s: %s\n", c->name, msg->text);
	return err == QP_E_INVAL ? QPA_EXIT_USAGE : QPA_EXIT_FAILED;
}

void
qpa_print_json(const json_t *value)
{
	bool terminal = isatty(STDOUT_FILENO) == 1;

	json_dumpf(value, stdout, terminal ? JSON_INDENT(2) | JSON_ENSURE_ASCII : JSON_COMPACT);
}

int
qpa_finish(const struct qpa_command *c, int status)
{
	if (fflush(stdout) == 0 && ferror(stdout) == 0)
		return status;
	fprintf(stderr, "quicport admin %s: cannot write the answer: %s\n", c->name, strerror(errno));
	return QPA_EXIT_FAILED;
}

static void
print_help(FILE *out)
{
	fprintf(out,
		"Usage: quicport admin COMMAND [OPTION...]\n"
		"\n"
		"Looks at a running gateway and changes it, by its private API: --api URL\n"
		"(QUICPORT_API), else http://127.0.0.1:39000.\n"
		"\n"
		"Commands:\n");
	for (size_t g = 0; g < NGROUPS; g++) {
		for (const struct qpa_command *c = groups[g]; c->name != NULL; c++)
			fprintf(out, "  %-22s %s\n", c->name, c->help);
	}
	fprintf(out,
		"  %-22s %s\n"
		"\n"
		"`quicport admin COMMAND --help` tells a command's options. Exit status: 0; 1 when\n"
		"the gateway did not answer or refused; 2 when the command line is wrong.\n",
		"help", "print this, or `help COMMAND`: a command's help");
}

static const struct qpa_command *
find(const char *name)
{
	for (size_t g = 0; g < NGROUPS; g++) {
		for (const struct qpa_command *c = groups[g]; c->name != NULL; c++) {
			if (strcmp(c->name, name) == 0)
				return c;
		}
	}
	return NULL;
}

static int
unknown(const char *name)
{
	char shown[64];

	qpa_printable(name, shown, sizeof(shown));
	fprintf(stderr, "quicport admin: unknown command '%s': `quicport admin help` lists the commands\n",
		shown);
	return QPA_EXIT_USAGE;
}

static int
help(int argc, char **argv)
{
	static char flag[] = "--help";
	const struct qpa_command *c;
	char *words[] = {NULL, flag, NULL};

	if (argc < 2) {
		print_help(stdout);
		return QPA_EXIT_OK;
	}
	c = find(argv[1]);
	if (c == NULL)
		return unknown(argv[1]);
	words[0] = argv[1];
	return c->run(c, 2, words);
}

int
main(int argc, char **argv)
{
	static const char *const valued[] = {
		"--api", "--token-file", "--cacert", "--timeout", NULL};
	static const char *const flags[] = {"--json", "--raw", NULL};
	char *name = argc > 0 ? qp_opt_command_first(argc - 1, argv + 1, valued, flags) : NULL;
	const struct qpa_command *c;

	qpa_show_init();
	if (qp_keys_init() != QP_OK) {
		fprintf(stderr, "quicport admin: libsodium does not start: no random source?\n");
		return QPA_EXIT_FAILED;
	}
	if (name == NULL) {
		print_help(stderr);
		return QPA_EXIT_USAGE;
	}
	if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0)
		return help(argc - 1, argv + 1);
	if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0) {
		printf("quicport admin %s\n", QP_VERSION);
		return QPA_EXIT_OK;
	}
	c = find(name);
	return c != NULL ? c->run(c, argc - 1, argv + 1) : unknown(name);
}
