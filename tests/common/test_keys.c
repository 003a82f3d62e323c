/* SPDX-License-Identifier: Apache-2.0 */
/* Keys as text and in files, sets of keys, the PSK file. */
#include "common/keys.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <pthread.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/file.h"
#include "tests/common/support.h"

#define PRIVATE_TEXT "mBJ3XsDyuJxqU2bk0XEa+rUH+XD1lYwMlx9xH8ZTMUg="
#define PUBLIC_TEXT "IexqQqW8ngM33aoJWqheXfW+11hL6A3h6kpO8uNl9Ws="

static void
setup(void)
{
	cr_assert(eq(int, qp_keys_init(), QP_OK));
	scratch_make();
}

TestSuite(keys, .init = setup, .fini = scratch_remove);

Test(keys, public_key_of_the_protocols_test_vector)
{
	struct qp_secret *s = NULL;
	uint8_t public_key[QP_KEY_BYTES];
	char text[QP_KEY_TEXT_BYTES];

	cr_assert(eq(int, qp_private_key_from_text(PRIVATE_TEXT, "--privkey", &s, NULL), QP_OK));
	cr_assert(eq(int, qp_key_public(s, public_key), QP_OK));
	qp_key_format(public_key, text);
	cr_assert(eq(str, text, PUBLIC_TEXT));
	qp_secret_free(s);
}

Test(keys, parse_takes_exactly_44_characters_of_padded_standard_base64)
{
	static const char *const bad[] = {
		"",
		"IexqQqW8ngM33aoJWqheXfW+11hL6A3h6kpO8uNl9Ws",   /* no padding */
		"IexqQqW8ngM33aoJWqheXfW+11hL6A3h6kpO8uNl9Ws==",
		"IexqQqW8ngM33aoJWqheXfW+11hL6A3h6kpO8uNl9Wt=",  /* stray bits in the last character */
		"IexqQqW8ngM33aoJWqheXfW-11hL6A3h6kpO8uNl9Ws=",  /* the URL alphabet */
		"IexqQqW8ngM33aoJ qheXfW+11hL6A3h6kpO8uNl9Ws=",
		"IexqQqW8ngM33aoJWqheXfW+11hL6A3h6kpO8uNl9WsA",  /* 33 bytes */
		"=exqQqW8ngM33aoJWqheXfW+11hL6A3h6kpO8uNl9Ws=",
		"IexqQqW8ngM33aoJWqheXfW+11hL6A3h6kpO8uNl9W==",
	};
	uint8_t key[QP_KEY_BYTES];

	cr_assert(eq(int, qp_key_parse(PUBLIC_TEXT, 44, key), QP_OK));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		cr_assert(eq(int, qp_key_parse(bad[i], strlen(bad[i]), key), QP_E_INVAL), "%s",
			bad[i]);
	for (size_t n = 0; n < 44; n++)
		cr_assert(eq(int, qp_key_parse(PUBLIC_TEXT, n, key), QP_E_INVAL));
}

/* Found by fuzz_text: libsodium 1.0.18 decodes some of these. */
Test(keys, parse_refuses_every_byte_outside_the_alphabet_at_every_place)
{
	uint8_t key[QP_KEY_BYTES];

	for (size_t at = 0; at < 44; at++) {
		for (unsigned byte = 0; byte < 256; byte++) {
			char text[] = PUBLIC_TEXT;
			bool inside = byte != 0 && strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklm"
							  "nopqrstuvwxyz0123456789+/", (int)byte);

			text[at] = (char)byte;
			if (!inside && !(at == 43 && byte == '='))
				cr_assert(eq(int, qp_key_parse(text, 44, key), QP_E_INVAL),
					"byte %02x at %zu", byte, at);
		}
	}
}

Test(keys, format_and_parse_are_inverse)
{
	for (int i = 0; i < 200; i++) {
		uint8_t in[QP_KEY_BYTES], out[QP_KEY_BYTES];
		char text[QP_KEY_TEXT_BYTES];

		randombytes_buf(in, sizeof(in));
		qp_key_format(in, text);
		cr_assert(eq(sz, strlen(text), 44));
		cr_assert(eq(int, qp_key_parse(text, 44, out), QP_OK));
		cr_assert(eq(int, memcmp(in, out, sizeof(in)), 0));
	}
}

Test(keys, generate_gives_clamped_keys_that_differ)
{
	struct qp_secret *a = qp_key_generate(), *b = qp_key_generate();

	cr_assert(eq(sz, a->len, 32));
	cr_assert(eq(u8, a->bytes[0] & 7, 0));
	cr_assert(eq(u8, a->bytes[31] & 0xc0, 0x40));
	cr_assert(ne(int, memcmp(a->bytes, b->bytes, 32), 0));
	qp_secret_free(a);
	qp_secret_free(b);
	qp_secret_free(NULL);
}

