/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An entry of a configuration's lists: what keys it may have, and a PSK's
 * secret. Main or loop thread; blocks on the files of secrets.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "controlplane/config_impl.h"

#define MAX_KEYS 32 /* each is compared with all before it */

static const char *const expected_keys[] = {
	[QP_CONFIG_DEFAULTS] = "", [QP_CONFIG_GROUP] = "name, ", [QP_CONFIG_CLIENT] = "name, public-key, group, ",
	[QP_CONFIG_PSK] = "name, secret, secret-file, group, "};

/* Whether an earlier pair has the same key: what counted then would be a matter of luck. */
static bool
is_repeated(struct qp_yaml *y, const yaml_node_t *map, const yaml_node_pair_t *of, const char *key)
{
	for (const yaml_node_pair_t *p = map->data.mapping.pairs.start; p < of; p++) {
		const char *other = qp_yaml_text(qp_yaml_node(y, p->key));

		if (other != NULL && strcmp(other, key) == 0)
			return true;
	}
	return false;
}

/* Where a key's value goes that is no grant. */
static struct qp_config_at *
place_for(struct qp_config_entry *e, enum qp_config_kind kind, const char *key)
{
	if (strcmp(key, "group") == 0 && (kind == QP_CONFIG_CLIENT || kind == QP_CONFIG_PSK))
		return &e->group;
	if (kind == QP_CONFIG_CLIENT && (strcmp(key, "public-key") == 0 || strcmp(key, "public-keys") == 0))
		return &e->key;
	if (kind == QP_CONFIG_PSK && strcmp(key, "secret") == 0)
		return &e->secret;
	if (kind == QP_CONFIG_PSK && strcmp(key, "secret-file") == 0)
		return &e->secret_file;
	return NULL;
}

static void
take_pair(struct qp_mistakes *m, struct qp_config_entry *e, enum qp_config_kind kind,
	const struct qp_config_at *at)
{
	struct qp_config_at *to = place_for(e, kind, at->key);

	if (to != NULL && to->node != NULL) {
		qp_config_expected(m, at, "either public-key or public-keys");
	} else if (to != NULL) {
		*to = *at;
	} else if (kind != QP_CONFIG_DEFAULTS && strcmp(at->key, "name") == 0) {
		e->name = qp_yaml_text(at->node);
		if (e->name == NULL || e->name[0] == '\0')
			qp_config_expected(m, at, "a name");
	} else if (!qp_config_grant(&e->grants, at, m)) {
		qp_mistakes_add(m, QP_E_INVAL,
			"%s:%u: %.48s: unknown key: expected %sports, local-forwards, sources, "
			"tunnels, forwards, connections, connections-per-second, bandwidth-in, "
			"bandwidth-out or expires",
			at->file->path, qp_yaml_line(at->node), at->key, expected_keys[kind]);
	}
}

bool
qp_config_entry_read(struct qp_mistakes *m, enum qp_config_kind kind, const struct qp_config_at *at,
	struct qp_config_entry *e)
{
	struct qp_yaml *y = &at->file->yaml;
	unsigned before = qp_mistakes_count(m);

	*e = (struct qp_config_entry) {.at = *at};
	snprintf(e->origin, sizeof(e->origin), "%.200s:%u", at->file->path,
		qp_yaml_line(at->node));
	if (at->node->type != YAML_MAPPING_NODE) {
		qp_config_expected(m, at, "keys with values, such as {name: alice}");
		return false;
	}
	if (at->node->data.mapping.pairs.top - at->node->data.mapping.pairs.start > MAX_KEYS) {
		qp_config_expected(m, at, "32 keys at most");
		return false;
	}
	for (yaml_node_pair_t *p = at->node->data.mapping.pairs.start;
		p < at->node->data.mapping.pairs.top; p++) {
		const yaml_node_t *key = qp_yaml_node(y, p->key);
		struct qp_config_at pair = {at->file, qp_yaml_node(y, p->value), qp_yaml_text(key)};

		if (pair.key == NULL)
			qp_config_expected(m, &(struct qp_config_at) {at->file, key, at->key},
				"keys that are words");
		else if (is_repeated(y, at->node, p, pair.key))
			qp_config_expected(m, &pair, "each key once");
		else
			take_pair(m, e, kind, &pair);
	}
	if (kind != QP_CONFIG_DEFAULTS && e->name == NULL && qp_mistakes_count(m) == before)
		qp_config_expected(m, at, "a name");
	if (qp_mistakes_count(m) == before)
		return true;
	qp_config_grants_free(&e->grants);
	return false;
}

/* Beside the file that names it. NULL: out of memory. */
static char *
path_beside(const char *file, const char *path)
{
	const char *slash = strrchr(file, '/');
	char *out;

	if (path[0] == '/' || slash == NULL)
		return strdup(path);
	return asprintf(&out, "%.*s%s", (int)(slash + 1 - file), file, path) < 0 ? NULL : out;
}

static struct qp_secret *
read_secret_file(const struct qp_config_entry *e, const struct qp_config_base *base,
	struct qp_mistakes *m)
{
	const struct qp_config_at *at = &e->secret_file;
	const char *text = qp_yaml_text(at->node);
	char *path = text != NULL && text[0] != '\0' ? path_beside(at->file->path, text) : NULL;
	struct qp_secret *secret = NULL;
	struct qp_errmsg msg;
	int err;

	if (path == NULL) {
		qp_config_expected(m, at, "a file's name");
		return NULL;
	}
	err = qp_psk_from_file(path, &secret, &msg);
	if (err == QP_E_PERM && base->unreadable != NULL)
		m = base->unreadable;
	if (err != 0)
		qp_mistakes_add(m, err, "%s:%u: %s: %s", at->file->path, qp_yaml_line(at->node),
			at->key, msg.text);
	free(path);
	return secret;
}

struct qp_secret *
qp_config_entry_secret(const struct qp_config_entry *e, const struct qp_config_base *base,
	struct qp_mistakes *m)
{
	const struct qp_config_at *at = &e->secret;
	const char *text = qp_yaml_text(at->node);
	struct qp_secret *secret = NULL;
	struct qp_errmsg msg;
	char what[300];

	if ((at->node != NULL) == (e->secret_file.node != NULL)) {
		qp_config_expected(m, &e->at, "either a secret or a secret-file");
		return NULL;
	}
	if (at->node == NULL)
		return read_secret_file(e, base, m);
	if (text == NULL || qp_yaml_is_null(at->node)) {
		qp_config_expected(m, at, "a text");
		return NULL;
	}
	qp_config_has_secret(at->file);
	snprintf(what, sizeof(what), "%.200s:%u: secret", at->file->path, qp_yaml_line(at->node));
	if (qp_psk_from_text(text, what, &secret, &msg) != 0)
		qp_mistakes_add(m, QP_E_INVAL, "%s", msg.text);
	return secret;
}
