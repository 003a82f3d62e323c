/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CLIENT_COMMANDS_H
#define QP_CLIENT_COMMANDS_H

/*
 * The subcommands of `quicport`: each gets its own argument vector (argv[0] is
 * the subcommand) and returns the exit status. Main thread.
 */
int qpc_command_client(int argc, char **argv);
int qpc_command_keygen(int argc, char **argv);
int qpc_command_pubkey(int argc, char **argv);
int qpc_command_version(int argc, char **argv);
/* Becomes the sibling program `name`; returns only when that fails. */
int qpc_command_exec(const char *name, int argc, char **argv);

#endif
