/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_DATAPLANE_PROMPT_PROMPT_IMPL_H
#define QP_DATAPLANE_PROMPT_PROMPT_IMPL_H

#include <cmdline_parse.h>
#include <cmdline_parse_num.h>
#include <cmdline_parse_string.h>
#include <stddef.h>
#include <sys/queue.h>

#include "dataplane/prompt/prompt.h"

#define QP_PROMPT_WORDS 6u
#define QP_PROMPT_MAX_STREAMS 256u
#define QP_PROMPT_MAX_LCORES 128u

/* What each command's words become: one layout for all of them. */
struct qp_prompt_args {
	cmdline_fixed_string_t word[QP_PROMPT_WORDS];
	uint16_t port;
	uint32_t number;
};

#define QP_PROMPT_WORD(name, i, text)                                                              \
	static cmdline_parse_token_string_t name =                                                 \
		TOKEN_STRING_INITIALIZER(struct qp_prompt_args, word[i], text)

/* What was counted when it was cleared, and when it was last shown. */
struct qp_prompt_port {
	struct qp_prompt_stats cleared, shown;
	uint64_t shown_ns;           /* 0: never */
	uint64_t *xcleared;
	unsigned nxcleared;
};

struct qp_prompt_session {
	struct qp_prompt_session_config cfg;
	struct qp_prompt *prompt;
	struct cmdline *cl;
	int echo[2];                 /* a pipe: rte_cmdline writes into descriptors alone; -1 when quiet */
	bool ended;                  /* `quit` */
	char line[512];              /* quiet: the line so far */
	unsigned line_len;
	LIST_ENTRY(qp_prompt_session) link;
};

/* Owner: the prompt's thread. */
struct qp_prompt {
	struct qp_prompt_config cfg;
	cmdline_parse_inst_t **commands; /* all; NULL at the end */
	LIST_HEAD(, qp_prompt_session) sessions;
	struct qp_prompt_port port[QP_PROMPT_MAX_PORTS];
	struct qp_prompt_stream stream_cleared[QP_PROMPT_MAX_STREAMS];
	struct qp_prompt_lcore lcore_cleared[QP_PROMPT_MAX_LCORES];
};

/* Whose command is being done; inside handlers alone. */
struct qp_prompt *qp_prompt_current(void);

/* Each ends with NULL. */
extern cmdline_parse_inst_t *const qp_prompt_port_commands[];   /* prompt_port.c */
extern cmdline_parse_inst_t *const qp_prompt_fwd_commands[];    /* prompt_fwd.c */
extern cmdline_parse_inst_t *const qp_prompt_set_commands[];    /* prompt_set.c */

/* "Invalid port 7" if there is none. */
bool qp_prompt_port_ok(struct qp_prompt_session *s, unsigned port);
/* How many there are, QP_PROMPT_MAX_PORTS at most. */
unsigned qp_prompt_nports(const struct qp_prompt *p);
/* prompt_port.c: `show port stats N` */
void qp_prompt_port_stats(struct qp_prompt_session *s, unsigned port);
/* prompt_config.c: `show config rxtx`, `fwd`, `cores` */
void qp_prompt_config_rxtx(struct qp_prompt_session *s);
void qp_prompt_config_fwd(struct qp_prompt_session *s);
void qp_prompt_config_cores(struct qp_prompt_session *s);
/* prompt_fwd.c: since the last clear. False: there is none. */
bool qp_prompt_stream(struct qp_prompt *p, unsigned i, struct qp_prompt_stream *out);

/* testpmd, too, takes a device of no socket to the first: a number without a sign. */
static inline unsigned
qp_prompt_socket(int socket)
{
	return socket < 0 ? 0 : (unsigned)socket;
}

/* Since it was cleared; a device may have begun at zero meanwhile. */
static inline uint64_t
qp_prompt_since(uint64_t now, uint64_t cleared)
{
	return now >= cleared ? now - cleared : now;
}

/* "… is not there in this program" */
void qp_prompt_lacks(struct qp_prompt_session *s, const char *what);

#endif
