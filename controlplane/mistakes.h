/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_MISTAKES_H
#define QP_CONTROLPLANE_MISTAKES_H

#include "common/error.h"

/*
 * What is wrong with a configuration, all of it: a person mends a file in one
 * go. Each is a line for people, made printable, in the order found. Any
 * thread, one user. All zero: none yet.
 */
struct qp_mistakes {
	unsigned n;        /* of `v` */
	unsigned more;     /* beyond QP_MISTAKES_MAX */
	struct qp_errmsg v[100];
};
#define QP_MISTAKES_MAX (sizeof(((struct qp_mistakes *)0)->v) / sizeof(struct qp_errmsg))

/* Returns `err`. */
int qp_mistakes_add(struct qp_mistakes *m, int err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
unsigned qp_mistakes_count(const struct qp_mistakes *m);
/* The first, and how many more there are. */
void qp_mistakes_sum_up(const struct qp_mistakes *m, struct qp_errmsg *msg);

#endif
