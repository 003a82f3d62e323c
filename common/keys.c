/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Secrets in guarded memory, keys as text and in files, the PSK. Start-up
 * work: blocks and allocates. Sets of keys are in keyset.c, what the keys are
 * used for in auth.c.
 */
#include "common/keys.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "common/file.h"
#include "common/keyfile.h"
#include "common/log.h"
#include "common/text.h"

#define KEY_TEXT_LEN (QP_KEY_TEXT_BYTES - 1)
#define KEY_FILE_MAX 65536u
#define PSK_FILE_MAX 4096u
#define PSK_RANDOM_BYTES 32u

int
qp_keys_init(void)
{
	return sodium_init() < 0 ? QP_E_CRYPTO : QP_OK;
}

struct qp_secret *
qp_secret_new(const void *bytes, size_t len)
{
	struct qp_secret *s;

	if (len > SIZE_MAX / 2 || sodium_init() < 0)
		return NULL;
	/* sodium_malloc puts the end at a guard page: only a rounded size keeps `len` aligned. */
	s = sodium_malloc((sizeof(*s) + len + 7) & ~(size_t)7);
	if (s == NULL)
		return NULL;
	s->len = len;
	if (len > 0)
		memcpy(s->bytes, bytes, len);
	sodium_mprotect_readonly(s);
	return s;
}

void
qp_secret_free(struct qp_secret *s)
{
	sodium_free(s);
}

int
qp_key_parse(const char *text, size_t len, uint8_t key[QP_KEY_BYTES])
{
	uint8_t decoded[QP_KEY_BYTES];
	char again[QP_KEY_TEXT_BYTES];
	size_t n = 0;
	int err = QP_E_INVAL;

	if (len == KEY_TEXT_LEN &&
		sodium_base642bin(decoded, sizeof(decoded), text, len, NULL, &n, NULL,
			sodium_base64_VARIANT_ORIGINAL) == 0 &&
		n == QP_KEY_BYTES) {
		/* One key, one text: libsodium's decoder also takes some bytes above 0x7f. */
		qp_key_format(decoded, again);
		if (sodium_memcmp(again, text, KEY_TEXT_LEN) == 0) {
			memcpy(key, decoded, QP_KEY_BYTES);
			err = QP_OK;
		}
	}
	sodium_memzero(decoded, sizeof(decoded));
	sodium_memzero(again, sizeof(again));
	return err;
}

void
qp_key_format(const uint8_t key[QP_KEY_BYTES], char text[QP_KEY_TEXT_BYTES])
{
	sodium_bin2base64(text, QP_KEY_TEXT_BYTES, key, QP_KEY_BYTES,
		sodium_base64_VARIANT_ORIGINAL);
}

struct qp_secret *
qp_key_generate(void)
{
	uint8_t key[QP_KEY_BYTES];
	struct qp_secret *s;

	randombytes_buf(key, sizeof(key));
	key[0] &= 248;
	key[31] = (uint8_t)((key[31] & 127) | 64);
	s = qp_secret_new(key, sizeof(key));
	sodium_memzero(key, sizeof(key));
	return s;
}

int
qp_key_public(const struct qp_secret *private_key, uint8_t public_key[QP_KEY_BYTES])
{
	if (private_key == NULL || private_key->len != QP_KEY_BYTES)
		return QP_E_INVAL;
	return crypto_scalarmult_base(public_key, private_key->bytes) == 0 ? QP_OK : QP_E_CRYPTO;
}

int
qp_key_explain(struct qp_slice text, char *out, size_t cap)
{
	if (text.len != KEY_TEXT_LEN)
		snprintf(out, cap, "a key has 44 characters of Base64 (32 bytes), this has %zu",
			text.len);
	else
		snprintf(out, cap, "a key is 32 bytes in standard Base64 (44 characters, the last "
				   "one =), this is not");
	return QP_E_INVAL;
}

/* `where`: "FILE line 3", "--privkey". Never shows the text: it may be a private key. */
static int
parse_key(struct qp_slice text, const char *where, uint8_t key[QP_KEY_BYTES],
	struct qp_errmsg *msg)
{
	char why[128];

	text = qp_slice_trim(text);
	if (qp_key_parse(text.ptr, text.len, key) == QP_OK)
		return QP_OK;
	qp_key_explain(text, why, sizeof(why));
	return qp_fail(msg, QP_E_INVAL, "%s: %s", where, why);
}

static int
private_from_slice(struct qp_slice text, const char *where, struct qp_secret **out,
	struct qp_errmsg *msg)
{
	uint8_t key[QP_KEY_BYTES];
	int err = parse_key(text, where, key, msg);

	if (err != QP_OK)
		return err;
	*out = qp_secret_new(key, sizeof(key));
	sodium_memzero(key, sizeof(key));
	return *out == NULL ? qp_fail(msg, QP_E_NOMEM, "%s: out of memory", where) : QP_OK;
}

int
qp_private_key_from_text(const char *text, const char *what, struct qp_secret **out,
	struct qp_errmsg *msg)
{
	return private_from_slice(qp_slice_of(text), what, out, msg);
}

int
qp_public_key_from_text(const char *text, const char *what, uint8_t key[QP_KEY_BYTES],
	struct qp_errmsg *msg)
{
	return parse_key(qp_slice_of(text), what, key, msg);
}

