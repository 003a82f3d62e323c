/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_COMMON_ERROR_H
#define QP_COMMON_ERROR_H

/*
 * The one list of error codes. Functions return 0 or one of these; what a
 * person must read goes into a struct qp_errmsg beside it.
 */
enum qp_err {
	QP_OK = 0,
	QP_E_NOMEM = -1,      /* memory, mbufs or table slots are exhausted */
	QP_E_INVAL = -2,      /* an argument or option has no meaning */
	QP_E_PROTO = -3,      /* a peer broke the protocol */
	QP_E_AUTH = -4,       /* authentication failed */
	QP_E_AGAIN = -5,      /* not now: more input or room is needed first */
	QP_E_FULL = -6,       /* a bounded queue or limit is reached */
	QP_E_NOTFOUND = -7,   /* no such thing */
	QP_E_INUSE = -8,      /* a port, name or file belongs to another */
	QP_E_PERM = -9,       /* the system or a policy denies it */
	QP_E_IO = -10,        /* the system failed; errno was reported */
	QP_E_CRYPTO = -11,    /* a cryptographic library failed */
	QP_E_CLOSED = -12,    /* the other side is gone */
	QP_E_VERSION = -13,   /* the two sides speak different versions */
	QP_E_TIMEOUT = -14,   /* a deadline passed */
	QP_E_UNSUPPORTED = -15, /* this kernel, port or build cannot do it */
};

/* A line for a person: what failed, with which value, and the way out. */
struct qp_errmsg {
	char text[384];
};

/* The code's name in words; never NULL, also for unknown values. */
const char *qp_strerror(int err);

/* The code that fits an errno value (EACCES → QP_E_PERM, …; else QP_E_IO). */
int qp_err_from_errno(int errnum);

/* Formats into `msg` (NULL is allowed: nothing is written) and returns `err`. */
int qp_fail(struct qp_errmsg *msg, int err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#endif
