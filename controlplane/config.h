/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_CONFIG_H
#define QP_CONTROLPLANE_CONFIG_H

#include <stddef.h>

#include "common/keys.h"
#include "common/opt.h"
#include "controlplane/mistakes.h"
#include "controlplane/policy.h"

/*
 * The gateway's configuration file (YAML) and those that it includes. Keys are
 * the options' names without dashes, and `include`, `groups`, `clients`, `psks`,
 * `defaults`: docs/configuration.md. Read at once, then only looked at. Main or
 * loop thread; blocks on files.
 */
struct qp_config;

#define QP_CONFIG_FILE_BYTES (32u << 20)
#define QP_CONFIG_FILES 256u
#define QP_CONFIG_DEPTH 8u /* of files that include files */

/* All mistakes go to `m`; then the result is not 0 and there is no `*out`. */
int qp_config_read(const char *path, struct qp_mistakes *m, struct qp_config **out);
/* Wipes secrets. NULL is allowed. */
void qp_config_free(struct qp_config *c);

/* What it says of options, borrowed; see struct qp_opt_source. */
int qp_config_values(struct qp_config *c, const struct qp_opt_value **v, size_t *n,
	struct qp_mistakes *m);

/* Whether the file, not one that it includes, says nothing. Also after qp_config_forget. */
bool qp_config_is_empty(const struct qp_config *c);

/* Wipes what it read, but knows the files still. NULL is allowed. */
void qp_config_forget(struct qp_config *c);

struct qp_config_counts {
	unsigned files, groups, clients, psks;
};
struct qp_config_counts qp_config_count(struct qp_config *c);

/* What mistakes and origins call the API's text. */
#define QP_CONFIG_API_PATH "(api)"

/* What the options say of clients. */
struct qp_config_base {
	const struct qp_allow *locals; /* --allow-local-forward; NULL: none */
	const char *client_pubkeys, *client_pubkeys_file; /* NULL: none */
	const struct qp_secret *psk;   /* copied; NULL: none */
	const char *psk_origin;
	/*
	 * Clients that the API has written: text as of a file, whose `clients` and
	 * `psks` come last. A name that is there already is left out, and logged.
	 * NULL: none.
	 */
	const char *api;
	/* NULL, or gets what is no mistake because this user may not read a file. */
	struct qp_mistakes *unreadable;
};

/*
 * Adds all clients to `p`: of the file (NULL: there is none), and those that
 * options name and the file does not, with the grants of `defaults`. Mistakes go
 * to `m`; then the result is not 0 and `p` is of no use.
 */
int qp_config_build(struct qp_config *c, const struct qp_config_base *base, struct qp_policy *p,
	struct qp_mistakes *m);

/*
 * What to watch: files that were read, and folders that wildcards begin in, each
 * with a slash at its end ("": the working folder). NULL beyond the last.
 */
const char *qp_config_file(const struct qp_config *c, unsigned i);
const char *qp_config_folder(const struct qp_config *c, unsigned i);

#endif
