/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lines of a YAML file, for what libcyaml leaves untold. Main thread.
 */
#include "client/config_place.h"

#include <string.h>

#include "common/yamlfile.h"

#define FILE_BYTES (16u << 20) /* what a person would write is far below */

unsigned
qpc_place_of_end(const char *path)
{
	struct qp_yaml y;
	unsigned end;

	if (qp_yaml_load(path, FILE_BYTES, &y, &end, NULL) == QP_OK)
		qp_yaml_free(&y);
	return end;
}

unsigned
qpc_place_of_key(const char *path, const char *key)
{
	struct qp_yaml y;
	unsigned line;

	if (qp_yaml_load(path, FILE_BYTES, &y, NULL, NULL) != QP_OK)
		return 0;
	line = qp_yaml_line(qp_yaml_member(&y, qp_yaml_root(&y), key));
	qp_yaml_free(&y);
	return line;
}

unsigned
qpc_place_in_list(const char *path, const char *list, unsigned n, const char *key)
{
	struct qp_yaml y;
	const yaml_node_t *all, *entry = NULL, *value = NULL;
	unsigned line;

	if (qp_yaml_load(path, FILE_BYTES, &y, NULL, NULL) != QP_OK)
		return 0;
	all = qp_yaml_member(&y, qp_yaml_root(&y), list);
	if (all != NULL && all->type == YAML_SEQUENCE_NODE &&
		n < (size_t)(all->data.sequence.items.top - all->data.sequence.items.start))
		entry = qp_yaml_node(&y, all->data.sequence.items.start[n]);
	if (key != NULL)
		value = qp_yaml_member(&y, entry, key);
	line = qp_yaml_line(value != NULL ? value : entry);
	qp_yaml_free(&y);
	return line;
}

unsigned
qpc_place_of_any(const char *path, const char *key, unsigned from)
{
	struct qp_yaml y;
	const yaml_node_t *node;
	unsigned first = 0;

	if (qp_yaml_load(path, FILE_BYTES, &y, NULL, NULL) != QP_OK)
		return 0;
	for (int i = 1; (node = qp_yaml_node(&y, i)) != NULL; i++) {
		unsigned line = qp_yaml_line(node);
		const char *text = qp_yaml_text(node);

		if (line >= from && (first == 0 || line < first) && text != NULL &&
			strcmp(text, key) == 0)
			first = line;
	}
	qp_yaml_free(&y);
	return first;
}
