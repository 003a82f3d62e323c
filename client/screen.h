/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CLIENT_SCREEN_H
#define QP_CLIENT_SCREEN_H

#include <stdbool.h>
#include <stdint.h>

#include "include/quicport.h"

/*
 * Standard error of `quicport client`: log lines, and on a terminal one line
 * below them that is written anew. Any thread.
 */

/* `wanted`: by the option; only a terminal that also gets the log has one. */
void qpc_screen_init(bool wanted, bool log_elsewhere);
bool qpc_screen_has_line(void);

struct qpc_screen_state {
	unsigned forwards, open;
	uint64_t connections;         /* now */
	uint64_t to_local, from_local; /* bytes so far */
};
/* Once a second or so: rates are of the time since the last call. */
void qpc_screen_show(const struct qpc_screen_state *s);
/* A finished line of the log. */
void qpc_screen_log(enum qp_log_severity severity, const char *line);
/* Takes the line away. */
void qpc_screen_clear(void);

#endif
