/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_CONFIG_IMPL_H
#define QP_CONTROLPLANE_CONFIG_IMPL_H

#include <sys/types.h>

#include "common/yamlfile.h"
#include "controlplane/config.h"

/* What config.c and the config_*.c share. */

struct qp_config_file {
	char *path;
	dev_t dev;
	ino_t ino;
	mode_t mode;
	bool warned; /* that others can read its secrets */
	struct qp_yaml yaml;
};

struct qp_config {
	bool empty; /* the first file says nothing at all */
	unsigned nfiles;
	struct qp_config_file file[QP_CONFIG_FILES];
	unsigned nfolders;
	char *folder[QP_CONFIG_FILES];
	struct qp_opt_value *value;
	size_t nvalues, values_cap;
	char **joined; /* lists that became one text */
	size_t njoined;
};

/* A place in a file, for mistakes: "FILE:LINE: KEY". */
struct qp_config_at {
	struct qp_config_file *file;
	const yaml_node_t *node;
	const char *key;
};

/* "FILE:LINE: key: expected …". Returns QP_E_INVAL. */
int qp_config_expected(struct qp_mistakes *m, const struct qp_config_at *at, const char *what);

/* There is a secret in the file itself: warns in the log, once, when others can read it. */
void qp_config_has_secret(struct qp_config_file *f);

/* Grants as far as a mapping gives them; all zero: none is given. */
struct qp_config_grants {
	struct qp_grants g; /* arrays are its own: qp_grants_release */
	bool ports, locals, sources, expires;
	bool tunnels, forwards, conns, conns_per_s, in, out;
};

/* False: `key` is no grant's. Mistakes go to `m`. */
bool qp_config_grant(struct qp_config_grants *c, const struct qp_config_at *at,
	struct qp_mistakes *m);
void qp_config_grants_free(struct qp_config_grants *c);
/* What `own` gives goes before what is in `*out`; arrays stay `own`'s. */
void qp_config_grants_lay_over(struct qp_grants *out, const struct qp_config_grants *own);

enum qp_config_kind {
	QP_CONFIG_DEFAULTS,
	QP_CONFIG_GROUP,
	QP_CONFIG_CLIENT,
	QP_CONFIG_PSK,
};

/* An entry of a list, or `defaults`. Borrows from its file, but for the grants. */
struct qp_config_entry {
	struct qp_config_at at;
	char origin[256]; /* FILE:LINE */
	const char *name;
	struct qp_config_at group, key, secret, secret_file; /* node NULL: not given */
	struct qp_config_grants grants;
};

/* False: there are mistakes; they are told, and the entry has nothing to free. */
bool qp_config_entry_read(struct qp_mistakes *m, enum qp_config_kind kind,
	const struct qp_config_at *at, struct qp_config_entry *e);
/* A PSK's; NULL, and a mistake, without one. */
struct qp_secret *qp_config_entry_secret(const struct qp_config_entry *e,
	const struct qp_config_base *base, struct qp_mistakes *m);

/* The clients that options name, each with these grants. */
void qp_config_build_others(const struct qp_config_base *base, const struct qp_grants *grants,
	struct qp_policy *p, struct qp_mistakes *m);

/* Over the files' keys of that name; begin with all but these 0. */
struct qp_config_section {
	struct qp_config *c;
	const char *name;
	unsigned file;
	size_t pair;
};
bool qp_config_section_next(struct qp_config_section *s, struct qp_config_at *at);

/* A scalar's or a list's texts, one after the other; false, and a mistake, for anything else. */
bool qp_config_each_text(const struct qp_config_at *at, struct qp_mistakes *m,
	bool (*take)(void *ctx, const char *text, const yaml_node_t *node), void *ctx);

#endif
