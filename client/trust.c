/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Trust on first use: what the file says of a certificate. Leaves the file to
 * known_hosts.c, the question to the program.
 */
#include "client/trust.h"

#include <stdio.h>

int
qpc_trust_init(struct qpc_trust *t, const struct qp_target *server, bool insecure,
	const char *path, struct qp_errmsg *msg)
{
	*t = (struct qpc_trust) {.insecure = insecure};
	qp_target_format(server, false, t->host, sizeof(t->host));
	if (insecure)
		return QP_OK;
	if (path != NULL) {
		snprintf(t->path, sizeof(t->path), "%s", path);
		return QP_OK;
	}
	return qpc_known_hosts_path(t->path, sizeof(t->path), msg);
}

int
qpc_trust_check(struct qpc_trust *t, const struct qpc_cert *cert, struct qp_errmsg *msg)
{
	int err;

	t->cert = *cert;
	if (t->insecure)
		return QP_OK;
	err = qpc_known_hosts_lookup(t->path, t->host, cert->fingerprint, &t->verdict, t->recorded,
		msg);
	if (err != QP_OK)
		return err;
	return t->verdict == QPC_HOST_KNOWN ? QP_OK : QP_E_AUTH;
}

void
qpc_trust_explain(const struct qpc_trust *t, struct qp_errmsg *msg)
{
	bool changed = t->verdict == QPC_HOST_CHANGED;

	(void)qp_fail(msg, QP_E_AUTH,
		"%s %s %s: %s; compare its fingerprint %.95s with the gateway's, then `quicport trust %s` "
		"records it",
		changed ? "THE CERTIFICATE OF" : "the certificate of", t->host,
		changed ? "HAS CHANGED" : "is not known",
		changed ? "set up anew, or an attack" : "refused", t->cert.fingerprint, t->host);
}
