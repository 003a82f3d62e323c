/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_COMMON_YAMLFILE_H
#define QP_COMMON_YAMLFILE_H

#include <stdbool.h>
#include <stddef.h>

#include <yaml.h>

#include "common/error.h"

/*
 * A YAML file as a tree whose nodes know their lines, by libyaml. Any thread; a
 * tree has one user at a time.
 */
struct qp_yaml {
	yaml_document_t doc;
};

/*
 * Reads the first document of a file of `max` bytes at most. QP_E_NOTFOUND,
 * QP_E_PERM, QP_E_IO, QP_E_FULL; QP_E_INVAL when it is no YAML: then msg begins
 * with "PATH:LINE: ", and `*line` (NULL is allowed) is that line, else 0.
 */
int qp_yaml_load(const char *path, size_t max, struct qp_yaml *y, unsigned *line,
	struct qp_errmsg *msg) __attribute__((warn_unused_result));
/* The same of text; `path` is what mistakes call it. */
int qp_yaml_parse(const char *path, const char *data, size_t len, struct qp_yaml *y,
	unsigned *line, struct qp_errmsg *msg) __attribute__((warn_unused_result));
/* Wipes what it read: there may be secrets in it. Repeated calls are harmless. */
void qp_yaml_free(struct qp_yaml *y);

/* NULL: an empty file. */
yaml_node_t *qp_yaml_root(struct qp_yaml *y);
/* By the number of a pair or an item. */
yaml_node_t *qp_yaml_node(struct qp_yaml *y, int index);
/* The value of `key`; NULL when `map` has none, or is none. */
yaml_node_t *qp_yaml_member(struct qp_yaml *y, const yaml_node_t *map, const char *key);
/* From 1; 0 for NULL. */
unsigned qp_yaml_line(const yaml_node_t *node);
/* A scalar's text without NULs in it, borrowed; NULL when it is none, or has one. */
const char *qp_yaml_text(const yaml_node_t *node);
/* `key: null`, `key: ~` and `key:` with nothing behind it. */
bool qp_yaml_is_null(const yaml_node_t *node);

#endif
