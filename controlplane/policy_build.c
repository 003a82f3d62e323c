/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making a policy: what may be in it beside what is there already, and the
 * words for what may not. Loop thread.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "controlplane/policy_impl.h"

/* Of a key, to name a client that has no name; more where two keys begin alike. */
#define NAME_OF_KEY_CHARS 8u

static const char *
place_of(const struct qp_policy_client *c)
{
	return c->origin != NULL ? c->origin : "the policy";
}

static const char *
place(const char *origin)
{
	return origin != NULL ? origin : "the policy";
}

static bool
name_valid(const char *name)
{
	size_t len = strlen(name);

	return len > 0 && len < QP_POLICY_NAME_BYTES &&
	       strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-@") ==
		       len;
}

static int
check_name(const struct qp_policy *p, const char *name, const char *origin, struct qp_errmsg *msg)
{
	const struct qp_pol_client *there;

	if (!name_valid(name))
		return qp_fail(msg, QP_E_INVAL,
			"%s: a client's name has 1 to %u letters, digits and the characters . _ - @",
			place(origin), QP_POLICY_NAME_BYTES - 1);
	there = qp_policy_find_name(p, name);
	if (there != NULL)
		return qp_fail(msg, QP_E_INVAL, "%s: there is a client %s already, by %s",
			place(origin), name, place_of(&there->c));
	return 0;
}

static int
check_key(const struct qp_policy *p, const uint8_t key[QP_KEY_BYTES], const char *origin,
	struct qp_errmsg *msg)
{
	const struct qp_policy_client *there = qp_policy_by_key(p, key);
	char text[QP_KEY_TEXT_BYTES];

	if (there == NULL)
		return 0;
	qp_key_format(key, text);
	return qp_fail(msg, QP_E_INVAL, "%s: the public key %s is client %s's already, by %s",
		place(origin), text, there->name, place_of(there));
}

/* Few characters of the key, more where that is a name already. */
static void
name_of_key(const struct qp_policy *p, const uint8_t key[QP_KEY_BYTES],
	char name[QP_POLICY_NAME_BYTES])
{
	char text[QP_KEY_TEXT_BYTES];
	int chars = NAME_OF_KEY_CHARS;

	qp_key_format(key, text);
	do
		snprintf(name, QP_POLICY_NAME_BYTES, "%.*s", chars, text);
	while (qp_policy_find_name(p, name) != NULL && ++chars < (int)QP_KEY_TEXT_BYTES);
}

static bool
id_taken(const void *ctx, uint32_t id)
{
	return qp_policy_by_id(ctx, id) != NULL;
}

static int
check_grants(const struct qp_grants *g, const char *origin, struct qp_errmsg *msg)
{
	if (g->nsources > QP_CLIENT_MAX_SOURCES)
		return qp_fail(msg, QP_E_INVAL, "%s: at most %u networks that outside users come from",
			place(origin), QP_CLIENT_MAX_SOURCES);
	return 0;
}

/* `name` is checked, or made. QP_E_NOMEM. */
static int
add_client(struct qp_policy *p, const struct qp_policy_client *like, struct qp_pol_client **out)
{
	struct qp_pol_client *c = calloc(1, sizeof(*c));

	if (c == NULL || qp_policy_make_room(p) != 0) {
		free(c);
		return QP_E_NOMEM;
	}
	c->c = *like;
	c->c.group = like->group != NULL ? strdup(like->group) : NULL;
	c->c.origin = like->origin != NULL ? strdup(like->origin) : NULL;
	c->c.id = qp_policy_id_for(c->c.name, id_taken, p);
	if (qp_grants_copy(&c->c.grants, &like->grants) != 0 || c->c.id == 0 ||
		(like->group != NULL && c->c.group == NULL) ||
		(like->origin != NULL && c->c.origin == NULL)) {
		qp_policy_free_client(c);
		return QP_E_NOMEM;
	}
	qp_policy_index_client(p, c);
	p->all->v[p->all->n++] = c;
	p->all->is_sorted = false;
	*out = c;
	return 0;
}

