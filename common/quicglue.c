/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What client and data plane tell ngtcp2 and wolfSSL in common. Any thread.
 * Leaves connections, certificates and keys to the two sides.
 */
#include "common/quicglue.h"

#include <stdio.h>
#include <string.h>

#include <sodium.h>

#include "common/clock.h"
#include "common/wire.h"

#define CIPHERS                                                                                    \
	"TLS13-AES128-GCM-SHA256:TLS13-AES256-GCM-SHA384:TLS13-CHACHA20-POLY1305-SHA256"

/* QUIC transport error codes (RFC 9000, 20.1); CRYPTO_ERROR is a range of its own. */
static const char *const transport_errors[] = {
	[NGTCP2_NO_ERROR] = "closed without an error",
	[NGTCP2_INTERNAL_ERROR] = "internal error",
	[NGTCP2_CONNECTION_REFUSED] = "connection refused",
	[NGTCP2_FLOW_CONTROL_ERROR] = "flow control error",
	[NGTCP2_STREAM_LIMIT_ERROR] = "stream limit error",
	[NGTCP2_STREAM_STATE_ERROR] = "stream state error",
	[NGTCP2_FINAL_SIZE_ERROR] = "final size error",
	[NGTCP2_FRAME_ENCODING_ERROR] = "frame encoding error",
	[NGTCP2_TRANSPORT_PARAMETER_ERROR] = "transport parameter error",
	[NGTCP2_CONNECTION_ID_LIMIT_ERROR] = "connection id limit error",
	[NGTCP2_PROTOCOL_VIOLATION] = "protocol violation",
	[NGTCP2_INVALID_TOKEN] = "invalid token",
	[NGTCP2_APPLICATION_ERROR] = "application error",
	[NGTCP2_CRYPTO_BUFFER_EXCEEDED] = "crypto buffer exceeded",
	[NGTCP2_KEY_UPDATE_ERROR] = "key update error",
	[NGTCP2_AEAD_LIMIT_REACHED] = "AEAD limit reached",
	[NGTCP2_NO_VIABLE_PATH] = "no viable path",
};

int
qp_quic_init(void)
{
	if (sodium_init() < 0 || wolfSSL_Init() != WOLFSSL_SUCCESS)
		return QP_E_CRYPTO;
	return QP_OK;
}

ngtcp2_tstamp
qp_quic_now(void)
{
	return qp_now_ns();
}

void
qp_quic_rand(uint8_t *dest, size_t len, const ngtcp2_rand_ctx *ctx)
{
	randombytes_buf(dest, len);
}

