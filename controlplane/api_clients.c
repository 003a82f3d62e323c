/* SPDX-License-Identifier: Apache-2.0 */
#define QP_LOG_MODULE QP_LOG_M_policy
#include "controlplane/api_clients.h"

#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/file.h"
#include "common/log.h"
#include "controlplane/config.h"

struct qp_api_clients {
	struct qp_state *state;
	const char *dir;
	json_t *all; /* name: entry */
};

static const char *
secret_file(const json_t *entry)
{
	return json_string_value(json_object_get(entry, "secret-file"));
}

static void
take_row(void *ctx, const char *name, const char *text)
{
	struct qp_api_clients *ac = ctx;
	json_t *entry = json_loads(text, JSON_REJECT_DUPLICATES, NULL);

	if (json_is_object(entry) && json_object_set(ac->all, name, entry) == 0) {
		json_decref(entry);
		return;
	}
	json_decref(entry);
	qp_log(QP_LOG_ERROR, "a client of the state cannot be read", QP_LOG_STR("client", name));
}

int
qp_api_clients_new(
	struct qp_state *state, const char *dir, struct qp_api_clients **out, struct qp_errmsg *msg)
{
	struct qp_api_clients *ac = calloc(1, sizeof(*ac));

	if (ac != NULL)
		*ac = (struct qp_api_clients) {state, dir, json_object()};
	if (ac == NULL || ac->all == NULL || qp_state_each_client(state, take_row, ac) != 0) {
		qp_api_clients_free(ac);
		return qp_fail(msg, QP_E_NOMEM, "out of memory");
	}
	*out = ac;
	return 0;
}

void
qp_api_clients_free(struct qp_api_clients *ac)
{
	if (ac == NULL)
		return;
	json_decref(ac->all);
	free(ac);
}

const json_t *
qp_api_clients_get(const struct qp_api_clients *ac, const char *name)
{
	return ac != NULL ? json_object_get(ac->all, name) : NULL;
}

/* One of the two lists, as it is made. */
struct list {
	FILE *f;
	const char *title;
	bool psks;
	bool any;
};

/* False: out of memory. */
static bool
write_entry(struct list *l, const json_t *entry)
{
	char *text;

	if ((secret_file(entry) != NULL) != l->psks)
		return true;
	text = json_dumps(entry, JSON_ENSURE_ASCII);
	if (text == NULL)
		return false;
	fprintf(l->f, "%s%s- %s\n", l->any ? "" : l->title, l->any ? "" : ":\n", text);
	l->any = true;
	free(text);
	return true;
}

/* All but `but`, then `entry` (NULL: none). False: out of memory. */
static bool
write_list(struct list l, const json_t *all, const char *but, const json_t *entry)
{
	const char *name;
	json_t *other;

	/* Counts no references: the loop may do so meanwhile. */
	json_object_foreach((json_t *)(uintptr_t)all, name, other)
	{
		if ((but == NULL || strcmp(name, but) != 0) && !write_entry(&l, other))
			return false;
	}
	return entry == NULL || write_entry(&l, entry);
}

char *
qp_api_clients_text(const struct qp_api_clients *ac, const char *name, const json_t *entry)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);
	bool ok = f != NULL &&
		  write_list((struct list) {f, "clients", false, false}, ac->all, name, entry) &&
		  write_list((struct list) {f, "psks", true, false}, ac->all, name, entry);

	if (f != NULL && fclose(f) != 0)
		ok = false;
	if (ok)
		return text;
	free(text);
	return NULL;
}

void
qp_api_clients_remove(char *path)
{
	if (path != NULL && unlink(path) != 0)
		qp_log(QP_LOG_WARN, "an old PSK's file stays", QP_LOG_STR("file", path));
	free(path);
}

char *
qp_api_clients_put(struct qp_api_clients *ac, const char *name, json_t *entry)
{
	const char *was = secret_file(json_object_get(ac->all, name));
	const char *is = entry != NULL ? secret_file(entry) : NULL;
	char *text = entry != NULL ? json_dumps(entry, JSON_COMPACT) : NULL;
	char *unneeded = was != NULL && (is == NULL || strcmp(was, is) != 0) ? strdup(was) : NULL;

	if (text != NULL) {
		json_object_set(ac->all, name, entry);
		qp_state_put_client(ac->state, name, text);
	} else {
		json_object_del(ac->all, name);
		(void)qp_state_drop_client(ac->state, name);
	}
	free(text);
	return unneeded;
}

int
qp_api_clients_psk_path(const struct qp_api_clients *ac, const char *name, char path[256],
	struct qp_errmsg *msg)
{
	/* A new name each time: the one before stays in force until this one is. */
	if (snprintf(path, 256, "%s/psk-%s-%08" PRIx32, ac->dir, name, randombytes_random()) >= 256)
		return qp_fail(msg, QP_E_FULL, "the path of a PSK's file would be too long");
	return 0;
}

int
qp_api_clients_keep_psk(const char *path, const struct qp_secret *psk, struct qp_errmsg *msg)
{
	int err = qp_file_make_parents(path, msg);

	return err != 0 ? err : qp_file_write(path, psk->bytes, psk->len, 0600, false, msg);
}

bool
qp_api_client_is(const struct qp_policy_client *c)
{
	size_t len = strlen(QP_CONFIG_API_PATH);

	return c->origin != NULL && strncmp(c->origin, QP_CONFIG_API_PATH, len) == 0 &&
	       c->origin[len] == ':';
}

json_t *
qp_api_client_keys(const struct qp_api_clients *ac, const char *name)
{
	return ac == NULL
		       ? NULL
		       : json_copy(json_object_get(json_object_get(ac->all, name), "public-keys"));
}
