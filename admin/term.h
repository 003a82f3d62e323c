/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_ADMIN_TERM_H
#define QP_ADMIN_TERM_H

#include <stdbool.h>

#include "common/error.h"

/*
 * The terminal as a screen: keys without Enter, a second page that goes away
 * again. However the process ends, short of SIGKILL, the terminal is as before.
 * One at a time. Main thread.
 */

/* QP_E_UNSUPPORTED: standard input or output is no terminal, or a dumb one. */
int qpa_term_enter(struct qp_errmsg *msg) __attribute__((warn_unused_result));
/* Harmless when it was not entered. */
void qpa_term_leave(void);

/* Keys beyond the characters. */
enum {
	QPA_KEY_NONE = -1, /* none is waiting */
	QPA_KEY_GONE = -2, /* the terminal has hung up */
	QPA_KEY_UP = 256,
	QPA_KEY_DOWN,
	QPA_KEY_PAGE_UP,
	QPA_KEY_PAGE_DOWN,
	QPA_KEY_HOME,
	QPA_KEY_END,
	QPA_KEY_OTHER, /* a sequence that means nothing here */
};
int qpa_term_key(void);

/* At least 20 × 5, whatever the terminal says. */
void qpa_term_size(unsigned *columns, unsigned *rows);
/* Whether it was resized, or taken up again after Ctrl-Z, since the last call. */
bool qpa_term_changed(void);

#endif
