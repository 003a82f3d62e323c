/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CLIENT_TRUST_H
#define QP_CLIENT_TRUST_H

#include <stdbool.h>

#include "client/known_hosts.h"
#include "client/tls.h"
#include "common/addr.h"

/*
 * Trust on first use: what known_hosts says of a certificate, and the
 * words for refusing it. The loop's thread.
 */
struct qpc_trust {
	char path[4096];                  /* known_hosts */
	char host[QP_HOST_BYTES + 16];    /* "name:port", as the user wrote it */
	bool insecure;                    /* every certificate will do */
	/* Of the last qpc_trust_check: */
	enum qpc_known verdict;
	struct qpc_cert cert;
	char recorded[QP_FINGERPRINT_TEXT_BYTES];
};

/* `path`: the file; NULL: the default, QP_E_NOTFOUND without a home directory (unless insecure). */
int qpc_trust_init(struct qpc_trust *t, const struct qp_target *server, bool insecure,
	const char *path, struct qp_errmsg *msg) __attribute__((warn_unused_result));

/* QP_OK: trusted. QP_E_AUTH: unknown or changed (t->verdict). Else: the file can't be read. */
int qpc_trust_check(struct qpc_trust *t, const struct qpc_cert *cert, struct qp_errmsg *msg)
	__attribute__((warn_unused_result));

/* Why it was refused and what to do, for where nobody can be asked. */
void qpc_trust_explain(const struct qpc_trust *t, struct qp_errmsg *msg);

#endif
