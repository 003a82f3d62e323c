/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A configuration's files: the one that was named, and what it includes. What
 * their keys mean is the config_*.c's. Main or loop thread.
 */
#define QP_LOG_MODULE QP_LOG_M_config
#include <errno.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/file.h"
#include "common/log.h"
#include "controlplane/config_impl.h"

#define INCLUDE "include"

int
qp_config_expected(struct qp_mistakes *m, const struct qp_config_at *at, const char *what)
{
	return qp_mistakes_add(m, QP_E_INVAL, "%s:%u: %s: expected %s", at->file->path,
		qp_yaml_line(at->node), at->key, what);
}

void
qp_config_has_secret(struct qp_config_file *f)
{
	if (!f->warned && qp_file_mode_is_lax(f->mode))
		qp_log(QP_LOG_WARN, "others than the owner can reach a file with secrets; chmod 600 it",
			QP_LOG_STR("file", f->path));
	f->warned = true;
}

bool
qp_config_each_text(const struct qp_config_at *at, struct qp_mistakes *m,
	bool (*take)(void *ctx, const char *text, const yaml_node_t *node), void *ctx)
{
	struct qp_yaml *y = &at->file->yaml;
	const yaml_node_t *n = at->node;

	if (qp_yaml_text(n) != NULL && !qp_yaml_is_null(n))
		return take(ctx, qp_yaml_text(n), n);
	if (n->type != YAML_SEQUENCE_NODE) {
		qp_config_expected(m, at, "a value or a list of values");
		return false;
	}
	for (yaml_node_item_t *i = n->data.sequence.items.start; i < n->data.sequence.items.top;
		i++) {
		struct qp_config_at item = {at->file, qp_yaml_node(y, *i), at->key};
		const char *text = qp_yaml_text(item.node);

		if (text == NULL || qp_yaml_is_null(item.node)) {
			qp_config_expected(m, &item, "a list of values");
			return false;
		}
		if (!take(ctx, text, item.node))
			return false;
	}
	return true;
}

bool
qp_config_section_next(struct qp_config_section *s, struct qp_config_at *at)
{
	for (; s->file < s->c->nfiles; s->file++, s->pair = 0) {
		struct qp_config_file *f = &s->c->file[s->file];
		yaml_node_t *root = qp_yaml_root(&f->yaml);
		size_t n = root != NULL && root->type == YAML_MAPPING_NODE
				   ? (size_t)(root->data.mapping.pairs.top -
					     root->data.mapping.pairs.start)
				   : 0;

		while (s->pair < n) {
			const yaml_node_pair_t *p = &root->data.mapping.pairs.start[s->pair++];
			const char *key = qp_yaml_text(qp_yaml_node(&f->yaml, p->key));

			if (key == NULL || strcmp(key, s->name) != 0)
				continue;
			*at = (struct qp_config_at) {f, qp_yaml_node(&f->yaml, p->value), s->name};
			return true;
		}
	}
	return false;
}

/* An include that is being followed: files that it names are read one after the other. */
struct including {
	struct qp_config *c;
	struct qp_config_file *by; /* NULL: the command line */
	unsigned depth;            /* of the files that it names */
	struct qp_mistakes *m;
	int err;
};

static int read_one(struct including *in, const char *path, const yaml_node_t *node);

/* Begins a mistake of an include's: "FILE:LINE: include: ". */
static const char *
place(const struct including *in, const yaml_node_t *node, char out[256])
{
	if (in->by == NULL)
		out[0] = '\0';
	else
		snprintf(out, 256, "%.200s:%u: " INCLUDE ": ", in->by->path, qp_yaml_line(node));
	return out;
}

/* What a wildcard stands for may come and go: the folder that it begins in is watched. */
static void
watch_folder(struct qp_config *c, const char *including, const char *text)
{
	size_t plain = strcspn(text, "*?[\\");
	const char *slash = strrchr(including, '/');
	char *folder = NULL;

	if (text[plain] == '\0')
		return;
	while (plain > 0 && text[plain - 1] != '/')
		plain--;
	if (asprintf(&folder, "%.*s%.*s",
		    text[0] == '/' || slash == NULL ? 0 : (int)(slash + 1 - including), including,
		    (int)plain, text) < 0)
		return;
	for (unsigned i = 0; i < c->nfolders; i++) {
		if (strcmp(c->folder[i], folder) == 0) {
			free(folder);
			return;
		}
	}
	if (c->nfolders < QP_CONFIG_FILES)
		c->folder[c->nfolders++] = folder;
	else
		free(folder);
}

