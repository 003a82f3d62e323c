/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_ADMIN_ACTIONS_IMPL_H
#define QP_ADMIN_ACTIONS_IMPL_H

#include "admin/commands.h"
#include "admin/show.h"

/* Shared by the actions alone. Main thread. */

/* Calls, and shows the answer by `show`, or as JSON. Takes `args` over. The exit status. */
int qpa_act(const struct qpa_command *c, const struct qpa_options *o, const char *call, json_t *args,
	void (*show)(const json_t *answer, const struct qpa_options *o));
/* Reads the command line; exits when there are not `min` to `max` words. `what`: "one DP_ID". */
void qpa_act_parse(const struct qp_opt_command *cmd, int argc, char **argv, unsigned min,
	unsigned max, const char *what);
/* The answer's "status", a line. */
void qpa_show_status(const json_t *answer, const struct qpa_options *o);
/* A field's text as it may be shown; returns `out`. */
const char *qpa_text_of(const json_t *answer, const char *key, char out[QPA_VALUE_BYTES]);

/* Of actions_gateway.c. */
int qpa_get_client_run(const struct qpa_command *c, int argc, char **argv);
int qpa_put_client_run(const struct qpa_command *c, int argc, char **argv);
int qpa_delete_client_run(const struct qpa_command *c, int argc, char **argv);
int qpa_reload_run(const struct qpa_command *c, int argc, char **argv);
int qpa_get_config_run(const struct qpa_command *c, int argc, char **argv);
int qpa_log_level_run(const struct qpa_command *c, int argc, char **argv);

#endif