Test(keys, secret_of_any_length_keeps_its_bytes)
{
	for (size_t len = 0; len < 40; len++) {
		uint8_t bytes[40];
		struct qp_secret *s;

		randombytes_buf(bytes, sizeof(bytes));
		s = qp_secret_new(bytes, len);
		cr_assert(eq(sz, s->len, len));
		cr_assert(eq(int, memcmp(s->bytes, bytes, len), 0));
		qp_secret_free(s);
	}
}

Test(keys, private_key_error_names_the_source_and_never_the_text)
{
	struct qp_errmsg msg;
	struct qp_secret *s = NULL;

	cr_assert(eq(int, qp_private_key_from_text("hunter2", "--privkey", &s, &msg), QP_E_INVAL));
	cr_assert(eq(str, msg.text,
		"--privkey: a key has 44 characters of Base64 (32 bytes), this has 7"));
	cr_assert(eq(int, qp_private_key_from_text(
		"!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!=", "QUICPORT_PRIVKEY", &s, &msg),
		QP_E_INVAL));
	cr_assert(eq(ptr, strstr(msg.text, "!!!"), NULL));
	cr_assert(eq(int, strncmp(msg.text, "QUICPORT_PRIVKEY: ", 18), 0));
	cr_assert(eq(ptr, s, NULL));
}

Test(keys, private_key_file_gives_its_first_line_that_counts)
{
	const char *path = scratch_file("key", "\n  # mine\r\n\t\n " PRIVATE_TEXT " \r\nrest\n", 0600);
	struct qp_secret *s = NULL;
	uint8_t want[QP_KEY_BYTES];
	struct qp_errmsg msg;

	cr_assert(eq(int, qp_private_key_from_file(path, &s, &msg), QP_OK), "%s", msg.text);
	cr_assert(eq(int, qp_key_parse(PRIVATE_TEXT, 44, want), QP_OK));
	cr_assert(eq(int, memcmp(s->bytes, want, 32), 0));
	qp_secret_free(s);
}

Test(keys, key_file_errors_name_file_line_and_expectation)
{
	char want[512];
	struct qp_secret *s = NULL;
	uint8_t key[QP_KEY_BYTES];
	struct qp_errmsg msg;
	const char *path;

	path = scratch_file("bad", "# comment\n\nnot a key\n", 0600);
	cr_assert(eq(int, qp_private_key_from_file(path, &s, &msg), QP_E_INVAL));
	snprintf(want, sizeof(want),
		"%s line 3: a key has 44 characters of Base64 (32 bytes), this has 9", path);
	cr_assert(eq(str, msg.text, want));

	path = scratch_file("empty", "# comment\n\n", 0600);
	cr_assert(eq(int, qp_public_key_from_file(path, key, &msg), QP_E_INVAL));
	snprintf(want, sizeof(want),
		"%s: no key in it (expected a line of 44 characters of Base64)", path);
	cr_assert(eq(str, msg.text, want));

	path = scratch_path("missing");
	cr_assert(eq(int, qp_public_key_from_file(path, key, &msg), QP_E_NOTFOUND));
	snprintf(want, sizeof(want), "cannot read %s: No such file or directory", path);
	cr_assert(eq(str, msg.text, want));
}

/* What a call writes to stderr. */
static void
capture_stderr(int *saved)
{
	FILE *f = fopen(scratch_path("stderr"), "w+e");

	*saved = dup(STDERR_FILENO);
	dup2(fileno(f), STDERR_FILENO);
	fclose(f);
}

static void
captured_stderr(int saved, char *out, size_t cap)
{
	FILE *f = fopen(scratch_path("stderr"), "re");
	size_t n = fread(out, 1, cap - 1, f);

	out[n] = '\0';
	fclose(f);
	dup2(saved, STDERR_FILENO);
	close(saved);
}

Test(keys, private_key_file_open_to_others_is_warned_about)
{
	static const struct {
		unsigned mode;
		bool warned;
	} rows[] = {{0600, false}, {0400, false}, {0640, true}, {0604, true}};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const char *path = scratch_file("key", PRIVATE_TEXT "\n", rows[i].mode);
		struct qp_secret *s = NULL;
		char text[1024];
		int saved;

		capture_stderr(&saved);
		cr_expect(eq(int, qp_private_key_from_file(path, &s, NULL), QP_OK));
		captured_stderr(saved, text, sizeof(text));
		cr_assert(eq(int, strstr(text, "chmod 600") != NULL, rows[i].warned), "mode %o: %s",
			rows[i].mode, text);
		cr_assert(eq(ptr, strstr(text, PRIVATE_TEXT), NULL));
		qp_secret_free(s);
		unlink(path);
	}
}

