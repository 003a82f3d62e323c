/* SPDX-License-Identifier: Apache-2.0 */
/*
 * X25519 key pairs (RFC 7748, 6.1) for wolfSSL's key shares. wolfSSL climbs the
 * Montgomery ladder for the public key as if the base point were anybody's. The
 * same multiple by its Ed25519 tables, on the curve that is the same one in other
 * coordinates (RFC 7748, 4.1), takes a third of the time, without branches or
 * addresses that depend on the key either. The linker puts this in place of
 * wolfSSL's (common/meson.build). Any thread.
 */
#include <sodium.h>

#include <wolfssl/options.h>
#include <wolfssl/wolfcrypt/curve25519.h>
#include <wolfssl/wolfcrypt/error-crypt.h>
#include <wolfssl/wolfcrypt/fe_operations.h>
#include <wolfssl/wolfcrypt/ge_operations.h>

int __wrap_wc_curve25519_make_key(WC_RNG *rng, int key_bytes, curve25519_key *key);

/* u = (1 + y) / (1 - y); y is that of `scalar` times the base point, as Y / Z. */
static void
public_of(uint8_t u[CURVE25519_KEYSIZE], const uint8_t scalar[CURVE25519_KEYSIZE])
{
	fe above, below;
	ge_p3 point;

	fe_init();
	ge_scalarmult_base(&point, scalar);
	fe_add(above, point.Z, point.Y);
	fe_sub(below, point.Z, point.Y);
	fe_invert(below, below);
	fe_mul(above, above, below);
	fe_tobytes(u, above);
}

int
__wrap_wc_curve25519_make_key(WC_RNG *rng, int key_bytes, curve25519_key *key)
{
	uint8_t scalar[CURVE25519_KEYSIZE], u[CURVE25519_KEYSIZE];
	int rc = key != NULL ? wc_curve25519_make_priv(rng, key_bytes, scalar) : BAD_FUNC_ARG;

	if (rc == 0) {
		public_of(u, scalar);
		rc = wc_curve25519_import_private_raw_ex(scalar, sizeof(scalar), u, sizeof(u), key,
			EC25519_LITTLE_ENDIAN);
	}
	sodium_memzero(scalar, sizeof(scalar));
	return rc;
}
