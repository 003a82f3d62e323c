/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys and PSK as a program gives them, judged as a whole, into guarded
 * memory. Any thread.
 */
#include "client/client_impl.h"

#include <string.h>

static int
check(const struct qp_identity *from, struct qp_errmsg *msg)
{
	bool key = from->private_key != NULL || from->private_key_file != NULL;
	bool server = from->server_public_key != NULL || from->server_public_key_file != NULL;

	if (from->private_key != NULL && from->private_key_file != NULL)
		return qp_fail(msg, QP_E_INVAL, "private key and private key file: give one of them");
	if (from->server_public_key != NULL && from->server_public_key_file != NULL)
		return qp_fail(msg, QP_E_INVAL,
			"the gateway's public key and a file with it: give one of them");
	if (from->psk != NULL && key)
		return qp_fail(msg, QP_E_INVAL, "a PSK and a private key: give one of them");
	if (key && !server)
		return qp_fail(msg, QP_E_INVAL, "a private key needs the gateway's public key beside it");
	return QP_OK;
}

static int
load_keys(struct qpc_identity *id, const struct qp_identity *from, struct qp_errmsg *msg)
{
	int err;

	if (from->private_key_file != NULL)
		err = qp_private_key_from_file(from->private_key_file, &id->private_key, msg);
	else
		err = qp_private_key_from_text(from->private_key, "private key", &id->private_key, msg);
	if (err != QP_OK)
		return err;
	if (from->server_public_key_file != NULL)
		return qp_public_key_from_file(from->server_public_key_file, id->server_key, msg);
	return qp_public_key_from_text(from->server_public_key, "the gateway's public key",
		id->server_key, msg);
}

int
qpc_identity_load(struct qpc_identity *id, const struct qp_identity *from, struct qp_errmsg *msg)
{
	int err = check(from, msg);

	*id = (struct qpc_identity) {0};
	if (err != QP_OK)
		return err;
	if (from->psk != NULL) {
		id->method = QP_AUTH_PSK;
		err = qp_psk_from_text(from->psk, "PSK", &id->psk, msg);
	} else if (from->private_key != NULL || from->private_key_file != NULL) {
		id->method = QP_AUTH_X25519;
		err = load_keys(id, from, msg);
	}
	if (err != QP_OK)
		qpc_identity_clear(id);
	return err;
}

void
qpc_identity_clear(struct qpc_identity *id)
{
	qp_secret_free(id->private_key);
	qp_secret_free(id->psk);
	*id = (struct qpc_identity) {0};
}
