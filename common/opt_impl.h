/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_COMMON_OPT_IMPL_H
#define QP_COMMON_OPT_IMPL_H

#include <argp.h>

#include "common/opt.h"

/* What opt.c, opt_rest.c and opt_help.c share, and nobody else. */
#define QP_OPT_NAME_BYTES 64u
#define QP_OPT_SHOWN_BYTES 96u /* of a value, in an error */
/* argp's keys. Options without a letter: their index from here on, beyond any letter. */
#define QP_OPT_KEY_FIRST 0x1000
#define QP_OPT_KEY_HELP 'h'
#define QP_OPT_KEY_VERSION 'V'

/* A parse under way; lives in qp_opt_parse's frame. */
struct qp_opt_parse {
	const struct qp_opt_command *cmd;
	size_t nopts;
	bool *seen; /* by index of the option: it has its value */
	struct qp_errmsg *msg;
	int result; /* QP_OK, QP_OPT_DONE or an error that `msg` tells already */
};

/* Parses a value. `source` begins the error: "--name", the variable, "FILE:LINE: name". */
int qp_opt_take(struct qp_opt_parse *p, size_t i, enum qp_opt_origin origin, const char *source,
	const char *text, struct qp_errmsg *msg);
/* What the command line left open: environment, configuration file, defaults. */
int qp_opt_take_rest(struct qp_opt_parse *p);
bool qp_opt_is_again(const struct qp_opt_parse *p);

/* Options and headings before the {0}. */
size_t qp_opt_count(const struct qp_opt *opts);
/* The option's variable; "" for one that has none. */
void qp_opt_env_name(const struct qp_opt *opt, char out[QP_OPT_NAME_BYTES]);
/* Headings and options as argp wants them, and --help and --version. NULL: out of memory. */
struct argp_option *qp_opt_argp_make(const struct qp_opt *opts, size_t n);
/* NULL is allowed. */
void qp_opt_argp_free(struct argp_option *options);

#endif
