/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `quicport client`. Main thread.
 */
#include "client/commands.h"

#include <stdio.h>

#include "client/run.h"
#include "common/opt.h"

int
qpc_command_client(int argc, char **argv)
{
	struct qpc_options o;
	struct qp_errmsg msg = {0};
	int status, err = qpc_options_parse(&o, argc, argv, &msg);

	if (err == QP_OK)
		err = qp_log_init(&o.log, &msg);
	if (err == QP_OK) {
		status = qpc_run(&o);
	} else if (err == QP_OPT_DONE) {
		status = QPC_EXIT_OK;
	} else {
		fprintf(stderr, "quicport client: %s\n", msg.text);
		status = QPC_EXIT_USAGE;
	}
	qpc_options_clear(&o);
	return status;
}
