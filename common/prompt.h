/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_COMMON_PROMPT_H
#define QP_COMMON_PROMPT_H

#include <stdint.h>

#include "common/error.h"

/*
 * How a terminal comes to a data plane's prompt: a SOCK_SEQPACKET socket of mode 0600 in the
 * run folder, prompt-SERVERID.sock of each data plane, prompt.sock a link to the ACTIVE one's.
 *
 * A terminal connects and sends struct qp_prompt_hello, the data plane answers with struct
 * qp_prompt_told. Then each packet is a byte of enum qp_prompt_packet and what belongs to it,
 * QP_PROMPT_PACKET bytes at most. Both structs only grow: what is shorter has zeros, what is
 * longer is read as far as it is known; an unknown kind of packet is skipped.
 */
#define QP_PROMPT_MAGIC 0x51505052u /* "QPPR" */
#define QP_PROMPT_VERSION 1u
#define QP_PROMPT_SOCKET "prompt-%u.sock"
#define QP_PROMPT_ACTIVE "prompt.sock"
#define QP_PROMPT_PACKET 4096u
#define QP_PROMPT_SIGN "quicport> "
#define QP_PROMPT_MAX_PERIOD 86400u

enum {
	QP_PROMPT_OWNER = 1,  /* the gateway's own terminal: `quit` ends the gateway */
	QP_PROMPT_QUIET = 2,  /* commands are not echoed, and no sign asks for the next one */
};

struct qp_prompt_hello {
	uint32_t magic;
	uint32_t version;
	uint32_t flags;
	uint32_t stats_period_s; /* port statistics are shown by themselves; 0: they are not */
	char sign[32];           /* what asks for a command; "": QP_PROMPT_SIGN */
};

struct qp_prompt_told {
	uint32_t magic;
	uint32_t version;
	uint32_t ok;             /* 1; 0: `why` says why not, and the connection ends */
	uint32_t running;        /* 1: the workers serve; 0: they wait for `start` */
	char why[240];
};

#define QP_PROMPT_HELLO_MIN 48u
#define QP_PROMPT_TOLD_MIN  256u
_Static_assert(sizeof(struct qp_prompt_hello) >= QP_PROMPT_HELLO_MIN, "it only grows");
_Static_assert(sizeof(struct qp_prompt_told) >= QP_PROMPT_TOLD_MIN, "it only grows");

enum qp_prompt_packet {
	QP_PROMPT_INPUT = 'i',   /* to the data plane: what was typed */
	QP_PROMPT_EOF = 'e',     /* to it: no more comes; what came is done, then the session ends */
	QP_PROMPT_OUTPUT = 'o',  /* from it */
	QP_PROMPT_STATE = 's',   /* from it: a byte, as `running` above; it has changed */
	QP_PROMPT_QUIT = 'q',    /* from it, the last one: `quit` was typed, or all is done after an EOF */
};

/*
 * Connects to the socket at `path` and says hello, without waiting. QP_E_NOTFOUND: nobody is
 * there; QP_E_PERM. `*out`: the socket, to be closed by the caller.
 */
int qp_prompt_call(
	const char *path, const struct qp_prompt_hello *hello, int *out, struct qp_errmsg *msg);
/* The answer: QP_E_AGAIN: it has not come yet; QP_E_FULL: refused; QP_E_VERSION, QP_E_CLOSED. */
int qp_prompt_answer(int fd, struct qp_prompt_told *told, struct qp_errmsg *msg);
/* One packet, without waiting: QP_OK; QP_E_AGAIN: not now; QP_E_CLOSED: the other end is gone. */
int qp_prompt_send(int fd, enum qp_prompt_packet kind, const void *bytes, uint32_t len);
/*
 * The next packet, without waiting: its bytes, and how many in `*len`. QP_E_AGAIN, QP_E_CLOSED as above.
 */
int qp_prompt_receive(int fd, enum qp_prompt_packet *kind, char bytes[QP_PROMPT_PACKET], uint32_t *len);

#endif
