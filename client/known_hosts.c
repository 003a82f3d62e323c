/* SPDX-License-Identifier: Apache-2.0 */
/*
 * known_hosts: reading, matching, recording. Leaves the question whether to
 * trust to the command.
 */
#include "client/known_hosts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/file.h>
#include <unistd.h>

#include "common/file.h"

#define RELATIVE_PATH ".local/share/quicport/known_hosts"
#define MAX_FILE_BYTES (4u << 20)
#define BLANKS " \t\r"

struct span {
	const char *ptr;
	size_t len;
};

int
qpc_known_hosts_path(char *path, size_t cap, struct qp_errmsg *msg)
{
	return qp_file_in_home(RELATIVE_PATH, path, cap, msg);
}

static struct span
take_word(const char **at, const char *end)
{
	struct span word;

	while (*at < end && strchr(BLANKS, **at) != NULL)
		(*at)++;
	word.ptr = *at;
	while (*at < end && strchr(BLANKS, **at) == NULL)
		(*at)++;
	word.len = (size_t)(*at - word.ptr);
	return word;
}

/* Whether a line (without its end) is about `host`; then `fingerprint` is its second word. */
static bool
line_names(const char *line, const char *end, const char *host, struct span *fingerprint)
{
	struct span name = take_word(&line, end);

	if (name.len == 0 || name.ptr[0] == '#' || name.len != strlen(host) ||
		strncasecmp(name.ptr, host, name.len) != 0)
		return false;
	*fingerprint = take_word(&line, end);
	return true;
}

static const char *
line_end(const char *at, const char *end)
{
	const char *nl = memchr(at, '\n', (size_t)(end - at));

	return nl != NULL ? nl : end;
}

/* The whole file; empty when there is none. qp_file_free, NULL included. */
static int
read_all(const char *path, char **data, size_t *len, struct qp_errmsg *msg)
{
	struct qp_errmsg why = {0};
	int err = qp_file_read(path, MAX_FILE_BYTES, data, len, NULL, &why);

	if (err == QP_OK)
		return QP_OK;
	*data = NULL;
	*len = 0;
	return err == QP_E_NOTFOUND ? QP_OK : qp_fail(msg, err, "%s", why.text);
}

int
qpc_known_hosts_lookup(const char *path, const char *host, const char *fingerprint,
	enum qpc_known *out, char recorded[QP_FINGERPRINT_TEXT_BYTES], struct qp_errmsg *msg)
{
	char *data;
	size_t len;
	int err = read_all(path, &data, &len, msg);

	if (err != QP_OK)
		return err;
	*out = QPC_HOST_UNKNOWN;
	recorded[0] = '\0';
	for (const char *at = data, *end = len > 0 ? data + len : data, *eol; at < end; at = eol + 1) {
		struct span print;

		eol = line_end(at, end);
		if (!line_names(at, eol, host, &print) || print.len == 0)
			continue;
		snprintf(recorded, QP_FINGERPRINT_TEXT_BYTES, "%.*s", (int)print.len, print.ptr);
		*out = print.len == strlen(fingerprint) &&
				strncasecmp(print.ptr, fingerprint, print.len) == 0 ?
			QPC_HOST_KNOWN :
			QPC_HOST_CHANGED;
	}
	qp_file_free(data);
	return QP_OK;
}

/* A lock file beside it, since known_hosts itself is replaced. Returns a descriptor, or -1. */
static int
lock(const char *path, struct qp_errmsg *msg)
{
	char name[4096];
	int fd;

	snprintf(name, sizeof(name), "%s.lock", path);
	fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd >= 0 && flock(fd, LOCK_EX) == 0)
		return fd;
	(void)qp_fail(msg, qp_err_from_errno(errno), "cannot lock %s: %s", name, strerror(errno));
	if (fd >= 0)
		close(fd);
	return -1;
}

/* The old text without lines about `host`, then the new line. malloc'ed. */
static char *
rewritten(const char *data, size_t len, const char *host, const char *fingerprint, size_t *out_len)
{
	size_t cap = len + strlen(host) + strlen(fingerprint) + 4;
	char *out = malloc(cap);
	size_t used = 0;

	if (out == NULL)
		return NULL;
	for (const char *at = data, *end = len > 0 ? data + len : data, *eol; at < end; at = eol + 1) {
		struct span print;

		eol = line_end(at, end);
		if (line_names(at, eol, host, &print))
			continue;
		memcpy(out + used, at, (size_t)(eol - at));
		used += (size_t)(eol - at);
		out[used++] = '\n';
	}
	used += (size_t)snprintf(out + used, cap - used, "%s %s\n", host, fingerprint);
	*out_len = used;
	return out;
}

int
qpc_known_hosts_record(const char *path, const char *host, const char *fingerprint,
	struct qp_errmsg *msg)
{
	char *data = NULL, *text;
	size_t len, text_len;
	int fd, err = qp_file_make_parents(path, msg);

	if (err != QP_OK)
		return err;
	fd = lock(path, msg);
	if (fd < 0)
		return QP_E_IO;
	err = read_all(path, &data, &len, msg);
	if (err == QP_OK) {
		text = rewritten(data, len, host, fingerprint, &text_len);
		err = text != NULL ? qp_file_write(path, text, text_len, 0600, true, msg) :
				     qp_fail(msg, QP_E_NOMEM, "out of memory for %s", path);
		free(text);
	}
	qp_file_free(data);
	close(fd);
	return err;
}
