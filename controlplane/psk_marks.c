/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A mark is the number of its key, which tells marks of another key from those
 * of another PSK, then the hash. Loop thread; blocks on a file at the start.
 */
#define QP_LOG_MODULE QP_LOG_M_policy
#include "controlplane/psk_marks.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "common/file.h"
#include "common/log.h"

#define KEY_BYTES 32u
#define NUMBER_BYTES 8u

static void
hash(const struct qp_psk_marks *m, const void *bytes, size_t len, uint8_t *out, size_t out_len)
{
	_Static_assert(KEY_BYTES >= crypto_generichash_KEYBYTES_MIN &&
			       KEY_BYTES <= crypto_generichash_KEYBYTES_MAX, "BLAKE2b takes it");
	crypto_generichash_state h;

	crypto_generichash_init(&h, m->key->bytes, m->key->len, QP_PSK_MARK_BYTES - NUMBER_BYTES);
	crypto_generichash_update(&h, bytes, len);
	crypto_generichash_final(&h, out, out_len);
	sodium_memzero(&h, sizeof(h));
}

/* Of a key that was there; NULL: there is none of use. */
static struct qp_secret *
read_key(const char *path)
{
	struct qp_secret *key = NULL;
	char *bytes = NULL;
	size_t len = 0;

	if (qp_file_read(path, KEY_BYTES, &bytes, &len, NULL, NULL) != 0)
		return NULL;
	if (len == KEY_BYTES)
		key = qp_secret_new(bytes, len);
	qp_file_free(bytes);
	return key;
}

void
qp_psk_marks_open(struct qp_psk_marks *m, const char *dir)
{
	uint8_t bytes[KEY_BYTES];
	struct qp_errmsg msg;
	char path[256];

	snprintf(path, sizeof(path), "%s/psk-marks", dir);
	m->key = read_key(path);
	if (m->key != NULL)
		return;
	randombytes_buf(bytes, sizeof(bytes));
	if (qp_file_write(path, bytes, sizeof(bytes), 0600, true, &msg) == 0)
		m->key = qp_secret_new(bytes, sizeof(bytes));
	else
		qp_log(QP_LOG_WARN, "a PSK that changes while no control plane runs will not be noticed",
			QP_LOG_STR("reason", msg.text));
	sodium_memzero(bytes, sizeof(bytes));
}

void
qp_psk_marks_close(struct qp_psk_marks *m)
{
	qp_secret_free(m->key);
	m->key = NULL;
}

void
qp_psk_mark(const struct qp_psk_marks *m, const struct qp_secret *psk,
	uint8_t out[QP_PSK_MARK_BYTES])
{
	static const char number[] = "number";
	uint8_t whole[QP_PSK_MARK_BYTES - NUMBER_BYTES];

	memset(out, 0, QP_PSK_MARK_BYTES);
	if (m == NULL || m->key == NULL || psk == NULL)
		return;
	hash(m, number, sizeof(number), whole, sizeof(whole));
	memcpy(out, whole, NUMBER_BYTES);
	hash(m, psk->bytes, psk->len, out + NUMBER_BYTES, sizeof(whole));
}

bool
qp_psk_mark_differs(const struct qp_psk_marks *m, const struct qp_secret *psk,
	const uint8_t mark[QP_PSK_MARK_BYTES])
{
	uint8_t is[QP_PSK_MARK_BYTES];

	qp_psk_mark(m, psk, is);
	if (sodium_is_zero(is, sizeof(is)) || sodium_memcmp(is, mark, NUMBER_BYTES) != 0)
		return false;
	return sodium_memcmp(is, mark, sizeof(is)) != 0;
}
