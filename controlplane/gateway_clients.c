/* SPDX-License-Identifier: Apache-2.0 */
/* Clients that the API writes: how they come into the policy in force. Loop thread. */
#define QP_LOG_MODULE QP_LOG_M_policy
#include <stdlib.h>

#include "controlplane/gateway_internal.h"
#include "controlplane/reload.h"

static void
join_policy(struct qp_gateway *g)
{
	struct qp_credentials *cred = g->cred;
	struct qp_policy *policy;
	struct qp_errmsg why;

	if (cred->api_clients[0] == '\0')
		return;
	if (qp_credentials_policy(cred, g->o, &policy, &why) != 0) {
		qp_log(QP_LOG_ERROR, "clients that the API has written are not in force",
			QP_LOG_STR("reason", why.text));
		g->api_clients_out = true;
		return;
	}
	qp_policy_free(cred->policy);
	cred->policy = policy;
}

/* Into the first policy. One that cannot be in force keeps the gateway from nothing. */
int
qp_gateway_open_clients(struct qp_gateway *g, struct qp_errmsg *msg)
{
	struct qp_credentials *cred = g->cred;
	int err = qp_api_clients_new(g->state, g->o->state_dir, &g->api_clients, msg);

	if (err != 0)
		return err;
	cred->api_clients = qp_api_clients_text(g->api_clients, NULL, NULL);
	if (cred->api_clients == NULL)
		return qp_fail(msg, QP_E_NOMEM, "out of memory");
	join_policy(g);
	qp_config_forget(g->o->file); /* its secrets are in guarded memory now */
	return 0;
}