/* X(ngtcp2's code without its prefix, ours, words) */
#define LIBERRS(X)                                                                                 \
	X(INVALID_ARGUMENT, QP_E_INVAL, "invalid argument to the QUIC library")                    \
	X(NOBUF, QP_E_NOMEM, "buffer too small for a packet")                                      \
	X(PROTO, QP_E_PROTO, "the peer violated QUIC")                                             \
	X(INVALID_STATE, QP_E_INVAL, "not possible in the connection's state")                     \
	X(ACK_FRAME, QP_E_PROTO, "the peer acknowledged what was never sent")                      \
	X(STREAM_ID_BLOCKED, QP_E_AGAIN, "the peer allows no more streams now")                    \
	X(STREAM_IN_USE, QP_E_INUSE, "stream id in use")                                           \
	X(STREAM_DATA_BLOCKED, QP_E_AGAIN, "the peer takes no more data on the stream now")        \
	X(FLOW_CONTROL, QP_E_PROTO, "the peer exceeded flow control")                              \
	X(CONNECTION_ID_LIMIT, QP_E_PROTO, "the peer exceeded the connection id limit")            \
	X(STREAM_LIMIT, QP_E_PROTO, "the peer exceeded the stream limit")                          \
	X(FINAL_SIZE, QP_E_PROTO, "the peer changed a stream's final size")                        \
	X(CRYPTO, QP_E_CRYPTO, "TLS failed")                                                       \
	X(PKT_NUM_EXHAUSTED, QP_E_FULL, "packet numbers are used up")                              \
	X(REQUIRED_TRANSPORT_PARAM, QP_E_PROTO, "a required transport parameter is missing")       \
	X(MALFORMED_TRANSPORT_PARAM, QP_E_PROTO, "malformed transport parameters")                 \
	X(FRAME_ENCODING, QP_E_PROTO, "malformed frame")                                           \
	X(DECRYPT, QP_E_CRYPTO, "a packet could not be decrypted")                                 \
	X(STREAM_SHUT_WR, QP_E_CLOSED, "the stream is closed for writing")                         \
	X(STREAM_NOT_FOUND, QP_E_NOTFOUND, "no such stream")                                       \
	X(STREAM_STATE, QP_E_PROTO, "the peer used a stream in a wrong state")                     \
	X(RECV_VERSION_NEGOTIATION, QP_E_VERSION, "the peer does not speak QUIC version 1")        \
	X(CLOSING, QP_E_CLOSED, "the connection is closing")                                       \
	X(DRAINING, QP_E_CLOSED, "the peer closed the connection")                                 \
	X(TRANSPORT_PARAM, QP_E_PROTO, "invalid transport parameters")                             \
	X(DISCARD_PKT, QP_E_PROTO, "a packet was discarded")                                       \
	X(CONN_ID_BLOCKED, QP_E_AGAIN, "no unused connection id now")                              \
	X(INTERNAL, QP_E_IO, "internal error of the QUIC library")                                 \
	X(CRYPTO_BUFFER_EXCEEDED, QP_E_PROTO, "the peer sent too much handshake data")             \
	X(WRITE_MORE, QP_E_AGAIN, "the packet has room for more")                                  \
	X(RETRY, QP_E_AGAIN, "a Retry packet is due")                                              \
	X(DROP_CONN, QP_E_CLOSED, "the connection is to be dropped")                               \
	X(AEAD_LIMIT_REACHED, QP_E_CRYPTO, "the keys are used up")                                 \
	X(NO_VIABLE_PATH, QP_E_TIMEOUT, "no network path to the peer works")                       \
	X(VERSION_NEGOTIATION, QP_E_VERSION, "version negotiation is due")                         \
	X(HANDSHAKE_TIMEOUT, QP_E_TIMEOUT, "the handshake was not answered in time")               \
	X(VERSION_NEGOTIATION_FAILURE, QP_E_VERSION, "version negotiation failed")                 \
	X(IDLE_CLOSE, QP_E_TIMEOUT, "nothing was heard for the idle timeout")                      \
	X(NOMEM, QP_E_NOMEM, "out of memory")                                                      \
	X(CALLBACK_FAILURE, QP_E_IO, "a callback failed")

int
qp_quic_err(int liberr)
{
	if (liberr >= 0)
		return QP_OK;
	switch (liberr) {
#define X(name, err, text)                                                                         \
	case NGTCP2_ERR_##name:                                                                    \
		return err;
		LIBERRS(X)
#undef X
	}
	return QP_E_PROTO;
}

const char *
qp_quic_err_text(int liberr)
{
	if (liberr >= 0)
		return "success";
	switch (liberr) {
#define X(name, err, text)                                                                         \
	case NGTCP2_ERR_##name:                                                                    \
		return text;
		LIBERRS(X)
#undef X
	}
	return "unknown error of the QUIC library";
}

static void
transport_error_text(uint64_t code, char *out, size_t size)
{
	size_t known = sizeof(transport_errors) / sizeof(transport_errors[0]);

	if ((code & ~UINT64_C(0xff)) == NGTCP2_CRYPTO_ERROR)
		snprintf(out, size, "TLS alert %u", (unsigned)(code & 0xff));
	else if (code < known && transport_errors[code] != NULL)
		snprintf(out, size, "%s", transport_errors[code]);
	else
		snprintf(out, size, "QUIC error 0x%llx", (unsigned long long)code);
}

