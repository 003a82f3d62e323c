/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A configuration's sections about clients, made into a policy: `defaults`, then
 * `groups`, then `clients` and `psks`, each over the one before. An entry's keys
 * are config_entry.c's. Main or loop thread; blocks on the files of secrets.
 */

#define QP_LOG_MODULE QP_LOG_M_config
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "controlplane/config_impl.h"

struct group {
	const char *name;
	struct qp_config_at at;
	struct qp_config_grants grants;
};

struct building {
	struct qp_config *c;
	const struct qp_config_base *base;
	struct qp_policy *p;
	struct qp_mistakes *m;
	struct qp_config_at defaults_at; /* node NULL: there are none yet */
	struct qp_config_grants defaults;
	struct group *group;
	unsigned ngroups, groups_cap;
};

static void
take_defaults(struct building *b, const struct qp_config_at *at)
{
	struct qp_config_entry e;
	char there[300];

	if (b->defaults_at.node != NULL) {
		snprintf(there, sizeof(there), "them once, but %.200s:%u has some already",
			b->defaults_at.file->path, qp_yaml_line(b->defaults_at.node));
		qp_config_expected(b->m, at, there);
		return;
	}
	b->defaults_at = *at;
	if (!qp_yaml_is_null(at->node) && qp_config_entry_read(b->m, QP_CONFIG_DEFAULTS, at, &e))
		b->defaults = e.grants;
}

static void
take_group(struct building *b, const struct qp_config_at *at)
{
	struct qp_config_entry e;

	if (!qp_config_entry_read(b->m, QP_CONFIG_GROUP, at, &e))
		return;
	if (b->ngroups == b->groups_cap) {
		unsigned cap = b->groups_cap == 0 ? 16 : b->groups_cap * 2;
		struct group *all = realloc(b->group, cap * sizeof(*all));

		if (all == NULL) {
			qp_config_grants_free(&e.grants);
			qp_config_expected(b->m, at, "memory for it");
			return;
		}
		b->group = all;
		b->groups_cap = cap;
	}
	b->group[b->ngroups++] = (struct group) {e.name, e.at, e.grants};
}

static int
compare_groups(const void *a, const void *b)
{
	return strcmp(((const struct group *)a)->name, ((const struct group *)b)->name);
}

static void
sort_groups(struct building *b)
{
	if (b->ngroups > 1)
		qsort(b->group, b->ngroups, sizeof(*b->group), compare_groups);
	for (unsigned i = 1; i < b->ngroups; i++) {
		struct group *one = &b->group[i - 1], *two = &b->group[i];

		if (strcmp(one->name, two->name) == 0)
			qp_mistakes_add(b->m, QP_E_INVAL,
				"%s:%u: groups: expected each name once, but %.64s is at %s:%u too",
				two->at.file->path, qp_yaml_line(two->at.node), two->name,
				one->at.file->path, qp_yaml_line(one->at.node));
	}
}

/* What holds for an entry; arrays are borrowed. False: it names a group that is not there. */
static bool
grants_of(struct building *b, const struct qp_config_entry *e, struct qp_grants *out)
{
	struct group like = {.name = e != NULL ? qp_yaml_text(e->group.node) : NULL}, *group = NULL;

	*out = (struct qp_grants) {.any_port = true, .locals = b->base->locals};
	qp_config_grants_lay_over(out, &b->defaults);
	if (e == NULL)
		return true;
	if (e->group.node != NULL) {
		if (like.name != NULL && b->ngroups > 0)
			group = bsearch(&like, b->group, b->ngroups, sizeof(like), compare_groups);
		if (group == NULL) {
			qp_config_expected(b->m, &e->group, "a group that is under `groups`");
			return false;
		}
		qp_config_grants_lay_over(out, &group->grants);
	}
	qp_config_grants_lay_over(out, &e->grants);
	return true;
}

struct adding_keys {
	struct building *b;
	const struct qp_config_entry *e;
	const struct qp_grants *grants;
	unsigned n;
};

static bool
take_public_key(void *ctx, const char *text, const yaml_node_t *node)
{
	struct adding_keys *a = ctx;
	const struct qp_config_entry *e = a->e;
	const char *group = qp_yaml_text(e->group.node);
	uint8_t key[QP_KEY_BYTES];
	struct qp_errmsg msg;
	char what[300];
	int err;

	snprintf(what, sizeof(what), "%.200s:%u: %s", e->at.file->path, qp_yaml_line(node),
		e->key.key);
	err = qp_public_key_from_text(text, what, key, &msg);
	if (err == 0)
		err = a->n == 0 ? qp_policy_add_key(a->b->p, e->name, group, e->origin, key,
					  a->grants, &msg)
				: qp_policy_add_another_key(
					  a->b->p, e->name, e->origin, key, &msg);
	if (err != 0)
		qp_mistakes_add(a->b->m, err, "%s", msg.text);
	a->n++;
	return err == 0;
}

static void
take_client(struct building *b, const struct qp_config_at *at)
{
	struct qp_grants grants;
	struct qp_config_entry e;

	if (!qp_config_entry_read(b->m, QP_CONFIG_CLIENT, at, &e))
		return;
	if (e.key.node == NULL) {
		qp_config_expected(b->m, at, "a public-key");
	} else if (grants_of(b, &e, &grants)) {
		struct adding_keys a = {b, &e, &grants, 0};

		if (qp_config_each_text(&e.key, b->m, take_public_key, &a) && a.n == 0)
			qp_config_expected(b->m, &e.key, "a key, or more of them");
	}
	qp_config_grants_free(&e.grants);
}

