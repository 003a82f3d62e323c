/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CLIENT_CONFIG_PLACE_H
#define QP_CLIENT_CONFIG_PLACE_H

/*
 * Where in a YAML file something stands, for what libcyaml has taken but what
 * makes no sense. Lines count from 1; 0: it is not there. The file is read
 * anew: only after a mistake.
 */

/* Where it ceases to be YAML. */
unsigned qpc_place_of_end(const char *path);
/* The value of the file's own `key`. */
unsigned qpc_place_of_key(const char *path, const char *key);
/*
 * The value of `key` in entry `n`, from 0, of the list `list`; where the entry begins when it
 * has no such key, or `key` is NULL.
 */
unsigned qpc_place_in_list(const char *path, const char *list, unsigned n, const char *key);
/* The first key of this name, of whatever it may be, at line `from` or below. */
unsigned qpc_place_of_any(const char *path, const char *key, unsigned from);

#endif
