/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_COMMON_OPT_IMPL_H
#define QP_COMMON_OPT_IMPL_H

#include <argp.h>

#include "common/opt.h"

/* What opt.c and opt_help.c share, and nobody else. */
#define QP_OPT_NAME_BYTES 64u
/* argp's keys. Options without a letter: their index from here on, beyond any letter. */
#define QP_OPT_KEY_FIRST 0x1000
#define QP_OPT_KEY_HELP 'h'
#define QP_OPT_KEY_VERSION 'V'

/* Options and headings before the {0}. */
size_t qp_opt_count(const struct qp_opt *opts);
/* The option's variable; "" for one that has none. */
void qp_opt_env_name(const struct qp_opt *opt, char out[QP_OPT_NAME_BYTES]);
/* Headings and options as argp wants them, and --help and --version. NULL: out of memory. */
struct argp_option *qp_opt_argp_make(const struct qp_opt *opts, size_t n);
/* NULL is allowed. */
void qp_opt_argp_free(struct argp_option *options);

#endif
