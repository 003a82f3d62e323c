/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The floor: sealing packets and nothing else; a signature and a key exchange
 * and nothing else. Medians, in TSC cycles.
 */
#include "tests/dataplane/bench/bench.h"

#include <rte_cycles.h>
#include <string.h>

#include "common/quicseal.h"

#include <wolfssl/wolfcrypt/curve25519.h>
#include <wolfssl/wolfcrypt/ecc.h>
#include <wolfssl/wolfcrypt/random.h>

#define ROUNDS 31
#define HEADER 11u /* of a short-header packet with an id of 8 bytes */
#define TAG 16u

/* wolfSSL's own, not common/quicx25519.c's: by the linker's --wrap. */
int __real_wc_curve25519_make_key(WC_RNG *rng, int key_bytes, curve25519_key *key);

static int
compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double
median(double *v, size_t n)
{
	qsort(v, n, sizeof(*v), compare);
	return v[n / 2];
}

double
bench_seal_cycles(size_t packet)
{
	static uint8_t in[64][2048], out[64][2048];
	const uint8_t key[16] = {1}, nonce[12] = {2};
	ngtcp2_crypto_aead_ctx ctx = {0};
	double took[ROUNDS];

	must(packet <= sizeof(in[0]) && qp_seal_aead_new(&ctx, key, sizeof(key)) == 0);
	for (int r = 0; r < ROUNDS; r++) {
		uint64_t start = rte_rdtsc();

		for (int i = 0; i < 640; i++)
			must(qp_seal_encrypt(out[i % 64] + HEADER, NULL, &ctx, in[i % 64], packet - HEADER - TAG,
				     nonce, sizeof(nonce), out[i % 64], HEADER) == 0);
		took[r] = (double)(rte_rdtsc() - start) / 640;
	}
	qp_seal_delete_aead(NULL, &ctx, NULL);
	return median(took, ROUNDS);
}

/* What a server must do: sign once, make a key share, and agree on a secret. */
double
bench_handshake_cycles(void)
{
	curve25519_key own, peer;
	uint8_t hash[32] = {3}, sig[128], secret[32];
	double took[ROUNDS];
	ecc_key sign;
	WC_RNG rng;

	must(wc_InitRng(&rng) == 0 && wc_ecc_init(&sign) == 0 && wc_curve25519_init(&peer) == 0);
	must(wc_ecc_make_key(&rng, 32, &sign) == 0 && wc_curve25519_make_key(&rng, 32, &peer) == 0);
	for (int r = 0; r < ROUNDS; r++) {
		uint64_t start = rte_rdtsc();

		for (int i = 0; i < 16; i++) {
			word32 sig_len = sizeof(sig), len = sizeof(secret);

			must(wc_ecc_sign_hash(hash, sizeof(hash), sig, &sig_len, &rng, &sign) == 0);
			must(wc_curve25519_init(&own) == 0 && __real_wc_curve25519_make_key(&rng, 32, &own) == 0);
			must(wc_curve25519_shared_secret_ex(
				     &own, &peer, secret, &len, EC25519_LITTLE_ENDIAN) == 0);
			wc_curve25519_free(&own);
		}
		took[r] = (double)(rte_rdtsc() - start) / 16;
	}
	wc_curve25519_free(&peer);
	wc_ecc_free(&sign);
	wc_FreeRng(&rng);
	return median(took, ROUNDS);
}
