/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What wolfSSL tells QUIC during a handshake: secrets, handshake bytes, alerts.
 * As ngtcp2's backend does it, except that 1-RTT keys of AES-GCM suites, and a
 * server's handshake keys to send with, become contexts of quicseal.c. The TLS
 * object's user data is a ngtcp2_crypto_conn_ref.
 */
#include <sodium.h>

#include "common/quicseal_impl.h"

static ngtcp2_conn *
conn_of(WOLFSSL *ssl)
{
	ngtcp2_crypto_conn_ref *ref = wolfSSL_get_app_data(ssl);

	return ref->get_conn(ref);
}

static ngtcp2_encryption_level
level_of(WOLFSSL_ENCRYPTION_LEVEL level)
{
	switch (level) {
	case wolfssl_encryption_initial:
		return NGTCP2_ENCRYPTION_LEVEL_INITIAL;
	case wolfssl_encryption_early_data:
		return NGTCP2_ENCRYPTION_LEVEL_0RTT;
	case wolfssl_encryption_handshake:
		return NGTCP2_ENCRYPTION_LEVEL_HANDSHAKE;
	case wolfssl_encryption_application:
		return NGTCP2_ENCRYPTION_LEVEL_1RTT;
	}
	return NGTCP2_ENCRYPTION_LEVEL_INITIAL;
}

bool
qp_seal_serves(ngtcp2_conn *conn)
{
	const ngtcp2_crypto_ctx *ctx = ngtcp2_conn_get_crypto_ctx(conn);

	return ngtcp2_conn_get_negotiated_version(conn) == NGTCP2_PROTO_VER_V1 &&
	       ctx->aead.native_handle != NULL &&
	       wolfSSL_quic_aead_is_gcm(ctx->aead.native_handle);
}

/* The peer's transport parameters, before anything may be sent to it (RFC 9000, 7.4). */
static int
take_parameters(ngtcp2_conn *conn, WOLFSSL *ssl)
{
	const uint8_t *bytes;
	size_t len;
	int rv;

	wolfSSL_get_peer_quic_transport_params(ssl, &bytes, &len);
	rv = ngtcp2_conn_decode_and_set_remote_transport_params(conn, bytes, len);
	if (rv != 0)
		ngtcp2_conn_set_tls_error(conn, rv);
	return rv;
}

/* One direction's keys, as contexts of ours; on failure neither is left. */
static int
make_contexts(ngtcp2_conn *conn, const uint8_t *secret, size_t len, struct qp_seal_keys *keys,
	ngtcp2_crypto_aead_ctx *aead, ngtcp2_crypto_cipher_ctx *hp)
{
	const ngtcp2_crypto_ctx *ctx = ngtcp2_conn_get_crypto_ctx(conn);
	size_t key_len = ngtcp2_crypto_aead_keylen(&ctx->aead);
	int err = qp_seal_derive(keys, key_len, &ctx->md, secret, len);

	if (err == QP_OK)
		err = qp_seal_aead_new(aead, keys->key, key_len);
	if (err != QP_OK)
		return err;
	err = qp_seal_hp_new(hp, keys->hp, key_len);
	if (err != QP_OK)
		qp_seal_delete_aead(conn, aead, NULL);
	return err;
}

static int
hand_over(ngtcp2_conn *conn, ngtcp2_encryption_level level, bool rx, const uint8_t *secret, size_t len,
	const struct qp_seal_keys *keys, const ngtcp2_crypto_aead_ctx *aead,
	const ngtcp2_crypto_cipher_ctx *hp)
{
	if (level == NGTCP2_ENCRYPTION_LEVEL_HANDSHAKE)
		return ngtcp2_conn_install_tx_handshake_key(
			conn, aead, keys->iv, sizeof(keys->iv), hp);
	return rx ? ngtcp2_conn_install_rx_key(
			    conn, secret, len, aead, keys->iv, sizeof(keys->iv), hp)
		  : ngtcp2_conn_install_tx_key(
			    conn, secret, len, aead, keys->iv, sizeof(keys->iv), hp);
}

static int
install(ngtcp2_conn *conn, WOLFSSL *ssl, ngtcp2_encryption_level level, bool rx, const uint8_t *secret,
	size_t len)
{
	ngtcp2_crypto_aead_ctx aead = {0};
	ngtcp2_crypto_cipher_ctx hp = {0};
	struct qp_seal_keys keys;
	int rv = make_contexts(conn, secret, len, &keys, &aead, &hp);

	if (rv == QP_OK) {
		if (rx && !ngtcp2_conn_is_server(conn))
			rv = take_parameters(conn, ssl);
		if (rv == 0)
			rv = hand_over(conn, level, rx, secret, len, &keys, &aead, &hp);
		if (rv != 0) {
			qp_seal_delete_aead(conn, &aead, NULL);
			qp_seal_delete_cipher(conn, &hp, NULL);
		}
	}
	sodium_memzero(&keys, sizeof(keys));
	return rv;
}