Test(keys, keyset_knows_ten_thousand_keys_and_no_other)
{
	struct qp_keyset *set = qp_keyset_new();
	uint8_t key[QP_KEY_BYTES] = {0};
	unsigned missing = 0, wrong = 0;

	cr_assert(not(qp_keyset_contains(set, key)));
	for (uint32_t i = 0; i < 10000; i++) {
		memcpy(key, &i, sizeof(i));
		cr_assert(eq(int, qp_keyset_add(set, key), QP_OK));
		cr_assert(eq(int, qp_keyset_add(set, key), QP_OK), "twice is once");
	}
	cr_assert(eq(sz, qp_keyset_count(set), 10000));
	for (uint32_t i = 0; i < 20000; i++) {
		memcpy(key, &i, sizeof(i));
		missing += i < 10000 && !qp_keyset_contains(set, key);
		wrong += i >= 10000 && qp_keyset_contains(set, key);
	}
	cr_assert(eq(uint, missing, 0));
	cr_assert(eq(uint, wrong, 0));
	qp_keyset_free(set);
	qp_keyset_free(NULL);
	cr_assert(not(qp_keyset_contains(NULL, key)));
	cr_assert(eq(sz, qp_keyset_count(NULL), 0));
}

Test(keys, keyset_list_takes_keys_between_commas)
{
	struct qp_keyset *set = qp_keyset_new();
	uint8_t key[QP_KEY_BYTES];
	struct qp_errmsg msg;

	cr_assert(eq(int, qp_keyset_add_list(set, PUBLIC_TEXT " , " PRIVATE_TEXT,
		"--client-pubkeys", &msg), QP_OK), "%s", msg.text);
	cr_assert(eq(sz, qp_keyset_count(set), 2));
	cr_assert(eq(int, qp_key_parse(PUBLIC_TEXT, 44, key), QP_OK));
	cr_assert(qp_keyset_contains(set, key));
	cr_assert(eq(int, qp_keyset_add_list(set, PUBLIC_TEXT ",abc", "--client-pubkeys", &msg),
		QP_E_INVAL));
	cr_assert(eq(str, msg.text, "--client-pubkeys key 2: a key has 44 characters of Base64 "
				    "(32 bytes), this has 3"));
	cr_assert(eq(int, qp_keyset_add_list(set, "", "--client-pubkeys", &msg), QP_E_INVAL));
	cr_assert(eq(int, qp_keyset_add_list(set, PUBLIC_TEXT ",", "--client-pubkeys", &msg),
		QP_E_INVAL));
	qp_keyset_free(set);
}

Test(keys, keyset_file_takes_a_key_a_line)
{
	struct qp_keyset *set = qp_keyset_new();
	struct qp_errmsg msg;
	const char *path;

	path = scratch_file("keys", "# laptops\n" PUBLIC_TEXT "\n\n  " PRIVATE_TEXT "  \n# end", 0644);
	cr_assert(eq(int, qp_keyset_add_file(set, path, &msg), QP_OK), "%s", msg.text);
	cr_assert(eq(sz, qp_keyset_count(set), 2));
	path = scratch_file("keys2", "# laptops\n" PUBLIC_TEXT "\n" PUBLIC_TEXT " bob\n", 0644);
	cr_assert(eq(int, qp_keyset_add_file(set, path, &msg), QP_E_INVAL));
	cr_assert(ne(ptr, strstr(msg.text, "keys2 line 3: "), NULL));
	path = scratch_file("keys3", "\n#\n", 0644);
	cr_assert(eq(int, qp_keyset_add_file(set, path, &msg), QP_E_INVAL));
	cr_assert(ne(ptr, strstr(msg.text, "keys3: no key in it"), NULL));
	qp_keyset_free(set);
}

Test(keys, psk_text_is_taken_as_it_is)
{
	struct qp_secret *s = NULL;
	struct qp_errmsg msg;

	cr_assert(eq(int, qp_psk_from_text(" p\xc3\xa4ss ", "--psk", &s, &msg), QP_OK));
	cr_assert(eq(sz, s->len, 7));
	cr_assert(eq(int, memcmp(s->bytes, " p\xc3\xa4ss ", 7), 0));
	qp_secret_free(s);
	cr_assert(eq(int, qp_psk_from_text("", "--psk", &s, &msg), QP_E_INVAL));
	cr_assert(eq(str, msg.text, "--psk: the pre-shared key is empty"));
	cr_assert(eq(int, qp_psk_from_text("\xff", "--psk", &s, &msg), QP_E_INVAL));
}

