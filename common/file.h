/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_COMMON_FILE_H
#define QP_COMMON_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "common/error.h"

/*
 * Small files, whole: read at once, written complete or not at all. They
 * block: for start-up and the control plane, never for a worker. Any thread.
 */

/*
 * Reads the whole file into guarded memory (qp_file_free), NUL-terminated
 * beyond `*len`. QP_E_NOTFOUND, QP_E_PERM, QP_E_IO; QP_E_FULL above `max`
 * bytes; QP_E_INVAL when it is not a regular file. `*mode` (NULL is allowed)
 * gets its permission bits.
 */
int qp_file_read(const char *path, size_t max, char **data, size_t *len, mode_t *mode,
	struct qp_errmsg *msg);
/* Wipes. NULL is allowed. */
void qp_file_free(char *data);

/*
 * Writes a file under a temporary name beside `path`, syncs it, then gives it
 * its name. `replace` false: an existing file is left alone, QP_E_INUSE.
 */
int qp_file_write(const char *path, const void *data, size_t len, mode_t mode, bool replace,
	struct qp_errmsg *msg);

/*
 * Removes what a qp_file_write that was killed has left in a folder: files whose
 * names end in a dot and six letters or digits. For folders where no file is
 * called so, and while nobody writes there.
 */
void qp_file_sweep(const char *dir);

/* Makes the folder of `path` (all that precedes its last slash) and its parents, mode 0700. */
int qp_file_make_parents(const char *path, struct qp_errmsg *msg);

/* HOME (else the password database) joined with `relative`. QP_E_NOTFOUND, QP_E_FULL. */
int qp_file_in_home(const char *relative, char *path, size_t cap, struct qp_errmsg *msg);

/* Whether permission bits let group or others read, write or execute. */
bool qp_file_mode_is_lax(mode_t mode);

#endif