/* Beside the including file; what is special to glob() in that folder's name is escaped. */
static char *
pattern_of(const char *including, const char *text)
{
	const char *slash = strrchr(including, '/');
	size_t n = 0;
	char *out;

	if (text[0] == '/' || slash == NULL)
		return strdup(text);
	out = malloc(2 * (size_t)(slash - including + 1) + strlen(text) + 1);
	if (out == NULL)
		return NULL;
	for (const char *p = including; p <= slash; p++) {
		if (strchr("*?[]\\", *p) != NULL)
			out[n++] = '\\';
		out[n++] = *p;
	}
	strcpy(out + n, text);
	return out;
}

static bool
take_include(void *ctx, const char *text, const yaml_node_t *node)
{
	struct including *in = ctx;
	char *pattern = pattern_of(in->by->path, text);
	char where[256];
	glob_t found = {0};
	int err = pattern == NULL ? GLOB_NOSPACE : glob(pattern, GLOB_MARK, NULL, &found);

	if (err == GLOB_NOSPACE)
		in->err = qp_mistakes_add(in->m, QP_E_NOMEM, "%sout of memory",
			place(in, node, where));
	else if (err == GLOB_NOMATCH && strpbrk(text, "*?[") == NULL)
		in->err = qp_mistakes_add(in->m, QP_E_INVAL, "%sexpected a file, but there is no %s",
			place(in, node, where), text);
	else if (err != 0 && err != GLOB_NOMATCH)
		in->err = qp_mistakes_add(in->m, QP_E_IO, "%scannot look for %s: %s",
			place(in, node, where), text, strerror(errno));
	watch_folder(in->c, in->by->path, text);
	for (size_t i = 0; err == 0 && i < found.gl_pathc; i++) {
		const char *path = found.gl_pathv[i];

		if (read_one(in, path, node) != 0)
			in->err = QP_E_INVAL;
	}
	if (err != GLOB_NOSPACE || pattern != NULL)
		globfree(&found);
	free(pattern);
	return true;
}

static int
follow_includes(struct including *in)
{
	struct qp_yaml *y = &in->by->yaml;
	yaml_node_t *root = qp_yaml_root(y);

	for (yaml_node_pair_t *p = root->data.mapping.pairs.start; p < root->data.mapping.pairs.top;
		p++) {
		const char *key = qp_yaml_text(qp_yaml_node(y, p->key));
		struct qp_config_at at = {in->by, qp_yaml_node(y, p->value), INCLUDE};

		if (key != NULL && strcmp(key, INCLUDE) == 0 &&
			!qp_config_each_text(&at, in->m, take_include, in))
			in->err = QP_E_INVAL;
	}
	return in->err;
}

/* Not twice, whether by a circle or not: what a file says would count twice. */
static int
check_new(struct including *in, const char *path, const struct stat *st, const yaml_node_t *node)
{
	struct qp_config *c = in->c;
	char where[256];

	if (in->depth > QP_CONFIG_DEPTH)
		return qp_mistakes_add(in->m, QP_E_INVAL,
			"%sexpected files %u deep at most, and %s would be deeper",
			place(in, node, where), QP_CONFIG_DEPTH, path);
	if (c->nfiles == QP_CONFIG_FILES)
		return qp_mistakes_add(in->m, QP_E_FULL, "%sexpected %u files at most",
			place(in, node, where), QP_CONFIG_FILES);
	for (unsigned i = 0; i < c->nfiles; i++) {
		if (c->file[i].dev == st->st_dev && c->file[i].ino == st->st_ino)
			return qp_mistakes_add(in->m, QP_E_INVAL,
				"%sexpected each file once, and %s is there already",
				place(in, node, where), path);
	}
	return 0;
}

static int
open_file(struct including *in, const char *path, const yaml_node_t *node,
	struct qp_config_file **out)
{
	struct qp_config *c = in->c;
	struct qp_config_file *f;
	struct qp_errmsg msg;
	char where[256];
	struct stat st;
	int err;