/* What the client offered, and which suite it will be. */
static int
begin_server(ngtcp2_conn *conn, WOLFSSL *ssl)
{
	ngtcp2_crypto_ctx ctx;

	if (ngtcp2_conn_get_negotiated_version(conn) == 0 &&
		take_parameters(conn, ssl) != 0)
		return -1;
	if (ngtcp2_conn_get_crypto_ctx(conn)->aead.native_handle != NULL)
		return 0;
	if (ngtcp2_crypto_ctx_tls(&ctx, ssl) == NULL)
		return -1;
	ngtcp2_conn_set_crypto_ctx(conn, &ctx);
	return 0;
}

/*
 * A server's handshake keys to send with, and its transport parameters. The
 * backend frees the keys when there is no memory for the parameters, although
 * the connection has them by then, and frees them again.
 */
static int
install_server_handshake(ngtcp2_conn *conn, WOLFSSL *ssl, const uint8_t *secret, size_t len)
{
	uint8_t parameters[256];
	ngtcp2_ssize n;

	if (install(conn, ssl, NGTCP2_ENCRYPTION_LEVEL_HANDSHAKE, false, secret, len) != 0)
		return -1;
	n = ngtcp2_conn_encode_local_transport_params(conn, parameters, sizeof(parameters));
	if (n < 0 || wolfSSL_set_quic_transport_params(ssl, parameters, (size_t)n) != WOLFSSL_SUCCESS)
		return -1;
	return 0;
}

static int
install_tx(ngtcp2_conn *conn, WOLFSSL *ssl, ngtcp2_encryption_level level, const uint8_t *secret, size_t len)
{
	bool begins = level == NGTCP2_ENCRYPTION_LEVEL_HANDSHAKE && ngtcp2_conn_is_server(conn);

	if (begins && begin_server(conn, ssl) != 0)
		return -1;
	if (begins && qp_seal_serves(conn))
		return install_server_handshake(conn, ssl, secret, len);
	if (level == NGTCP2_ENCRYPTION_LEVEL_1RTT && qp_seal_serves(conn))
		return install(conn, ssl, level, false, secret, len);
	return ngtcp2_crypto_derive_and_install_tx_key(conn, NULL, NULL, NULL, level, secret, len);
}

static int
install_rx(ngtcp2_conn *conn, WOLFSSL *ssl, ngtcp2_encryption_level level, const uint8_t *secret, size_t len)
{
	if (level == NGTCP2_ENCRYPTION_LEVEL_1RTT && qp_seal_serves(conn))
		return install(conn, ssl, level, true, secret, len);
	return ngtcp2_crypto_derive_and_install_rx_key(conn, NULL, NULL, NULL, level, secret, len);
}

static int
set_secrets(WOLFSSL *ssl, WOLFSSL_ENCRYPTION_LEVEL wolf_level, const uint8_t *rx, const uint8_t *tx,
	size_t len)
{
	ngtcp2_encryption_level level = level_of(wolf_level);
	ngtcp2_conn *conn = conn_of(ssl);

	if (rx != NULL && install_rx(conn, ssl, level, rx, len) != 0)
		return 0;
	return tx == NULL || install_tx(conn, ssl, level, tx, len) == 0;
}

static int
add_handshake_data(WOLFSSL *ssl, WOLFSSL_ENCRYPTION_LEVEL level, const uint8_t *data, size_t len)
{
	ngtcp2_conn *conn = conn_of(ssl);
	int rv = ngtcp2_conn_submit_crypto_data(conn, level_of(level), data, len);

	if (rv != 0)
		ngtcp2_conn_set_tls_error(conn, rv);
	return rv == 0;
}

static int
flush_flight(WOLFSSL *ssl)
{
	(void)ssl;
	return 1;
}

static int
send_alert(WOLFSSL *ssl, WOLFSSL_ENCRYPTION_LEVEL level, uint8_t alert)
{
	(void)level;
	ngtcp2_conn_set_tls_alert(conn_of(ssl), alert);
	return 1;
}

int
qp_seal_configure_ctx(WOLFSSL_CTX *ctx, struct qp_errmsg *msg)
{
	static const WOLFSSL_QUIC_METHOD method = {
		.set_encryption_secrets = set_secrets,
		.add_handshake_data = add_handshake_data,
		.flush_flight = flush_flight,
		.send_alert = send_alert,
	};

	if (wolfSSL_CTX_set_quic_method(ctx, &method) != WOLFSSL_SUCCESS)
		return qp_fail(msg, QP_E_CRYPTO, "TLS: cannot set the QUIC callbacks");
	return QP_OK;
}
