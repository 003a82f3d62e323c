/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_TESTS_COMMON_SUPPORT_H
#define QP_TESTS_COMMON_SUPPORT_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

/* What the tests of common share: golden vectors, hex, folders of their own. */

/*
 * The golden vectors: the fixture beside the tests (env QP_VECTORS_FIXTURE), or
 * what env QP_VECTORS names. Ends the test when they cannot be read. The caller
 * calls json_decref.
 */
json_t *vectors_load(void);

/* Bytes of the hex text at a path of object keys ("x25519", "step1_client"), NULL-terminated list. */
size_t vector_bytes(const json_t *root, uint8_t *out, size_t cap, ...)
	__attribute__((sentinel));

/* Hex to bytes; ends the test when it is not hex or does not fit. */
size_t from_hex(const char *hex, uint8_t *out, size_t cap);

/* A new empty folder below TMPDIR; the text is static. scratch_remove() takes it away. */
const char *scratch_make(void);
void scratch_remove(void);
/* FOLDER/name, in one of four static buffers that take turns. */
const char *scratch_path(const char *name);
/* Writes a text file, for a test to read; mode as given. Returns its path. */
const char *scratch_file(const char *name, const char *text, unsigned mode);

#endif
