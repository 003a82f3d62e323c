/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_COMMON_KEYS_H
#define QP_COMMON_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"

/*
 * Keys and secrets: guarded memory, WireGuard's text format, key files, the
 * PSK file, sets of authorized keys. Not the packet path: these allocate and
 * read files. Any thread; call qp_keys_init once at the start of the process.
 *
 * Error lines name file, line and what was expected, never a secret's value.
 * `what` names the source of a text in such lines: "--privkey",
 * "QUICPORT_PSK", …
 */
#define QP_KEY_BYTES 32u
#define QP_KEY_TEXT_BYTES 45u /* padded standard Base64: 44 characters and NUL */

/* libsodium's start. QP_E_CRYPTO when it cannot. Repeated calls are harmless. */
int qp_keys_init(void);

/*
 * A secret in memory of its own: guard pages around it, not in core dumps, not
 * swapped where the system allows, read-only after it was made, wiped when freed.
 */
struct qp_secret {
	size_t len;
	uint8_t bytes[];
};

/* Copies; wiping the source is the caller's part. NULL when out of memory. */
struct qp_secret *qp_secret_new(const void *bytes, size_t len);
/* Wipes. NULL is allowed. */
void qp_secret_free(struct qp_secret *s);

/* Exactly 44 characters of padded standard Base64 (WireGuard's); else QP_E_INVAL. */
int qp_key_parse(const char *text, size_t len, uint8_t key[QP_KEY_BYTES]);
/* Always succeeds, always terminated. In constant time. */
void qp_key_format(const uint8_t key[QP_KEY_BYTES], char text[QP_KEY_TEXT_BYTES]);

/* A new private key, clamped as RFC 7748 wants and as `wg genkey` prints. NULL: out of memory. */
struct qp_secret *qp_key_generate(void);
/* QP_E_INVAL when the private key is not of 32 bytes. */
int qp_key_public(const struct qp_secret *private_key, uint8_t public_key[QP_KEY_BYTES]);

/* White space around the text is ignored. The caller frees `*out`. */
int qp_private_key_from_text(const char *text, const char *what, struct qp_secret **out,
	struct qp_errmsg *msg);
/*
 * The first line that is neither empty nor a # comment. Warns in the log when
 * the file can be read by group or others.
 */
int qp_private_key_from_file(const char *path, struct qp_secret **out, struct qp_errmsg *msg);
int qp_public_key_from_text(const char *text, const char *what, uint8_t key[QP_KEY_BYTES],
	struct qp_errmsg *msg);
int qp_public_key_from_file(const char *path, uint8_t key[QP_KEY_BYTES], struct qp_errmsg *msg);

/*
 * A set of public keys. A lookup costs the same for 1 and for 10,000: a table
 * by keyed hash (an outsider can't aim at a bucket), and in the bucket each
 * entry is compared in constant time, without stopping at a match.
 * Owner: whoever made it; readers may share it while nobody adds.
 */
struct qp_keyset;

/* NULL when out of memory. */
struct qp_keyset *qp_keyset_new(void);
/* NULL is allowed. */
void qp_keyset_free(struct qp_keyset *set);
/* A key that is in already stays once. QP_E_NOMEM. */
int qp_keyset_add(struct qp_keyset *set, const uint8_t key[QP_KEY_BYTES]);
/* NULL set: false. */
bool qp_keyset_contains(const struct qp_keyset *set, const uint8_t key[QP_KEY_BYTES]);
/* The same as struct qp_auth_policy's question; `set` is a struct qp_keyset. */
bool qp_keyset_knows(const void *set, const uint8_t key[QP_KEY_BYTES]);
size_t qp_keyset_count(const struct qp_keyset *set);
/* Each key, in no order. */
void qp_keyset_each(const struct qp_keyset *set,
	void (*take)(void *ctx, const uint8_t key[QP_KEY_BYTES]), void *ctx);
/* Keys separated by commas; white space around each is ignored. */
int qp_keyset_add_list(struct qp_keyset *set, const char *text, const char *what,
	struct qp_errmsg *msg);
/* One key a line; empty lines and # comments are skipped. A file without a key is an error. */
int qp_keyset_add_file(struct qp_keyset *set, const char *path, struct qp_errmsg *msg);

/*
 * The keys of a list or of such a file, one by one, without a set. `place` is
 * "WHAT key 3" or "FILE line 3". An error of `each`, which has filled msg, ends it.
 */
struct qp_pubkey_sink {
	int (*each)(void *ctx, const uint8_t key[QP_KEY_BYTES], const char *place,
		struct qp_errmsg *msg);
	void *ctx;
};
int qp_pubkeys_from_list(const char *text, const char *what, const struct qp_pubkey_sink *sink,
	struct qp_errmsg *msg);
int qp_pubkeys_from_file(const char *path, const struct qp_pubkey_sink *sink,
	struct qp_errmsg *msg);

/* HOME/.config/quicport/psk. QP_E_NOTFOUND without a home directory; QP_E_FULL: cap too small. */
int qp_psk_default_path(char *path, size_t cap, struct qp_errmsg *msg);
/*
 * The PSK as given on a command line: the UTF-8 string itself, not decoded.
 * QP_E_INVAL when empty or not UTF-8.
 */
int qp_psk_from_text(const char *text, const char *what, struct qp_secret **out,
	struct qp_errmsg *msg);
/* The only line of a file; warns as the next one does. */
int qp_psk_from_file(const char *path, struct qp_secret **out, struct qp_errmsg *msg);
/*
 * Reads the PSK from `path`; when there is no such file, makes one (32 random
 * bytes in Base64, mode 0600, folders 0700, complete or not at all) and sets
 * `*created`. Two processes that start together end up with the same PSK.
 * White space around the text is ignored. Warns in the log when group or others
 * can read the file.
 */
int qp_psk_from_file_or_create(const char *path, struct qp_secret **out, bool *created,
	struct qp_errmsg *msg);

#endif
