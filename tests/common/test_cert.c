/* SPDX-License-Identifier: Apache-2.0 */
/* The server's certificate on disk. */
/* wolfSSL's options come before any other of its headers. */
#include <wolfssl/options.h>

#include "common/cert.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <wolfssl/ssl.h>
#include <wolfssl/wolfcrypt/asn_public.h>

#include "common/file.h"
#include "common/keys.h"
#include "tests/common/support.h"

static char cert[512], key[512];

static void
setup(void)
{
	cr_assert(eq(int, qp_keys_init(), QP_OK));
	scratch_make();
	snprintf(cert, sizeof(cert), "%s", scratch_path("d/cert.pem"));
	snprintf(key, sizeof(key), "%s", scratch_path("d/key.pem"));
}

TestSuite(cert, .init = setup, .fini = scratch_remove);

static unsigned
mode_of(const char *path)
{
	struct stat st;

	cr_assert(eq(int, stat(path, &st), 0));
	return st.st_mode & 07777;
}

Test(cert, ensure_makes_once_and_reuses)
{
	char first[QP_FINGERPRINT_TEXT_BYTES], second[QP_FINGERPRINT_TEXT_BYTES];
	struct qp_errmsg msg;
	bool created;

	cr_assert(eq(int, qp_cert_ensure(cert, key, &created, &msg), QP_OK), "%s", msg.text);
	cr_assert(created);
	cr_assert(eq(uint, mode_of(key), 0600));
	cr_assert(eq(uint, mode_of(cert), 0644));
	cr_assert(eq(uint, mode_of(scratch_path("d")), 0700));
	cr_assert(eq(int, qp_cert_fingerprint_file(cert, first, &msg), QP_OK));
	cr_assert(eq(int, qp_cert_ensure(cert, key, &created, &msg), QP_OK), "%s", msg.text);
	cr_assert(not(created));
	cr_assert(eq(int, qp_cert_fingerprint_file(cert, second, &msg), QP_OK));
	cr_assert(eq(str, first, second));
}

Test(cert, fingerprint_has_the_form_of_known_hosts)
{
	char text[QP_FINGERPRINT_TEXT_BYTES];

	/* SHA-256 of "abc", FIPS 180-4's example. */
	qp_cert_fingerprint((const uint8_t *)"abc", 3, text);
	cr_assert(eq(str, text, "BA:78:16:BF:8F:01:CF:EA:41:41:40:DE:5D:AE:22:23:"
				"B0:03:61:A3:96:17:7A:9C:B4:10:FF:61:F2:00:15:AD"));
}

static WOLFSSL_X509 *
load(void)
{
	WOLFSSL_X509 *x = wolfSSL_X509_load_certificate_file(cert, WOLFSSL_FILETYPE_PEM);

	cr_assert(ne(ptr, x, NULL), "wolfSSL parses what we wrote");
	return x;
}

Test(cert, made_certificate_says_what_the_protocol_wants)
{
	static const char *const names[] = {"localhost", "quicport"};
	char cn[64] = "", *alt;
	struct qp_errmsg msg;
	bool seen[2] = {false};
	WOLFSSL_X509 *x;

	cr_assert(eq(int, qp_cert_ensure(cert, key, NULL, &msg), QP_OK), "%s", msg.text);
	x = load();
	wolfSSL_X509_NAME_get_text_by_NID(wolfSSL_X509_get_subject_name(x), NID_commonName, cn,
		sizeof(cn));
	cr_assert(eq(str, cn, "quicport"));
	while ((alt = wolfSSL_X509_get_next_altname(x)) != NULL) {
		for (int i = 0; i < 2; i++)
			seen[i] |= strcmp(alt, names[i]) == 0;
	}
	cr_assert(seen[0] && seen[1]);
	cr_assert(eq(int, wolfSSL_X509_version(x), 3));
	cr_assert(eq(int, wolfSSL_X509_get_isCA(x), 0));
	cr_assert(eq(int, wolfSSL_X509_get_signature_type(x), CTC_SHA256wECDSA));
	wolfSSL_X509_free(x);
}

