/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_COMMON_ERROR_H
#define QP_COMMON_ERROR_H

#include "include/quicport.h"

/*
 * Functions return 0 or a code of enum qp_err (include/quicport.h); what a
 * person must read goes into a struct qp_errmsg beside it.
 */

/* A line for a person: what failed, with which value, and the way out. */
struct qp_errmsg {
	char text[384];
};

/* The code that fits an errno value (EACCES → QP_E_PERM, …; else QP_E_IO). */
int qp_err_from_errno(int errnum);

/* Formats into `msg` (NULL is allowed: nothing is written) and returns `err`. */
int qp_fail(struct qp_errmsg *msg, int err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#endif