static void
warn_if_lax(const char *path, mode_t mode, const char *what)
{
	if (qp_file_mode_is_lax(mode))
		qp_log(QP_LOG_WARN, "others than the owner can reach a secret file; chmod 600 it",
			QP_LOG_STR("file", path), QP_LOG_STR("holds", what));
}

bool
qp_keyfile_next(struct qp_keyfile *f, struct qp_slice *line)
{
	while (f->rest.len > 0) {
		const char *end = memchr(f->rest.ptr, '\n', f->rest.len);
		size_t len = end == NULL ? f->rest.len : (size_t)(end - f->rest.ptr);

		*line = qp_slice_trim((struct qp_slice) {f->rest.ptr, len});
		len += end != NULL;
		f->rest.ptr += len;
		f->rest.len -= len;
		f->line++;
		if (line->len > 0 && line->ptr[0] != '#')
			return true;
	}
	return false;
}

/* The first line that counts, and its place in words. */
static int
first_line(const char *path, const char *data, size_t len, struct qp_slice *line, char *where,
	size_t cap, struct qp_errmsg *msg)
{
	struct qp_keyfile f = {.rest = {data, len}};

	if (!qp_keyfile_next(&f, line))
		return qp_fail(msg, QP_E_INVAL,
			"%s: no key in it (expected a line of 44 characters of Base64)", path);
	snprintf(where, cap, "%s line %u", path, f.line);
	return QP_OK;
}

int
qp_private_key_from_file(const char *path, struct qp_secret **out, struct qp_errmsg *msg)
{
	struct qp_slice line;
	char where[288];
	size_t len;
	mode_t mode;
	char *data;
	int err = qp_file_read(path, KEY_FILE_MAX, &data, &len, &mode, msg);

	if (err != QP_OK)
		return err;
	err = first_line(path, data, len, &line, where, sizeof(where), msg);
	if (err == QP_OK)
		err = private_from_slice(line, where, out, msg);
	if (err == QP_OK)
		warn_if_lax(path, mode, "private key");
	qp_file_free(data);
	return err;
}

int
qp_public_key_from_file(const char *path, uint8_t key[QP_KEY_BYTES], struct qp_errmsg *msg)
{
	struct qp_slice line;
	char where[288];
	size_t len;
	char *data;
	int err = qp_file_read(path, KEY_FILE_MAX, &data, &len, NULL, msg);

	if (err != QP_OK)
		return err;
	err = first_line(path, data, len, &line, where, sizeof(where), msg);
	if (err == QP_OK)
		err = parse_key(line, where, key, msg);
	qp_file_free(data);
	return err;
}

int
qp_psk_default_path(char *path, size_t cap, struct qp_errmsg *msg)
{
	return qp_file_in_home(".config/quicport/psk", path, cap, msg);
}

static int
psk_from_slice(struct qp_slice text, const char *where, struct qp_secret **out,
	struct qp_errmsg *msg)
{
	if (text.len == 0)
		return qp_fail(msg, QP_E_INVAL, "%s: the pre-shared key is empty", where);
	if (!qp_utf8_valid(text.ptr, text.len))
		return qp_fail(msg, QP_E_INVAL, "%s: the pre-shared key is not UTF-8 text", where);
	*out = qp_secret_new(text.ptr, text.len);
	return *out == NULL ? qp_fail(msg, QP_E_NOMEM, "%s: out of memory", where) : QP_OK;
}

int
qp_psk_from_text(const char *text, const char *what, struct qp_secret **out,
	struct qp_errmsg *msg)
{
	return psk_from_slice(qp_slice_of(text), what, out, msg);
}

int
qp_psk_from_file(const char *path, struct qp_secret **out, struct qp_errmsg *msg)
{
	struct qp_slice text;
	size_t len;
	mode_t mode;
	char *data;
	int err = qp_file_read(path, PSK_FILE_MAX, &data, &len, &mode, msg);

	if (err != QP_OK)
		return err;
	text = qp_slice_trim((struct qp_slice) {data, len});
	if (text.len > 0 && memchr(text.ptr, '\n', text.len) != NULL)
		err = qp_fail(msg, QP_E_INVAL, "%s: more than one line (expected just the key)",
			path);
	else
		err = psk_from_slice(text, path, out, msg);
	if (err == QP_OK)
		warn_if_lax(path, mode, "pre-shared key");
	qp_file_free(data);
	return err;
}

static int
psk_create(const char *path, struct qp_errmsg *msg)
{
	uint8_t random[PSK_RANDOM_BYTES];
	char line[QP_KEY_TEXT_BYTES + 1];
	int err = qp_file_make_parents(path, msg);

	if (err != QP_OK)
		return err;
	randombytes_buf(random, sizeof(random));
	qp_key_format(random, line);
	line[KEY_TEXT_LEN] = '\n';
	err = qp_file_write(path, line, KEY_TEXT_LEN + 1, 0600, false, msg);
	sodium_memzero(random, sizeof(random));
	sodium_memzero(line, sizeof(line));
	return err;
}

int
qp_psk_from_file_or_create(const char *path, struct qp_secret **out, bool *created,
	struct qp_errmsg *msg)
{
	int err = qp_psk_from_file(path, out, msg);

	*created = false;
	if (err != QP_E_NOTFOUND)
		return err;
	err = psk_create(path, msg);
	/* In use: another process made it meanwhile, and that one counts. */
	if (err != QP_OK && err != QP_E_INUSE)
		return err;
	*created = err == QP_OK;
	return qp_psk_from_file(path, out, msg);
}
