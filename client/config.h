/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CLIENT_CONFIG_H
#define QP_CLIENT_CONFIG_H

#include "client/options.h"

/*
 * A client's configuration file (YAML). Keys are the options' names without
 * dashes in front, and `forwards`, a list:
 *
 *	server: gateway.example:39000
 *	privkey-file: /etc/quicport/client.key
 *	server-pubkey-file: /etc/quicport/gateway.pub
 *	forwards:
 *	  - name: ssh
 *	    remote-source: 9022
 *	    local-destination: 22
 *	  - name: database
 *	    local-source: 5432
 *	    remote-destination: 10.0.0.5:5432
 *	    server: other.example:39000
 *	    psk: secret
 *
 * Main thread.
 */
struct qpc_config {
	struct qpc_settings set;
	struct qpc_specs specs; /* the file's, after those of the command line */
	void *data;             /* what texts point into */
};

/*
 * Reads `o->config` (NULL: nothing but the command line). What options and
 * variables say wins. QP_E_INVAL, QP_E_NOTFOUND, QP_E_PERM: the line names file,
 * place and key; then `*out` is empty.
 */
int qpc_config_load(const struct qpc_options *o, struct qpc_config *out, struct qp_errmsg *msg)
	__attribute__((warn_unused_result));
void qpc_config_free(struct qpc_config *c);

/* The same forward towards the same gateway as the same client. */
bool qpc_spec_equal(const struct qpc_spec *a, const struct qpc_spec *b);

#endif