static int
out_of_memory(struct qp_errmsg *msg)
{
	return qp_fail(msg, QP_E_NOMEM, "out of memory");
}

int
qp_policy_add_key(struct qp_policy *p, const char *name, const char *group, const char *origin,
	const uint8_t key[QP_KEY_BYTES], const struct qp_grants *grants, struct qp_errmsg *msg)
{
	struct qp_policy_client like = {
		.kind = QP_CLIENT_KEY, .group = group, .origin = origin, .grants = *grants};
	int err = name != NULL ? check_name(p, name, origin, msg) : 0;
	struct qp_pol_client *c;
	struct qp_pol_key *k;

	if (err == 0)
		err = check_key(p, key, origin, msg);
	if (err == 0)
		err = check_grants(grants, origin, msg);
	if (err != 0)
		return err;
	if (name != NULL)
		memcpy(like.name, name, strlen(name) + 1);
	else
		name_of_key(p, key, like.name);
	k = calloc(1, sizeof(*k));
	if (k == NULL || add_client(p, &like, &c) != 0) {
		free(k);
		return out_of_memory(msg);
	}
	qp_policy_index_key(p, k, c, key);
	return 0;
}

int
qp_policy_add_another_key(struct qp_policy *p, const char *name, const char *origin,
	const uint8_t key[QP_KEY_BYTES], struct qp_errmsg *msg)
{
	struct qp_pol_client *c = qp_policy_find_name(p, name);
	int err = check_key(p, key, origin, msg);
	struct qp_pol_key *k;

	if (err != 0)
		return err;
	if (c == NULL || c->c.kind != QP_CLIENT_KEY)
		return qp_fail(msg, QP_E_INVAL, "%s: there is no client %s with a key",
			place(origin), name);
	k = calloc(1, sizeof(*k));
	if (k == NULL || qp_policy_make_room(p) != 0) {
		free(k);
		return out_of_memory(msg);
	}
	qp_policy_index_key(p, k, c, key);
	return 0;
}

/* A PSK that two clients have could not tell which of them comes. */
static int
check_secret(const struct qp_policy *p, const char *name, const char *origin,
	const struct qp_secret *secret, struct qp_errmsg *msg)
{
	if (secret->len == 0)
		return qp_fail(msg, QP_E_INVAL, "%s: the PSK of %s is empty", place(origin), name);
	if (p->npsks == QP_POLICY_PSKS)
		return qp_fail(msg, QP_E_FULL, "%s: there may be %u PSKs: each is tried",
			place(origin), QP_POLICY_PSKS);
	for (unsigned i = 0; i < p->npsks; i++) {
		const struct qp_secret *other = p->secret[i];

		if (other->len == secret->len &&
			sodium_memcmp(other->bytes, secret->bytes, secret->len) == 0)
			return qp_fail(msg, QP_E_INVAL, "%s: the PSK of %s is that of %s, by %s",
				place(origin), name, p->psk_of[i]->c.name,
				place_of(&p->psk_of[i]->c));
	}
	return 0;
}

int
qp_policy_add_psk(struct qp_policy *p, const char *name, const char *group, const char *origin,
	struct qp_secret *secret, const struct qp_grants *grants, struct qp_errmsg *msg)
{
	struct qp_policy_client like = {
		.kind = QP_CLIENT_PSK, .group = group, .origin = origin, .grants = *grants};
	int err = check_name(p, name, origin, msg);
	struct qp_pol_client *c;

	if (err == 0)
		err = check_secret(p, name, origin, secret, msg);
	if (err == 0)
		err = check_grants(grants, origin, msg);
	if (err == 0) {
		memcpy(like.name, name, strlen(name) + 1);
		err = add_client(p, &like, &c);
		if (err != 0)
			out_of_memory(msg);
	}
	if (err != 0) {
		qp_secret_free(secret);
		return err;
	}
	p->psk_of[p->npsks] = c;
	p->secret[p->npsks++] = secret;
	return 0;
}
