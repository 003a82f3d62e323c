/* SPDX-License-Identifier: Apache-2.0 */
/*
 * host.state: what a gateway changed on its host's interfaces, in memory and on
 * disk. Belongs to the control plane's loop thread, or to the one that cleans
 * up after a dead gateway. Does nothing to the interfaces itself.
 */
#include "controlplane/hostnet_state.h"

#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/file.h"

#define HEADER      "quicport-host 1"
#define STATE_NAME  "host.state"
#define STATE_BYTES (1u << 20)

void
qp_host_state_clear(struct qp_host_state *s)
{
	free(s->filters);
	*s = (struct qp_host_state) {0};
}

static struct qp_host_filter *
find(const struct qp_host_state *s, uint32_t ifindex)
{
	for (unsigned i = 0; i < s->nfilters; i++)
		if (s->filters[i].ifindex == ifindex)
			return &s->filters[i];
	return NULL;
}

const struct qp_host_filter *
qp_host_state_find(const struct qp_host_state *s, uint32_t ifindex)
{
	return find(s, ifindex);
}

int
qp_host_state_put(struct qp_host_state *s, const struct qp_host_filter *f)
{
	struct qp_host_filter *at = find(s, f->ifindex);

	if (at == NULL && s->nfilters == s->cap) {
		unsigned cap = s->cap ? s->cap * 2 : 8;
		struct qp_host_filter *grown =
			reallocarray(s->filters, cap, sizeof(*s->filters));

		if (grown == NULL)
			return QP_E_NOMEM;
		s->filters = grown;
		s->cap = cap;
	}
	if (at == NULL)
		at = &s->filters[s->nfilters++];
	*at = *f;
	return 0;
}

void
qp_host_state_drop(struct qp_host_state *s, uint32_t ifindex)
{
	struct qp_host_filter *f = find(s, ifindex);

	if (f != NULL)
		*f = s->filters[--s->nfilters];
}

/* A word that a later release writes behind what we know, or in place of it. */
static bool
is_of_tomorrow(const char *line)
{
	const size_t word = strspn(line, "abcdefghijklmnopqrstuvwxyz");

	return word > 0 && (line[word] == ' ' || line[word] == '\0') &&
	       strncmp(line, "filter ", 7) != 0;
}

static int
parse_line(const char *line, unsigned number, struct qp_host_state *s)
{
	struct qp_host_filter f;
	int end = 0;

	if (number == 0)
		return strcmp(line, HEADER) == 0 ? 0 : QP_E_INVAL;
	if (number == 1)
		return sscanf(line, "netns %" SCNu64 "%n", &s->netns, &end) == 1 &&
			line[end] == '\0' ? 0 : QP_E_INVAL;
	if (is_of_tomorrow(line))
		return 0;
	if (sscanf(line, "filter %" SCNu32 " %" SCNu32 " %" SCNu32 " %" SCNu32 "%n", &f.ifindex,
		    &f.priority, &f.handle, &f.prog_id, &end) != 4 ||
		(line[end] != '\0' && line[end] != ' '))
		return QP_E_INVAL;
	return qp_host_state_put(s, &f);
}

int
qp_host_state_parse(const char *text, struct qp_host_state *s)
{
	unsigned number = 0;
	char line[128];
	int rc = 0;

	while (rc == 0 && *text != '\0') {
		size_t len = strcspn(text, "\n");

		/* Every line ends with a newline, or the file was cut. */
		if (len >= sizeof(line) || text[len] != '\n') {
			rc = QP_E_INVAL;
			break;
		}
		memcpy(line, text, len);
		line[len] = '\0';
		rc = parse_line(line, number++, s);
		text += len + 1;
	}
	if (rc == 0 && number < 2)
		rc = QP_E_INVAL;
	if (rc != 0)
		qp_host_state_clear(s);
	return rc;
}

char *
qp_host_state_format(const struct qp_host_state *s)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	if (f == NULL)
		return NULL;
	fprintf(f, HEADER "\nnetns %" PRIu64 "\n", s->netns);
	for (unsigned i = 0; i < s->nfilters; i++)
		fprintf(f, "filter %" PRIu32 " %" PRIu32 " %" PRIu32 " %" PRIu32 "\n",
			s->filters[i].ifindex, s->filters[i].priority, s->filters[i].handle,
			s->filters[i].prog_id);
	if (fclose(f) != 0) {
		free(text);
		return NULL;
	}
	return text;
}

static void
state_path(char path[PATH_MAX], const char *dir)
{
	snprintf(path, PATH_MAX, "%s/" STATE_NAME, dir);
}

int
qp_host_state_load(const char *dir, struct qp_host_state *s, struct qp_errmsg *msg)
{
	char path[PATH_MAX], *text;
	size_t len;
	int rc;

	*s = (struct qp_host_state) {0};
	state_path(path, dir);
	rc = qp_file_read(path, STATE_BYTES, &text, &len, NULL, msg);
	if (rc != 0)
		return rc;
	rc = strlen(text) == len ? qp_host_state_parse(text, s) : QP_E_INVAL;
	qp_file_free(text);
	if (rc != 0)
		return qp_fail(msg, rc, "%s is not a state file of this version: %s; look at "
			"\"tc filter show\" for filters named qp_ingress, then remove the file", path,
			qp_strerror(rc));
	return 0;
}

int
qp_host_state_save(const char *dir, const struct qp_host_state *s, struct qp_errmsg *msg)
{
	char path[PATH_MAX], *text = qp_host_state_format(s);
	int rc;

	if (text == NULL)
		return qp_fail(msg, QP_E_NOMEM, "no memory to write down the host's state");
	state_path(path, dir);
	rc = qp_file_write(path, text, strlen(text), 0600, true, msg);
	free(text);
	return rc;
}

void
qp_host_state_remove(const char *dir)
{
	char path[PATH_MAX];

	state_path(path, dir);
	(void)unlink(path);
}
