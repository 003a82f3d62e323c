/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_API_CLIENTS_H
#define QP_CONTROLPLANE_API_CLIENTS_H

#include <jansson.h>
#include <stdbool.h>

#include "controlplane/policy.h"
#include "controlplane/state.h"

/*
 * Clients that the API has written. Each is an entry as the configuration file
 * has them under `clients` or `psks`, kept as JSON, which is YAML, too: so what
 * reads the file reads them. A PSK is in a file of its own, which the entry
 * names. Owner: the loop thread.
 */
struct qp_api_clients;

/* `dir`: for the files of PSKs; made with the first. Both are borrowed. QP_E_NOMEM. */
int qp_api_clients_new(struct qp_state *state, const char *dir, struct qp_api_clients **out,
	struct qp_errmsg *msg);
/* NULL is allowed. */
void qp_api_clients_free(struct qp_api_clients *ac);

/* Its entry, borrowed; NULL: the API has not written it. `ac` NULL: it writes none. */
const json_t *qp_api_clients_get(const struct qp_api_clients *ac, const char *name);
/*
 * All as the text of a configuration file, with `name` as `entry` says (NULL:
 * without it). From malloc; NULL: out of memory. Any thread, while nothing is put.
 */
char *qp_api_clients_text(const struct qp_api_clients *ac, const char *name, const json_t *entry);
/*
 * What the text says is in force: written into the state. Returns a PSK's file that
 * is needed no more once the disk has that, or NULL; for qp_api_clients_remove.
 */
char *qp_api_clients_put(struct qp_api_clients *ac, const char *name, json_t *entry);
/* Takes the path over. NULL is allowed. */
void qp_api_clients_remove(char *path);

/*
 * A name for a new file of a PSK, beside those that are in force; and its
 * writing, which waits for the disk and may run on any thread.
 */
int qp_api_clients_psk_path(const struct qp_api_clients *ac, const char *name, char path[256],
	struct qp_errmsg *msg);
int qp_api_clients_keep_psk(
	const char *path, const struct qp_secret *psk, struct qp_errmsg *msg);

/* Whether a client of the policy is the API's; its keys, as texts (NULL: it has none). */
bool qp_api_client_is(const struct qp_policy_client *c);
json_t *qp_api_client_keys(const struct qp_api_clients *ac, const char *name);

#endif
