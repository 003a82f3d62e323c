/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_COMMON_TERMINAL_H
#define QP_COMMON_TERMINAL_H

#include <stdbool.h>
#include <stdint.h>
#include <termios.h>

/*
 * Standard input and output of who talks to a prompt: key by key where it is a
 * terminal, and never waited for, though the descriptors stay shared with the
 * shell as they are. Owner: one thread. Life: until qp_terminal_close puts the
 * terminal back.
 */
struct qp_terminal {
	int in, out;                 /* to poll */
	bool in_polls, out_polls;    /* a file does not: it is always ready */
	bool out_own;                /* `out` is ours to close */
	bool out_socket;
	bool raw;                    /* `before` is to be put back */
	struct termios before;
};

/* `keys`: what is typed is neither echoed nor edited by the kernel, if it is a terminal. ^C stays a signal. */
void qp_terminal_open(struct qp_terminal *t, bool keys);
/* Bytes; 0: the end; QP_E_AGAIN. */
int qp_terminal_read(struct qp_terminal *t, char *bytes, uint32_t most);
/* How many went out; QP_E_AGAIN; QP_E_CLOSED: nobody reads any more. */
int qp_terminal_write(struct qp_terminal *t, const char *bytes, uint32_t len);
void qp_terminal_close(struct qp_terminal *t);

#endif
