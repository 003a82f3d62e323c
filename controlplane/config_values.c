/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A configuration's keys that are options: which there are, and what their
 * values may be, is the options' table's to say. Main or loop thread.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "controlplane/config_impl.h"

static const char *const sections[] = {"include", "groups", "clients", "psks", "defaults"};
/* Options of one text, in which commas divide: in a file they may be lists. */
static const char *const comma_lists[] = {"client-pubkeys", "reserved-ports", "log-level"};

static bool
is_among(const char *name, const char *const *names, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (strcmp(name, names[i]) == 0)
			return true;
	}
	return false;
}

#define IS_AMONG(name, names) is_among(name, names, sizeof(names) / sizeof(names[0]))

/* Options that are secrets. */
static const char *const secrets[] = {"psk", "privkey"};

struct collecting {
	struct qp_config *c;
	const struct qp_config_at *at;
	bool out_of_memory;
	char *joined; /* what a comma list has so far */
};

static bool
add_value(struct collecting *to, const char *text, const yaml_node_t *node)
{
	struct qp_config *c = to->c;

	if (c->nvalues == c->values_cap) {
		size_t cap = c->values_cap == 0 ? 64 : c->values_cap * 2;
		struct qp_opt_value *v = realloc(c->value, cap * sizeof(*v));

		to->out_of_memory = v == NULL;
		if (v == NULL)
			return false;
		c->value = v;
		c->values_cap = cap;
	}
	c->value[c->nvalues++] = (struct qp_opt_value) {.name = to->at->key,
		.text = text,
		.file = to->at->file->path,
		.line = qp_yaml_line(node)};
	return true;
}

static bool
take_value(void *ctx, const char *text, const yaml_node_t *node)
{
	return add_value(ctx, text, node);
}

/* Lists of keys are long: each is put at the end of a buffer that grows with them. */
static int
join(struct collecting *to)
{
	struct qp_yaml *y = &to->at->file->yaml;
	const yaml_node_t *list = to->at->node;
	size_t len = 0;
	FILE *f = open_memstream(&to->joined, &len);

	if (f == NULL)
		return QP_E_NOMEM;
	for (yaml_node_item_t *i = list->data.sequence.items.start;
		i < list->data.sequence.items.top; i++) {
		const char *text = qp_yaml_text(qp_yaml_node(y, *i));

		if (text == NULL) {
			fclose(f);
			return QP_E_INVAL;
		}
		fprintf(f, "%s%s", i > list->data.sequence.items.start ? "," : "", text);
	}
	return fclose(f) == 0 ? 0 : QP_E_NOMEM;
}

static int
take_comma_list(struct collecting *to, struct qp_mistakes *m)
{
	struct qp_config *c = to->c;
	int err = join(to);
	char **all = err == 0 ? realloc(c->joined, (c->njoined + 1) * sizeof(char *)) : NULL;

	if (err == QP_E_INVAL) {
		free(to->joined);
		return qp_config_expected(m, to->at, "a value or a list of values");
	}
	if (all == NULL) {
		free(to->joined);
		to->out_of_memory = true;
		return QP_E_NOMEM;
	}
	c->joined = all;
	c->joined[c->njoined++] = to->joined;
	return add_value(to, to->joined, to->at->node) ? 0 : QP_E_NOMEM;
}

static int
take_key(struct qp_config *c, const struct qp_config_at *at, struct qp_mistakes *m)
{
	struct collecting to = {.c = c, .at = at};
	int err = 0;

	if (IS_AMONG(at->key, secrets))
		qp_config_has_secret(at->file);
	if (at->node->type == YAML_SEQUENCE_NODE && IS_AMONG(at->key, comma_lists))
		err = take_comma_list(&to, m);
	else if (!qp_config_each_text(at, m, take_value, &to))
		err = QP_E_INVAL;
	if (to.out_of_memory)
		return qp_mistakes_add(m, QP_E_NOMEM, "%s: out of memory", at->file->path);
	return err;
}

static int
take_file(struct qp_config *c, struct qp_config_file *f, struct qp_mistakes *m)
{
	yaml_node_t *root = qp_yaml_root(&f->yaml);
	int err = 0;

	if (root == NULL || root->type != YAML_MAPPING_NODE)
		return 0;
	for (yaml_node_pair_t *p = root->data.mapping.pairs.start; p < root->data.mapping.pairs.top;
		p++) {
		const yaml_node_t *key = qp_yaml_node(&f->yaml, p->key);
		struct qp_config_at at = {f, qp_yaml_node(&f->yaml, p->value), qp_yaml_text(key)};

		if (at.key == NULL)
			err = qp_mistakes_add(m, QP_E_INVAL, "%s:%u: expected a key that is a word",
				f->path, qp_yaml_line(key));
		else if (!IS_AMONG(at.key, sections) && take_key(c, &at, m) != 0)
			err = QP_E_INVAL;
	}
	return err;
}

int
qp_config_values(struct qp_config *c, const struct qp_opt_value **v, size_t *n,
	struct qp_mistakes *m)
{
	int err = 0;

	c->nvalues = 0;
	for (unsigned i = 0; i < c->nfiles; i++) {
		if (take_file(c, &c->file[i], m) != 0)
			err = QP_E_INVAL;
	}
	*v = c->value;
	*n = c->nvalues;
	return err;
}
