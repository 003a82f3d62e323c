/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CLIENT_COMMANDS_H
#define QP_CLIENT_COMMANDS_H

#include <stdbool.h>

#include "include/quicport.h"

/*
 * The subcommands of `quicport`: each gets its own argument vector (argv[0] is
 * the subcommand) and returns the exit status. Main thread.
 */
int qpc_command_client(int argc, char **argv);
int qpc_command_ssh_proxy(int argc, char **argv);
int qpc_command_status(int argc, char **argv);
int qpc_command_prompt(int argc, char **argv);
int qpc_command_trust(int argc, char **argv);
int qpc_command_keygen(int argc, char **argv);
int qpc_command_pubkey(int argc, char **argv);
int qpc_command_version(int argc, char **argv);
/* Becomes the sibling program `name`; returns only when that fails. */
int qpc_command_exec(const char *name, int argc, char **argv);
/*
 * Shows the certificate and asks [y/N], when standard input is a terminal. False: no,
 * nobody to ask, or `interrupt_fd` (-1: none) became readable meanwhile.
 */
bool qpc_ask_trust(const struct qp_certificate *cert, int interrupt_fd);

#endif
