/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sets of authorized public keys: a chained table by keyed hash. Readers
 * share it while nobody adds; making it is start-up work.
 */
#include "common/keys.h"

#include <limits.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/file.h"
#include "common/keyfile.h"

#define FIRST_BUCKETS 64u
/* 10,000 keys of 45 bytes and a comment each fit several times over. */
#define PUBKEYS_FILE_MAX (16u << 20)
#define PLACE_BYTES (PATH_MAX + 16)

struct entry {
	struct entry *next;
	uint8_t key[QP_KEY_BYTES];
};

struct qp_keyset {
	struct entry **buckets;
	size_t nbuckets; /* a power of two, at least as many as keys */
	size_t count;
	uint8_t hash_key[crypto_shorthash_KEYBYTES];
};

struct qp_keyset *
qp_keyset_new(void)
{
	struct qp_keyset *set = calloc(1, sizeof(*set));

	if (set == NULL)
		return NULL;
	set->nbuckets = FIRST_BUCKETS;
	set->buckets = calloc(set->nbuckets, sizeof(*set->buckets));
	if (set->buckets == NULL) {
		free(set);
		return NULL;
	}
	crypto_shorthash_keygen(set->hash_key);
	return set;
}

void
qp_keyset_free(struct qp_keyset *set)
{
	if (set == NULL)
		return;
	for (size_t i = 0; i < set->nbuckets; i++) {
		struct entry *next;

		for (struct entry *e = set->buckets[i]; e != NULL; e = next) {
			next = e->next;
			free(e);
		}
	}
	free(set->buckets);
	sodium_memzero(set, sizeof(*set));
	free(set);
}

void
qp_keyset_each(const struct qp_keyset *set,
	void (*take)(void *ctx, const uint8_t key[QP_KEY_BYTES]), void *ctx)
{
	for (size_t i = 0; i < set->nbuckets; i++) {
		for (const struct entry *e = set->buckets[i]; e != NULL; e = e->next)
			take(ctx, e->key);
	}
}

static size_t
bucket_of(const struct qp_keyset *set, size_t nbuckets, const uint8_t key[QP_KEY_BYTES])
{
	uint8_t hash[crypto_shorthash_BYTES];
	uint64_t h;

	_Static_assert(sizeof(h) == crypto_shorthash_BYTES, "SipHash gives 64 bits");
	crypto_shorthash(hash, key, QP_KEY_BYTES, set->hash_key);
	memcpy(&h, hash, sizeof(h));
	return (size_t)h & (nbuckets - 1);
}

static int
grow(struct qp_keyset *set)
{
	size_t n = set->nbuckets * 2;
	struct entry **buckets = calloc(n, sizeof(*buckets));

	if (buckets == NULL)
		return QP_E_NOMEM;
	for (size_t i = 0; i < set->nbuckets; i++) {
		struct entry *next;

		for (struct entry *e = set->buckets[i]; e != NULL; e = next) {
			struct entry **head = &buckets[bucket_of(set, n, e->key)];

			next = e->next;
			e->next = *head;
			*head = e;
		}
	}
	free(set->buckets);
	set->buckets = buckets;
	set->nbuckets = n;
	return QP_OK;
}

int
qp_keyset_add(struct qp_keyset *set, const uint8_t key[QP_KEY_BYTES])
{
	struct entry *e, **head;

	if (qp_keyset_contains(set, key))
		return QP_OK;
	if (set->count >= set->nbuckets && grow(set) != QP_OK)
		return QP_E_NOMEM;
	e = malloc(sizeof(*e));
	if (e == NULL)
		return QP_E_NOMEM;
	memcpy(e->key, key, QP_KEY_BYTES);
	head = &set->buckets[bucket_of(set, set->nbuckets, key)];
	e->next = *head;
	*head = e;
	set->count++;
	return QP_OK;
}

bool
qp_keyset_contains(const struct qp_keyset *set, const uint8_t key[QP_KEY_BYTES])
{
	unsigned found = 0;

	if (set == NULL)
		return false;
	/* The whole bucket, whatever matches: time tells the bucket's length, no more. */
	for (const struct entry *e = set->buckets[bucket_of(set, set->nbuckets, key)]; e != NULL;
		e = e->next)
		found |= sodium_memcmp(e->key, key, QP_KEY_BYTES) == 0;
	return found != 0;
}

size_t
qp_keyset_count(const struct qp_keyset *set)
{
	return set == NULL ? 0 : set->count;
}

bool
qp_keyset_knows(const void *set, const uint8_t key[QP_KEY_BYTES])
{
	return qp_keyset_contains(set, key);
}

/* One key's text; `place` as people find it again. */
static int
tell_key(struct qp_slice text, const char *place, const struct qp_pubkey_sink *sink,
	struct qp_errmsg *msg)
{
	uint8_t key[QP_KEY_BYTES];
	char why[128];

	if (qp_key_parse(text.ptr, text.len, key) == QP_OK)
		return sink->each(sink->ctx, key, place, msg);
	qp_key_explain(text, why, sizeof(why));
	return qp_fail(msg, QP_E_INVAL, "%s: %s", place, why);
}

int
qp_pubkeys_from_list(const char *text, const char *what, const struct qp_pubkey_sink *sink,
	struct qp_errmsg *msg)
{
	char place[PLACE_BYTES];

	for (unsigned number = 1;; number++) {
		size_t len = strcspn(text, ",");
		int err;

		snprintf(place, sizeof(place), "%s key %u", what, number);
		err = tell_key(qp_slice_trim((struct qp_slice) {text, len}), place, sink, msg);
		if (err != QP_OK || text[len] == '\0')
			return err;
		text += len + 1;
	}
}

int
qp_pubkeys_from_file(const char *path, const struct qp_pubkey_sink *sink, struct qp_errmsg *msg)
{
	struct qp_keyfile f = {0};
	struct qp_slice line;
	char place[PLACE_BYTES];
	unsigned keys = 0;
	char *data;
	int err = qp_file_read(path, PUBKEYS_FILE_MAX, &data, &f.rest.len, NULL, msg);

	if (err != QP_OK)
		return err;
	f.rest.ptr = data;
	for (; err == QP_OK && qp_keyfile_next(&f, &line); keys++) {
		snprintf(place, sizeof(place), "%s line %u", path, f.line);
		err = tell_key(line, place, sink, msg);
	}
	if (err == QP_OK && keys == 0)
		err = qp_fail(msg, QP_E_INVAL,
			"%s: no key in it (expected a public key of 44 characters a line)", path);
	qp_file_free(data);
	return err;
}

static int
add_to_set(void *ctx, const uint8_t key[QP_KEY_BYTES], const char *place, struct qp_errmsg *msg)
{
	if (qp_keyset_add(ctx, key) != QP_OK)
		return qp_fail(msg, QP_E_NOMEM, "%s: out of memory", place);
	return QP_OK;
}

int
qp_keyset_add_list(struct qp_keyset *set, const char *text, const char *what,
	struct qp_errmsg *msg)
{
	return qp_pubkeys_from_list(
		text, what, &(struct qp_pubkey_sink) {.each = add_to_set, .ctx = set}, msg);
}

int
qp_keyset_add_file(struct qp_keyset *set, const char *path, struct qp_errmsg *msg)
{
	return qp_pubkeys_from_file(
		path, &(struct qp_pubkey_sink) {.each = add_to_set, .ctx = set}, msg);
}
