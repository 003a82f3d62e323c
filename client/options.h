/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CLIENT_OPTIONS_H
#define QP_CLIENT_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/addr.h"
#include "common/auth.h"
#include "common/error.h"
#include "common/keys.h"
#include "common/log.h"

/* The command line and environment of `quicport client`, judged as a whole. Main thread. */
struct qpc_options {
	struct qp_target server;
	struct qp_target remote; /* port that the gateway opens; no host */
	struct qp_target local;  /* destination; host "" is 127.0.0.1 */
	enum qp_auth_method method;
	struct qp_secret *privkey;
	uint8_t server_pubkey[QP_KEY_BYTES];
	struct qp_secret *psk;
	bool insecure;
	uint32_t keep_alive_s;
	uint32_t idle_timeout_s;
	struct qp_log_config log;
};

/*
 * Reads key files, too. 0; QP_OPT_DONE after --help; else an error whose line
 * in `msg` names the value and the way out. qpc_options_clear in any case.
 */
int qpc_options_parse(struct qpc_options *o, int argc, char **argv, struct qp_errmsg *msg)
	__attribute__((warn_unused_result));
/* Wipes the secrets. */
void qpc_options_clear(struct qpc_options *o);

#endif
