/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_REEXEC_H
#define QP_CONTROLPLANE_REEXEC_H

#include <stdbool.h>

#include "common/error.h"

/*
 * Another program in this process's place: the same pid, command line and
 * environment, and the descriptors that it is passed, by the names that
 * controlplane/fdstore.h knows. One state a process. Main thread.
 */

/* What a control plane passes to the next one. */
#define QP_PASS_LOCK "quicport-lock"		 /* the instance's, still locked */
#define QP_PASS_LIFELINE "quicport-lifeline"	 /* the port owner's */
#define QP_PASS_API "quicport-api"		 /* the private API's listening sockets */
#define QP_PASS_API_UNIX "quicport-api-unix"
#define QP_PASS_PREVIOUS "quicport-previous"	 /* the program that has called us */

/* Copies the words and the environment, secrets included, before anybody wipes or moves them. */
int qp_reexec_remember(char **argv, struct qp_errmsg *msg);
/* We are here by qp_reexec_go, of this process. */
bool qp_reexec_follows(void);
/* Our program's file, whatever is there by now. */
const char *qp_reexec_program(void);
/* The words as we got them, then `more`: from malloc, to be wiped with qp_reexec_free_words. NULL: out of memory. */
char **qp_reexec_words(const char *const more[]);
/* The environment as we got it, in the same way. */
char **qp_reexec_environment(void);
void qp_reexec_free_words(char **words);

/* A copy of `fd` goes along under `name`; `fd` stays the caller's. QP_E_FULL, QP_E_IO. */
int qp_reexec_pass(const char *name, int fd);
/*
 * Becomes the program on the disk; when that is impossible, this one anew. Returns only when
 * neither can be started.
 */
void qp_reexec_go(struct qp_errmsg *msg);
/*
 * Becomes the program that has called us, with all that it has passed. Returns when there is none:
 * nobody has, or qp_reexec_settle was called.
 */
void qp_reexec_back(void);
/* All is well: what was passed and taken is kept no longer, and there is no way back. */
void qp_reexec_settle(void);

#endif
