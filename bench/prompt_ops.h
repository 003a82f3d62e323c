/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_BENCH_PROMPT_OPS_H
#define QP_BENCH_PROMPT_OPS_H

#include "bench/program.h"
#include "dataplane/prompt/prompt.h"

/* What the prompt's commands see and ask for. Owner: the main thread. */
struct qpb_prompt_target {
	struct qpb_program *p;
	bool wanted; /* `start`: a run is to begin */
	bool stop;   /* the one under way is to end */
	bool quit;
};

/* ctx: the struct above. */
extern const struct qp_prompt_ops qpb_prompt_ops;
/* `set load NAME VALUE`, `show load`, `show result`; NULL at the end. */
extern cmdline_parse_inst_t *const qpb_prompt_commands[];
#define QPB_PROMPT_HELP                                                                            \
	"set load NAME VALUE : an option of the load, as on the command line without dashes\n"     \
	"show load : all of them\n"                                                                \
	"show result : what the last run measured\n"

/* Whom the commands of our own speak of; before the first session. */
void qpb_prompt_bind(struct qpb_prompt_target *t);
/* Frames that `set verbose` asks for and that came since. */
void qpb_prompt_show_frames(const struct qpb_prompt_target *t, struct qp_prompt_session *s);
void qpb_prompt_show_result(const struct qpb_prompt_target *t, struct qp_prompt_session *s);

#endif
