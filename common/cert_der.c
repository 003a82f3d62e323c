/* SPDX-License-Identifier: Apache-2.0 */
/*
 * DER written from its end to its front, so that each length is known when it
 * is written. Reads bottom up: the last call of a function writes the first
 * bytes. Pure; keys, signatures and files are cert.c's.
 */
#include "common/cert_der.h"

#include <sodium.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum {
	DER_BOOLEAN = 0x01,
	DER_INTEGER = 0x02,
	DER_BIT_STRING = 0x03,
	DER_OCTET_STRING = 0x04,
	DER_OID = 0x06,
	DER_UTF8 = 0x0c,
	DER_UTC_TIME = 0x17,
	DER_GENERALIZED_TIME = 0x18,
	DER_SEQUENCE = 0x30,
	DER_SET = 0x31,
	DER_DNS_NAME = 0x82, /* GeneralName [2] */
	DER_VERSION = 0xa0,  /* TBSCertificate [0] */
	DER_EXTENSIONS = 0xa3,
};

/* An object identifier's content and length. */
#define OID(bytes) bytes, sizeof(bytes) - 1
#define ECDSA_WITH_SHA256 OID("\x2a\x86\x48\xce\x3d\x04\x03\x02")
#define EC_PUBLIC_KEY OID("\x2a\x86\x48\xce\x3d\x02\x01")
#define PRIME256V1 OID("\x2a\x86\x48\xce\x3d\x03\x01\x07")
#define COMMON_NAME OID("\x55\x04\x03")
#define SUBJECT_KEY_ID OID("\x55\x1d\x0e")
#define KEY_USAGE OID("\x55\x1d\x0f")
#define SUBJECT_ALT_NAME OID("\x55\x1d\x11")
#define BASIC_CONSTRAINTS OID("\x55\x1d\x13")
#define EXT_KEY_USAGE OID("\x55\x1d\x25")
#define SERVER_AUTH OID("\x2b\x06\x01\x05\x05\x07\x03\x01")

/* [at, QP_CERT_DER_MAX) of buf is written. */
struct der {
	uint8_t *buf;
	size_t at;
	bool overflow;
};

static void
put(struct der *d, const void *bytes, size_t len)
{
	if (d->overflow || len > d->at) {
		d->overflow = true;
		return;
	}
	d->at -= len;
	if (len > 0)
		memcpy(d->buf + d->at, bytes, len);
}

static void
put_byte(struct der *d, unsigned byte)
{
	uint8_t b = (uint8_t)byte;

	put(d, &b, 1);
}

/* Tag and length in front of what was written since `end`. X.690, 8.1.3, 10.1. */
static void
wrap(struct der *d, unsigned tag, size_t end)
{
	size_t len = end - d->at;

	put_byte(d, (unsigned)len & 0xff);
	if (len > 0xff) {
		put_byte(d, (unsigned)(len >> 8));
		put_byte(d, 0x82);
	} else if (len > 0x7f) {
		put_byte(d, 0x81);
	}
	put_byte(d, tag);
}

static void
put_value(struct der *d, unsigned tag, const void *bytes, size_t len)
{
	size_t end = d->at;

	put(d, bytes, len);
	wrap(d, tag, end);
}

static void
put_oid(struct der *d, const char *oid, size_t len)
{
	put_value(d, DER_OID, oid, len);
}

static void
put_bits(struct der *d, const void *bytes, size_t len)
{
	size_t end = d->at;

	put(d, bytes, len);
	put_byte(d, 0); /* unused bits */
	wrap(d, DER_BIT_STRING, end);
}

static void
put_signature_algorithm(struct der *d)
{
	size_t end = d->at;

	put_oid(d, ECDSA_WITH_SHA256);
	wrap(d, DER_SEQUENCE, end);
}

