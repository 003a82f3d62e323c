/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Clients that options name and no configuration file: the policy has them with
 * what `defaults` grants. Main or loop thread; blocks on the file of keys.
 */
#include <string.h>

#include "controlplane/config_impl.h"

#define PSK_NAME "psk"

struct adding {
	struct qp_policy *p;
	struct qp_mistakes *m;
	const struct qp_grants *grants;
	const char *origin;
};

/* A key that the file has already keeps what the file says of it. */
static void
add_key(void *ctx, const uint8_t key[QP_KEY_BYTES])
{
	struct adding *a = ctx;
	struct qp_errmsg msg;
	int err;

	if (qp_policy_by_key(a->p, key) != NULL)
		return;
	err = qp_policy_add_key(a->p, NULL, NULL, a->origin, key, a->grants, &msg);
	if (err != 0)
		qp_mistakes_add(a->m, err, "%s", msg.text);
}

static void
add_keys(struct adding *a, const char *text, const char *path, struct qp_mistakes *unreadable)
{
	struct qp_keyset *set = qp_keyset_new();
	struct qp_errmsg msg;
	int err;

	a->origin = path != NULL ? path : "--client-pubkeys";
	if (set == NULL)
		err = qp_fail(&msg, QP_E_NOMEM, "%s: out of memory", a->origin);
	else
		err = path != NULL ? qp_keyset_add_file(set, path, &msg)
				   : qp_keyset_add_list(set, text, a->origin, &msg);
	if (err == 0)
		qp_keyset_each(set, add_key, a);
	else
		qp_mistakes_add(err == QP_E_PERM && unreadable != NULL ? unreadable : a->m, err,
			"%s%s", path != NULL ? "--client-pubkeys-file: " : "", msg.text);
	qp_keyset_free(set);
}

static void
add_psk(struct adding *a, const struct qp_secret *psk, const char *origin)
{
	struct qp_secret *copy = qp_secret_new(psk->bytes, psk->len);
	struct qp_errmsg msg;
	int err;

	if (copy == NULL)
		err = qp_fail(&msg, QP_E_NOMEM, "out of memory");
	else
		err = qp_policy_add_psk(a->p, PSK_NAME, NULL, origin, copy, a->grants, &msg);
	if (err != 0)
		qp_mistakes_add(a->m, err, "%s", msg.text);
}

void
qp_config_build_others(const struct qp_config_base *base, const struct qp_grants *grants,
	struct qp_policy *p, struct qp_mistakes *m)
{
	struct adding a = {.p = p, .m = m, .grants = grants};

	if (base->client_pubkeys != NULL)
		add_keys(&a, base->client_pubkeys, NULL, base->unreadable);
	if (base->client_pubkeys_file != NULL)
		add_keys(&a, NULL, base->client_pubkeys_file, base->unreadable);
	if (base->psk != NULL)
		add_psk(&a, base->psk, base->psk_origin);
}
