/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_ADMIN_COMMANDS_H
#define QP_ADMIN_COMMANDS_H

#include <jansson.h>
#include <stdbool.h>

#include "admin/api.h"
#include "admin/options.h"

/*
 * The subcommands of `quicport admin`: each gets its own argument vector (argv[0]
 * is the subcommand) and returns the exit status. Main thread.
 */
struct qpa_command {
	const char *name;
	const char *help; /* lower case, no full stop */
	int (*run)(const struct qpa_command *c, int argc, char **argv);
	const void *what; /* of qpa_list_run: a struct qpa_list */
};

/* Of lists.c: the table of the lists' commands, name NULL at the end. */
extern const struct qpa_command qpa_lists[];
/* Of actions.c. */
extern const struct qpa_command qpa_actions[];

int qpa_events_run(const struct qpa_command *c, int argc, char **argv);
int qpa_top_run(const struct qpa_command *c, int argc, char **argv);

#define QPA_NAME_BYTES 64u

/* "quicport admin kick", for help and errors. */
const char *qpa_full_name(const struct qpa_command *c, char out[QPA_NAME_BYTES]);
/* "quicport admin kick: msg" on standard error; the exit status that goes with `err`. */
int qpa_complain(const struct qpa_command *c, int err, const struct qp_errmsg *msg);
/* Indented on a terminal, for people; never a byte beyond ASCII there. */
void qpa_print_json(const json_t *value);
/* After the last output: 1, with a line, when it could not be written. */
int qpa_finish(const struct qpa_command *c, int status);

#endif
