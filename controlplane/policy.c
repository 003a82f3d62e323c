/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Clients by key, by name, by id and by PSK: chained tables by keyed hash, which
 * grow with what is in them. Loop thread. How they are filled is
 * policy_build.c's, what grants mean policy_grants.c's, where ids come from
 * policy_ids.c's.
 */
#include "controlplane/policy.h"

#include <stdlib.h>
#include <string.h>

#include "controlplane/policy_impl.h"

#define FIRST_BUCKETS 64u

static struct qp_pol_buckets *
bucket_of(const struct qp_policy *p, const void *bytes, size_t len)
{
	uint8_t out[crypto_shorthash_BYTES];
	uint64_t h;

	_Static_assert(sizeof(h) == crypto_shorthash_BYTES, "SipHash gives 64 bits");
	crypto_shorthash(out, bytes, len, p->hash_key);
	memcpy(&h, out, sizeof(h));
	return &p->bucket[h & (p->nbuckets - 1)];
}

static struct qp_pol_buckets *
bucket_of_name(const struct qp_policy *p, const char *name)
{
	return bucket_of(p, name, strlen(name));
}

static struct qp_pol_buckets *
bucket_of_id(const struct qp_policy *p, uint32_t id)
{
	return bucket_of(p, &id, sizeof(id));
}

static struct qp_pol_buckets *
bucket_of_key(const struct qp_policy *p, const uint8_t key[QP_KEY_BYTES])
{
	return bucket_of(p, key, QP_KEY_BYTES);
}

void
qp_policy_index_client(struct qp_policy *p, struct qp_pol_client *c)
{
	SLIST_INSERT_HEAD(&bucket_of_name(p, c->c.name)->names, c, by_name);
	SLIST_INSERT_HEAD(&bucket_of_id(p, c->c.id)->ids, c, by_id);
}

void
qp_policy_index_key(struct qp_policy *p, struct qp_pol_key *k, struct qp_pol_client *of, const uint8_t key[QP_KEY_BYTES])
{
	memcpy(k->key, key, sizeof(k->key));
	k->of = of;
	SLIST_INSERT_HEAD(&bucket_of_key(p, k->key)->keys, k, by_key);
	p->nkeys++;
}

static int
grow(struct qp_policy *p)
{
	struct qp_pol_buckets *old = p->bucket;
	unsigned n = p->nbuckets;
	struct qp_pol_buckets *fresh = calloc(n * 2, sizeof(*fresh));
	struct qp_pol_key *k;

	if (fresh == NULL)
		return QP_E_NOMEM;
	p->bucket = fresh;
	p->nbuckets = n * 2;
	for (unsigned i = 0; i < n; i++) {
		while ((k = SLIST_FIRST(&old[i].keys)) != NULL) {
			SLIST_REMOVE_HEAD(&old[i].keys, by_key);
			SLIST_INSERT_HEAD(&bucket_of_key(p, k->key)->keys, k, by_key);
		}
	}
	for (unsigned i = 0; i < p->all->n; i++)
		qp_policy_index_client(p, p->all->v[i]);
	free(old);
	return 0;
}

struct qp_policy *
qp_policy_new(void)
{
	struct qp_policy *p = calloc(1, sizeof(*p));

	if (p == NULL)
		return NULL;
	p->nbuckets = FIRST_BUCKETS;
	p->bucket = calloc(p->nbuckets, sizeof(*p->bucket));
	p->all = calloc(1, sizeof(*p->all));
	crypto_shorthash_keygen(p->hash_key);
	if (p->bucket != NULL && p->all != NULL)
		return p;
	free(p->bucket);
	free(p->all);
	free(p);
	return NULL;
}

void
qp_policy_free_client(struct qp_pol_client *c)
{
	qp_grants_release(&c->c.grants);
	free((char *)(uintptr_t)c->c.group);
	free((char *)(uintptr_t)c->c.origin);
	free(c);
}

