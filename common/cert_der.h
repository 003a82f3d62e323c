/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_COMMON_CERT_DER_H
#define QP_COMMON_CERT_DER_H

#include <stddef.h>
#include <stdint.h>
#include <time.h>

/*
 * A self-signed P-256 certificate as DER (X.690, RFC 5280), for cert.c alone:
 * the fields are all known beforehand, and wolfSSL writes no subject
 * alternative names in the build that design wants. Pure.
 */
#define QP_CERT_DER_MAX 1024u
#define QP_CERT_POINT_BYTES 65u /* 04, X, Y */

struct qp_cert_fields {
	uint8_t serial[16];                 /* random; made positive here */
	time_t not_before;
	time_t not_after;
	uint8_t point[QP_CERT_POINT_BYTES]; /* the public key */
};

/* The part that is signed. Returns its length; the bytes are at the end of `buf`. */
size_t qp_cert_tbs(const struct qp_cert_fields *f, uint8_t buf[QP_CERT_DER_MAX]);

/*
 * The whole: `tbs` and its ECDSA-SHA256 signature (DER). The same return.
 * 0: it does not fit.
 */
size_t qp_cert_signed(const uint8_t *tbs, size_t tbs_len, const uint8_t *sig, size_t sig_len,
	uint8_t buf[QP_CERT_DER_MAX]);

#endif