static void
take_psk(struct building *b, const struct qp_config_at *at)
{
	struct qp_secret *secret = NULL;
	struct qp_grants grants;
	struct qp_errmsg msg;
	struct qp_config_entry e;
	int err;

	if (!qp_config_entry_read(b->m, QP_CONFIG_PSK, at, &e))
		return;
	if (grants_of(b, &e, &grants))
		secret = qp_config_entry_secret(&e, b->base, b->m);
	if (secret != NULL) {
		err = qp_policy_add_psk(b->p, e.name, qp_yaml_text(e.group.node), e.origin, secret,
			&grants, &msg);
		if (err != 0)
			qp_mistakes_add(b->m, err, "%s", msg.text);
	}
	qp_config_grants_free(&e.grants);
}

/* Calls `take` for each entry of the lists with that name, in all files. */
static void
each_entry(struct building *b, const char *section,
	void (*take)(struct building *b, const struct qp_config_at *at))
{
	struct qp_config_section s = {.c = b->c, .name = section};
	struct qp_config_at at;

	while (qp_config_section_next(&s, &at)) {
		const yaml_node_t *list = at.node;

		if (qp_yaml_is_null(list))
			continue;
		if (list->type != YAML_SEQUENCE_NODE) {
			qp_config_expected(b->m, &at, "a list");
			continue;
		}
		for (yaml_node_item_t *i = list->data.sequence.items.start;
			i < list->data.sequence.items.top; i++) {
			at.node = qp_yaml_node(&at.file->yaml, *i);
			take(b, &at);
		}
	}
}

static void
take_sections(struct building *b)
{
	struct qp_config_section defaults = {.c = b->c, .name = "defaults"};
	struct qp_config_at at;

	while (qp_config_section_next(&defaults, &at))
		take_defaults(b, &at);
	each_entry(b, "groups", take_group);
	sort_groups(b);
	each_entry(b, "clients", take_client);
	each_entry(b, "psks", take_psk);
}

/* The operator's file goes before what the API wrote. */
static bool
is_free(struct building *b, const struct qp_config_at *at)
{
	const char *name = qp_yaml_text(qp_yaml_member(&at->file->yaml, at->node, "name"));
	const struct qp_policy_client *there =
		name != NULL ? qp_policy_by_name(b->p, name) : NULL;

	if (there != NULL)
		qp_log(QP_LOG_WARN, "a client that the API has written is left out: its name is taken",
			QP_LOG_STR("client", name), QP_LOG_STR("by", there->origin));
	return there == NULL;
}

static void
take_api_client(struct building *b, const struct qp_config_at *at)
{
	if (is_free(b, at))
		take_client(b, at);
}

/* One whose PSK is gone can't come, which is no reason to keep out the others. */
static bool
has_secret(const struct qp_config_at *at)
{
	struct qp_yaml *y = &at->file->yaml;
	const char *path = qp_yaml_text(qp_yaml_member(y, at->node, "secret-file"));

	if (path == NULL || access(path, F_OK) == 0 || errno != ENOENT)
		return true;
	qp_log(QP_LOG_ERROR,
		"a client that the API has written is left out: its PSK's file is gone",
		QP_LOG_STR("client", qp_yaml_text(qp_yaml_member(y, at->node, "name"))),
		QP_LOG_STR("file", path));
	return false;
}

static void
take_api_psk(struct building *b, const struct qp_config_at *at)
{
	if (is_free(b, at) && has_secret(at))
		take_psk(b, at);
}

static void
take_api(struct building *b)
{
	struct qp_config *own = b->c, *api = calloc(1, sizeof(*api));
	struct qp_errmsg msg;
	int err;

	if (api != NULL)
		api->file[0].path = strdup(QP_CONFIG_API_PATH);
	if (api == NULL || api->file[0].path == NULL) {
		free(api);
		qp_mistakes_add(b->m, QP_E_NOMEM, "out of memory");
		return;
	}
	err = qp_yaml_parse(QP_CONFIG_API_PATH, b->base->api, strlen(b->base->api),
		&api->file[0].yaml, NULL, &msg);
	if (err != 0) {
		qp_mistakes_add(b->m, err, "%s", msg.text);
		free(api->file[0].path);
		free(api);
		return;
	}
	api->nfiles = 1;
	b->c = api;
	each_entry(b, "clients", take_api_client);
	each_entry(b, "psks", take_api_psk);
	b->c = own;
	qp_config_free(api);
}

int
qp_config_build(struct qp_config *c, const struct qp_config_base *base, struct qp_policy *p,
	struct qp_mistakes *m)
{
	struct building b = {.c = c, .base = base, .p = p, .m = m};
	unsigned before = qp_mistakes_count(m);
	struct qp_grants grants;

	if (c != NULL)
		take_sections(&b);
	(void)grants_of(&b, NULL, &grants);
	qp_config_build_others(base, &grants, p, m);
	if (base->api != NULL && base->api[0] != '\0')
		take_api(&b);
	qp_config_grants_free(&b.defaults);
	for (unsigned i = 0; i < b.ngroups; i++)
		qp_config_grants_free(&b.group[i].grants);
	free(b.group);
	return qp_mistakes_count(m) == before ? 0 : QP_E_INVAL;
}
