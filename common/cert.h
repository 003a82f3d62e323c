/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_COMMON_CERT_H
#define QP_COMMON_CERT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"

/*
 * The server's self-signed certificate on disk, and fingerprints. In a library
 * of its own (cert_dep), since it needs wolfSSL. Any thread; blocks on files.
 */
#define QP_FINGERPRINT_TEXT_BYTES 96u /* 32 upper-case hex pairs joined by ":" and NUL */

/*
 * Makes sure that both PEM files are there and belong together: reuses what is
 * there, else makes an ECDSA P-256 key (0600) and a certificate (0644; CN
 * quicport, SAN localhost and quicport, serverAuth, valid from a day ago for
 * 100 years), folders 0700. `*created` (NULL is allowed): a certificate was
 * made. A key alone gets its certificate. A certificate alone, a key of another
 * one, unreadable PEM: an error that names the file; nothing is ever
 * overwritten. Processes that start together end up with the same pair.
 */
int qp_cert_ensure(const char *cert_path, const char *key_path, bool *created,
	struct qp_errmsg *msg);

/* Both can be read, parsed, and belong together. */
int qp_cert_check(const char *cert_path, const char *key_path, struct qp_errmsg *msg);

/* Of the first certificate in a PEM file. */
int qp_cert_fingerprint_file(const char *cert_path, char out[QP_FINGERPRINT_TEXT_BYTES],
	struct qp_errmsg *msg);
/* SHA-256 of a DER certificate, as known_hosts has it. */
void qp_cert_fingerprint(const uint8_t *der, size_t len, char out[QP_FINGERPRINT_TEXT_BYTES]);

#endif
