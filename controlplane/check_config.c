/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `quicport check-config FILE`: reads a gateway's configuration as the gateway
 * would, and tells what is wrong with it. Starts and opens nothing else, needs
 * no rights but to read. Exits with 0, or with 2 after mistakes.
 */
#include <stdio.h>
#include <string.h>

#include "controlplane/options.h"

static void
print(FILE *to, const char *before, const struct qp_mistakes *m)
{
	for (unsigned i = 0; i < m->n; i++)
		fprintf(to, "%s%s\n", before, m->v[i].text);
	if (m->more > 0)
		fprintf(to, "%sand %u more\n", before, m->more);
}

static int
check_clients(struct qp_options *o, struct qp_mistakes *unreadable, struct qp_mistakes *m)
{
	struct qp_policy *policy = NULL;
	struct qp_secret *psk = NULL;
	struct qp_errmsg msg;
	int err = 0;

	if (o->psk != NULL)
		err = qp_psk_from_text((const char *)o->psk->bytes, "--psk", &psk, &msg);
	if (err != 0)
		qp_options_locate(o, &msg);
	if (err != 0)
		qp_mistakes_add(m, err, "%s", msg.text);
	else
		err = qp_options_policy(o, psk, "--psk", NULL, unreadable, &policy, m);
	qp_policy_free(policy);
	qp_secret_free(psk);
	return err;
}

static int
check_private_key(struct qp_options *o, struct qp_mistakes *unreadable, struct qp_mistakes *m)
{
	struct qp_secret *key = NULL;
	struct qp_errmsg msg, why;
	int err = 0;

	if (o->privkey != NULL)
		err = qp_private_key_from_text((const char *)o->privkey->bytes, "--privkey", &key,
			&msg);
	else if (o->privkey_file != NULL)
		err = qp_private_key_from_file(o->privkey_file, &key, &why);
	qp_secret_free(key);
	if (err != 0 && o->privkey == NULL)
		qp_fail(&msg, err, "--privkey-file: %.350s", why.text);
	if (err != 0)
		qp_options_locate(o, &msg);
	if (err == QP_E_PERM)
		return qp_mistakes_add(unreadable, 0, "%s", msg.text);
	return err != 0 ? qp_mistakes_add(m, err, "%s", msg.text) : 0;
}

int
main(int argc, char **argv)
{
	static struct qp_mistakes mistakes, unreadable;
	const struct qp_options_how how = {.mistakes = &mistakes, .check = true};
	struct qp_config_counts n;
	struct qp_options o;
	struct qp_errmsg msg;
	int err;

	if (qp_keys_init() != 0) {
		fprintf(stderr, "quicport check-config: libsodium does not start\n");
		return 1;
	}
	err = qp_options_read(&o, argc, argv, &how, &msg);
	if (err == QP_OPT_DONE)
		return 0;
	if (err == 0) {
		err = check_clients(&o, &unreadable, &mistakes);
		if (check_private_key(&o, &unreadable, &mistakes) != 0)
			err = QP_E_INVAL;
		n = qp_config_count(o.file);
		if (err == 0)
			printf("%s: fine: %u file%s, %u clients, %u PSKs, %u groups\n", o.config,
				n.files, n.files == 1 ? "" : "s", n.clients, n.psks, n.groups);
		qp_options_free(&o);
	}
	print(stderr, err == 0 ? "not checked: " : "", err == 0 ? &unreadable : &mistakes);
	return err == 0 ? 0 : 2;
}
