/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lines of a YAML file, by libyaml's document. Main thread.
 */
#include "client/config_place.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <yaml.h>

/* Of `path`, with `doc` filled in: yaml_document_delete. False: it is no YAML, from line `*end` on. */
static bool
load_or_tell(const char *path, yaml_document_t *doc, unsigned *end)
{
	yaml_parser_t parser;
	FILE *file = fopen(path, "re");
	bool ok;

	*end = 0;
	if (file == NULL)
		return false;
	if (!yaml_parser_initialize(&parser)) {
		fclose(file);
		return false;
	}
	yaml_parser_set_input_file(&parser, file);
	ok = yaml_parser_load(&parser, doc) != 0;
	if (!ok)
		*end = (unsigned)parser.problem_mark.line + 1;
	yaml_parser_delete(&parser);
	fclose(file);
	return ok;
}

static bool
load(const char *path, yaml_document_t *doc)
{
	unsigned end;

	return load_or_tell(path, doc, &end);
}

unsigned
qpc_place_of_end(const char *path)
{
	yaml_document_t doc;
	unsigned end;

	if (load_or_tell(path, &doc, &end))
		yaml_document_delete(&doc);
	return end;
}

static bool
is_key(yaml_document_t *doc, int node, const char *key)
{
	const yaml_node_t *n = yaml_document_get_node(doc, node);

	return n != NULL && n->type == YAML_SCALAR_NODE && n->data.scalar.length == strlen(key) &&
		memcmp(n->data.scalar.value, key, n->data.scalar.length) == 0;
}

/* The value of `key`; NULL when `map` has none, or is none. */
static yaml_node_t *
member(yaml_document_t *doc, const yaml_node_t *map, const char *key)
{
	if (map == NULL || map->type != YAML_MAPPING_NODE)
		return NULL;
	for (const yaml_node_pair_t *p = map->data.mapping.pairs.start;
		p < map->data.mapping.pairs.top; p++) {
		if (is_key(doc, p->key, key))
			return yaml_document_get_node(doc, p->value);
	}
	return NULL;
}

static unsigned
line_of(const yaml_node_t *node)
{
	return node != NULL ? (unsigned)node->start_mark.line + 1 : 0;
}

unsigned
qpc_place_of_key(const char *path, const char *key)
{
	yaml_document_t doc;
	unsigned line;

	if (!load(path, &doc))
		return 0;
	line = line_of(member(&doc, yaml_document_get_root_node(&doc), key));
	yaml_document_delete(&doc);
	return line;
}

unsigned
qpc_place_in_list(const char *path, const char *list, unsigned n, const char *key)
{
	yaml_document_t doc;
	const yaml_node_t *all, *entry = NULL, *value = NULL;
	unsigned line;

	if (!load(path, &doc))
		return 0;
	all = member(&doc, yaml_document_get_root_node(&doc), list);
	if (all != NULL && all->type == YAML_SEQUENCE_NODE &&
		n < (size_t)(all->data.sequence.items.top - all->data.sequence.items.start))
		entry = yaml_document_get_node(&doc, all->data.sequence.items.start[n]);
	if (key != NULL)
		value = member(&doc, entry, key);
	line = line_of(value != NULL ? value : entry);
	yaml_document_delete(&doc);
	return line;
}

unsigned
qpc_place_of_any(const char *path, const char *key, unsigned from)
{
	yaml_document_t doc;
	const yaml_node_t *node;
	unsigned first = 0;

	if (!load(path, &doc))
		return 0;
	for (int i = 1; (node = yaml_document_get_node(&doc, i)) != NULL; i++) {
		unsigned line = line_of(node);

		if (line >= from && (first == 0 || line < first) && is_key(&doc, i, key))
			first = line;
	}
	yaml_document_delete(&doc);
	return first;
}
