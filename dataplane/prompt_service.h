/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_DATAPLANE_PROMPT_SERVICE_H
#define QP_DATAPLANE_PROMPT_SERVICE_H

#include <stdint.h>

#include "common/error.h"
#include "common/ipc.h"
#include "dataplane/prompt/prompt.h"

/*
 * The data plane's end of common/prompt.h: a socket of mode 0600 in the run
 * folder, a few sessions at once, each with a bounded buffer. Nobody who does
 * not read holds up the main thread: he is sent away. Owner: the main thread.
 */
struct qp_prompt_service;

#define QP_PROMPT_SESSIONS 8u

struct qp_prompt_service_config {
	const char *dir;             /* the instance's run folder */
	uint32_t server_id;
	const struct qp_prompt_ops *ops; /* its `running` is told to those who are there */
	void *ctx;
};

int qp_prompt_service_open(const struct qp_prompt_service_config *cfg,
	struct qp_prompt_service **out, struct qp_errmsg *msg);
/* Readable when qp_prompt_service_turn has something to do; call that each QP_BEAT_MS besides. */
int qp_prompt_service_fd(const struct qp_prompt_service *s);
void qp_prompt_service_turn(struct qp_prompt_service *s);
/* Says something in each session that shows what is typed. */
void qp_prompt_service_say(struct qp_prompt_service *s, const char *text);
/* Removes the socket. NULL is allowed. */
void qp_prompt_service_close(struct qp_prompt_service *s);

#endif
