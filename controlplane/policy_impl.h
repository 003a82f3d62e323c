/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_POLICY_IMPL_H
#define QP_CONTROLPLANE_POLICY_IMPL_H

#include <sodium.h>
#include <sys/queue.h>

#include "controlplane/policy.h"

/* What the files of the policy share: tables, ids, copies of grants. */

struct qp_pol_client {
	struct qp_policy_client c;
	SLIST_ENTRY(qp_pol_client) by_name;
	SLIST_ENTRY(qp_pol_client) by_id;
};

struct qp_pol_key {
	uint8_t key[QP_KEY_BYTES];
	struct qp_pol_client *of;
	SLIST_ENTRY(qp_pol_key) by_key;
};

struct qp_pol_buckets {
	SLIST_HEAD(, qp_pol_client) names;
	SLIST_HEAD(, qp_pol_client) ids;
	SLIST_HEAD(, qp_pol_key) keys;
};

/* What lists with paging read: sorted when first asked for. */
struct qp_pol_sorted {
	bool is_sorted;
	unsigned n, cap;
	struct qp_pol_client **v;
};

struct qp_policy {
	struct qp_pol_buckets *bucket;
	unsigned nbuckets; /* a power of two; at least as many as clients, and as keys */
	unsigned nkeys;
	struct qp_pol_sorted *all;
	unsigned npsks;
	struct qp_pol_client *psk_of[QP_POLICY_PSKS];
	const struct qp_secret *secret[QP_POLICY_PSKS];
	uint8_t hash_key[crypto_shorthash_KEYBYTES];
};

/* policy.c. NULL: there is no such client. */
struct qp_pol_client *qp_policy_find_name(const struct qp_policy *p, const char *name);
/* For one more client and one more key. QP_E_NOMEM. */
int qp_policy_make_room(struct qp_policy *p);
void qp_policy_index_client(struct qp_policy *p, struct qp_pol_client *c);
/* Takes `k` over; the key is not in the table yet. */
void qp_policy_index_key(struct qp_policy *p, struct qp_pol_key *k, struct qp_pol_client *of,
	const uint8_t key[QP_KEY_BYTES]);
void qp_policy_free_client(struct qp_pol_client *c);

/*
 * The number that goes with a name; 0: out of memory. `taken` says whether
 * another client of the policy that is being made has it.
 */
uint32_t qp_policy_id_for(
	const char *name, bool (*taken)(const void *ctx, uint32_t id), const void *ctx);

/* Copies, arrays too. QP_E_NOMEM: `to` is all zero. */
int qp_grants_copy(struct qp_grants *to, const struct qp_grants *from);
/* Frees the arrays of a copy. */
void qp_grants_release(struct qp_grants *g);

#endif