/* UTCTime until 2049, GeneralizedTime from then on (RFC 5280, 4.1.2.5). */
static void
put_time(struct der *d, time_t when)
{
	struct tm tm;
	char text[80];
	int year, n;

	gmtime_r(&when, &tm);
	year = tm.tm_year + 1900;
	n = snprintf(text, sizeof(text), "%04d%02d%02d%02d%02d%02dZ", year, tm.tm_mon + 1,
		tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
	if (year < 2050)
		put_value(d, DER_UTC_TIME, text + 2, (size_t)n - 2);
	else
		put_value(d, DER_GENERALIZED_TIME, text, (size_t)n);
}

static void
put_validity(struct der *d, const struct qp_cert_fields *f)
{
	size_t end = d->at;

	put_time(d, f->not_after);
	put_time(d, f->not_before);
	wrap(d, DER_SEQUENCE, end);
}

/* CN=quicport */
static void
put_name(struct der *d)
{
	size_t end = d->at;

	put_value(d, DER_UTF8, "quicport", 8);
	put_oid(d, COMMON_NAME);
	wrap(d, DER_SEQUENCE, end);
	wrap(d, DER_SET, end);
	wrap(d, DER_SEQUENCE, end);
}

static void
put_public_key(struct der *d, const uint8_t point[QP_CERT_POINT_BYTES])
{
	size_t end = d->at, inner;

	put_bits(d, point, QP_CERT_POINT_BYTES);
	inner = d->at;
	put_oid(d, PRIME256V1);
	put_oid(d, EC_PUBLIC_KEY);
	wrap(d, DER_SEQUENCE, inner);
	wrap(d, DER_SEQUENCE, end);
}

/* Names an extension whose value was written since `end`, and closes it. */
static void
close_extension(struct der *d, size_t end, bool critical, const char *oid, size_t oid_len)
{
	wrap(d, DER_OCTET_STRING, end);
	if (critical)
		put_value(d, DER_BOOLEAN, "\xff", 1);
	put_oid(d, oid, oid_len);
	wrap(d, DER_SEQUENCE, end);
}

static void
put_alt_names(struct der *d)
{
	size_t end = d->at;

	put_value(d, DER_DNS_NAME, "quicport", 8);
	put_value(d, DER_DNS_NAME, "localhost", 9);
	wrap(d, DER_SEQUENCE, end);
	close_extension(d, end, false, SUBJECT_ALT_NAME);
}

/* The left 160 bits of the key's SHA-256 (RFC 7093, 2, method 1). */
static void
put_key_id(struct der *d, const uint8_t point[QP_CERT_POINT_BYTES])
{
	uint8_t hash[crypto_hash_sha256_BYTES];
	size_t end = d->at;

	crypto_hash_sha256(hash, point, QP_CERT_POINT_BYTES);
	put_value(d, DER_OCTET_STRING, hash, 20);
	close_extension(d, end, false, SUBJECT_KEY_ID);
}

static void
put_usage(struct der *d)
{
	size_t end = d->at;

	put_oid(d, SERVER_AUTH);
	wrap(d, DER_SEQUENCE, end);
	close_extension(d, end, false, EXT_KEY_USAGE);
	end = d->at;
	put_value(d, DER_BIT_STRING, "\x07\x80", 2); /* digitalSignature */
	close_extension(d, end, true, KEY_USAGE);
	end = d->at;
	wrap(d, DER_SEQUENCE, end); /* cA is FALSE by default */
	close_extension(d, end, true, BASIC_CONSTRAINTS);
}

static void
put_extensions(struct der *d, const struct qp_cert_fields *f)
{
	size_t end = d->at;

	put_key_id(d, f->point);
	put_usage(d);
	put_alt_names(d);
	wrap(d, DER_SEQUENCE, end);
	wrap(d, DER_EXTENSIONS, end);
}

/* Positive, and without a leading zero byte: RFC 5280, 4.1.2.2. */
static void
put_serial(struct der *d, const uint8_t serial[16])
{
	uint8_t positive[16];

	memcpy(positive, serial, sizeof(positive));
	positive[0] = (uint8_t)((positive[0] & 0x7f) | 0x40);
	put_value(d, DER_INTEGER, positive, sizeof(positive));
}

static void
put_version(struct der *d)
{
	size_t end = d->at;

	put_value(d, DER_INTEGER, "\x02", 1); /* v3 */
	wrap(d, DER_VERSION, end);
}

static size_t
written(const struct der *d)
{
	return d->overflow ? 0 : QP_CERT_DER_MAX - d->at;
}

size_t
qp_cert_tbs(const struct qp_cert_fields *f, uint8_t buf[QP_CERT_DER_MAX])
{
	struct der d = {.buf = buf, .at = QP_CERT_DER_MAX};
	size_t end = d.at;

	put_extensions(&d, f);
	put_public_key(&d, f->point);
	put_name(&d); /* subject */
	put_validity(&d, f);
	put_name(&d); /* issuer */
	put_signature_algorithm(&d);
	put_serial(&d, f->serial);
	put_version(&d);
	wrap(&d, DER_SEQUENCE, end);
	return written(&d);
}

size_t
qp_cert_signed(const uint8_t *tbs, size_t tbs_len, const uint8_t *sig, size_t sig_len,
	uint8_t buf[QP_CERT_DER_MAX])
{
	struct der d = {.buf = buf, .at = QP_CERT_DER_MAX};
	size_t end = d.at;

	put_bits(&d, sig, sig_len);
	put_signature_algorithm(&d);
	put(&d, tbs, tbs_len);
	wrap(&d, DER_SEQUENCE, end);
	return written(&d);
}
