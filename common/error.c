/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The error list in words, errno's place in it, and lines for people.
 * Any thread.
 */
#include "common/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

const char *
qp_strerror(int err)
{
	switch (err) {
	case QP_OK:
		return "success";
	case QP_E_NOMEM:
		return "out of memory";
	case QP_E_INVAL:
		return "invalid argument";
	case QP_E_PROTO:
		return "protocol error";
	case QP_E_AUTH:
		return "authentication failed";
	case QP_E_AGAIN:
		return "not now";
	case QP_E_FULL:
		return "limit reached";
	case QP_E_NOTFOUND:
		return "not found";
	case QP_E_INUSE:
		return "in use";
	case QP_E_PERM:
		return "permission denied";
	case QP_E_IO:
		return "system error";
	case QP_E_CRYPTO:
		return "cryptographic library failed";
	case QP_E_CLOSED:
		return "closed by the other side";
	case QP_E_VERSION:
		return "version mismatch";
	case QP_E_TIMEOUT:
		return "timed out";
	case QP_E_UNSUPPORTED:
		return "not supported here";
	case QP_E_REFUSED:
		return "refused by the gateway";
	}
	return "unknown error";
}

int
qp_err_from_errno(int errnum)
{
	switch (errnum) {
	case 0:
		return QP_OK;
	case ENOMEM:
	case ENOBUFS:
		return QP_E_NOMEM;
	case EINVAL:
		return QP_E_INVAL;
	case EAGAIN:
	case EINTR:
		return QP_E_AGAIN;
	case ENOENT:
	case ENODEV:
	case ESRCH:
		return QP_E_NOTFOUND;
	case EADDRINUSE:
	case EEXIST:
	case EBUSY:
		return QP_E_INUSE;
	case EACCES:
	case EPERM:
		return QP_E_PERM;
	case EPIPE:
	case ECONNRESET:
	case ENOTCONN:
		return QP_E_CLOSED;
	case ETIMEDOUT:
		return QP_E_TIMEOUT;
	case EOPNOTSUPP:
	case ENOSYS:
	case EAFNOSUPPORT:
		return QP_E_UNSUPPORTED;
	case ENOSPC:
	case EMFILE:
	case ENFILE:
		return QP_E_FULL;
	}
	return QP_E_IO;
}

int
qp_fail(struct qp_errmsg *msg, int err, const char *fmt, ...)
{
	va_list ap;

	if (msg == NULL)
		return err;
	va_start(ap, fmt);
	vsnprintf(msg->text, sizeof(msg->text), fmt, ap);
	va_end(ap);
	return err;
}