Test(keys, psk_file_is_made_once_and_reused)
{
	const char *path = scratch_path("home/.config/quicport/psk");
	struct qp_secret *first = NULL, *second = NULL;
	struct qp_errmsg msg;
	struct stat st;
	bool created;
	char *text;
	size_t len;

	cr_assert(eq(int, qp_psk_from_file_or_create(path, &first, &created, &msg), QP_OK), "%s",
		msg.text);
	cr_assert(created);
	cr_assert(eq(sz, first->len, 44));
	cr_assert(eq(int, stat(path, &st), 0));
	cr_assert(eq(uint, st.st_mode & 07777, 0600));
	cr_assert(eq(int, stat(scratch_path("home/.config"), &st), 0));
	cr_assert(eq(uint, st.st_mode & 07777, 0700));
	cr_assert(eq(int, qp_file_read(path, 100, &text, &len, NULL, NULL), QP_OK));
	cr_assert(eq(sz, len, 45));
	cr_assert(eq(int, memcmp(text, first->bytes, 44), 0), "the file holds the key itself");
	qp_file_free(text);
	cr_assert(eq(int, qp_psk_from_file_or_create(path, &second, &created, &msg), QP_OK));
	cr_assert(not(created));
	cr_assert(eq(sz, second->len, 44));
	cr_assert(eq(int, memcmp(first->bytes, second->bytes, 44), 0));
	qp_secret_free(first);
	qp_secret_free(second);
}

static void *
create_psk(void *path)
{
	struct qp_secret *s = NULL;
	bool created;

	return qp_psk_from_file_or_create(path, &s, &created, NULL) == QP_OK ? s : NULL;
}

Test(keys, psk_file_made_by_many_at_once_is_one)
{
	enum { N = 8 };
	char path[512];
	pthread_t threads[N];
	struct qp_secret *got[N];

	snprintf(path, sizeof(path), "%s", scratch_path("race/psk"));
	for (int i = 0; i < N; i++)
		cr_assert(eq(int, pthread_create(&threads[i], NULL, create_psk, path), 0));
	for (int i = 0; i < N; i++)
		pthread_join(threads[i], (void **)&got[i]);
	for (int i = 0; i < N; i++) {
		cr_assert(ne(ptr, got[i], NULL));
		cr_assert(eq(int, memcmp(got[i]->bytes, got[0]->bytes, 44), 0));
	}
	for (int i = 0; i < N; i++)
		qp_secret_free(got[i]);
}

Test(keys, psk_file_errors_name_the_file)
{
	struct qp_secret *s = NULL;
	struct qp_errmsg msg;
	bool created;

	cr_assert(eq(int, qp_psk_from_file_or_create(scratch_file("psk", " \n", 0600), &s,
		&created, &msg), QP_E_INVAL));
	cr_assert(ne(ptr, strstr(msg.text, "/psk: the pre-shared key is empty"), NULL));
	cr_assert(eq(int, qp_psk_from_file_or_create(scratch_file("psk", "a\nb\n", 0600), &s,
		&created, &msg), QP_E_INVAL));
	cr_assert(ne(ptr, strstr(msg.text, "more than one line"), NULL));
	/* A folder in the file's place, and a file in the folder's. */
	cr_assert(eq(int, qp_psk_from_file_or_create(scratch_path(""), &s, &created, &msg),
		QP_E_INVAL));
	cr_assert(ne(int, qp_psk_from_file_or_create(scratch_path("psk/x"), &s, &created, &msg),
		QP_OK));
	cr_assert(eq(ptr, s, NULL));
}

Test(keys, psk_default_path_is_in_the_home_folder)
{
	char path[256];
	struct qp_errmsg msg;

	setenv("HOME", "/home/somebody", 1);
	cr_assert(eq(int, qp_psk_default_path(path, sizeof(path), &msg), QP_OK));
	cr_assert(eq(str, path, "/home/somebody/.config/quicport/psk"));
	cr_assert(eq(int, qp_psk_default_path(path, 20, &msg), QP_E_FULL));
	unsetenv("HOME");
	cr_assert(eq(int, qp_psk_default_path(path, sizeof(path), &msg), QP_OK));
	cr_assert(eq(chr, path[0], '/'));
}
