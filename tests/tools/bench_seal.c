/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The floor under the benchmarks: what wolfCrypt alone needs to seal and open a
 * packet, and for the public-key part of a handshake, on one CPU. One line of
 * JSON. No network, no DPDK.
 */
#include <errno.h>
#include <getopt.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/quicseal.h"

#include <wolfssl/wolfcrypt/curve25519.h>
#include <wolfssl/wolfcrypt/ecc.h>
#include <wolfssl/wolfcrypt/random.h>

/* wolfSSL's own, not common/quicx25519.c's: by the linker's --wrap. */
int __real_wc_curve25519_make_key(WC_RNG *rng, int key_bytes, curve25519_key *key);

#define HEADER    11u  /* of a short-header packet with a connection id of 8 bytes */
#define TAG       16u
#define BUFFERS   64u
#define BATCH     2048u
#define MAX_BYTES 9216u
#define ROUNDS    301u

static const uint8_t key[16] = {1}, nonce[12] = {2};
static uint8_t plain[BUFFERS][MAX_BYTES], sealed[BUFFERS][MAX_BYTES];

static void
must(int ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "bench-seal: %s failed\n", what);
	exit(1);
}

static double
now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

static int
compare(const void *a, const void *b)
{
	const double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* Runs `batch` again and again for that time: the median of what one operation took, in ns. */
static double
measure(double seconds, unsigned each, void (*batch)(void *ctx), void *ctx)
{
	const double end = now_ns() + seconds * 1e9;
	static double took[ROUNDS];
	unsigned n = 0;

	batch(ctx); /* tables and caches */
	while (n < ROUNDS && (n < 5 || now_ns() < end)) {
		const double start = now_ns();

		batch(ctx);
		took[n++] = (now_ns() - start) / each;
	}
	qsort(took, n, sizeof(took[0]), compare);
	return took[n / 2];
}

struct packets {
	ngtcp2_crypto_aead_ctx ctx;
	size_t bytes;
};

static void
seal_batch(void *ctx)
{
	const struct packets *p = ctx;

	for (unsigned i = 0; i < BATCH; i++)
		must(qp_seal_encrypt(sealed[i % BUFFERS] + HEADER, NULL, &p->ctx, plain[i % BUFFERS],
			     p->bytes - HEADER - TAG, nonce, sizeof(nonce), sealed[i % BUFFERS],
			     HEADER) == 0, "sealing");
}

static void
open_batch(void *ctx)
{
	const struct packets *p = ctx;

	for (unsigned i = 0; i < BATCH; i++)
		must(qp_seal_decrypt(plain[i % BUFFERS], NULL, &p->ctx, sealed[i % BUFFERS] + HEADER,
			     p->bytes - HEADER, nonce, sizeof(nonce), sealed[i % BUFFERS],
			     HEADER) == 0, "opening");
}

struct keys {
	WC_RNG rng;
	ecc_key sign;
	curve25519_key own, peer;
};

#define SIGN_BATCH 32u

static void
sign_batch(void *ctx)
{
	const uint8_t hash[32] = {3};
	struct keys *k = ctx;
	uint8_t sig[128];

	for (unsigned i = 0; i < SIGN_BATCH; i++) {
		word32 len = sizeof(sig);

		must(wc_ecc_sign_hash(hash, sizeof(hash), sig, &len, &k->rng, &k->sign) == 0, "signing");
	}
}

static void
share_batch(void *ctx)
{
	struct keys *k = ctx;
	curve25519_key own;

	for (unsigned i = 0; i < SIGN_BATCH; i++) {
		must(wc_curve25519_init(&own) == 0 &&
				__real_wc_curve25519_make_key(&k->rng, 32, &own) == 0, "a key share");
		wc_curve25519_free(&own);
	}
}

static void
agree_batch(void *ctx)
{
	struct keys *k = ctx;
	uint8_t secret[32];

	for (unsigned i = 0; i < SIGN_BATCH; i++) {
		word32 len = sizeof(secret);

		must(wc_curve25519_shared_secret_ex(&k->own, &k->peer, secret, &len,
			     EC25519_LITTLE_ENDIAN) == 0, "agreeing");
	}
}

static void
make_keys(struct keys *k)
{
	must(wc_InitRng(&k->rng) == 0, "the random generator");
	must(wc_ecc_init(&k->sign) == 0 && wc_ecc_make_key(&k->rng, 32, &k->sign) == 0, "a P-256 key");
	must(wc_curve25519_init(&k->own) == 0 && wc_curve25519_make_key(&k->rng, 32, &k->own) == 0 &&
			wc_curve25519_init(&k->peer) == 0 &&
			wc_curve25519_make_key(&k->rng, 32, &k->peer) == 0, "an X25519 key");
}

static void
pin(int cpu)
{
	cpu_set_t set;

	if (cpu < 0)
		return;
	CPU_ZERO(&set);
	CPU_SET((unsigned)cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set) == 0)
		return;
	fprintf(stderr, "bench-seal: --cpu %d: %s\n", cpu, strerror(errno));
	exit(2);
}

static long
number(const char *name, const char *text, long min, long max)
{
	char *end;
	const long v = strtol(text, &end, 10);

	if (*text != '\0' && *end == '\0' && v >= min && v <= max)
		return v;
	fprintf(stderr, "bench-seal: --%s %s: expected a number from %ld to %ld\n", name, text, min, max);
	exit(2);
}

int
main(int argc, char **argv)
{
	static const struct option options[] = {{"cpu", required_argument, NULL, 'c'},
		{"bytes", required_argument, NULL, 'b'}, {"milliseconds", required_argument, NULL, 'm'},
		{"help", no_argument, NULL, 'h'}, {0}};
	struct packets p = {.bytes = 1452};
	double seconds = 0.3, seal, open, sign, share, agree;
	struct keys k;
	int cpu = -1, c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 'c')
			cpu = (int)number("cpu", optarg, 0, CPU_SETSIZE - 1);
		else if (c == 'b')
			p.bytes = (size_t)number("bytes", optarg, 64, MAX_BYTES);
		else if (c == 'm')
			seconds = (double)number("milliseconds", optarg, 10, 60000) / 1e3;
		else {
			printf("Usage: bench-seal [--cpu N] [--bytes PACKET] [--milliseconds EACH]\n");
			return c == 'h' ? 0 : 2;
		}
	}
	pin(cpu);
	must(qp_seal_aead_new(&p.ctx, key, sizeof(key)) == 0, "an AES-128-GCM key");
	make_keys(&k);
	seal = measure(seconds, BATCH, seal_batch, &p);
	open = measure(seconds, BATCH, open_batch, &p);
	sign = measure(seconds, SIGN_BATCH, sign_batch, &k);
	share = measure(seconds, SIGN_BATCH, share_batch, &k);
	agree = measure(seconds, SIGN_BATCH, agree_batch, &k);
	printf("{\"packet_bytes\": %zu, \"seal_ns_per_packet\": %.2f, \"open_ns_per_packet\": %.2f, "
	       "\"sign_p256_ns\": %.1f, \"x25519_share_ns\": %.1f, \"x25519_agree_ns\": %.1f}\n",
		p.bytes, seal, open, sign, share, agree);
	qp_seal_delete_aead(NULL, &p.ctx, NULL);
	return 0;
}
