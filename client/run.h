/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CLIENT_RUN_H
#define QP_CLIENT_RUN_H

#include "client/options.h"

/* Exit statuses of `quicport client`; --help tells them. */
enum qpc_exit {
	QPC_EXIT_OK = 0,      /* stopped by a signal */
	QPC_EXIT_FAILED = 1,  /* the connection failed or was lost, or the system failed */
	QPC_EXIT_USAGE = 2,
	QPC_EXIT_AUTH = 3,    /* server not trusted, or authentication failed */
	QPC_EXIT_REFUSED = 4, /* the server did not grant the forward */
};

/* Runs one forward until a signal or its end. Main thread; blocks. */
enum qpc_exit qpc_run(const struct qpc_options *o);

#endif
