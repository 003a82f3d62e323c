/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys, PSK and certificate: from options and files into guarded memory, where
 * the authentication finds them. Main thread; blocks on files.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cert.h"
#include "common/file.h"
#include "controlplane/options.h"

#define CONFIG_DIR_IN_HOME ".config/quicport"

static int
config_path(const char *file, char path[QP_CONFIG_PATH_BYTES], struct qp_errmsg *msg)
{
	const char *dir = getenv("QUICPORT_CONFIG_DIR");
	char in_home[64];

	if (dir == NULL || dir[0] == '\0') {
		snprintf(in_home, sizeof(in_home), CONFIG_DIR_IN_HOME "/%s", file);
		return qp_file_in_home(in_home, path, QP_CONFIG_PATH_BYTES, msg);
	}
	if (snprintf(path, QP_CONFIG_PATH_BYTES, "%s/%s", dir, file) >= (int)QP_CONFIG_PATH_BYTES)
		return qp_fail(msg, QP_E_INVAL,
			"QUICPORT_CONFIG_DIR is too long: a path in it may have %u bytes",
			QP_CONFIG_PATH_BYTES - 1);
	return 0;
}

static int
load_private_key(struct qp_credentials *c, const struct qp_options *o, struct qp_errmsg *msg)
{
	int err = o->privkey != NULL
			  ? qp_private_key_from_text((const char *)o->privkey->bytes, "--privkey",
				    &c->private_key, msg)
			  : qp_private_key_from_file(o->privkey_file, &c->private_key, msg);

	return err == 0 ? qp_key_public(c->private_key, c->public_key) : err;
}

static int
load_psk(struct qp_credentials *c, const struct qp_options *o, struct qp_errmsg *msg)
{
	int err;

	if (o->psk != NULL)
		return qp_psk_from_text((const char *)o->psk->bytes, "--psk", &c->psk, msg);
	err = config_path("psk", c->psk_path, msg);
	if (err == 0)
		err = qp_psk_from_file_or_create(c->psk_path, &c->psk, &c->psk_created, msg);
	return err;
}

int
qp_credentials_policy(const struct qp_credentials *c, const struct qp_options *o,
	struct qp_policy **out, struct qp_errmsg *msg)
{
	struct qp_mistakes m = {0};
	int err = qp_options_policy(
		o, c->psk, c->psk_path[0] != '\0' ? c->psk_path : "--psk", c->api_clients, NULL,
		out, &m);

	if (err != 0)
		qp_mistakes_sum_up(&m, msg);
	return err;
}

static bool
has_psks(const struct qp_options *o)
{
	return o->file != NULL && qp_config_count(o->file).psks > 0;
}

static int
load_certificate(struct qp_credentials *c, struct qp_errmsg *msg)
{
	int err = config_path("server-cert.pem", c->cert_path, msg);

	if (err == 0)
		err = config_path("server-key.pem", c->key_path, msg);
	if (err == 0)
		err = qp_cert_ensure(c->cert_path, c->key_path, NULL, msg);
	return err;
}

int
qp_credentials_load(struct qp_credentials *c, struct qp_options *o, struct qp_errmsg *msg)
{
	bool x25519 = o->privkey != NULL || o->privkey_file != NULL;
	int err = 0;

	memset(c, 0, sizeof(*c));
	if (x25519)
		err = load_private_key(c, o, msg);
	if (err == 0 && (o->psk != NULL || (!x25519 && !has_psks(o))))
		err = load_psk(c, o, msg);
	if (err == 0)
		err = qp_credentials_policy(c, o, &c->policy, msg);
	if (err == 0)
		err = load_certificate(c, msg);
	qp_secret_free(o->privkey);
	qp_secret_free(o->psk);
	o->privkey = o->psk = NULL;
	if (err != 0)
		qp_credentials_free(c);
	return err;
}

void
qp_credentials_free(struct qp_credentials *c)
{
	qp_policy_free(c->policy);
	qp_secret_free(c->private_key);
	qp_secret_free(c->psk);
	free(c->api_clients);
	memset(c, 0, sizeof(*c));
}