Test(cert, made_certificate_is_signed_by_its_own_key_and_valid_for_long)
{
	struct qp_errmsg msg;
	WOLFSSL_EVP_PKEY *public_key;
	WOLFSSL_X509 *x;
	time_t later = time(NULL) + 99L * 365 * 86400;

	cr_assert(eq(int, qp_cert_ensure(cert, key, NULL, &msg), QP_OK), "%s", msg.text);
	x = load();
	cr_assert(lt(int, wolfSSL_X509_cmp_current_time(wolfSSL_X509_get_notBefore(x)), 0));
	cr_assert(gt(int, wolfSSL_X509_cmp_time(wolfSSL_X509_get_notAfter(x), &later), 0));
	public_key = wolfSSL_X509_get_pubkey(x);
	cr_assert(eq(int, wolfSSL_X509_verify(x, public_key), WOLFSSL_SUCCESS));
	wolfSSL_EVP_PKEY_free(public_key);
	wolfSSL_X509_free(x);
}

Test(cert, key_without_certificate_gets_one)
{
	struct qp_errmsg msg;
	bool created;

	cr_assert(eq(int, qp_cert_ensure(cert, key, NULL, &msg), QP_OK));
	cr_assert(eq(int, unlink(cert), 0));
	cr_assert(eq(int, qp_cert_ensure(cert, key, &created, &msg), QP_OK), "%s", msg.text);
	cr_assert(created);
}

Test(cert, certificate_without_key_is_refused_and_left_alone)
{
	struct qp_errmsg msg;

	cr_assert(eq(int, qp_cert_ensure(cert, key, NULL, &msg), QP_OK));
	cr_assert(eq(int, unlink(key), 0));
	cr_assert(eq(int, qp_cert_ensure(cert, key, NULL, &msg), QP_E_NOTFOUND));
	cr_assert(ne(ptr, strstr(msg.text, "has no private key"), NULL));
	cr_assert(ne(int, access(key, F_OK), 0));
	cr_assert(eq(int, access(cert, F_OK), 0));
}

Test(cert, pair_that_does_not_belong_together_is_refused)
{
	char other_cert[512], other_key[512];
	struct qp_errmsg msg;

	snprintf(other_cert, sizeof(other_cert), "%s", scratch_path("o/cert.pem"));
	snprintf(other_key, sizeof(other_key), "%s", scratch_path("o/key.pem"));
	cr_assert(eq(int, qp_cert_ensure(cert, key, NULL, &msg), QP_OK));
	cr_assert(eq(int, qp_cert_ensure(other_cert, other_key, NULL, &msg), QP_OK));
	cr_assert(eq(int, qp_cert_check(cert, other_key, &msg), QP_E_INVAL));
	cr_assert(ne(ptr, strstr(msg.text, other_key), NULL));
	cr_assert(ne(ptr, strstr(msg.text, cert), NULL));
}

Test(cert, rubbish_is_refused_by_name)
{
	struct qp_errmsg msg;
	const char *rubbish = scratch_file("rubbish", "-----BEGIN CERTIFICATE-----\nAAAA\n", 0600);
	char text[QP_FINGERPRINT_TEXT_BYTES];

	cr_assert(eq(int, qp_cert_ensure(cert, key, NULL, &msg), QP_OK));
	cr_assert(eq(int, qp_cert_check(rubbish, key, &msg), QP_E_INVAL));
	cr_assert(ne(ptr, strstr(msg.text, rubbish), NULL));
	cr_assert(eq(int, qp_cert_check(cert, rubbish, &msg), QP_E_INVAL));
	cr_assert(ne(ptr, strstr(msg.text, rubbish), NULL));
	cr_assert(eq(int, qp_cert_check(cert, scratch_path("no"), &msg), QP_E_NOTFOUND));
	cr_assert(eq(int, qp_cert_fingerprint_file(rubbish, text, &msg), QP_E_INVAL));
	cr_assert(eq(int, qp_cert_ensure(scratch_path("new.pem"), rubbish, NULL, &msg),
		QP_E_INVAL));
	cr_assert(ne(ptr, strstr(msg.text, rubbish), NULL));
}

static void *
ensure(void *unused)
{
	(void)unused;
	return qp_cert_ensure(cert, key, NULL, NULL) == QP_OK ? cert : NULL;
}

Test(cert, made_by_many_at_once_is_one_pair)
{
	pthread_t threads[6];
	struct qp_errmsg msg;
	void *ok;

	for (int i = 0; i < 6; i++)
		pthread_create(&threads[i], NULL, ensure, NULL);
	for (int i = 0; i < 6; i++) {
		pthread_join(threads[i], &ok);
		cr_assert(ne(ptr, ok, NULL));
	}
	cr_assert(eq(int, qp_cert_check(cert, key, &msg), QP_OK), "%s", msg.text);
}
