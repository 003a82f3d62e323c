/* SPDX-License-Identifier: Apache-2.0 */
/*
 * YAML files by libyaml's documents, which keep each node's place. Files may
 * hold secrets: what libyaml copied is wiped before it is freed, as far as its
 * structs let one at it.
 */
#include "common/yamlfile.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_DEPTH 64u

static void
wipe(unsigned char *start, const unsigned char *end)
{
	if (start != NULL)
		sodium_memzero(start, (size_t)(end - start));
}

static int
explain(const char *path, const yaml_parser_t *parser, unsigned *line, struct qp_errmsg *msg)
{
	unsigned at = (unsigned)parser->problem_mark.line + 1;

	if (parser->error == YAML_MEMORY_ERROR)
		return qp_fail(msg, QP_E_NOMEM, "%s: out of memory", path);
	if (line != NULL)
		*line = at;
	return qp_fail(msg, QP_E_INVAL, "%s:%u: not YAML: %s", path, at,
		parser->problem != NULL ? parser->problem : "cannot be read");
}

static bool
begin(yaml_parser_t *parser, const char *data, size_t len)
{
	if (!yaml_parser_initialize(parser))
		return false;
	yaml_parser_set_input_string(parser, (const unsigned char *)data, len);
	return true;
}

static void
end(yaml_parser_t *parser)
{
	wipe(parser->raw_buffer.start, parser->raw_buffer.end);
	wipe(parser->buffer.start, parser->buffer.end);
	yaml_parser_delete(parser);
}

/* Levels of the document, from 1; 0: it is over. */
static unsigned
depth_after(const yaml_event_t *e, unsigned depth)
{
	switch (e->type) {
	case YAML_SEQUENCE_START_EVENT:
	case YAML_MAPPING_START_EVENT:
		return depth + 1;
	case YAML_SEQUENCE_END_EVENT:
	case YAML_MAPPING_END_EVENT:
		return depth - 1;
	case YAML_SCALAR_EVENT:
		wipe(e->data.scalar.value, e->data.scalar.value + e->data.scalar.length);
		return depth;
	case YAML_DOCUMENT_END_EVENT:
	case YAML_STREAM_END_EVENT:
		return 0;
	default:
		return depth;
	}
}

/*
 * libyaml's time grows with the square of how deep brackets are nested: a
 * megabyte of them would take hours. QP_E_INVAL where nobody would go; what else
 * is wrong is left to be found by who reads the document.
 */
static int
check_depth(const char *path, const char *data, size_t len, unsigned *line, struct qp_errmsg *msg)
{
	yaml_parser_t parser;
	yaml_event_t event;
	unsigned depth = 1, at;

	if (!begin(&parser, data, len))
		return qp_fail(msg, QP_E_NOMEM, "%s: out of memory", path);
	do {
		if (!yaml_parser_parse(&parser, &event))
			break;
		depth = depth_after(&event, depth);
		yaml_event_delete(&event);
	} while (depth > 0 && depth <= MAX_DEPTH);
	at = (unsigned)parser.mark.line + 1;
	end(&parser);
	if (depth <= MAX_DEPTH)
		return QP_OK;
	if (line != NULL)
		*line = at;
	return qp_fail(msg, QP_E_INVAL, "%s:%u: not YAML: more than %u levels deep",
		path, at, MAX_DEPTH);
}

int
qp_yaml_parse(const char *path, const char *data, size_t len, struct qp_yaml *y, unsigned *line,
	struct qp_errmsg *msg)
{
	yaml_parser_t parser;
	int err;

	memset(y, 0, sizeof(*y));
	err = check_depth(path, data, len, line, msg);
	if (err != QP_OK)
		return err;
	if (!begin(&parser, data, len))
		return qp_fail(msg, QP_E_NOMEM, "%s: out of memory", path);
	if (!yaml_parser_load(&parser, &y->doc))
		err = explain(path, &parser, line, msg);
	end(&parser);
	return err;
}

/* Twice as much room; what was there is wiped. */
static bool
grow(char **data, size_t len, size_t *cap)
{
	char *more = malloc(*cap * 2);

	if (more == NULL)
		return false;
	memcpy(more, *data, len);
	sodium_memzero(*data, len);
	free(*data);
	*data = more;
	*cap *= 2;
	return true;
}

