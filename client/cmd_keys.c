/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `quicport keygen` and `quicport pubkey`, in the formats of `wg genkey` and
 * `wg pubkey`; and `quicport version`. Main thread.
 */
#include "client/commands.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <sodium.h>

#include "common/file.h"
#include "common/keys.h"
#include "common/opt.h"

/* More than a key's 44 characters and white space around it. */
#define MAX_KEY_INPUT 256u

static int
complain(const char *command, const struct qp_errmsg *msg, int status)
{
	fprintf(stderr, "quicport %s: %s\n", command, msg->text);
	return status;
}

static int
write_key(const char *path, const char *text, struct qp_errmsg *msg)
{
	int err;

	if (path == NULL) {
		if (fputs(text, stdout) == EOF || fflush(stdout) != 0)
			return qp_fail(msg, QP_E_IO, "cannot write to standard output: %s",
				strerror(errno));
		return QP_OK;
	}
	err = qp_file_write(path, text, strlen(text), 0600, false, msg);
	if (err == QP_E_INUSE)
		return qp_fail(msg, err,
			"%s is there already, and a key is never overwritten: remove it, or choose "
			"another name",
			path);
	return err;
}

int
qpc_command_keygen(int argc, char **argv)
{
	const char *path = NULL;
	const struct qp_opt opts[] = {
		{.name = "output", .letter = 'o', .arg = "FILE", .env = "",
			.help = "write it to FILE (mode 0600), which must not exist",
			.parse = qp_opt_string, .value = &path},
		{0},
	};
	const struct qp_opt_command cmd = {
		.name = "quicport keygen",
		.summary = "Prints a new X25519 private key in WireGuard's format.",
		.epilogue = "Example:\n  quicport keygen -o client.key && "
			    "quicport pubkey <client.key >client.pub\n",
		.opts = opts,
	};
	char text[QP_KEY_TEXT_BYTES + 1];
	struct qp_errmsg msg = {0};
	struct qp_secret *key;
	int err;

	qp_opt_parse_or_exit(&cmd, argc, argv);
	key = qp_key_generate();
	if (key == NULL) {
		(void)qp_fail(&msg, QP_E_NOMEM, "out of memory");
		return complain("keygen", &msg, 1);
	}
	qp_key_format(key->bytes, text);
	qp_secret_free(key);
	strcat(text, "\n");
	err = write_key(path, text, &msg);
	sodium_memzero(text, sizeof(text));
	return err == QP_OK ? 0 : complain("keygen", &msg, 1);
}

/* Standard input, whole, as text. QP_E_FULL when it can't be a key. */
static int
read_key_text(char *text, size_t cap)
{
	size_t len = 0;

	while (len < cap - 1) {
		ssize_t n = read(STDIN_FILENO, text + len, cap - 1 - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return qp_err_from_errno(errno);
		if (n == 0) {
			text[len] = '\0';
			return QP_OK;
		}
		len += (size_t)n;
	}
	return QP_E_FULL;
}

int
qpc_command_pubkey(int argc, char **argv)
{
	const struct qp_opt opts[] = {{0}};
	const struct qp_opt_command cmd = {
		.name = "quicport pubkey",
		.summary = "Reads a private key on standard input and prints its public key.",
		.opts = opts,
	};
	uint8_t public_key[QP_KEY_BYTES];
	char text[MAX_KEY_INPUT], printed[QP_KEY_TEXT_BYTES];
	struct qp_errmsg msg = {.text = "standard input is not a private key: expected 44 Base64 "
					"characters, as `quicport keygen` prints"};
	struct qp_secret *key = NULL;
	int err;

	qp_opt_parse_or_exit(&cmd, argc, argv);
	err = read_key_text(text, sizeof(text));
	if (err == QP_OK)
		err = qp_private_key_from_text(text, "standard input", &key, NULL);
	sodium_memzero(text, sizeof(text));
	if (err == QP_OK)
		err = qp_key_public(key, public_key);
	qp_secret_free(key);
	if (err != QP_OK)
		return complain("pubkey", &msg, 1);
	qp_key_format(public_key, printed);
	if (puts(printed) == EOF || fflush(stdout) != 0) {
		(void)qp_fail(&msg, QP_E_IO, "cannot write to standard output: %s", strerror(errno));
		return complain("pubkey", &msg, 1);
	}
	return 0;
}

int
qpc_command_version(int argc, char **argv)
{
	const struct qp_opt opts[] = {{0}};
	const struct qp_opt_command cmd = {
		.name = "quicport version",
		.summary = "Prints the version.",
		.opts = opts,
	};

	qp_opt_parse_or_exit(&cmd, argc, argv);
	puts("quicport " QP_VERSION);
	return 0;
}
