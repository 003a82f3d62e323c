/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The client's side of an authentication: says who it is, checks the server's
 * proof before it answers the challenge. Bytes in, bytes out; stream 0 is the
 * caller's.
 */
#include "common/auth_impl.h"

#include <string.h>

struct qp_auth_client {
	struct qp_auth_client_config cfg;
	bool waiting;          /* a reply may come: once */
	uint8_t challenge[32]; /* X25519: ours */
	uint8_t ephemeral[32]; /* PSK: our ephemeral private key */
};

static bool
config_usable(const struct qp_auth_client_config *cfg)
{
	switch (cfg->method) {
	case QP_AUTH_X25519:
		return cfg->private_key != NULL && cfg->private_key->len == QP_KEY_BYTES;
	case QP_AUTH_PSK:
		return cfg->psk != NULL && cfg->psk->len > 0;
	case QP_AUTH_NONE:
		break;
	}
	return false;
}

static int
begin_x25519(struct qp_auth_client *c, uint8_t *step1, size_t *step1_len)
{
	struct qp_x25519_step1 out;

	memcpy(out.magic, QP_WIRE_X25519_MAGIC, sizeof(out.magic));
	if (qp_key_public(c->cfg.private_key, out.client_public) != QP_OK)
		return QP_E_CRYPTO;
	qp_auth_fill(&c->cfg.random, c->challenge, sizeof(c->challenge));
	memcpy(out.challenge, c->challenge, sizeof(out.challenge));
	memcpy(step1, &out, sizeof(out));
	*step1_len = sizeof(out);
	return QP_OK;
}

static int
begin_psk(struct qp_auth_client *c, uint64_t now_unix_s, uint8_t *step1, size_t *step1_len)
{
	const struct qp_secret *psk = c->cfg.psk;
	struct qp_psk_step1 out;

	memcpy(out.magic, QP_WIRE_PSK_MAGIC, sizeof(out.magic));
	qp_put_u64(out.time_be, now_unix_s);
	qp_auth_fill(&c->cfg.random, c->ephemeral, sizeof(c->ephemeral));
	if (crypto_scalarmult_base(out.ephemeral_public, c->ephemeral) != 0)
		return QP_E_CRYPTO;
	qp_auth_hmac(psk->bytes, psk->len, out.time_be, sizeof(out.time_be), out.ephemeral_public,
		sizeof(out.ephemeral_public), out.mac);
	memcpy(step1, &out, sizeof(out));
	*step1_len = sizeof(out);
	return QP_OK;
}

int
qp_auth_client_begin(const struct qp_auth_client_config *cfg, uint64_t now_unix_s,
	struct qp_auth_client **out, uint8_t step1[QP_WIRE_MAX_STEP1_BYTES], size_t *step1_len)
{
	struct qp_auth_client *c;
	int err;

	*out = NULL;
	if (!config_usable(cfg))
		return QP_E_INVAL;
	c = sodium_malloc(sizeof(*c));
	if (c == NULL)
		return QP_E_NOMEM;
	memset(c, 0, sizeof(*c));
	c->cfg = *cfg;
	if (cfg->method == QP_AUTH_X25519)
		err = begin_x25519(c, step1, step1_len);
	else
		err = begin_psk(c, now_unix_s, step1, step1_len);
	if (err != QP_OK) {
		qp_auth_client_free(c);
		return err;
	}
	c->waiting = true;
	*out = c;
	return QP_OK;
}

size_t
qp_auth_client_reply_bytes(const struct qp_auth_client *c)
{
	return c->cfg.method == QP_AUTH_X25519 ? QP_WIRE_X25519_STEP2_BYTES :
						 QP_WIRE_PSK_STEP2_BYTES;
}

static int
reply_x25519(struct qp_auth_client *c, const uint8_t *bytes, uint8_t *step3, const char **why)
{
	const uint8_t *private_key = c->cfg.private_key->bytes;
	struct qp_x25519_step2 in;
	uint8_t expected[32];
	int err;

	memcpy(&in, bytes, sizeof(in));
	if (sodium_memcmp(in.server_public, c->cfg.server_key, sizeof(in.server_public)) != 0)
		return qp_auth_refuse(why, QP_E_AUTH, "server has another key than the expected one");
	err = qp_auth_shared_hmac(private_key, in.server_public, c->challenge, expected);
	if (err == QP_OK && sodium_memcmp(expected, in.response, sizeof(expected)) != 0)
		err = QP_E_AUTH;
	sodium_memzero(expected, sizeof(expected));
	if (err != QP_OK)
		return qp_auth_refuse(why, err, "server does not hold its private key");
	err = qp_auth_shared_hmac(private_key, in.ephemeral_public, in.challenge, step3);
	if (err != QP_OK)
		return qp_auth_refuse(why, err, "server's ephemeral key is a point of low order");
	return QP_OK;
}

static int
reply_psk(struct qp_auth_client *c, const uint8_t *bytes, uint8_t *step3, const char **why)
{
	const struct qp_secret *psk = c->cfg.psk;
	struct qp_psk_step2 in;
	uint8_t mac[32];
	int err;

	memcpy(&in, bytes, sizeof(in));
	qp_auth_hmac(psk->bytes, psk->len, in.challenge, sizeof(in.challenge), in.ephemeral_public,
		sizeof(in.ephemeral_public), mac);
	err = sodium_memcmp(mac, in.mac, sizeof(mac));
	sodium_memzero(mac, sizeof(mac));
	if (err != 0)
		return qp_auth_refuse(why, QP_E_AUTH, "server has another pre-shared key");
	err = qp_auth_shared_hmac(c->ephemeral, in.ephemeral_public, in.challenge, step3);
	if (err != QP_OK)
		return qp_auth_refuse(why, err, "server's ephemeral key is a point of low order");
	return QP_OK;
}

int
qp_auth_client_reply(struct qp_auth_client *c, const uint8_t *step2, size_t len,
	uint8_t step3[QP_WIRE_STEP3_BYTES], const char **why)
{
	int err;

	if (!c->waiting)
		return qp_auth_refuse(why, QP_E_AUTH, "a second reply");
	c->waiting = false;
	if (len != qp_auth_client_reply_bytes(c))
		return qp_auth_refuse(why, QP_E_PROTO, "server's reply has the wrong length");
	if (c->cfg.method == QP_AUTH_X25519)
		err = reply_x25519(c, step2, step3, why);
	else
		err = reply_psk(c, step2, step3, why);
	sodium_memzero(c->challenge, sizeof(c->challenge));
	sodium_memzero(c->ephemeral, sizeof(c->ephemeral));
	return err;
}

void
qp_auth_client_free(struct qp_auth_client *c)
{
	sodium_free(c);
}
