/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `quicport`, the one program that a user calls: picks the subcommand. The
 * gateway's own programs are started in its place, so this one needs no DPDK.
 * Main thread.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/commands.h"
#include "client/options.h"
#include "common/keys.h"
#include "common/opt.h"

struct command {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *program; /* or: the sibling to become */
	const char *help;
};

static const struct command commands[] = {
	{"client", qpc_command_client, NULL,
		"make a service behind a NAT reachable at a gateway's port"},
	{"ssh-proxy", qpc_command_ssh_proxy, NULL,
		"carry an SSH connection to a host that a gateway reaches"},
	{"control-plane", NULL, "quicport-control-plane",
		"run a gateway (starts its other processes by itself)"},
	{"check-config", NULL, "quicport-check-config",
		"tell what is wrong with a gateway's configuration file"},
	{"preflight", NULL, "quicport-preflight",
		"tell what to change on a host for dedicated ports"},
	{"data-plane", NULL, "quicport-data-plane",
		"run a gateway's data plane by hand (see --no-auto-dataplane)"},
	{"admin", NULL, "quicport-admin", "look at a running gateway, and change it"},
	{"prompt", qpc_command_prompt, NULL, "type testpmd's commands at a running gateway"},
	{"status", qpc_command_status, NULL, "show what the running clients do"},
	{"trust", qpc_command_trust, NULL, "show a gateway's certificate and record it"},
	{"keygen", qpc_command_keygen, NULL, "make a private key"},
	{"pubkey", qpc_command_pubkey, NULL, "print the public key of a private key"},
	{"version", qpc_command_version, NULL, "print the version"},
};
#define NCOMMANDS (sizeof(commands) / sizeof(commands[0]))

static void
print_help(FILE *out)
{
	fprintf(out,
		"Usage: quicport [--log-format FORMAT] [--log-output FILE] COMMAND [OPTION...]\n"
		"\n"
		"Reverse tunnels over QUIC: services behind a NAT, reachable at a gateway.\n"
		"\n"
		"Commands:\n");
	for (size_t i = 0; i < NCOMMANDS; i++)
		fprintf(out, "  %-14s %s\n", commands[i].name, commands[i].help);
	fprintf(out,
		"  %-14s %s\n"
		"\n"
		"`quicport COMMAND --help` tells a command's options. Each option --some-name is\n"
		"also the environment variable QUICPORT_SOME_NAME; the option wins.\n",
		"help", "print this, or `help COMMAND`: a command's help");
}

static const struct command *
find(const char *name)
{
	for (size_t i = 0; i < NCOMMANDS; i++) {
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	}
	return NULL;
}

static int
run(const struct command *c, int argc, char **argv)
{
	if (c->run != NULL)
		return c->run(argc, argv);
	return qpc_command_exec(c->program, argc, argv);
}

static int
unknown(const char *what)
{
	fprintf(stderr, "quicport: unknown command '%s': `quicport help` lists the commands\n", what);
	return QPC_EXIT_USAGE;
}

static int
help(int argc, char **argv)
{
	static char flag[] = "--help";
	const struct command *c;
	char *words[] = {NULL, flag, NULL};

	if (argc < 2) {
		print_help(stdout);
		return 0;
	}
	c = find(argv[1]);
	if (c == NULL)
		return unknown(argv[1]);
	words[0] = argv[1];
	return run(c, 2, words);
}

int
main(int argc, char **argv)
{
	static const char *const valued[] = {"--log-format", "--log-output", "--log-level", NULL};
	static const char *const flags[] = {NULL};
	char *name = argc > 0 ? qp_opt_command_first(argc - 1, argv + 1, valued, flags) : NULL;
	const struct command *c;

	if (name == NULL) {
		print_help(stderr);
		return QPC_EXIT_USAGE;
	}
	if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0)
		return help(argc - 1, argv + 1);
	if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0)
		return qpc_command_version(1, argv + 1);
	c = find(name);
	if (c == NULL)
		return unknown(name);
	if (c->run != NULL && qp_keys_init() != QP_OK) {
		fprintf(stderr, "quicport: libsodium does not start: no random source?\n");
		return QPC_EXIT_FAILED;
	}
	return run(c, argc - 1, argv + 1);
}