	if (stat(path, &st) != 0)
		return qp_mistakes_add(in->m, qp_err_from_errno(errno), "%scannot read %s: %s",
			place(in, node, where), path, strerror(errno));
	err = check_new(in, path, &st, node);
	if (err != 0)
		return err;
	f = &c->file[c->nfiles];
	*f = (struct qp_config_file) {.path = strdup(path), .dev = st.st_dev,
		.ino = st.st_ino, .mode = st.st_mode};
	if (f->path == NULL)
		return qp_mistakes_add(in->m, QP_E_NOMEM, "%s: out of memory", path);
	err = qp_yaml_load(path, QP_CONFIG_FILE_BYTES, &f->yaml, NULL, &msg);
	if (err != 0) {
		free(f->path);
		return qp_mistakes_add(in->m, err, "%s%s",
			strstr(msg.text, ": not YAML: ") != NULL ? "" : place(in, node, where),
			msg.text);
	}
	c->nfiles++;
	*out = f;
	return 0;
}

static int
read_one(struct including *in, const char *path, const yaml_node_t *node)
{
	struct qp_config_file *f;
	int err = open_file(in, path, node, &f);
	yaml_node_t *root = err == 0 ? qp_yaml_root(&f->yaml) : NULL;
	struct including next;

	if (root == NULL || qp_yaml_is_null(root)) { /* an empty file is allowed */
		in->c->empty |= in->by == NULL;
		return err;
	}
	if (root->type != YAML_MAPPING_NODE)
		return qp_mistakes_add(in->m, QP_E_INVAL,
			"%s:%u: expected keys with values, such as `workers: 2`", path,
			qp_yaml_line(root));
	next = (struct including) {in->c, f, in->depth + 1, in->m, 0};
	return follow_includes(&next);
}

int
qp_config_read(const char *path, struct qp_mistakes *m, struct qp_config **out)
{
	struct qp_config *c = calloc(1, sizeof(*c));
	struct including in = {c, NULL, 1, m, 0};
	int err;

	if (c == NULL)
		return qp_mistakes_add(m, QP_E_NOMEM, "%s: out of memory", path);
	err = read_one(&in, path, NULL);
	if (err != 0) {
		qp_config_free(c);
		return err;
	}
	*out = c;
	return 0;
}

bool
qp_config_is_empty(const struct qp_config *c)
{
	return c->empty;
}

void
qp_config_forget(struct qp_config *c)
{
	for (unsigned i = 0; c != NULL && i < c->nfiles; i++)
		qp_yaml_free(&c->file[i].yaml);
	if (c != NULL)
		c->nvalues = 0;
}

void
qp_config_free(struct qp_config *c)
{
	if (c == NULL)
		return;
	for (unsigned i = 0; i < c->nfiles; i++) {
		free(c->file[i].path);
		qp_yaml_free(&c->file[i].yaml);
	}
	for (unsigned i = 0; i < c->nfolders; i++)
		free(c->folder[i]);
	for (size_t i = 0; i < c->njoined; i++)
		free(c->joined[i]);
	free(c->joined);
	free(c->value);
	free(c);
}

static unsigned
count_entries(struct qp_config *c, const char *name)
{
	struct qp_config_section s = {.c = c, .name = name};
	struct qp_config_at at;
	unsigned n = 0;

	while (qp_config_section_next(&s, &at)) {
		if (at.node->type == YAML_SEQUENCE_NODE)
			n += (unsigned)(at.node->data.sequence.items.top -
					at.node->data.sequence.items.start);
	}
	return n;
}

struct qp_config_counts
qp_config_count(struct qp_config *c)
{
	return (struct qp_config_counts) {.files = c->nfiles,
		.groups = count_entries(c, "groups"),
		.clients = count_entries(c, "clients"),
		.psks = count_entries(c, "psks")};
}

const char *
qp_config_file(const struct qp_config *c, unsigned i)
{
	return i < c->nfiles ? c->file[i].path : NULL;
}

const char *
qp_config_folder(const struct qp_config *c, unsigned i)
{
	return i < c->nfolders ? c->folder[i] : NULL;
}