void
qp_policy_free(struct qp_policy *p)
{
	struct qp_pol_key *k;

	if (p == NULL)
		return;
	for (unsigned i = 0; i < p->nbuckets; i++) {
		while ((k = SLIST_FIRST(&p->bucket[i].keys)) != NULL) {
			SLIST_REMOVE_HEAD(&p->bucket[i].keys, by_key);
			free(k);
		}
	}
	for (unsigned i = 0; i < p->npsks; i++)
		qp_secret_free((struct qp_secret *)(uintptr_t)p->secret[i]);
	for (unsigned i = 0; i < p->all->n; i++)
		qp_policy_free_client(p->all->v[i]);
	free(p->all->v);
	free(p->all);
	free(p->bucket);
	sodium_memzero(p, sizeof(*p));
	free(p);
}

struct qp_pol_client *
qp_policy_find_name(const struct qp_policy *p, const char *name)
{
	struct qp_pol_client *c;

	SLIST_FOREACH (c, &bucket_of_name(p, name)->names, by_name) {
		if (strcmp(c->c.name, name) == 0)
			return c;
	}
	return NULL;
}

const struct qp_policy_client *
qp_policy_by_name(const struct qp_policy *p, const char *name)
{
	const struct qp_pol_client *c = qp_policy_find_name(p, name);

	return c != NULL ? &c->c : NULL;
}

const struct qp_policy_client *
qp_policy_by_id(const struct qp_policy *p, uint32_t id)
{
	const struct qp_pol_client *c;

	SLIST_FOREACH (c, &bucket_of_id(p, id)->ids, by_id) {
		if (c->c.id == id)
			return &c->c;
	}
	return NULL;
}

const struct qp_policy_client *
qp_policy_by_key(const struct qp_policy *p, const uint8_t key[QP_KEY_BYTES])
{
	const struct qp_policy_client *found = NULL;
	const struct qp_pol_key *k;

	/* The whole bucket, whatever matches: time tells the bucket's length, no more. */
	SLIST_FOREACH (k, &bucket_of_key(p, key)->keys, by_key) {
		if (sodium_memcmp(k->key, key, QP_KEY_BYTES) == 0)
			found = &k->of->c;
	}
	return found;
}

unsigned
qp_policy_npsks(const struct qp_policy *p)
{
	return p->npsks;
}

const struct qp_policy_client *
qp_policy_psk(const struct qp_policy *p, unsigned i, const struct qp_secret **secret)
{
	*secret = p->secret[i];
	return &p->psk_of[i]->c;
}

const struct qp_secret *const *
qp_policy_secrets(const struct qp_policy *p)
{
	return p->secret;
}

const struct qp_secret *
qp_policy_secret_of(const struct qp_policy *p, const struct qp_policy_client *c)
{
	for (unsigned i = 0; i < p->npsks; i++) {
		if (&p->psk_of[i]->c == c)
			return p->secret[i];
	}
	return NULL;
}

bool
qp_policy_knows(const void *policy, const uint8_t key[QP_KEY_BYTES])
{
	return qp_policy_by_key(policy, key) != NULL;
}

unsigned
qp_policy_count(const struct qp_policy *p)
{
	return p->all->n;
}

static int
compare_names(const void *a, const void *b)
{
	const struct qp_pol_client *const *x = a, *const *y = b;

	return strcmp((*x)->c.name, (*y)->c.name);
}

const struct qp_policy_client *
qp_policy_at(const struct qp_policy *p, unsigned i)
{
	struct qp_pol_sorted *all = p->all;

	if (!all->is_sorted)
		qsort(all->v, all->n, sizeof(*all->v), compare_names);
	all->is_sorted = true;
	return &all->v[i]->c;
}

int
qp_policy_make_room(struct qp_policy *p)
{
	struct qp_pol_sorted *all = p->all;

	if (all->n == all->cap) {
		unsigned cap = all->cap == 0 ? FIRST_BUCKETS : all->cap * 2;
		struct qp_pol_client **v = realloc(all->v, cap * sizeof(struct qp_pol_client *));

		if (v == NULL)
			return QP_E_NOMEM;
		all->v = v;
		all->cap = cap;
	}
	return all->n >= p->nbuckets || p->nkeys >= p->nbuckets ? grow(p) : 0;
}