void
qp_quic_close_text(const ngtcp2_ccerr *ccerr, char *out, size_t size)
{
	if (ccerr->reasonlen > 0) {
		struct qp_slice phrase = {(const char *)ccerr->reason, ccerr->reasonlen};

		qp_slice_printable(phrase, out, size);
	} else if (ccerr->type == NGTCP2_CCERR_TYPE_APPLICATION) {
		snprintf(out, size, "application error %llu",
			(unsigned long long)ccerr->error_code);
	} else if (ccerr->type == NGTCP2_CCERR_TYPE_IDLE_CLOSE) {
		snprintf(out, size, "%s", qp_quic_err_text(NGTCP2_ERR_IDLE_CLOSE));
	} else {
		transport_error_text(ccerr->error_code, out, size);
	}
}

void
qp_tls_error_text(WOLFSSL *ssl, int ret, char *out, size_t size)
{
	int code = ssl != NULL ? wolfSSL_get_error(ssl, ret) : ret;

	/* The negative code is passed through an unsigned long; wolfSSL casts it back. */
	wolfSSL_ERR_error_string_n((unsigned long)code, out, size);
}

static int
tls_fail(struct qp_errmsg *msg, const char *what, int ret)
{
	char text[WOLFSSL_MAX_ERROR_SZ];

	qp_tls_error_text(NULL, ret, text, sizeof(text));
	return qp_fail(msg, QP_E_CRYPTO, "TLS: cannot set %s: %s", what, text);
}

int
qp_tls_configure_ctx(WOLFSSL_CTX *ctx, struct qp_errmsg *msg)
{
	int groups[] = {WOLFSSL_ECC_X25519, WOLFSSL_ECC_SECP256R1, WOLFSSL_ECC_SECP384R1};
	int ret = wolfSSL_CTX_set_cipher_list(ctx, CIPHERS);

	if (ret != WOLFSSL_SUCCESS)
		return tls_fail(msg, "cipher suites", ret);
	ret = wolfSSL_CTX_set_groups(ctx, groups, sizeof(groups) / sizeof(groups[0]));
	if (ret != WOLFSSL_SUCCESS)
		return tls_fail(msg, "key exchange groups", ret);
	return QP_OK;
}

int
qp_tls_configure_alpn(WOLFSSL *ssl, struct qp_errmsg *msg)
{
	char alpn[] = QP_WIRE_ALPN;
	int ret = wolfSSL_UseALPN(ssl, alpn, sizeof(alpn) - 1, WOLFSSL_ALPN_FAILED_ON_MISMATCH);

	return ret == WOLFSSL_SUCCESS ? QP_OK : tls_fail(msg, "ALPN", ret);
}

int
qp_tls_configure_client(WOLFSSL *ssl, struct qp_errmsg *msg)
{
	int err = qp_tls_configure_alpn(ssl, msg);
	int ret;

	if (err != QP_OK)
		return err;
	ret = wolfSSL_UseSNI(ssl, WOLFSSL_SNI_HOST_NAME, QP_WIRE_SNI, sizeof(QP_WIRE_SNI) - 1);
	if (ret != WOLFSSL_SUCCESS)
		return tls_fail(msg, "SNI", ret);
	ret = wolfSSL_UseKeyShare(ssl, WOLFSSL_ECC_X25519);
	if (ret != WOLFSSL_SUCCESS)
		return tls_fail(msg, "X25519 key share", ret);
	return QP_OK;
}

int
qp_tls_check_alpn(WOLFSSL *ssl)
{
	char *name = NULL;
	unsigned short len = 0;

	if (wolfSSL_ALPN_GetProtocol(ssl, &name, &len) != WOLFSSL_SUCCESS ||
		len != sizeof(QP_WIRE_ALPN) - 1 || memcmp(name, QP_WIRE_ALPN, len) != 0)
		return QP_E_VERSION;
	return QP_OK;
}
