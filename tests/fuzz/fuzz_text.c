/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Text from people and peers: addresses, keys, lists of keys, and the escaping
 * that keeps log lines whole.
 */
#include "tests/fuzz/fuzz.h"

#include <string.h>

#include "common/addr.h"
#include "common/keyfile.h"
#include "common/keys.h"
#include "common/log_line.h"

static void
fuzz_keys(const char *text, size_t size)
{
	struct qp_keyset *set = qp_keyset_new();
	struct qp_keyfile f = {.rest = {text, size}};
	uint8_t key[QP_KEY_BYTES];
	struct qp_errmsg msg;
	struct qp_slice line;

	FUZZ_CHECK(set != NULL);
	if (qp_keyset_add_list(set, text, "list", &msg) == QP_OK)
		FUZZ_CHECK(qp_keyset_count(set) > 0);
	while (qp_keyfile_next(&f, &line)) {
		char again[QP_KEY_TEXT_BYTES];

		FUZZ_CHECK(line.len > 0 && line.ptr >= text);
		FUZZ_CHECK(line.ptr + line.len <= text + size);
		if (qp_key_parse(line.ptr, line.len, key) != QP_OK)
			continue;
		/* A key has one text only. */
		qp_key_format(key, again);
		FUZZ_CHECK(line.len == 44 && memcmp(again, line.ptr, 44) == 0);
	}
	qp_keyset_free(set);
}

static void
fuzz_addresses(const char *text)
{
	char out[QP_HOST_BYTES + 16], shown[QP_ADDR_TEXT_BYTES];
	struct qp_target t, again;
	struct qp_sockaddr sa;
	struct in6_addr ip;

	for (unsigned flags = 0; flags < 16; flags++) {
		if (qp_target_parse(text, flags, &t, NULL) != QP_OK)
			continue;
		qp_target_format(&t, (flags & QP_ADDR_PROTO) != 0, out, sizeof(out));
		FUZZ_CHECK(qp_target_parse(out, flags, &again, NULL) == QP_OK);
		FUZZ_CHECK(strcmp(t.host, again.host) == 0 && t.port == again.port);
		FUZZ_CHECK(t.protocol == again.protocol);
	}
	if (qp_sockaddr_parse(text, &sa, NULL) == QP_OK)
		FUZZ_CHECK(strlen(qp_sockaddr_format(&sa.sa, shown)) < QP_ADDR_TEXT_BYTES);
	(void)qp_ip_parse_text(text, &ip, NULL);
}

/* No control character, nothing but UTF-8, and never beyond the line's limit. */
static void
check_line(const struct qp_log_line *l)
{
	FUZZ_CHECK(l->len <= l->limit && qp_utf8_valid(l->text, l->len));
	for (size_t i = 0; i < l->len; i++)
		FUZZ_CHECK((uint8_t)l->text[i] >= 0x20 && l->text[i] != 0x7f);
}

static void
fuzz_log(struct qp_slice text)
{
	struct qp_log_field f = QP_LOG_SLICE("text", text);
	struct qp_log_line l;

	l.len = 0;
	l.limit = QP_LOG_LINE_BYTES;
	l.overflow = false;
	qp_log_put_console_field(&l, &f);
	check_line(&l);
	l.len = 0;
	qp_log_put_json_field(&l, &f);
	check_line(&l);
	FUZZ_CHECK(!l.overflow && l.text[l.len - 1] == '"');
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1), out[64];

	FUZZ_CHECK(text != NULL && qp_keys_init() == QP_OK);
	if (size > 0)
		memcpy(text, data, size);
	text[size] = '\0';
	fuzz_addresses(text);
	fuzz_keys(text, size);
	fuzz_log((struct qp_slice) {text, size});
	FUZZ_CHECK(qp_slice_printable((struct qp_slice) {text, size}, out, sizeof(out)) <
		   sizeof(out));
	FUZZ_CHECK(qp_utf8_valid(out, strlen(out)));
	free(text);
	return 0;
}
