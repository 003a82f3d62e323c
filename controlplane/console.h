/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_CONSOLE_H
#define QP_CONTROLPLANE_CONSOLE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"
#include "controlplane/loop.h"

/*
 * The gateway's own terminal at the ACTIVE data plane's prompt (common/prompt.h):
 * first the lines of a file, then what is typed. A data plane that takes over
 * takes the terminal, too; what is typed meanwhile waits. And the link prompt.sock in the run
 * folder, which leads to that data plane's socket. Loop thread.
 */
struct qp_console;

/* What the options ask for. */
struct qp_console_options {
	bool interactive;
	bool auto_start;
	const char *file;            /* NULL: none */
	const char *sign;            /* NULL: QP_PROMPT_SIGN */
	uint32_t stats_period_s;     /* 0: no statistics by themselves */
};

struct qp_console_config {
	struct qp_loop *loop;
	const char *dir;             /* the instance's run folder; borrowed */
	struct qp_console_options options;
	bool again;                  /* a predecessor of this process has read the file already */
	/* Data planes to come are to serve at once, or wait for `start`. */
	void (*hold)(void *ctx, bool stopped);
	/* `quit`, or nothing more to read. */
	void (*quit)(void *ctx);
	void *ctx;
};

/* QP_E_NOTFOUND: the file is not to be read. */
int qp_console_open(const struct qp_console_config *cfg, struct qp_console **out, struct qp_errmsg *msg);
/* That data plane is ACTIVE now. */
void qp_console_attach(struct qp_console *c, uint32_t server_id);
/* That one is dead: its socket goes. */
void qp_console_gone(struct qp_console *c, uint32_t server_id);
/* Puts the terminal back. NULL is allowed. */
void qp_console_close(struct qp_console *c);

#endif
