/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_DATAPLANE_PROMPT_CONN_H
#define QP_DATAPLANE_PROMPT_CONN_H

#include <stdbool.h>
#include <stdint.h>

#include "common/prompt.h"
#include "dataplane/prompt/prompt.h"

#define QP_PROMPT_OUTPUT_ENOUGH (64u << 10) /* nothing more is asked of one who has so much to read */

/*
 * A terminal at the data plane's prompt, behind a socket that is never waited
 * for: what it has sent and is not done, what it has not taken yet. Owner: the
 * main thread (prompt_service.c), which fills in the first part.
 */
struct qp_prompt_conn {
	int fd;                      /* -1: free */
	struct qp_prompt_session *session; /* NULL: no hello yet */
	bool quiet;
	bool ending;                 /* its output is still to go out, then QUIT: */
	uint8_t by_quit;             /* … 1: because `quit` was typed */
	/*
	 * Nothing more is said. The other end closes first: with something unread here it
	 * would not get to read what it was told.
	 */
	bool done;
	bool lost;
	uint32_t period_s;
	uint64_t next_ns;            /* of its statistics */
	bool told_running;
	char in[QP_PROMPT_PACKET];   /* what was typed and is not done yet: */
	uint32_t in_len, in_from;
	bool eof;                    /* … after which nothing more comes */
	char *out;
	uint32_t out_len, out_cap, out_from;
};

static inline uint32_t
qp_prompt_conn_waiting(const struct qp_prompt_conn *c)
{
	return c->out_len - c->out_from;
}

static inline uint32_t
qp_prompt_conn_typed(const struct qp_prompt_conn *c)
{
	return c->in_len - c->in_from;
}

/* struct qp_prompt_session_config's write; ctx: the connection. Too much: it is lost. */
void qp_prompt_conn_say(void *ctx, const char *bytes, uint32_t len);
/* One packet; only when nothing is typed() any more. */
void qp_prompt_conn_receive(struct qp_prompt_conn *c);
/* Does what was typed, for some time; the rest is for the next turn. */
void qp_prompt_conn_work(struct qp_prompt_conn *c);
/* The ports' statistics, when they are due. */
void qp_prompt_conn_show_period(struct qp_prompt_conn *c);
/* Sends what the socket takes, and last that it is over. */
void qp_prompt_conn_flush(struct qp_prompt_conn *c);

#endif
