/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CLIENT_OPTIONS_H
#define QP_CLIENT_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/addr.h"
#include "common/error.h"
#include "common/keys.h"
#include "common/log.h"

/* Exit statuses of `quicport client`; --help tells them. */
enum qpc_exit {
	QPC_EXIT_OK = 0,      /* stopped by a signal */
	QPC_EXIT_FAILED = 1,  /* the connection failed or was lost, or the system failed */
	QPC_EXIT_USAGE = 2,
	QPC_EXIT_AUTH = 3,    /* server not trusted, or authentication failed */
	QPC_EXIT_REFUSED = 4, /* the server did not grant the forward */
};

/* The command line and environment of `quicport client`, judged as a whole. Main thread. */
struct qpc_options {
	struct qp_target server;
	struct qp_target remote; /* port that the gateway opens; no host */
	struct qp_target local;  /* destination; host "" is 127.0.0.1 */
	/* As given, with their NULs; NULL: not given. */
	struct qp_secret *privkey, *psk;
	const char *privkey_file;
	const char *server_pubkey, *server_pubkey_file;
	bool insecure;
	bool reconnect;
	uint32_t reconnect_max_attempts;
	uint32_t reconnect_delay_s;
	uint32_t keep_alive_s;
	uint32_t idle_timeout_s;
	struct qp_log_config log;
};

/*
 * Reads no file. 0; QP_OPT_DONE after --help; else an error whose line
 * in `msg` names the value and the way out. qpc_options_clear in any case.
 */
int qpc_options_parse(struct qpc_options *o, int argc, char **argv, struct qp_errmsg *msg)
	__attribute__((warn_unused_result));
/* Wipes the secrets. */
void qpc_options_clear(struct qpc_options *o);

#endif
