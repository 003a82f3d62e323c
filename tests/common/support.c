/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the tests of common share. Failures here are failures of the set-up and
 * end the test's process at once, with a line that says why.
 */
#include "tests/common/support.h"

#include <err.h>
#include <ftw.h>
#include <limits.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[PATH_MAX];

json_t *
vectors_load(void)
{
	const char *path = getenv("QP_VECTORS");
	json_error_t error;
	json_t *root;

	if (path == NULL)
		path = getenv("QP_VECTORS_FIXTURE");
	if (path == NULL)
		path = "tests/common/quicport-1.json";
	root = json_load_file(path, 0, &error);
	if (root == NULL)
		errx(1, "golden vectors %s: %s", path, error.text);
	return root;
}

size_t
from_hex(const char *hex, uint8_t *out, size_t cap)
{
	size_t n;

	if (sodium_hex2bin(out, cap, hex, strlen(hex), NULL, &n, NULL) != 0 ||
		n * 2 != strlen(hex))
		errx(1, "'%s' is not hex, or longer than %zu bytes", hex, cap);
	return n;
}

size_t
vector_bytes(const json_t *root, uint8_t *out, size_t cap, ...)
{
	const char *key;
	va_list ap;

	va_start(ap, cap);
	while ((key = va_arg(ap, const char *)) != NULL) {
		root = json_object_get(root, key);
		if (root == NULL)
			errx(1, "golden vectors have no '%s'", key);
	}
	va_end(ap);
	return from_hex(json_string_value(root), out, cap);
}

const char *
scratch_make(void)
{
	const char *tmp = getenv("TMPDIR");

	snprintf(folder, sizeof(folder), "%s/qp-test-XXXXXX", tmp == NULL ? "/tmp" : tmp);
	if (mkdtemp(folder) == NULL)
		err(1, "%s", folder);
	return folder;
}

static int
remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

void
scratch_remove(void)
{
	nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

const char *
scratch_path(const char *name)
{
	static char paths[4][PATH_MAX * 2];
	static unsigned turn;
	char *path = paths[turn++ % 4];

	snprintf(path, sizeof(paths[0]), "%s/%s", folder, name);
	return path;
}

const char *
scratch_file(const char *name, const char *text, unsigned mode)
{
	const char *path = scratch_path(name);
	FILE *f = fopen(path, "we");

	if (f == NULL || fputs(text, f) < 0 || fclose(f) != 0 || chmod(path, mode) != 0)
		err(1, "%s", path);
	return path;
}
