/* SPDX-License-Identifier: Apache-2.0 */
/* Key pairs for wolfSSL's key shares (common/quicx25519.c) against two other implementations. */
#include <criterion/criterion.h>
#include <sodium.h>
#include <string.h>

#include "common/quicglue.h"

#include <wolfssl/wolfcrypt/curve25519.h>
#include <wolfssl/wolfcrypt/error-crypt.h>

#define KEYS 1000

static WC_RNG rng;

static void
start(void)
{
	cr_assert_eq(qp_quic_init(), QP_OK);
	cr_assert_eq(wc_InitRng(&rng), 0);
}

static void
stop(void)
{
	wc_FreeRng(&rng);
}

TestSuite(x25519, .init = start, .fini = stop, .timeout = 60);

Test(x25519, made_public_key_is_what_the_ladder_gives)
{
	for (int i = 0; i < KEYS; i++) {
		uint8_t private[32], public[32], expected[32];
		word32 nprivate = sizeof(private), npublic = sizeof(public);
		curve25519_key key;

		cr_assert_eq(wc_curve25519_init(&key), 0);
		cr_assert_eq(wc_curve25519_make_key(&rng, 32, &key), 0);
		cr_assert_eq(wc_curve25519_export_key_raw_ex(&key, private, &nprivate, public, &npublic,
				     EC25519_LITTLE_ENDIAN),
			0);
		wc_curve25519_free(&key);
		cr_assert_eq(wc_curve25519_make_pub(32, expected, 32, private), 0);
		cr_assert_arr_eq(public, expected, 32, "key %d, wolfSSL's own", i);
		cr_assert_eq(crypto_scalarmult_base(expected, private), 0);
		cr_assert_arr_eq(public, expected, 32, "key %d, libsodium's", i);
	}
}

Test(x25519, made_keys_differ_and_agree)
{
	uint8_t one[32], other[32];
	word32 len = sizeof(one);
	curve25519_key a, b;

	cr_assert_eq(wc_curve25519_init(&a) | wc_curve25519_init(&b), 0);
	cr_assert_eq(wc_curve25519_make_key(&rng, 32, &a), 0);
	cr_assert_eq(wc_curve25519_make_key(&rng, 32, &b), 0);
	cr_assert(memcmp(a.k, b.k, 32) != 0);
	cr_assert_eq(wc_curve25519_shared_secret(&a, &b, one, &len), 0);
	cr_assert_eq(wc_curve25519_shared_secret(&b, &a, other, &len), 0);
	cr_assert_arr_eq(one, other, 32);
	wc_curve25519_free(&a);
	wc_curve25519_free(&b);
}

Test(x25519, wrong_arguments_are_refused)
{
	curve25519_key key;

	cr_assert_eq(wc_curve25519_init(&key), 0);
	cr_expect_eq(wc_curve25519_make_key(&rng, 31, &key), ECC_BAD_ARG_E);
	cr_expect_eq(wc_curve25519_make_key(&rng, 32, NULL), BAD_FUNC_ARG);
	cr_expect_eq(wc_curve25519_make_key(NULL, 32, &key), BAD_FUNC_ARG);
	wc_curve25519_free(&key);
}
