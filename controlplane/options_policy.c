/* SPDX-License-Identifier: Apache-2.0 */
/* All clients that options and configuration file name. Main or loop thread; blocks on files. */
#include "controlplane/options.h"

#include <string.h>

void
qp_options_locate(const struct qp_options *o, struct qp_errmsg *msg)
{
	size_t len = strncmp(msg->text, "--", 2) == 0
			     ? strspn(msg->text + 2, "abcdefghijklmnopqrstuvwxyz0123456789-") : 0;
	struct qp_errmsg raw = *msg;

	for (unsigned i = 0; len > 0 && i < o->settings.n; i++) {
		const struct qp_setting *s = &o->settings.v[i];

		if (s->origin != QP_OPT_FROM_FILE || strlen(s->name) != len ||
			strncmp(s->name, msg->text + 2, len) != 0)
			continue;
		/* As the file has it: without its dashes. */
		qp_fail(msg, 0, "%.150s: %.230s", s->place, raw.text + 2);
		return;
	}
}

int
qp_options_policy(const struct qp_options *o, const struct qp_secret *psk, const char *psk_origin,
	const char *api, struct qp_mistakes *unreadable, struct qp_policy **out, struct qp_mistakes *m)
{
	const struct qp_config_base base = {
		.locals = o->allow.any || o->allow.n > 0 ? &o->allow : NULL,
		.client_pubkeys = o->client_pubkeys,
		.client_pubkeys_file = o->client_pubkeys_file,
		.psk = psk,
		.psk_origin = psk_origin,
		.api = api,
		.unreadable = unreadable,
	};
	struct qp_policy *p = qp_policy_new();
	int err;

	if (p == NULL)
		return qp_mistakes_add(m, QP_E_NOMEM, "out of memory");
	err = qp_config_build(o->file, &base, p, m);
	for (unsigned i = 0; i < m->n; i++)
		qp_options_locate(o, &m->v[i]);
	if (err != 0) {
		qp_policy_free(p);
		return err;
	}
	*out = p;
	return 0;
}