/* To its end, whatever its size is said to be: files of /proc have none. */
static int
read_all(int fd, const char *path, size_t max, char **data, size_t *len, struct qp_errmsg *msg)
{
	struct stat st;
	size_t cap;
	ssize_t n;

	if (fstat(fd, &st) < 0)
		return qp_fail(msg, qp_err_from_errno(errno), "cannot read %s: %s", path,
			strerror(errno));
	if (!S_ISREG(st.st_mode))
		return qp_fail(msg, QP_E_INVAL, "cannot read %s: not a regular file", path);
	cap = (size_t)st.st_size < max ? (size_t)st.st_size + 64 : max + 1;
	*len = 0;
	*data = malloc(cap);
	if (*data == NULL)
		return qp_fail(msg, QP_E_NOMEM, "%s: out of memory", path);
	while ((n = read(fd, *data + *len, cap - *len)) != 0) {
		if (n < 0 && errno != EINTR)
			return qp_fail(msg, qp_err_from_errno(errno), "cannot read %s: %s", path,
				strerror(errno));
		*len += n > 0 ? (size_t)n : 0;
		if (*len > max)
			return qp_fail(msg, QP_E_FULL, "cannot read %s: more than %zu bytes", path,
				max);
		if (*len == cap && !grow(data, *len, &cap))
			return qp_fail(msg, QP_E_NOMEM, "%s: out of memory", path);
	}
	return QP_OK;
}

int
qp_yaml_load(const char *path, size_t max, struct qp_yaml *y, unsigned *line,
	struct qp_errmsg *msg)
{
	/* Not a FIFO's other end to be waited for. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	char *data = NULL;
	size_t len = 0;
	int err;

	if (line != NULL)
		*line = 0;
	memset(y, 0, sizeof(*y));
	if (fd < 0)
		return qp_fail(msg, qp_err_from_errno(errno), "cannot read %s: %s", path,
			strerror(errno));
	err = read_all(fd, path, max, &data, &len, msg);
	close(fd);
	if (err == QP_OK)
		err = qp_yaml_parse(path, data, len, y, line, msg);
	if (data != NULL)
		sodium_memzero(data, len);
	free(data);
	return err;
}

void
qp_yaml_free(struct qp_yaml *y)
{
	for (yaml_node_t *n = y->doc.nodes.start; n < y->doc.nodes.top; n++) {
		if (n->type == YAML_SCALAR_NODE)
			sodium_memzero(n->data.scalar.value, n->data.scalar.length);
	}
	yaml_document_delete(&y->doc);
	memset(y, 0, sizeof(*y));
}

yaml_node_t *
qp_yaml_root(struct qp_yaml *y)
{
	return yaml_document_get_root_node(&y->doc);
}

yaml_node_t *
qp_yaml_node(struct qp_yaml *y, int index)
{
	return yaml_document_get_node(&y->doc, index);
}

const char *
qp_yaml_text(const yaml_node_t *node)
{
	const char *text;

	if (node == NULL || node->type != YAML_SCALAR_NODE)
		return NULL;
	text = (const char *)node->data.scalar.value;
	return strlen(text) == node->data.scalar.length ? text : NULL;
}

yaml_node_t *
qp_yaml_member(struct qp_yaml *y, const yaml_node_t *map, const char *key)
{
	if (map == NULL || map->type != YAML_MAPPING_NODE)
		return NULL;
	for (const yaml_node_pair_t *p = map->data.mapping.pairs.start;
		p < map->data.mapping.pairs.top; p++) {
		const char *text = qp_yaml_text(qp_yaml_node(y, p->key));

		if (text != NULL && strcmp(text, key) == 0)
			return qp_yaml_node(y, p->value);
	}
	return NULL;
}

unsigned
qp_yaml_line(const yaml_node_t *node)
{
	return node != NULL ? (unsigned)node->start_mark.line + 1 : 0;
}

bool
qp_yaml_is_null(const yaml_node_t *node)
{
	const char *text = qp_yaml_text(node);

	return text != NULL && node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
	       (text[0] == '\0' || strcmp(text, "~") == 0 || strcmp(text, "null") == 0);
}
