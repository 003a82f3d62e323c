/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random bytes for wolfSSL: the kernel's, by libsodium, as everywhere else here.
 * Each TLS session would have a generator of its own, which tests itself and opens
 * /dev/urandom before its first byte: more than all the bytes of a handshake cost,
 * and no handshake at all in a process that has run out of descriptors. The linker
 * puts these in place of wolfSSL's (common/meson.build). Any thread.
 */
#include <sodium.h>
#include <string.h>

#include <wolfssl/options.h>
#include <wolfssl/wolfcrypt/error-crypt.h>
#include <wolfssl/wolfcrypt/random.h>

int __wrap_wc_InitRng(WC_RNG *rng);
int __wrap_wc_InitRng_ex(WC_RNG *rng, void *heap, int device);
int __wrap_wc_RNG_GenerateBlock(WC_RNG *rng, byte *out, word32 len);

/* Nothing to begin: wolfSSL's own functions find a generator that never was, and fail. */
int
__wrap_wc_InitRng_ex(WC_RNG *rng, void *heap, int device)
{
	if (rng == NULL)
		return BAD_FUNC_ARG;
	memset(rng, 0, sizeof(*rng));
	rng->heap = heap;
	return 0;
}

int
__wrap_wc_InitRng(WC_RNG *rng)
{
	return __wrap_wc_InitRng_ex(rng, NULL, INVALID_DEVID);
}

int
__wrap_wc_RNG_GenerateBlock(WC_RNG *rng, byte *out, word32 len)
{
	if (rng == NULL || out == NULL)
		return BAD_FUNC_ARG;
	randombytes_buf(out, len);
	return 0;
}
